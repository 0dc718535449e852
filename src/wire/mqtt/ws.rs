//! A connection in WebSocket frames: an `actix-web-actors` actor that reads, and an outbox that writes past it.
//!
//! The actor decodes frames, answers pings and judges what is no good frame. Its own queue of outgoing frames has no bound,
//! and it stands still while its client does not read; so data never goes through it: the actor's output, which is pongs
//! only, is moved to the outbox whenever it is polled, and the outbox frames the data itself, one frame for all that is
//! ready. The actor is polled by this connection's task and not by an HTTP response, so it always runs.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
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
pub(super) fn run<L: Receive>(
    link: L,
    outbox: Outbox,
    first: Bytes,
    frame_bytes: usize,
    seat: Seat,
) -> impl Future<Output = ()> {
    let shared = Rc::new(Shared {
        link: RefCell::new(link),
        handled: Cell::new(0),
        outbox,
    });
    let actor = Frames {
        shared: Rc::clone(&shared),
        fragments: 0,
        cheap: 0,
        cheap_since: 0,
    };
    let input = Input {
        outbox: shared.outbox.clone(),
        first: Vec::from(first).into(),
        heads: Heads::new(frame_bytes),
        has_read: false,
    };
    let codec = Codec::new().max_size(frame_bytes);
    Connection {
        actor: WebsocketContext::with_codec(actor, input, codec),
        shared,
        _seat: seat,
    }
}

/// What the task and the actor work on.
struct Shared<L> {
    link: RefCell<L>,
    outbox: Outbox,
    /// All frames so far.
    handled: Cell<u64>,
}

/// The task of one connection. As an `async` block it would have everything twice: as it was handed over, and where it is
/// used.
struct Connection<L, A> {
    shared: Rc<Shared<L>>,
    actor: A,
    _seat: Seat,
}

impl<L, A> Connection<L, A>
where
    L: Receive,
    A: Stream<Item = Result<Bytes, actix_web::Error>> + Unpin,
{
    /// One turn; ready when the connection is over.
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<Gone> {
        let Shared {
            link,
            outbox,
            handled,
        } = &*self.shared;
        let line = &outbox.0;
        tell(&mut *link.borrow_mut(), line.begin(cx));
        line.poll_unblock(cx);
        while !line.is_cut() {
            let before = handled.get();
            match Pin::new(&mut self.actor).poll_next(cx) {
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
}

impl<L, A> Future for Connection<L, A>
where
    L: Receive,
    A: Stream<Item = Result<Bytes, actix_web::Error>> + Unpin,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let gone = ready!(self.turn(cx));
        end(&self.shared.outbox);
        self.shared.link.borrow_mut().gone(gone);
        Poll::Ready(())
    }
}

/// The actor.
struct Frames<L> {
    shared: Rc<Shared<L>>,
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
        let handled = &self.shared.handled;
        handled.set(handled.get() + 1);
        if self.shared.outbox.0.is_cut() {
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
                self.close(Close::Unsupported);
            }
            Ok(Message::Ping(bytes)) => {
                self.count_cheap();
                ctx.pong(&bytes);
            }
            Ok(Message::Pong(_) | Message::Nop) => self.count_cheap(),
            Ok(Message::Close(_)) => self.close(Close::Done),
            Err(ProtocolError::Overflow) => self.close(Close::TooBig),
            Err(_) => self.close(Close::Protocol),
        }
    }

    /// The input never ends: the task sees to that.
    fn finished(&mut self, _: &mut Self::Context) {}
}

impl<L: Receive> Frames<L> {
    fn data(&mut self, bytes: &[u8], fragments: Option<u32>) {
        self.fragments = fragments.unwrap_or(0);
        if self.fragments > limits::FRAGMENTS {
            self.close(Close::TooBig);
            return;
        }
        if bytes.is_empty() {
            self.count_cheap();
            return;
        }
        self.shared.link.borrow_mut().receive(bytes);
    }

    /// Frames without data cost the client next to nothing.
    fn count_cheap(&mut self) {
        let now = self.shared.outbox.0.now();
        if Worker::duration(now.saturating_sub(self.cheap_since)) >= limits::CHEAP_PERIOD {
            self.cheap_since = now;
            self.cheap = 0;
        }
        self.cheap += 1;
        if self.cheap > limits::CHEAP_FRAMES {
            self.close(Close::Policy);
        }
    }

    fn close(&self, why: Close) {
        self.shared.outbox.close(why);
    }
}

/// What paho's Python client answers to a ping. RFC 6455 has a connection fail for a frame without a mask (5.1), and then
/// each such client would, as soon as it has nothing to say for a while. The mask is there to keep chosen bytes out of
/// proxies, and this pong has none.
const UNMASKED_PONG: [u8; 2] = [0x8a, 0];

/// The bytes that the actor decodes.
struct Input {
    outbox: Outbox,
    /// What came with the request, mostly nothing.
    first: Box<[u8]>,
    heads: Heads,
    /// Whether as much was read as is at a time.
    has_read: bool,
}

impl Stream for Input {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut bytes = Bytes::from(std::mem::take(&mut self.first));
        if bytes.is_empty() {
            // The actor gathers whatever there is before it decodes, so it gets a little at a time.
            if std::mem::take(&mut self.has_read) {
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
            self.has_read = bytes.len() == limits::CHUNK_BYTES;
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
