//! Everything composed, in process: what the real door lets whom do.
