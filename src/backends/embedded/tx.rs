//! A transaction on the committing thread: sees its own and all earlier writes of the batch.

use std::cell::RefCell;
use std::collections::HashMap;

use fjall::Slice;

use super::committer::{REMOVED_ROW_BYTES, counts_as_garbage, note};
use super::counts::{Before, Client};
use super::tables::{TABLES, Table, Tables};
use crate::backends::Touched;
use crate::domain::publication::ClientNo;
use crate::domain::{QueueNo, Seq, StoreError};

/// One write: a value, or none to remove the row.
pub(super) struct Op {
    pub(super) table: Table,
    pub(super) key: Slice,
    pub(super) value: Option<Slice>,
}

/// From so many writes on, a batch is looked through by an index.
const INDEXED_FROM: usize = 64;

/// Where the newest write of each row is.
#[derive(Default)]
struct Index {
    rows: [HashMap<Slice, usize>; TABLES],
    /// How many writes it covers.
    ops: usize,
}

/// The writes of a batch so far.
pub(super) struct Tx<'a> {
    tables: &'a Tables,
    ops: Vec<Op>,
    index: RefCell<Index>,
    touched: Vec<Touched>,
    depths: Vec<(QueueNo, i64)>,
    /// The topic plane's counters are changed as jobs run: this takes it back.
    counted: Vec<Before>,
    bytes: usize,
    first_seq: Seq,
    next_seq: Seq,
}

/// A batch ready to be committed.
pub(super) struct Finished {
    /// The writes.
    pub(super) ops: Vec<Op>,
    /// Whom they concern.
    pub(super) touched: Vec<Touched>,
    /// How queues grow or shrink by them.
    pub(super) depths: Vec<(QueueNo, i64)>,
    /// The next sequence number after them.
    pub(super) next_seq: Seq,
}

/// Where a batch stood, to take back what came after.
pub(super) struct Mark {
    ops: usize,
    touched: usize,
    depths: usize,
    counted: usize,
    bytes: usize,
    next_seq: Seq,
}

impl<'a> Tx<'a> {
    /// An empty batch that gives out sequence numbers from `next_seq`.
    pub(super) fn new(tables: &'a Tables, next_seq: Seq) -> Self {
        Self {
            tables,
            ops: Vec::new(),
            index: RefCell::default(),
            touched: Vec::new(),
            depths: Vec::new(),
            counted: Vec::new(),
            bytes: 0,
            first_seq: next_seq,
            next_seq,
        }
    }

    /// The next sequence number.
    pub(super) fn next_seq(&mut self) -> Seq {
        let seq = self.next_seq;
        self.next_seq = Seq(seq.0 + 1);
        seq
    }

    /// The newest sequence number given out.
    pub(super) fn last_seq(&self) -> Seq {
        Seq(self.next_seq.0 - 1)
    }

    /// Writes a row.
    pub(super) fn put(&mut self, table: Table, key: impl Into<Slice>, value: impl Into<Slice>) {
        let (key, value) = (key.into(), value.into());
        self.bytes += key.len() + value.len();
        self.ops.push(Op {
            table,
            key,
            value: Some(value),
        });
    }

    /// Removes a row.
    pub(super) fn remove(&mut self, table: Table, key: impl Into<Slice>) {
        let key = key.into();
        self.bytes += key.len();
        if counts_as_garbage(table) {
            self.tables.add_garbage(table, REMOVED_ROW_BYTES);
        }
        self.ops.push(Op {
            table,
            key,
            value: None,
        });
    }

    /// A row's value, this batch's writes included.
    pub(super) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Slice>, StoreError> {
        match self.newest(table, key) {
            Some(op) => Ok(op.value.clone()),
            None => self.tables.get(table, key),
        }
    }

    /// This batch's newest write of a row.
    fn newest(&self, table: Table, key: &[u8]) -> Option<&Op> {
        // In a small batch a walk from the end costs less than an index. In a long one, of jobs that each look, the
        // walks would take longer than the disk, and the next batch would be longer still.
        if self.ops.len() < INDEXED_FROM {
            let is_it = |op: &&Op| op.table == table && *op.key == *key;
            return self.ops.iter().rev().find(is_it);
        }
        let mut index = self.index.borrow_mut();
        for (at, op) in self.ops.iter().enumerate().skip(index.ops) {
            index.rows[op.table as usize].insert(op.key.clone(), at);
        }
        index.ops = self.ops.len();
        let at = index.rows[table as usize].get(key)?;
        self.ops.get(*at)
    }

    /// Tells who may be waiting, once the commit is done.
    pub(super) fn touch(&mut self, what: Touched) {
        note(&mut self.touched, what);
    }

    /// Notes that a queue's messages become more or fewer with this commit.
    pub(super) fn depth(&mut self, queue: QueueNo, by: i64) {
        self.depths.push((queue, by));
    }

    /// What is known of a durable client session.
    pub(super) fn client(&self, client: ClientNo) -> Option<Client> {
        self.tables.counts.client(client)
    }

    /// Replaces what is known of a durable client session.
    pub(super) fn set_client(&mut self, client: ClientNo, to: Option<Client>) {
        self.counted.push(self.tables.counts.set_client(client, to));
    }

    /// How many rows name a shared publication.
    pub(super) fn references(&self, body: Seq) -> u32 {
        self.tables.counts.references(body)
    }

    /// Replaces how many rows name a shared publication.
    pub(super) fn set_references(&mut self, body: Seq, to: u32) {
        self.counted
            .push(self.tables.counts.set_references(body, to));
    }

    /// How many rooms have a history.
    pub(super) fn rooms(&self) -> usize {
        self.tables.counts.rooms()
    }

    /// Replaces how many rooms have a history.
    pub(super) fn set_rooms(&mut self, to: usize) {
        self.counted.push(self.tables.counts.set_rooms(to));
    }

    /// Notes bytes that a write makes useless.
    pub(super) fn add_garbage(&self, table: Table, bytes: usize) {
        self.tables.add_garbage(table, bytes as u64);
    }

    /// Bytes written so far.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where the batch stands.
    pub(super) fn mark(&self) -> Mark {
        Mark {
            ops: self.ops.len(),
            touched: self.touched.len(),
            depths: self.depths.len(),
            counted: self.counted.len(),
            bytes: self.bytes,
            next_seq: self.next_seq,
        }
    }

    /// Takes back everything since the mark.
    pub(super) fn roll_back(&mut self, mark: Mark) {
        self.ops.truncate(mark.ops);
        if self.index.get_mut().ops > mark.ops {
            // It does not know what it forgot for what is taken back.
            *self.index.get_mut() = Index::default();
        }
        self.touched.truncate(mark.touched);
        self.depths.truncate(mark.depths);
        for before in self.counted.drain(mark.counted..).rev() {
            self.tables.counts.restore(before);
        }
        self.bytes = mark.bytes;
        self.next_seq = mark.next_seq;
    }

    /// What to commit; the next sequence number is written with it.
    pub(super) fn finish(mut self) -> Finished {
        if self.next_seq != self.first_seq {
            let value = self.next_seq.0.to_be_bytes();
            self.put(Table::Registry, [super::keys::tag::NEXT_SEQ], value);
        }
        Finished {
            ops: self.ops,
            touched: self.touched,
            depths: self.depths,
            next_seq: self.next_seq,
        }
    }
}
