//! Retained messages: the last one that each topic was told to keep.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::Notify;

use super::ticks::{Tick, Ticks};
use crate::domain::publication::Publication;
use crate::domain::topic::{Hash, TopicFilter, TopicName};
use crate::domain::{Seq, Timestamp};

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

/// All retained messages, in memory; the store has them, too. The store's order is the one that counts: when nothing is on
/// its way to the disk any more, both have the same.
#[derive(Debug)]
pub(super) struct RetainedTable {
    limits: RetainedLimits,
    hash: Hash,
    kept: RwLock<Table>,
    /// Told when something is on disk.
    settled: Notify,
}

#[derive(Debug, Default)]
struct Table {
    by_topic: BTreeMap<TopicName, Kept>,
    bytes: usize,
    /// Topics whose next retained message is on its way to the disk; the committing thread's bounds are theirs.
    under_way: HashMap<TopicName, UnderWay>,
}

/// A topic's retained message.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) publication: Arc<Publication>,
    /// Since when it is retained.
    pub(super) at: Timestamp,
    /// When it could be seen here first. Those who subscribed before get it as a live message.
    pub(super) shown: Tick,
    /// When the durable sessions that it is for were found. Those that subscribed before have it in their queues.
    pub(super) routed: Tick,
}

/// What is on its way to the disk for one topic.
#[derive(Debug)]
struct UnderWay {
    /// When each publication began.
    begun: Vec<Tick>,
    /// What is on disk: its place in the order of commits, and what it is; `None`: nothing is retained.
    newest: (Seq, Option<Kept>),
}

/// A publication on its way to be retained. Belongs to the thread that published it.
#[derive(Debug)]
pub(super) struct Turn {
    /// When it was published, as the retained message says it.
    pub(super) at: Timestamp,
    begun: Tick,
    routed: Tick,
    shown: Cell<Option<Tick>>,
}

impl Turn {
    /// It was looked for durable sessions.
    pub(super) fn routed(self, routed: Tick) -> Self {
        Self { routed, ..self }
    }

    /// When it could be seen first: now, if it could not.
    fn shown(&self, ticks: &Ticks) -> Tick {
        let shown = self.shown.get().unwrap_or_else(|| ticks.next());
        self.shown.set(Some(shown));
        shown
    }

    fn kept(&self, publication: &Arc<Publication>, ticks: &Ticks) -> Kept {
        Kept {
            publication: publication.clone(),
            at: self.at,
            shown: self.shown(ticks),
            routed: self.routed,
        }
    }
}

impl Table {
    /// What everyone sees from now on.
    fn show(&mut self, topic: &TopicName, kept: Option<Kept>) {
        let kept = kept.filter(|kept| !kept.publication.payload.is_empty());
        let old = match kept {
            None => self.by_topic.remove(topic),
            Some(kept) => {
                self.bytes += size(&kept.publication);
                self.by_topic.insert(topic.clone(), kept)
            }
        };
        self.bytes -= old.map_or(0, |old| size(&old.publication));
        metrics::gauge!("fanfare_mqtt_retained_messages").set(self.by_topic.len() as f64);
        metrics::gauge!("fanfare_mqtt_retained_bytes").set(self.bytes as f64);
    }
}

impl RetainedTable {
    pub(super) fn new(limits: RetainedLimits, hash: Hash) -> Self {
        Self {
            limits,
            hash,
            kept: RwLock::default(),
            settled: Notify::new(),
        }
    }

    /// Takes in what the store has, at start.
    pub(super) fn load(&self, publication: Publication, at: Timestamp) {
        let topic = publication.topic.clone();
        let kept = Kept {
            publication: Arc::new(publication),
            at,
            shown: Tick::default(),
            routed: Tick::default(),
        };
        self.write().show(&topic, Some(kept));
    }

    /// A publication is about to be routed and stored. What is begun must be [settled](Self::settle).
    pub(super) fn begin(&self, topic: &TopicName, at: Timestamp, ticks: &Ticks) -> Turn {
        let mut table = self.write();
        let begun = ticks.next();
        let on_disk = table.by_topic.get(topic).cloned();
        let under_way = table.under_way.entry(topic.clone());
        let under_way = under_way.or_insert_with(|| UnderWay {
            begun: Vec::new(),
            newest: (Seq(0), on_disk),
        });
        under_way.begun.push(begun);
        Turn {
            at,
            begun,
            routed: begun,
            shown: Cell::new(None),
        }
    }

    /// Shows a publication before it is on disk, unless it was seen already. Says when that was.
    pub(super) fn show(&self, turn: &Turn, publication: &Arc<Publication>, ticks: &Ticks) -> Tick {
        if turn.shown.get().is_none() {
            let mut table = self.write();
            let kept = turn.kept(publication, ticks);
            table.show(&publication.topic, Some(kept));
        }
        turn.shown(ticks)
    }

    /// It is known what the store made of a publication: its place in the order of commits, or `None` if it was not
    /// retained. What is newest there is what is seen here.
    pub(super) fn settle(
        &self,
        turn: &Turn,
        publication: &Arc<Publication>,
        stored: Option<Seq>,
        ticks: &Ticks,
    ) {
        let topic = &publication.topic;
        let mut table = self.write();
        let Some(under_way) = table.under_way.get_mut(topic) else {
            return;
        };
        under_way.begun.retain(|begun| *begun != turn.begun);
        let is_last = under_way.begun.is_empty();
        let is_newest = stored.is_some_and(|seq| seq > under_way.newest.0);
        if let Some(seq) = stored.filter(|_| is_newest) {
            under_way.newest = (seq, Some(turn.kept(publication, ticks)));
        }
        if is_newest || is_last {
            let on_disk = under_way.newest.1.clone();
            table.show(topic, on_disk);
        }
        if is_last {
            table.under_way.remove(topic);
        }
        drop(table);
        self.settled.notify_waiters();
    }

