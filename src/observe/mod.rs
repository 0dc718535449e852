//! Metrics, logging and health.

pub mod findings;
pub mod health;
pub mod logging;
pub mod metrics;
