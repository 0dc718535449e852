//! Messages in queues: [`QueueStore`] on the tables.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::committer::Growth;
use super::keys::{self, tag};
use super::records::{BodyRow, DedupRow, MessageRow, QueueRow, StateRow};
use super::tables::{Table, View};
use super::tx::Tx;
use super::{Embedded, codec};
use crate::backends::{Change, Commit, LoadedQueue, QueueStore, Recipients, Remembered, Touched};
use crate::config::limits;
use crate::domain::message::{MessageState, NewMessage, Origin, QueueSource, StoredMessage};
use crate::domain::{QueueNo, Seq, StoreError, Timestamp};

/// How long a deduplication id is remembered.
const DEDUP_WINDOW: Duration = Duration::from_secs(300);

impl QueueStore for Embedded {
    fn load(&self, source: QueueSource, now: Timestamp) -> Result<LoadedQueue, StoreError> {
        let view = self.tables.view();
        let mut reader = Reader::new(&view, source, now)?;
        let cursor = reader.cursor()?;
        let lease = number(view.get(Table::Registry, &keys::by_queue(tag::LEASE, source.queue))?)?;
        let mut states = reader.states(Seq(0))?;
        reader.own(Seq(0), &mut states)?;
        reader.broadcasts(cursor, &mut states)?;
        reader.touched_broadcasts(states)?;
        Ok(LoadedQueue {
            messages: reader.finish(),
            cursor,
            remembered: remembered(&view, source.queue, now)?,
            lease,
        })
    }

    fn newer(
        &self,
        source: QueueSource,
        after: Seq,
        now: Timestamp,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        let view = self.tables.view();
        let mut reader = Reader::new(&view, source, now)?;
        // A message that was moved here brings its state along.
        let mut states = reader.states(after)?;
        reader.own(after, &mut states)?;
        reader.broadcasts(after, &mut states)?;
        Ok(reader.finish())
    }

    fn body(&self, queue: QueueNo, seq: Seq, origin: Origin) -> Result<Option<Bytes>, StoreError> {
        let (table, key) = place(queue, seq, origin);
        let Some(value) = self.tables.get(table, &key)? else {
            return Ok(None);
        };
        match codec::decode::<MessageRow<'_>>(&value)?.body {
            BodyRow::Here(body) => Ok(Some(Bytes::copy_from_slice(body))),
            BodyRow::Shared(seq) => Ok(self.shared_body(Seq(seq))?),
        }
    }

    fn is_full(&self, queue: QueueNo, limit: u64, now: Timestamp) -> Result<bool, StoreError> {
        // The running count includes expired messages: count anew before refusing because of it.
        Ok(self.tables.depth(queue) >= limit && self.tables.recount(queue, now)? >= limit)
    }

    fn commit(&self, queue: QueueNo, changes: Vec<Change>) -> Commit<Vec<Seq>> {
        let weight = changes.iter().map(weight).sum();
        let grows = changes
            .iter()
            .any(|change| matches!(change, Change::Send(_)));
        let growth = if grows { Growth::Grows } else { Growth::Frees };
        self.committer
            .submit(growth, weight, move |tx| apply(tx, queue, changes))
    }

    fn commit_lazily(&self, queue: QueueNo, changes: Vec<Change>) {
        let weight = changes.iter().map(weight).sum();
        self.committer
            .submit_lazily(weight, move |tx| apply(tx, queue, changes).map(drop));
    }

    fn deliver(&self, to: Recipients, message: NewMessage) -> Commit<Seq> {
        let weight = message.body.len() + 256;
        self.committer.submit(Growth::Grows, weight, move |tx| {
            Ok(deliver(tx, to, &message))
        })
    }
}

impl Embedded {
    fn shared_body(&self, seq: Seq) -> Result<Option<Bytes>, StoreError> {
        let Some(value) = self.tables.get(Table::Shared, &keys::body(seq))? else {
            return Ok(None);
        };
        codec::decode::<&[u8]>(&value).map(|body| Some(Bytes::copy_from_slice(body)))
    }
}

