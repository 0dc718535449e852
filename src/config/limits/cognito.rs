//! Cognito's limits (WIRE 3); past one, `InvalidParameterException`.

/// Logins of one `GetCredentialsForIdentity`.
pub const LOGINS: usize = 10;
/// Identities that one `DeleteIdentities` names.
pub const IDENTITIES: usize = 60;
/// Ours: bytes of a body. Ten login tokens of 50,000 characters, the most that AWS takes, fit; beyond: 413.
pub const BODY_BYTES: usize = 1024 * 1024;
