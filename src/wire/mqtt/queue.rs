//! The bytes of an outbox, and how they become WebSocket frames and writes.
//!
//! Usually there is one buffer with all packets of a turn, which one write takes; a WebSocket's frame head is made for it
//! then, so that all of them are one frame. What many connections get is not even copied: it is a run in the worker's
//! [`TurnLog`](super::turn_log::TurnLog). Only what a socket did not take is kept in pieces.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::ops::Range;

use bytes::{Buf as _, Bytes};

use crate::config::limits::links as limits;
use crate::wire::front::Socket;

use super::transport::Close;
use super::worker::Worker;

/// How bytes go on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Plain,
    WebSocket,
}

/// Opcodes with the bit that says that a message ends with its frame.
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;

pub(super) struct Queue {
    framing: Framing,
    /// What the socket did not take, framed.
    left: VecDeque<Bytes>,
    left_bytes: usize,
    /// Control frames.
    control: Vec<u8>,
    /// Data that is not framed yet: pieces, then the buffer that short ones are gathered in, then a run of the worker's
    /// log, which is written or copied before the turn ends.
    pieces: VecDeque<Bytes>,
    buffer: Vec<u8>,
    run: Range<u32>,
    data_bytes: usize,
    close: Option<Close>,
}

impl Queue {
    pub(super) fn new(framing: Framing) -> Self {
        Self {
            framing,
            left: VecDeque::new(),
            left_bytes: 0,
            control: Vec::new(),
            pieces: VecDeque::new(),
            buffer: Vec::new(),
            run: 0..0,
            data_bytes: 0,
            close: None,
        }
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.left_bytes + self.control.len() + self.data_bytes
    }

    /// Whether everything has left, the closing frame too.
    pub(super) fn is_sent(&self) -> bool {
        self.bytes() == 0 && self.close.is_none()
    }

    pub(super) fn push(&mut self, bytes: &[u8], worker: &Worker) {
        self.settle(worker);
        self.gather(bytes, worker);
        self.data_bytes += bytes.len();
    }

    /// Adds what the worker's log has there.
    pub(super) fn push_run(&mut self, run: Range<u32>, worker: &Worker) {
        self.data_bytes += run.len();
        if !self.run.is_empty() && self.run.end == run.start {
            self.run.end = run.end;
            return;
        }
        self.settle(worker);
        self.run = run;
    }

    /// Copies the run, so that something else can come after it.
    fn settle(&mut self, worker: &Worker) {
        if !self.run.is_empty() {
            let run = std::mem::take(&mut self.run);
            self.gather(worker.log().bytes(&run), worker);
        }
    }

    fn gather(&mut self, bytes: &[u8], worker: &Worker) {
        if self.buffer.capacity() == 0 {
            self.buffer = worker.buffer();
        }
        self.buffer.extend_from_slice(bytes);
    }

    pub(super) fn push_shared(&mut self, bytes: Bytes, worker: &Worker) {
        self.settle(worker);
        if !self.buffer.is_empty() {
            self.pieces
                .push_back(std::mem::take(&mut self.buffer).into());
        }
        self.data_bytes += bytes.len();
        self.pieces.push_back(bytes);
    }

    pub(super) fn push_control(&mut self, frame: &[u8]) {
        self.control.extend_from_slice(frame);
    }

    /// The last thing that is sent.
    pub(super) fn close(&mut self, why: Close) {
        self.close = Some(why);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new(self.framing);
    }

    /// Writes until nothing is left (`true`) or the socket takes no more (`false`).
    pub(super) fn write(&mut self, socket: &Socket, worker: &Worker) -> io::Result<bool> {
        if !socket.try_flush()? {
            return Ok(false);
        }
        if self.left.is_empty() && self.pieces.is_empty() {
            self.write_buffer(socket, worker)?;
        }
        if !self.is_sent() {
            self.frame(worker);
        }
        while !self.left.is_empty() {
            let mut parts = [IoSlice::new(&[]); limits::WRITE_PARTS];
            let count = self.left.len().min(parts.len());
            for (part, piece) in parts.iter_mut().zip(&self.left) {
                *part = IoSlice::new(piece);
            }
            match taken(socket.try_write(&parts[..count]), worker)? {
                Some(taken) => self.forget(taken),
                None => return Ok(false),
            }
        }
        // What is at rest keeps no memory.
        self.left = VecDeque::new();
        socket.try_flush()
    }

