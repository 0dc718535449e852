//! Takes what waits on disk to where it belongs.
//!
//! Files are gone through from the oldest to the newest, and again as long as there are any. What of a file can not be done
//! stays, and the next try of anything waits for a pause, which grows until something gets through: a service that is down
//! is asked for little, and one that is back gets a file's errands at a time from each node. One queue that fails holds up
//! no other's messages for longer than its own file takes.
//!
//! An errand is over when everybody that it names has it. Sessions that have ended are let go, as is what a queue, or
//! history, would not have any more.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{StreamExt as _, iter};

use super::errand::Errand;
use super::folder::Folder;
use super::{Missed, blocking};
use crate::backends::aws::items::Item;
use crate::backends::aws::lookup::Which;
use crate::backends::aws::relay::{Relay, audience, is_meant};
use crate::backends::aws::service::Pauses;
use crate::backends::plane::Parcel;
use crate::config::limits;
use crate::domain::history::NewEntry;
use crate::domain::session::Session;
use crate::domain::{Clock, QueueName, SessionKey, StoreError, Timestamp, UserId};

/// Errands of a file that are at their look-ups, or at history, at a time; and sessions or users of one errand.
const PARALLEL: usize = 8;

/// How far the clocks of nodes may be apart.
const SKEW: Duration = Duration::from_secs(300);

/// Does the errands of a folder.
#[derive(Debug, Clone)]
pub struct Courier {
    folder: Arc<Folder>,
    /// One that takes nothing over to this folder.
    relay: Relay,
    clock: Clock,
}

/// An errand and those of the sessions it names that are there.
struct Found {
    errand: Errand,
    sessions: Vec<Session>,
    /// What could not be looked up.
    missed: Missed,
}

/// What became of an errand.
struct Tried {
    /// What is still to be done.
    left: Option<Errand>,
    /// Whether somebody has the message who did not have it before.
    got_through: bool,
}

impl Courier {
    /// A courier for this folder, by a relay that takes nothing over.
    pub fn new(folder: Arc<Folder>, relay: Relay, clock: Clock) -> Self {
        Self {
            folder,
            relay,
            clock,
        }
    }

    /// Does what is there and what comes, for ever.
    pub async fn run(self) {
        let mut pauses = Pauses::endless();
        let mut last = None;
        loop {
            let number = self.folder.next(last).await;
            last = Some(number);
            let (done, got_through) = self.attempt(number).await;
            if got_through {
                pauses = Pauses::endless();
            }
            if !done {
                pauses.pause().await;
            }
        }
    }

    /// Tries a file's errands: whether none is left, and whether anything got through.
    async fn attempt(&self, number: u64) -> (bool, bool) {
        let folder = self.folder.clone();
        let read = tokio::task::spawn_blocking(move || folder.read(number)).await;
        let errands = match read.unwrap_or_else(|ended| Err(StoreError::Failed(ended.to_string())))
        {
            Ok(errands) => errands,
            Err(error @ StoreError::Corrupt(_)) => {
                self.put_aside(number, &error).await;
                return (true, false);
            }
            Err(error) => {
                tracing::error!(number, %error, "messages that wait for AWS can not be read at the moment");
                return (false, false);
            }
        };
        let before = errands.len();
        let tried = self.try_all(errands).await;
        let mut got_through = tried.iter().any(|tried| tried.got_through);
        let left: Vec<Errand> = tried.into_iter().filter_map(|tried| tried.left).collect();
        got_through |= left.len() < before;
        let done = left.is_empty();
        if got_through {
            let folder = self.folder.clone();
            if let Err(error) = blocking(move || folder.keep(number, &left)).await {
                tracing::error!(%error, "what was delivered from disk may be delivered again");
                got_through = false;
            }
        }
        (done, got_through)
    }

    async fn put_aside(&self, number: u64, why: &StoreError) {
        let folder = self.folder.clone();
        let aside = blocking(move || folder.put_aside(number)).await;
        ended("unreadable");
        match aside {
            Ok(path) => {
                tracing::error!(file = %path.display(), %why, "messages that wait for AWS can not be read");
            }
            Err(error) => {
                tracing::error!(number, %why, %error, "messages that wait for AWS can not be read, nor put aside");
            }
        }
    }

