//! Seals messages for a session and opens them again (SEMANTICS 5).
