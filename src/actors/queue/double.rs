//! A store in memory for tests: the contract of `QueueStore` and `QueueCatalog`, written as plainly as possible.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;

use crate::backends::{
    Change, Commit, LoadedQueue, OnTouched, QueueCatalog, QueueEdit, QueueStore, Recipients,
    Remembered, Touched,
};
use crate::domain::message::{MessageState, NewMessage, Origin, QueueSource, StoredMessage};
use crate::domain::queue::QueueRecord;
use crate::domain::{QueueError, QueueName, QueueNo, Seq, StoreError, Timestamp};

/// The rows that changes produce.
#[derive(Debug, Default)]
pub(super) struct Rows {
    last: u64,
    queues: BTreeMap<QueueNo, QueueRecord>,
    messages: BTreeMap<(QueueNo, Seq), NewMessage>,
    states: BTreeMap<(QueueNo, Seq), (Origin, MessageState)>,
    broadcasts: BTreeMap<Seq, (Origin, NewMessage)>,
    cursors: HashMap<QueueNo, Seq>,
    leases: HashMap<QueueNo, u64>,
    remembered: Vec<(QueueNo, Remembered)>,
}

const DEDUP_WINDOW: Duration = Duration::from_secs(300);

impl Rows {
    fn next(&mut self) -> Seq {
        self.last += 1;
        Seq(self.last)
    }

    pub(super) fn apply(
        &mut self,
        queue: QueueNo,
        changes: Vec<Change>,
    ) -> (Vec<Seq>, Vec<QueueNo>) {
        let (mut sent, mut touched) = (Vec::new(), Vec::new());
        for change in changes {
            match change {
                Change::Send(message) => {
                    let seq = self.next();
                    sent.push(seq);
                    touched.push(queue);
                    if let Some(dedup) = message.dedup.clone() {
                        let row = Remembered {
                            dedup,
                            group: message.group.clone(),
                            message: message.id,
                            seq,
                            sent: message.sent,
                        };
                        self.remembered.push((queue, row));
                    }
                    self.messages.insert((queue, seq), message);
                }
                Change::State {
                    seq, origin, state, ..
                } => {
                    self.states.insert((queue, seq), (origin, state));
                }
                Change::Delete { seq, origin } => {
                    let removed = self.messages.remove(&(queue, seq));
                    let once = removed.is_some() || origin != Origin::Own;
                    assert!(once, "the store counts deletions: {seq:?} is deleted twice");
                    self.states.remove(&(queue, seq));
                }
                Change::Move {
                    seq,
                    to,
                    expires,
                    dead_letter_source,
                    ..
                } => {
                    let own = self.messages.remove(&(queue, seq));
                    let shared = || {
                        self.broadcasts
                            .get(&seq)
                            .map(|(_, message)| message.clone())
                    };
                    let Some(mut message) = own.or_else(shared) else {
                        continue;
                    };
                    message.expires = expires;
                    message.dead_letter_source = dead_letter_source;
                    let moved = self.next();
                    if let Some((_, state)) = self.states.remove(&(queue, seq)) {
                        let state = MessageState {
                            receipt: 0,
                            counter: None,
                            visible_at: message.sent,
                            ..state
                        };
                        self.states.insert((to, moved), (Origin::Own, state));
                    }
                    self.messages.insert((to, moved), message);
                    touched.push(to);
                }
                Change::Cursor(seq) => drop(self.cursors.insert(queue, seq)),
                Change::Lease(mark) => drop(self.leases.insert(queue, mark)),
            }
        }
        (sent, touched)
    }

    pub(super) fn broadcast(&mut self, origin: Origin, message: NewMessage) -> Seq {
        let seq = self.next();
        self.broadcasts.insert(seq, (origin, message));
        seq
    }

    fn cursor(&self, queue: QueueNo) -> Seq {
        let since = self.queues.get(&queue).map_or(Seq(0), |queue| queue.since);
        self.cursors.get(&queue).copied().unwrap_or(since)
    }

