//! Keys for guests and roles, and connect tokens: made without remembering anything about them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bincode::{Decode, Encode};

use crate::config::limits::policy as limits;
use crate::domain::session::Credentials;
use crate::domain::{IdentityId, Timestamp};

use super::caller::Caller;
use super::policy::{self, Malformed};
use super::seal::Purpose;
use super::{Authenticator, keys};

/// What a token says about whoever has it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Claims {
    /// Who it was made for.
    pub who: Who,
    /// What narrows it.
    pub narrowed: Option<Narrowed>,
    /// When it was made, in microseconds since the epoch.
    pub issued_us: u64,
    /// When it ends, likewise.
    pub expires_us: u64,
}

/// Who keys or a connect token were made for.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Who {
    /// The operator.
    Operator {
        /// With this key, as long as it is one of the operator's.
        access_key: String,
    },
    /// A session.
    Session {
        /// Its account.
        account: i64,
        /// Its id.
        session: String,
        /// The number of its queue: another session of the same id has another.
        queue: u64,
    },
    /// A guest.
    Guest {
        /// Its Cognito identity.
        identity: String,
    },
    /// Whoever was given a role.
    Role {
        /// Its name.
        role: String,
        /// What the session is called.
        session_name: String,
    },
}

/// What makes a token allow less than its owner may.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Narrowed {
    /// A session policy, as JSON.
    Policy(String),
    /// Topic patterns.
    Topics(Vec<String>),
}

/// What is sealed: a key's secret (empty in a connect token) and the claims.
#[derive(Encode, Decode)]
struct Sealed {
    secret: String,
    claims: Claims,
}

/// Why no keys were made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// The configuration allows guests nothing.
    #[error("There are no guests here.")]
    NoGuests,
    /// The configuration has no such role.
    #[error("There is no such role.")]
    NoSuchRole,
    /// Temporary keys can not make others, and anonymous callers none.
    #[error("Only permanent keys can do this.")]
    NotPermanent,
    /// The session policy can not be used.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// This address has got too many keys of late.
    #[error("Too many keys for one address, try again later.")]
    Throttled(Duration),
    /// Session policy and names are longer than a token may be.
    #[error("The session policy is too large.")]
    TooLarge,
}

impl Claims {
    /// When it ends.
    pub fn expires(&self) -> Timestamp {
        Timestamp(self.expires_us)
    }
}

impl Authenticator {
    /// Keys for a guest, for an hour. `topics` narrows them to what these patterns match.
    ///
    /// # Errors
    /// [`IssueError::NoGuests`]; [`IssueError::Malformed`] if `topics` are too many, too long or can not be read;
    /// [`IssueError::Throttled`].
    pub fn guest_keys(
        &self,
        identity: &IdentityId,
        topics: Option<Vec<String>>,
        source_ip: Option<IpAddr>,
    ) -> Result<Credentials, IssueError> {
        if !self.has_guests() {
            return Err(IssueError::NoGuests);
        }
        let taken = self.guest_rate().take(&source_ip, self.clock().now());
        taken.map_err(IssueError::Throttled)?;
        if let Some(topics) = &topics {
            check_topics(topics)?;
        }
        let who = Who::Guest {
            identity: identity.as_str().to_owned(),
        };
        self.keys(who, topics.map(Narrowed::Topics), limits::GUEST_LIFE)
    }

    /// Whether the configuration lets guests do anything.
    pub fn has_guests(&self) -> bool {
        self.book().guests.is_some()
    }

    /// Keys for a role, narrowed by a session policy if there is one.
    ///
    /// # Errors
    /// [`IssueError::NoSuchRole`], [`IssueError::Malformed`], [`IssueError::TooLarge`].
    pub fn role_keys(
        &self,
        role: &str,
        session_name: &str,
        session_policy: Option<&str>,
        life: Duration,
    ) -> Result<Credentials, IssueError> {
        if !self.book().roles.contains_key(role) {
            return Err(IssueError::NoSuchRole);
        }
        if let Some(text) = session_policy {
            policy::parse("the session policy", text, limits::SESSION_BYTES)?;
        }
        let who = Who::Role {
            role: role.to_owned(),
            session_name: session_name.to_owned(),
        };
        let narrowed = session_policy.map(|text| Narrowed::Policy(text.to_owned()));
        self.keys(who, narrowed, life)
    }

