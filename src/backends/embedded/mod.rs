//! The embedded backend: one fjall database in this process.
