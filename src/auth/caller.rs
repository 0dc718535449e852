//! Callers and the decision that every route and operation must make.

use std::sync::Arc;

use crate::domain::queue::QueueRecord;
use crate::domain::session::Session;
use crate::domain::{QueueName, UserId};

use super::issue::Claims;

/// Who a verified request comes from.
#[derive(Debug, Clone)]
pub enum Caller {
    /// Holds the operator keys.
    Operator {
        /// The access key id.
        access_key: Arc<str>,
    },
    /// Holds a session's current keys.
    Session(Arc<Session>),
    /// Holds keys that were made for a guest or a role.
    Issued(Arc<Claims>),
    /// Sent no signature at all. (A wrong signature never gets as far as having a caller.)
    Anonymous,
}

/// What a route or operation asks of its caller. There is no default: a route can not be declared without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anyone, signed or not.
    Public,
    /// Anyone with keys that hold.
    Signed,
    /// The operator only.
    Operator,
    /// The operator, or a session for what is its own; the operation names the thing by
    /// [`Grant::queue`] or [`Grant::user`] before it touches it.
    OperatorOrOwner,
}

/// The caller may not do this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("access denied")]
pub struct Denied;

/// Proof that an access decision was made; only [`Access::decide`] makes one.
#[derive(Debug, Clone)]
pub struct Grant {
    caller: Caller,
}

impl Access {
    /// Decides.
    ///
    /// # Errors
    /// [`Denied`] if the caller is not of the kind asked for.
    pub fn decide(self, caller: Caller) -> Result<Grant, Denied> {
        match (self, &caller) {
            (Access::Public, _)
            | (Access::Signed, Caller::Operator { .. } | Caller::Session(_) | Caller::Issued(_))
            | (Access::Operator | Access::OperatorOrOwner, Caller::Operator { .. })
            | (Access::OperatorOrOwner, Caller::Session(_)) => Ok(Grant { caller }),
            (Access::Operator, Caller::Session(_))
            | (Access::Operator | Access::OperatorOrOwner, Caller::Issued(_))
            | (Access::Signed | Access::Operator | Access::OperatorOrOwner, Caller::Anonymous) => {
                Err(Denied)
            }
        }
    }
}

impl Grant {
    /// The caller.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// May the caller use this queue? Asked by name, before it is known whether the queue exists, so that a
    /// session learns nothing about queues that are not its own.
    ///
    /// # Errors
    /// [`Denied`] unless it is the operator or the queue's own session.
    pub fn queue_named(&self, name: &QueueName) -> Result<(), Denied> {
        match &self.caller {
            Caller::Operator { .. } => Ok(()),
            Caller::Session(session) if session.queue_name == *name => Ok(()),
            Caller::Session(_) | Caller::Issued(_) | Caller::Anonymous => Err(Denied),
        }
    }

    /// May the caller use this queue?
    ///
    /// # Errors
    /// [`Denied`] unless it is the operator or the queue's own session.
    pub fn queue(&self, queue: &QueueRecord) -> Result<(), Denied> {
        self.queue_named(&queue.name)
    }

    /// May the caller read and receipt this user's history?
    ///
    /// # Errors
    /// [`Denied`] unless it is the operator or a session of that user.
    pub fn user(&self, user: UserId) -> Result<(), Denied> {
        match &self.caller {
            Caller::Operator { .. } => Ok(()),
            Caller::Session(session) if session.user == Some(user) => Ok(()),
            Caller::Session(_) | Caller::Issued(_) | Caller::Anonymous => Err(Denied),
        }
    }
}
