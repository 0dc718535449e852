//! The traits behind which state lives, and the embedded backend.
//!
//! Every method that changes something returns a [`Commit`]: when it resolves to `Ok`, the change is
//! on disk (fdatasynced) unless the method says otherwise. Reads see every change whose commit has
//! resolved. Rows carry a [`Seq`] given at commit: whoever has read up to one misses nothing by asking
//! for what is newer.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use uuid::Uuid;

use crate::domain::history::{Audience, EntryMeta, NewEntry, Receipts};
use crate::domain::message::{MessageState, NewMessage, Origin, QueueSource, StoredMessage};
use crate::domain::queue::QueueRecord;
use crate::domain::session::{OpenSession, Session, SessionRoute};
use crate::domain::{
    AccountId, IdentityId, QueueError, QueueName, QueueNo, Seq, SessionKey, StoreError, Timestamp,
    UserId,
};

#[cfg(feature = "aws")]
pub mod aws;
pub mod broker;
pub mod embedded;
pub mod plane;
pub mod rooms;
pub mod stream;
#[cfg(test)]
pub(crate) mod testing;
pub mod topics;

/// A change on its way to disk. Dropping it does not take the change back.
pub type Commit<T> = BoxFuture<'static, Result<T, StoreError>>;

/// One change to a queue; a list of them is committed together or not at all.
#[derive(Debug, Clone)]
pub enum Change {
    /// A new message at the end of the queue. With a deduplication id, that is remembered until `sent` + 5 min.
    Send(NewMessage),
    /// The state of a message, replaced.
    State {
        /// Which message.
        seq: Seq,
        /// Where it is stored.
        origin: Origin,
        /// When the message expires, so that the state does not outlive it.
        expires: Timestamp,
        /// The new state.
        state: MessageState,
    },
    /// The message is gone from this queue.
    Delete {
        /// Which message.
        seq: Seq,
        /// Where it is stored.
        origin: Origin,
    },
    /// The message goes to the end of another queue with id, sent time, attributes and receive count; it is
    /// gone from this one. Nothing happens if it is not there.
    Move {
        /// Which message.
        seq: Seq,
        /// Where it is stored.
        origin: Origin,
        /// The other queue.
        to: QueueNo,
        /// When it expires there.
        expires: Timestamp,
        /// Set on the moved message.
        dead_letter_source: Option<Arc<str>>,
    },
    /// Broadcasts up to this one are covered: those that have no state row are deleted. Committed together
    /// with the state rows of those that are not deleted.
    Cursor(Seq),
    /// Envelope counters below this may have been used.
    Lease(u64),
}

/// A deduplication id that is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// `MessageDeduplicationId`.
    pub dedup: Arc<str>,
    /// Group it was sent to.
    pub group: Option<Arc<str>>,
    /// Id of the message that it was first used for.
    pub message: Uuid,
    /// That message's sequence number.
    pub seq: Seq,
    /// When it was sent.
    pub sent: Timestamp,
}

/// What the store has of a queue.
#[derive(Debug, Clone, Default)]
pub struct LoadedQueue {
    /// Messages, ascending by `seq`, expired ones left out.
    pub messages: Vec<StoredMessage>,
    /// The newest [`Change::Cursor`]: a broadcast after it has no state row yet.
    pub cursor: Seq,
    /// Deduplication ids of the last 5 minutes.
    pub remembered: Vec<Remembered>,
    /// The newest [`Change::Lease`]; `None` if there never was one.
    pub lease: Option<u64>,
}

/// Whom [`QueueStore::deliver`] reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipients {
    /// These queues, each with the time when the message expires there. The body is stored once.
    Queues(Vec<(QueueNo, Timestamp)>),
    /// Each session queue of the account that exists at commit.
    Account(AccountId),
    /// Each session queue that exists at commit.
    Everyone,
}

