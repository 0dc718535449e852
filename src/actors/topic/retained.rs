//! Retained messages: the last one that each topic was told to keep.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, RwLock};

use crate::domain::Timestamp;
use crate::domain::publication::Publication;
use crate::domain::topic::{Hash, TopicFilter, TopicName};

/// Bounds of retained messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetainedLimits {
    /// Topics that keep one.
    pub messages: usize,
    /// Bytes of all of them, topics included.
    pub bytes: usize,
}

/// There is no room for another retained message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// All retained messages, in memory; the store has them, too.
#[derive(Debug)]
pub(super) struct RetainedTable {
    limits: RetainedLimits,
    hash: Hash,
    kept: RwLock<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    by_topic: BTreeMap<TopicName, Arc<Publication>>,
    bytes: usize,
}

impl RetainedTable {
    pub(super) fn new(limits: RetainedLimits, hash: Hash) -> Self {
        Self {
            limits,
            hash,
            kept: RwLock::default(),
        }
    }

    /// Whether a retained message would find room.
    pub(super) fn room(&self, publication: &Publication) -> Result<(), Full> {
        if publication.payload.is_empty() {
            return Ok(());
        }
        let kept = self.kept.read().expect("nobody panics while holding it");
        let old = kept.by_topic.get(&publication.topic);
        let fewer = old.map_or(0, |old| size(old));
        let more = usize::from(old.is_none());
        if kept.by_topic.len() + more > self.limits.messages
            || kept.bytes - fewer + size(publication) > self.limits.bytes
        {
            return Err(Full);
        }
        Ok(())
    }

    /// Keeps a publication as its topic's retained message; an empty payload removes that.
    pub(super) fn set(&self, publication: &Arc<Publication>) {
        let mut kept = self.kept.write().expect("nobody panics while holding it");
        let old = if publication.payload.is_empty() {
            kept.by_topic.remove(&publication.topic)
        } else {
            kept.bytes += size(publication);
            kept.by_topic
                .insert(publication.topic.clone(), publication.clone())
        };
        kept.bytes -= old.map_or(0, |old| size(&old));
        metrics::gauge!("fanfare_mqtt_retained_messages").set(kept.by_topic.len() as f64);
        metrics::gauge!("fanfare_mqtt_retained_bytes").set(kept.bytes as f64);
    }

    /// The topic's retained message.
    pub(super) fn get(&self, topic: &str, now: Timestamp) -> Option<Arc<Publication>> {
        let kept = self.kept.read().expect("nobody panics while holding it");
        let found = kept.by_topic.get(topic)?;
        is_alive(found, now).then(|| found.clone())
    }

    /// Retained messages whose topic the filter matches, in order of topic.
    pub(super) fn matching(&self, filter: &TopicFilter, now: Timestamp) -> Vec<Arc<Publication>> {
        if !filter.is_wild() {
            return self.get(filter.filter(), now).into_iter().collect();
        }
        let prefix = literal_prefix(filter.filter());
        let kept = self.kept.read().expect("nobody panics while holding it");
        kept.by_topic
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(topic, _)| topic.as_str().starts_with(prefix))
            .filter(|(topic, found)| filter.matches_with(topic, self.hash) && is_alive(found, now))
            .map(|(_, found)| found.clone())
            .collect()
    }

    /// Retained messages of topics after `after`, in order of topic, at most `limit`.
    pub(super) fn page(
        &self,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Vec<Arc<Publication>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let kept = self.kept.read().expect("nobody panics while holding it");
        kept.by_topic
            .range::<str, _>((from, Bound::Unbounded))
            .filter(|(_, found)| is_alive(found, now))
            .take(limit)
            .map(|(_, found)| found.clone())
            .collect()
    }

    /// Forgets what has expired; the store's rows leave by themselves.
    pub(super) fn forget_expired(&self, now: Timestamp) {
        let mut kept = self.kept.write().expect("nobody panics while holding it");
        let Kept { by_topic, bytes } = &mut *kept;
        by_topic.retain(|_, found| {
            let alive = is_alive(found, now);
            if !alive {
                *bytes -= size(found);
            }
            alive
        });
    }
}

