//! Every kind of credential that a request can come with, and what has to come of it: default deny is walked with
//! these over whatever can be called.

use crate::auth::Access;
use crate::auth::sigv4::{AuthError, Mismatch};
use crate::domain::Timestamp;
use crate::domain::session::Credentials;
use crate::wire::Refusal;

use super::{keys, operator, signed};

/// What a caller can come with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    Nothing,
    HalfAQuery,
    OtherScheme,
    Garbage,
    BadSignature,
    UnknownKey,
    ExpiredKey,
    ReplacedKey,
    DestroyedKey,
    TokenOfAnother,
    NoToken,
    OtherService,
    Guest,
    Session,
    Operator,
}

impl Proof {
    /// All kinds.
    pub(crate) const ALL: [Self; 15] = [
        Self::Nothing,
        Self::HalfAQuery,
        Self::OtherScheme,
        Self::Garbage,
        Self::BadSignature,
        Self::UnknownKey,
        Self::ExpiredKey,
        Self::ReplacedKey,
        Self::DestroyedKey,
        Self::TokenOfAnother,
        Self::NoToken,
        Self::OtherService,
        Self::Guest,
        Self::Session,
        Self::Operator,
    ];

    /// The refusal; `None` where the handler runs.
    pub(crate) fn refusal(self, access: Access) -> Option<Refusal> {
        let wrong = AuthError::SignatureDoesNotMatch(Mismatch::Signature);
        Some(match (self, access) {
            (Self::Operator, _)
            | (Self::Session, Access::Public | Access::Signed | Access::OperatorOrOwner)
            | (Self::Guest, Access::Public | Access::Signed)
            | (Self::Nothing | Self::OtherScheme, Access::Public) => return None,
            (Self::Session, Access::Operator)
            | (Self::Guest, Access::Operator | Access::OperatorOrOwner) => Refusal::AccessDenied,
            (Self::Nothing | Self::OtherScheme | Self::HalfAQuery, _) => {
                AuthError::MissingAuthentication.into()
            }
            (Self::Garbage, _) => AuthError::IncompleteSignature("").into(),
            (
                Self::BadSignature
                | Self::UnknownKey
                | Self::ReplacedKey
                | Self::DestroyedKey
                | Self::OtherService,
                _,
            ) => wrong.into(),
            (Self::TokenOfAnother | Self::NoToken, _) => AuthError::InvalidClientToken.into(),
            (Self::ExpiredKey, _) => AuthError::ExpiredToken.into(),
        })
    }

    /// What goes into the query beside the headers.
    pub(crate) fn query(self) -> &'static str {
        match self {
            Self::HalfAQuery => "X-Amz-Credential=FANFAREDEV",
            _ => "",
        }
    }
}

/// Keys of sessions in every state.
#[derive(Debug, Clone)]
pub(crate) struct Keyring {
    pub(crate) session: Credentials,
    /// Of a session that is still there.
    pub(crate) expired: Credentials,
    /// The ones that a renewal has replaced.
    pub(crate) replaced: Credentials,
    /// Of a session that was removed.
    pub(crate) destroyed: Credentials,
    /// That carry their own claims.
    pub(crate) guest: Credentials,
    /// Of another session than the first.
    pub(crate) other: Credentials,
}

impl Keyring {
    /// The headers of a request that comes with `proof`.
    pub(crate) fn headers(
        &self,
        proof: Proof,
        service: &str,
        line: (&str, &str),
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Vec<(String, String)> {
        let plain = || headers.iter().map(|(n, v)| ((*n).into(), (*v).into()));
        let authorization = |text: &str| {
            let added = ("authorization".to_owned(), text.to_owned());
            plain().chain([added]).collect()
        };
        let keys = match proof {
            Proof::Nothing | Proof::HalfAQuery => return plain().collect(),
            Proof::OtherScheme => return authorization("Bearer FANFAREDEV"),
            Proof::Garbage => return authorization("AWS4-HMAC-SHA256 Credential=FANFAREDEV"),
            Proof::OtherService => return signed(&operator(), "s3", line, headers, body),
            Proof::BadSignature => Credentials {
                secret_key: format!("{}x", self.session.secret_key),
                ..self.session.clone()
            },
            Proof::UnknownKey => keys::issue(Timestamp(u64::MAX)),
            Proof::TokenOfAnother => Credentials {
                session_token: self.other.session_token.clone(),
                ..self.session.clone()
            },
            Proof::NoToken => Credentials {
                session_token: String::new(),
                ..self.session.clone()
            },
            Proof::ExpiredKey => self.expired.clone(),
            Proof::ReplacedKey => self.replaced.clone(),
            Proof::DestroyedKey => self.destroyed.clone(),
            Proof::Guest => self.guest.clone(),
            Proof::Session => self.session.clone(),
            Proof::Operator => operator(),
        };
        signed(&keys, service, line, headers, body)
    }
}
