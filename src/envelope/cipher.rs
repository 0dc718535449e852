//! Sealing and opening, for both formats.

use aes::{
    Aes256Enc,
    cipher::{KeyIvInit as _, StreamCipher as _},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{AesKey, MAX_COUNTER, gcm};

/// CTR over the whole 128-bit block, big-endian, as every client counts.
type Ctr = ctr::Ctr128BE<Aes256Enc>;

const BLOCK_BYTES: u64 = 16;

/// The format of a session's envelopes, fixed for its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Envelope {
    /// `{counter}|{base64}`: AES-256-CTR, what the prior art's clients read. The default.
    V1,
    /// `v2|{seq}|{base64}`: AES-256-GCM, bound to the session. Chosen with `envelope=gcm`.
    V2 {
        /// The session's id, part of the key derivation and of the authenticated context.
        session_id: String,
    },
}

/// Why a text is not an envelope of this session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The parts between the bars are not those of the session's format. The other format counts too:
    /// a v2 session that opened v1 would let anyone strip its integrity.
    #[error("not a {expected} envelope")]
    Format {
        /// The shape that was looked for.
        expected: &'static str,
    },
    /// The counter or sequence number is not a decimal in `0..=2^53-1` without leading zeros.
    #[error("the number before the bar is not a decimal in 0..=9007199254740991")]
    Counter,
    /// The last part is not standard, padded base64.
    #[error("the part after the last bar is not padded base64")]
    Base64,
    /// v2 only: the tag does not fit. Wrong key, wrong session, or altered on the way.
    #[error("not sealed by this session, or altered since")]
    Forged,
}

/// Seals the messages of one session and opens them again.
///
/// A number must never be sealed twice with different messages: the keystream would repeat and give both
/// away. Numbers therefore come from a [`CounterLease`](super::CounterLease), as many per message as
/// [`blocks`](Self::blocks) says; sealing the *same* message again under its number is fine, and how a
/// redelivery comes out byte-identical.
#[derive(Debug, Clone)]
pub struct SessionCipher {
    key: AesKey,
    format: Envelope,
}

impl SessionCipher {
    /// A cipher for the session that owns `key`. Keeps 32 bytes of key, not the expanded schedule:
    /// expanding takes some tens of nanoseconds, and active sessions are many.
    pub fn new(key: &AesKey, format: Envelope) -> Self {
        let key = match &format {
            Envelope::V1 => key.clone(),
            Envelope::V2 { session_id } => gcm::derive_key(key, session_id),
        };
        Self { key, format }
    }

    /// Seals one message under a number that [`CounterLease::reserve`](super::CounterLease::reserve) gave.
    ///
    /// The message is the JSON that [`ascii_json`](super::ascii_json) made; the cipher itself takes any bytes.
    ///
    /// # Panics
    /// If the number is above [`MAX_COUNTER`], which no lease gives: clients would read another one.
    pub fn seal(&self, number: u64, message: &[u8]) -> String {
        assert!(number <= MAX_COUNTER, "no lease reaches beyond 2^53-1");
        let (mut envelope, sealed) = match &self.format {
            Envelope::V1 => {
                let mut bytes = message.to_vec();
                apply_ctr(&self.key, number, &mut bytes);
                (format!("{number}|"), bytes)
            }
            Envelope::V2 { session_id } => {
                let mut bytes = Vec::with_capacity(message.len() + 16);
                bytes.extend_from_slice(message);
                gcm::encrypt(&self.key, session_id, number, &mut bytes);
                (format!("{}|{number}|", gcm::VERSION), bytes)
            }
        };
        envelope.reserve_exact(sealed.len().div_ceil(3) * 4);
        STANDARD.encode_string(&sealed, &mut envelope);
        envelope
    }

    /// Opens an envelope.
    ///
    /// v1 has no integrity: under a wrong key, or after a change on the way, this answers `Ok` with
    /// other bytes. v2 refuses every change of every character.
    ///
    /// # Errors
    /// [`OpenError`], which names the part that is wrong and shows nothing of the message.
    pub fn open(&self, envelope: &str) -> Result<Vec<u8>, OpenError> {
        match &self.format {
            Envelope::V1 => {
                let (number, mut bytes) = split(envelope, "v1 (counter|base64)")?;
                apply_ctr(&self.key, number, &mut bytes);
                Ok(bytes)
            }
            Envelope::V2 { session_id } => {
                let expected = "v2 (v2|sequence|base64)";
                let rest = envelope
                    .strip_prefix(gcm::VERSION)
                    .and_then(|rest| rest.strip_prefix('|'))
                    .ok_or(OpenError::Format { expected })?;
                let (number, mut bytes) = split(rest, expected)?;
                gcm::decrypt(&self.key, session_id, number, &mut bytes)
                    .map_err(|_| OpenError::Forged)?;
                Ok(bytes)
            }
        }
    }