/// Messages in queues.
pub trait QueueStore: Send + Sync + 'static {
    /// Everything a queue has. Reads from disk: not for an event loop when the queue may be long. Bodies beyond
    /// the first MiB are left empty: ask [`QueueStore::body`] when they are needed.
    fn load(&self, source: QueueSource, now: Timestamp) -> Result<LoadedQueue, StoreError>;

    /// Messages after `after`, ascending by `seq`, broadcasts included. Bodies as with [`QueueStore::load`].
    fn newer(
        &self,
        source: QueueSource,
        after: Seq,
        now: Timestamp,
    ) -> Result<Vec<StoredMessage>, StoreError>;

    /// A message's text; `None` if it is gone.
    fn body(&self, queue: QueueNo, seq: Seq, origin: Origin) -> Result<Option<Bytes>, StoreError>;

    /// Whether the queue has `limit` messages of its own, or more.
    fn is_full(&self, queue: QueueNo, limit: u64, now: Timestamp) -> Result<bool, StoreError>;

    /// Commits changes to one queue, in order. Resolves to the `seq` of each [`Change::Send`], in order.
    fn commit(&self, queue: QueueNo, changes: Vec<Change>) -> Commit<Vec<Seq>>;

    /// Commits changes without waiting for the disk: they reach the operating system in order with all others
    /// (a killed process loses nothing), and the disk with the next [`QueueStore::commit`] or soon after.
    /// For receives: losing one only redelivers a message.
    fn commit_lazily(&self, queue: QueueNo, changes: Vec<Change>);

    /// Puts one message into many session queues, stored once.
    fn deliver(&self, to: Recipients, message: NewMessage) -> Commit<Seq>;
}

/// The names and attributes of queues.
pub trait QueueCatalog: Send + Sync + 'static {
    /// The queue of this name.
    fn find(&self, name: &QueueName) -> Result<Option<QueueRecord>, StoreError>;

    /// The queue of this number.
    fn get(&self, queue: QueueNo) -> Result<Option<QueueRecord>, StoreError>;

    /// Names that start with `prefix` and come after `after`, ascending, at most `limit`.
    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<QueueRecord>, StoreError>;

    /// Adds a queue; `no` and `since` of the record are given by the store. If the name is taken, the
    /// existing record comes back instead with `false`. The inner error: the name was deleted too recently.
    fn create(&self, record: QueueRecord) -> Commit<Result<(QueueRecord, bool), QueueError>>;

    /// Replaces attributes, tags and modification time of an existing queue, computed by `edit` from the newest
    /// record. The inner error is `edit`'s, or that there is no such queue.
    fn edit(&self, queue: QueueNo, edit: QueueEdit) -> Commit<Result<QueueRecord, QueueError>>;

    /// Removes the queue and, in time, its messages. `false` if there was none.
    fn delete(&self, queue: QueueNo, now: Timestamp) -> Commit<bool>;
}

/// An atomic change of a queue's record.
pub type QueueEdit = Box<dyn FnOnce(&mut QueueRecord) -> Result<(), QueueError> + Send>;

/// Sessions, their keys and identities.
pub trait SessionRegistry: Send + Sync + 'static {
    /// The session of this key.
    fn get(&self, key: &SessionKey) -> Result<Option<Session>, StoreError>;

    /// The session whose current access key this is.
    fn by_access_key(&self, access_key: &str) -> Result<Option<Session>, StoreError>;

    /// The session whose identity this is.
    fn by_identity(&self, identity: &IdentityId) -> Result<Option<Session>, StoreError>;

    /// Sessions of this id in any account.
    fn by_id(&self, session: &crate::domain::SessionId) -> Result<Vec<Session>, StoreError>;

    /// Sessions after `after` in order of account and id, at most `limit`; only the account's, if given.
    fn list(
        &self,
        account: Option<AccountId>,
        after: Option<&SessionKey>,
        limit: usize,
    ) -> Result<Vec<Session>, StoreError>;

    /// Every session's route, for the routing table at start.
    fn routes(&self, each: &mut dyn FnMut(SessionRoute)) -> Result<(), StoreError>;

    /// Creates, or refreshes: same queue, key and identity, new credentials. An expired session that was not
    /// yet swept counts as none. Resolves to the session and the one it replaced, if any.
    fn open(&self, open: OpenSession) -> Commit<Opened>;

    /// New credentials and life for an existing session; `None` if there is none or it has expired.
    fn renew(&self, renew: Renewal) -> Commit<Option<Session>>;

    /// Removes the session with its queue and identity; resolves to what was removed.
    fn close(&self, key: SessionKey, now: Timestamp) -> Commit<Option<Session>>;

    /// The same, if its `ttl` has passed: one that was opened anew meanwhile stays.
    fn reap(&self, key: SessionKey, now: Timestamp) -> Commit<Option<Session>>;

    /// Sessions whose `ttl` has passed, at most `limit`.
    fn expired(&self, now: Timestamp, limit: usize) -> Result<Vec<SessionKey>, StoreError>;
}

