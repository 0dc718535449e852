//! What can be asked of a user's history.

use actix::Message;

use crate::domain::history::{Page, Query, Receipts, Unread};
use crate::domain::{MessageId, Seq, StoreError};

/// Entries of the history.
#[derive(Debug, Message)]
#[rtype(result = "Result<Page, StoreError>")]
pub struct GetPage(pub Query);

/// How many entries are unread.
#[derive(Debug, Message)]
#[rtype(result = "Result<usize, StoreError>")]
pub struct CountUnread;

/// Make receipts now.
#[derive(Debug, Message)]
#[rtype(result = "Result<Vec<MessageId>, StoreError>")]
pub struct SetRead(pub Unread);

/// Promise receipts; answered when the promise is on disk. Whoever asked has it kept, by [`KeepPromise`].
#[derive(Debug, Message)]
#[rtype(result = "Result<Seq, StoreError>")]
pub struct SetReadLater(pub Unread);

/// Make the receipts that were promised.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct KeepPromise {
    /// Which promise.
    pub promise: Seq,
    /// What was promised.
    pub receipts: Receipts,
}

/// Let the actor go if nobody has asked for a while.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct IdleTick;