fn is_alive(publication: &Publication, now: Timestamp) -> bool {
    publication.expires.is_none_or(|expires| expires > now)
}

fn size(publication: &Publication) -> usize {
    publication.topic.as_str().len() + publication.payload.len()
}

/// What every topic that the filter matches starts with. `a/#` matches `a`, too.
fn literal_prefix(filter: &str) -> &str {
    let wild = filter.find(['#', '+']).unwrap_or(filter.len());
    let prefix = &filter[..wild];
    if filter[wild..].starts_with('#') {
        prefix.strip_suffix('/').unwrap_or(prefix)
    } else {
        prefix
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::publication;
    use super::*;

    fn table() -> RetainedTable {
        with(Hash::WithParent)
    }

    fn with(hash: Hash) -> RetainedTable {
        RetainedTable::new(
            RetainedLimits {
                messages: 4,
                bytes: 40,
            },
            hash,
        )
    }

    fn keep(table: &RetainedTable, topic: &str, payload: &str) -> Result<(), Full> {
        let publication = Arc::new(publication(topic, payload));
        table.room(&publication)?;
        table.set(&publication);
        Ok(())
    }

    fn topics(table: &RetainedTable, filter: &str) -> Vec<String> {
        let filter = TopicFilter::parse(filter.into()).unwrap();
        let found = table.matching(&filter, Timestamp(1));
        found
            .iter()
            .map(|found| found.topic.as_str().to_owned())
            .collect()
    }

    #[test]
    fn filters_find_retained_messages() {
        let table = table();
        for topic in ["a", "a/b", "a!", "$x/y"] {
            keep(&table, topic, "1").unwrap();
        }
        assert_eq!(topics(&table, "a/#"), ["a", "a/b"]);
        assert_eq!(topics(&table, "#"), ["a", "a!", "a/b"]);
        assert_eq!(topics(&table, "+"), ["a", "a!"]);
        assert_eq!(topics(&table, "a/+"), ["a/b"]);
        assert_eq!(topics(&table, "$x/+"), ["$x/y"]);
        assert_eq!(topics(&table, "a"), ["a"]);
        assert_eq!(topics(&table, "b/#"), [""; 0]);
        let table = with(Hash::WithoutParent);
        for topic in ["a", "a/b"] {
            keep(&table, topic, "1").unwrap();
        }
        assert_eq!(topics(&table, "a/#"), ["a/b"]);
        assert_eq!(topics(&table, "#"), ["a", "a/b"]);
    }

    #[test]
    fn an_empty_payload_removes_and_an_expired_one_is_not_shown() {
        let table = table();
        keep(&table, "a", "1").unwrap();
        keep(&table, "a", "").unwrap();
        assert_eq!(topics(&table, "#"), [""; 0]);
        let mut short = publication("b", "2");
        short.expires = Some(Timestamp(1));
        table.set(&Arc::new(short));
        assert_eq!(topics(&table, "#"), [""; 0]);
        assert!(table.get("b", Timestamp(0)).is_some());
        table.forget_expired(Timestamp(1));
        assert!(table.get("b", Timestamp(0)).is_none());
        assert_eq!(table.kept.read().unwrap().bytes, 0);
    }

    #[test]
    fn there_is_no_room_beyond_the_limits() {
        let table = table();
        assert_eq!(keep(&table, "a", &"x".repeat(40)), Err(Full), "bytes");
        keep(&table, "a", &"x".repeat(39)).unwrap();
        keep(&table, "a", &"y".repeat(39)).unwrap();
        keep(&table, "a", "x").unwrap();
        for topic in ["b", "c", "d"] {
            keep(&table, topic, "x").unwrap();
        }
        assert_eq!(keep(&table, "e", "x"), Err(Full), "messages");
        keep(&table, "d", "y").unwrap();
        keep(&table, "e", "").unwrap();
    }
}
