//! The database's tables, and the filter by which expired rows leave the disk.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::SystemTime;

use dashmap::DashMap;
use fjall::compaction::filter::{
    CompactionFilter, CompactionFilterResult, Context, Factory, ItemAccessor, Verdict,
};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, Readable, Snapshot};

use super::counts::Counts;
use super::{codec, keys};
use crate::domain::{QueueNo, StoreError, Timestamp};

/// How many tables there are.
pub(super) const TABLES: usize = 6;

/// One of the fixed tables. Few, because each has a write buffer of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    /// Sessions, queues, names, cursors: rows that stay until they are removed.
    Registry,
    /// Queues' own messages. Expire.
    Messages,
    /// Message states and remembered deduplication ids. Expire.
    States,
    /// Broadcasts and bodies shared by several queues. Expire.
    Shared,
    /// Users' history. Expires.
    History,
    /// Durable MQTT sessions, their queues, retained messages. Stay until they are removed, expired ones by upkeep: each
    /// row counts for its queue's depth and its body's life, and must not leave unseen.
    Topics,
}

impl Table {
    /// All of them.
    pub(super) const ALL: [Table; TABLES] = [
        Table::Registry,
        Table::Messages,
        Table::States,
        Table::Shared,
        Table::History,
        Table::Topics,
    ];

    /// Name on disk.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Table::Registry => "registry",
            Table::Messages => "messages",
            Table::States => "states",
            Table::Shared => "shared",
            Table::History => "history",
            Table::Topics => "topics",
        }
    }

    /// Whether rows leave when their time has passed, without being removed.
    pub(super) const fn expires(self) -> bool {
        !matches!(self, Table::Registry | Table::Topics)
    }
}

/// Sizes of the database's buffers.
#[derive(Debug, Clone, Copy)]
pub struct StoreSizes {
    /// Cache of blocks read from disk, in bytes.
    pub cache_bytes: u64,
    /// Write buffer of each table, in bytes.
    pub write_buffer_bytes: u64,
    /// All journals together, in bytes, before buffers are flushed.
    pub journal_bytes: u64,
}

/// The open database.
pub(super) struct Tables {
    db: Database,
    keyspaces: [Keyspace; TABLES],
    /// Bytes written to each table that have expired or been removed since it was last compacted (an estimate).
    pub(super) garbage: [AtomicU64; TABLES],
    /// How many messages of its own each queue has, expired ones that are still on disk included.
    depths: DashMap<QueueNo, u64>,
    /// How many messages all queues have of their own: exact when the table was last looked through, and changed by each
    /// commit since.
    waiting: AtomicI64,
    /// The same for the topic plane.
    pub(super) counts: Counts,
}

/// A consistent view of all tables.
pub(super) struct View<'a> {
    tables: &'a Tables,
    snapshot: Snapshot,
}

