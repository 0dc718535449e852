//! Group commit: one thread writes, many requests share one fdatasync.
//!
//! While a commit is on its way to the disk, the next jobs collect; throughput is then set by how many
//! share a commit, not by the disk. Jobs run one after the other on the committing thread, each as a
//! transaction that sees all earlier ones, so that "look, then write" needs no lock. A job that fails
//! leaves nothing behind.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fjall::PersistMode;
use tokio::sync::oneshot;

use super::space::Space;
use super::tables::{Table, Tables};
use super::tx::Tx;
use crate::backends::{Commit, OnTouched, Touched};
use crate::config::limits;
use crate::domain::{Seq, StoreError};

/// Whether a job makes the store grow; when the disk is nearly full, only those that free something run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Growth {
    /// Adds messages, sessions, history.
    Grows,
    /// Acknowledges, deletes, expires.
    Frees,
}

/// Called when the store has failed for good; ends the process in production.
pub type OnFailure = Arc<dyn Fn(&str) + Send + Sync>;

/// How soon changes that nobody waits for reach the disk.
const LAZY_SYNC: Duration = Duration::from_millis(200);

/// How much may wait, and be written at a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// See [`limits::COMMIT_QUEUE_JOBS`].
    pub(super) jobs: usize,
    /// See [`limits::COMMIT_QUEUE_BYTES`].
    pub(super) bytes: usize,
    /// See [`limits::COMMIT_BATCH_BYTES`].
    pub(super) batch_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            jobs: limits::COMMIT_QUEUE_JOBS,
            bytes: limits::COMMIT_QUEUE_BYTES,
            batch_bytes: limits::COMMIT_BATCH_BYTES,
        }
    }
}

/// The handle through which jobs are handed in.
pub(super) struct Committer {
    bounds: Bounds,
    jobs: Option<SyncSender<Box<dyn Job>>>,
    queued_bytes: Arc<AtomicUsize>,
    failed: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Work for the committing thread.
trait Job: Send {
    /// Writes into the transaction; an error takes back what it wrote.
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), StoreError>;
    /// Told once it is known whether the commit is on disk.
    fn finish(self: Box<Self>, outcome: Result<(), StoreError>);
    fn weight(&self) -> usize;
    fn growth(&self) -> Growth;
    /// Whether somebody waits for the disk.
    fn waits(&self) -> bool;
}

struct Closure<F, T> {
    run: Option<F>,
    result: Option<T>,
    reply: Option<oneshot::Sender<Result<T, StoreError>>>,
    weight: usize,
    growth: Growth,
}

impl<F, T> Job for Closure<F, T>
where
    F: FnOnce(&mut Tx<'_>) -> Result<T, StoreError> + Send,
    T: Send,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let run = self.run.take().expect("a job is run once");
        self.result = Some(run(tx)?);
        Ok(())
    }

    fn finish(self: Box<Self>, outcome: Result<(), StoreError>) {
        let Self { result, reply, .. } = *self;
        if let Some(reply) = reply {
            let answer = outcome.map(|()| result.expect("a job whose run succeeded has a result"));
            // Whoever asked may have gone away; the change stands all the same.
            let _ = reply.send(answer);
        } else if let Err(error) = outcome {
            tracing::warn!(%error, "a change nobody waits for was not stored");
        }
    }

    fn weight(&self) -> usize {
        self.weight
    }

    fn growth(&self) -> Growth {
        self.growth
    }

    fn waits(&self) -> bool {
        self.reply.is_some()
    }
}

