//! One client's connection: from the first byte of the handshake to the last delivery.

use std::io;
use std::time::Instant;

use super::frame::{self, Frames, Wishes};
use super::packet::{self, Connect, Packet, Version};
use super::socket::Socket;
use super::target::Target;

/// Who connects, and what for.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) id: String,
    /// Whether the broker keeps nothing of it.
    pub(super) clean: bool,
    pub(super) subscription: Option<(String, u8)>,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Waits for TCP.
    Connecting,
    /// Waits for `101`.
    Upgrading,
    /// Waits for CONNACK.
    Introduced,
    /// Waits for SUBACK.
    Subscribing,
    Ready,
}

/// Why a connection is no use any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the broker closed the connection{0}")]
    Closed(&'static str),
    #[error("the broker answered the upgrade with: {0}")]
    NotUpgraded(String),
    #[error("the broker refused {what} with code {code:#04x}")]
    Refused { what: &'static str, code: u8 },
    #[error("the broker ended the connection with code {0:#04x}")]
    Disconnected(u8),
    #[error(transparent)]
    Malformed(#[from] packet::Malformed),
    #[error("{0}")]
    Handshake(anyhow::Error),
}

/// What the benchmarks are told of.
pub(super) enum Event<'a> {
    /// Subscribed, or connected if there is nothing to subscribe to.
    Ready,
    Delivery {
        payload: &'a [u8],
    },
    Acknowledged {
        packet_id: u16,
    },
}

/// A connection.
pub(super) struct Link {
    pub(super) socket: Socket,
    pub(super) client: Client,
    pub(super) stage: Stage,
    version: Version,
    /// Of a WebSocket.
    frames: Option<Frames>,
    /// The start of a packet that is not whole yet.
    rest: Vec<u8>,
    /// What the socket did not take yet.
    out: Vec<u8>,
}

impl Link {
    /// Begins to connect.
    ///
    /// # Errors
    /// No descriptor, no port, or no such network.
    pub(super) fn open(target: &Target, client: Client) -> io::Result<Self> {
        Ok(Self {
            socket: Socket::open(target)?,
            client,
            stage: Stage::Connecting,
            version: target.version,
            frames: target.is_websocket().then(Frames::default),
            rest: Vec::new(),
            out: Vec::new(),
        })
    }

    /// Goes on when the socket can be written to.
    ///
    /// # Errors
    /// There is nobody, or the connection has ended.
    pub(super) fn writable(&mut self, target: &Target) -> Result<(), LinkError> {
        if self.stage == Stage::Connecting {
            if let Some(error) = self.socket.tcp.take_error()? {
                return Err(error.into());
            }
            match self.socket.tcp.peer_addr() {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            self.socket.tcp.set_nodelay(true)?;
            match target.handshake().map_err(LinkError::Handshake)? {
                Some(request) => {
                    self.out.extend_from_slice(request.as_bytes());
                    self.stage = Stage::Upgrading;
                }
                None => self.introduce(target),
            }
        }
        Ok(self.flush()?)
    }

    fn introduce(&mut self, target: &Target) {
        self.stage = Stage::Introduced;
        let Self {
            client,
            out,
            version,
            frames,
            ..
        } = self;
        let login = target.login.as_ref();
        let connect = Connect {
            client_id: &client.id,
            clean: client.clean,
            login: login.map(|(user, password)| (user.as_str(), password.as_str())),
        };
        put(out, frames.is_some(), |out| {
            packet::connect(out, &connect, *version)
        });
    }

    /// Appends a packet to what goes out with the next [`Link::flush`].
    pub(super) fn put(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        put(&mut self.out, self.frames.is_some(), write);
    }

    /// Writes what the socket takes.
    ///
    /// # Errors
    /// The connection has ended.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while !self.out.is_empty() || self.socket.holds_back() {
            match self.socket.write(&self.out) {
                Ok(count) if count == self.out.len() => self.out.clear(),
                Ok(count) => drop(self.out.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Bytes that wait for the socket.
    pub(super) fn unsent(&self) -> usize {
        self.out.len()
    }

    /// Reads what there is, and tells what it means. `buffer` is only lent, for all connections the same.
    ///
    /// # Errors
    /// The connection has ended, or is refused.
    pub(super) fn readable(
        &mut self,
        target: &Target,
        buffer: &mut [u8],
        ended: bool,
        mut tell: impl FnMut(Event<'_>, Instant),
    ) -> Result<(), LinkError> {
        loop {
            let kept = self.rest.len();
            buffer[..kept].copy_from_slice(&self.rest);
            let carried = match &mut self.frames {
                Some(frames) if self.stage > Stage::Upgrading => frames.carry(&mut buffer[kept..]),
                _ => 0,
            };
            let start = kept + carried;
            let read = match self.socket.read(&mut buffer[start..]) {
                Ok(read) => Ok(read),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let end = start + *read.as_ref().unwrap_or(&0);
            // Without new bytes too: what was kept and carried goes back to where it came from.
            self.take(target, buffer, kept, end, &mut tell)?;
            match read {
                Ok(0) => return Err(LinkError::Closed(self.when())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
                // A short read has emptied the socket: the next event comes with the next bytes. Of TLS it has emptied one
                // record.
                Ok(_) if end < buffer.len() && !ended && !self.socket.is_secure() => break,
                Ok(_) => {}
            }
        }
        Ok(self.flush()?)
    }

    /// Looks at `buffer[..end]`, of which `buffer[..kept]` is the stream already.
    fn take(
        &mut self,
        target: &Target,
        buffer: &mut [u8],
        mut kept: usize,
        mut end: usize,
        tell: &mut impl FnMut(Event<'_>, Instant),
    ) -> Result<(), LinkError> {
        self.rest.clear();
        if self.stage == Stage::Upgrading {
            let Some(head) = find(&buffer[..end], b"\r\n\r\n") else {
                self.rest.extend_from_slice(&buffer[..end]);
                return Ok(());
            };
            let text = String::from_utf8_lossy(&buffer[..head]);
            if !text.starts_with("HTTP/1.1 101") {
                let line = text.lines().next().unwrap_or_default();
                return Err(LinkError::NotUpgraded(line.to_owned()));
            }
            self.introduce(target);
            buffer.copy_within(head + 4..end, 0);
            (kept, end) = (0, end - head - 4);
        }
        let mut wishes = Wishes::default();
        if let Some(frames) = &mut self.frames {
            end = kept + frames.strip(&mut buffer[kept..end], &mut wishes);
        }
        let now = Instant::now();
        let mut at = 0;
        while let Some((packet, length)) = packet::next(&buffer[at..end], self.version)? {
            at += length;
            self.packet(&packet, now, tell)?;
        }
        self.rest.extend_from_slice(&buffer[at..end]);
        if self.rest.len() > buffer.len() / 2 {
            return Err(io::Error::other("a packet larger than any of a benchmark").into());
        }
        if wishes.ping {
            frame::pong(&mut self.out);
        }
        match wishes.close {
            true => Err(LinkError::Closed(" with a close frame")),
            false => Ok(()),
        }
    }

    fn packet(
        &mut self,
        packet: &Packet<'_>,
        now: Instant,
        tell: &mut impl FnMut(Event<'_>, Instant),
    ) -> Result<(), LinkError> {
        match *packet {
            Packet::Publish {
                qos,
                packet_id,
                payload,
                ..
            } => {
                tell(Event::Delivery { payload }, now);
                if qos > 0 {
                    self.put(|out| packet::puback(out, packet_id));
                }
            }
            // From 0x80 on, a code is a failure; 16 is "nobody has subscribed".
            Packet::Puback { packet_id, code } if code < 0x80 => {
                tell(Event::Acknowledged { packet_id }, now);
            }
            Packet::Puback { code, .. } => {
                return Err(LinkError::Refused {
                    what: "a PUBLISH",
                    code,
                });
            }
            Packet::Connack { code: 0 } if self.stage == Stage::Introduced => {
                let Some((filter, qos)) = self.client.subscription.clone() else {
                    self.stage = Stage::Ready;
                    tell(Event::Ready, now);
                    return Ok(());
                };
                self.stage = Stage::Subscribing;
                let version = self.version;
                self.put(|out| packet::subscribe(out, &filter, qos, version));
            }
            Packet::Connack { code } => {
                return Err(LinkError::Refused {
                    what: "the CONNECT",
                    code,
                });
            }
            Packet::Suback { code } if code < 0x80 => {
                self.stage = Stage::Ready;
                tell(Event::Ready, now);
            }
            Packet::Suback { code } => {
                return Err(LinkError::Refused {
                    what: "the SUBSCRIBE",
                    code,
                });
            }
            Packet::Disconnect { code } => return Err(LinkError::Disconnected(code)),
            _ => {}
        }
        Ok(())
    }

    fn when(&self) -> &'static str {
        match self.stage {
            Stage::Connecting => " at once",
            Stage::Upgrading => " instead of upgrading it",
            Stage::Introduced => " instead of a CONNACK",
            Stage::Subscribing => " instead of a SUBACK",
            Stage::Ready => "",
        }
    }
}

fn put(out: &mut Vec<u8>, websocket: bool, write: impl FnOnce(&mut Vec<u8>)) {
    if websocket {
        frame::masked(out, write);
    } else {
        write(out);
    }
}

/// Where `what` begins.
pub(super) fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
