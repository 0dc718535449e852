//! What the connections of one worker thread share: the buffer they read into, the list of those to be written, spare
//! buffers, and a coarse clock for everything that is due at some time.

use std::cell::{Cell, Ref, RefCell};
use std::ops::{Deref, DerefMut, Range};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use metrics::Counter;

use crate::config::limits::links as limits;

use super::outbox::Line;
use super::transport::Close;
use super::turn_log::TurnLog;

thread_local! {
    static WORKER: Rc<Worker> = Rc::new(Worker::new());
}

pub(super) struct Worker {
    epoch: Instant,
    /// Ticks since then, as of the last look.
    now: Cell<u32>,
    scratch: Cell<Option<Box<[u8]>>>,
    dirty: RefCell<Vec<Rc<Line>>>,
    /// Has runs only of connections on that list.
    log: RefCell<TurnLog>,
    writer: Cell<Option<Waker>>,
    writing: Cell<bool>,
    lines: RefCell<Vec<Rc<Line>>>,
    ticking: Cell<bool>,
    /// Who knows of this worker.
    known: Cell<usize>,
    spare: RefCell<Vec<Vec<u8>>>,
    spare_bytes: Cell<usize>,
    received: Counter,
    sent: Counter,
    closes: [Counter; 7],
}

/// The closes that are counted, in the order of the counters.
const CLOSES: [Close; 7] = [
    Close::Done,
    Close::GoingAway,
    Close::Protocol,
    Close::Unsupported,
    Close::Policy,
    Close::TooBig,
    Close::Failed,
];

impl Worker {
    fn new() -> Self {
        Self {
            epoch: Instant::now(),
            now: Cell::new(0),
            scratch: Cell::new(None),
            dirty: RefCell::default(),
            log: RefCell::default(),
            writer: Cell::new(None),
            writing: Cell::new(false),
            lines: RefCell::default(),
            ticking: Cell::new(false),
            known: Cell::new(0),
            spare: RefCell::default(),
            spare_bytes: Cell::new(0),
            received: metrics::counter!("fanfare_mqtt_received_bytes_total"),
            sent: metrics::counter!("fanfare_mqtt_sent_bytes_total"),
            closes: CLOSES
                .map(|why| metrics::counter!("fanfare_mqtt_closes_total", "reason" => why.name())),
        }
    }

    /// This thread's.
    pub(super) fn here() -> Rc<Self> {
        WORKER.with(Rc::clone)
    }

    /// Ticks that last at least as long.
    pub(super) fn ticks(time: Duration) -> u32 {
        let ticks = time.as_micros().div_ceil(limits::TICK.as_micros());
        u32::try_from(ticks).unwrap_or(u32::MAX)
    }

    pub(super) fn duration(ticks: u32) -> Duration {
        limits::TICK.saturating_mul(ticks)
    }

    /// The first tick that is not before that time.
    pub(super) fn tick_of(&self, at: Instant) -> u32 {
        Self::ticks(at.saturating_duration_since(self.epoch))
    }

    /// The tick it was when somebody last looked, which is at most one ago.
    pub(super) fn now(&self) -> u32 {
        self.now.get()
    }

    /// Takes care of a connection from now on. Must be called in the thread's event loop.
    pub(super) fn add(self: &Rc<Self>, line: &Rc<Line>) {
        {
            let mut lines = self.lines.borrow_mut();
            let slot = u32::try_from(lines.len()).expect("connections are file descriptors");
            line.slot.set(slot);
            lines.push(Rc::clone(line));
        }
        if !self.writing.replace(true) {
            actix_rt::spawn(write_dirty(Rc::clone(self)));
        }
        if !self.ticking.replace(true) {
            self.look();
            actix_rt::spawn(tick(Rc::clone(self)));
        }
    }

    pub(super) fn remove(&self, line: &Line) {
        let mut lines = self.lines.borrow_mut();
        let slot = line.slot.replace(u32::MAX);
        let place = slot as usize;
        if place < lines.len() {
            lines.swap_remove(place);
            if let Some(moved) = lines.get(place) {
                moved.slot.set(slot);
            }
        }
    }

    /// Whether `who` has asked before.
    pub(super) fn is_known(&self, who: usize) -> bool {
        self.known.replace(who) == who
    }

    /// Tells all connections that the process ends.
    pub(super) fn drain(&self) {
        self.lines.borrow().iter().for_each(|line| line.drain());
    }

    fn look(&self) -> u32 {
        let ticks = self.epoch.elapsed().as_micros() / limits::TICK.as_micros();
        self.now.set(u32::try_from(ticks).unwrap_or(u32::MAX));
        self.now.get()
    }

    /// Has a connection written when everything that can run now has run.
    pub(super) fn soiled(&self, line: Rc<Line>) {
        self.dirty.borrow_mut().push(line);
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }

    /// Where the log has these bytes until the turn ends; `None` if it has no more room.
    pub(super) fn share(&self, bytes: &Bytes) -> Option<Range<u32>> {
        self.log.borrow_mut().place(bytes)
    }

