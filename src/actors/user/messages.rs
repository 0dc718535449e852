//! What can be asked of a user's history.

use actix::Message;
use bytes::Bytes;

use super::state::{Place, Query};
use crate::domain::history::{EntryMeta, Receipts, Unread};
use crate::domain::{MessageId, Seq, StoreError};

/// Entries of the history.
#[derive(Debug, Message)]
#[rtype(result = "Result<Page, StoreError>")]
pub struct GetPage(pub Query);

/// A page of history, newest first.
#[derive(Debug)]
pub struct Page {
    /// Entries and their texts.
    pub entries: Vec<(EntryMeta, Bytes)>,
    /// Where the next page starts, if there is one.
    pub next: Option<Place>,
}

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
