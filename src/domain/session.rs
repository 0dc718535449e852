//! Sessions and the temporary keys they carry.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::topic::TopicName;
use super::{AccountId, IdentityId, QueueName, QueueNo, SessionKey, Timestamp, UserId};

/// Which envelope a session's messages travel in (SEMANTICS 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EnvelopeVersion {
    /// AES-256-CTR, what the prior art's clients read.
    #[default]
    V1,
    /// AES-256-GCM.
    V2,
}

/// Temporary SigV4 keys.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// `ASIA…`, only `[A-Z0-9]`.
    pub access_key: String,
    /// The secret.
    pub secret_key: String,
    /// The token that must accompany the access key.
    pub session_token: String,
    /// From then on they are refused.
    pub expires: Timestamp,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Secrets stay out of logs, whoever prints the value that holds them.
        f.debug_struct("Credentials")
            .field("access_key", &self.access_key)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// How a session's client gets its messages, where that is one way or another. In the embedded backend it is both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transport {
    /// It polls its queue.
    #[default]
    Sqs,
    /// It subscribes to its topic.
    Iot,
}

/// A session as the registry has it.
#[derive(Clone, PartialEq, Eq)]
pub struct Session {
    /// Account and id.
    pub key: SessionKey,
    /// The signed-in user, if any.
    pub user: Option<UserId>,
    /// Number of its queue.
    pub queue: QueueNo,
    /// Name of its queue.
    pub queue_name: QueueName,
    /// Where its queue is, if not at this server; it has no number then ([`QueueNo::ELSEWHERE`]).
    pub queue_url: Option<Arc<str>>,
    /// AES-256 key of its envelope.
    pub aes_key: [u8; 32],
    /// Envelope version, fixed at creation.
    pub envelope: EnvelopeVersion,
    /// Current keys.
    pub credentials: Credentials,
    /// The Cognito identity.
    pub identity: IdentityId,
    /// When it was created.
    pub created: Timestamp,
    /// When it is removed unless renewed.
    pub ttl: Timestamp,
    /// How long messages wait in its queue.
    pub retention: Duration,
    /// MQTT topic filters that `create` granted, already expanded.
    pub topics: Vec<String>,
    /// How its client gets its messages.
    pub transport: Transport,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("key", &self.key)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// What `create` asks for.
#[derive(Debug, Clone)]
pub struct OpenSession {
    /// Account and id.
    pub key: SessionKey,
    /// The signed-in user, if any.
    pub user: Option<UserId>,
    /// Used if the session is new.
    pub queue_name: QueueName,
    /// Used if the session is new.
    pub aes_key: AesKeyBytes,
    /// Used if the session is new.
    pub identity: IdentityId,
    /// Used if the session is new; an existing one keeps its version.
    pub envelope: EnvelopeVersion,
    /// The new keys; a refresh ends the old ones.
    pub credentials: Credentials,
    /// When it is removed unless renewed.
    pub ttl: Timestamp,
    /// How long messages wait; `None` keeps what a refreshed session has, else the default.
    pub retention: Option<Duration>,
    /// MQTT topic filters, already expanded; `None` keeps what a refreshed session has.
    pub topics: Option<Vec<String>>,
    /// `None` keeps what a refreshed session has, else the default.
    pub transport: Option<Transport>,
    /// Now.
    pub now: Timestamp,
}

/// 32 random bytes whose `Debug` shows nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AesKeyBytes(pub [u8; 32]);

impl fmt::Debug for AesKeyBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AesKeyBytes(…)")
    }
}

/// The small part of a session that routing keeps in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRoute {
    /// Account and id.
    pub key: SessionKey,
    /// The signed-in user, if any.
    pub user: Option<UserId>,
    /// Number of its queue.
    pub queue: QueueNo,
    /// Name of its queue.
    pub queue_name: QueueName,
    /// How long messages wait in its queue.
    pub retention: Duration,
}

impl Session {
    /// What routing needs of it.
    pub fn route(&self) -> SessionRoute {
        SessionRoute {
            key: self.key.clone(),
            user: self.user,
            queue: self.queue,
            queue_name: self.queue_name.clone(),
            retention: self.retention,
        }
    }

    /// Its own MQTT topic.
    pub fn topic(&self) -> TopicName {
        let name = format!("sessions/{}", self.queue_name);
        TopicName::parse(name.into()).expect("a queue's name has no wildcards")
    }

    /// Its account.
    pub fn account(&self) -> AccountId {
        self.key.account
    }
}
