//! Messages in queues: what is stored once, and the state that changes with each receive.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::{AccountId, QueueNo, Seq, Timestamp};

/// Value of a message attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttributeValue {
    /// `String` and `Number` types (and their custom forms).
    Text(String),
    /// `Binary` types.
    Binary(Bytes),
}

/// A message attribute as SQS has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageAttribute {
    /// Name, at most 256 characters.
    pub name: String,
    /// `String`, `Number` or `Binary`, with an optional `.custom` part.
    pub data_type: String,
    /// The value.
    pub value: AttributeValue,
}

/// A message on its way into a queue. Everything here stays as it is for the message's life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// The id that SQS clients see.
    pub id: Uuid,
    /// UTF-8 text: a JSON object when `seal`, else what the sender sent.
    pub body: Bytes,
    /// Whether the body is sealed in the session's envelope when it is handed out.
    pub seal: bool,
    /// When it was accepted.
    pub sent: Timestamp,
    /// When it is dropped unread.
    pub expires: Timestamp,
    /// Not handed out before (a delay).
    pub visible_at: Timestamp,
    /// The SQS `SenderId`.
    pub sender: Arc<str>,
    /// Message attributes, ascending by name.
    pub attributes: Arc<[MessageAttribute]>,
    /// `MessageGroupId`.
    pub group: Option<Arc<str>>,
    /// `MessageDeduplicationId`, given or derived.
    pub dedup: Option<Arc<str>>,
    /// `AWSTraceHeader`.
    pub trace_header: Option<Arc<str>>,
    /// ARN of the queue this message was moved here from as a dead letter.
    pub dead_letter_source: Option<Arc<str>>,
}

/// Where a queue's message is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// In the queue's own rows.
    Own,
    /// Once for every session: a broadcast that the queue refers to.
    Everyone,
    /// Once for every session of an account.
    Account(AccountId),
}

/// The part of a message that changes: written when it is first handed out, and from then on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MessageState {
    /// Not handed out before.
    pub visible_at: Timestamp,
    /// How often it was handed out.
    pub receive_count: u32,
    /// When it was first handed out.
    pub first_received: Option<Timestamp>,
    /// Part of the newest receipt handle; a handle with another value is an older one.
    pub receipt: u64,
    /// The envelope's counter, once sealed: a redelivery is byte for byte the same.
    pub counter: Option<u64>,
}

/// A queue's message as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// Position in the order of acceptance.
    pub seq: Seq,
    /// Where the body is.
    pub origin: Origin,
    /// What was sent.
    pub message: NewMessage,
    /// The state, if it was ever handed out.
    pub state: Option<MessageState>,
}

/// Which messages a queue has: its own, and for a session's queue the broadcasts to all and to its account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueSource {
    /// The queue.
    pub queue: QueueNo,
    /// The session's account; `None` for an operator's queue, which gets no broadcasts.
    pub account: Option<AccountId>,
}
