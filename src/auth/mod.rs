//! Who is calling, and may they: SigV4 verification, temporary keys, access decisions, and what principals may do with
//! topics.

pub mod authenticate;

pub mod caller;

pub mod issue;

pub mod keys;

pub mod login;

pub mod policy;

pub mod presign;

pub mod principal;

pub mod rulebook;

pub mod seal;

pub mod sigv4;

pub mod standing;

pub mod throttle;

pub mod upgrade;

pub mod versions;

#[cfg(test)]
pub(crate) mod testing;

pub use authenticate::{Authenticator, OperatorKey, Rights, Unauthenticated};
pub use caller::{Access, Caller, Denied, Grant};
pub use issue::{Claims, IssueError, Who};
pub use login::LoginError;
pub use presign::{RESERVED, presign};
pub use principal::{Connection, Principal, session_name};
pub use rulebook::Rulebook;
pub use seal::Seal;
pub use upgrade::{Recheck, Revoked};
pub use versions::Versions;
