//! Metrics, logging and health.

pub mod health;
pub mod logging;
pub mod metrics;
