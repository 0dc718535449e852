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