    /// Waits until everything that began before is settled, for the topics that a filter matches.
    pub(super) async fn settled(&self, filter: &TopicFilter, before: Tick) {
        loop {
            let settled = self.settled.notified();
            let is_under_way = {
                let table = self.read();
                let mut topics = table.under_way.iter();
                topics.any(|(topic, under_way)| {
                    under_way.begun.iter().any(|begun| *begun < before)
                        && filter.matches_with(topic, self.hash)
                })
            };
            if !is_under_way {
                return;
            }
            settled.await;
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.kept.read().expect("nobody panics while holding it")
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.kept.write().expect("nobody panics while holding it")
    }

    /// Whether a retained message would find room.
    pub(super) fn room(&self, publication: &Publication) -> Result<(), Full> {
        if publication.payload.is_empty() {
            return Ok(());
        }
        let kept = self.read();
        let old = kept.by_topic.get(&publication.topic);
        let fewer = old.map_or(0, |old| size(&old.publication));
        let more = usize::from(old.is_none());
        if kept.by_topic.len() + more > self.limits.messages
            || kept.bytes - fewer + size(publication) > self.limits.bytes
        {
            return Err(Full);
        }
        Ok(())
    }

    /// The topic's retained message.
    pub(super) fn get(&self, topic: &str, now: Timestamp) -> Option<Kept> {
        let kept = self.read();
        let found = kept.by_topic.get(topic)?;
        is_alive(&found.publication, now).then(|| found.clone())
    }

    /// Retained messages whose topic the filter matches, in order of topic.
    pub(super) fn matching(&self, filter: &TopicFilter, now: Timestamp) -> Vec<Kept> {
        if !filter.is_wild() {
            return self.get(filter.filter(), now).into_iter().collect();
        }
        let prefix = literal_prefix(filter.filter());
        let kept = self.read();
        kept.by_topic
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(topic, _)| topic.as_str().starts_with(prefix))
            .filter(|(topic, found)| {
                filter.matches_with(topic, self.hash) && is_alive(&found.publication, now)
            })
            .map(|(_, found)| found.clone())
            .collect()
    }

    /// Retained messages of topics after `after`, in order of topic, at most `limit`.
    pub(super) fn page(&self, after: Option<&str>, limit: usize, now: Timestamp) -> Vec<Kept> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let kept = self.read();
        kept.by_topic
            .range::<str, _>((from, Bound::Unbounded))
            .filter(|(_, found)| is_alive(&found.publication, now))
            .take(limit)
            .map(|(_, found)| found.clone())
            .collect()
    }

    /// Forgets what has expired; the store's rows leave by themselves.
    pub(super) fn forget_expired(&self, now: Timestamp) {
        let mut kept = self.write();
        let Table {
            by_topic, bytes, ..
        } = &mut *kept;
        by_topic.retain(|_, found| {
            let alive = is_alive(&found.publication, now);
            if !alive {
                *bytes -= size(&found.publication);
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
        let publication = publication(topic, payload);
        table.room(&publication)?;
        table.load(publication, Timestamp(0));
        Ok(())
    }

    fn topics(table: &RetainedTable, filter: &str) -> Vec<String> {
        let filter = TopicFilter::parse(filter).unwrap();
        let found = table.matching(&filter, Timestamp(1));
        found
            .iter()
            .map(|found| found.publication.topic.as_str().to_owned())
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
        table.load(short, Timestamp(0));
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

    /// The payload that is retained.
    fn seen(table: &RetainedTable) -> Option<String> {
        let found = table.get("a", Timestamp(1))?;
        Some(String::from_utf8(found.publication.payload.to_vec()).unwrap())
    }

    #[test]
    fn what_is_last_on_disk_is_what_is_seen_whoever_hears_of_it_first() {
        let (table, ticks) = (table(), Ticks::default());
        let message = |payload: &str| Arc::new(publication("a", payload));
        let (one, two, three) = (message("1"), message("2"), message("3"));
        let begin = || table.begin(&one.topic, Timestamp(0), &ticks);
        let (first, second, third) = (begin(), begin(), begin());
        // The second promises nothing and is seen at once; it comes to the disk before the first.
        table.show(&second, &two, &ticks);
        assert_eq!(seen(&table).as_deref(), Some("2"));
        table.settle(&first, &one, Some(Seq(9)), &ticks);
        assert_eq!(seen(&table).as_deref(), Some("1"));
        table.settle(&second, &two, Some(Seq(8)), &ticks);
        assert_eq!(seen(&table).as_deref(), Some("1"));
        // What did not come to the disk is not seen in the end.
        table.show(&third, &three, &ticks);
        assert_eq!(seen(&table).as_deref(), Some("3"));
        table.settle(&third, &three, None, &ticks);
        assert_eq!(seen(&table).as_deref(), Some("1"));
        assert!(table.read().under_way.is_empty());
        // The same with a message that removes.
        let (keep, remove) = (begin(), begin());
        table.settle(&remove, &message(""), Some(Seq(11)), &ticks);
        table.settle(&keep, &one, Some(Seq(10)), &ticks);
        assert_eq!(seen(&table), None);
        assert_eq!(table.read().bytes, 0);
    }
}
