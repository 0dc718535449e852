//! The v2 construction: which key, which nonce and which context AES-256-GCM gets.

use aes::Aes256Enc;
use aes_gcm::{
    AeadInOut as _, AesGcm, KeyInit as _,
    aead::{Error, array::Array, consts::U12},
};
use hkdf::Hkdf;
use sha2::Sha256;

use super::AesKey;

/// Decryption with GCM runs the block cipher forwards too, so the decryption key schedule is left out.
type Aes256Gcm = AesGcm<Aes256Enc, U12>;

/// Binds the derived key to this use. v1 encrypts under `aesKey` itself, and CTR and GCM inputs can
/// coincide, so the two must never share a key.
const INFO: &[u8] = b"fanfare-envelope/2";

/// The format's name: first on the wire, and first in the additional data.
pub(super) const VERSION: &str = "v2";

/// Derives the session's v2 key: HKDF-SHA-256 of `aesKey`, salted with the session id.
pub(super) fn derive_key(key: &AesKey, session_id: &str) -> AesKey {
    let mut derived = [0; 32];
    Hkdf::<Sha256>::new(Some(session_id.as_bytes()), key.as_bytes())
        .expand(INFO, &mut derived)
        .expect("HKDF-SHA-256 gives up to 8,160 bytes");
    AesKey::from_bytes(derived)
}

/// Encrypts in place and appends the 16-byte tag.
pub(super) fn encrypt(key: &AesKey, session_id: &str, seq: u64, message: &mut Vec<u8>) {
    Aes256Gcm::new(key.as_bytes().into())
        .encrypt_in_place(&nonce(seq), &additional_data(session_id, seq), message)
        .expect("a message is far shorter than GCM's 64 GiB");
}

/// Checks the tag, removes it and decrypts in place.
///
/// # Errors
/// Any difference in key, session, sequence number, ciphertext or tag; the error does not say which.
pub(super) fn decrypt(
    key: &AesKey,
    session_id: &str,
    seq: u64,
    sealed: &mut Vec<u8>,
) -> Result<(), Error> {
    Aes256Gcm::new(key.as_bytes().into()).decrypt_in_place(
        &nonce(seq),
        &additional_data(session_id, seq),
        sealed,
    )
}

/// 4 zero bytes, then the sequence number big-endian. Unique per key because the number comes from a
/// [`CounterLease`](super::CounterLease); never random, since two equal nonces give the key away.
fn nonce(seq: u64) -> Array<u8, U12> {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&seq.to_be_bytes());
    nonce.into()
}

/// Version, session id and sequence number, each after its length (32 bits, big-endian), so that no two
/// different triples give the same bytes.
fn additional_data(session_id: &str, seq: u64) -> Vec<u8> {
    let seq = seq.to_string();
    let mut data = Vec::with_capacity(12 + VERSION.len() + session_id.len() + seq.len());
    for part in [VERSION, session_id, &seq] {
        let length = u32::try_from(part.len()).expect("a session id has at most 256 characters");
        data.extend_from_slice(&length.to_be_bytes());
        data.extend_from_slice(part.as_bytes());
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_is_unambiguous() {
        assert_eq!(
            additional_data("ab", 12),
            b"\0\0\0\x02v2\0\0\0\x02ab\0\0\0\x0212"
        );
        assert_ne!(additional_data("ab1", 2), additional_data("ab", 12));
        assert_eq!(
            nonce(0x0102_0304_0506_0708)[..],
            [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]
        );
    }

    #[test]
    fn key_depends_on_session() {
        let key = AesKey::from_bytes([7; 32]);
        assert_ne!(derive_key(&key, "a"), derive_key(&key, "b"));
        assert_ne!(derive_key(&key, "a"), key);
    }
}
