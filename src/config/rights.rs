//! What the configuration says about who may do what with topics.

use serde::{Deserialize, Serialize};

use super::Secret;

/// `[guests]`: what clients without a session may do with topics. Read again when the file changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guests {
    /// Topics that guests may publish to, subscribe to and receive, `*` and `?` being wildcards; none: there are no guests.
    pub allow: Vec<String>,
    /// What MQTT clients without any credentials may do: a policy, or the file that has it; none: they may not connect.
    pub anonymous_policy: Option<String>,
    /// Guests' keys that one address may get a minute; beyond it 429.
    pub keys_per_minute: u32,
    /// Guests' keys that one address may get at once.
    pub keys_burst: u32,
}

/// One of `[[roles]]`: what the keys may do that `AssumeRole` gives for it. Read again when the file changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// Its name, the end of its ARN.
    pub name: String,
    /// Its policy, as JSON, or the file that has it.
    pub policy: String,
}

/// One of `[[accounts]]`: a user name and password for MQTT. Read again when the file changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// The user name.
    pub username: String,
    /// Argon2id of the password, as `fanfare mqtt-password` prints it.
    pub password_hash: Secret,
    /// Its policy, as JSON, or the file that has it.
    pub policy: String,
}

impl Default for Guests {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            anonymous_policy: None,
            keys_per_minute: 60,
            keys_burst: 30,
        }
    }
}
