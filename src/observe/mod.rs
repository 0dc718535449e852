//! Metrics, logging and health.
