//! The queue actor: one per active queue, loaded when used and let go when idle.

mod queues;

pub mod messages;

pub use queues::Queues;
