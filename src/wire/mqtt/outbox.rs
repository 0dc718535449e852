//! What waits to be sent to one client.
//!
//! Pushing only appends. The connection is then on its worker's list of dirty ones, and is written once when everything
//! that is ready to run has run ([`worker`](super::worker)): many packets, one write. What the socket does not take stays
//! until it does, within a bound that counts every byte.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::config::limits::links as limits;
use crate::wire::front::Socket;

use super::queue::{Framing, Queue};
use super::transport::{Close, Gone};
use super::worker::Worker;

/// Why nothing was pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Too much is waiting already: the client does not read.
    #[error("too much is waiting for the client")]
    Full,
    /// The connection is closed, or about to be.
    #[error("the connection is closed")]
    Gone,
}

/// The way to one client. Clones lead to the same one; they may outlive the connection, and then lead nowhere.
#[derive(Clone)]
pub struct Outbox(pub(super) Rc<Line>);

/// What an outbox, its transport and its worker share.
pub(super) struct Line {
    socket: Socket,
    queue: RefCell<Queue>,
    waker: Cell<Option<Waker>>,
    worker: Rc<Worker>,
    /// A `SocketAddr` takes half as much again.
    peer: Option<(IpAddr, u16)>,
    flags: Cell<u16>,
    limit_bytes: u32,
    /// Where the worker keeps it.
    pub(super) slot: Cell<u32>,
    /// In the worker's ticks: when the link wants to be called, or when closing has lasted too long; when the last byte came;
    /// since when the socket takes nothing.
    alarm: Cell<u32>,
    heard: Cell<u32>,
    blocked: Cell<u32>,
    /// Ticks without a byte after which a WebSocket is pinged; 0: never.
    ping_after: u32,
}

// With its counters, one of mimalloc's sizes: there is one for each of many connections that do nothing.
const _: () = assert!(size_of::<Line>() + 2 * size_of::<usize>() <= 192);

const NEVER: u32 = u32::MAX;

// On the worker's list.
const DIRTY: u16 = 1;
// The socket takes no more, and the transport waits until it does.
const BLOCKED: u16 = 1 << 1;
// No more pushes; when the queue is empty the sending side ends.
const CLOSING: u16 = 1 << 2;
// The sending side has ended.
const FINISHED: u16 = 1 << 3;
// The socket failed or is not to be used any more.
const BROKEN: u16 = 1 << 4;
// The client closed the connection.
const ENDED: u16 = 1 << 5;
// The client was pinged and nothing came since.
const PINGED: u16 = 1 << 6;
// The client did not answer.
const SILENT: u16 = 1 << 7;
// The link wants no bytes at present.
const PAUSED: u16 = 1 << 8;
/// The link is to be told: somebody woke it, its alarm, an empty outbox, the end of the process.
pub(super) const WOKEN: u16 = 1 << 9;
pub(super) const ALARM: u16 = 1 << 10;
pub(super) const DRAINED: u16 = 1 << 11;
pub(super) const DRAIN: u16 = 1 << 12;
const SIGNALS: u16 = WOKEN | ALARM | DRAINED | DRAIN;

