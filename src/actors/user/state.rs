//! A user's history in memory: which entries there are, which are read. Pure: time comes in, nothing goes out.

use std::collections::{BTreeMap, HashMap};

use crate::backends::ReadMark;
use crate::domain::history::{EntryMeta, Place, Query, Unread};
use crate::domain::message::Origin;
use crate::domain::{MessageId, Seq, Timestamp};

/// What is known of a user's history.
#[derive(Debug, Default)]
pub struct HistoryState {
    entries: BTreeMap<Place, EntryMeta>,
    places: HashMap<MessageId, Place>,
    newest: Seq,
    unread: usize,
}

impl HistoryState {
    /// Up to where the store's entries have been learnt.
    pub fn newest(&self) -> Seq {
        self.newest
    }

    /// Learns newer entries, ascending by `seq`. Gives back the user's own that they replace.
    pub fn learn(&mut self, entries: Vec<EntryMeta>) -> Vec<Seq> {
        let mut replaced = Vec::new();
        for entry in entries {
            self.newest = self.newest.max(entry.seq);
            let place = (entry.created, entry.seq);
            if let Some(older) = self.places.insert(entry.message_id.clone(), place)
                && let Some(old) = self.take(older)
                && old.origin == Origin::Own
            {
                replaced.push(old.seq);
            }
            self.unread += usize::from(!entry.read);
            self.entries.insert(place, entry);
        }
        replaced
    }

    /// Forgets entries whose time has passed.
    pub fn expire(&mut self, now: Timestamp) {
        // Entries of one history live equally long, so the oldest expire first.
        while let Some((place, entry)) = self.entries.first_key_value()
            && entry.expires <= now
        {
            let place = *place;
            if let Some(entry) = self.take(place)
                && self.places.get(&entry.message_id) == Some(&place)
            {
                self.places.remove(&entry.message_id);
            }
        }
    }

    /// How many entries are not read.
    pub fn unread(&self) -> usize {
        self.unread
    }

    /// Entries newest first, and whether there are more.
    pub fn page(&self, query: &Query) -> (Vec<EntryMeta>, bool) {
        let from = (query.start.unwrap_or_default(), Seq(0));
        let to = query
            .end
            .map_or((Timestamp(u64::MAX), Seq(u64::MAX)), |end| {
                (end, Seq(u64::MAX))
            });
        if from > to {
            return (Vec::new(), false);
        }
        let shown = |entry: &&EntryMeta| {
            query
                .before
                .is_none_or(|before| (entry.created, entry.seq) < before)
                && (query.kinds.is_empty()
                    || entry
                        .kind
                        .as_deref()
                        .is_some_and(|kind| query.kinds.iter().any(|wanted| wanted == kind)))
        };
        let mut found = self
            .entries
            .range(from..=to)
            .rev()
            .map(|(_, entry)| entry)
            .filter(shown);
        let page = found.by_ref().take(query.limit).cloned().collect();
        (page, found.next().is_some())
    }

    /// The unread entries that are meant, oldest first.
    pub fn unread_of(&self, which: &Unread) -> Vec<(MessageId, ReadMark)> {
        let mark = |entry: &EntryMeta| {
            let mark = ReadMark {
                seq: entry.seq,
                origin: entry.origin,
                expires: entry.expires,
            };
            (entry.message_id.clone(), mark)
        };
        let mut places: Vec<Place> = match which {
            Unread::Ids(ids) => ids
                .iter()
                .filter_map(|id| self.places.get(id))
                .copied()
                .collect(),
            Unread::AsOf(at) => self
                .entries
                .range(..=(*at, Seq(u64::MAX)))
                .map(|(place, _)| *place)
                .collect(),
        };
        places.sort_unstable();
        places.dedup();
        let entries = places.iter().filter_map(|place| self.entries.get(place));
        entries.filter(|entry| !entry.read).map(mark).collect()
    }

    /// Notes that these have been marked as read on disk.
    pub fn mark_read(&mut self, ids: &[MessageId]) {
        for id in ids {
            if let Some(place) = self.places.get(id)
                && let Some(entry) = self.entries.get_mut(place)
                && !entry.read
            {
                entry.read = true;
                self.unread -= 1;
            }
        }
    }

