//! The traits behind which state lives, and the embedded backend.
