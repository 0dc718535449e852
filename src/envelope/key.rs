//! The session's secret.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// The 32 random bytes that a session's messages are encrypted under; `aesKey` in the session description.
///
/// `Debug` shows nothing of it and there is no `Display`: the key reaches a text only where
/// [`to_base64`](Self::to_base64) is written out.
#[derive(Clone, PartialEq, Eq)]
pub struct AesKey([u8; 32]);

/// The text is not the base64 of exactly 32 bytes. It does not say which text: that may be a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an AES key is the base64 of exactly 32 bytes (44 characters, ending in `=`)")]
pub struct InvalidKey;

impl AesKey {
    /// A key of these bytes, which the caller draws from the system's random source.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads standard, padded base64.
    ///
    /// # Errors
    /// [`InvalidKey`] if the text is anything but the base64 of 32 bytes.
    pub fn from_base64(text: &str) -> Result<Self, InvalidKey> {
        let bytes = STANDARD.decode(text).map_err(|_| InvalidKey)?;
        bytes.try_into().map(Self).map_err(|_| InvalidKey)
    }

    /// The key as clients get it: standard, padded base64.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.0)
    }

    /// The bytes, for the store and the ciphers.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for AesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AesKey(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "LkWUsGQKi8E9QoMJEeY1HLL8rdJNJr3fzDp+F9CpkCY=";

    #[test]
    fn base64_round_trips_and_debug_shows_nothing() {
        let key = AesKey::from_base64(TEXT).unwrap();
        assert_eq!(key.to_base64(), TEXT);
        assert_eq!(key.as_bytes()[..3], [0x2e, 0x45, 0x94]);
        assert_eq!(AesKey::from_bytes(*key.as_bytes()), key);
        assert_eq!(format!("{key:?}"), "AesKey(redacted)");
    }

    #[test]
    fn anything_but_32_bytes_of_base64_is_refused() {
        let check = |text: &str| assert_eq!(AesKey::from_base64(text), Err(InvalidKey), "{text}");
        check("");
        check("LkWUsGQKi8E9QoMJEeY1HLL8rdJNJr3fzDp+F9CpkCY"); // padding missing
        check("LkWUsGQKi8E9QoMJEeY1HLL8rdJNJr3fzDp+F9CpkCZ="); // stray bits in the last character
        check("LkWUsGQKi8E9QoMJEeY1HLL8rdJNJr3fzDp-F9CpkCY="); // the URL alphabet
        check("LkWUsGQKi8E9QoMJEeY1HA=="); // 16 bytes
        check(" LkWUsGQKi8E9QoMJEeY1HLL8rdJNJr3fzDp+F9CpkCY=");
    }
}
