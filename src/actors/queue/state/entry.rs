//! A message of a queue, and how it stands.

use std::time::Duration;

use crate::domain::message::{MessageState, NewMessage, Origin};
use crate::domain::{Seq, Timestamp};

/// A message may stay invisible for this long after it was handed out, extensions included.
pub(in super::super) const MAX_IN_FLIGHT: Duration = Duration::from_secs(43_200);

/// A message of the queue.
#[derive(Debug)]
pub(in super::super) struct Entry {
    /// Where it is stored.
    pub(in super::super) origin: Origin,
    /// What was sent; the body is empty when it is not kept in memory.
    pub(in super::super) message: NewMessage,
    /// The state as of the newest change.
    pub(in super::super) state: MessageState,
    /// When it was handed out last; unknown after a reload.
    pub(super) received: Option<Timestamp>,
    /// Where it is in the queue's order of things.
    pub(in super::super) place: Place,
}

/// Where a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Place {
    /// Can be handed out.
    Ready,
    /// Delayed or in flight, until `visible_at`.
    Hidden,
    /// Its deletion or move is on the way to disk.
    Leaving,
}

impl Entry {
    /// Whether the message is in a consumer's hands, or on its way out.
    pub(super) fn held(&self) -> bool {
        match self.place {
            Place::Ready => false,
            Place::Hidden => self.state.receive_count > 0,
            Place::Leaving => true,
        }
    }
}

/// How a message stands to a receipt handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Standing {
    /// Deleted, expired, or never here.
    Gone,
    /// Its deletion is on the way to disk.
    Leaving,
    /// Handed out again since: the handle is an older one.
    Newer,
    /// The visibility timeout has passed.
    Visible,
    /// In flight under this handle.
    InFlight,
}

/// What [`super::State::pick`] found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Picked {
    /// To hand out, in order.
    pub(in super::super) hand: Vec<Seq>,
    /// Handed out too often already: for the dead-letter queue.
    pub(in super::super) dead: Vec<Seq>,
}

/// How a message is handed out.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct HandOut {
    /// Now.
    pub(in super::super) now: Timestamp,
    /// Not handed out again before.
    pub(in super::super) visible_at: Timestamp,
    /// The new receipt.
    pub(in super::super) receipt: u64,
    /// The envelope's counter, if it was sealed.
    pub(in super::super) counter: Option<u64>,
}

impl HandOut {
    pub(super) fn place(self) -> Place {
        if self.visible_at > self.now {
            Place::Hidden
        } else {
            Place::Ready
        }
    }
}
