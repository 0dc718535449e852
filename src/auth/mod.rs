//! Who is calling, and may they: SigV4 verification, temporary keys, access decisions.

pub mod authenticate;

pub mod caller;

pub mod keys;

pub mod sigv4;

#[cfg(test)]
pub(crate) mod testing;

pub use authenticate::{Authenticator, OperatorKey, Unauthenticated};
pub use caller::{Access, Caller, Denied, Grant};