impl Committer {
    /// Starts the thread.
    pub(super) fn start(
        bounds: Bounds,
        tables: Arc<Tables>,
        next_seq: Seq,
        space: Space,
        on_touched: OnTouched,
        on_failure: OnFailure,
    ) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(bounds.jobs);
        let queued_bytes = Arc::new(AtomicUsize::new(0));
        let failed = Arc::new(AtomicBool::new(false));
        let worker = Worker {
            batch_bytes: bounds.batch_bytes,
            tables,
            next_seq,
            space,
            on_touched,
            on_failure,
            queued_bytes: queued_bytes.clone(),
            failed: failed.clone(),
            unsynced_since: None,
        };
        let thread = std::thread::Builder::new()
            .name("store-commit".into())
            .spawn(move || worker.work(&receiver))?;
        Ok(Self {
            bounds,
            jobs: Some(sender),
            queued_bytes,
            failed,
            thread: Some(thread),
        })
    }

    /// Hands in a job; the answer comes when its commit is on disk.
    pub(super) fn submit<T, F>(&self, growth: Growth, weight: usize, run: F) -> Commit<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Closure {
            run: Some(run),
            result: None,
            reply: Some(reply),
            weight,
            growth,
        };
        if let Err(error) = self.send(Box::new(job)) {
            return Box::pin(std::future::ready(Err(error)));
        }
        Box::pin(async move {
            answer
                .await
                .unwrap_or_else(|_| Err(StoreError::Failed("the store has stopped".into())))
        })
    }

    /// Hands in a job that nobody waits for.
    pub(super) fn submit_lazily<F>(&self, weight: usize, run: F)
    where
        F: FnOnce(&mut Tx<'_>) -> Result<(), StoreError> + Send + 'static,
    {
        let job = Closure {
            run: Some(run),
            result: None,
            reply: None,
            weight,
            growth: Growth::Frees,
        };
        if let Err(error) = self.send(Box::new(job)) {
            tracing::warn!(%error, "a change nobody waits for was not stored");
        }
    }

    /// Whether commits are still possible.
    pub(super) fn works(&self) -> Result<(), StoreError> {
        if self.failed.load(Ordering::Acquire) {
            return Err(StoreError::Failed("an earlier write failed".into()));
        }
        Ok(())
    }

    fn send(&self, job: Box<dyn Job>) -> Result<(), StoreError> {
        self.works()?;
        let weight = job.weight();
        if self.queued_bytes.fetch_add(weight, Ordering::Relaxed) > self.bounds.bytes {
            self.queued_bytes.fetch_sub(weight, Ordering::Relaxed);
            return Err(StoreError::Overloaded);
        }
        let jobs = self
            .jobs
            .as_ref()
            .expect("jobs are handed in before the drop");
        jobs.try_send(job).map_err(|error| {
            self.queued_bytes.fetch_sub(weight, Ordering::Relaxed);
            match error {
                TrySendError::Full(_) => StoreError::Overloaded,
                TrySendError::Disconnected(_) => StoreError::Failed("the store has stopped".into()),
            }
        })
    }
}

impl Drop for Committer {
    /// Finishes every job handed in, then ends the thread.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the committing thread panicked");
        }
    }
}

struct Worker {
    batch_bytes: usize,
    tables: Arc<Tables>,
    next_seq: Seq,
    space: Space,
    on_touched: OnTouched,
    on_failure: OnFailure,
    queued_bytes: Arc<AtomicUsize>,
    failed: Arc<AtomicBool>,
    /// Since when there are commits that were not yet synced.
    unsynced_since: Option<Instant>,
}

impl Worker {
    fn work(mut self, jobs: &Receiver<Box<dyn Job>>) {
        self.tables.show_waiting();
        loop {
            let wait = match self.unsynced_since {
                Some(since) => LAZY_SYNC.saturating_sub(since.elapsed()),
                None => Duration::from_secs(3600),
            };
            match jobs.recv_timeout(wait) {
                Ok(first) => self.batch(first, jobs),
                Err(RecvTimeoutError::Timeout) => self.sync(),
                Err(RecvTimeoutError::Disconnected) => {
                    self.sync();
                    return;
                }
            }
        }
    }

    /// Runs `first` and whatever else has been handed in by now, and commits it all together.
    fn batch(&mut self, first: Box<dyn Job>, jobs: &Receiver<Box<dyn Job>>) {
        let mut tx = Tx::new(&self.tables, self.next_seq);
        let mut done: Vec<Box<dyn Job>> = Vec::new();
        let space = self.space.look();
        let mut waits = false;
        let mut job = Some(first);
        while let Some(mut next) = job.take() {
            self.queued_bytes
                .fetch_sub(next.weight(), Ordering::Relaxed);
            let growth = next.growth();
            let result = space
                .allow(growth)
                .and_then(|()| run_whole(&mut tx, next.as_mut()));
            match result {
                Ok(()) => {
                    waits |= next.waits();
                    done.push(next);
                }
                Err(error) => next.finish(Err(error)),
            }
            if tx.bytes() < self.batch_bytes {
                job = jobs.try_recv().ok();
            }
        }
        let batch = tx.finish();
        let outcome = self.write(batch.ops, waits);
        if outcome.is_ok() {
            self.next_seq = batch.next_seq;
            for (queue, by) in batch.depths {
                self.tables.adjust_depth(queue, by);
            }
            self.tables.show_waiting();
            metrics::histogram!("fanfare_store_commit_jobs").record(done.len() as f64);
            (self.on_touched)(&batch.touched);
        }
        for job in done {
            job.finish(outcome.clone());
        }
        if let Err(error) = outcome {
            self.fail(&error);
        }
    }

