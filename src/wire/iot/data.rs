//! AWS IoT's data plane over HTTP (WIRE 4.1): publishing, reading retained messages, and what concerns one connected
//! client.

use std::ops::RangeInclusive;
use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::{Method, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::actors::topic::{RemoteError, Topics};
use crate::auth::{Access, Authenticator, Connection, Principal};
use crate::domain::policy;
use crate::domain::publication::ClientId;
use crate::domain::topic::TopicName;
use crate::domain::{Clock, StoreError};
use crate::wire::front::ERROR_TYPE;
use crate::wire::{Call, Route};

mod delete_connection;
mod get_connection;
mod get_retained_message;
mod list_retained_messages;
mod list_subscriptions;
mod publish;
mod rooms;
mod send_direct_message;

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
const DELETE: &[Method] = &[Method::DELETE];

/// The route that publishes, signed for `iotdata`. Whoever has keys may call it; the policy of the keys decides about the
/// topic.
pub static PUBLISH_ROUTES: &[Route<DataState>] = &[Route {
    methods: POST,
    path: "/topics/{topic*}",
    access: Access::Signed,
    handler: |state, call| Box::pin(async move { told(publish::call(&state, &call).await) }),
}];

/// The other routes that are signed for `iotdata`, about what this process has of topics and clients.
pub static DATA_ROUTES: &[Route<DataState>] = &[
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
    Route {
        methods: GET,
        path: "/connections/{client}",
        access: Access::Signed,
        handler: |state, call| {
            Box::pin(async move { told(get_connection::call(&state, &call).await) })
        },
    },
    Route {
        methods: DELETE,
        path: "/connections/{client}",
        access: Access::Signed,
        handler: |state, call| {
            Box::pin(async move { told(delete_connection::call(&state, &call).await) })
        },
    },
    Route {
        methods: GET,
        path: "/connections/{client}/subscriptions",
        access: Access::Signed,
        handler: |state, call| {
            Box::pin(async move { told(list_subscriptions::call(&state, &call).await) })
        },
    },
    Route {
        methods: POST,
        path: "/connections/{client}/messages",
        access: Access::Signed,
        handler: |state, call| {
            Box::pin(async move { told(send_direct_message::call(&state, &call).await) })
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
    /// There is none; the text says of what.
    NotFound(&'static str),
    /// The client that a message is for may not receive its topic.
    NotReceivable,
    /// The client has not confirmed in time.
    NotConfirmed,
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
            Self::NotFound(text) => (
                StatusCode::NOT_FOUND,
                "ResourceNotFoundException",
                text.into(),
            ),
            Self::NotReceivable => (
                StatusCode::FORBIDDEN,
                "ForbiddenException",
                "The client may not receive this topic.".into(),
            ),
            Self::NotConfirmed => (
                StatusCode::GATEWAY_TIMEOUT,
                "GatewayTimeoutException",
                "The client has not confirmed the message in time. It may have it all the same."
                    .into(),
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

/// The client that the path names.
fn client(call: &Call) -> Result<ClientId, Refused> {
    let id = call.params.get("client").unwrap_or_default();
    if id.is_empty() || id.starts_with('$') {
        return Err(Refused::invalid(
            "A client id has at least one character and does not begin with $.",
        ));
    }
    Ok(ClientId(id.into()))
}

/// A query parameter that is true or false; none is false.
fn flag(call: &Call, name: &str) -> Result<bool, Refused> {
    match parameter(call, name)?.as_deref() {
        None | Some("false" | "FALSE" | "False") => Ok(false),
        Some("true" | "TRUE" | "True") => Ok(true),
        Some(_) => Err(Refused::Invalid(format!("{name} must be true or false."))),
    }
}

/// A query parameter that is a number within bounds.
fn number(
    call: &Call,
    name: &str,
    bounds: RangeInclusive<usize>,
) -> Result<Option<usize>, Refused> {
    let Some(text) = parameter(call, name)? else {
        return Ok(None);
    };
    let found = text.parse().ok().filter(|number| bounds.contains(number));
    let (least, most) = bounds.into_inner();
    let invalid = || Refused::Invalid(format!("{name} must be {least} to {most}."));
    found.map(Some).ok_or_else(invalid)
}

/// Where a listing goes on: the name after which it stopped.
fn after(call: &Call) -> Result<Option<String>, Refused> {
    let token = parameter(call, "nextToken")?;
    let decode = |token: String| {
        let name = URL_SAFE_NO_PAD.decode(token).ok();
        let name = name.and_then(|name| String::from_utf8(name).ok());
        name.ok_or_else(|| Refused::invalid("nextToken is not one of ours."))
    };
    token.map(decode).transpose()
}

/// The `nextToken` of a listing that stopped after this name.
fn next_token(last: &str) -> String {
    URL_SAFE_NO_PAD.encode(last)
}

/// What a caller is told who asked for a client.
fn remote_refused(principal: &Principal, client: &ClientId, error: RemoteError) -> Refused {
    tracing::info!(principal = %principal.name, client = client.as_str(), %error, "a request about a client was refused");
    match error {
        RemoteError::NotAllowed(_) => Refused::Forbidden,
        // The message was not sent, and the caller may know why: it was allowed to send it.
        RemoteError::MayNotReceive(_) => Refused::NotReceivable,
        RemoteError::NotThere => Refused::NotFound("There is no such client."),
        RemoteError::Reserved => Refused::invalid("The topic is reserved."),
        RemoteError::NotConfirmed => Refused::NotConfirmed,
        RemoteError::Store(error) => Refused::Store(error),
    }
}

/// The only value of a query parameter, decoded; an empty one is none.
fn parameter(call: &Call, name: &str) -> Result<Option<String>, Refused> {
    let found = super::parameter(call, name);
    let found = found.map_err(|_| Refused::Invalid(format!("{name} is malformed.")))?;
    Ok(found.filter(|value| !value.is_empty()))
}

#[cfg(test)]
mod tests;
