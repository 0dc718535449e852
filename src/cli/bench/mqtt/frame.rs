//! WebSocket frames around a stream of MQTT bytes, for both sides, without the handshake.

/// Applied to every frame of a client. Any value does; a constant costs the load generator least.
const MASK: [u8; 4] = [0x5a, 0xc3, 0x17, 0x9e];

/// The head of a frame as it lies in a buffer.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    opcode: u8,
    mask: Option<[u8; 4]>,
    /// Bytes of the head itself.
    width: usize,
    length: usize,
}

/// Continuation, text, binary; what else a frame may be is a control frame.
const DATA: std::ops::RangeInclusive<u8> = 0..=2;
const CLOSE: u8 = 8;
const PING: u8 = 9;

/// The head at the start of `bytes`; nothing if it is cut off.
fn head(bytes: &[u8]) -> Option<Head> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (length, mut width) = match second & 0x7f {
        126 => {
            let two = bytes.get(2..4)?;
            (u64::from(u16::from_be_bytes([two[0], two[1]])), 4)
        }
        127 => {
            let eight = bytes.get(2..10)?.try_into().expect("eight bytes");
            (u64::from_be_bytes(eight), 10)
        }
        short => (u64::from(short), 2),
    };
    let mask = match second & 0x80 {
        0 => None,
        _ => {
            let mask = bytes.get(width..width + 4)?.try_into().expect("four bytes");
            width += 4;
            Some(mask)
        }
    };
    Some(Head {
        opcode: first & 0xf,
        mask,
        width,
        length: usize::try_from(length).unwrap_or(usize::MAX),
    })
}

/// What the frames so far have left open.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// Bytes of the frame that is being read which are still to come.
    left: usize,
    mask: Option<[u8; 4]>,
    /// Where in the mask the next byte lies.
    phase: usize,
    /// A head, or a control frame, that is cut off.
    cut: Vec<u8>,
}

/// What the other side wants beside data.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wishes {
    pub(super) ping: bool,
    pub(super) close: bool,
}

impl Frames {
    /// Puts what was cut off last time at the start of `buffer`, where the next bytes are to follow it.
    ///
    /// # Panics
    /// If `buffer` is shorter than 256 bytes: what is cut off is shorter.
    pub(super) fn carry(&mut self, buffer: &mut [u8]) -> usize {
        let length = self.cut.len();
        buffer[..length].copy_from_slice(&self.cut);
        self.cut.clear();
        length
    }

    /// Takes the frames off `bytes` in place: afterwards its first so many bytes (the answer) are the stream.
    pub(super) fn strip(&mut self, bytes: &mut [u8], wishes: &mut Wishes) -> usize {
        let (mut from, mut to) = (0, 0);
        while from < bytes.len() {
            if self.left == 0 {
                let Some(width) = self.enter(&bytes[from..], wishes) else {
                    self.cut.extend_from_slice(&bytes[from..]);
                    break;
                };
                from += width;
                continue;
            }
            let count = self.left.min(bytes.len() - from);
            if let Some(mask) = self.mask {
                for (at, byte) in bytes[from..from + count].iter_mut().enumerate() {
                    *byte ^= mask[(self.phase + at) % 4];
                }
                self.phase = (self.phase + count) % 4;
            }
            bytes.copy_within(from..from + count, to);
            (from, to, self.left) = (from + count, to + count, self.left - count);
        }
        to
    }

    /// Reads the head of a data frame, or a whole control frame; answers its width, nothing if it is cut off.
    fn enter(&mut self, bytes: &[u8], wishes: &mut Wishes) -> Option<usize> {
        let head = head(bytes)?;
        if DATA.contains(&head.opcode) {
            (self.left, self.mask, self.phase) = (head.length, head.mask, 0);
            return Some(head.width);
        }
        // A control frame has at most 125 bytes; what claims to have more is not waited for.
        let width = head.width + head.length.min(125);
        if bytes.len() < width {
            return None;
        }
        wishes.ping |= head.opcode == PING;
        wishes.close |= head.opcode == CLOSE;
        Some(width)
    }
}

