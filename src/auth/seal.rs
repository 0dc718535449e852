//! Session tokens that carry what they stand for, sealed, so that keys for guests and roles cost neither memory nor disk.
//!
//! `F1` + base64url of: number of the secret (4 bytes), salt (16), AES-256-GCM of the claims. Each token has a key of its own,
//! derived with its salt, so that no nonce is ever used twice under one key. What a token is for and which access key id it
//! goes with are authenticated too: neither a token for another use nor one with another id opens.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use aes_gcm::aead::array::Array;
use aes_gcm::{AeadInOut as _, Aes256Gcm, KeyInit as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hkdf::Hkdf;
use sha2::Sha256;

use crate::config::limits::policy::TOKEN_BYTES;

const PREFIX: &str = "F1";
const NUMBER: usize = 4;
const SALT: usize = 16;

/// Secrets that tokens are sealed with: the first seals, all open.
pub struct Seal {
    secrets: Vec<Secret>,
}

struct Secret {
    number: [u8; NUMBER],
    bytes: [u8; 32],
}

/// What a token may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose<'a> {
    /// Beside this access key id.
    Keys(&'a str),
    /// Alone, at `/mqtt?token=`.
    Connect,
}

impl Purpose<'_> {
    fn label(self) -> String {
        match self {
            Self::Keys(access_key) => format!("fanfare-token/1/keys/{access_key}"),
            Self::Connect => "fanfare-token/1/connect".to_owned(),
        }
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seal({} secrets)", self.secrets.len())
    }
}

impl Seal {
    /// A seal with a secret that nobody keeps: what it sealed is worthless after the process.
    ///
    /// # Panics
    /// If the operating system has no random bytes.
    pub fn ephemeral() -> Self {
        Self {
            secrets: vec![Secret::of(random())],
        }
    }

    /// Reads the secrets from a file, one in hexadecimal on each line, the newest first; makes the file, readable by its
    /// owner only, with one secret if there is none. To rotate, put a new line in front.
    ///
    /// # Errors
    /// That it can not be read or made, or what is wrong in it.
    pub fn at(path: &Path) -> std::io::Result<Self> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => make(path)?,
            read => read?,
        };
        let secrets: Option<Vec<_>> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(|line| hex::decode(line).ok()?.try_into().ok().map(Secret::of))
            .collect();
        match secrets {
            Some(secrets) if !secrets.is_empty() => Ok(Self { secrets }),
            _ => Err(std::io::Error::other(
                "a secret must be 64 hexadecimal digits on a line of its own",
            )),
        }
    }

    /// Seals; `None` if the token would be longer than 4 KiB.
    ///
    /// # Panics
    /// If the operating system has no random bytes.
    pub fn seal(&self, purpose: Purpose<'_>, mut claims: Vec<u8>) -> Option<String> {
        let secret = self.secrets.first().expect("there is at least one secret");
        let salt: [u8; SALT] = random();
        secret
            .cipher(&salt)
            .encrypt_in_place(&Array::default(), purpose.label().as_bytes(), &mut claims)
            .expect("claims are far shorter than GCM's 64 GiB");
        let mut bytes = Vec::with_capacity(NUMBER + SALT + claims.len());
        bytes.extend_from_slice(&secret.number);
        bytes.extend_from_slice(&salt);
        bytes.append(&mut claims);
        let token = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
        (token.len() <= TOKEN_BYTES).then_some(token)
    }

    /// What was sealed for this purpose; `None` if this is no such token. Nothing is remembered about those.
    pub fn open(&self, purpose: Purpose<'_>, token: &str) -> Option<Vec<u8>> {
        let text = token.strip_prefix(PREFIX)?;
        if token.len() > TOKEN_BYTES {
            return None;
        }
        let mut bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        if bytes.len() < NUMBER + SALT {
            return None;
        }
        let mut claims = bytes.split_off(NUMBER + SALT);
        let (number, salt) = bytes.split_at(NUMBER);
        let secret = self.secrets.iter().find(|secret| secret.number == number)?;
        let opened = secret.cipher(salt).decrypt_in_place(
            &Array::default(),
            purpose.label().as_bytes(),
            &mut claims,
        );
        opened.ok().map(|()| claims)
    }
}