    pub(super) fn newer(
        &self,
        source: QueueSource,
        after: Seq,
        now: Timestamp,
    ) -> Vec<StoredMessage> {
        let queue = source.queue;
        let own = self
            .messages
            .iter()
            .filter(|((owner, _), _)| *owner == queue)
            .map(|((_, seq), message)| (*seq, Origin::Own, message));
        let covered = self.cursor(queue);
        let concerns = |origin: &Origin| match (origin, source.account) {
            (Origin::Everyone, Some(_)) => true,
            (Origin::Account(a), Some(b)) => *a == b,
            _ => false,
        };
        let shared = self
            .broadcasts
            .iter()
            .filter(|(seq, (origin, _))| {
                concerns(origin) && (**seq > covered || self.states.contains_key(&(queue, **seq)))
            })
            .map(|(seq, (origin, message))| (*seq, *origin, message));
        let mut found: Vec<_> = own
            .chain(shared)
            .filter(|(seq, _, message)| *seq > after && message.expires > now)
            .map(|(seq, origin, message)| StoredMessage {
                seq,
                origin,
                message: message.clone(),
                state: self.states.get(&(queue, seq)).map(|(_, state)| *state),
            })
            .collect();
        found.sort_by_key(|stored| stored.seq);
        found
    }

    pub(super) fn load(&self, source: QueueSource, now: Timestamp) -> LoadedQueue {
        LoadedQueue {
            messages: self.newer(source, Seq(0), now),
            cursor: self.cursor(source.queue),
            remembered: self
                .remembered
                .iter()
                .filter(|(queue, row)| *queue == source.queue && row.sent.plus(DEDUP_WINDOW) > now)
                .map(|(_, row)| row.clone())
                .collect(),
            lease: self.leases.get(&source.queue).copied(),
        }
    }
}

/// What tests do to the store besides using it.
#[derive(Debug, Default, Clone)]
pub(super) struct Mischief {
    /// Commits fail with this.
    pub(super) fail: Option<StoreError>,
    /// Commits resolve only so much later.
    pub(super) delay: Duration,
    /// Reading a body panics so many times.
    pub(super) panics: usize,
    /// Loading a queue takes so much longer.
    pub(super) load: Duration,
}

/// The store.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) rows: Mutex<Rows>,
    pub(super) mischief: Mutex<Mischief>,
    /// Loads so far.
    pub(super) loads: Mutex<usize>,
    /// Loads under way, and the most there were at a time.
    pub(super) loading: Mutex<(usize, usize)>,
    /// How many changes each commit had.
    pub(super) commits: Mutex<Vec<usize>>,
    on_touched: Mutex<Option<OnTouched>>,
}

impl Memory {
    pub(super) fn on_touched(&self, call: OnTouched) {
        *self.on_touched.lock().unwrap() = Some(call);
    }

    fn touch(&self, touched: &[Touched]) {
        let call = self.on_touched.lock().unwrap().clone();
        if let Some(call) = call {
            call(touched);
        }
    }

    fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Rows) -> (T, Vec<Touched>),
    ) -> Commit<T> {
        let Mischief { fail, delay, .. } = self.mischief.lock().unwrap().clone();
        if let Some(error) = fail {
            return std::future::ready(Err(error)).boxed();
        }
        let (result, touched) = change(&mut self.rows.lock().unwrap());
        self.touch(&touched);
        async move {
            tokio::time::sleep(delay).await;
            Ok(result)
        }
        .boxed()
    }

    /// Adds a queue as sessions' ones are added.
    pub(super) fn add(&self, mut record: QueueRecord) -> QueueRecord {
        let mut rows = self.rows.lock().unwrap();
        let seq = rows.next();
        (record.no, record.since) = (QueueNo(seq.0), seq);
        rows.queues.insert(record.no, record.clone());
        record
    }

    pub(super) fn lease(&self, queue: QueueNo) -> Option<u64> {
        self.rows.lock().unwrap().leases.get(&queue).copied()
    }
}

impl QueueStore for Memory {
    fn load(&self, source: QueueSource, now: Timestamp) -> Result<LoadedQueue, StoreError> {
        *self.loads.lock().unwrap() += 1;
        let load = self.mischief.lock().unwrap().load;
        let count = |by: isize| {
            let mut loading = self.loading.lock().unwrap();
            loading.0 = loading.0.strict_add_signed(by);
            loading.1 = loading.1.max(loading.0);
        };
        count(1);
        std::thread::sleep(load);
        count(-1);
        let mut loaded = self.rows.lock().unwrap().load(source, now);
        // As the contract allows: bodies that have to be asked for.
        for stored in loaded.messages.iter_mut().skip(1) {
            stored.message.body = Bytes::new();
        }
        Ok(loaded)
    }

    fn newer(
        &self,
        source: QueueSource,
        after: Seq,
        now: Timestamp,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        Ok(self.rows.lock().unwrap().newer(source, after, now))
    }

