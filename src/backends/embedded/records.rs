//! What rows hold, and its conversion from and to the domain's types.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bincode::{BorrowDecode, Encode};
use bytes::Bytes;
use uuid::Uuid;

use crate::domain::history::{Receipts, Unread};
use crate::domain::message::{AttributeValue, MessageAttribute, MessageState, NewMessage, Origin};
use crate::domain::queue::{DedupScope, QueueAttributes, QueueRecord, RedrivePolicy};
use crate::domain::session::{Credentials, EnvelopeVersion, Session, Transport};
use crate::domain::{
    AccountId, IdentityId, MessageId, QueueName, QueueNo, Seq, SessionId, SessionKey, StoreError,
    Timestamp, UserId,
};

/// Where a queue's message has its body.
#[derive(Encode, BorrowDecode)]
pub(super) enum BodyRow<'a> {
    /// In the row.
    Here(&'a [u8]),
    /// In `shared`, stored once for several queues.
    Shared(u64),
}

#[derive(Encode, BorrowDecode)]
enum ValueRow<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
}

/// A message in `messages` or `shared`.
#[derive(Encode, BorrowDecode)]
pub(super) struct MessageRow<'a> {
    id: [u8; 16],
    pub(super) body: BodyRow<'a>,
    seal: bool,
    sent: u64,
    visible_at: u64,
    sender: &'a str,
    attributes: Vec<(&'a str, &'a str, ValueRow<'a>)>,
    group: Option<&'a str>,
    dedup: Option<&'a str>,
    trace_header: Option<&'a str>,
    dead_letter_source: Option<&'a str>,
}

impl<'a> MessageRow<'a> {
    pub(super) fn new(message: &'a NewMessage, body: BodyRow<'a>) -> Self {
        let attributes = message.attributes.iter().map(|attribute| {
            let value = match &attribute.value {
                AttributeValue::Text(text) => ValueRow::Text(text),
                AttributeValue::Binary(bytes) => ValueRow::Binary(bytes),
            };
            (attribute.name.as_str(), attribute.data_type.as_str(), value)
        });
        Self {
            id: *message.id.as_bytes(),
            body,
            seal: message.seal,
            sent: message.sent.0,
            visible_at: message.visible_at.0,
            sender: &message.sender,
            attributes: attributes.collect(),
            group: message.group.as_deref(),
            dedup: message.dedup.as_deref(),
            trace_header: message.trace_header.as_deref(),
            dead_letter_source: message.dead_letter_source.as_deref(),
        }
    }

    /// The message; a shared body is left empty.
    pub(super) fn message(&self, expires: Timestamp) -> NewMessage {
        let attributes = self
            .attributes
            .iter()
            .map(|(name, data_type, value)| MessageAttribute {
                name: (*name).to_owned(),
                data_type: (*data_type).to_owned(),
                value: match value {
                    ValueRow::Text(text) => AttributeValue::Text((*text).to_owned()),
                    ValueRow::Binary(bytes) => {
                        AttributeValue::Binary(Bytes::copy_from_slice(bytes))
                    }
                },
            });
        NewMessage {
            id: Uuid::from_bytes(self.id),
            body: match self.body {
                BodyRow::Here(body) => Bytes::copy_from_slice(body),
                BodyRow::Shared(_) => Bytes::new(),
            },
            seal: self.seal,
            sent: Timestamp(self.sent),
            expires,
            visible_at: Timestamp(self.visible_at),
            sender: self.sender.into(),
            attributes: attributes.collect(),
            group: self.group.map(Arc::from),
            dedup: self.dedup.map(Arc::from),
            trace_header: self.trace_header.map(Arc::from),
            dead_letter_source: self.dead_letter_source.map(Arc::from),
        }
    }
}

#[derive(Encode, BorrowDecode, Clone, Copy)]
pub(super) enum OriginRow {
    Own,
    Everyone,
    Account(i64),
}

impl From<Origin> for OriginRow {
    fn from(origin: Origin) -> Self {
        match origin {
            Origin::Own => Self::Own,
            Origin::Everyone => Self::Everyone,
            Origin::Account(account) => Self::Account(account.0),
        }
    }
}

impl From<OriginRow> for Origin {
    fn from(row: OriginRow) -> Self {
        match row {
            OriginRow::Own => Self::Own,
            OriginRow::Everyone => Self::Everyone,
            OriginRow::Account(account) => Self::Account(AccountId(account)),
        }
    }
}

/// A message's state in `states`.
#[derive(Encode, BorrowDecode)]
pub(super) struct StateRow {
    pub(super) origin: OriginRow,
    visible_at: u64,
    receive_count: u32,
    first_received: Option<u64>,
    receipt: u64,
    counter: Option<u64>,
}

impl StateRow {
    pub(super) fn new(origin: Origin, state: MessageState) -> Self {
        Self {
            origin: origin.into(),
            visible_at: state.visible_at.0,
            receive_count: state.receive_count,
            first_received: state.first_received.map(|at| at.0),
            receipt: state.receipt,
            counter: state.counter,
        }
    }

