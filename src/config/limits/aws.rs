//! What the `aws` backend asks of its services.

use std::time::Duration;

/// Messages of one `SendMessageBatch` (SQS's own); more wait for the next, as do those beyond its 1 MiB.
pub const SEND_BATCH: usize = 10;
/// Rows of one `BatchWriteItem` (DynamoDB's own); more wait for the next.
pub const WRITE_BATCH: usize = 25;
/// Bytes of one `BatchWriteItem` as we count them: DynamoDB's limit is 16 MiB of what is sent.
pub const WRITE_BATCH_BYTES: usize = 4 << 20;
/// Bytes of a message that history keeps (DynamoDB's 400 KB a row, less what we add). Beyond it 413.
pub const HISTORY_TEXT_BYTES: usize = 390_000;
/// Sessions whose envelope counters this node has on lease, about 500 bytes each. Beyond it those of sessions that
/// nothing is sent to at the moment are given up, which costs them a write when something is.
pub const LEASED_SESSIONS: usize = 100_000;
/// Sessions among which owners of queues and identities are looked for, about 16 bytes each, and 16 more with identities. With
/// more, those that lost their session stay, and a warning says so.
pub const QUEUE_OWNERS: usize = 10_000_000;
/// How long nobody looks for expired sessions again for each row that a look has read: a thousand rows a second on average.
/// A session has three, 2,500 bytes together, so that is some $33 a month at DynamoDB.
pub const SWEEP_ROW_PAUSE: Duration = Duration::from_millis(1);
/// The longest such pause, if `aws.sweep_interval` is not longer.
pub const SWEEP_LONGEST_PAUSE: Duration = Duration::from_secs(86_400);
/// How often a change is tried anew when another node changed the same session first. Beyond it 429.
pub const CHANGE_TRIES: usize = 10;
/// Messages of a group whose sessions are looked up together; of more, a part at a time.
pub const RELAY_GROUP: usize = 500;
/// Records of one read of a shard; more wait for the next.
pub const READ_RECORDS: i32 = 1000;
/// Bytes of one read of a shard (Kinesis's own).
pub const READ_BYTES: u64 = 10 << 20;
/// How often a record is tried that is refused for good, in which nothing may be wrong with the record. Then it is
/// given up, so that its shard goes on.
pub const RECORD_TRIES: usize = 8;
/// Sessions that a message is handed over to at a time; of more, a part at a time. So many at most does one errand on disk
/// name.
pub const SEND_PART: usize = 1000;
/// Errands (messages that wait on disk for AWS) of one file, which share a sync, and are done again together if the node
/// is killed while it does them. More go into the next; as many wait in memory for it, and senders beyond that.
pub const SPILL_FILE_ERRANDS: usize = 64;
/// Bytes from which on a file is full; its last errand may go beyond.
pub const SPILL_FILE_BYTES: usize = 1 << 20;
/// Bytes that reading an errand may take, so that a forged length allocates no more.
pub const SPILL_READ_BYTES: usize = 8 << 20;

// Sealed and in base64 a message has at most SQS's 1 MiB; an id of a session has 256 characters.
const _: () = assert!(
    SPILL_READ_BYTES > super::MESSAGE_BYTES + HISTORY_TEXT_BYTES + SEND_PART * (4 * 256 + 128)
);
