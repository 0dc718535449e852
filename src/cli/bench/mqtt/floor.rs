//! The minimal server: does nothing but accept the same clients and write the same bytes. What a broker's processor
//! time is compared with.
//!
//! It knows no sessions, no wildcards, no QoS beyond an acknowledgement, and believes whatever it is told. What one
//! read brings for one topic goes to each subscriber in one write: one write for each delivery, or few for many
//! when the publisher runs ahead. While a subscriber does not read, nobody is read from.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;

use anyhow::Context as _;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use super::frame::{self, Frames, Wishes};
use super::link::find;
use super::packet::{self, Packet, Version};

/// A minimal server, to compare brokers with: it accepts these benchmarks' clients and writes, nothing more.
///
/// MQTT and WebSocket on one port. It prints `listening mqtt ADDRESS` and serves until it is ended. --limit starts
/// one by itself.
#[derive(clap::Args)]
pub(super) struct FloorArgs {
    /// Where to listen; port 0 chooses one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,

    /// Bytes that are read at once: so much goes out in one write when the publisher runs ahead
    #[arg(long, value_name = "BYTES", default_value_t = 16_384, value_parser = clap::value_parser!(u32).range(64..=65_536))]
    read: u32,
}

const LISTENER: Token = Token(usize::MAX);

/// Room for the start of a packet and for what is read after it.
const BUFFER_BYTES: usize = 128 * 1024;

/// Serves until the process is ended.
///
/// # Errors
/// The address can not be listened on.
pub(super) fn run(args: &FloorArgs) -> anyhow::Result<()> {
    let listener =
        TcpListener::bind(args.listen).with_context(|| format!("listening on {}", args.listen))?;
    super::crowd::raise_descriptors(0)?;
    println!("listening mqtt {}", listener.local_addr()?);
    io::stdout().flush()?;
    Floor::new(listener, args.read as usize)?.serve()
}

struct Floor {
    poll: Poll,
    listener: TcpListener,
    members: Vec<Option<Member>>,
    /// Places of members that have gone.
    free: Vec<usize>,
    subscribers: HashMap<Vec<u8>, Vec<usize>>,
    buffer: Vec<u8>,
    read_bytes: usize,
    /// Members that have not taken everything yet.
    blocked: usize,
    /// Members to read from when nobody is blocked any more.
    unread: Vec<usize>,
}

struct Member {
    socket: TcpStream,
    version: Version,
    /// None before the first bytes have shown which it is.
    transport: Option<Transport>,
    rest: Vec<u8>,
    unsent: Vec<u8>,
    /// Whether it is one of those that hold up everybody.
    blocks: bool,
    topics: Vec<Vec<u8>>,
}

enum Transport {
    Tcp,
    WebSocket(Frames),
}

