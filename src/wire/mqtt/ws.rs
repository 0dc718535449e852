//! A connection in WebSocket frames: an `actix-web-actors` actor that reads, and an outbox that writes past it.
//!
//! The actor decodes frames, answers pings and judges what is no good frame. Its own queue of outgoing frames has no bound,
//! and it stands still while its client does not read; so data never goes through it: the actor's output, which is pongs
//! only, is moved to the outbox whenever it is polled, and the outbox frames the data itself, one frame for all that is
//! ready. The actor is polled by this connection's task and not by an HTTP response, so it always runs.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix::{Actor, StreamHandler};
use actix_http::ws::{Codec, Item, Message, ProtocolError};
use actix_web::error::PayloadError;
use actix_web_actors::ws::WebsocketContext;
use bytes::{Buf as _, Bytes};
use futures_util::Stream;

use crate::config::limits::links as limits;

use super::frames::Heads;
use super::outbox::Outbox;
use super::tcp::{end, tell};
use super::transport::{Close, Gone, Receive};
use super::transports::Seat;
use super::worker::Worker;

/// Speaks with a client until the connection is over.
pub(super) async fn run<L: Receive>(
    link: L,
    outbox: Outbox,
    first: Bytes,
    frame_bytes: usize,
    _seat: Seat,
) {
    let link = Rc::new(RefCell::new(link));
    let handled = Rc::new(Cell::new(0));
    let actor = Frames {
        link: Rc::clone(&link),
        outbox: outbox.clone(),
        handled: Rc::clone(&handled),
        fragments: 0,
        cheap: 0,
        cheap_since: 0,
    };
    let input = Input {
        outbox: outbox.clone(),
        first,
        heads: Heads::new(frame_bytes),
        reads: 0,
    };
    let codec = Codec::new().max_size(frame_bytes);
    let mut replies = pin!(WebsocketContext::with_codec(actor, input, codec));
    let gone = poll_fn(|cx| turn(&link, &outbox, &handled, replies.as_mut(), cx)).await;
    end(&outbox);
    link.borrow_mut().gone(gone);
}

/// One turn; ready when the connection is over.
fn turn<L: Receive>(
    link: &RefCell<L>,
    outbox: &Outbox,
    handled: &Cell<u64>,
    mut actor: Pin<&mut impl Stream<Item = Result<Bytes, actix_web::Error>>>,
    cx: &mut Context<'_>,
) -> Poll<Gone> {
    let line = &outbox.0;
    tell(&mut *link.borrow_mut(), line.begin(cx));
    line.poll_unblock(cx);
    while !line.is_cut() {
        let before = handled.get();
        match actor.as_mut().poll_next(cx) {
            // The actor takes a rest after some frames. Those that came before the client's end are taken to the last.
            Poll::Pending if line.is_ending() && handled.get() != before => {}
            Poll::Pending => break,
            Poll::Ready(Some(Ok(frames))) => outbox.push_control(&frames),
            // It does not end by itself, and what it encodes has no errors.
            Poll::Ready(Some(Err(_)) | None) => outbox.close(Close::Failed),
        }
    }
    line.poll_gone(cx)
}

/// The actor.
struct Frames<L> {
    link: Rc<RefCell<L>>,
    outbox: Outbox,
    /// All frames so far.
    handled: Rc<Cell<u64>>,
    /// Frames of the message that is not complete.
    fragments: u32,
    /// Frames without data, since that tick.
    cheap: u32,
    cheap_since: u32,
}

impl<L: Receive> Actor for Frames<L> {
    type Context = WebsocketContext<Self>;
}

impl<L: Receive> StreamHandler<Result<Message, ProtocolError>> for Frames<L> {
    fn handle(&mut self, frame: Result<Message, ProtocolError>, ctx: &mut Self::Context) {
        self.handled.set(self.handled.get() + 1);
        if self.outbox.0.is_cut() {
            return;
        }
        match frame {
            Ok(Message::Binary(bytes)) => self.data(&bytes, None),
            // Packets end anywhere, so fragments need not be put together.
            Ok(Message::Continuation(Item::FirstBinary(bytes))) => self.data(&bytes, Some(1)),
            Ok(Message::Continuation(Item::Continue(bytes))) => {
                self.data(&bytes, Some(self.fragments + 1));
            }
            Ok(Message::Continuation(Item::Last(bytes))) => self.data(&bytes, None),
            Ok(Message::Text(_) | Message::Continuation(Item::FirstText(_))) => {
                self.outbox.close(Close::Unsupported);
            }
            Ok(Message::Ping(bytes)) => {
                self.count_cheap();
                ctx.pong(&bytes);
            }
            Ok(Message::Pong(_) | Message::Nop) => self.count_cheap(),
            Ok(Message::Close(_)) => self.outbox.close(Close::Done),
            Err(ProtocolError::Overflow) => self.outbox.close(Close::TooBig),
            Err(_) => self.outbox.close(Close::Protocol),
        }
    }

    /// The input never ends: the task sees to that.
    fn finished(&mut self, _: &mut Self::Context) {}
}

impl<L: Receive> Frames<L> {
    fn data(&mut self, bytes: &[u8], fragments: Option<u32>) {
        self.fragments = fragments.unwrap_or(0);
        if self.fragments > limits::FRAGMENTS {
            self.outbox.close(Close::TooBig);
            return;
        }
        if bytes.is_empty() {
            self.count_cheap();
            return;
        }
        self.link.borrow_mut().receive(bytes);
    }

    /// Frames without data cost the client next to nothing.
    fn count_cheap(&mut self) {
        let now = self.outbox.0.now();
        if Worker::duration(now.saturating_sub(self.cheap_since)) >= limits::CHEAP_PERIOD {
            self.cheap_since = now;
            self.cheap = 0;
        }
        self.cheap += 1;
        if self.cheap > limits::CHEAP_FRAMES {
            self.outbox.close(Close::Policy);
        }
    }
}

/// What paho's Python client answers to a ping. RFC 6455 has a connection fail for a frame without a mask (5.1), and then
/// each such client would, as soon as it has nothing to say for a while. The mask is there to keep chosen bytes out of
/// proxies, and this pong has none.
const UNMASKED_PONG: [u8; 2] = [0x8a, 0];

/// The bytes that the actor decodes.
struct Input {
    outbox: Outbox,
    first: Bytes,
    heads: Heads,
    reads: usize,
}

impl Stream for Input {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut bytes = std::mem::take(&mut self.first);
        if bytes.is_empty() {
            // The actor gathers whatever there is before it decodes, so it gets a little at a time.
            if self.reads == 1 {
                self.reads = 0;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let line = &self.outbox.0;
            if !line.wants_bytes() {
                return Poll::Pending;
            }
            match ready!(line.poll_read(cx, limits::CHUNK_BYTES, Bytes::copy_from_slice)) {
                Some(read) => bytes = read,
                None => return Poll::Pending,
            }
            // A short read has emptied the socket, and there will be a call when there is more.
            self.reads = usize::from(bytes.len() == limits::CHUNK_BYTES);
            if bytes.starts_with(&UNMASKED_PONG) && self.heads.is_between() {
                bytes.advance(UNMASKED_PONG.len());
            }
        }
        if self.heads.pass(&bytes).is_err() {
            self.outbox.close(Close::TooBig);
            return Poll::Pending;
        }
        Poll::Ready(Some(Ok(bytes)))
    }
}