/// Where a message's row is.
fn place(queue: QueueNo, seq: Seq, origin: Origin) -> (Table, Vec<u8>) {
    match origin {
        Origin::Own => (Table::Messages, keys::message(queue, seq).to_vec()),
        Origin::Everyone | Origin::Account(_) => (Table::Shared, keys::logged(origin, seq)),
    }
}

fn weight(change: &Change) -> usize {
    match change {
        Change::Send(message) => message.body.len() + 256,
        _ => 64,
    }
}

/// Puts one message into many queues.
pub(super) fn deliver(tx: &mut Tx<'_>, to: Recipients, message: &NewMessage) -> Seq {
    match to {
        Recipients::Queues(queues) => {
            let body = match queues.len() {
                0 | 1 => None,
                _ => {
                    let seq = tx.next_seq();
                    tx.put(
                        Table::Shared,
                        keys::body(seq),
                        codec::encode(&&message.body[..], message.expires),
                    );
                    Some(seq)
                }
            };
            let seq = tx.next_seq();
            for (queue, expires) in queues {
                let body = body.map_or(BodyRow::Here(&message.body), |seq| BodyRow::Shared(seq.0));
                put_message(tx, queue, seq, message, body, expires);
            }
            seq
        }
        Recipients::Account(account) => broadcast(tx, Origin::Account(account), message),
        Recipients::Everyone => broadcast(tx, Origin::Everyone, message),
    }
}

/// One row for all; each session's queue finds it by its cursor.
fn broadcast(tx: &mut Tx<'_>, origin: Origin, message: &NewMessage) -> Seq {
    let seq = tx.next_seq();
    let row = MessageRow::new(message, BodyRow::Here(&message.body));
    tx.put(
        Table::Shared,
        keys::logged(origin, seq),
        codec::encode(&row, message.expires),
    );
    tx.touch(match origin {
        Origin::Account(account) => Touched::Account(account),
        Origin::Everyone | Origin::Own => Touched::Everyone,
    });
    seq
}

fn put_message(
    tx: &mut Tx<'_>,
    queue: QueueNo,
    seq: Seq,
    message: &NewMessage,
    body: BodyRow<'_>,
    expires: Timestamp,
) {
    let row = MessageRow::new(message, body);
    tx.put(
        Table::Messages,
        keys::message(queue, seq),
        codec::encode(&row, expires),
    );
    tx.depth(queue, 1);
    tx.touch(Touched::Queue(queue));
}

/// Applies changes in order.
fn apply(tx: &mut Tx<'_>, queue: QueueNo, changes: Vec<Change>) -> Result<Vec<Seq>, StoreError> {
    let mut sent = Vec::new();
    for change in changes {
        match change {
            Change::Send(message) => sent.push(send(tx, queue, &message)),
            Change::State {
                seq,
                origin,
                expires,
                state,
            } => {
                let row = StateRow::new(origin, state);
                tx.put(
                    Table::States,
                    keys::state(queue, seq),
                    codec::encode(&row, expires),
                );
            }
            Change::Delete { seq, origin } => delete(tx, queue, seq, origin),
            Change::Move {
                seq,
                origin,
                to,
                expires,
                dead_letter_source,
            } => {
                relocate(tx, queue, (seq, origin), to, expires, dead_letter_source)?;
            }
            Change::Cursor(seq) => put_number(tx, tag::CURSOR, queue, seq.0),
            Change::Lease(counter) => put_number(tx, tag::LEASE, queue, counter),
        }
    }
    Ok(sent)
}

fn send(tx: &mut Tx<'_>, queue: QueueNo, message: &NewMessage) -> Seq {
    let seq = tx.next_seq();
    put_message(
        tx,
        queue,
        seq,
        message,
        BodyRow::Here(&message.body),
        message.expires,
    );
    if let Some(dedup) = message.dedup.as_deref() {
        let group = message.group.as_deref();
        let row = DedupRow {
            dedup,
            group,
            message: *message.id.as_bytes(),
            seq: seq.0,
            sent: message.sent.0,
        };
        let value = codec::encode(&row, message.sent.plus(DEDUP_WINDOW));
        tx.put(Table::States, keys::dedup(queue, group, dedup), value);
    }
    seq
}