    pub(super) fn state(&self) -> MessageState {
        MessageState {
            visible_at: Timestamp(self.visible_at),
            receive_count: self.receive_count,
            first_received: self.first_received.map(Timestamp),
            receipt: self.receipt,
            counter: self.counter,
        }
    }
}

/// A remembered deduplication id in `states`.
#[derive(Encode, BorrowDecode)]
pub(super) struct DedupRow<'a> {
    pub(super) dedup: &'a str,
    pub(super) group: Option<&'a str>,
    pub(super) message: [u8; 16],
    pub(super) seq: u64,
    pub(super) sent: u64,
}

/// A queue's record.
#[derive(Encode, BorrowDecode)]
pub(super) struct QueueRow<'a> {
    name: &'a str,
    created: u64,
    modified: u64,
    since: u64,
    owner: Option<(i64, &'a str)>,
    tags: Vec<(&'a str, &'a str)>,
    visibility_timeout: u32,
    delay: u32,
    retention: u32,
    maximum_message_size: u32,
    receive_wait: u32,
    fifo: bool,
    content_based_deduplication: bool,
    dedup_per_group: bool,
    throughput_per_group: bool,
    redrive: Option<(&'a str, u32)>,
    redrive_allow: Option<&'a str>,
    policy: Option<&'a str>,
    kms_master_key_id: Option<&'a str>,
    kms_data_key_reuse_period: Option<u32>,
    sqs_managed_sse: bool,
}

fn secs(span: Duration) -> u32 {
    u32::try_from(span.as_secs()).unwrap_or(u32::MAX)
}

impl<'a> QueueRow<'a> {
    pub(super) fn new(record: &'a QueueRecord) -> Self {
        let attributes = &record.attributes;
        Self {
            name: record.name.as_str(),
            created: record.created.0,
            modified: record.modified.0,
            since: record.since.0,
            owner: record
                .owner
                .as_ref()
                .map(|owner| (owner.account.0, owner.session.as_str())),
            tags: record
                .tags
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str()))
                .collect(),
            visibility_timeout: secs(attributes.visibility_timeout),
            delay: secs(attributes.delay),
            retention: secs(attributes.retention),
            maximum_message_size: attributes.maximum_message_size,
            receive_wait: secs(attributes.receive_wait),
            fifo: attributes.fifo,
            content_based_deduplication: attributes.content_based_deduplication,
            dedup_per_group: attributes.dedup_scope == DedupScope::MessageGroup,
            throughput_per_group: attributes.throughput_per_group,
            redrive: attributes.redrive.as_ref().map(|redrive| {
                (
                    redrive.dead_letter_target_arn.as_str(),
                    redrive.max_receive_count,
                )
            }),
            redrive_allow: attributes.redrive_allow.as_deref(),
            policy: attributes.policy.as_deref(),
            kms_master_key_id: attributes.kms_master_key_id.as_deref(),
            kms_data_key_reuse_period: attributes.kms_data_key_reuse_period,
            sqs_managed_sse: attributes.sqs_managed_sse,
        }
    }

    pub(super) fn record(&self, no: QueueNo) -> Result<QueueRecord, StoreError> {
        let owner = self
            .owner
            .map(|(account, session)| session_key(account, session))
            .transpose()?;
        Ok(QueueRecord {
            no,
            name: QueueName::parse(self.name).map_err(corrupt)?,
            attributes: self.attributes(),
            tags: self
                .tags
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect::<BTreeMap<_, _>>(),
            created: Timestamp(self.created),
            modified: Timestamp(self.modified),
            since: Seq(self.since),
            owner,
        })
    }

    fn attributes(&self) -> QueueAttributes {
        let span = |secs: u32| Duration::from_secs(secs.into());
        QueueAttributes {
            visibility_timeout: span(self.visibility_timeout),
            delay: span(self.delay),
            retention: span(self.retention),
            maximum_message_size: self.maximum_message_size,
            receive_wait: span(self.receive_wait),
            fifo: self.fifo,
            content_based_deduplication: self.content_based_deduplication,
            dedup_scope: if self.dedup_per_group {
                DedupScope::MessageGroup
            } else {
                DedupScope::Queue
            },
            throughput_per_group: self.throughput_per_group,
            redrive: self.redrive.map(|(arn, max)| RedrivePolicy {
                dead_letter_target_arn: arn.to_owned(),
                max_receive_count: max,
            }),
            redrive_allow: self.redrive_allow.map(str::to_owned),
            policy: self.policy.map(str::to_owned),
            kms_master_key_id: self.kms_master_key_id.map(str::to_owned),
            kms_data_key_reuse_period: self.kms_data_key_reuse_period,
            sqs_managed_sse: self.sqs_managed_sse,
        }
    }
}