    /// Tries errands. A session is sent those that name it in their order.
    async fn try_all(&self, errands: Vec<Errand>) -> Vec<Tried> {
        let (naming, meaning): (Vec<_>, Vec<_>) = errands
            .into_iter()
            .partition(|errand| errand.sessions.is_some());
        let look_up = |errand| self.look_up(errand);
        let mut found = iter(naming.into_iter().map(look_up)).buffered(PARALLEL);
        let mut under_way = Vec::new();
        while let Some(found) = found.next().await {
            under_way.push(self.deliver(found));
        }
        // All are on their way to their queues; what is left is waiting, and history.
        let mut tried: Vec<_> = iter(under_way).buffered(PARALLEL).collect().await;
        for errand in meaning {
            tried.push(self.deliver_to_target(errand).await);
        }
        tried
    }

    /// Finds the sessions that an errand names.
    async fn look_up(&self, errand: Errand) -> Found {
        let now = self.clock.wall();
        let named = errand.sessions.clone().unwrap_or_default();
        let read = |(key, queue): (SessionKey, QueueName)| async move {
            (self.relay.sessions.read(&key).await, key, queue)
        };
        let mut read = iter(named.into_iter().map(read)).buffered(PARALLEL);
        let (mut sessions, mut missed) = (Vec::new(), Missed::default());
        while let Some((read, key, queue)) = read.next().await {
            match read {
                Ok(Some((session, _))) => {
                    let is_the_same = session.queue_name == queue;
                    sessions.extend(
                        Some(session).filter(|it| is_the_same && is_due(it, &errand.parcel, now)),
                    );
                }
                Ok(None) => {}
                Err(error) => missed.session(key, queue, error),
            }
        }
        Found {
            errand,
            sessions,
            missed,
        }
    }

    /// Hands an errand over to the sessions that were found, which has happened when this returns, and to history.
    fn deliver(&self, found: Found) -> impl Future<Output = Tried> {
        let Found {
            errand,
            sessions,
            mut missed,
        } = found;
        let sent = self.relay.hand_over(&errand.parcel, &sessions, [].into());
        async move {
            let (queues, unsent) = sent.await;
            let mut got_through = queues.len() > unsent.sessions.len();
            missed.add(unsent);
            let users = errand.users.clone();
            missed.add(self.keep(&errand.parcel, users, &mut got_through).await);
            self.tried(errand, missed, got_through)
        }
    }

    /// Sends a message to all that its target means, as far as they were there when it was accepted.
    async fn deliver_to_target(&self, errand: Errand) -> Tried {
        let parcel = &errand.parcel;
        let (mut missed, mut got_through) = (Missed::default(), false);
        let mut users = errand.users.clone();
        let mut from = None;
        loop {
            let (found, next) = match self.part(parcel, from).await {
                Ok(part) => part,
                Err(error) => {
                    missed.unknown(error);
                    break;
                }
            };
            for sessions in found.chunks(self.relay.at_once(parcel)) {
                let (queues, unsent) = self.relay.hand_over(parcel, sessions, [].into()).await;
                got_through |= queues.len() > unsent.sessions.len();
                missed.add(unsent);
                if parcel.target.user.is_none() && parcel.keep {
                    users.extend(audience(parcel, sessions));
                }
            }
            let unkept = self.keep(parcel, std::mem::take(&mut users), &mut got_through);
            missed.add(unkept.await);
            from = next;
            // More than one errand names: they are found again.
            missed.unknown |=
                missed.sessions.len().max(missed.users.len()) > limits::aws::SEND_PART;
            if from.is_none() || missed.unknown {
                break;
            }
        }
        missed.users.extend(users);
        self.tried(errand, missed, got_through)
    }

    /// A part of the sessions that a target means, and where the next begins.
    async fn part(
        &self,
        parcel: &Parcel,
        from: Option<Item>,
    ) -> Result<(Vec<Session>, Option<Item>), StoreError> {
        let (target, now) = (&parcel.target, self.clock.wall());
        let which = match (target.user, target.account, &target.session) {
            (Some(user), ..) => Which::User(user),
            (None, _, Some(_)) => {
                let mut found = self.relay.named(target, now).await?;
                found.retain(|session| was_there(session, parcel, now));
                return Ok((found, None));
            }
            (None, Some(account), None) => Which::Account(account),
            (None, None, None) => Which::Everyone,
        };
        let part = self.relay.sessions.part(&which, from, now).await?;
        let mut sessions = part.sessions;
        sessions.retain(|session| is_meant(target, session) && was_there(session, parcel, now));
        Ok((sessions, part.next))
    }

