//! Reading the fields of one packet.

use std::ops::Range;

use bytes::Bytes;
use bytestring::ByteString;

use super::rules::{self, Rule};
use super::{PacketId, ReasonCode};

/// A field, or the rule that is broken.
pub(super) type Parsed<T> = Result<T, &'static Rule>;

/// The fixed header of a packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    /// Type and flags.
    pub first: u8,
    /// Bytes of the header itself.
    pub bytes: usize,
    /// Bytes that follow.
    pub remaining: usize,
    /// Whether the length is written in as few bytes as possible.
    pub is_minimal: bool,
}

impl Header {
    /// Bytes of the whole packet.
    pub fn whole(self) -> usize {
        self.bytes + self.remaining
    }

    /// Reads it from the beginning of a packet; `None` if it is not all there.
    pub fn read(input: &[u8]) -> Parsed<Option<Self>> {
        let Some((&first, rest)) = input.split_first() else {
            return Ok(None);
        };
        Ok(number(rest)?.map(|(remaining, bytes, is_minimal)| Self {
            first,
            bytes: bytes + 1,
            remaining: remaining as usize,
            is_minimal,
        }))
    }
}

/// A Variable Byte Integer (1.5.5) with the bytes it takes, and whether they are as few as possible; `None` if it is not
/// all there.
fn number(input: &[u8]) -> Parsed<Option<(u32, usize, bool)>> {
    let mut value = 0;
    for (at, &byte) in input.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((value, at + 1, byte != 0 || at == 0)));
        }
    }
    if input.len() < 4 {
        return Ok(None);
    }
    Err(&rules::LENGTH)
}

/// Walks over a packet. The texts and byte strings that it returns share the packet's memory.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    packet: &'a Bytes,
    at: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    /// Reads that part of `packet`, which must be there.
    pub fn new(packet: &'a Bytes, part: Range<usize>) -> Self {
        debug_assert!(part.start <= part.end && part.end <= packet.len());
        Self {
            packet,
            at: part.start,
            end: part.end,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.at == self.end
    }

    /// Bytes that are left.
    pub fn left(&self) -> usize {
        self.end - self.at
    }

    fn advance(&mut self, bytes: usize) -> Parsed<Range<usize>> {
        if bytes > self.left() {
            return Err(&rules::TRUNCATED);
        }
        let start = self.at;
        self.at += bytes;
        Ok(start..self.at)
    }

    fn array<const N: usize>(&mut self) -> Parsed<[u8; N]> {
        let range = self.advance(N)?;
        let mut array = [0; N];
        array.copy_from_slice(&self.packet[range]);
        Ok(array)
    }

    pub fn u8(&mut self) -> Parsed<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub fn u16(&mut self) -> Parsed<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub fn u32(&mut self) -> Parsed<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// A Variable Byte Integer. Only MQTT 5 has them inside packets.
    pub fn number(&mut self) -> Parsed<u32> {
        let (value, bytes, is_minimal) =
            number(&self.packet[self.at..self.end])?.ok_or(&rules::TRUNCATED)?;
        self.at += bytes;
        if is_minimal {
            Ok(value)
        } else {
            Err(&rules::NOT_MINIMAL)
        }
    }

    pub fn packet_id(&mut self) -> Parsed<PacketId> {
        PacketId::new(self.u16()?).ok_or(&rules::PACKET_ID)
    }

    /// A reason code that is one of `allowed`; otherwise `rule` is broken.
    pub fn reason(&mut self, allowed: &[ReasonCode], rule: &'static Rule) -> Parsed<ReasonCode> {
        let reason = ReasonCode::from_u8(self.u8()?).filter(|reason| allowed.contains(reason));
        reason.ok_or(rule)
    }

    /// Bytes after their length.
    pub fn binary(&mut self) -> Parsed<Bytes> {
        let bytes = self.u16()?;
        Ok(self.packet.slice(self.advance(bytes.into())?))
    }

    /// Text after its length: UTF-8 without U+0000 (1.5.4).
    pub fn text(&mut self) -> Parsed<ByteString> {
        let text = ByteString::try_from(self.binary()?).map_err(|_| &rules::UTF8)?;
        if text.as_bytes().contains(&0) {
            return Err(&rules::NUL);
        }
        Ok(text)
    }

    /// The next `bytes` on their own.
    pub fn part(&mut self, bytes: usize) -> Parsed<Reader<'a>> {
        let range = self.advance(bytes)?;
        Ok(Self {
            packet: self.packet,
            at: range.start,
            end: range.end,
        })
    }

    /// All that is left.
    pub fn rest(&mut self) -> Bytes {
        let rest = self.packet.slice(self.at..self.end);
        self.at = self.end;
        rest
    }

    /// Nothing may be left.
    pub fn finish(&self) -> Parsed<()> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(&rules::TRAILING)
        }
    }
}
