//! Fanfare relays messages to game clients, chat rooms and signed-in users, speaking AWS's own
//! wire protocols. One binary; see ARCHITECTURE.md for one message drawn from wire to wire.
//!
//! The modules in reading order; arrows point inward, `wire → actors → backends → domain`:

pub mod domain;

pub mod envelope;

pub mod backends;

pub mod actors;

pub mod auth;

pub mod wire;

pub mod config;

pub mod observe;

pub mod app;

pub mod cli;
