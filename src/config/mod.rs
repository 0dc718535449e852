//! Typed configuration in layers, and every limit.

pub mod limits;
