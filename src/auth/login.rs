//! MQTT's user name and password: accounts that the operator made, Argon2id.
//!
//! A check takes a thread for some ten milliseconds, so it runs beside the event loop, and few at a time. An unknown name costs
//! what a known one costs.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;

use crate::config::limits::policy as limits;
use crate::domain::policy::is_plain;

use super::principal::Basis;
use super::rulebook::Account;
use super::throttle::Throttle;
use super::{Authenticator, Principal};

/// Why a login was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// The name or the password is wrong; which of them is not told.
    #[error("bad user name or password")]
    Refused,
    /// This address has failed with this name too often.
    #[error("too many failed logins, try again in {} s", .0.as_secs().max(1))]
    Throttled(Duration),
    /// Too many logins are waiting.
    #[error("too many logins at once")]
    Busy,
}

/// The checks in progress and the failures of late.
#[derive(Debug)]
pub(super) struct Logins {
    failures: Throttle,
    hashing: Semaphore,
    waiting: Semaphore,
}

impl Default for Logins {
    fn default() -> Self {
        Self {
            failures: Throttle::new(limits::LOGIN_FAILURES, limits::LOGIN_PAUSE, limits::WATCHED),
            hashing: Semaphore::new(limits::PARALLEL_HASHES),
            waiting: Semaphore::new(limits::WAITING_HASHES),
        }
    }
}

impl Authenticator {
    /// Whoever has this name and password.
    ///
    /// # Errors
    /// [`LoginError`].
    pub async fn login(
        &self,
        username: &str,
        password: &[u8],
        source_ip: Option<IpAddr>,
    ) -> Result<Principal, LoginError> {
        let book = self.book();
        let Some(stand_in) = book.accounts.values().next() else {
            return Err(LoginError::Refused);
        };
        let logins = self.logins();
        let (now, key) = (self.clock().now(), (source_ip, username));
        logins
            .failures
            .check(&key, now)
            .map_err(LoginError::Throttled)?;
        // M4: such a name would mean more than itself where a policy has a variable.
        let account = book.accounts.get(username).filter(|_| is_plain(username));
        let hash = &account.unwrap_or(stand_in).password_hash;
        let right = logins.matches(Arc::clone(hash), password.to_vec()).await?;
        match account {
            Some(account) if right => Ok(self.account(username, account)),
            _ => {
                let _ = logins.failures.take(&key, now);
                metrics::counter!("fanfare_logins_failed_total").increment(1);
                Err(LoginError::Refused)
            }
        }
    }

    /// Clients without credentials; `None` if the configuration does not let them in.
    pub fn anonymous(&self) -> Option<Arc<Principal>> {
        self.in_force().anonymous
    }

    pub(super) fn account(&self, username: &str, account: &Account) -> Principal {
        Principal {
            name: format!("account:{username}").into(),
            session: None,
            expires: None,
            realm: self.realm().clone(),
            basis: Basis::Account {
                username: username.into(),
                password_hash: Arc::clone(&account.password_hash),
                rules: Arc::clone(&account.rules),
            },
        }
    }
}

impl Logins {
    /// How many more passwords may be checked, and wait.
    #[cfg(test)]
    pub(super) fn free(&self) -> (usize, usize) {
        (
            self.hashing.available_permits(),
            self.waiting.available_permits(),
        )
    }

    async fn matches(&self, hash: Arc<str>, password: Vec<u8>) -> Result<bool, LoginError> {
        let _waiting = self.waiting.try_acquire().map_err(|_| LoginError::Busy)?;
        let hashing = self.hashing.acquire().await;
        let _hashing = hashing.map_err(|_| LoginError::Busy)?;
        let check = tokio::task::spawn_blocking(move || verify(&hash, &password));
        check.await.map_err(|_| LoginError::Busy)
    }
}

fn verify(hash: &str, password: &[u8]) -> bool {
    PasswordHash::new(hash)
        .is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok())
}

/// The hash of a password for `password_hash`, with a fresh salt: Argon2id, 19 MiB, 2 passes.
///
/// # Panics
/// If the operating system has no random bytes.
pub fn hash_password(password: &[u8]) -> String {
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::default());
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).expect("the operating system gives random bytes");
    let salt =
        SaltString::encode_b64(&salt).expect("16 bytes are a salt of a length that is allowed");
    argon
        .hash_password(password, &salt)
        .expect("Argon2's default parameters are in range, and the salt is fresh")
        .to_string()
}

/// Whether this is a hash that [`hash_password`] could have made, and how much work it asks for is bearable.
pub fn is_password_hash(text: &str) -> bool {
    let Ok(hash) = PasswordHash::new(text) else {
        return false;
    };
    let params = Params::try_from(&hash);
    hash.algorithm.as_str() == "argon2id"
        && hash.hash.is_some()
        && params.is_ok_and(|params| params.m_cost() <= 256 * 1024 && params.t_cost() <= 16)
}
