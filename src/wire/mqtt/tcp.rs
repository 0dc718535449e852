//! A connection without framing: MQTT on TCP, in TLS or not.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use crate::config::limits::links as limits;

use super::outbox::{ALARM, DRAIN, DRAINED, Outbox, WOKEN};
use super::transport::{Gone, Receive};
use super::transports::Seat;
use super::worker::Worker;

/// The task of one connection. It is this small because there are many that do nothing.
pub(super) struct Connection<L: Receive> {
    link: L,
    outbox: Outbox,
    _seat: Seat,
}

impl<L: Receive> Connection<L> {
    pub(super) fn new(link: L, outbox: Outbox, seat: Seat) -> Self {
        Self {
            link,
            outbox,
            _seat: seat,
        }
    }

    /// One turn; ready when the connection is over.
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<Gone> {
        let line = &self.outbox.0;
        tell(&mut self.link, line.begin(cx));
        line.poll_unblock(cx);
        let mut taken = 0;
        while line.wants_bytes() {
            let link = &mut self.link;
            let take = |bytes: &[u8]| {
                taken += bytes.len();
                link.receive(bytes);
            };
            if ready!(line.poll_read(cx, usize::MAX, take)).is_none() {
                break;
            }
            if taken >= limits::TURN_BYTES {
                // The others have their turn.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        line.poll_gone(cx)
    }
}

// Nothing is pinned in it.
impl<L: Receive> Unpin for Connection<L> {}

impl<L: Receive> Future for Connection<L> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let gone = ready!(self.turn(cx));
        end(&self.outbox);
        self.link.gone(gone);
        Poll::Ready(())
    }
}

/// Tells the link what happened meanwhile.
pub(super) fn tell(link: &mut impl Receive, signals: u16) {
    if signals == 0 {
        return;
    }
    if signals & DRAIN != 0 {
        link.drain();
    }
    if signals & DRAINED != 0 {
        link.drained();
    }
    if signals & WOKEN != 0 {
        link.woken();
    }
    if signals & ALARM != 0 {
        link.tick(Instant::now());
    }
}

/// Lets go of the socket and of the place on the worker.
pub(super) fn end(outbox: &Outbox) {
    outbox.0.end();
    Worker::here().remove(&outbox.0);
}
