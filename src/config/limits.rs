//! Every bound: its unit, where it comes from, and what happens at it. Nothing grows without one. Here are those of the
//! store, of sessions and of the actors; each wire, MQTT, policies and the `aws` backend have a file of their own below.

pub mod aws;
pub mod broker;
pub mod cognito;
pub mod console;
pub mod http;
pub mod iot;
pub mod kinesis;
pub mod links;
pub mod mqtt;
pub mod policy;
pub mod rooms;
mod settings;
pub mod sqs;
pub mod sts;

pub use settings::SETTINGS;

/// Jobs waiting for the committing thread. Beyond it a write is refused as overloaded (503, `RequestThrottled`).
pub const COMMIT_QUEUE_JOBS: usize = 65_536;

/// Bytes of the jobs waiting for the committing thread. Beyond it a write is refused as overloaded.
pub const COMMIT_QUEUE_BYTES: usize = 256 << 20;

/// Bytes written by one group commit; what comes later goes into the next.
pub const COMMIT_BATCH_BYTES: usize = 8 << 20;

const _: () = assert!(COMMIT_BATCH_BYTES < COMMIT_QUEUE_BYTES);

/// Bytes of bodies read together with a queue's messages; the rest are read when they are handed out.
pub const LOADED_BODY_BYTES: usize = 1 << 20;

/// How long messages wait in a session's queue unless `create` says otherwise.
pub const SESSION_RETENTION_DEFAULT: std::time::Duration = std::time::Duration::from_secs(3600);

/// How long messages wait in any queue at most (SQS's own).
pub const LONGEST_RETENTION: std::time::Duration = std::time::Duration::from_secs(1_209_600);

/// Length of a message as ASCII JSON, in bytes: sealed and in base64 it must fit into SQS's 1 MiB. Beyond it 413.
pub const MESSAGE_BYTES: usize = (SQS_MESSAGE_BYTES - 64) / 4 * 3;

/// Largest SQS message, in bytes (SQS's own limit since August 2025).
pub const SQS_MESSAGE_BYTES: usize = 1 << 20;

/// Keys of one object in a message. Beyond it 400.
pub const MESSAGE_KEYS: usize = 10_000;

/// Queue URLs in the answer to a post.
pub const ANSWERED_QUEUE_URLS: usize = 1000;

/// Messages waiting in a dispatcher's mailbox; senders wait beyond it.
pub const DISPATCHER_MAILBOX: usize = 4096;

/// Entries waiting in a history actor's mailbox; senders wait beyond it. Twice what its dispatcher can hand over before
/// it has its turn, so that no entry waits outside, with a sender who may go away.
pub const HISTORIAN_MAILBOX: usize = 2 * DISPATCHER_MAILBOX;

/// Requests waiting in a user actor's mailbox; senders wait beyond it.
pub const USER_MAILBOX: usize = 256;

/// Messages of other workers waiting in a topic actor's mailbox. Beyond it publications of quality of service 0 are dropped and
/// counted, and others wait.
pub const TOPIC_MAILBOX: usize = 4096;

/// Bytes of publications that wait for room in another worker's mailbox. Beyond it they are dropped and counted, but for
/// those that durable sessions have on disk.
pub const FORWARD_BACKLOG_BYTES: usize = 64 << 20;

/// Publications that one message carries to another worker.
pub const FAN_OUT_BATCH: usize = 256;

/// Publications of one connection that may wait for an earlier one's way to the disk; beyond it the connection is not read.
pub const PUBLICATIONS_BEHIND: usize = 1024;

/// Topics whose subscribers a worker remembers; beyond it all are forgotten and found anew.
pub const CACHED_TOPICS: usize = 65_536;

/// Messages of a session's queue that are with its MQTT client at a time; more are read when some are acknowledged.
pub const INBOX_MESSAGES: usize = 100;

/// Entries receipted by one commit and named by one receipt message.
pub const RECEIPT_BATCH: usize = 300;

/// Ids that one receipt request may name. Beyond it 400.
pub const RECEIPT_IDS: usize = 10_000;

/// Entries on a page of history, and the default.
pub const HISTORY_PAGE: usize = 1000;

/// Expired sessions removed together.
pub const SWEEP_BATCH: usize = 500;

/// Sessions read at a time while all are listed.
pub const STATUS_PAGE: usize = 1000;

/// Topic filters that `create` may grant. Beyond it 400.
pub const SESSION_TOPICS: usize = 50;

/// Length of a granted topic filter, in bytes (AWS IoT's). Beyond it 400.
pub const TOPIC_FILTER_BYTES: usize = 256;

/// Receive attempts (`ReceiveRequestAttemptId`) that one FIFO queue remembers; of more the oldest is forgotten, and
/// repeating it counts as a new receive.
pub const REMEMBERED_ATTEMPTS: usize = 10_000;

/// Changes of one queue on their way to disk; beyond it the queue answers `RequestThrottled`.
pub const QUEUE_COMMITS: usize = 1_024;

/// Changes in one commit of a purge, so that a long queue's does not hold up everyone else's.
pub const PURGE_CHANGES: usize = 10_000;

/// Message move tasks that a source's list keeps, `ListMessageMoveTasks`' own maximum (WIRE 1.5); older ended ones
/// are forgotten.
pub const KEPT_MOVE_TASKS: usize = 10;

/// Messages a second that a move task moves at most (WIRE 1.5).
pub const MOVE_TASK_RATE: u32 = 500;

/// Panics of one queue's or user's actor within [`PANIC_WINDOW`] from which on it is refused instead of restarted.
pub const PANICS: usize = 5;

/// Panics of one worker's dispatcher or history actor within [`PANIC_WINDOW`] from which on it is overloaded instead of
/// restarted. More than [`PANICS`], because everyone asks it: what makes it panic is most likely one message.
pub const WORKER_PANICS: usize = 100;

/// See [`PANICS`]: it is tried again when the oldest of them is this long ago.
pub const PANIC_WINDOW: std::time::Duration = std::time::Duration::from_secs(60);

/// Queues loaded from disk at the same time; more wait for their turn.
pub const PARALLEL_LOADS: usize = 8;

/// How often the certificate's files are looked at.
pub const CERTIFICATE_LOOK: std::time::Duration = std::time::Duration::from_secs(5);

/// Characters of a queue's name that come after `sessions.queue_prefix`; together at most 80 (SQS's own limit).
pub const QUEUE_PREFIX_CHARACTERS: usize = 80 - 1 - 43;

/// Signing keys that are kept, about 0.5 KiB each: a day's keys of as many callers as are busy at a time. Of more, one is
/// derived anew at its next request.
pub const SIGNING_KEYS: usize = 16 * 1024;

/// Bytes of a stored record: a message of 1 MiB with its attributes and some room. A forged length beyond it is
/// `Corrupt` before anything is allocated.
pub const RECORD_BYTES: usize = 4 << 20;

const _: () = assert!(RECORD_BYTES > 2 * SQS_MESSAGE_BYTES);

/// Bytes of a publication that is stored, with its topic, its properties and one recipient's Subscription Identifiers.
/// Beyond it the store refuses; `mqtt` must not let a larger one in.
pub const STORED_PUBLICATION_BYTES: usize = RECORD_BYTES / 2;

/// Bytes of a stored MQTT session: its subscriptions and its will. Beyond it the store refuses.
pub const STORED_CLIENT_BYTES: usize = RECORD_BYTES - 4096;

const _: () = assert!(STORED_PUBLICATION_BYTES + 4096 < RECORD_BYTES);
const _: () = assert!(STORED_PUBLICATION_BYTES < STORED_CLIENT_BYTES);
