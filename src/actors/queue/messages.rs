//! What can be asked of a queue, and the answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use crate::domain::message::MessageAttribute;
use crate::domain::queue::{QueueCounts, Transport};
use crate::domain::{QueueError, Timestamp};

/// A message as a sender gives it; sizes and texts are checked by the wire, the rest by the queue.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// UTF-8 text.
    pub body: Bytes,
    /// `DelaySeconds`; `None` takes the queue's. Refused on FIFO unless zero.
    pub delay: Option<Duration>,
    /// Message attributes, ascending by name.
    pub attributes: Arc<[MessageAttribute]>,
    /// `MessageGroupId`: required on FIFO, echoed on standard queues.
    pub group: Option<Arc<str>>,
    /// `MessageDeduplicationId`; FIFO queues with content-based deduplication derive it (sha256 of the body).
    pub dedup: Option<Arc<str>>,
    /// `AWSTraceHeader`.
    pub trace_header: Option<Arc<str>>,
    /// `SenderId`.
    pub sender: Arc<str>,
}

/// `SendMessage` and `SendMessageBatch`: each entry is accepted or refused by itself, in order.
#[derive(Debug)]
pub struct Send {
    /// At most 10.
    pub entries: Vec<Outgoing>,
}

/// An accepted message: it is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// `MessageId`; the first one's when this was a duplicate.
    pub message_id: Uuid,
    /// `SequenceNumber`, FIFO only.
    pub sequence_number: Option<u64>,
}

/// `ReceiveMessage`.
#[derive(Debug, Clone)]
pub struct Receive {
    /// 1..=10.
    pub max: usize,
    /// How long to wait for a first message; `None` takes the queue's.
    pub wait: Option<Duration>,
    /// How long the messages stay invisible; `None` takes the queue's.
    pub visibility: Option<Duration>,
    /// `ReceiveRequestAttemptId`, FIFO: the same messages and handles again for 5 minutes.
    pub attempt: Option<Arc<str>>,
    /// How the queue is read.
    pub via: Transport,
}

/// A message as it is handed out.
#[derive(Debug, Clone)]
pub struct Received {
    /// `MessageId`.
    pub message_id: Uuid,
    /// `ReceiptHandle`, opaque, at most 1024 characters.
    pub handle: String,
    /// UTF-8 text; a session's message is sealed.
    pub body: Bytes,
    /// All message attributes, ascending by name.
    pub attributes: Arc<[MessageAttribute]>,
    /// `SenderId`.
    pub sender: Arc<str>,
    /// `SentTimestamp`.
    pub sent: Timestamp,
    /// `ApproximateFirstReceiveTimestamp`.
    pub first_received: Timestamp,
    /// `ApproximateReceiveCount`, this time included.
    pub receive_count: u32,
    /// `SequenceNumber`, FIFO only.
    pub sequence_number: Option<u64>,
    /// `MessageGroupId`.
    pub group: Option<Arc<str>>,
    /// `MessageDeduplicationId`.
    pub dedup: Option<Arc<str>>,
    /// `AWSTraceHeader`.
    pub trace_header: Option<Arc<str>>,
    /// `DeadLetterQueueSourceArn`.
    pub dead_letter_source: Option<Arc<str>>,
}

/// `DeleteMessage` and `DeleteMessageBatch`, answered when the deletion is on disk.
#[derive(Debug)]
pub struct Delete {
    /// Receipt handles, at most 10.
    pub handles: Vec<String>,
    /// How the queue is read.
    pub via: Transport,
}

/// `ChangeMessageVisibility` and its batch.
#[derive(Debug)]
pub struct ChangeVisibility {
    /// Receipt handles with their new time-outs, at most 10; zero makes the message visible at once.
    pub entries: Vec<(String, Duration)>,
}

/// A queue as whoever looks after the server sees it. Looking changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueView {
    /// How many messages there are; exact.
    pub counts: QueueCounts,
    /// Receives that wait for one.
    pub waiting: usize,
    /// The first messages, oldest first.
    pub first: Vec<MessageView>,
}

/// A message in a queue, before it is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageView {
    /// The id that SQS clients see.
    pub message_id: Uuid,
    /// When it was accepted.
    pub sent: Timestamp,
    /// When it is dropped unread.
    pub expires: Timestamp,
    /// Where it is.
    pub whereabouts: Whereabouts,
    /// How often it was handed out.
    pub receive_count: u32,
    /// Its first bytes.
    pub beginning: Bytes,
    /// Its length.
    pub bytes: usize,
}

/// Where a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whereabouts {
    /// Can be handed out.
    Visible,
    /// With a receiver, until then, unless it is deleted.
    InFlight(Timestamp),
    /// Not handed out before then.
    Delayed(Timestamp),
    /// Its deletion, or move, is on the way to disk.
    Leaving,
}

/// Each entry's own result, in the order of the request.
pub type PerEntry<T> = Vec<Result<T, QueueError>>;

/// A message move task, as `ListMessageMoveTasks` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoveTask {
    /// `TaskHandle`.
    pub handle: String,
    /// State.
    pub status: MoveStatus,
    /// ARN of the dead-letter queue.
    pub source_arn: String,
    /// ARN of the destination; `None`: each message goes back where it came from.
    pub destination_arn: Option<String>,
    /// `MaxNumberOfMessagesPerSecond`.
    pub max_per_second: Option<u32>,
    /// Moved so far.
    pub moved: u64,
    /// In the source when the task started.
    pub to_move: u64,
    /// `FailureReason`.
    pub failure: Option<String>,
    /// `StartedTimestamp`.
    pub started: Timestamp,
}

/// State of a move task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoveStatus {
    /// `RUNNING`
    Running,
    /// `COMPLETED`
    Completed,
    /// `CANCELLING`
    Cancelling,
    /// `CANCELLED`
    Cancelled,
    /// `FAILED`
    Failed,
}
