//! From bytes to packets.

use bytes::{Buf, Bytes, BytesMut};

use super::packet::kind;
use super::read::{Header, Parsed, Reader};
use super::rules::{self, Rule, Violation};
use super::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, Publish, Sender, SubAck, Subscribe, UnsubAck,
    Unsubscribe, Version,
};

/// Reads the packets that one side of a connection sends. It holds no bytes; whoever reads from the socket does.
#[derive(Debug, Clone, Copy)]
pub struct Decoder {
    sender: Sender,
    /// `None` until CONNECT was read.
    version: Option<Version>,
    max_bytes: usize,
}

impl Decoder {
    /// For a client that has not introduced itself: only CONNECT is taken. No packet may be larger than `max_bytes`, header
    /// included.
    pub const fn awaiting_connect(max_bytes: usize) -> Self {
        Self {
            sender: Sender::Client,
            version: None,
            max_bytes,
        }
    }

    /// For a connection whose CONNECT was read: everything but CONNECT is taken, as far as `sender` may send it.
    pub const fn connected(sender: Sender, version: Version, max_bytes: usize) -> Self {
        Self {
            sender,
            version: Some(version),
            max_bytes,
        }
    }

    /// Takes the first packet off `input`; `None` if it is not all there. What was refused stays where it is.
    ///
    /// # Errors
    /// The rule that it breaks, as soon as enough of it is there to know: a packet of a wrong kind after one byte, one that
    /// is too large after its length. So no more than `max_bytes` need ever be held.
    pub fn decode(&self, input: &mut Bytes) -> Result<Option<Packet>, Violation> {
        let Some(header) = self
            .header(input)?
            .filter(|header| header.whole() <= input.len())
        else {
            return Ok(None);
        };
        let packet = self.read(header, input)?;
        input.advance(header.whole());
        Ok(Some(packet))
    }

