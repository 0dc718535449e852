//! What a FIFO queue remembers of the last minutes: deduplication ids and receive attempts.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::backends::Remembered;
use crate::config::limits;
use crate::domain::queue::DedupScope;
use crate::domain::{Seq, Timestamp};

/// How long a `MessageDeduplicationId` and a `ReceiveRequestAttemptId` count.
pub(super) const WINDOW: Duration = Duration::from_secs(300);

/// An id within its scope.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    dedup: Arc<str>,
    group: Option<Arc<str>>,
}

impl Key {
    /// The group is part of it only if that is the queue's scope.
    pub(super) fn new(scope: DedupScope, dedup: Arc<str>, group: Option<Arc<str>>) -> Self {
        let group = group.filter(|_| scope == DedupScope::MessageGroup);
        Self { dedup, group }
    }

    /// The id itself.
    pub(super) fn dedup(&self) -> Arc<str> {
        self.dedup.clone()
    }
}

/// The message that an id was first used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct First {
    /// Its id.
    pub(super) message: Uuid,
    /// Its position; `None` while it is on its way to disk.
    pub(super) seq: Option<Seq>,
    sent: Timestamp,
}

/// The deduplication ids of the last [`WINDOW`].
#[derive(Debug, Default)]
pub(super) struct Dedup {
    firsts: HashMap<Key, First>,
    order: VecDeque<(Timestamp, Key)>,
}

impl Dedup {
    /// What the store remembers.
    pub(super) fn new(scope: DedupScope, mut remembered: Vec<Remembered>) -> Self {
        remembered.sort_by_key(|row| row.sent);
        let mut dedup = Self::default();
        for row in remembered {
            let key = Key::new(scope, row.dedup, row.group);
            let first = First {
                message: row.message,
                seq: Some(row.seq),
                sent: row.sent,
            };
            dedup.order.push_back((row.sent, key.clone()));
            dedup.firsts.insert(key, first);
        }
        dedup
    }

    /// The message that the id stands for now, if any.
    pub(super) fn first(&mut self, key: &Key, now: Timestamp) -> Option<First> {
        while let Some((sent, oldest)) = self.order.front()
            && sent.plus(WINDOW) <= now
        {
            if self
                .firsts
                .get(oldest)
                .is_some_and(|first| first.sent == *sent)
            {
                self.firsts.remove(oldest);
            }
            self.order.pop_front();
        }
        self.firsts.get(key).copied()
    }

    /// The id now stands for this message, which is on its way to disk.
    pub(super) fn note(&mut self, key: Key, message: Uuid, now: Timestamp) {
        let first = First {
            message,
            seq: None,
            sent: now,
        };
        self.order.push_back((now, key.clone()));
        self.firsts.insert(key, first);
    }

    /// The message is on disk at this position, or not at all.
    pub(super) fn settle(&mut self, key: &Key, message: Uuid, seq: Option<Seq>) {
        let Some(first) = self.firsts.get_mut(key) else {
            return;
        };
        if first.message == message {
            match seq {
                Some(_) => first.seq = seq,
                None => drop(self.firsts.remove(key)),
            }
        }
    }
}

/// A receive that named itself, to be repeated if its answer got lost.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    at: Timestamp,
    /// What it was given: positions and receipts.
    pub(super) handed: Vec<(Seq, u64)>,
}

/// The receive attempts of the last [`WINDOW`]. In memory only: after a restart a repeated attempt is a new one.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    attempts: HashMap<Arc<str>, Attempt>,
    order: VecDeque<(Timestamp, Arc<str>)>,
}

impl Attempts {
    /// What the attempt was given.
    pub(super) fn get(&mut self, id: &str, now: Timestamp) -> Option<Attempt> {
        while let Some((at, _)) = self.order.front()
            && at.plus(WINDOW) <= now
        {
            self.drop_oldest();
        }
        self.attempts.get(id).cloned()
    }

