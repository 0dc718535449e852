//! Metrics, logging, health, and what becomes of single messages.

pub mod findings;
pub mod health;
pub mod logging;
pub mod metrics;
pub mod traces;
