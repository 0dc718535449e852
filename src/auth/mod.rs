//! Who is calling, and may they: SigV4 verification, temporary keys, access decisions.

pub mod caller;

pub mod sigv4;

pub use caller::{Access, Caller, Denied, Grant};
