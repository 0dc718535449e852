//! What the session plane asks of a backend, at the level of what its callers want to know.
//!
//! The traits of [`super`] are about rows: their reads come at once, and one thread commits. A backend on services
//! elsewhere can promise neither, so the session manager, the dispatchers and the history routes speak to these three,
//! which only ever answer later. The embedded backend answers them with what it has: its registry
//! ([`SessionDirectory`] is implemented for every [`SessionRegistry`]), its dispatcher's `Neighbours` and its users'
//! actors.

#[cfg(test)]
pub(crate) mod contract;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::{Opened, Renewal, SessionRegistry};
use crate::domain::history::{Page, Query, Unread};
use crate::domain::session::{OpenSession, Session};
use crate::domain::{
    MessageId, QueueName, SessionId, SessionKey, StoreError, Target, Timestamp, UserId,
};

/// An answer that comes later. Dropping it may or may not take back what was asked.
pub type Reply<T> = BoxFuture<'static, Result<T, StoreError>>;

/// A backend with a [`SessionRegistry`] answers from that; another has its own way.
///
/// What a reply says was done is durable, and seen by every reply that is asked for afterwards, on whichever node.
pub trait SessionDirectory: Send + Sync + 'static {
    /// The session of this key, expired ones too as long as nobody has removed them.
    fn find(&self, key: SessionKey) -> Reply<Option<Session>>;

    /// The session whose current access key this is. Never one whose key was replaced.
    fn holder(&self, access_key: String) -> Reply<Option<Session>>;

    /// Sessions after `after` in an order of the backend's own, at most `limit`; fewer only at the end.
    fn after(&self, after: Option<SessionKey>, limit: usize) -> Reply<Vec<Session>>;

    /// Creates, or refreshes: same queue, key and identity, new credentials. A backend whose keys come from elsewhere
    /// gives its own in place of those asked for, which end when those would.
    fn open(&self, open: OpenSession) -> Reply<Opened>;

    /// New credentials and life for an existing session; `None` if there is none or it has expired. About the
    /// credentials as with [`SessionDirectory::open`].
    fn renew(&self, renewal: Renewal) -> Reply<Option<Session>>;

    /// Removes the session with its queue; resolves to what was removed. Asked again after a failure it goes on.
    fn close(&self, key: SessionKey, now: Timestamp) -> Reply<Option<Session>>;

    /// The same, if its `ttl` has passed: one that was opened anew meanwhile stays.
    fn reap(&self, key: SessionKey, now: Timestamp) -> Reply<Option<Session>>;

    /// Sessions whose `ttl` has passed, at most `limit`, or the next of them: `after` is [`Lapsed::next`] of the part before,
    /// all of which has been reaped. One whose time has only just passed may be left for another time.
    fn lapsed(&self, now: Timestamp, after: Option<SessionKey>, limit: usize) -> Reply<Lapsed>;

    /// Removes queues with this prefix that no session owns; resolves to how many there were. There are none where a session
    /// and its queue come in one transaction.
    fn reap_queues(&self, _prefix: String, _now: Timestamp) -> Reply<u64> {
        at_once(Ok(0))
    }
}

impl<R: SessionRegistry> SessionDirectory for R {
    fn find(&self, key: SessionKey) -> Reply<Option<Session>> {
        at_once(self.get(&key))
    }

    fn holder(&self, access_key: String) -> Reply<Option<Session>> {
        at_once(self.by_access_key(&access_key))
    }

    fn after(&self, after: Option<SessionKey>, limit: usize) -> Reply<Vec<Session>> {
        at_once(self.list(None, after.as_ref(), limit))
    }

    fn open(&self, open: OpenSession) -> Reply<Opened> {
        SessionRegistry::open(self, open)
    }

    fn renew(&self, renewal: Renewal) -> Reply<Option<Session>> {
        SessionRegistry::renew(self, renewal)
    }

    fn close(&self, key: SessionKey, now: Timestamp) -> Reply<Option<Session>> {
        SessionRegistry::close(self, key, now)
    }

