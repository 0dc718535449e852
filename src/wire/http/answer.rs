//! Answers of the REST routes: `{"success":…}` (SEMANTICS 9), and the one place where errors get a status.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header;
use serde::Serialize;
use utoipa::ToSchema;

use crate::actors::dispatcher::DispatchError;
use crate::actors::dispatcher::posted::InvalidMessage;
use crate::actors::registrar::CreateError;
use crate::auth::Denied;
use crate::domain::StoreError;

/// Why a request failed.
#[derive(Debug, Serialize, ToSchema)]
pub struct Failure {
    /// `false`.
    #[schema(example = false)]
    pub success: bool,
    /// What is wrong, naming the field.
    pub message: String,
    /// Stable code.
    #[schema(example = "ValidationException")]
    pub code: &'static str,
}

/// A request that can not be answered as asked.
#[derive(Debug)]
pub(super) struct Refused {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// Whether the same request may succeed soon.
    temporary: bool,
}

/// What a handler gives back.
pub(super) type Answer = Result<HttpResponse, Refused>;

impl Refused {
    /// For good: the same request will be refused again.
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            temporary: false,
        }
    }

    /// The request is wrong; the text names the field.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "ValidationException", message)
    }

    /// There is none; the text says of what.
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", message)
    }

    /// For the moment: the same request may succeed soon.
    pub(super) fn temporary(
        status: StatusCode,
        code: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            temporary: true,
            ..Self::new(status, code, message)
        }
    }

    /// As HTTP.
    pub(super) fn respond(self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        if self.temporary {
            response.insert_header((header::RETRY_AFTER, "1"));
        }
        response.insert_header(("x-amzn-ErrorType", self.code));
        response.json(Failure {
            success: false,
            message: self.message,
            code: self.code,
        })
    }
}

/// Turns a handler's result into a response.
pub(super) fn respond(answer: Answer) -> HttpResponse {
    answer.unwrap_or_else(Refused::respond)
}

/// `200` with a body.
pub(super) fn ok(body: &impl Serialize) -> Answer {
    Ok(HttpResponse::Ok().json(body))
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Overloaded => Self::temporary(
                StatusCode::TOO_MANY_REQUESTS,
                "ThrottlingException",
                error.to_string(),
            ),
            StoreError::Full(_) => {
                let text = "the store is full, nothing new is accepted until there is space again";
                Self::temporary(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "ServiceUnavailableException",
                    text,
                )
            }
            StoreError::Unavailable(_) => {
                tracing::warn!(%error, "a request was refused for the moment");
                let text = "a service that this needs does not answer, nothing was acknowledged";
                Self::temporary(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "ServiceUnavailableException",
                    text,
                )
            }
            StoreError::Failed(_) | StoreError::Corrupt(_) => {
                tracing::error!(%error, "a request failed");
                let text = "the store does not answer";
                Self::temporary(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "ServiceUnavailableException",
                    text,
                )
            }
        }
    }
}

impl From<DispatchError> for Refused {
    fn from(error: DispatchError) -> Self {
        let text = error.to_string();
        match error {
            DispatchError::Invalid(InvalidMessage::TooLong { .. }) => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "RequestEntityTooLargeException",
                text,
            ),
            DispatchError::Invalid(_) => Self::invalid(text),
            DispatchError::QueuesFull | DispatchError::Overloaded => {
                Self::temporary(StatusCode::TOO_MANY_REQUESTS, "ThrottlingException", text)
            }
            DispatchError::Store(error) => error.into(),
        }
    }
}

impl From<InvalidMessage> for Refused {
    fn from(error: InvalidMessage) -> Self {
        DispatchError::from(error).into()
    }
}

impl From<CreateError> for Refused {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::TooMany(_) => Self::temporary(
                StatusCode::TOO_MANY_REQUESTS,
                "LimitExceededException",
                error.to_string(),
            ),
            CreateError::Name(text) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "InternalFailureException",
                text,
            ),
            CreateError::Store(error) => error.into(),
        }
    }
}

impl From<Denied> for Refused {
    fn from(_: Denied) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "AccessDeniedException",
            "Access denied.",
        )
    }
}
