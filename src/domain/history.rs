//! History entries: which messages a user sees, and what "read" means.

use bytes::Bytes;

use super::message::Origin;
use super::{AccountId, MessageId, Seq, Timestamp, UserId};

/// Who keeps a message in history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// These users, with a session or without.
    Users(Vec<UserId>),
    /// Each user that has a session of the account now.
    Account(AccountId),
    /// Each user that has a session now.
    Everyone,
}

/// A message on its way into history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry {
    /// Replaces an older entry of the same id.
    pub message_id: MessageId,
    /// When it was accepted.
    pub created: Timestamp,
    /// Never returned from then on.
    pub expires: Timestamp,
    /// The message's `_type`, if it has one that is a string.
    pub kind: Option<Box<str>>,
    /// The message: a JSON object as text.
    pub json: Bytes,
}

/// A user's entry, without its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryMeta {
    /// Position in the order of acceptance.
    pub seq: Seq,
    /// Where the text is.
    pub origin: Origin,
    /// The id.
    pub message_id: MessageId,
    /// When it was accepted.
    pub created: Timestamp,
    /// Never returned from then on.
    pub expires: Timestamp,
    /// The message's `_type`.
    pub kind: Option<Box<str>>,
    /// Whether it was receipted.
    pub read: bool,
}

/// Place of an entry in the order in which history is shown.
pub type Place = (Timestamp, Seq);

/// Which entries to show.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query {
    /// Accepted at this time or after.
    pub start: Option<Timestamp>,
    /// Accepted at this time or before.
    pub end: Option<Timestamp>,
    /// Only these `_type`s; empty means all.
    pub kinds: Vec<String>,
    /// At most so many.
    pub limit: usize,
    /// Only entries older than this one.
    pub before: Option<Place>,
}

/// A page of history, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// Entries and their texts.
    pub entries: Vec<(EntryMeta, Bytes)>,
    /// Where the next page starts, if there is one.
    pub next: Option<Place>,
}

/// Receipts asked for by a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipts {
    /// Whose entries.
    pub user: UserId,
    /// Which of them.
    pub which: Unread,
}

/// Which unread entries are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unread {
    /// Those of these ids.
    Ids(Vec<MessageId>),
    /// Those accepted at this time or before.
    AsOf(Timestamp),
}