    /// What is shared in this turn.
    pub(super) fn log(&self) -> Ref<'_, TurnLog> {
        self.log.borrow()
    }

    /// An empty buffer for data, with room for some packets.
    pub(super) fn buffer(&self) -> Vec<u8> {
        let Some(buffer) = self.spare.borrow_mut().pop() else {
            return Vec::with_capacity(limits::BUFFER_BYTES);
        };
        self.spare_bytes
            .set(self.spare_bytes.get() - buffer.capacity());
        buffer
    }

    /// Keeps a buffer for the next who needs one, unless there are plenty: at rest no connection has one.
    pub(super) fn give_back(&self, mut buffer: Vec<u8>) {
        let kept = self.spare_bytes.get() + buffer.capacity();
        if buffer.capacity() > 0 && kept <= limits::SPARE_BYTES {
            buffer.clear();
            self.spare_bytes.set(kept);
            self.spare.borrow_mut().push(buffer);
        }
    }

    /// The buffer to read into.
    pub(super) fn scratch(&self) -> Scratch<'_> {
        let bytes = self.scratch.take();
        Scratch {
            worker: self,
            bytes: bytes.unwrap_or_else(|| vec![0; limits::READ_BYTES].into()),
        }
    }

    pub(super) fn count_received(&self, bytes: usize) {
        self.received.increment(bytes as u64);
    }

    pub(super) fn count_sent(&self, bytes: usize) {
        self.sent.increment(bytes as u64);
    }

    pub(super) fn count_close(&self, why: Close) {
        let at = CLOSES.iter().position(|one| *one == why);
        if let Some(counter) = at.and_then(|at| self.closes.get(at)) {
            counter.increment(1);
        }
    }
}

/// The worker's read buffer, until it is dropped.
pub(super) struct Scratch<'a> {
    worker: &'a Worker,
    bytes: Box<[u8]>,
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        self.worker
            .scratch
            .set(Some(std::mem::take(&mut self.bytes)));
    }
}

impl Deref for Scratch<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Scratch<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

/// Says that its task has ended, with the event loop it ran in: tests start several on one thread.
struct Running(Rc<Worker>, fn(&Worker) -> &Cell<bool>);

impl Drop for Running {
    fn drop(&mut self) {
        (self.1)(&self.0).set(false);
    }
}

/// Writes what the connections have to send, once everything that can run has run.
///
/// A thread that is nearly saturated does so only every [`limits::CROWDED_PACE`]: what comes for a connection meanwhile
/// goes with one write, which leaves it time again. One that has time waits for nothing.
async fn write_dirty(worker: Rc<Worker>) {
    let _running = Running(Rc::clone(&worker), |worker| &worker.writing);
    let mut load = Load::new();
    loop {
        std::future::poll_fn(|cx| {
            if worker.dirty.borrow().is_empty() {
                worker.writer.set(Some(cx.waker().clone()));
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
        // Everything that can run runs first, and pushes what it has to.
        tokio::task::yield_now().await;
        if load.is_crowded() {
            tokio::time::sleep_until((load.paced + limits::CROWDED_PACE).into()).await;
            load.paced = Instant::now();
        }
        let mut dirty = worker.dirty.take();
        dirty.drain(..).for_each(|line| line.flush_dirty());
        if dirty.capacity() <= limits::DIRTY_KEPT {
            let more = worker.dirty.replace(dirty);
            worker.dirty.borrow_mut().extend(more);
        }
        if worker.dirty.borrow().is_empty() {
            worker.log.borrow_mut().clear();
        }
    }
}

/// How much of its time this thread works.
struct Load {
    since: Instant,
    busy: Duration,
    crowded: bool,
    /// When connections were written last, if it is crowded.
    paced: Instant,
}

impl Load {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            since: now,
            busy: busy_time(),
            crowded: false,
            paced: now,
        }
    }

    /// Whether it has hardly any time left, as of the last time this was looked at, which is not long ago.
    fn is_crowded(&mut self) -> bool {
        let passed = self.since.elapsed();
        if passed >= limits::LOAD_WINDOW {
            let busy = busy_time();
            let share = (busy - self.busy).div_duration_f64(passed);
            self.crowded = is_crowded(self.crowded, share);
            (self.since, self.busy) = (self.since + passed, busy);
        }
        self.crowded
    }
}

/// Whether a thread that works so much of its time is crowded; `was`: whether it has been.
fn is_crowded(was: bool, share: f64) -> bool {
    let least = if was {
        limits::CROWDED_UNTIL
    } else {
        limits::CROWDED_FROM
    };
    share >= least
}

/// How long this thread's event loop has worked so far, the only worker of its runtime.
fn busy_time() -> Duration {
    let metrics = tokio::runtime::Handle::current().metrics();
    metrics.worker_total_busy_duration(0)
}

async fn tick(worker: Rc<Worker>) {
    let _running = Running(Rc::clone(&worker), |worker| &worker.ticking);
    while !worker.lines.borrow().is_empty() {
        tokio::time::sleep(limits::TICK).await;
        let now = worker.look();
        worker.lines.borrow().iter().for_each(|line| line.tick(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pacing_saves_does_not_end_it() {
        assert!(!is_crowded(false, 0.85));
        assert!(is_crowded(false, 0.95));
        assert!(is_crowded(true, 0.85));
        assert!(!is_crowded(true, 0.75));
    }

    #[actix::test]
    async fn a_thread_is_crowded_while_it_works_and_no_more_when_it_rests() {
        let mut load = Load::new();
        while load.since.elapsed() < 2 * limits::LOAD_WINDOW {
            std::thread::sleep(Duration::from_millis(1));
            tokio::task::yield_now().await;
        }
        assert!(load.is_crowded());
        tokio::time::sleep(2 * limits::LOAD_WINDOW).await;
        assert!(!load.is_crowded());
    }
}
