//! AWS's JSON 1.1 protocol, as far as its services have it in common: bodies in, bodies and errors out.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::Value;

use super::{Inbound, Refusal};

const CONTENT_TYPE: &str = "application/x-amz-json-1.1";
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// Why an operation did not do what was asked, in the words of its service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// HTTP status.
    pub status: u16,
    /// The error's name, as in the service's model.
    pub code: &'static str,
    /// Text for people.
    pub message: String,
}

impl Fault {
    /// An error that is the sender's: status 400, whatever it is.
    pub fn sender(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status: 400,
            code,
            message: message.into(),
        }
    }
}

/// Reads a request's members. An empty body is `{}`; members that are not known are passed over, a known one of
/// the wrong type or sent twice is an error.
///
/// # Errors
/// `SerializationException`, saying where.
pub fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Fault> {
    let body = if body.is_empty() { b"{}" } else { body };
    // serde would take a list for the members in their order.
    if body.trim_ascii_start().first() != Some(&b'{') {
        let text = "The request body must be a JSON object.";
        return Err(Fault::sender("SerializationException", text));
    }
    serde_json::from_slice(body)
        .map_err(|error| Fault::sender("SerializationException", error.to_string()))
}

/// Renders an operation's outcome.
pub fn answer(outcome: Result<Value, Fault>) -> HttpResponse {
    match outcome {
        Ok(members) => HttpResponse::Ok()
            .content_type(CONTENT_TYPE)
            .body(members.to_string()),
        Err(fault) => error(fault.status, fault.code, &fault.message),
    }
}

/// Renders a refusal of the front door: 400 where other services have 401 or 403.
pub fn refuse(refusal: &Refusal) -> HttpResponse {
    let told = refusal.told().json_1_1();
    error(told.status, told.code, &told.message)
}

/// The operation that `X-Amz-Target` names, if it is one of the service with this prefix.
pub fn operation<'a>(inbound: &'a Inbound, prefix: &str) -> Option<&'a str> {
    inbound.target()?.strip_prefix(prefix)
}

fn error(status: u16, code: &'static str, message: &str) -> HttpResponse {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::json!({ "__type": code, "message": message });
    let mut response = HttpResponse::build(status)
        .content_type(CONTENT_TYPE)
        .body(body.to_string());
    let headers = response.headers_mut();
    headers.insert(ERROR_TYPE, HeaderValue::from_static(code));
    response
}