impl Outbox {
    pub(super) fn new(
        socket: Socket,
        framing: Framing,
        limit_bytes: usize,
        ping_after: Duration,
        worker: Rc<Worker>,
    ) -> Self {
        let ping_after = match framing {
            Framing::Plain => 0,
            Framing::WebSocket => Worker::ticks(ping_after).max(1),
        };
        Self(Rc::new(Line {
            peer: socket.peer().map(|peer| (peer.ip(), peer.port())),
            socket,
            queue: RefCell::new(Queue::new(framing)),
            flags: Cell::new(0),
            waker: Cell::new(None),
            limit_bytes: u32::try_from(limit_bytes).unwrap_or(u32::MAX),
            slot: Cell::new(u32::MAX),
            alarm: Cell::new(NEVER),
            heard: Cell::new(worker.now()),
            blocked: Cell::new(0),
            ping_after,
            worker,
        }))
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// [`Refused`]; then nothing was added.
    pub fn push(&self, bytes: &[u8]) -> Result<(), Refused> {
        self.0.make_room(bytes.len())?;
        self.0.queue.borrow_mut().push(bytes, &self.0.worker);
        self.0.soil();
        Ok(())
    }

    /// Adds bytes that others get, too: they are copied once for all of a worker's connections and not for each, as long
    /// as the socket takes them in this turn; long ones are not copied even then.
    ///
    /// # Errors
    /// [`Refused`]; then nothing was added.
    pub fn push_shared(&self, bytes: &Bytes) -> Result<(), Refused> {
        let line = &self.0;
        line.make_room(bytes.len())?;
        let run = match line.has(BLOCKED) {
            // What waits outlives the turn.
            true => None,
            false => line.worker.share(bytes),
        };
        let mut queue = line.queue.borrow_mut();
        match run {
            Some(run) => queue.push_run(run, &line.worker),
            None if bytes.len() < limits::SHARED_BYTES => queue.push(bytes, &line.worker),
            None => queue.push_shared(bytes.clone(), &line.worker),
        }
        drop(queue);
        line.soil();
        Ok(())
    }

    /// Bytes that wait, those of framing included.
    pub fn pending_bytes(&self) -> usize {
        self.0.queue.borrow().bytes()
    }

    /// Whether the socket takes no more at present. Then what is pushed waits, and [`Receive::drained`] tells when it has
    /// left.
    ///
    /// [`Receive::drained`]: super::transport::Receive::drained
    pub fn is_blocked(&self) -> bool {
        self.0.has(BLOCKED)
    }

    /// How long the socket has taken no more, to half a second; `None` if it does.
    pub fn blocked_for(&self) -> Option<Duration> {
        let line = &self.0;
        let ticks = line.worker.now().saturating_sub(line.blocked.get());
        line.has(BLOCKED).then(|| Worker::duration(ticks))
    }

    /// Closes the connection when what waits has left, or has not after a few seconds. Nothing can be pushed any more.
    pub fn close(&self, why: Close) {
        let line = &self.0;
        if line.has(CLOSING) {
            return;
        }
        line.set(CLOSING);
        line.queue.borrow_mut().close(why);
        line.worker.count_close(why);
        let patience = Worker::ticks(limits::CLOSE_PATIENCE);
        line.alarm.set(line.worker.now().saturating_add(patience));
        line.soil();
        line.wake();
    }

    /// Ends the connection at once; what waits is dropped.
    pub fn cut(&self) {
        self.0.set(BROKEN);
        self.0.wake();
    }

    /// Whether pushes are taken.
    pub fn is_open(&self) -> bool {
        !self.0.has(CLOSING | BROKEN | ENDED | SILENT)
    }

    /// Whether what was received still counts: until this side closes. What a client sent before it went away does.
    pub fn is_heard(&self) -> bool {
        !self.0.is_cut()
    }

    /// Makes the transport call [`Receive::woken`](super::transport::Receive::woken) soon.
    pub fn wake(&self) {
        self.0.signal(WOKEN);
    }

    /// When to call [`Receive::tick`](super::transport::Receive::tick); there is one alarm, and `None` turns it off.
    /// Once the connection is being closed there is none.
    pub fn set_alarm(&self, at: Option<Instant>) {
        if !self.0.has(CLOSING) {
            let at = at.map_or(NEVER, |at| self.0.worker.tick_of(at));
            self.0.alarm.set(at);
        }
    }

    /// How long nothing has come from the client, to half a second. Whatever it sends counts, a WebSocket's pong, too.
    pub fn silent_for(&self) -> Duration {
        Worker::duration(self.0.worker.now().saturating_sub(self.0.heard.get()))
    }

    /// Reads no more, or again. What the client sends meanwhile waits in its socket.
    pub fn pause(&self, paused: bool) {
        if paused {
            self.0.set(PAUSED);
        } else if self.0.take(PAUSED) != 0 {
            self.0.wake();
        }
    }

    /// The client's address.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.0.peer.map(SocketAddr::from)
    }

    /// The address that the client connected to. It is asked for seldom, so it is not kept.
    pub fn local(&self) -> Option<SocketAddr> {
        self.0.socket.local()
    }

    /// Adds a WebSocket control frame, which goes before the data that waits.
    pub(super) fn push_control(&self, frame: &[u8]) {
        if self.is_open() {
            self.0.queue.borrow_mut().push_control(frame);
            self.0.soil();
        }
    }
}

impl Line {
    fn has(&self, any: u16) -> bool {
        self.flags.get() & any != 0
    }

    fn set(&self, flags: u16) {
        self.flags.set(self.flags.get() | flags);
    }