    fn write(&mut self, ops: Vec<super::tx::Op>, sync: bool) -> Result<(), StoreError> {
        if self.failed.load(Ordering::Acquire) {
            return Err(StoreError::Failed("an earlier write failed".into()));
        }
        // A job that only looked still waits for what it saw: its answer must not come before the disk has it.
        if ops.is_empty() && !(sync && self.unsynced_since.is_some()) {
            return Ok(());
        }
        let started = Instant::now();
        let mode = if sync {
            PersistMode::SyncData
        } else {
            PersistMode::Buffer
        };
        let mut batch = self.tables.db().batch().durability(Some(mode));
        for op in ops {
            let keyspace = self.tables.keyspace(op.table);
            match op.value {
                Some(value) => batch.insert(keyspace, op.key, value),
                None => batch.remove(keyspace, op.key),
            }
        }
        let result = if batch.is_empty() {
            self.tables.db().persist(mode)
        } else {
            batch.commit()
        };
        result.map_err(|error| StoreError::Failed(error.to_string()))?;
        if sync {
            self.unsynced_since = None;
        } else {
            self.unsynced_since.get_or_insert(started);
        }
        metrics::histogram!("fanfare_store_commit_seconds").record(started.elapsed().as_secs_f64());
        metrics::counter!("fanfare_store_commits_total").increment(1);
        Ok(())
    }

    /// Brings commits that nobody waited for to the disk.
    fn sync(&mut self) {
        if self.unsynced_since.take().is_some()
            && let Err(error) = self.tables.db().persist(PersistMode::SyncData)
        {
            self.fail(&StoreError::Failed(error.to_string()));
        }
    }

    /// After a failed write the pages' state is unknown: never try again, never acknowledge again.
    fn fail(&self, error: &StoreError) {
        if !self.failed.swap(true, Ordering::AcqRel) {
            tracing::error!(%error, "the store has failed");
            (self.on_failure)(&error.to_string());
        }
    }
}

/// Runs a job; what it wrote is taken back if it fails or panics.
fn run_whole(tx: &mut Tx<'_>, job: &mut dyn Job) -> Result<(), StoreError> {
    let mark = tx.mark();
    let result = catch_unwind(AssertUnwindSafe(|| job.run(tx)))
        .unwrap_or_else(|_| Err(StoreError::Failed("a store operation panicked".into())));
    if result.is_err() {
        tx.roll_back(mark);
    }
    result
}

/// What a commit tells the rest of the program, without repeats.
pub(super) fn note(touched: &mut Vec<Touched>, what: Touched) {
    if !touched.contains(&what) {
        touched.push(what);
    }
}

/// Estimated bytes of a removed row, for [`Tables::add_garbage`].
pub(super) const REMOVED_ROW_BYTES: u64 = 256;

