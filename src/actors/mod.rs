//! Dispatcher, session, queue, user and history actors.

pub mod queue;
pub mod session;