impl Floor {
    fn new(mut listener: TcpListener, read_bytes: usize) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            poll,
            listener,
            members: Vec::new(),
            free: Vec::new(),
            subscribers: HashMap::new(),
            buffer: vec![0; BUFFER_BYTES],
            read_bytes,
            blocked: 0,
            unread: Vec::new(),
        })
    }

    fn serve(mut self) -> anyhow::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &events {
                if event.token() == LISTENER {
                    self.accept()?;
                    continue;
                }
                let number = event.token().0;
                if event.is_writable() {
                    self.writable(number);
                }
                if event.is_readable() {
                    self.readable(number);
                }
            }
        }
    }

    fn accept(&mut self) -> anyhow::Result<()> {
        loop {
            let mut socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // Whoever has gone again already.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error).context("accepting"),
            };
            socket.set_nodelay(true)?;
            let number = self.free.pop().unwrap_or(self.members.len());
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll
                .registry()
                .register(&mut socket, Token(number), interest)?;
            let member = Member {
                socket,
                version: Version::V311,
                transport: None,
                rest: Vec::new(),
                unsent: Vec::new(),
                blocks: false,
                topics: Vec::new(),
            };
            match self.members.get_mut(number) {
                Some(place) => *place = Some(member),
                None => self.members.push(Some(member)),
            }
        }
    }

    fn writable(&mut self, number: usize) {
        let Some(member) = &mut self.members[number] else {
            return;
        };
        if member.unsent.is_empty() {
            return;
        }
        let unsent = std::mem::take(&mut member.unsent);
        member.write(&unsent);
        if member.unsent.is_empty() && std::mem::take(&mut member.blocks) {
            self.unblock();
        }
    }

    fn unblock(&mut self) {
        self.blocked -= 1;
        if self.blocked == 0 {
            for number in std::mem::take(&mut self.unread) {
                self.readable(number);
            }
        }
    }

    fn readable(&mut self, number: usize) {
        loop {
            if self.blocked > 0 {
                self.unread.push(number);
                return;
            }
            let mut buffer = std::mem::take(&mut self.buffer);
            let more = self.read(number, &mut buffer);
            self.buffer = buffer;
            match more {
                Ok(true) => {}
                Ok(false) => return,
                Err(_) => return self.leave(number),
            }
        }
    }

    /// Reads once; tells whether there may be more.
    fn read(&mut self, number: usize, buffer: &mut [u8]) -> anyhow::Result<bool> {
        let Some(member) = &mut self.members[number] else {
            return Ok(false);
        };
        let kept = member.rest.len();
        buffer[..kept].copy_from_slice(&member.rest);
        let carried = match &mut member.transport {
            Some(Transport::WebSocket(frames)) => frames.carry(&mut buffer[kept..]),
            _ => 0,
        };
        let start = kept + carried;
        let most = buffer.len().min(start + self.read_bytes);
        let (count, more) = match member.socket.read(&mut buffer[start..most]) {
            Ok(0) => anyhow::bail!("closed"),
            Ok(count) => (count, start + count == most),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => (0, false),
            Err(error) => return Err(error.into()),
        };
        member.rest.clear();
        let end = start + count;
        let stream = match member.open(buffer, kept, end) {
            Some(end) => &buffer[..end],
            None => return Ok(more),
        };
        let stays = self.take(number, stream)?;
        anyhow::ensure!(stays, "left");
        Ok(more)
    }

    /// Does what a stretch of the stream says; tells whether the member stays.
    fn take(&mut self, number: usize, stream: &[u8]) -> anyhow::Result<bool> {
        let mut at = 0;
        // Publishes to one topic that lie side by side: they go out together.
        let mut together: Option<(&[u8], std::ops::Range<usize>)> = None;
        let stays = loop {
            let member = self.members[number].as_mut().context("left")?;
            let Some((packet, length)) = packet::next(&stream[at..], member.version)? else {
                member.rest.extend_from_slice(&stream[at..]);
                break true;
            };
            let version = member.version;
            match packet {
                Packet::Publish {
                    qos,
                    packet_id,
                    topic,
                    ..
                } => {
                    if qos > 0 {
                        member.answer(|out| packet::puback(out, packet_id));
                    }
                    match &mut together {
                        Some((before, range)) if *before == topic => range.end = at + length,
                        _ => {
                            let range = at..at + length;
                            if let Some((topic, range)) = together.replace((topic, range)) {
                                self.fan_out(topic, &stream[range]);
                            }
                        }
                    }
                }
                Packet::Connect { version } => {
                    member.version = version;
                    member.answer(|out| packet::connack(out, version));
                }
                Packet::Subscribe {
                    packet_id,
                    filter,
                    qos,
                } => {
                    member.topics.push(filter.to_vec());
                    member.answer(|out| packet::suback(out, packet_id, qos, version));
                    self.subscribers
                        .entry(filter.to_vec())
                        .or_default()
                        .push(number);
                }
                Packet::Pingreq => member.answer(packet::pingresp),
                Packet::Disconnect { .. } => break false,
                _ => {}
            }
            at += length;
        };
        if let Some((topic, range)) = together {
            self.fan_out(topic, &stream[range]);
        }
        Ok(stays)
    }

    fn fan_out(&mut self, topic: &[u8], bytes: &[u8]) {
        let Some(subscribers) = self.subscribers.get(topic) else {
            return;
        };
        let mut framed = Vec::with_capacity(bytes.len() + 10);
        frame::server_head(&mut framed, bytes.len());
        framed.extend_from_slice(bytes);
        for &number in subscribers {
            let Some(member) = &mut self.members[number] else {
                continue;
            };
            member.write(match member.transport {
                Some(Transport::WebSocket(_)) => &framed,
                _ => bytes,
            });
            if !member.unsent.is_empty() && !std::mem::replace(&mut member.blocks, true) {
                self.blocked += 1;
            }
        }
    }

    fn leave(&mut self, number: usize) {
        let Some(member) = self.members[number].take() else {
            return;
        };
        for topic in member.topics {
            if let Some(subscribers) = self.subscribers.get_mut(&topic) {
                subscribers.retain(|&other| other != number);
                if subscribers.is_empty() {
                    self.subscribers.remove(&topic);
                }
            }
        }
        self.free.push(number);
        if member.blocks {
            self.unblock();
        }
    }
}

impl Member {
    /// Writes, and keeps what the socket does not take. That a member has gone shows when it is read from.
    fn write(&mut self, bytes: &[u8]) {
        if !self.unsent.is_empty() {
            self.unsent.extend_from_slice(bytes);
            return;
        }
        let mut from = 0;
        while from < bytes.len() {
            match self.socket.write(&bytes[from..]) {
                Ok(count) => from += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.unsent.extend_from_slice(&bytes[from..]);
                    return;
                }
                Err(_) => return,
            }
        }
    }

    fn answer(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut packet = Vec::with_capacity(16);
        write(&mut packet);
        let mut bytes = Vec::with_capacity(32);
        if matches!(self.transport, Some(Transport::WebSocket(_))) {
            frame::server_head(&mut bytes, packet.len());
        }
        bytes.extend(packet);
        self.write(&bytes);
    }

    /// Makes a stream of what was read: upgrades first if that is asked for, and takes frames off. Answers where it
    /// ends; nothing while a handshake is not whole.
    fn open(&mut self, buffer: &mut [u8], kept: usize, end: usize) -> Option<usize> {
        match &mut self.transport {
            Some(Transport::Tcp) => Some(end),
            Some(Transport::WebSocket(frames)) => {
                Some(kept + frames.strip(&mut buffer[kept..end], &mut Wishes::default()))
            }
            // No CONNECT begins so.
            None if buffer[..end].first() == Some(&b'G') => {
                if find(&buffer[..end], b"\r\n\r\n").is_none() {
                    self.rest.extend_from_slice(&buffer[..end]);
                    return None;
                }
                self.transport = Some(Transport::WebSocket(Frames::default()));
                // The answer to the one key that these benchmarks' clients send (RFC 6455, 1.3).
                self.write(
                    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
                );
                None
            }
            None => {
                self.transport = Some(Transport::Tcp);
                Some(end)
            }
        }
    }
}
