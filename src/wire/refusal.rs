//! Why a request was turned away before its operation ran; each wire says it in its own form.

use crate::auth::sigv4::AuthError;

/// A refusal by the front door. Its text may be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No signature, or one that does not hold.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// Known, but not allowed.
    #[error("Access denied.")]
    AccessDenied,
    /// The wire has no such operation; the name is empty if none was given.
    #[error("Unknown operation: {0}")]
    UnknownOperation(String),
    /// No such route.
    #[error("Not found.")]
    NotFound,
    /// The route does not answer this method.
    #[error("Method not allowed; allowed are {allow}.")]
    MethodNotAllowed {
        /// Value of the `Allow` header.
        allow: String,
    },
    /// The path is for WebSockets only.
    #[error("Ask for an upgrade to WebSocket, version 13.")]
    UpgradeRequired,
    /// The request can not be read; the text says what is wrong.
    #[error("{0}")]
    Malformed(String),
    /// The body is longer than this wire takes.
    #[error("The request body must not be longer than {limit_bytes} bytes.")]
    BodyTooLarge {
        /// The limit.
        limit_bytes: usize,
    },
    /// The query is longer than a route takes.
    #[error("The query must not be longer than {limit_bytes} bytes.")]
    QueryTooLong {
        /// The limit.
        limit_bytes: usize,
    },
    /// The headers are longer, or more, than is allowed.
    #[error("The request headers are too large.")]
    HeadersTooLarge,
    /// The body did not come in time.
    #[error("The request body did not arrive in time.")]
    Timeout,
    /// The session registry does not answer: try again later.
    #[error("The service is unavailable, try again later.")]
    Unavailable,
    /// A handler panicked.
    #[error("Internal error.")]
    Internal,
}

/// Status, code and text of a refusal, for JSON wires whose codes end in `Exception`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// HTTP status.
    pub status: u16,
    /// The code.
    pub code: &'static str,
    /// The text.
    pub message: String,
}

impl Refusal {
    /// What the REST routes answer, and with [`Told::json_1_1`] the JSON 1.1 services: WIRE 7's codes.
    pub fn told(&self) -> Told {
        let (status, code) = match self {
            Self::Auth(error) => auth_code(error),
            Self::AccessDenied => (403, "AccessDeniedException"),
            Self::UnknownOperation(_) => (400, "UnknownOperationException"),
            Self::NotFound => (404, "NotFoundException"),
            Self::MethodNotAllowed { .. } => (405, "MethodNotAllowedException"),
            Self::UpgradeRequired => (426, "UpgradeRequiredException"),
            Self::Malformed(_) => (400, "ValidationException"),
            Self::BodyTooLarge { .. } => (413, "RequestEntityTooLargeException"),
            Self::QueryTooLong { .. } => (414, "RequestUriTooLongException"),
            Self::HeadersTooLarge => (431, "RequestHeaderFieldsTooLargeException"),
            Self::Timeout => (408, "RequestTimeoutException"),
            Self::Unavailable => (503, "ServiceUnavailableException"),
            Self::Internal => (500, "InternalFailureException"),
        };
        Told {
            status,
            code,
            message: self.to_string(),
        }
    }
}

impl Told {
    /// The same as a JSON 1.1 service says it: what AWS answers with any of 401, 403, 404 or 405 is 400 there.
    #[must_use]
    pub fn json_1_1(self) -> Self {
        let status = match self.status {
            401 | 403 | 404 | 405 => 400,
            other => other,
        };
        Self { status, ..self }
    }
}

fn auth_code(error: &AuthError) -> (u16, &'static str) {
    match error {
        AuthError::MissingAuthentication => (403, "MissingAuthenticationTokenException"),
        AuthError::IncompleteSignature(_) => (403, "IncompleteSignatureException"),
        AuthError::InvalidClientToken => (403, "UnrecognizedClientException"),
        AuthError::SignatureDoesNotMatch(_)
        | AuthError::SignatureExpired { .. }
        | AuthError::SignatureNotYetCurrent { .. } => (403, "InvalidSignatureException"),
        AuthError::ExpiredToken => (403, "ExpiredTokenException"),
        AuthError::AccessDenied(_) => (403, "AccessDeniedException"),
    }
}
