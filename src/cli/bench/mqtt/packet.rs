//! The few MQTT packets of a load generator, in both versions, as bytes.
//!
//! Much smaller than a codec: it writes what the benchmarks send and looks only at what they count. It trusts
//! nothing it reads, but it does not judge a broker's packets either.

/// Protocol level 4 or 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// MQTT 3.1.1.
    V311,
    /// MQTT 5.
    V5,
}

impl Version {
    fn level(self) -> u8 {
        match self {
            Self::V311 => 4,
            Self::V5 => 5,
        }
    }
}

/// Seconds of silence that are agreed on: longer than any benchmark, so no pings disturb it.
const KEEP_ALIVE: u16 = 1200;

/// How a client introduces itself.
#[derive(Clone, Debug)]
pub(super) struct Connect<'a> {
    pub(super) client_id: &'a str,
    /// Whether the broker forgets what it knew, and forgets all when the connection ends.
    pub(super) clean: bool,
    pub(super) login: Option<(&'a str, &'a str)>,
}

/// A packet as far as a load generator looks into it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet<'a> {
    Connack {
        code: u8,
    },
    /// `code` is the last filter's.
    Suback {
        code: u8,
    },
    Publish {
        qos: u8,
        /// 0 with QoS 0.
        packet_id: u16,
        topic: &'a [u8],
        payload: &'a [u8],
    },
    Puback {
        packet_id: u16,
        code: u8,
    },
    /// The broker ends the connection, in MQTT 5 with a reason.
    Disconnect {
        code: u8,
    },
    Connect {
        version: Version,
    },
    Subscribe {
        packet_id: u16,
        /// The first one.
        filter: &'a [u8],
        qos: u8,
    },
    Pingreq,
    /// Anything that needs no answer.
    Other,
}

/// What is wrong with bytes from the other side.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("these bytes are no MQTT packet: {0}")]
pub(super) struct Malformed(&'static str);

/// A packet that lies whole at the start of `bytes`, and its length; nothing if more bytes are needed.
///
/// # Errors
/// The bytes can not become a packet, whatever follows.
pub(super) fn next(
    bytes: &[u8],
    version: Version,
) -> Result<Option<(Packet<'_>, usize)>, Malformed> {
    let Some(head) = head(bytes)? else {
        return Ok(None);
    };
    let Some(body) = bytes.get(head.start..head.end) else {
        return Ok(None);
    };
    Ok(Some((read(bytes[0], body, version)?, head.end)))
}

struct Head {
    start: usize,
    end: usize,
}

/// Where the body lies.
fn head(bytes: &[u8]) -> Result<Option<Head>, Malformed> {
    let Some((length, width)) = varint(bytes.get(1..).unwrap_or_default())? else {
        return Ok(None);
    };
    let start = 1 + width;
    Ok(Some(Head {
        start,
        end: start + length,
    }))
}

/// A variable byte integer and its width; nothing if it is cut off.
fn varint(bytes: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((value, at + 1)));
        }
    }
    match bytes.len() {
        0..4 => Ok(None),
        _ => Err(Malformed("a length of more than four bytes")),
    }
}

fn read(first: u8, body: &[u8], version: Version) -> Result<Packet<'_>, Malformed> {
    let short = Malformed("it ends before its fields do");
    let mut rest = Fields(body);
    let packet = match first >> 4 {
        1 => {
            rest.text().ok_or(short)?;
            let version = match rest.byte() {
                Some(5) => Version::V5,
                Some(_) => Version::V311,
                None => return Err(Malformed("a CONNECT without a version")),
            };
            Packet::Connect { version }
        }
        2 => Packet::Connack {
            code: *body.get(1).ok_or(short)?,
        },
        3 => {
            let qos = (first >> 1) & 3;
            let topic = rest.text().ok_or(Malformed("a PUBLISH without a topic"))?;
            let packet_id = match qos {
                0 => 0,
                _ => rest.number().ok_or(Malformed("a PUBLISH without an id"))?,
            };
            if version == Version::V5 {
                rest.skip_properties()?;
            }
            Packet::Publish {
                qos,
                packet_id,
                topic,
                payload: rest.0,
            }
        }
        4 => Packet::Puback {
            packet_id: rest.number().ok_or(short)?,
            code: rest.byte().unwrap_or(0),
        },
        8 => {
            let packet_id = rest.number().ok_or(short)?;
            if version == Version::V5 {
                rest.skip_properties()?;
            }
            let filter = rest
                .text()
                .ok_or(Malformed("a SUBSCRIBE without a filter"))?;
            let qos = rest.byte().unwrap_or(0) & 3;
            Packet::Subscribe {
                packet_id,
                filter,
                qos,
            }
        }
        9 => Packet::Suback {
            code: *body.last().ok_or(short)?,
        },
        12 => Packet::Pingreq,
        14 => Packet::Disconnect {
            code: rest.byte().unwrap_or(0),
        },
        0 => return Err(Malformed("type 0")),
        _ => Packet::Other,
    };
    Ok(packet)
}

