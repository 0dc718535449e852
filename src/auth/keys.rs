//! Issuing temporary keys.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use crate::domain::Timestamp;
use crate::domain::session::Credentials;

/// What AWS's temporary key ids start with; SDKs and [`super::sigv4`] expect a token with such a key.
pub const TEMPORARY_PREFIX: &str = "ASIA";

/// RFC 4648's base 32: only what old front ends put into a URL unencoded.
const KEY_ID_ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Fresh keys that end at `expires`: an id of 80 random bits, a secret of 240 and a token of 512.
///
/// # Panics
/// If the operating system has no random bytes: no key may ever be issued then.
pub fn issue(expires: Timestamp) -> Credentials {
    let mut random = [0_u8; 16 + 30 + 64];
    getrandom::fill(&mut random).expect("the operating system gives random bytes");
    let (id, rest) = random.split_at(16);
    let (secret, token) = rest.split_at(30);
    let mut access_key = String::with_capacity(TEMPORARY_PREFIX.len() + id.len());
    access_key.push_str(TEMPORARY_PREFIX);
    // 256 is a multiple of 32: every character is equally likely.
    access_key.extend(
        id.iter()
            .map(|byte| char::from(KEY_ID_ALPHABET[usize::from(byte % 32)])),
    );
    Credentials {
        access_key,
        secret_key: STANDARD_NO_PAD.encode(secret),
        session_token: URL_SAFE_NO_PAD.encode(token),
        expires,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_form_that_clients_expect() {
        let mut ids = std::collections::HashSet::new();
        for _ in 0..1000 {
            let keys = issue(Timestamp::from_secs(7));
            assert_eq!(keys.expires, Timestamp::from_secs(7));
            assert_eq!(keys.access_key.len(), 20);
            let random = keys.access_key.strip_prefix("ASIA").expect("prefix");
            let allowed = |b: u8| b.is_ascii_uppercase() || (b'2'..=b'7').contains(&b);
            assert!(random.bytes().all(allowed), "{random}");
            assert_eq!(keys.secret_key.len(), 40);
            assert_eq!(keys.session_token.len(), 86);
            assert!(ids.insert(keys.access_key) && ids.insert(keys.secret_key));
            assert!(ids.insert(keys.session_token));
        }
    }
}
