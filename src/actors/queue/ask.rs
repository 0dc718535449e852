//! What the actor is told: the requests of `messages.rs`, each with the place for its answer.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::messages::{
    ChangeVisibility, Delete, PerEntry, QueueView, Receive, Received, Send, Sent,
};
use crate::domain::queue::{QueueCounts, QueueRecord};
use crate::domain::{QueueError, Timestamp};

/// Where an answer goes. Closed when whoever asked has gone away; dropped unanswered when the actor ends.
pub(super) type Reply<T> = oneshot::Sender<Result<T, QueueError>>;

/// One request. They share a type so that the mailbox of any kind of queue is one `Recipient`.
pub(super) enum Ask {
    /// `SendMessage`.
    Send(Arc<Send>, Reply<PerEntry<Sent>>),
    /// `ReceiveMessage`.
    Receive {
        /// What was asked.
        request: Arc<Receive>,
        /// When a long poll ends; `None` for a short one.
        deadline: Option<Timestamp>,
        /// The answer.
        reply: Reply<Vec<Received>>,
    },
    /// Messages whose receiver had gone before it saw them: these handles were never used.
    GiveBack(Vec<String>),
    /// `DeleteMessage`.
    Delete(Arc<Delete>, Reply<PerEntry<()>>),
    /// `ChangeMessageVisibility`.
    ChangeVisibility(Arc<ChangeVisibility>, Reply<PerEntry<()>>),
    /// `PurgeQueue`.
    Purge(Reply<()>),
    /// The counts of `GetQueueAttributes`.
    Counts(Reply<QueueCounts>),
    /// What there is, for whoever looks after the server: the first so many messages.
    Look(usize, Reply<QueueView>),
    /// One step of a move task.
    MoveOut {
        /// At most so many messages.
        max: usize,
        /// Where to; `None`: each goes back to the queue it was a dead letter of.
        to: Option<Arc<QueueRecord>>,
        /// How many were moved; 0 when there was none left.
        reply: Reply<usize>,
    },
    /// Nothing by itself: the flags beside the mailbox say what happened.
    Wake,
}

impl actix::Message for Ask {
    type Result = ();
}