/// What is left of a body.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte[0])
    }

    fn number(&mut self) -> Option<u16> {
        self.take(2).map(|two| u16::from_be_bytes([two[0], two[1]]))
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(length.into())
    }

    fn skip_properties(&mut self) -> Result<(), Malformed> {
        let wrong = Malformed("properties that end after the packet");
        let (length, width) = varint(self.0)?.ok_or(wrong)?;
        let wrong = Malformed("properties that end after the packet");
        self.take(width + length).map(drop).ok_or(wrong)
    }
}

/// Appends a CONNECT.
///
/// # Panics
/// If a text is longer than 65,535 bytes.
pub(super) fn connect(out: &mut Vec<u8>, connect: &Connect<'_>, version: Version) {
    let mut body = Vec::with_capacity(64);
    text(&mut body, b"MQTT");
    let mut flags = u8::from(connect.clean) << 1;
    if connect.login.is_some() {
        flags |= 0b1100_0000;
    }
    body.extend([version.level(), flags]);
    body.extend(KEEP_ALIVE.to_be_bytes());
    match (version, connect.clean) {
        (Version::V311, _) => {}
        (Version::V5, true) => body.push(0),
        // Session Expiry Interval: an hour.
        (Version::V5, false) => {
            body.extend([5, 17]);
            body.extend(3600_u32.to_be_bytes());
        }
    }
    text(&mut body, connect.client_id.as_bytes());
    if let Some((user, password)) = connect.login {
        text(&mut body, user.as_bytes());
        text(&mut body, password.as_bytes());
    }
    packet(out, 0x10, &body);
}

/// Appends a SUBSCRIBE to one filter.
///
/// # Panics
/// If the filter is longer than 65,535 bytes.
pub(super) fn subscribe(out: &mut Vec<u8>, filter: &str, qos: u8, version: Version) {
    let mut body = vec![0, 1];
    if version == Version::V5 {
        body.push(0);
    }
    text(&mut body, filter.as_bytes());
    body.push(qos);
    packet(out, 0x82, &body);
}

/// Appends a PUBLISH; with `packet_id` 0 it has QoS 0, else QoS 1.
///
/// # Panics
/// If the topic is longer than 65,535 bytes.
pub(super) fn publish(
    out: &mut Vec<u8>,
    topic: &[u8],
    packet_id: u16,
    payload: &[u8],
    version: Version,
) {
    let with_id = packet_id != 0;
    let properties = usize::from(version == Version::V5);
    out.push(0x30 | u8::from(with_id) << 1);
    length(
        out,
        2 + topic.len() + 2 * usize::from(with_id) + properties + payload.len(),
    );
    text(out, topic);
    if with_id {
        out.extend(packet_id.to_be_bytes());
    }
    if version == Version::V5 {
        out.push(0);
    }
    out.extend_from_slice(payload);
}

/// Appends a PUBACK.
pub(super) fn puback(out: &mut Vec<u8>, packet_id: u16) {
    packet(out, 0x40, &packet_id.to_be_bytes());
}

/// Appends a DISCONNECT.
pub(super) fn disconnect(out: &mut Vec<u8>) {
    out.extend([0xe0, 0]);
}

/// Appends the CONNACK of success.
pub(super) fn connack(out: &mut Vec<u8>, version: Version) {
    match version {
        Version::V311 => out.extend([0x20, 2, 0, 0]),
        Version::V5 => out.extend([0x20, 3, 0, 0, 0]),
    }
}

/// Appends the SUBACK of one filter.
pub(super) fn suback(out: &mut Vec<u8>, packet_id: u16, qos: u8, version: Version) {
    let mut body = packet_id.to_be_bytes().to_vec();
    if version == Version::V5 {
        body.push(0);
    }
    body.push(qos);
    packet(out, 0x90, &body);
}