/// Appends a client's binary frame around what `write` appends.
pub(super) fn masked(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    // Room for the longest head in use; what is not needed of it is taken out again.
    out.extend([0; 8]);
    write(out);
    let length = out.len() - start - 8;
    for (at, byte) in out[start + 8..].iter_mut().enumerate() {
        *byte ^= MASK[at % 4];
    }
    let mut head = [0; 8];
    head[0] = 0x82;
    let width = match u16::try_from(length) {
        Ok(short) if short < 126 => {
            head[1] = 0x80 | short as u8;
            2
        }
        Ok(long) => {
            head[1] = 0x80 | 126;
            head[2..4].copy_from_slice(&long.to_be_bytes());
            4
        }
        Err(_) => panic!("a benchmark writes small frames"),
    };
    head[width..width + 4].copy_from_slice(&MASK);
    let width = width + 4;
    out[start..start + width].copy_from_slice(&head[..width]);
    out.drain(start + width..start + 8);
}

/// Appends the head of a server's binary frame.
pub(super) fn server_head(out: &mut Vec<u8>, length: usize) {
    out.push(0x82);
    match u16::try_from(length) {
        Ok(short) if short < 126 => out.push(short as u8),
        Ok(long) => {
            out.push(126);
            out.extend(long.to_be_bytes());
        }
        Err(_) => {
            out.push(127);
            out.extend((length as u64).to_be_bytes());
        }
    }
}

/// Appends a client's pong. It carries nothing: no broker compares it.
pub(super) fn pong(out: &mut Vec<u8>) {
    out.extend([0x8a, 0x80]);
    out.extend(MASK);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        masked(&mut frame, |out| out.extend_from_slice(payload));
        frame
    }

    fn server(payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        server_head(&mut frame, payload.len());
        frame.extend_from_slice(payload);
        frame
    }

    #[test]
    fn a_stream_comes_out_whole_however_it_is_cut() {
        let long = [b'l'; 300];
        let huge = vec![b'h'; 70_000];
        let parts = [b"short".as_slice(), &long, b""];
        let mut wire: Vec<u8> = parts.iter().flat_map(|part| client(part)).collect();
        wire.extend(b"\x89\x03abc");
        wire.extend(server(&long));
        wire.extend(server(&huge));
        wire.extend(b"\x88\0");
        let expect = [b"short".as_slice(), &long, &long, &huge].concat();
        for step in [1, 2, 3, 7, 130, 1000, wire.len()] {
            let (mut frames, mut wishes) = (Frames::default(), Wishes::default());
            let (mut stream, mut buffer) = (Vec::new(), vec![0; wire.len() + 256]);
            for chunk in wire.chunks(step) {
                let carried = frames.carry(&mut buffer);
                let end = carried + chunk.len();
                buffer[carried..end].copy_from_slice(chunk);
                let length = frames.strip(&mut buffer[..end], &mut wishes);
                stream.extend_from_slice(&buffer[..length]);
            }
            assert!(stream == expect, "step {step}");
            let expect = Wishes {
                ping: true,
                close: true,
            };
            assert_eq!(wishes, expect);
        }
    }

    #[test]
    fn frames_are_as_the_specification_says() {
        let frame = client(b"ab");
        assert_eq!(frame[..2], [0x82, 0x82]);
        assert_eq!(frame[2..6], MASK);
        assert_eq!(frame[6..], [b'a' ^ MASK[0], b'b' ^ MASK[1]]);
        assert_eq!(client(&[0; 126])[..4], [0x82, 0xfe, 0, 126]);
        assert_eq!(server(b"ab"), b"\x82\x02ab");
        assert_eq!(server(&[0; 126])[..4], [0x82, 126, 0, 126]);
        let mut wishes = Wishes::default();
        let mut bytes = Vec::new();
        pong(&mut bytes);
        assert_eq!(Frames::default().strip(&mut bytes, &mut wishes), 0);
        assert_eq!(wishes, Wishes::default());
    }
}