    /// How many numbers a message of `length` bytes uses up: v1 one for each block of 16 bytes, since
    /// block `n` of the message is encrypted with counter + n; v2 one. Never 0, so that no two messages
    /// show the same number.
    pub fn blocks(&self, length: usize) -> u64 {
        match self.format {
            Envelope::V1 => aes_blocks(length),
            Envelope::V2 { .. } => 1,
        }
    }
}

/// The AES blocks that `length` bytes touch, at least one.
fn aes_blocks(length: usize) -> u64 {
    let length = u64::try_from(length).expect("a length in memory fits 64 bits");
    length.div_ceil(BLOCK_BYTES).max(1)
}

/// Encrypts or decrypts: CTR is its own inverse.
fn apply_ctr(key: &AesKey, counter: u64, bytes: &mut [u8]) {
    let first_block = u128::from(counter).to_be_bytes();
    Ctr::new(key.as_bytes().into(), &first_block.into()).apply_keystream(bytes);
}

/// Splits `number|base64` and decodes both.
fn split(text: &str, expected: &'static str) -> Result<(u64, Vec<u8>), OpenError> {
    let (number, sealed) = text.split_once('|').ok_or(OpenError::Format { expected })?;
    if number.is_empty() || sealed.contains('|') {
        return Err(OpenError::Format { expected });
    }
    let number = parse_number(number).ok_or(OpenError::Counter)?;
    let sealed = STANDARD.decode(sealed).map_err(|_| OpenError::Base64)?;
    Ok((number, sealed))
}