/// Appends a PINGRESP.
pub(super) fn pingresp(out: &mut Vec<u8>) {
    out.extend([0xd0, 0]);
}

fn packet(out: &mut Vec<u8>, first: u8, body: &[u8]) {
    out.push(first);
    length(out, body.len());
    out.extend_from_slice(body);
}

fn length(out: &mut Vec<u8>, mut value: usize) {
    debug_assert!(value < 1 << 28, "longer than MQTT can say");
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

fn text(out: &mut Vec<u8>, text: &[u8]) {
    let length =
        u16::try_from(text.len()).expect("topics and names are checked where they come from");
    out.extend(length.to_be_bytes());
    out.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use Version::{V5, V311};

    use super::*;

    /// `write`'s bytes are read as `expect`, whole only, and every cut of them asks for more.
    fn check(version: Version, write: impl Fn(&mut Vec<u8>), expect: Packet<'_>) {
        let mut bytes = Vec::new();
        write(&mut bytes);
        let length = bytes.len();
        bytes.extend([0xd0, 0]);
        assert_eq!(next(&bytes, version), Ok(Some((expect, length))));
        for cut in 0..length {
            assert_eq!(next(&bytes[..cut], version), Ok(None), "cut at {cut}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let payload = [7; 128];
        for version in [V311, V5] {
            for packet_id in [0, 1, 65_535] {
                let expect = Packet::Publish {
                    qos: u8::from(packet_id != 0),
                    packet_id,
                    topic: b"a/b",
                    payload: &payload,
                };
                let write = |out: &mut Vec<u8>| publish(out, b"a/b", packet_id, &payload, version);
                check(version, write, expect);
            }
            let write = |out: &mut Vec<u8>| subscribe(out, "a/#", 1, version);
            let expect = Packet::Subscribe {
                packet_id: 1,
                filter: b"a/#",
                qos: 1,
            };
            check(version, write, expect);
            check(
                version,
                |out| connack(out, version),
                Packet::Connack { code: 0 },
            );
            check(
                version,
                |out| suback(out, 9, 1, version),
                Packet::Suback { code: 1 },
            );
            let puback_of_9 = Packet::Puback {
                packet_id: 9,
                code: 0,
            };
            check(version, |out| puback(out, 9), puback_of_9);
            check(version, disconnect, Packet::Disconnect { code: 0 });
            check(version, pingresp, Packet::Other);
        }
    }

    #[test]
    fn a_client_introduces_itself_as_the_specification_says() {
        let introduced = |version, clean, login| {
            let mut out = Vec::new();
            let client_id = "id";
            connect(
                &mut out,
                &Connect {
                    client_id,
                    clean,
                    login,
                },
                version,
            );
            out
        };
        let plain = introduced(V311, true, None);
        assert_eq!(plain, b"\x10\x0e\0\x04MQTT\x04\x02\x04\xb0\0\x02id");
        let expect =
            b"\x10\x1b\0\x04MQTT\x05\xc0\x04\xb0\x05\x11\0\0\x0e\x10\0\x02id\0\x01u\0\x02pw";
        assert_eq!(introduced(V5, false, Some(("u", "pw"))), expect);
        assert_eq!(
            next(&plain, V5),
            Ok(Some((Packet::Connect { version: V311 }, plain.len())))
        );
    }

    #[test]
    fn properties_are_skipped() {
        let bytes = b"\x30\x09\0\x01t\x03\x23\0\x01xy";
        let expect = Packet::Publish {
            qos: 0,
            packet_id: 0,
            topic: b"t",
            payload: b"xy",
        };
        assert_eq!(next(bytes, V5), Ok(Some((expect, 11))));
    }

    #[test]
    fn nonsense_is_refused() {
        for bytes in [
            b"\x30\xff\xff\xff\xff\x01".as_slice(),
            b"\0\0",
            b"\x30\x02\0\x09",
            b"\x30\x04\0\x01t\x09",
            b"\x32\x03\0\x01t",
            b"\x20\x01\0",
            b"\x90\0",
            b"\x40\x01\0",
            b"\x82\x03\0\x01\0",
            b"\x10\x02\0\0",
        ] {
            assert!(next(bytes, V5).is_err(), "{bytes:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_are_too_much(bytes: Vec<u8>) {
            for version in [V311, V5] {
                if let Ok(Some((_, length))) = next(&bytes, version) {
                    assert!(length <= bytes.len());
                }
            }
        }
    }
}