    fn reap(&self, key: SessionKey, now: Timestamp) -> Reply<Option<Session>> {
        SessionRegistry::reap(self, key, now)
    }

    /// There is an index of them, which those that were reaped have left.
    fn lapsed(&self, now: Timestamp, _: Option<SessionKey>, limit: usize) -> Reply<Lapsed> {
        at_once(self.expired(now, limit).map(|sessions| Lapsed {
            rows: sessions.len() as u64,
            next: sessions.last().filter(|_| sessions.len() == limit).cloned(),
            sessions,
        }))
    }
}

/// A part of the sessions whose time has passed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Lapsed {
    /// The sessions.
    pub sessions: Vec<SessionKey>,
    /// Where the next part begins; `None` at the end.
    pub next: Option<SessionKey>,
    /// Rows that were read to find them.
    pub rows: u64,
}

fn at_once<T: Send + 'static>(known: Result<T, StoreError>) -> Reply<T> {
    Box::pin(std::future::ready(known))
}

/// A message on its way to its sessions and their users' history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parcel {
    /// Whom it is for.
    pub target: Target,
    /// Its id, which history keeps it under.
    pub message_id: MessageId,
    /// The message's `_type`.
    pub kind: Option<Box<str>>,
    /// Whether history keeps it.
    pub keep: bool,
    /// The message as queues hold it before it is sealed: a JSON object in ASCII.
    pub body: Bytes,
    /// The message as history keeps it.
    pub text: Bytes,
    /// When it was accepted.
    pub now: Timestamp,
}

/// A queue as whoever was answered finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueAddress {
    /// Its name.
    pub name: QueueName,
    /// Its URL, if it is not at this server.
    pub url: Option<Arc<str>>,
}

/// What became of a [`Parcel`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Relayed {
    /// How many sessions it is for.
    pub sessions: u64,
    /// The first of their queues.
    pub queues: Vec<QueueAddress>,
    /// Sessions whose queue is full: they do not get it.
    pub refused: Vec<SessionId>,
}

/// Why a [`Parcel`] was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RelayError {
    /// Every session it is for has a full queue.
    #[error("the queue of every session this message is for is full")]
    QueuesFull,
    /// Longer than history can keep.
    #[error("the message has {length} bytes, history keeps at most {most}")]
    TooLong {
        /// Its length, in bytes.
        length: usize,
        /// What is allowed.
        most: usize,
    },
    /// The store refused or failed. Some of the sessions may have the message: whoever sends it again sends them a
    /// second.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A parcel that was handed over.
pub type Relaying = BoxFuture<'static, Result<Relayed, RelayError>>;

/// Takes messages to sessions.
pub trait MessageRelay: Send + Sync + 'static {
    /// Hands a message over. The answer comes once it is durable in the queue of each session it is for and, if it is to
    /// be kept, in history, or with whoever takes it there as soon as that can be; what fails on the one side does not keep
    /// the other from going on.
    ///
    /// # Errors
    /// [`RelayError`], here if nothing was handed over at all.
    fn relay(&self, parcel: Parcel) -> Result<Relaying, RelayError>;

    /// Hands messages over in this order, which is the order in which each session is sent those that are for it.
    fn relay_all(&self, parcels: Vec<Parcel>) -> Vec<Result<Relaying, RelayError>> {
        let relay = |parcel| self.relay(parcel);
        parcels.into_iter().map(relay).collect()
    }
}

/// Users' history, as its routes ask for it.
pub trait UserHistory: Send + Sync + 'static {
    /// Entries, newest first; never one that has expired.
    fn page(&self, user: UserId, query: Query) -> Reply<Page>;

    /// How many entries are not read, exactly.
    fn unread(&self, user: UserId) -> Reply<usize>;

    /// Makes receipts and tells the user's sessions; resolves to the ids that changed.
    fn set_read(&self, user: UserId, which: Unread) -> Reply<Vec<MessageId>>;

    /// The same, but answered as soon as it is sure to be done.
    fn set_read_later(&self, user: UserId, which: Unread) -> Reply<()>;
}
