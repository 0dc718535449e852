//! Writing the fields of packets.

use bytes::{BufMut, BytesMut};
use bytestring::ByteString;

use super::Extras;
use super::properties::id;

/// The most that a Variable Byte Integer can say (1.5.5).
const NUMBER_MAX: usize = 268_435_455;

/// A packet cannot be sent: it is larger than its receiver takes, or than MQTT can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the packet is larger than its receiver takes")]
pub struct TooLarge;

/// Appends to a buffer. What does not fit into a length field is left out and remembered, so that whoever writes
/// many fields asks once.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    out: &'a mut BytesMut,
    fits: bool,
}

impl<'a> Writer<'a> {
    pub fn new(out: &'a mut BytesMut) -> Self {
        Self { out, fits: true }
    }

    /// Whether everything fitted.
    pub fn result(&self) -> Result<(), TooLarge> {
        if self.fits { Ok(()) } else { Err(TooLarge) }
    }

    pub fn u8(&mut self, value: u8) {
        self.out.put_u8(value);
    }

    pub fn u16(&mut self, value: u16) {
        self.out.put_u16(value);
    }

    pub fn u32(&mut self, value: u32) {
        self.out.put_u32(value);
    }

    /// Bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.out.put_slice(bytes);
    }

    /// A Variable Byte Integer.
    pub fn number(&mut self, value: usize) {
        match digits(value) {
            Some((bytes, len)) => self.out.put_slice(&bytes[..len]),
            None => self.fits = false,
        }
    }

    /// Bytes after their length.
    pub fn binary(&mut self, bytes: &[u8]) {
        match u16::try_from(bytes.len()) {
            Ok(len) => {
                self.out.put_u16(len);
                self.out.put_slice(bytes);
            }
            Err(_) => self.fits = false,
        }
    }

    pub fn text(&mut self, text: &str) {
        self.binary(text.as_bytes());
    }

    /// A packet: its first byte, its length, and what `body` writes. `after` bytes more belong to the packet, but are not
    /// written here.
    pub fn packet(&mut self, first: u8, after: usize, body: impl FnOnce(&mut Self)) {
        self.u8(first);
        self.counted(after, body);
    }

    /// Properties: their length and what `body` writes.
    pub fn properties(&mut self, body: impl FnOnce(&mut Self)) {
        self.counted(0, body);
    }

    /// The length is known when all is written. It mostly takes one byte; otherwise what follows is moved.
    fn counted(&mut self, after: usize, body: impl FnOnce(&mut Self)) {
        let start = self.out.len();
        self.out.put_u8(0);
        body(self);
        let written = self.out.len() - start - 1;
        let Some((bytes, len)) = digits(written + after) else {
            self.fits = false;
            return;
        };
        self.out.put_bytes(0, len - 1);
        self.out
            .copy_within(start + 1..start + 1 + written, start + len);
        self.out[start..start + len].copy_from_slice(&bytes[..len]);
    }

    pub fn u8_property(&mut self, id: u8, value: u8) {
        self.u8(id);
        self.u8(value);
    }

    pub fn u16_property(&mut self, id: u8, value: u16) {
        self.u8(id);
        self.u16(value);
    }

    pub fn u32_property(&mut self, id: u8, value: u32) {
        self.u8(id);
        self.u32(value);
    }

    pub fn number_property(&mut self, id: u8, value: u32) {
        self.u8(id);
        self.number(value as usize);
    }

    pub fn text_property(&mut self, id: u8, value: &str) {
        self.u8(id);
        self.text(value);
    }

    pub fn binary_property(&mut self, id: u8, value: &[u8]) {
        self.u8(id);
        self.binary(value);
    }

    pub fn user_properties(&mut self, user: &[(ByteString, ByteString)]) {
        for (name, value) in user {
            self.u8(id::USER);
            self.text(name);
            self.text(value);
        }
    }

    /// Reason String and User Properties.
    pub fn extras(&mut self, extras: Option<&Extras>) {
        let Some(extras) = extras else { return };
        if let Some(text) = &extras.reason_string {
            self.text_property(id::REASON_STRING, text);
        }
        self.user_properties(&extras.user);
    }
}

/// The bytes of a Variable Byte Integer, and how many they are.
fn digits(mut value: usize) -> Option<([u8; 4], usize)> {
    if value > NUMBER_MAX {
        return None;
    }
    let mut bytes = [0; 4];
    let mut len = 0;
    loop {
        bytes[len] = (value & 0x7f) as u8;
        value >>= 7;
        len += 1;
        if value == 0 {
            return Some((bytes, len));
        }
        bytes[len - 1] |= 0x80;
    }
}
