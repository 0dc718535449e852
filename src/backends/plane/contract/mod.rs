//! What every backend of the session plane must do, one file of cases for each trait. `src/app/tests/contract.rs` holds
//! the embedded backend and the `aws` backend to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::{MessageRelay, Parcel, Relayed, SessionDirectory, UserHistory};
use crate::auth::keys;
use crate::domain::ids::unique_id;
use crate::domain::session::{AesKeyBytes, EnvelopeVersion, OpenSession, Session};
use crate::domain::{
    AccountId, Clock, IdentityId, MessageId, QueueName, SessionId, SessionKey, Target, Timestamp,
    UserId,
};

pub(crate) mod directory;
pub(crate) mod history;
pub(crate) mod relay;

/// How long history keeps a message in these cases.
pub(crate) const HISTORY_LIFE: Duration = Duration::from_secs(3600);

/// A backend under test. Each of the three may be a node of its own.
pub(crate) trait Subject {
    fn directory(&self) -> Arc<dyn SessionDirectory>;

    /// Another node's, if there can be one.
    fn other_directory(&self) -> Arc<dyn SessionDirectory>;

    fn relay(&self) -> Arc<dyn MessageRelay>;

    /// Another node's, if there can be one.
    fn other_relay(&self) -> Arc<dyn MessageRelay>;

    fn history(&self) -> Arc<dyn UserHistory>;

    fn clock(&self) -> Clock;

    /// Everything in a session's queue, as its client gets it: envelopes. They are deleted.
    async fn envelopes(&self, session: &Session) -> Vec<String>;

    /// The same, opened.
    async fn received(&self, session: &Session) -> Vec<serde_json::Value> {
        let cipher = cipher(session);
        let opened = |envelope: &String| cipher.open(envelope).expect("it is this session's");
        let envelopes = self.envelopes(session).await;
        let texts = envelopes.iter().map(opened);
        let json = texts.map(|text| serde_json::from_slice(&text).expect("a message is JSON"));
        json.collect()
    }
}

fn cipher(session: &Session) -> crate::envelope::SessionCipher {
    use crate::envelope::{AesKey, Envelope, SessionCipher};
    let format = match session.envelope {
        EnvelopeVersion::V1 => Envelope::V1,
        EnvelopeVersion::V2 => Envelope::V2 {
            session_id: session.key.session.to_string(),
        },
    };
    SessionCipher::new(&AesKey::from_bytes(session.aes_key), format)
}

/// A number that no other case uses: an account, or a user.
fn fresh() -> i64 {
    static NEXT: AtomicI64 = AtomicI64::new(1000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn key(account: i64, session: &str) -> SessionKey {
    SessionKey {
        account: AccountId(account),
        session: SessionId::parse(session).unwrap(),
    }
}

/// What opens a session for an hour.
fn open(now: Timestamp, key: SessionKey, user: Option<i64>) -> OpenSession {
    let mut random = [0; 32];
    getrandom::fill(&mut random).unwrap();
    OpenSession {
        key,
        user: user.map(UserId),
        queue_name: QueueName::for_session("contract", &random).unwrap(),
        aes_key: AesKeyBytes(random),
        identity: IdentityId::parse(&format!("us-east-1:{}", unique_id())).unwrap(),
        envelope: EnvelopeVersion::V1,
        credentials: keys::issue(now.plus(Duration::from_secs(1800))),
        ttl: now.plus(Duration::from_secs(3600)),
        retention: Some(Duration::from_secs(600)),
        topics: Some(vec!["a/#".into()]),
        transport: None,
        now,
    }
}

/// A new session.
async fn session(subject: &impl Subject, account: i64, id: &str, user: Option<i64>) -> Session {
    let open = open(subject.clock().wall(), key(account, id), user);
    subject.directory().open(open).await.unwrap().session
}

/// A message; `text` is what is in it.
fn parcel(subject: &impl Subject, target: Target, text: &str) -> Parcel {
    let id = MessageId::parse(&unique_id().to_string()).unwrap();
    let body = serde_json::json!({ "text": text, "messageId": id.as_str() }).to_string();
    let body = Bytes::from(body);
    Parcel {
        target,
        message_id: id,
        kind: None,
        keep: true,
        text: body.clone(),
        body,
        now: subject.clock().now(),
    }
}

fn to_user(user: i64) -> Target {
    Target {
        user: Some(UserId(user)),
        ..Target::default()
    }
}

async fn post(subject: &impl Subject, parcel: Parcel) -> Relayed {
    let relaying = subject.relay().relay(parcel).unwrap();
    relaying.await.unwrap()
}

/// The `text`s of messages, in order of the alphabet: a standard queue keeps no order.
fn texts(messages: &[serde_json::Value]) -> Vec<String> {
    let text = |message: &serde_json::Value| message["text"].as_str().unwrap().to_owned();
    let mut texts: Vec<String> = messages.iter().map(text).collect();
    texts.sort();
    texts
}
