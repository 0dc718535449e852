//! Whom a message is for.

use super::{AccountId, SessionId, UserId};

/// The routing fields of a message (SEMANTICS 4): all optional, combined with AND; none means everyone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Target {
    /// Only sessions of this account.
    pub account: Option<AccountId>,
    /// Only sessions of this user.
    pub user: Option<UserId>,
    /// Only the session of this id.
    pub session: Option<SessionId>,
}