    /// As [`decode`](Self::decode), for a buffer that is still being read into.
    ///
    /// # Errors
    /// As there.
    pub fn decode_from(&self, input: &mut BytesMut) -> Result<Option<Packet>, Violation> {
        match self.header(input)? {
            Some(header) if header.whole() <= input.len() => {
                let packet = input.split_to(header.whole()).freeze();
                self.read(header, &packet).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// How many bytes the packet has that `input` begins with, header included; `None` if that is not yet known.
    ///
    /// # Errors
    /// The rule that its header breaks.
    pub fn measure(&self, input: &[u8]) -> Result<Option<usize>, Violation> {
        Ok(self.header(input)?.map(Header::whole))
    }

    fn header(&self, input: &[u8]) -> Result<Option<Header>, Violation> {
        let Some(&first) = input.first() else {
            return Ok(None);
        };
        let header = self.check_first(first).and_then(|()| Header::read(input));
        let header = header.map_err(|rule| self.violation(rule))?;
        if header.is_some_and(|header| header.whole() > self.max_bytes) {
            return Err(self.violation(&rules::TOO_LARGE));
        }
        Ok(header)
    }

    /// Reads the packet that `input` begins with, which is all there.
    fn read(&self, header: Header, input: &Bytes) -> Result<Packet, Violation> {
        let mut version = self.version;
        let body = self.body(header, input, &mut version);
        body.map_err(|rule| Violation { rule, version })
    }

    fn violation(&self, rule: &'static Rule) -> Violation {
        Violation {
            rule,
            version: self.version,
        }
    }

    /// Type and flags.
    fn check_first(&self, first: u8) -> Parsed<()> {
        let packet = first >> 4;
        match (self.version, packet) {
            (None, kind::CONNECT) => {}
            (None, _) => return Err(&rules::FIRST_PACKET),
            (_, 0) | (Some(Version::V311), kind::AUTH) => return Err(&rules::PACKET_TYPE),
            _ => {}
        }
        let wrong = match packet {
            kind::CONNECT if self.version.is_some() && self.sender == Sender::Client => {
                return Err(&rules::SECOND_CONNECT);
            }
            kind::CONNECT | kind::SUBSCRIBE | kind::UNSUBSCRIBE | kind::PINGREQ => Sender::Server,
            kind::CONNACK | kind::SUBACK | kind::UNSUBACK | kind::PINGRESP => Sender::Client,
            kind::DISCONNECT if self.version == Some(Version::V311) => Sender::Server,
            _ => return check_flags(packet, first & 0x0f),
        };
        if self.sender == wrong {
            return Err(&rules::WRONG_SIDE);
        }
        check_flags(packet, first & 0x0f)
    }

    /// What follows the fixed header. CONNECT says which version the sender speaks.
    fn body(
        &self,
        header: Header,
        packet: &Bytes,
        version: &mut Option<Version>,
    ) -> Parsed<Packet> {
        let reader = &mut Reader::new(packet, header.bytes..header.whole());
        let read = match *version {
            None => Packet::Connect(Box::new(Connect::read(reader, version)?)),
            Some(version) => other(header.first, version, self.sender, reader)?,
        };
        if !header.is_minimal && *version == Some(Version::V5) {
            return Err(&rules::NOT_MINIMAL);
        }
        reader.finish()?;
        Ok(read)
    }
}

/// Every packet but CONNECT.
fn other(first: u8, version: Version, sender: Sender, reader: &mut Reader<'_>) -> Parsed<Packet> {
    Ok(match first >> 4 {
        kind::CONNACK => Packet::ConnAck(Box::new(ConnAck::read(version, reader)?)),
        kind::PUBLISH => Packet::Publish(Publish::read(first, version, sender, reader)?),
        kind::PUBACK => Packet::PubAck(Ack::read(kind::PUBACK, version, reader)?),
        kind::PUBREC => Packet::PubRec(Ack::read(kind::PUBREC, version, reader)?),
        kind::PUBREL => Packet::PubRel(Ack::read(kind::PUBREL, version, reader)?),
        kind::PUBCOMP => Packet::PubComp(Ack::read(kind::PUBCOMP, version, reader)?),
        kind::SUBSCRIBE => Packet::Subscribe(Subscribe::read(version, reader)?),
        kind::SUBACK => Packet::SubAck(SubAck::read(version, reader)?),
        kind::UNSUBSCRIBE => Packet::Unsubscribe(Unsubscribe::read(version, reader)?),
        kind::UNSUBACK => Packet::UnsubAck(UnsubAck::read(version, reader)?),
        kind::PINGREQ => Packet::PingReq,
        kind::PINGRESP => Packet::PingResp,
        kind::DISCONNECT => Packet::Disconnect(Disconnect::read(version, reader)?),
        kind::AUTH => Packet::Auth(Auth::read(reader)?),
        _ => return Err(&rules::PACKET_TYPE),
    })
}

/// The lower four bits of the first byte (table 2-2).
fn check_flags(packet: u8, flags: u8) -> Parsed<()> {
    let (expected, rule) = match packet {
        kind::PUBLISH if flags & 0b0110 == 0b0110 => return Err(&rules::PUBLISH_QOS),
        kind::PUBLISH if flags & 0b1110 == 0b1000 => return Err(&rules::PUBLISH_DUP),
        kind::PUBLISH => return Ok(()),
        kind::PUBREL => (0b0010, &rules::PUBREL_FLAGS),
        kind::SUBSCRIBE => (0b0010, &rules::SUBSCRIBE_FLAGS),
        kind::UNSUBSCRIBE => (0b0010, &rules::UNSUBSCRIBE_FLAGS),
        kind::DISCONNECT => (0, &rules::DISCONNECT_FLAGS),
        kind::AUTH => (0, &rules::AUTH_FLAGS),
        _ => (0, &rules::FLAGS),
    };
    if flags == expected { Ok(()) } else { Err(rule) }
}