/// What [`SessionRegistry::open`] did.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The session as it is now.
    pub session: Session,
    /// As it was before, if it was refreshed.
    pub before: Option<Session>,
}

/// What [`SessionRegistry::renew`] needs.
#[derive(Debug, Clone)]
pub struct Renewal {
    /// Which session.
    pub key: SessionKey,
    /// The new keys; the old ones end.
    pub credentials: crate::domain::session::Credentials,
    /// The new end of life.
    pub ttl: Timestamp,
    /// Now.
    pub now: Timestamp,
}

/// Users' message history.
pub trait HistoryStore: Send + Sync + 'static {
    /// Keeps a message for its audience, stored once.
    fn append(&self, to: Audience, entry: NewEntry) -> Commit<Seq>;

    /// A user's entries after `after`, ascending by `seq`, expired ones left out. An entry whose id comes again
    /// later in the list is replaced by that.
    fn entries(
        &self,
        user: UserId,
        after: Seq,
        now: Timestamp,
    ) -> Result<Vec<EntryMeta>, StoreError>;

    /// An entry's text; `None` if it is gone.
    fn text(&self, user: UserId, seq: Seq, origin: Origin) -> Result<Option<Bytes>, StoreError>;

    /// Makes receipts: marks, notice and the end of a promise are committed together or not at all. A nearly full
    /// disk does not refuse them: each is for an entry that is stored already.
    fn mark_read(&self, user: UserId, receipt: Receipt) -> Commit<()>;

    /// Forgets entries that were replaced.
    fn forget(&self, user: UserId, entries: Vec<Seq>) -> Commit<()>;

    /// Remembers receipts that were promised and are still to be made.
    fn promise(&self, receipts: Receipts) -> Commit<Seq>;

    /// What was promised and not yet kept, oldest first.
    fn promised(&self) -> Result<Vec<(Seq, Receipts)>, StoreError>;
}

/// What [`HistoryStore::mark_read`] makes durable.
#[derive(Debug, Clone, Default)]
pub struct Receipt {
    /// The entries that are read from now on.
    pub marks: Vec<ReadMark>,
    /// What tells the user's sessions; `None` if there is nobody to tell.
    pub notice: Option<Delivery>,
    /// The promise that is kept with this, if it is the last of one.
    pub keeps: Option<Seq>,
}

/// A message and whom it reaches, as [`QueueStore::deliver`] takes them.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Whom.
    pub to: Recipients,
    /// What.
    pub message: NewMessage,
}

/// An entry that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadMark {
    /// Which entry.
    pub seq: Seq,
    /// Where it is stored.
    pub origin: Origin,
    /// When the entry expires, so that the mark does not outlive it.
    pub expires: Timestamp,
}

/// What a commit changed, told to those that keep something of it in memory or wait for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Touched {
    /// A queue has new messages.
    Queue(QueueNo),
    /// There is a new broadcast to every session.
    Everyone,
    /// There is a new broadcast to the account's sessions.
    Account(AccountId),
    /// A session was created, or refreshed or renewed from what it was before.
    Opened {
        /// As it is now.
        session: SessionRoute,
        /// As it was, if it was refreshed or renewed.
        before: Option<SessionRoute>,
    },
    /// A session is gone.
    Closed(SessionRoute),
}

/// Called on the committing thread after each commit, in commit order and before its answers: must return at once.
pub type OnTouched = Arc<dyn Fn(&[Touched]) + Send + Sync>;
