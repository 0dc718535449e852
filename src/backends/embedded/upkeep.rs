//! Housekeeping on a thread of its own: rows of deleted queues are removed, and tables with enough
//! garbage are compacted, which is when expired rows leave the disk.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use super::catalog::NAME_REST;
use super::committer::{Committer, Growth};
use super::keys::tag;
use super::tables::{TABLES, Table, Tables};
use super::{StoreOptions, codec};
use crate::backends::Commit;
use crate::domain::{Clock, StoreError, Timestamp};

/// Rows removed by one job.
pub(super) const CHUNK: usize = 1000;

/// A table is compacted when garbage is more than this part of it, and more than is configured …
const GARBAGE_SHARE: u64 = 4;

/// … or when there is some and this much time has passed.
const GARBAGE_AGE: Duration = Duration::from_secs(600);

/// After looking through a table, this many times as long passes before the next look.
pub(super) const LOOK_PAUSE: u32 = 50;

/// The running thread; dropping it ends it.
pub(super) struct Upkeep {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Upkeep {
    /// Starts the thread.
    pub(super) fn start(
        tables: Arc<Tables>,
        committer: Arc<Committer>,
        clock: Clock,
        options: &StoreOptions,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = channel();
        let now = Instant::now();
        let keeper = Keeper {
            tables,
            committer,
            clock,
            interval: options.sweep_interval,
            compact_after_bytes: options.compact_after_bytes,
            compacted: [now; TABLES],
            next_look: [now; TABLES],
            expired: [0; TABLES],
        };
        let thread = std::thread::Builder::new()
            .name("store-upkeep".into())
            .spawn(move || keeper.work(&stopped))?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the upkeep thread panicked");
        }
    }
}

/// What the thread works with.
pub(super) struct Keeper {
    pub(super) tables: Arc<Tables>,
    pub(super) committer: Arc<Committer>,
    pub(super) clock: Clock,
    interval: Duration,
    compact_after_bytes: u64,
    /// When each table was last compacted.
    compacted: [Instant; TABLES],
    /// When each table is next looked through for expired rows.
    pub(super) next_look: [Instant; TABLES],
    /// Bytes of expired rows found then.
    expired: [u64; TABLES],
}

impl Keeper {
    fn work(mut self, stopped: &Receiver<()>) {
        while stopped.recv_timeout(self.interval) == Err(RecvTimeoutError::Timeout) {
            if let Err(error) = self.round() {
                tracing::warn!(%error, "upkeep failed; it will be tried again");
            }
        }
    }

    fn round(&mut self) -> Result<(), StoreError> {
        self.purge_deleted_queues()?;
        self.free_names()?;
        self.look_after_topics()?;
        for table in Table::ALL {
            self.compact(table)?;
        }
        Ok(())
    }

    /// Removes the rows of deleted queues, a chunk a commit.
    fn purge_deleted_queues(&self) -> Result<(), StoreError> {
        let view = self.tables.view();
        for row in view.prefix(Table::Registry, &[tag::PURGE]) {
            let (purge, _) = row?;
            let prefix = purge.get(1..).unwrap_or_default();
            for table in [Table::Messages, Table::States] {
                let mut rows = view.prefix(table, prefix);
                loop {
                    let keys: Vec<_> = rows
                        .by_ref()
                        .take(CHUNK)
                        .map(|row| row.map(|(key, _)| key))
                        .collect::<Result<_, _>>()?;
                    if keys.is_empty() {
                        break;
                    }
                    self.remove(table, keys)?;
                }
            }
            self.remove(Table::Registry, vec![purge])?;
        }
        Ok(())
    }

    /// Forgets names whose minute of rest is over.
    fn free_names(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut over = Vec::new();
        for row in self
            .tables
            .view()
            .prefix(Table::Registry, &[tag::DELETED_NAME])
        {
            let (key, value) = row?;
            if now.since(Timestamp(codec::decode(&value)?)) >= NAME_REST {
                over.push(key);
            }
        }
        if over.is_empty() {
            Ok(())
        } else {
            self.remove(Table::Registry, over)
        }
    }

    /// Removes rows and waits until that is on disk.
    pub(super) fn remove(&self, table: Table, keys: Vec<fjall::Slice>) -> Result<(), StoreError> {
        let removed = self
            .committer
            .submit(Growth::Frees, keys.len() * 32, move |tx| {
                for key in keys {
                    tx.remove(table, key);
                }
                Ok(())
            });
        block_on(removed)
    }

    /// Compacts a table that has much garbage, or some for long.
    fn compact(&mut self, table: Table) -> Result<(), StoreError> {
        if table.expires() && self.next_look[table as usize] <= Instant::now() {
            self.look_for_expired(table)?;
        }
        let keyspace = self.tables.keyspace(table);
        let garbage = self.tables.garbage[table as usize].load(Ordering::Relaxed)
            + self.expired[table as usize];
        let much = garbage
            > self
                .compact_after_bytes
                .max(keyspace.disk_space() / GARBAGE_SHARE);
        let old = garbage > 0
            && self.compacted[table as usize].elapsed() > GARBAGE_AGE.max(self.interval);
        if !(much || old) {
            return Ok(());
        }
        let started = Instant::now();
        let failed = |error: fjall::Error| StoreError::Failed(format!("compacting: {error}"));
        keyspace.rotate_memtable_and_wait().map_err(failed)?;
        keyspace.major_compact().map_err(failed)?;
        self.tables.garbage[table as usize].store(0, Ordering::Relaxed);
        self.expired[table as usize] = 0;
        // A compaction that ran already makes the database skip this one: look again before believing it.
        self.next_look[table as usize] = Instant::now();
        self.compacted[table as usize] = Instant::now();
        metrics::counter!("fanfare_store_compactions_total").increment(1);
        tracing::debug!(table = table.name(), garbage, took = ?started.elapsed(), "compacted");
        Ok(())
    }

    /// Adds up the bytes of a table's expired rows. A long table is looked through less often, so that this never
    /// takes more than a few percent of a core.
    fn look_for_expired(&mut self, table: Table) -> Result<(), StoreError> {
        let (started, now) = (Instant::now(), self.clock.now());
        let (mut bytes, mut living) = (0, 0);
        let before = self.tables.waiting();
        for row in self.tables.view().prefix(table, &[]) {
            let (key, value) = row?;
            if codec::expires(&value).is_some_and(|expires| expires <= now) {
                bytes += (key.len() + value.len()) as u64;
            } else {
                living += 1;
            }
        }
        if table == Table::Messages {
            // What has expired left without a commit.
            self.tables.correct_waiting(before, living);
            self.tables.show_waiting();
        }
        self.expired[table as usize] = bytes;
        self.next_look[table as usize] = Instant::now() + started.elapsed() * LOOK_PAUSE;
        Ok(())
    }
}

/// Wakes a thread that waits for a commit.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits on this thread, which has no runtime.
pub(super) fn block_on<T>(mut commit: Commit<T>) -> Result<T, StoreError> {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match commit.as_mut().poll(&mut context) {
            Poll::Ready(result) => return result,
            Poll::Pending => std::thread::park(),
        }
    }
}