/// Makes the names of new folders safe. fjall syncs what it writes into the folder of a new keyspace, but not the
/// folder that one is made in (3.1.13), so a power cut could take a keyspace and every promise in it.
/// `tests/powercut/tests/power.rs` shows the loss.
fn sync_folders(folder: &Path) -> std::io::Result<()> {
    let parent = folder.canonicalize()?.parent().map(Path::to_owned);
    let folders = [folder.join("keyspaces"), folder.to_owned()];
    for folder in folders.into_iter().chain(parent) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

impl Tables {
    /// Opens or creates the database in `folder`.
    pub(super) fn open(folder: &Path, sizes: StoreSizes) -> Result<Self, fjall::Error> {
        let filters = |name: &str| {
            let table = Table::ALL.into_iter().find(|table| table.name() == name)?;
            table
                .expires()
                .then(|| Arc::new(DropExpired) as Arc<dyn Factory>)
        };
        let db = Database::builder(folder)
            .cache_size(sizes.cache_bytes)
            .max_journaling_size(sizes.journal_bytes)
            .manual_journal_persist(true)
            // Not two: while one of two compacts, the other passes the next order to compact back and forth with
            // itself as fast as it can (3.1.13). A third takes that order and finds nothing to do.
            .worker_threads(3)
            .with_compaction_filter_factories(Arc::new(filters))
            .open()?;
        let open = |table: Table| {
            db.keyspace(table.name(), || {
                KeyspaceCreateOptions::default()
                    .max_memtable_size(sizes.write_buffer_bytes)
                    .manual_journal_persist(true)
            })
        };
        let keyspaces = [
            open(Table::Registry)?,
            open(Table::Messages)?,
            open(Table::States)?,
            open(Table::Shared)?,
            open(Table::History)?,
            open(Table::Topics)?,
        ];
        sync_folders(folder)?;
        Ok(Self {
            db,
            keyspaces,
            garbage: Default::default(),
            depths: DashMap::new(),
            waiting: AtomicI64::new(0),
            counts: Counts::default(),
        })
    }

    /// The database itself, to commit.
    pub(super) fn db(&self) -> &Database {
        &self.db
    }

    /// A table's keyspace.
    pub(super) fn keyspace(&self, table: Table) -> &Keyspace {
        &self.keyspaces[table as usize]
    }

    /// A row's value as of the newest commit.
    pub(super) fn get(&self, table: Table, key: &[u8]) -> Result<Option<fjall::Slice>, StoreError> {
        self.keyspace(table).get(key).map_err(read_failed)
    }

    /// A consistent view as of the newest commit.
    pub(super) fn view(&self) -> View<'_> {
        View {
            tables: self,
            snapshot: self.db.snapshot(),
        }
    }

    /// Counts every queue's messages, once, when the store is opened.
    pub(super) fn count_depths(&self) -> Result<(), StoreError> {
        for guard in self.keyspace(Table::Messages).iter() {
            let key = guard.key().map_err(read_failed)?;
            let queue = keys::leading_queue(&key)
                .ok_or_else(|| StoreError::Corrupt("message key".into()))?;
            *self.depths.entry(queue).or_default() += 1;
            self.waiting.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Counts one queue's messages anew, expired ones left out.
    pub(super) fn recount(&self, queue: QueueNo, now: Timestamp) -> Result<u64, StoreError> {
        let mut count = 0;
        for row in self.view().prefix(Table::Messages, &queue.0.to_be_bytes()) {
            count += u64::from(codec::expires(&row?.1).is_some_and(|expires| expires > now));
        }
        self.depths.insert(queue, count);
        Ok(count)
    }

    /// How many messages of its own a queue has.
    pub(super) fn depth(&self, queue: QueueNo) -> u64 {
        self.depths.get(&queue).map_or(0, |depth| *depth)
    }

    /// How many messages all queues have of their own; broadcasts, which are stored once, are not among them.
    pub(super) fn waiting(&self) -> i64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Says so in the metrics.
    pub(super) fn show_waiting(&self) {
        metrics::gauge!("fanfare_queue_messages").set(self.waiting().max(0) as f64);
    }

    /// The table of messages was looked through: there were `found` that live, where [`Tables::waiting`] was `before`.
    pub(super) fn correct_waiting(&self, before: i64, found: i64) {
        self.waiting.fetch_add(found - before, Ordering::Relaxed);
    }

    /// Notes what a commit added to a queue, or removed.
    pub(super) fn adjust_depth(&self, queue: QueueNo, by: i64) {
        self.waiting.fetch_add(by, Ordering::Relaxed);
        let mut depth = self.depths.entry(queue).or_default();
        *depth = depth.saturating_add_signed(by);
        let empty = *depth == 0;
        // The guard must be gone before the map is locked again.
        drop(depth);
        if empty {
            self.depths.remove_if(&queue, |_, depth| *depth == 0);
        }
    }

    /// Notes bytes of a table that compaction can free.
    pub(super) fn add_garbage(&self, table: Table, bytes: u64) {
        self.garbage[table as usize].fetch_add(bytes, Ordering::Relaxed);
    }
}

impl View<'_> {
    /// A row's value.
    pub(super) fn get(&self, table: Table, key: &[u8]) -> Result<Option<fjall::Slice>, StoreError> {
        self.snapshot
            .get(self.tables.keyspace(table), key)
            .map_err(read_failed)
    }

    /// Rows whose keys start with `prefix`, from the one that follows `prefix ‖ after`.
    pub(super) fn after(
        &self,
        table: Table,
        prefix: &[u8],
        after: &[u8],
    ) -> impl Iterator<Item = Result<(fjall::Slice, fjall::Slice), StoreError>> + use<> {
        let from = std::ops::Bound::Excluded([prefix, after].concat());
        let to = match successor(prefix) {
            Some(end) => std::ops::Bound::Excluded(end),
            None => std::ops::Bound::Unbounded,
        };
        self.snapshot
            .range(self.tables.keyspace(table), (from, to))
            .map(|guard| guard.into_inner().map_err(read_failed))
    }

    /// All rows whose keys start with `prefix`.
    pub(super) fn prefix(
        &self,
        table: Table,
        prefix: &[u8],
    ) -> impl Iterator<Item = Result<(fjall::Slice, fjall::Slice), StoreError>> + use<> {
        self.snapshot
            .prefix(self.tables.keyspace(table), prefix)
            .map(|guard| guard.into_inner().map_err(read_failed))
    }
}

/// The first key after all that start with `prefix`; `None` if there is none.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut out = prefix[..=last].to_vec();
    out[last] += 1;
    Some(out)
}

fn read_failed(error: fjall::Error) -> StoreError {
    StoreError::Failed(format!("reading: {error}"))
}

/// Drops rows whose time has passed while a table is compacted.
struct DropExpired;

struct ExpiredBefore(Timestamp);

impl Factory for DropExpired {
    fn name(&self) -> &str {
        "drop-expired"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Box::new(ExpiredBefore(Timestamp(since.as_micros() as u64)))
    }
}

impl CompactionFilter for ExpiredBefore {
    fn filter_item(&mut self, item: ItemAccessor<'_>, _: &Context) -> CompactionFilterResult {
        // `Destroy` leaves no tombstone. An older version of the row may come back into view by that; it has
        // expired as well, and readers check.
        match codec::expires(&item.value()?) {
            Some(expires) if expires <= self.0 => Ok(Verdict::Destroy),
            _ => Ok(Verdict::Keep),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn successors_end_a_prefix() {
        assert_eq!(successor(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(successor(&[1, 255]), Some(vec![2]));
        assert_eq!(successor(&[255]), None);
    }
}