    fn take(&self, flags: u16) -> u16 {
        let found = self.flags.get() & flags;
        self.flags.set(self.flags.get() & !flags);
        found
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn signal(&self, signal: u16) {
        self.set(signal);
        self.wake();
    }

    /// Everything is written before it is too much, so that what counts is what the client did not read.
    fn make_room(self: &Rc<Self>, bytes: usize) -> Result<(), Refused> {
        if self.has(CLOSING | BROKEN | ENDED | SILENT) {
            return Err(Refused::Gone);
        }
        let fits = || self.queue.borrow().bytes() + bytes <= self.limit_bytes as usize;
        if fits() {
            return Ok(());
        }
        if !self.has(BLOCKED) {
            self.flush();
        }
        match fits() || self.queue.borrow().bytes() == 0 {
            true => Ok(()),
            false => Err(Refused::Full),
        }
    }

    /// Has it written soon. While the socket takes no more, its transport waits for that instead.
    fn soil(self: &Rc<Self>) {
        if !self.has(DIRTY | BLOCKED) {
            self.set(DIRTY);
            self.worker.soiled(Rc::clone(self));
        }
    }

    /// The worker's turn to write it.
    pub(super) fn flush_dirty(&self) {
        self.take(DIRTY);
        if !self.has(BLOCKED) {
            self.flush();
        }
    }

    /// Writes what the socket takes.
    fn flush(&self) {
        if self.has(BROKEN) {
            return;
        }
        let written = self.queue.borrow_mut().write(&self.socket, &self.worker);
        match written {
            Ok(true) => {
                if self.take(BLOCKED) != 0 {
                    self.signal(DRAINED);
                }
                if self.has(CLOSING) {
                    self.wake();
                }
            }
            Ok(false) => {
                if !self.has(BLOCKED) {
                    self.set(BLOCKED);
                    self.blocked.set(self.worker.now());
                    self.wake();
                }
            }
            Err(_) => {
                self.set(BROKEN);
                self.wake();
            }
        }
    }

    /// The transport's turn begins: from now on it is woken by what happens to the outbox. Returns what the link has to be
    /// told.
    pub(super) fn begin(&self, cx: &Context<'_>) -> u16 {
        let waker = self.waker.take();
        self.waker.set(Some(match waker {
            Some(waker) if waker.will_wake(cx.waker()) => waker,
            _ => cx.waker().clone(),
        }));
        self.take(SIGNALS)
    }

    /// Writes on if the socket takes bytes again.
    pub(super) fn poll_unblock(&self, cx: &mut Context<'_>) {
        while self.has(BLOCKED) && !self.has(BROKEN) {
            match self.socket.poll_writable(cx) {
                Poll::Pending => return,
                Poll::Ready(Ok(())) => self.flush(),
                Poll::Ready(Err(_)) => self.set(BROKEN),
            }
        }
    }

    /// Whether the client is to be read: a link that can not be answered is not asked.
    pub(super) fn wants_bytes(&self) -> bool {
        let is_much = || self.queue.borrow().bytes() >= limits::READ_ON_BYTES;
        if !self.has(BLOCKED) && is_much() {
            // A connection that wakes itself has many turns before the worker writes: whether its client reads is found
            // out now.
            self.flush();
        }
        let idle = !self.has(PAUSED | CLOSING | BROKEN | ENDED | SILENT);
        idle && (!self.has(BLOCKED) || !is_much())
    }

    /// Whether what was read is of no interest any more. When the client has ended, what it sent before still is.
    pub(super) fn is_cut(&self) -> bool {
        self.has(CLOSING | SILENT)
    }

    /// Whether the transport has to see to the end, with [`poll_gone`](Self::poll_gone).
    pub(super) fn is_ending(&self) -> bool {
        self.has(CLOSING | BROKEN | ENDED | SILENT)
    }

    /// Reads into the worker's scratch buffer, at most `most` bytes. `None`: there is nothing more to come, and
    /// [`poll_gone`](Self::poll_gone) says why.
    pub(super) fn poll_read<T>(
        &self,
        cx: &mut Context<'_>,
        most: usize,
        take: impl FnOnce(&[u8]) -> T,
    ) -> Poll<Option<T>> {
        let mut scratch = self.worker.scratch();
        let most = most.min(scratch.len());
        let end = match ready!(self.socket.poll_read(cx, &mut scratch[..most])) {
            Ok(0) => ENDED,
            Err(_) => BROKEN,
            Ok(read) => {
                self.heard.set(self.worker.now());
                self.take(PINGED);
                self.worker.count_received(read);
                return Poll::Ready(Some(take(&scratch[..read])));
            }
        };
        self.set(end);
        Poll::Ready(None)
    }

    /// Ready when the connection is over. One that was closed here is read out, so that the client gets the last bytes.
    pub(super) fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<Gone> {
        loop {
            if self.has(SILENT) {
                return Poll::Ready(Gone::Silent);
            }
            if self.has(BROKEN | ENDED) {
                let closed = self.has(CLOSING);
                let ended = if self.has(BROKEN) {
                    Gone::Broken
                } else {
                    Gone::Ended
                };
                return Poll::Ready(if closed { Gone::Closed } else { ended });
            }
            if !self.has(CLOSING) {
                return Poll::Pending;
            }
            if !self.has(FINISHED | BLOCKED | DIRTY) && self.queue.borrow().is_sent() {
                self.set(FINISHED);
                self.socket.finish();
            }
            let _ = ready!(self.poll_read(cx, usize::MAX, |_| ()));
        }
    }

    /// Lets go of the socket.
    pub(super) fn end(&self) {
        self.set(BROKEN);
        self.socket.close();
        self.queue.borrow_mut().clear();
    }

    /// The tick it is.
    pub(super) fn now(&self) -> u32 {
        self.worker.now()
    }

    /// Looks what is due.
    pub(super) fn tick(self: &Rc<Self>, now: u32) {
        if now >= self.alarm.get() {
            self.alarm.set(NEVER);
            let due = if self.has(CLOSING) { BROKEN } else { ALARM };
            self.signal(due);
        }
        if self.ping_after == 0 || self.has(CLOSING) {
            return;
        }
        let silent = now.saturating_sub(self.heard.get());
        if silent >= self.ping_after.saturating_mul(2) {
            self.set(SILENT);
            self.wake();
        } else if silent >= self.ping_after && !self.has(PINGED) {
            self.set(PINGED);
            Outbox(Rc::clone(self)).push_control(&[0x89, 0]);
        }
    }

    pub(super) fn drain(&self) {
        self.signal(DRAIN);
    }
}