fn delete(tx: &mut Tx<'_>, queue: QueueNo, seq: Seq, origin: Origin) {
    if origin == Origin::Own {
        tx.remove(Table::Messages, keys::message(queue, seq));
        tx.depth(queue, -1);
    }
    tx.remove(Table::States, keys::state(queue, seq));
}

/// Moves a message to the end of another queue.
fn relocate(
    tx: &mut Tx<'_>,
    queue: QueueNo,
    (seq, origin): (Seq, Origin),
    to: QueueNo,
    expires: Timestamp,
    dead_letter_source: Option<std::sync::Arc<str>>,
) -> Result<(), StoreError> {
    let (table, key) = place(queue, seq, origin);
    let Some(value) = tx.get(table, &key)? else {
        return Ok(());
    };
    let row = codec::decode::<MessageRow<'_>>(&value)?;
    let state = match tx.get(Table::States, &keys::state(queue, seq))? {
        Some(value) => Some(codec::decode::<StateRow>(&value)?.state()),
        None => None,
    };
    let mut message = row.message(expires);
    message.dead_letter_source = dead_letter_source;
    message.visible_at = message.sent;
    delete(tx, queue, seq, origin);
    let moved = tx.next_seq();
    put_message(tx, to, moved, &message, row.body, expires);
    if let Some(state) = state {
        // The receive count goes on; the rest of the state belonged to the old queue's receives.
        let state = MessageState {
            receipt: 0,
            visible_at: message.sent,
            counter: None,
            ..state
        };
        let row = StateRow::new(Origin::Own, state);
        tx.put(
            Table::States,
            keys::state(to, moved),
            codec::encode(&row, expires),
        );
    }
    Ok(())
}

fn put_number(tx: &mut Tx<'_>, tag: u8, queue: QueueNo, number: u64) {
    tx.put(
        Table::Registry,
        keys::by_queue(tag, queue),
        codec::encode(&number, codec::NEVER),
    );
}

fn number(value: Option<fjall::Slice>) -> Result<Option<u64>, StoreError> {
    value.map(|value| codec::decode(&value)).transpose()
}

fn remembered(
    view: &View<'_>,
    queue: QueueNo,
    now: Timestamp,
) -> Result<Vec<Remembered>, StoreError> {
    let mut out = Vec::new();
    for row in view.prefix(Table::States, &keys::dedups_of(queue)) {
        let (_, value) = row?;
        if codec::expires(&value).is_none_or(|expires| expires <= now) {
            continue;
        }
        let row = codec::decode::<DedupRow<'_>>(&value)?;
        out.push(Remembered {
            dedup: row.dedup.into(),
            group: row.group.map(Into::into),
            message: Uuid::from_bytes(row.message),
            seq: Seq(row.seq),
            sent: Timestamp(row.sent),
        });
    }
    Ok(out)
}

/// Collects one queue's messages.
struct Reader<'a> {
    view: &'a View<'a>,
    source: QueueSource,
    now: Timestamp,
    /// Retention and first broadcast of the queue, for messages stored for all.
    retention: Duration,
    since: Seq,
    found: Vec<StoredMessage>,
    body_bytes: usize,
}

type States = HashMap<Seq, (Origin, MessageState)>;

impl<'a> Reader<'a> {
    fn new(view: &'a View<'a>, source: QueueSource, now: Timestamp) -> Result<Self, StoreError> {
        let (mut retention, mut since) = (Duration::ZERO, Seq(u64::MAX));
        // Only broadcasts need the queue's record.
        if source.account.is_some()
            && let Some(value) =
                view.get(Table::Registry, &keys::by_queue(tag::QUEUE, source.queue))?
        {
            let record = codec::decode::<QueueRow<'_>>(&value)?.record(source.queue)?;
            (retention, since) = (record.attributes.retention, record.since);
        }
        Ok(Self {
            view,
            source,
            now,
            retention,
            since,
            found: Vec::new(),
            body_bytes: 0,
        })
    }

