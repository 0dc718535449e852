//! The queue actor: one per active queue, loaded when used and let go when idle.

pub mod messages;