/// Whether rows of a table count as garbage when removed.
pub(super) fn counts_as_garbage(table: Table) -> bool {
    table != Table::Registry
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Sender, channel};

    use futures_util::future::join_all;

    use super::super::StoreSizes;
    use super::*;
    use crate::domain::QueueNo;

    /// A committing thread that stops after every batch until it is let go on.
    struct Gated {
        /// Dropped first: the thread is waited for when the committer is dropped.
        go_on: Sender<()>,
        committer: Committer,
        tables: Arc<Tables>,
        /// The queues that each batch touched.
        batches: Arc<Mutex<Vec<usize>>>,
        _dir: tempfile::TempDir,
    }

    fn gated(bounds: Bounds) -> Gated {
        let dir = tempfile::tempdir().unwrap();
        let sizes = StoreSizes {
            cache_bytes: 1 << 20,
            write_buffer_bytes: 1 << 20,
            journal_bytes: 64 << 20,
        };
        let tables = Arc::new(Tables::open(dir.path(), sizes).unwrap());
        let space = Space::watch(dir.path(), 0).unwrap();
        let (go_on, gate) = channel();
        let (gate, batches) = (Mutex::new(gate), Arc::new(Mutex::new(Vec::new())));
        let seen = batches.clone();
        let on_touched: OnTouched = Arc::new(move |touched| {
            seen.lock().unwrap().push(touched.len());
            // When the test is over, nobody holds it up any more.
            let _ = gate.lock().unwrap().recv();
        });
        let fails: OnFailure = Arc::new(|error| panic!("{error}"));
        let committer =
            Committer::start(bounds, tables.clone(), Seq(1), space, on_touched, fails).unwrap();
        Gated {
            committer,
            tables,
            go_on,
            batches,
            _dir: dir,
        }
    }

    impl Gated {
        /// Hands in a job of this weight that writes a row of about as many bytes.
        fn submit(&self, queue: u64, weight: usize) -> Commit<()> {
            self.committer.submit(Growth::Grows, weight, move |tx| {
                tx.put(Table::Messages, queue.to_be_bytes(), vec![0; weight - 8]);
                tx.touch(Touched::Queue(QueueNo(queue)));
                Ok(())
            })
        }

        /// A batch of its own, after which the thread stands still.
        fn stop(&self) -> Commit<()> {
            let first = self.submit(0, 8);
            while self.batches.lock().unwrap().is_empty() {
                std::thread::yield_now();
            }
            first
        }
    }

    /// So many jobs of 100 bytes are taken, and one more is refused until there is room again.
    async fn check(bounds: Bounds, taken: u64) {
        let gated = gated(bounds);
        let mut waiting = vec![gated.stop()];
        waiting.extend((1..=taken).map(|queue| gated.submit(queue, 100)));
        // One that is taken would wait here for ever.
        let one_more = gated.submit(taken + 1, 100);
        let refused = tokio::time::timeout(Duration::from_secs(2), one_more).await;
        assert_eq!(refused, Ok(Err(StoreError::Overloaded)), "{bounds:?}");
        for _ in 0..taken + 2 {
            gated.go_on.send(()).unwrap();
        }
        for (number, answer) in join_all(waiting).await.into_iter().enumerate() {
            assert_eq!(answer, Ok(()), "{bounds:?}: job {number}");
        }
        assert_eq!(gated.submit(9, 100).await, Ok(()), "{bounds:?}");
    }

    #[actix_rt::test]
    async fn what_waits_is_bounded_in_jobs_and_in_bytes() {
        let wide = Bounds::default();
        check(Bounds { jobs: 3, ..wide }, 3).await;
        // The one that passes the limit is the last that is taken.
        check(Bounds { bytes: 250, ..wide }, 3).await;
    }

    #[actix_rt::test]
    async fn a_job_that_fails_or_panics_leaves_nothing_in_the_batch_it_shares() {
        let gated = gated(Bounds::default());
        let submit = |row: &'static str, end: fn() -> Result<(), StoreError>| {
            gated.committer.submit(Growth::Grows, 8, move |tx| {
                let seq = tx.next_seq();
                tx.put(Table::Messages, row.as_bytes(), seq.0.to_be_bytes());
                tx.touch(Touched::Queue(QueueNo(seq.0)));
                end().map(|()| seq)
            })
        };
        let first = gated.stop();
        let good = submit("good", || Ok(()));
        let fails = submit("fails", || Err(StoreError::Overloaded));
        let panics = submit("panics", || panic!("on purpose"));
        let also = submit("also", || Ok(()));
        for _ in 0..2 {
            gated.go_on.send(()).unwrap();
        }
        first.await.unwrap();
        // The numbers of those that failed are given out again.
        assert_eq!((good.await, also.await), (Ok(Seq(1)), Ok(Seq(2))));
        assert_eq!(fails.await, Err(StoreError::Overloaded));
        assert!(matches!(panics.await, Err(StoreError::Failed(_))));
        let stored = |row: &str| gated.tables.get(Table::Messages, row.as_bytes());
        for (row, there) in [
            ("good", true),
            ("fails", false),
            ("panics", false),
            ("also", true),
        ] {
            assert_eq!(stored(row).unwrap().is_some(), there, "{row}");
        }
        assert_eq!(
            *gated.batches.lock().unwrap(),
            [1, 2],
            "and they touched nothing"
        );
    }

    #[actix_rt::test]
    async fn a_batch_ends_when_it_has_its_bytes() {
        let gated = gated(Bounds {
            batch_bytes: 150,
            ..Bounds::default()
        });
        let mut waiting = vec![gated.stop()];
        waiting.extend((1..=5).map(|queue| gated.submit(queue, 100)));
        for _ in 0..4 {
            gated.go_on.send(()).unwrap();
        }
        assert!(join_all(waiting).await.iter().all(Result::is_ok));
        assert_eq!(*gated.batches.lock().unwrap(), [1, 2, 2, 1]);
    }
}