/// A session's record.
#[derive(Encode, BorrowDecode)]
pub(super) struct SessionRow<'a> {
    account: i64,
    session: &'a str,
    user: Option<i64>,
    queue: u64,
    queue_name: &'a str,
    aes_key: [u8; 32],
    gcm: bool,
    access_key: &'a str,
    secret_key: &'a str,
    session_token: &'a str,
    expires: u64,
    identity: &'a str,
    created: u64,
    ttl: u64,
    retention: u32,
    topics: Vec<&'a str>,
}

impl<'a> SessionRow<'a> {
    pub(super) fn new(session: &'a Session) -> Self {
        Self {
            account: session.key.account.0,
            session: session.key.session.as_str(),
            user: session.user.map(|user| user.0),
            queue: session.queue.0,
            queue_name: session.queue_name.as_str(),
            aes_key: session.aes_key,
            gcm: session.envelope == EnvelopeVersion::V2,
            access_key: &session.credentials.access_key,
            secret_key: &session.credentials.secret_key,
            session_token: &session.credentials.session_token,
            expires: session.credentials.expires.0,
            identity: session.identity.as_str(),
            created: session.created.0,
            ttl: session.ttl.0,
            retention: secs(session.retention),
            topics: session.topics.iter().map(String::as_str).collect(),
        }
    }

    pub(super) fn session(&self) -> Result<Session, StoreError> {
        Ok(Session {
            key: session_key(self.account, self.session)?,
            user: self.user.map(UserId),
            queue: QueueNo(self.queue),
            queue_name: QueueName::parse(self.queue_name).map_err(corrupt)?,
            queue_url: None,
            aes_key: self.aes_key,
            envelope: if self.gcm {
                EnvelopeVersion::V2
            } else {
                EnvelopeVersion::V1
            },
            credentials: Credentials {
                access_key: self.access_key.to_owned(),
                secret_key: self.secret_key.to_owned(),
                session_token: self.session_token.to_owned(),
                expires: Timestamp(self.expires),
            },
            identity: IdentityId::parse(self.identity).map_err(corrupt)?,
            created: Timestamp(self.created),
            ttl: Timestamp(self.ttl),
            retention: Duration::from_secs(self.retention.into()),
            topics: self
                .topics
                .iter()
                .map(|topic| (*topic).to_owned())
                .collect(),
            transport: Transport::default(),
        })
    }
}

/// A session named by another row.
#[derive(Encode, BorrowDecode)]
pub(super) struct SessionKeyRow<'a>(i64, &'a str);

impl<'a> SessionKeyRow<'a> {
    pub(super) fn new(key: &'a SessionKey) -> Self {
        Self(key.account.0, key.session.as_str())
    }

    pub(super) fn key(&self) -> Result<SessionKey, StoreError> {
        session_key(self.0, self.1)
    }
}

/// How many sessions a user has, and since when without a break.
#[derive(Encode, BorrowDecode, Clone, Copy)]
pub(super) struct MemberRow {
    pub(super) sessions: u32,
    pub(super) from: u64,
}

/// A history entry.
#[derive(Encode, BorrowDecode)]
pub(super) struct EntryRow<'a> {
    pub(super) message_id: &'a str,
    pub(super) created: u64,
    pub(super) kind: Option<&'a str>,
    pub(super) json: &'a [u8],
}

/// Receipts promised and not yet made.
#[derive(Encode, BorrowDecode)]
pub(super) struct PromiseRow<'a> {
    user: i64,
    which: UnreadRow<'a>,
}

#[derive(Encode, BorrowDecode)]
enum UnreadRow<'a> {
    Ids(Vec<&'a str>),
    AsOf(u64),
}

impl<'a> PromiseRow<'a> {
    pub(super) fn new(receipts: &'a Receipts) -> Self {
        let which = match &receipts.which {
            Unread::Ids(ids) => UnreadRow::Ids(ids.iter().map(MessageId::as_str).collect()),
            Unread::AsOf(at) => UnreadRow::AsOf(at.0),
        };
        Self {
            user: receipts.user.0,
            which,
        }
    }

    pub(super) fn receipts(&self) -> Result<Receipts, StoreError> {
        let which = match &self.which {
            UnreadRow::Ids(ids) => Unread::Ids(
                ids.iter()
                    .map(|id| message_id(id))
                    .collect::<Result<_, _>>()?,
            ),
            UnreadRow::AsOf(at) => Unread::AsOf(Timestamp(*at)),
        };
        Ok(Receipts {
            user: UserId(self.user),
            which,
        })
    }
}

fn session_key(account: i64, session: &str) -> Result<SessionKey, StoreError> {
    Ok(SessionKey {
        account: AccountId(account),
        session: SessionId::parse(session).map_err(corrupt)?,
    })
}

/// An id on disk that is not one.
pub(super) fn corrupt(error: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt(error.to_string())
}

/// A stored message id.
pub(super) fn message_id(text: &str) -> Result<MessageId, StoreError> {
    MessageId::parse(text).map_err(corrupt)
}
