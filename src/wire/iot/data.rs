//! AWS IoT's data plane over HTTP (WIRE 4.1): publishing, and reading retained messages.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::{Method, StatusCode, header};
use serde_json::{Value, json};

use crate::actors::topic::Topics;
use crate::auth::{Access, Authenticator, Connection, Principal};
use crate::domain::policy;
use crate::domain::topic::TopicName;
use crate::domain::{Clock, StoreError};
use crate::wire::front::ERROR_TYPE;
use crate::wire::{Call, Route};

mod get_retained_message;
mod list_retained_messages;
mod publish;
mod rooms;

pub use rooms::ROOM_ROUTES;

/// What the routes work with.
pub struct DataState {
    /// The topics.
    pub topics: Topics,
    /// Says what a caller may do with them.
    pub authenticator: Arc<Authenticator>,
    /// When something was published.
    pub clock: Clock,
    /// Longest payload.
    pub max_payload_bytes: usize,
    /// Longest client id.
    pub max_client_id_bytes: usize,
}

const GET: &[Method] = &[Method::GET];
const POST: &[Method] = &[Method::POST];

/// Routes that are signed for `iotdata`. Whoever has keys may call them; the policy of the keys decides about the topic.
pub static DATA_ROUTES: &[Route<DataState>] = &[
    Route {
        methods: POST,
        path: "/topics/{topic*}",
        access: Access::Signed,
        handler: |state, call| Box::pin(async move { told(publish::call(&state, &call).await) }),
    },
    Route {
        methods: GET,
        path: "/retainedMessage/{topic*}",
        access: Access::Signed,
        handler: |state, call| {
            Box::pin(async move { told(get_retained_message::call(&state, &call)) })
        },
    },
    Route {
        methods: GET,
        path: "/retainedMessage",
        access: Access::Signed,
        handler: |state, call| {
            Box::pin(async move { told(list_retained_messages::call(&state, &call)) })
        },
    },
];

/// Why a request is refused.
#[derive(Debug)]
enum Refused {
    /// The request is wrong; the text says where.
    Invalid(String),
    /// The policy, or the keys' end, says no.
    Forbidden,
    /// There is none.
    NotFound,
    /// The payload is longer than is allowed.
    TooLarge(usize),
    /// There is no room.
    Quota(String),
    /// The store does not answer.
    Store(StoreError),
}

impl Refused {
    fn invalid(text: impl Into<String>) -> Self {
        Self::Invalid(text.into())
    }

    fn told(self) -> (StatusCode, &'static str, String) {
        match self {
            Self::Invalid(text) => (StatusCode::BAD_REQUEST, "InvalidRequestException", text),
            // AWS IoT says no more; the reason is in the log.
            Self::Forbidden => (
                StatusCode::FORBIDDEN,
                "ForbiddenException",
                "Forbidden".into(),
            ),
            Self::NotFound => (
                StatusCode::NOT_FOUND,
                "ResourceNotFoundException",
                "The topic has no retained message.".into(),
            ),
            Self::TooLarge(limit) => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "RequestEntityTooLargeException",
                format!("The payload must not be longer than {limit} bytes."),
            ),
            Self::Quota(text) => (StatusCode::TOO_MANY_REQUESTS, "ThrottlingException", text),
            Self::Store(StoreError::Overloaded) => (
                StatusCode::TOO_MANY_REQUESTS,
                "ThrottlingException",
                "Try again later.".into(),
            ),
            Self::Store(error) => {
                tracing::error!(%error, "a request to the topics failed");
                (
                    StatusCode::SERVICE_UNAVAILABLE,
                    "ServiceUnavailableException",
                    "The store does not answer.".into(),
                )
            }
        }
    }
}

fn told(answer: Result<Value, Refused>) -> HttpResponse {
    let refused = match answer {
        Ok(body) => {
            return HttpResponse::Ok()
                .content_type("application/json")
                .body(body.to_string());
        }
        Err(refused) => refused,
    };
    let (status, code, message) = refused.told();
    let body = json!({ "message": message, "traceId": trace_id() });
    let mut response = HttpResponse::build(status);
    if matches!(status.as_u16(), 429 | 503) {
        response.insert_header((header::RETRY_AFTER, "1"));
    }
    response
        .content_type("application/json")
        .insert_header((ERROR_TYPE, code))
        .body(body.to_string())
}

fn trace_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Who calls, and what they may do with topics over HTTP.
fn access(state: &DataState, call: &Call) -> Result<(Principal, policy::Access), Refused> {
    let principal = state.authenticator.principal(call.grant.caller());
    let principal = principal.ok_or(Refused::Forbidden)?;
    let access = principal.access(Connection {
        source_ip: call.peer.map(|peer| peer.ip()),
        ..Connection::default()
    });
    Ok((principal, access))
}

/// The topic in the path after `prefix`, with its slashes escaped or not, decoded once. The route's parameter would not
/// do: routes take a slash at the end for none.
fn topic(call: &Call, prefix: &str) -> Result<TopicName, Refused> {
    let raw = call.raw_path.strip_prefix(prefix).unwrap_or_default();
    let text = percent_encoding::percent_decode_str(raw).decode_utf8();
    let text = text.map_err(|_| Refused::invalid("The topic is not UTF-8."))?;
    let name = TopicName::parse(text.into_owned().into());
    name.map_err(|error| Refused::Invalid(format!("The topic is not valid: {error}.")))
}

/// The only value of a query parameter, decoded; an empty one is none.
fn parameter(call: &Call, name: &str) -> Result<Option<String>, Refused> {
    let found = super::parameter(call, name);
    let found = found.map_err(|_| Refused::Invalid(format!("{name} is malformed.")))?;
    Ok(found.filter(|value| !value.is_empty()))
}

#[cfg(test)]
mod tests;
