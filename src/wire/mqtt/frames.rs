//! Looks at the heads of incoming WebSocket frames, so that no frame that is too long is waited for.
//!
//! The decoder judges a frame's length when all of it is there, and gathers it until then.

/// A frame is longer than allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong;

/// Follows the frames in a stream of bytes. What makes a frame a bad one otherwise is left to the decoder.
#[derive(Debug)]
pub(super) struct Heads {
    most_bytes: u64,
    /// The head so far: at most two bytes, eight of length and four of mask.
    head: [u8; 14],
    have: u8,
    /// Bytes of the frame that are still to come.
    rest: u64,
}

impl Heads {
    pub(super) fn new(most_bytes: usize) -> Self {
        Self {
            most_bytes: most_bytes as u64,
            head: [0; 14],
            have: 0,
            rest: 0,
        }
    }

    /// Whether the next byte begins a frame.
    pub(super) fn is_between(&self) -> bool {
        self.have == 0 && self.rest == 0
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`TooLong`], as soon as a head says so.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) -> Result<(), TooLong> {
        while !bytes.is_empty() {
            if self.rest > 0 {
                let now =
                    usize::try_from(self.rest).map_or(bytes.len(), |rest| rest.min(bytes.len()));
                self.rest -= now as u64;
                bytes = &bytes[now..];
                continue;
            }
            self.head[usize::from(self.have)] = bytes[0];
            self.have += 1;
            bytes = &bytes[1..];
            if self.have == self.head_bytes() {
                self.rest = self.length();
                self.have = 0;
                if self.rest > self.most_bytes {
                    return Err(TooLong);
                }
            }
        }
        Ok(())
    }

    /// How long the head is, as far as it is known.
    fn head_bytes(&self) -> u8 {
        if self.have < 2 {
            return 2;
        }
        let length = match self.head[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if self.head[1] & 0x80 == 0 { 0 } else { 4 };
        2 + length + mask
    }

    fn length(&self) -> u64 {
        let long = |bytes: &[u8]| {
            bytes
                .iter()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
        };
        match self.head[1] & 0x7f {
            126 => long(&self.head[2..4]),
            127 => long(&self.head[2..10]),
            short => u64::from(short),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client's frame of `length` bytes, and how long its head is.
    fn frame(length: usize) -> (Vec<u8>, usize) {
        let mut bytes = vec![0x82];
        match length {
            0..=125 => bytes.push(0x80 | length as u8),
            126..=0xffff => {
                bytes.push(0xfe);
                bytes.extend_from_slice(&(length as u16).to_be_bytes());
            }
            _ => {
                bytes.push(0xff);
                bytes.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        bytes.extend_from_slice(&[1, 2, 3, 4]);
        let head = bytes.len();
        bytes.resize(head + length, 0xff);
        (bytes, head)
    }

    #[test]
    fn frames_are_followed_however_they_are_cut() {
        let lengths = [0, 1, 125, 126, 300, 70_000, 0, 5];
        let stream: Vec<u8> = lengths.iter().flat_map(|length| frame(*length).0).collect();
        for cut in [1, 2, 3, 7, 1000, stream.len()] {
            let mut heads = Heads::new(70_000);
            for chunk in stream.chunks(cut) {
                assert_eq!(heads.pass(chunk), Ok(()), "{cut}");
            }
            assert_eq!((heads.have, heads.rest), (0, 0), "{cut}");
        }
    }

    #[test]
    fn a_long_frame_is_refused_by_its_head() {
        for length in [1001, 65_535, 70_000] {
            let (bytes, head) = frame(length);
            let mut heads = Heads::new(1000);
            assert_eq!(heads.pass(&bytes[..head - 1]), Ok(()), "{length}");
            assert_eq!(heads.pass(&bytes[head - 1..head]), Err(TooLong), "{length}");
        }
        let mut heads = Heads::new(1000);
        let endless = [
            0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0,
        ];
        assert_eq!(heads.pass(&endless), Err(TooLong));
    }
}