    /// Up to where broadcasts have been turned into state rows.
    fn cursor(&self) -> Result<Seq, StoreError> {
        let key = keys::by_queue(tag::CURSOR, self.source.queue);
        let stored = number(self.view.get(Table::Registry, &key)?)?.map(Seq);
        Ok(stored
            .unwrap_or(Seq(0))
            .max(if self.source.account.is_some() {
                self.since
            } else {
                Seq(0)
            }))
    }

    /// The states of messages after `after`.
    fn states(&self, after: Seq) -> Result<States, StoreError> {
        let mut out = HashMap::new();
        for row in self.view.after(
            Table::States,
            &keys::states_of(self.source.queue),
            &after.0.to_be_bytes(),
        ) {
            let (key, value) = row?;
            let seq =
                keys::trailing_seq(&key).ok_or_else(|| StoreError::Corrupt("state key".into()))?;
            let row = codec::decode::<StateRow>(&value)?;
            out.insert(seq, (row.origin.into(), row.state()));
        }
        Ok(out)
    }

    /// The queue's own messages after `after`.
    fn own(&mut self, after: Seq, states: &mut States) -> Result<(), StoreError> {
        let prefix = self.source.queue.0.to_be_bytes();
        for row in self
            .view
            .after(Table::Messages, &prefix, &after.0.to_be_bytes())
        {
            let (key, value) = row?;
            self.add(&key, &value, Origin::Own, states)?;
        }
        Ok(())
    }

    /// Broadcasts after `after` that the queue has not turned into rows of its own.
    fn broadcasts(&mut self, after: Seq, states: &mut States) -> Result<(), StoreError> {
        let Some(account) = self.source.account else {
            return Ok(());
        };
        let after = after.max(self.since);
        for origin in [Origin::Everyone, Origin::Account(account)] {
            for row in self
                .view
                .after(Table::Shared, &keys::log(origin), &after.0.to_be_bytes())
            {
                let (key, value) = row?;
                self.add(&key, &value, origin, states)?;
            }
        }
        Ok(())
    }

    /// Broadcasts that have a state row of this queue.
    fn touched_broadcasts(&mut self, states: States) -> Result<(), StoreError> {
        for (seq, (origin, state)) in states {
            if origin == Origin::Own {
                continue;
            }
            let key = keys::logged(origin, seq);
            if let Some(value) = self.view.get(Table::Shared, &key)? {
                self.add(
                    &key,
                    &value,
                    origin,
                    &mut HashMap::from([(seq, (origin, state))]),
                )?;
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        key: &[u8],
        value: &[u8],
        origin: Origin,
        states: &mut States,
    ) -> Result<(), StoreError> {
        let seq =
            keys::trailing_seq(key).ok_or_else(|| StoreError::Corrupt("message key".into()))?;
        let mut expires = codec::expires(value).unwrap_or_default();
        let row = codec::decode::<MessageRow<'_>>(value)?;
        let mut message = row.message(expires);
        if origin != Origin::Own {
            expires = expires.min(message.sent.plus(self.retention));
            message.expires = expires;
        }
        if expires <= self.now {
            return Ok(());
        }
        self.fill_body(&mut message, &row)?;
        let state = states.remove(&seq).map(|(_, state)| state);
        self.found.push(StoredMessage {
            seq,
            origin,
            message,
            state,
        });
        Ok(())
    }

    /// Adds a shared body, and takes bodies out again once there are too many to hold.
    fn fill_body(
        &mut self,
        message: &mut NewMessage,
        row: &MessageRow<'_>,
    ) -> Result<(), StoreError> {
        if self.body_bytes >= limits::LOADED_BODY_BYTES {
            message.body = Bytes::new();
            return Ok(());
        }
        if let BodyRow::Shared(seq) = row.body
            && let Some(value) = self.view.get(Table::Shared, &keys::body(Seq(seq)))?
        {
            message.body = Bytes::copy_from_slice(codec::decode::<&[u8]>(&value)?);
        }
        self.body_bytes += message.body.len();
        Ok(())
    }

    fn finish(mut self) -> Vec<StoredMessage> {
        self.found.sort_unstable_by_key(|message| message.seq);
        self.found
    }
}
