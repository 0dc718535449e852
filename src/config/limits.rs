//! Every bound in one file: its unit, where it comes from, and what happens at it. Nothing grows without one.

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

/// Entries waiting in a history actor's mailbox; senders wait beyond it.
pub const HISTORIAN_MAILBOX: usize = 4096;

/// Requests waiting in a user actor's mailbox; senders wait beyond it.
pub const USER_MAILBOX: usize = 256;

/// Entries receipted by one commit and named by one receipt message.
pub const RECEIPT_BATCH: usize = 300;

/// Ids that one receipt request may name. Beyond it 400.
pub const RECEIPT_IDS: usize = 10_000;

/// Entries on a page of history, and the default.
pub const HISTORY_PAGE: usize = 1000;
