//! What is kept of rooms: the history of what was said, by offset. It is written by
//! [`TopicStore::publish`](super::topics::TopicStore::publish), with everything else that a publication changes.

use crate::domain::publication::Publication;
use crate::domain::room::{Epoch, Keep};
use crate::domain::topic::TopicName;
use crate::domain::{StoreError, Timestamp};

#[cfg(test)]
pub(crate) mod contract;

/// Reads rooms' histories.
///
/// A history begins when something is first said in its room, with an [`Epoch`] of its own and offset 1. An epoch and an
/// offset name one publication for ever, whatever crashes. When all of a history has expired it may be forgotten; what is
/// said then begins another.
pub trait RoomStore: Send + Sync + 'static {
    /// Where a room's history begins and ends; `None` if there is none.
    fn head(&self, room: &TopicName) -> Result<Option<Head>, StoreError>;

    /// What was said at offsets from `from` on, ascending, at most `limit`, without what has expired.
    fn said(
        &self,
        room: &TopicName,
        from: u64,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Said>, StoreError>;
}

/// Where a history begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Which history.
    pub epoch: Epoch,
    /// The oldest offset that is kept; one more than `last` if nothing is.
    pub first: u64,
    /// The newest offset given out.
    pub last: u64,
}

/// What to do with a publication for its room's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// What to keep.
    pub keep: Keep,
    /// When it was taken, by the clock that expiry goes by.
    pub now: Timestamp,
    /// When it was taken, by the wall clock.
    pub at: Timestamp,
    /// The epoch, if a history begins with it.
    pub epoch: Epoch,
    /// Histories that there may be; a new one beyond it is refused as full.
    pub most: usize,
}

/// What was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Its offset.
    pub offset: u64,
    /// When it was taken, by the wall clock.
    pub at: Timestamp,
    /// What it was, as it was published.
    pub publication: Publication,
}
