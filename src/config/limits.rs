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

/// Panics of one queue's actor within [`PANIC_WINDOW`] from which on the queue is refused instead of restarted.
pub const PANICS: usize = 5;

/// See [`PANICS`]: the queue is tried again when the oldest of them is this long ago.
pub const PANIC_WINDOW: std::time::Duration = std::time::Duration::from_secs(60);

/// Queues loaded from disk at the same time; more wait for their turn.
pub const PARALLEL_LOADS: usize = 8;

/// The configuration's numbers: key, least, most, and what they count. A value outside stops the start. A test holds
/// this list to every number of [`Config`](super::Config).
///
/// Sources: session lifetimes as STS has them (900 s to 36 h; shorter ones for tests), retention and messages in
/// flight as SQS has them (WIRE 1.4), the rest from what one machine can hold.
pub const SETTINGS: &[(&str, u64, u64, &str)] = &[
    ("http.workers", 0, 1024, "threads (0: one for each core)"),
    ("http.max_connections", 1, 10_000_000, "connections"),
    ("http.body_limit_bytes", 65_536, 64 << 20, "bytes"),
    ("http.keep_alive", 1, 3600, "seconds"),
    ("http.head_timeout", 1, 300, "seconds"),
    ("http.body_timeout", 1, 3600, "seconds"),
    ("http.drain_timeout", 1, 20, "seconds"),
    ("store.min_free_bytes", 1 << 20, 1 << 50, "bytes"),
    ("store.cache_bytes", 1 << 20, 1 << 40, "bytes"),
    ("store.write_buffer_bytes", 1 << 20, 1 << 30, "bytes"),
    ("store.journal_bytes", 64 << 20, 1 << 40, "bytes"),
    ("store.sweep_interval", 1, 86_400, "seconds"),
    ("store.compact_after_bytes", 4096, 1 << 40, "bytes"),
    ("sessions.key_lifetime", 1, 129_600, "seconds"),
    ("sessions.ttl", 0, 31_536_000, "seconds"),
    ("sessions.retention", 60, 1_209_600, "seconds"),
    ("sessions.max_sessions", 1, 1_000_000_000, "sessions"),
    ("sessions.sweep_interval", 1, 86_400, "seconds"),
    ("sessions.queue_limit", 1, 10_000_000, "messages"),
    ("queues.idle_after", 1, 86_400, "seconds"),
    ("queues.max_messages", 1, 100_000_000, "messages"),
    ("queues.max_in_flight", 1, 120_000, "messages"),
    ("queues.max_waiting", 1, 1_000_000, "long polls"),
    ("queues.mailbox", 16, 65_536, "requests"),
    ("queues.cached_body_bytes", 0, 1 << 40, "bytes"),
    ("history.user_message_ttl", 1, 31_536_000, "seconds"),
    ("history.idle_after", 1, 86_400, "seconds"),
    ("kinesis.shards", 1, 1000, "shards"),
];

/// Characters of a queue's name that come after `sessions.queue_prefix`; together at most 80 (SQS's own limit).
pub const QUEUE_PREFIX_CHARACTERS: usize = 80 - 1 - 43;
