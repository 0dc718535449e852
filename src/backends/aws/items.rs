//! Rows of the table of sessions: their keys and their form.
//!
//! The table has the layout of the prior art: `userId` (a number) and `sessionId` (a text). Three kinds of rows:
//!
//! | row | `userId` | `sessionId` | what for |
//! |---|---|---|---|
//! | session | a number beyond every user's, made of account and id | `{account}:{id}` | the truth; changes are decided here |
//! | user | the user | `{account}:{id}` | finding a user's sessions. Not there for a session without a user |
//! | key | a number beyond every user's, made of the access key | `key:{access key}` | finding whose key it is |
//!
//! `accountId`, which the index of accounts goes by, stands in one row of each session: the user's, or the session's if
//! it has none. So the index has each session once.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use sha2::{Digest as _, Sha256};

use crate::domain::session::{Credentials, EnvelopeVersion, Session, Transport};
use crate::domain::{
    AccountId, IdentityId, QueueName, QueueNo, SessionId, SessionKey, StoreError, Timestamp, UserId,
};

/// A row.
pub type Item = HashMap<String, AttributeValue>;

/// How long after its end a row is left for us to remove, before DynamoDB may.
pub const ROW_GRACE: Duration = Duration::from_secs(2 * 86_400);

/// Bytes of a sort key (DynamoDB's own).
const SORT_KEY_BYTES: usize = 1024;

/// What a row is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The truth about a session.
    Session,
    /// A session among its user's.
    User,
}

impl Kind {
    /// The value of the attribute `kind`.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::User => "user",
        }
    }
}

/// A text as a value.
pub fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

/// A number as a value.
pub fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// The key of a row.
pub fn key(hash: AttributeValue, sort: String) -> Item {
    let pair = [("userId", hash), ("sessionId", text(sort))];
    Item::from(pair.map(|(name, value)| (name.to_owned(), value)))
}

/// The key of a session's row.
pub fn session_key(key_of: &SessionKey) -> Item {
    let sort = sort_key(key_of);
    key(beyond_users(&sort), sort)
}

/// The key of a session's row among its user's.
pub fn user_key(user: UserId, session: &SessionKey) -> Item {
    key(number(user), sort_key(session))
}

/// The key of an access key's row.
pub fn access_key(id: &str) -> Item {
    let sort = format!("key:{id}");
    key(beyond_users(&sort), sort)
}

/// The key of the row that says when expired sessions are looked for next.
pub fn sweep_key() -> Item {
    let sort = "sweep".to_owned();
    key(beyond_users(&sort), sort)
}

/// Account and id in one text. An id that would be too long for a key stands there by its digest.
fn sort_key(SessionKey { account, session }: &SessionKey) -> String {
    let plain = format!("{account}:{session}");
    if plain.len() <= SORT_KEY_BYTES {
        return plain;
    }
    let digest = hex::encode(Sha256::digest(session.as_str()));
    format!("{account}:sha256:{digest}")
}

/// A number that no user has, different for different texts: 2^63 and what a digest adds to it. Rows that belong to no
/// user are spread over the table like those that do.
fn beyond_users(text: &str) -> AttributeValue {
    let digest = Sha256::digest(text);
    let eight = digest.first_chunk::<8>().expect("a digest has 32 bytes");
    number((1_u128 << 63) + u128::from(u64::from_be_bytes(*eight)))
}

/// A session as attributes, without the key of a row.
pub fn attributes(session: &Session, version: u64, kind: Kind) -> Item {
    let at = |time: Timestamp| number(time.micros());
    let mut item: Vec<(&str, AttributeValue)> = vec![
        ("kind", text(kind.text())),
        ("version", number(version)),
        ("account", number(session.key.account)),
        ("session", text(session.key.session.as_str())),
        ("sqsQueueName", text(session.queue_name.as_str())),
        ("aesKey", AttributeValue::B(Blob::new(session.aes_key))),
        (
            "gcm",
            AttributeValue::Bool(session.envelope == EnvelopeVersion::V2),
        ),
        ("accessKey", text(&session.credentials.access_key)),
        ("expiresAt", at(session.credentials.expires)),
        ("identityId", text(session.identity.as_str())),
        ("createdAt", at(session.created)),
        ("endsAt", at(session.ttl)),
        ("ttl", number(session.ttl.plus(ROW_GRACE).secs())),
        ("retention", number(session.retention.as_secs())),
    ];
    if session.transport == Transport::Iot {
        item.push(("transport", text("iot")));
    }
    let topics = session.topics.iter().map(text).collect();
    item.push(("topics", AttributeValue::L(topics)));
    if let Some(url) = &session.queue_url {
        item.push(("sqsUrl", text(&**url)));
    }
    if let Some(user) = session.user {
        item.push(("user", number(user)));
    }
    match kind {
        // The secret is where it is looked up, and nowhere else.
        Kind::Session => {
            item.push(("secretKey", text(&session.credentials.secret_key)));
            item.push(("sessionToken", text(&session.credentials.session_token)));
            item.push(("lookup", text(session.key.session.as_str())));
        }
        Kind::User => {}
    }
    if (kind == Kind::User) == session.user.is_some() {
        item.push(("accountId", number(session.key.account)));
    }
    let named = |(name, value): (&str, AttributeValue)| (name.to_owned(), value);
    item.into_iter().map(named).collect()
}

