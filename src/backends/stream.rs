//! What comes in by a stream that a backend reads: its records, and who takes them.

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;

use crate::domain::{MessageId, StoreError};

/// A record of a stream: a message in JSON, or nonsense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The message's id if it does not say one itself: shard and sequence number.
    pub id: MessageId,
    /// The data.
    pub data: Bytes,
}

/// Takes records that were read.
pub trait RecordIntake: Send + Sync + 'static {
    /// Takes records in the order given, in which their messages are also handed over. The answer has one entry for each,
    /// in the same order; `Ok` means that the message is durable wherever it goes. A record that is no message is counted,
    /// skipped and `Ok`: it never can be one.
    fn take(&self, records: Vec<Record>) -> LocalBoxFuture<'static, Vec<Result<(), StoreError>>>;
}