impl Secret {
    fn of(bytes: [u8; 32]) -> Self {
        let mut number = [0; NUMBER];
        Hkdf::<Sha256>::new(None, &bytes)
            .expand(b"fanfare-token/1/number", &mut number)
            .expect("HKDF-SHA-256 gives up to 8,160 bytes");
        Self { number, bytes }
    }

    fn cipher(&self, salt: &[u8]) -> Aes256Gcm {
        let mut key = [0; 32];
        Hkdf::<Sha256>::new(Some(salt), &self.bytes)
            .expand(b"fanfare-token/1/key", &mut key)
            .expect("HKDF-SHA-256 gives up to 8,160 bytes");
        Aes256Gcm::new(&key.into())
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// Makes the file with a fresh secret, on disk before it is used; a crash leaves no half of it.
fn make(path: &Path) -> std::io::Result<String> {
    let text = format!("{}\n", hex::encode(random::<32>()));
    let unfinished = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    if let Some(folder) = path.parent() {
        fs::File::open(folder)?.sync_all()?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn opens_what_it_sealed_for_the_same_purpose_only() {
        let seal = Seal::ephemeral();
        let keys = Purpose::Keys("ASIA1");
        let token = seal.seal(keys, b"claims".to_vec()).unwrap();
        assert_eq!(seal.open(keys, &token).as_deref(), Some(&b"claims"[..]));
        assert_eq!(seal.open(Purpose::Keys("ASIA2"), &token), None);
        assert_eq!(seal.open(Purpose::Connect, &token), None);
        assert_eq!(Seal::ephemeral().open(keys, &token), None);
        assert_ne!(seal.seal(keys, b"claims".to_vec()).unwrap(), token);
    }

    #[test]
    fn no_changed_token_opens() {
        let seal = Seal::ephemeral();
        let token = seal.seal(Purpose::Connect, vec![7; 40]).unwrap();
        for at in 0..token.len() {
            for other in ['A', '_', ' ', '='] {
                let mut changed = token.clone();
                changed.replace_range(at..=at, &other.to_string());
                if changed != token {
                    assert_eq!(seal.open(Purpose::Connect, &changed), None, "{at} {other}");
                }
            }
            assert_eq!(seal.open(Purpose::Connect, &token[..at]), None);
        }
        assert_eq!(seal.open(Purpose::Connect, &format!("{token}A")), None);
    }

    #[test]
    fn a_token_has_at_most_4_kib() {
        let seal = Seal::ephemeral();
        let longest = (0..TOKEN_BYTES)
            .rev()
            .find_map(|length| seal.seal(Purpose::Connect, vec![0; length]))
            .unwrap();
        assert!(longest.len() > TOKEN_BYTES - 6 && longest.len() <= TOKEN_BYTES);
        assert!(seal.open(Purpose::Connect, &longest).is_some());
    }

    #[test]
    fn the_secret_is_kept_and_can_be_rotated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token-secrets");
        let token = Seal::at(&path)
            .unwrap()
            .seal(Purpose::Connect, vec![1])
            .unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = Seal::at(&path).unwrap();
        assert!(again.open(Purpose::Connect, &token).is_some());
        let old = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{}\n{old}", "ab".repeat(32))).unwrap();
        let rotated = Seal::at(&path).unwrap();
        assert!(rotated.open(Purpose::Connect, &token).is_some());
        let newer = rotated.seal(Purpose::Connect, vec![1]).unwrap();
        assert_eq!(again.open(Purpose::Connect, &newer), None);
        for bad in ["", "ab", "zz"] {
            fs::write(&path, bad).unwrap();
            assert!(Seal::at(&path).is_err(), "{bad:?}");
        }
    }
}
