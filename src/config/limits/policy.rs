//! Policies, and the keys and tokens that carry them. All of it ours but for what is said.

use std::time::Duration;

/// Bytes of a policy in the configuration. Beyond it the configuration is refused.
pub const CONFIGURED_BYTES: usize = 8 * 1024;
/// Bytes of a session policy (STS's own limit). Beyond it `PackedPolicyTooLarge`.
pub const SESSION_BYTES: usize = 2048;
/// Statements of one policy. Beyond it it is malformed.
pub const STATEMENTS: usize = 100;
/// Values of an `Action`, `Resource` or condition. Beyond it the policy is malformed.
pub const VALUES: usize = 100;
/// Bytes of a session token that carries its own claims. Beyond it `PackedPolicyTooLarge`.
pub const TOKEN_BYTES: usize = 4096;
/// Topic patterns that `?topic=` of `/iot/keys` names, and the bytes of each. Beyond it 400.
pub const NARROWED_TOPICS: usize = 10;
/// Bytes of one of [`NARROWED_TOPICS`] (AWS IoT's topic length).
pub const TOPIC_BYTES: usize = 256;
/// How long a guest's keys live (Cognito's own).
pub const GUEST_LIFE: Duration = Duration::from_secs(3600);
/// How long a connect token lives.
pub const CONNECT_TOKEN_LIFE: Duration = Duration::from_secs(60);
/// Roles, and MQTT accounts, in the configuration. Beyond it the configuration is refused.
pub const ENTRIES: usize = 10_000;
/// Addresses and names whose rate is watched at a time, about 100 bytes each. Of more, the one that was heard of
/// longest ago is forgotten.
pub const WATCHED: usize = 16 * 1024;
/// Password hashes computed at a time; each takes a thread and 19 MiB. More wait.
pub const PARALLEL_HASHES: usize = 2;
/// Passwords waiting to be checked. Beyond it a login is refused as busy.
pub const WAITING_HASHES: usize = 256;
/// Failed logins of one address with one name: so many at once, then one every [`LOGIN_PAUSE`].
pub const LOGIN_FAILURES: u32 = 10;
/// See [`LOGIN_FAILURES`].
pub const LOGIN_PAUSE: Duration = Duration::from_secs(6);
