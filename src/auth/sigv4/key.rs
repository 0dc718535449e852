//! Signing keys: derived from a secret for one day, region and service, and kept for the next call.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// A derived key, held as an HMAC that has already absorbed it: two hash blocks less per use.
#[derive(Clone)]
pub struct SigningKey(Hmac<Sha256>);

impl SigningKey {
    /// The chain `AWS4` + secret → date → region → service → `aws4_request`.
    ///
    /// `scope` is `date/region/service/aws4_request`; each part is one link of the chain.
    #[must_use]
    pub fn derive(secret: &str, scope: &str) -> Self {
        let mut first = Vec::with_capacity(4 + secret.len());
        first.extend_from_slice(b"AWS4");
        first.extend_from_slice(secret.as_bytes());
        Self(scope.split('/').fold(keyed(&first), |mac, part| {
            keyed(&digest(mac, part.as_bytes()))
        }))
    }

    /// The signature of `text`.
    #[must_use]
    pub fn sign(&self, text: &[u8]) -> [u8; 32] {
        digest(self.0.clone(), text)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

fn digest(mut mac: Hmac<Sha256>, text: &[u8]) -> [u8; 32] {
    mac.update(text);
    mac.finalize().into_bytes().into()
}

/// A bounded memory of derived keys, shared by all threads.
///
/// Every slot has its own lock and holds one key; a newcomer with the same hash takes the slot. So
/// the bound needs no eviction, and two threads meet only over the same key. The secret itself is
/// part of what is compared: a rotated secret never meets a key derived from the old one.
pub struct KeyCache {
    slots: Box<[Mutex<Option<Entry>>]>,
    hasher: RandomState,
}

struct Entry {
    access_key: Box<str>,
    scope: Box<str>,
    secret: Box<str>,
    key: SigningKey,
}

impl KeyCache {
    /// A cache of at most `capacity` keys, about 0.5 KiB each; at least one.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let slots = (0..capacity.max(1)).map(|_| Mutex::new(None)).collect();
        Self {
            slots,
            hasher: RandomState::new(),
        }
    }

    /// The key of `secret` for `scope` (`date/region/service/aws4_request`), derived if need be.
    ///
    /// Call it only with a scope that was checked: each new one takes somebody's slot.
    #[must_use]
    pub fn signing_key(&self, access_key: &str, scope: &str, secret: &str) -> SigningKey {
        let slot = self.hasher.hash_one((access_key, scope)) % self.slots.len() as u64;
        let slot = usize::try_from(slot).expect("below the number of slots, which is a usize");
        // The lock covers a compare and a copy; a panic inside cannot leave the entry half written.
        let mut entry = self.slots[slot]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = entry
            .as_ref()
            .filter(|known| known.is(access_key, scope, secret))
        {
            return known.key.clone();
        }
        let key = SigningKey::derive(secret, scope);
        *entry = Some(Entry {
            access_key: access_key.into(),
            scope: scope.into(),
            secret: secret.into(),
            key: key.clone(),
        });
        key
    }
}

impl fmt::Debug for KeyCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyCache({} slots)", self.slots.len())
    }
}

impl Entry {
    fn is(&self, access_key: &str, scope: &str, secret: &str) -> bool {
        *self.access_key == *access_key
            && *self.scope == *scope
            && bool::from(self.secret.as_bytes().ct_eq(secret.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    const SCOPE: &str = "20150830/us-east-1/iam/aws4_request";

    /// AWS's documented example of a derivation, and of the string it signs.
    #[test]
    fn derives_the_documented_key() {
        let text = "AWS4-HMAC-SHA256\n20150830T123600Z\n20150830/us-east-1/iam/aws4_request\n\
                    f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59";
        let signature = SigningKey::derive(SECRET, SCOPE).sign(text.as_bytes());
        assert_eq!(
            hex::encode(signature),
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
        );
    }

    #[test]
    fn a_rotated_secret_never_meets_the_old_key() {
        let cache = KeyCache::new(8);
        let old = cache.signing_key("AKID", SCOPE, "old").sign(b"x");
        let new = cache.signing_key("AKID", SCOPE, "new").sign(b"x");
        assert_ne!(old, new);
        assert_eq!(new, SigningKey::derive("new", SCOPE).sign(b"x"));
        assert_eq!(old, cache.signing_key("AKID", SCOPE, "old").sign(b"x"));
    }

    #[test]
    fn a_cache_of_one_slot_still_answers_right_for_everybody() {
        let cache = KeyCache::new(0);
        for round in 0..3 {
            for key in ["A", "B", "C"] {
                for scope in [SCOPE, "20150831/us-east-1/iam/aws4_request"] {
                    let secret = format!("secret of {key}");
                    let got = cache.signing_key(key, scope, &secret).sign(b"x");
                    assert_eq!(
                        got,
                        SigningKey::derive(&secret, scope).sign(b"x"),
                        "{key} {round}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_hit_is_served_from_the_slot() {
        let cache = KeyCache::new(1);
        let _ = cache.signing_key("A", SCOPE, "s");
        // Plant another key in the slot: only a hit can give it back.
        let planted = SigningKey::derive("planted", SCOPE);
        let expected = planted.sign(b"x");
        cache.slots[0].lock().unwrap().as_mut().unwrap().key = planted;
        assert_eq!(cache.signing_key("A", SCOPE, "s").sign(b"x"), expected);
    }
}