    /// The usual case: one write takes everything.
    fn write_buffer(&mut self, socket: &Socket, worker: &Worker) -> io::Result<()> {
        let (head, close) = (self.head(), self.close_frame());
        let log = worker.log();
        let all = [
            &self.control[..],
            head.bytes(),
            &self.buffer,
            log.bytes(&self.run),
            close.bytes(),
        ];
        let whole: usize = all.iter().map(|part| part.len()).sum();
        let mut parts = [IoSlice::new(&[]); 5];
        let mut count = 0;
        for part in all.into_iter().filter(|part| !part.is_empty()) {
            parts[count] = IoSlice::new(part);
            count += 1;
        }
        if count == 0 {
            return Ok(());
        }
        let Some(taken) = taken(socket.try_write(&parts[..count]), worker)? else {
            return Ok(());
        };
        if taken == whole {
            self.control = Vec::new();
            self.close = None;
            self.data_bytes = 0;
            self.run = 0..0;
            worker.give_back(std::mem::take(&mut self.buffer));
        } else {
            self.frame(worker);
            self.forget(taken);
        }
        Ok(())
    }

    /// Frames everything, in order, behind what is left from before.
    fn frame(&mut self, worker: &Worker) {
        let (head, close) = (self.head(), self.close_frame());
        let mut control = std::mem::take(&mut self.control);
        control.extend_from_slice(head.bytes());
        let buffer = std::mem::take(&mut self.buffer);
        let pieces = std::mem::take(&mut self.pieces);
        let run = std::mem::take(&mut self.run);
        let run = Bytes::copy_from_slice(worker.log().bytes(&run));
        let close = Bytes::copy_from_slice(close.bytes());
        let parts =
            std::iter::once(control.into())
                .chain(pieces)
                .chain([buffer.into(), run, close]);
        for part in parts.filter(|part| !part.is_empty()) {
            self.left_bytes += part.len();
            self.left.push_back(part);
        }
        self.data_bytes = 0;
        self.close = None;
    }

    /// Drops what was written.
    fn forget(&mut self, mut taken: usize) {
        self.left_bytes -= taken;
        while taken > 0 {
            let Some(first) = self.left.front_mut() else {
                return;
            };
            let now = first.len().min(taken);
            first.advance(now);
            taken -= now;
            if first.is_empty() {
                self.left.pop_front();
            }
        }
    }

    /// The head of the frame that all data becomes.
    fn head(&self) -> Short {
        let mut head = Short::default();
        if self.framing == Framing::Plain || self.data_bytes == 0 {
            return head;
        }
        head.add(&[BINARY]);
        match (
            u8::try_from(self.data_bytes),
            u16::try_from(self.data_bytes),
        ) {
            (Ok(short @ ..=125), _) => head.add(&[short]),
            (_, Ok(medium)) => {
                head.add(&[126]);
                head.add(&medium.to_be_bytes());
            }
            _ => {
                head.add(&[127]);
                head.add(&(self.data_bytes as u64).to_be_bytes());
            }
        }
        head
    }

    fn close_frame(&self) -> Short {
        let mut frame = Short::default();
        if let (Framing::WebSocket, Some(why)) = (self.framing, self.close) {
            frame.add(&[CLOSE, 2]);
            frame.add(&why.code().to_be_bytes());
        }
        frame
    }
}

/// How much was taken; `None` if nothing can be at present.
fn taken(written: io::Result<usize>, worker: &Worker) -> io::Result<Option<usize>> {
    match written {
        Ok(0) => Err(io::ErrorKind::WriteZero.into()),
        Ok(taken) => {
            worker.count_sent(taken);
            Ok(Some(taken))
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Up to ten bytes: a frame's head.
#[derive(Default)]
struct Short {
    bytes: [u8; 10],
    len: usize,
}

impl Short {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}