    /// Remembers an attempt; of too many the oldest is forgotten.
    pub(super) fn note(&mut self, id: Arc<str>, handed: Vec<(Seq, u64)>, now: Timestamp) {
        if self.order.len() >= limits::REMEMBERED_ATTEMPTS {
            self.drop_oldest();
        }
        self.order.push_back((now, id.clone()));
        self.attempts.insert(id, Attempt { at: now, handed });
    }

    /// Until when they are needed.
    pub(super) fn until(&self) -> Option<Timestamp> {
        self.order.back().map(|(at, _)| at.plus(WINDOW))
    }

    fn drop_oldest(&mut self) {
        if let Some((at, id)) = self.order.pop_front()
            && self.attempts.get(&id).is_some_and(|found| found.at == at)
        {
            self.attempts.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(scope: DedupScope, dedup: &str, group: &str) -> Key {
        Key::new(scope, dedup.into(), Some(group.into()))
    }

    #[test]
    fn an_id_counts_for_five_minutes() {
        let mut dedup = Dedup::default();
        let id = Uuid::from_u128(1);
        let a = key(DedupScope::Queue, "a", "g");
        dedup.note(a.clone(), id, Timestamp::from_secs(100));
        let first = |dedup: &mut Dedup, secs| {
            dedup
                .first(
                    &key(DedupScope::Queue, "a", "other group"),
                    Timestamp::from_secs(secs),
                )
                .map(|first| first.seq)
        };
        assert_eq!(first(&mut dedup, 100), Some(None));
        dedup.settle(&a, id, Some(Seq(7)));
        assert_eq!(first(&mut dedup, 399), Some(Some(Seq(7))));
        assert_eq!(first(&mut dedup, 400), None);
        assert!(dedup.order.is_empty());
    }

    #[test]
    fn groups_are_apart_if_that_is_the_scope() {
        let mut dedup = Dedup::default();
        let now = Timestamp::from_secs(1);
        dedup.note(key(DedupScope::MessageGroup, "a", "g"), Uuid::nil(), now);
        assert!(
            dedup
                .first(&key(DedupScope::MessageGroup, "a", "h"), now)
                .is_none()
        );
        assert!(
            dedup
                .first(&key(DedupScope::MessageGroup, "a", "g"), now)
                .is_some()
        );
    }

    #[test]
    fn an_id_whose_message_was_refused_is_free() {
        let mut dedup = Dedup::default();
        let now = Timestamp::from_secs(1);
        let a = key(DedupScope::Queue, "a", "g");
        dedup.note(a.clone(), Uuid::from_u128(1), now);
        dedup.settle(&a, Uuid::from_u128(2), None);
        assert!(dedup.first(&a, now).is_some(), "another message's refusal");
        dedup.settle(&a, Uuid::from_u128(1), None);
        assert!(dedup.first(&a, now).is_none());
    }

    #[test]
    fn attempts_are_forgotten_after_five_minutes() {
        let mut attempts = Attempts::default();
        attempts.note("a".into(), vec![(Seq(1), 2)], Timestamp::from_secs(0));
        attempts.note("a".into(), vec![(Seq(3), 4)], Timestamp::from_secs(100));
        let get = |attempts: &mut Attempts, secs| {
            attempts
                .get("a", Timestamp::from_secs(secs))
                .map(|found| found.handed)
        };
        assert_eq!(get(&mut attempts, 301), Some(vec![(Seq(3), 4)]));
        assert_eq!(attempts.until(), Some(Timestamp::from_secs(400)));
        assert_eq!(get(&mut attempts, 400), None);
        assert_eq!(attempts.until(), None);
    }

    #[test]
    fn of_too_many_attempts_the_oldest_is_forgotten() {
        let mut attempts = Attempts::default();
        let now = Timestamp::from_secs(1);
        for n in 0..=limits::REMEMBERED_ATTEMPTS {
            attempts.note(n.to_string().into(), vec![(Seq(n as u64), 0)], now);
            let expect = (n < limits::REMEMBERED_ATTEMPTS).then(|| vec![(Seq(0), 0)]);
            let first = attempts.get("0", now).map(|attempt| attempt.handed);
            assert_eq!(first, expect, "{n}");
        }
        assert!(attempts.get("1", now).is_some());
    }
}
