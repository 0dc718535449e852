//! Newtypes of every id. Parsing checks the bounds of SEMANTICS 1, so a value of such a type is valid.

use std::cell::Cell;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

/// An id that does not have the form its kind asks for; the text names what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidId(pub String);

/// A customer of the operator; sessions are unique within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId(pub i64);

/// A signed-in user; one id means one user, whichever account a session of theirs belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(pub i64);

/// Position of a write in the one order in which the store commits; rises, never repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Seq(pub u64);

/// Internal number of a queue; never reused, so rows left by a deleted queue can not be taken for another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueNo(pub u64);

impl QueueNo {
    /// What stands for the number of a queue that is not at this server. The store gives no queue this number.
    pub const ELSEWHERE: Self = Self(0);
}

/// Name of a session, 1..=256 characters, unique in its account.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(Box<str>);

impl SessionId {
    /// Longest session id, in characters.
    pub const MAX_CHARS: usize = 256;

    /// Takes any text of 1 to 256 characters without control characters.
    ///
    /// # Errors
    /// [`InvalidId`] when empty, too long or with a control character.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        if text.is_empty() || text.chars().count() > Self::MAX_CHARS {
            return Err(InvalidId("sessionId must have 1 to 256 characters".into()));
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidId(
                "sessionId must not contain control characters".into(),
            ));
        }
        Ok(Self(text.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What identifies a session: its account and its id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey {
    /// The account.
    pub account: AccountId,
    /// The id within the account.
    pub session: SessionId,
}

/// Name of a queue as SQS allows it: 1..=80 of `[A-Za-z0-9_-]`, a FIFO queue's ends in `.fifo` (counted).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueName(Box<str>);

impl QueueName {
    /// Longest name, in characters.
    pub const MAX_CHARS: usize = 80;

    /// Checks the form.
    ///
    /// # Errors
    /// [`InvalidId`] with the text that SQS gives.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let stem = text.strip_suffix(".fifo").unwrap_or(text);
        let valid = !stem.is_empty()
            && text.len() <= Self::MAX_CHARS
            && stem
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(InvalidId(
                "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length".into(),
            ))
        }
    }

    /// The name of a session's queue: `{prefix}-{43 characters of base64url of 32 random bytes}`.
    pub fn for_session(prefix: &str, random: &[u8; 32]) -> Result<Self, InvalidId> {
        Self::parse(&format!("{prefix}-{}", URL_SAFE_NO_PAD.encode(random)))
    }

    /// Whether [`QueueName::for_session`] could have made this of the prefix. A longer prefix that begins with this one makes
    /// longer names.
    pub fn is_for_session(&self, prefix: &str) -> bool {
        let random = self.0.strip_prefix(prefix);
        let random = random.and_then(|rest| rest.strip_prefix('-'));
        random.is_some_and(|random| random.len() == 43)
    }

    /// Whether the name says FIFO.
    pub fn is_fifo(&self) -> bool {
        self.0.ends_with(".fifo")
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A message's id in history: 1..=256 characters, the sender's or derived.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(Box<str>);

impl MessageId {
    /// Longest id, in characters.
    pub const MAX_CHARS: usize = 256;

    /// Takes any text of 1 to 256 characters without comma or control character
    /// (the receipt route lists ids with commas).
    ///
    /// # Errors
    /// [`InvalidId`] when the text does not have that form.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let length = text.chars().count();
        if length == 0 || length > Self::MAX_CHARS {
            return Err(InvalidId("messageId must have 1 to 256 characters".into()));
        }
        if text.chars().any(|c| c == ',' || c.is_control()) {
            return Err(InvalidId(
                "messageId must not contain commas or control characters".into(),
            ));
        }
        Ok(Self(text.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A Cognito identity id, `{region}:{lower-case uuid}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdentityId(Box<str>);

impl IdentityId {
    /// Checks `[\w-]+:[0-9a-f-]+`, at most 55 characters.
    ///
    /// # Errors
    /// [`InvalidId`] when the text does not have that form.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let valid = text.len() <= 55
            && text.split_once(':').is_some_and(|(region, uuid)| {
                let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
                let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b) || b == b'-';
                !region.is_empty()
                    && !uuid.is_empty()
                    && region.bytes().all(word)
                    && uuid.bytes().all(hex)
            });
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(InvalidId(
                "identityId must have the form region:uuid and at most 55 characters".into(),
            ))
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A fresh id. It only has to be unique, not secret: each thread counts on from a random start and
/// scrambles, which spares every request a system call.
pub fn unique_id() -> Uuid {
    thread_local! {
        static NEXT: Cell<u128> = Cell::new(Uuid::new_v4().as_u128());
    }
    let count = NEXT.get();
    NEXT.set(count.wrapping_add(1));
    // An odd factor and an xor of the high half into the low one are both reversible: no two counts meet.
    let mixed = count.wrapping_mul(0x2d35_8dcc_aa6c_78a5_9e37_79b9_7f4a_7c15);
    let mixed = mixed ^ (mixed >> 64);
    uuid::Builder::from_random_bytes(mixed.to_be_bytes()).into_uuid()
}

macro_rules! displays_as_text {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    )*};
}
displays_as_text!(
    AccountId, UserId, Seq, QueueNo, SessionId, QueueName, MessageId, IdentityId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_names_follow_sqs() {
        for good in ["a", "A_b-9", "orders.fifo", &"x".repeat(80)] {
            assert!(QueueName::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            ".fifo",
            "a.b",
            "a b",
            "é",
            &"x".repeat(81),
            &format!("{}.fifo", "x".repeat(76)),
        ] {
            assert!(QueueName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_session_queue_name_has_43_random_characters() {
        let name = QueueName::for_session("dev-fanfare", &[255; 32]).expect("valid");
        assert_eq!(
            name.as_str().strip_prefix("dev-fanfare-").map(str::len),
            Some(43)
        );
        let check = |prefix, expect| assert_eq!(name.is_for_session(prefix), expect, "{prefix}");
        check("dev-fanfare", true);
        for other in ["dev", "dev-fanfare-", "dev-fanfar", "fanfare", ""] {
            check(other, false);
        }
        let longer = QueueName::for_session("dev-fanfare-b", &[255; 32]).expect("valid");
        assert!(!longer.is_for_session("dev-fanfare"));
    }

    #[test]
    fn session_ids_are_bounded() {
        assert!(SessionId::parse(&"é".repeat(256)).is_ok());
        for bad in ["", "a\nb", &"é".repeat(257)] {
            assert!(SessionId::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn identity_ids_follow_cognito() {
        assert!(IdentityId::parse("us-east-1:e083f780-0000-4000-8000-000000000000").is_ok());
        for bad in ["", "us-east-1", "us-east-1:", "us-east-1:XYZ", ":abc"] {
            assert!(IdentityId::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn unique_ids_differ() {
        let ids: std::collections::HashSet<_> = (0..10_000).map(|_| unique_id()).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(ids.iter().all(|id| id.get_version_num() == 4));
    }
}