/// A session and its version from a row. From a user's row it comes without secrets.
///
/// # Errors
/// [`StoreError::Corrupt`] if the row is not of this form.
pub fn session(item: &Item) -> Result<(Session, u64), StoreError> {
    let time = |name| number_of::<u64>(item, name).map(Timestamp);
    let bytes = item.get("aesKey").and_then(|value| value.as_b().ok());
    let aes_key = bytes.and_then(|blob| blob.as_ref().try_into().ok());
    let gcm = item.get("gcm").and_then(|value| value.as_bool().ok());
    let topics = item.get("topics").and_then(|value| value.as_l().ok());
    let topics = topics.ok_or_else(|| corrupt("topics"))?.iter();
    let topic = |value: &AttributeValue| value.as_s().cloned().map_err(|_| corrupt("topics"));
    let session = Session {
        key: key_of(item)?,
        user: match item.contains_key("user") {
            true => Some(UserId(number_of(item, "user")?)),
            false => None,
        },
        queue: QueueNo::ELSEWHERE,
        queue_name: QueueName::parse(text_of(item, "sqsQueueName")?)
            .map_err(|_| corrupt("sqsQueueName"))?,
        queue_url: Some(text_of(item, "sqsUrl")?.into()),
        aes_key: aes_key.ok_or_else(|| corrupt("aesKey"))?,
        envelope: match gcm.ok_or_else(|| corrupt("gcm"))? {
            true => EnvelopeVersion::V2,
            false => EnvelopeVersion::V1,
        },
        credentials: Credentials {
            access_key: text_of(item, "accessKey")?.to_owned(),
            secret_key: text_of(item, "secretKey").unwrap_or_default().to_owned(),
            session_token: text_of(item, "sessionToken").unwrap_or_default().to_owned(),
            expires: time("expiresAt")?,
        },
        identity: IdentityId::parse(text_of(item, "identityId")?)
            .map_err(|_| corrupt("identityId"))?,
        created: time("createdAt")?,
        ttl: time("endsAt")?,
        retention: Duration::from_secs(number_of(item, "retention")?),
        topics: topics.map(topic).collect::<Result<_, _>>()?,
        transport: match item.contains_key("transport") {
            true => Transport::Iot,
            false => Transport::Sqs,
        },
    };
    Ok((session, number_of(item, "version")?))
}

/// Which session a row is about.
///
/// # Errors
/// As [`session`].
pub fn key_of(item: &Item) -> Result<SessionKey, StoreError> {
    Ok(SessionKey {
        account: AccountId(number_of(item, "account")?),
        session: SessionId::parse(text_of(item, "session")?).map_err(|_| corrupt("session"))?,
    })
}

/// A text of a row.
///
/// # Errors
/// As [`session`].
pub fn text_of<'a>(item: &'a Item, name: &str) -> Result<&'a str, StoreError> {
    let value = item.get(name).and_then(|value| value.as_s().ok());
    value.map(String::as_str).ok_or_else(|| corrupt(name))
}

/// A number of a row.
///
/// # Errors
/// As [`session`].
pub fn number_of<T: std::str::FromStr>(item: &Item, name: &str) -> Result<T, StoreError> {
    let value = item.get(name).and_then(|value| value.as_n().ok());
    let value = value.and_then(|digits| digits.parse().ok());
    value.ok_or_else(|| corrupt(name))
}

/// An attribute is not what it must be.
pub fn corrupt(name: &str) -> StoreError {
    StoreError::Corrupt(format!("the attribute {name} of a row in DynamoDB"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing;

    #[test]
    fn a_session_comes_back_and_a_users_row_has_no_secret() {
        for user in [Some(-4), None] {
            let mut given = testing::session(7, "a-b", user);
            given.queue = QueueNo::ELSEWHERE;
            given.queue_url = Some("http://q".into());
            given.topics = vec!["a/#".into()];
            let row = attributes(&given, 3, Kind::Session);
            assert_eq!(session(&row), Ok((given.clone(), 3)));
            assert_eq!(row.contains_key("accountId"), user.is_none());
            let row = attributes(&given, 3, Kind::User);
            assert_eq!(row.contains_key("accountId"), user.is_some());
            let shown = format!("{row:?}");
            assert!(!shown.contains(&given.credentials.secret_key));
            assert!(!shown.contains(&given.credentials.session_token));
            given.credentials.secret_key.clear();
            given.credentials.session_token.clear();
            assert_eq!(session(&row), Ok((given, 3)));
        }
    }

    #[test]
    fn a_row_of_another_form_is_corrupt() {
        let given = testing::session(7, "s", Some(1));
        let mut given = given;
        given.queue_url = Some("u".into());
        let whole = attributes(&given, 3, Kind::Session);
        for name in ["account", "aesKey", "endsAt", "sqsUrl", "topics", "version"] {
            let mut row = whole.clone();
            row.remove(name);
            assert_eq!(session(&row), Err(corrupt(name)));
            row.insert(name.to_owned(), AttributeValue::Bool(true));
            assert_eq!(session(&row), Err(corrupt(name)));
        }
    }

    #[test]
    fn keys_fit_and_belong_to_no_user() {
        let key = |account, session: &str| {
            session_key(&SessionKey {
                account: AccountId(account),
                session: SessionId::parse(session).unwrap(),
            })
        };
        let longest = "\u{1F600}".repeat(256);
        for session in ["s", &longest] {
            let row = key(i64::MIN, session);
            assert!(text_of(&row, "sessionId").unwrap().len() <= SORT_KEY_BYTES);
            assert!(number_of::<u128>(&row, "userId").unwrap() > i64::MAX as u128);
        }
        assert_ne!(key(1, "s"), key(2, "s"));
        assert_ne!(key(1, &longest), key(1, &"\u{1F601}".repeat(256)));
    }
}
