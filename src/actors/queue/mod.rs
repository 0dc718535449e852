//! The queue actor: one per active queue, loaded when used and let go when idle.
//!
//! In reading order: [`Queues`] is what the wires see; `messages` what can be asked; `directory` which queues
//! have an actor, and how it is started and replaced; `actor`, `serve` and `change` the actor itself;
//! `state`, `waiters`, `dedup` and `handle` its pure parts; `kind` what differs for a session's queue;
//! `view` what is shown to whoever looks after the server; `moves` message move tasks; `herald` wakes sessions for broadcasts.
//!
//! What an answer promises: a send, delete, change of visibility, purge or move is on disk. A receive is not:
//! if the machine loses power right after it, its messages become visible again sooner than promised, which
//! "at least once" allows; they are never lost by it.

mod actor;
mod ask;
mod catalogue;
mod change;
mod dedup;
mod directory;
mod handle;
mod herald;
mod kind;
mod moves;
mod queues;
mod serve;
mod state;
mod view;
mod waiters;

pub mod messages;

#[cfg(test)]
mod double;
#[cfg(test)]
pub(in crate::actors) mod testing;
#[cfg(test)]
mod tests;

pub use actor::QueueActor;
pub use directory::{QueuesConfig, Sealers};
pub use kind::{Kind, Outward, Plain};
pub use queues::Queues;
