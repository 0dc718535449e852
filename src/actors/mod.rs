//! Dispatcher, session, queue, user and history actors.

pub mod dispatcher;
pub mod finder;
pub mod history;
pub mod panics;
pub mod per_worker;
pub mod queue;
pub mod registrar;
pub mod session;
#[cfg(test)]
pub(crate) mod testing;
pub mod topic;
pub mod user;
