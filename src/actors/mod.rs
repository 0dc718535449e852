//! Dispatcher, session, queue, user and history actors.

pub mod dispatcher;
pub mod history;
pub mod queue;
pub mod user;