/// One spelling per number, so that v2's "every change is refused" holds for the number as well:
/// `u64::from_str` alone would take `+5` and `05`.
fn parse_number(text: &str) -> Option<u64> {
    let canonical =
        text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    let number = text.parse().ok().filter(|_| canonical)?;
    (number <= MAX_COUNTER).then_some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The key of SEMANTICS 5.
    fn key() -> AesKey {
        AesKey::from_base64("LkWUsGQKi8E9QoMJEeY1HLL8rdJNJr3fzDp+F9CpkCY=").unwrap()
    }

    fn v1() -> SessionCipher {
        SessionCipher::new(&key(), Envelope::V1)
    }

    fn v2(session_id: &str) -> SessionCipher {
        SessionCipher::new(
            &key(),
            Envelope::V2 {
                session_id: session_id.into(),
            },
        )
    }

    #[test]
    fn v1_vectors() {
        let check = |counter, text: &str, envelope: &str| {
            assert_eq!(v1().seal(counter, text.as_bytes()), envelope);
            assert_eq!(v1().open(envelope).unwrap(), text.as_bytes());
        };
        check(9_734_675_727, "this is test", "9734675727|nw7xCnVR0m/YrGgG");
        check(5, r#"{"a":"é✓"}"#, "5|hbTFISt3Qi0Irkci8w==");
        check(5, "", "5|");
    }

    /// Computed with Python's `cryptography`; tests/envelope_examples.rs has both clients open such envelopes.
    #[test]
    fn v2_vector() {
        let envelope = "v2|10000000000|9oy7fqxXdrt9SxYt/IZawZyiK4VJWSEwuJwNsm3GRgAj";
        assert_eq!(
            v2("sess-1").seal(10_000_000_000, br#"{"hello":"world"}"#),
            envelope
        );
        assert_eq!(
            v2("sess-1").open(envelope).unwrap(),
            br#"{"hello":"world"}"#
        );
    }

    #[test]
    fn v1_blocks_follow_each_other() {
        let two_blocks = [b'x'; 32];
        let whole = STANDARD.decode(&v1().seal(100, &two_blocks)[4..]).unwrap();
        let second = STANDARD
            .decode(&v1().seal(101, &two_blocks[16..])[4..])
            .unwrap();
        assert_eq!(whole[16..], second);
    }

    #[test]
    fn malformed_envelopes_are_refused_by_part() {
        let format_v1 = OpenError::Format {
            expected: "v1 (counter|base64)",
        };
        let format_v2 = OpenError::Format {
            expected: "v2 (v2|sequence|base64)",
        };
        let check_v1 = |text: &str, error| assert_eq!(v1().open(text), Err(error), "{text}");
        let check_v2 = |text: &str, error| assert_eq!(v2("s").open(text), Err(error), "{text}");
        check_v1("", format_v1);
        check_v1("5", format_v1);
        check_v1("|AAAA", format_v1);
        check_v1("5|AAAA|", format_v1);
        check_v1("v2|5|AAAA", format_v1);
        for number in [
            "05",
            "00",
            "+5",
            "-5",
            " 5",
            "5 ",
            "0x5",
            "٥",
            "1e3",
            "9007199254740992",
            "18446744073709551621",
        ] {
            check_v1(&format!("{number}|AAAA"), OpenError::Counter);
            check_v2(&format!("v2|{number}|AAAA"), OpenError::Counter);
        }
        for sealed in [
            "A", "AAA", "AAA=A", "AB==", "AAA*", "AA-_", "AAAA\n", " AAAA", "é",
        ] {
            check_v1(&format!("5|{sealed}"), OpenError::Base64);
            check_v2(&format!("v2|5|{sealed}"), OpenError::Base64);
        }
        check_v2("5|AAAA", format_v2);
        check_v2("v2", format_v2);
        check_v2("v2|5", format_v2);
        check_v2("v2||AAAA", format_v2);
        check_v2("v25|AAAA", format_v2);
        check_v2("V2|5|AAAA", format_v2);
        check_v2("v2|5|AAAA", OpenError::Forged); // shorter than a tag
        check_v2("v2|5|", OpenError::Forged);
    }

    #[test]
    fn highest_number_opens() {
        let envelope = v1().seal(MAX_COUNTER, b"{}");
        assert!(envelope.starts_with("9007199254740991|"));
        assert_eq!(v1().open(&envelope).unwrap(), b"{}");
        assert_eq!(v1().open(&v1().seal(0, b"{}")).unwrap(), b"{}");
    }

    #[test]
    #[should_panic(expected = "no lease reaches beyond")]
    fn number_beyond_the_range_is_a_bug() {
        v1().seal(MAX_COUNTER + 1, b"{}");
    }

    #[test]
    fn v2_refuses_every_changed_character() {
        let cipher = v2("sess-1");
        let envelope = cipher.seal(1234, br#"{"amount":1}"#);
        assert!(cipher.open(&envelope).is_ok());
        for at in 0..envelope.len() {
            let mut bytes = envelope.clone().into_bytes();
            for other in (0..=0x7f).filter(|other| *other != envelope.as_bytes()[at]) {
                bytes[at] = other;
                let text = std::str::from_utf8(&bytes).unwrap();
                assert!(cipher.open(text).is_err(), "opened {text:?}");
            }
            bytes.truncate(at);
            assert!(
                cipher.open(std::str::from_utf8(&bytes).unwrap()).is_err(),
                "opened a cut at {at}"
            );
            let mut longer = envelope.clone();
            longer.insert(at, '0');
            assert!(cipher.open(&longer).is_err(), "opened {longer:?}");
        }
        assert!(cipher.open(&format!("{envelope}0")).is_err());
    }

    #[test]
    fn v2_is_bound_to_session_and_key() {
        let envelope = v2("sess-1").seal(1234, b"{}");
        assert_eq!(v2("sess-2").open(&envelope), Err(OpenError::Forged));
        let other = SessionCipher::new(
            &AesKey::from_bytes([0; 32]),
            Envelope::V2 {
                session_id: "sess-1".into(),
            },
        );
        assert_eq!(other.open(&envelope), Err(OpenError::Forged));
        assert!(!format!("{:?}", v2("sess-1")).contains("key: AesKey(["));
    }

    #[test]
    fn blocks_count_in_v1_only() {
        let check = |length, expect| {
            assert_eq!(v1().blocks(length), expect, "v1 of {length} bytes");
            assert_eq!(v2("s").blocks(length), 1, "v2 of {length} bytes");
        };
        check(0, 1);
        check(1, 1);
        check(16, 1);
        check(17, 2);
        check(204_800, 12_800);
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens(
            number in 0..=MAX_COUNTER,
            message in proptest::collection::vec(any::<u8>(), 0..200),
            session_id in ".{1,40}",
        ) {
            for cipher in [v1(), v2(&session_id)] {
                let envelope = cipher.seal(number, &message);
                prop_assert!(envelope.is_ascii());
                prop_assert_eq!(cipher.open(&envelope).unwrap(), message.clone());
                prop_assert_eq!(cipher.seal(number, &message), envelope);
            }
        }

        #[test]
        fn opening_never_panics(text in "(v2\\|)?[0-9]{0,20}\\|?[A-Za-z0-9+/=|]{0,40}", noise in any::<String>()) {
            for text in [text, noise] {
                let _ = v1().open(&text);
                prop_assert!(v2("s").open(&text).is_err());
            }
        }
    }
}