    /// Temporary keys of the operator.
    ///
    /// # Errors
    /// [`IssueError::NotPermanent`] for anybody but the operator with permanent keys.
    pub fn operator_keys(
        &self,
        caller: &Caller,
        life: Duration,
    ) -> Result<Credentials, IssueError> {
        let access_key = match caller {
            Caller::Operator { access_key } if self.is_operator(access_key) => access_key,
            _ => return Err(IssueError::NotPermanent),
        };
        let who = Who::Operator {
            access_key: access_key.to_string(),
        };
        self.keys(who, None, life)
    }

    /// A token with which whoever made this call may open one connection to `/mqtt` or a few, within a minute.
    ///
    /// # Errors
    /// [`IssueError::NotPermanent`] for anybody but the operator and sessions.
    pub fn connect_token(&self, caller: &Caller) -> Result<(String, Timestamp), IssueError> {
        let now = self.clock().wall();
        let mut expires = now.plus(limits::CONNECT_TOKEN_LIFE);
        let who = match caller {
            Caller::Operator { access_key } if self.is_operator(access_key) => Who::Operator {
                access_key: access_key.to_string(),
            },
            Caller::Session(session) => {
                expires = expires.min(session.credentials.expires).min(session.ttl);
                Who::Session {
                    account: session.key.account.0,
                    session: session.key.session.as_str().to_owned(),
                    queue: session.queue.0,
                }
            }
            Caller::Operator { .. } | Caller::Issued(_) | Caller::Anonymous => {
                return Err(IssueError::NotPermanent);
            }
        };
        let claims = Claims {
            who,
            narrowed: None,
            issued_us: now.micros(),
            expires_us: expires.micros(),
        };
        let sealed = self.sealed(Purpose::Connect, String::new(), claims)?;
        Ok((sealed, expires))
    }

    fn keys(
        &self,
        who: Who,
        narrowed: Option<Narrowed>,
        life: Duration,
    ) -> Result<Credentials, IssueError> {
        let now = self.clock().wall();
        let mut keys = keys::issue(now.plus(life));
        let claims = Claims {
            who,
            narrowed,
            issued_us: now.micros(),
            expires_us: keys.expires.micros(),
        };
        let purpose = Purpose::Keys(&keys.access_key);
        keys.session_token = self.sealed(purpose, keys.secret_key.clone(), claims)?;
        metrics::counter!("fanfare_issued_keys_total").increment(1);
        Ok(keys)
    }

    fn sealed(
        &self,
        purpose: Purpose<'_>,
        secret: String,
        claims: Claims,
    ) -> Result<String, IssueError> {
        let sealed = Sealed { secret, claims };
        let bytes = bincode::encode_to_vec(sealed, CONFIG).map_err(|_| IssueError::TooLarge)?;
        self.seal().seal(purpose, bytes).ok_or(IssueError::TooLarge)
    }

    /// The secret and the claims of a token for this purpose.
    pub(super) fn opened(
        &self,
        purpose: Purpose<'_>,
        token: &str,
    ) -> Option<(String, Arc<Claims>)> {
        let bytes = self.seal().open(purpose, token)?;
        let (sealed, used): (Sealed, usize) = bincode::decode_from_slice(&bytes, CONFIG).ok()?;
        (used == bytes.len()).then(|| (sealed.secret, Arc::new(sealed.claims)))
    }
}

const CONFIG: bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Varint,
    bincode::config::Limit<{ limits::TOKEN_BYTES }>,
> = bincode::config::standard().with_limit::<{ limits::TOKEN_BYTES }>();

fn check_topics(topics: &[String]) -> Result<(), Malformed> {
    if topics.is_empty() || topics.len() > limits::NARROWED_TOPICS {
        let text = format!("name 1 to {} topics", limits::NARROWED_TOPICS);
        return Err(Malformed::new(text));
    }
    for topic in topics {
        if topic.is_empty() || topic.len() > limits::TOPIC_BYTES {
            let text = format!("a topic has 1 to {} bytes", limits::TOPIC_BYTES);
            return Err(Malformed::new(text));
        }
    }
    policy::allow_topics("topic", topics).map(drop)
}