    /// Writes a message to users' history, if it would still be there: those that do not have it.
    async fn keep(&self, parcel: &Parcel, users: Vec<UserId>, got_through: &mut bool) -> Missed {
        let mut missed = Missed::default();
        let entry = self.relay.entry(parcel);
        if entry.expires <= self.clock.wall() {
            return missed;
        }
        let put = |user| {
            let put = self.relay.writer.put_late(user, &entry);
            async move { (user, put.await) }
        };
        let mut kept = iter(users.into_iter().map(put)).buffer_unordered(PARALLEL);
        while let Some((user, kept)) = kept.next().await {
            match kept {
                Ok(()) => *got_through = true,
                Err(error) => missed.user(user, error),
            }
        }
        missed
    }

    /// What is left of an errand that missed these.
    fn tried(&self, errand: Errand, missed: Missed, got_through: bool) -> Tried {
        let Some(error) = &missed.error else {
            ended(if got_through { "delivered" } else { "over" });
            return Tried {
                left: None,
                got_through,
            };
        };
        let message = errand.parcel.message_id.as_str();
        tracing::debug!(message, %error, "a message waits on disk");
        let entry = self.relay.entry(&errand.parcel);
        if is_over(&entry, self.clock.wall()) {
            tracing::warn!(message, %error, "a message that waited on disk is let go: its time has passed");
            ended("over");
            return Tried {
                left: None,
                got_through,
            };
        }
        Tried {
            left: Some(Errand::new(&errand.parcel, missed)),
            got_through,
        }
    }
}

/// Whether a session's queue would still have a message.
fn is_due(session: &Session, parcel: &Parcel, now: Timestamp) -> bool {
    session.ttl > now && parcel.now.plus(session.retention) > now
}

/// Whether that is so and the session was there when the message was accepted, perhaps by another node's clock.
fn was_there(session: &Session, parcel: &Parcel, now: Timestamp) -> bool {
    is_due(session, parcel, now) && session.created <= parcel.now.plus(SKEW)
}

/// Whether no queue and no history would still have a message.
fn is_over(entry: &NewEntry, now: Timestamp) -> bool {
    let in_queues = entry.created.plus(limits::LONGEST_RETENTION);
    entry.expires.max(in_queues) <= now
}

/// Counts an errand that is over.
fn ended(outcome: &'static str) {
    metrics::counter!("fanfare_aws_spill_ended_total", "outcome" => outcome).increment(1);
}

#[cfg(test)]
mod tests {
    use super::super::errand::tests::errand;
    use super::*;
    use crate::auth::testing;

    /// What these say of a session and a message that were made so many seconds after the same moment.
    fn check(created: u64, accepted: u64, now: u64, due: bool, there: bool) {
        let mut session = testing::session(1, "s", None);
        session.created = Timestamp::from_secs(created);
        session.retention = Duration::from_secs(600);
        session.ttl = Timestamp::from_secs(10_000);
        let mut parcel = errand("a").parcel;
        parcel.now = Timestamp::from_secs(accepted);
        let now = Timestamp::from_secs(now);
        let found = (
            is_due(&session, &parcel, now),
            was_there(&session, &parcel, now),
        );
        assert_eq!(found, (due, there), "{created} {accepted} {now:?}");
    }

    #[test]
    fn a_late_message_is_for_those_who_would_still_have_it() {
        check(100, 200, 300, true, true);
        check(100, 200, 799, true, true);
        check(100, 200, 800, false, false);
        check(100, 9_900, 10_000, false, false);
        // A session that came later; a clock that is a little behind.
        check(500, 200, 300, true, true);
        check(501, 200, 300, true, false);
    }

    #[test]
    fn what_nobody_would_have_any_more_is_over() {
        let Parcel {
            message_id, now, ..
        } = errand("a").parcel;
        let check = |ttl, after: Duration, expect| {
            let entry = NewEntry {
                message_id: message_id.clone(),
                created: now,
                expires: now.plus(ttl),
                kind: None,
                json: bytes::Bytes::new(),
            };
            assert_eq!(is_over(&entry, now.plus(after)), expect, "{after:?}");
        };
        let (second, longest) = (Duration::from_secs(1), limits::LONGEST_RETENTION);
        check(second, longest - second, false);
        check(second, longest, true);
        check(longest * 2, longest, false);
        check(longest * 2, longest * 2, true);
    }
}
