//! Typed configuration in layers, and every limit.