    fn take(&mut self, place: Place) -> Option<EntryMeta> {
        let entry = self.entries.remove(&place)?;
        self.unread -= usize::from(!entry.read);
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn entry(seq: u64, id: &str) -> EntryMeta {
        let created = Timestamp::from_secs(seq);
        EntryMeta {
            seq: Seq(seq),
            origin: Origin::Own,
            message_id: MessageId::parse(id).expect("valid"),
            created,
            expires: created.plus(Duration::from_secs(100)),
            kind: Some(if seq.is_multiple_of(2) {
                "even".into()
            } else {
                "odd".into()
            }),
            read: false,
        }
    }

    fn state(ids: &[&str]) -> HistoryState {
        let mut state = HistoryState::default();
        state.learn(
            ids.iter()
                .zip(1..)
                .map(|(id, seq)| entry(seq, id))
                .collect(),
        );
        state
    }

    fn ids(page: &(Vec<EntryMeta>, bool)) -> (Vec<&str>, bool) {
        (
            page.0
                .iter()
                .map(|entry| entry.message_id.as_str())
                .collect(),
            page.1,
        )
    }

    fn all() -> Query {
        Query {
            limit: 10,
            ..Query::default()
        }
    }

    #[test]
    fn pages_are_newest_first_and_go_on() {
        let state = state(&["a", "b", "c"]);
        let first = state.page(&Query { limit: 2, ..all() });
        assert_eq!(ids(&first), (vec!["c", "b"], true));
        let before = first.0.last().map(|entry| (entry.created, entry.seq));
        assert_eq!(
            ids(&state.page(&Query {
                limit: 2,
                before,
                ..all()
            })),
            (vec!["a"], false)
        );
    }

    #[test]
    fn bounds_are_inclusive_and_types_filter() {
        let state = state(&["a", "b", "c", "d"]);
        let (start, end) = (Some(Timestamp::from_secs(2)), Some(Timestamp::from_secs(3)));
        assert_eq!(
            ids(&state.page(&Query {
                start,
                end,
                ..all()
            }))
            .0,
            ["c", "b"]
        );
        assert_eq!(
            ids(&state.page(&Query {
                kinds: vec!["even".into()],
                ..all()
            }))
            .0,
            ["d", "b"]
        );
        assert!(
            state
                .page(&Query {
                    start: end,
                    end: start,
                    ..all()
                })
                .0
                .is_empty()
        );
    }

    #[test]
    fn a_repeated_id_replaces_and_is_unread_again() {
        let mut state = state(&["a", "b"]);
        state.mark_read(&[MessageId::parse("a").expect("valid")]);
        assert_eq!(state.unread(), 1);
        assert_eq!(state.learn(vec![entry(3, "a")]), [Seq(1)]);
        assert_eq!(
            (state.unread(), ids(&state.page(&all())).0),
            (2, vec!["a", "b"])
        );
    }

    #[test]
    fn expired_entries_are_neither_shown_nor_counted() {
        let mut state = state(&["a", "b"]);
        state.expire(Timestamp::from_secs(101));
        assert_eq!((state.unread(), ids(&state.page(&all())).0), (1, vec!["b"]));
        state.expire(Timestamp::from_secs(102));
        assert_eq!(state.unread(), 0);
        assert!(state.places.is_empty());
    }

    #[test]
    fn receipts_concern_unread_entries_only() {
        let mut state = state(&["a", "b", "c"]);
        let id = |text: &str| MessageId::parse(text).expect("valid");
        let chosen = |state: &HistoryState, which| -> Vec<String> {
            state
                .unread_of(&which)
                .into_iter()
                .map(|(id, _)| id.to_string())
                .collect()
        };
        assert_eq!(
            chosen(&state, Unread::AsOf(Timestamp::from_secs(2))),
            ["a", "b"]
        );
        state.mark_read(&[id("a")]);
        state.mark_read(&[id("a"), id("unknown")]);
        let named = Unread::Ids(vec![id("c"), id("a"), id("c"), id("unknown")]);
        assert_eq!(chosen(&state, named), ["c"]);
        assert_eq!(state.unread(), 2);
    }
}
