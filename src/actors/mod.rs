//! Dispatcher, session, queue, user and history actors.
