//! What can be asked of the dispatcher.

use std::fmt;

use actix::Message;
use futures_util::future::BoxFuture;

use super::posted::{InvalidMessage, Posted};
use crate::backends::Delivery;
use crate::backends::plane::{QueueAddress, RelayError, Relaying};
use crate::domain::{Clock, MessageId, SessionId, StoreError, Timestamp};

/// Deliver a message and keep it in history. The answer is a message on its way to disk.
#[derive(Debug, Message)]
#[rtype(result = "Result<Dispatching, DispatchError>")]
pub struct Dispatch {
    /// The message.
    pub posted: Posted,
    /// Its id if the sender gave none; `None` derives one from time and content.
    pub fallback_id: Option<MessageId>,
}

/// The same for many messages, which are handed over in this order.
#[derive(Debug, Message)]
#[rtype(result = "Vec<Result<Dispatching, DispatchError>>")]
pub struct DispatchAll(pub Vec<Dispatch>);

/// Say where a message goes and what it looks like, and leave it to the asker to store it together with something else.
/// For messages that no history keeps.
#[derive(Debug, Message)]
#[rtype(result = "Result<Addressed, DispatchError>")]
pub struct Address(pub Posted);

/// A message on its way to nobody yet.
#[derive(Debug, Clone)]
pub struct Addressed {
    /// What to store; `None` if there is no session that can take it.
    pub delivery: Option<Delivery>,
    /// Sessions whose queue is full: they do not get it.
    pub refused: Vec<SessionId>,
}

/// A message that was handed over: resolves once it is on disk everywhere. Who asked waits for it, not the actor and
/// no task of its own, so that the commit wakes only whoever has the answer to give. Dropping it takes nothing back.
pub struct Dispatching(pub(super) BoxFuture<'static, Result<Dispatched, DispatchError>>);

impl Dispatching {
    /// A message that was handed over, and when it was begun with.
    pub(super) fn of(
        message_id: MessageId,
        relaying: Relaying,
        (clock, begun): (Clock, Timestamp),
    ) -> Self {
        Self(Box::pin(async move {
            let relayed = relaying.await?;
            metrics::counter!("fanfare_messages_dispatched_total").increment(1);
            metrics::histogram!("fanfare_dispatch_seconds")
                .record(clock.now().since(begun).as_secs_f64());
            Ok(Dispatched {
                message_id,
                sessions: relayed.sessions,
                queues: relayed.queues,
                refused: relayed.refused,
            })
        }))
    }
}

impl fmt::Debug for Dispatching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatching").finish_non_exhaustive()
    }
}

/// A message that is on disk in every queue it is for, and in history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispatched {
    /// Its id.
    pub message_id: MessageId,
    /// How many sessions it is for.
    pub sessions: u64,
    /// The first of their queues.
    pub queues: Vec<QueueAddress>,
    /// Sessions whose queue is full: they do not get it.
    pub refused: Vec<SessionId>,
}

/// Why a message was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DispatchError {
    /// The message itself is wrong.
    #[error(transparent)]
    Invalid(#[from] InvalidMessage),
    /// Every session it is for has a full queue.
    #[error("the queue of every session this message is for is full")]
    QueuesFull,
    /// More is waiting than is allowed: try again later.
    #[error("too many messages are waiting to be dispatched")]
    Overloaded,
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<RelayError> for DispatchError {
    fn from(error: RelayError) -> Self {
        match error {
            RelayError::QueuesFull => Self::QueuesFull,
            RelayError::TooLong { length, most } => InvalidMessage::TooLong { length, most }.into(),
            RelayError::Store(error) => error.into(),
        }
    }
}