    fn body(&self, queue: QueueNo, seq: Seq, _: Origin) -> Result<Option<Bytes>, StoreError> {
        let panics = self.mischief.lock().unwrap().panics;
        if panics > 0 {
            self.mischief.lock().unwrap().panics = panics - 1;
            panic!("asked to panic");
        }
        let rows = self.rows.lock().unwrap();
        let own = rows.messages.get(&(queue, seq));
        let shared = rows.broadcasts.get(&seq).map(|(_, message)| message);
        Ok(own.or(shared).map(|message| message.body.clone()))
    }

    fn is_full(&self, queue: QueueNo, limit: u64, _: Timestamp) -> Result<bool, StoreError> {
        let rows = self.rows.lock().unwrap();
        let count = rows
            .messages
            .keys()
            .filter(|(own, _)| *own == queue)
            .count();
        Ok(count as u64 >= limit)
    }

    fn commit(&self, queue: QueueNo, changes: Vec<Change>) -> Commit<Vec<Seq>> {
        self.commits.lock().unwrap().push(changes.len());
        self.write(|rows| {
            let (sent, touched) = rows.apply(queue, changes);
            (sent, touched.into_iter().map(Touched::Queue).collect())
        })
    }

    fn commit_lazily(&self, queue: QueueNo, changes: Vec<Change>) {
        self.rows.lock().unwrap().apply(queue, changes);
    }

    fn deliver(&self, to: Recipients, message: NewMessage) -> Commit<Seq> {
        self.write(|rows| match to {
            Recipients::Queues(queues) => {
                let seq = rows.next();
                for (queue, expires) in &queues {
                    let message = NewMessage {
                        expires: *expires,
                        ..message.clone()
                    };
                    rows.messages.insert((*queue, seq), message);
                }
                (
                    seq,
                    queues
                        .into_iter()
                        .map(|(queue, _)| Touched::Queue(queue))
                        .collect(),
                )
            }
            Recipients::Account(account) => {
                let seq = rows.broadcast(Origin::Account(account), message);
                (seq, vec![Touched::Account(account)])
            }
            Recipients::Everyone => {
                let seq = rows.broadcast(Origin::Everyone, message);
                (seq, vec![Touched::Everyone])
            }
        })
    }
}

impl QueueCatalog for Memory {
    fn find(&self, name: &QueueName) -> Result<Option<QueueRecord>, StoreError> {
        let rows = self.rows.lock().unwrap();
        Ok(rows
            .queues
            .values()
            .find(|queue| queue.name == *name)
            .cloned())
    }

    fn get(&self, queue: QueueNo) -> Result<Option<QueueRecord>, StoreError> {
        Ok(self.rows.lock().unwrap().queues.get(&queue).cloned())
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<QueueRecord>, StoreError> {
        let rows = self.rows.lock().unwrap();
        let mut found: Vec<_> = rows
            .queues
            .values()
            .filter(|queue| queue.name.as_str().starts_with(prefix))
            .filter(|queue| after.is_none_or(|after| queue.name.as_str() > after))
            .cloned()
            .collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found.truncate(limit);
        Ok(found)
    }

    fn create(&self, record: QueueRecord) -> Commit<Result<(QueueRecord, bool), QueueError>> {
        let existing = self.find(&record.name).unwrap();
        let result = match existing {
            Some(existing) => (existing, false),
            None => (self.add(record), true),
        };
        std::future::ready(Ok(Ok(result))).boxed()
    }

    fn edit(&self, queue: QueueNo, edit: QueueEdit) -> Commit<Result<QueueRecord, QueueError>> {
        let edited = self
            .get(queue)
            .unwrap()
            .ok_or(QueueError::DoesNotExist)
            .and_then(|mut record| {
                edit(&mut record)?;
                self.rows
                    .lock()
                    .unwrap()
                    .queues
                    .insert(queue, record.clone());
                Ok(record)
            });
        std::future::ready(Ok(edited)).boxed()
    }

    fn delete(&self, queue: QueueNo, _: Timestamp) -> Commit<bool> {
        let existed = self.rows.lock().unwrap().queues.remove(&queue).is_some();
        std::future::ready(Ok(existed)).boxed()
    }
}

/// So that tests can keep a handle on the store that the queues use.
pub(super) fn shared() -> Arc<Memory> {
    Arc::new(Memory::default())
}
