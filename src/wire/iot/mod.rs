//! AWS IoT over HTTP (WIRE 4.1, SEMANTICS 8): guests' keys, connect tokens, where to connect to, and the [`data`] plane.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::header::RETRY_AFTER;
use actix_web::http::{Method, StatusCode};
use serde::Serialize;
use serde_json::json;
use utoipa::OpenApi;
use utoipa::openapi::path::{ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};

use crate::auth::{Access, Authenticator, IssueError};

use super::front::ERROR_TYPE;
use super::{Call, Route};

pub mod connect_token;
pub mod data;
pub mod describe_endpoint;
pub mod keys;

#[cfg(test)]
mod tests;

/// What the routes work with.
pub struct IotState {
    /// Makes the keys.
    pub authenticator: Arc<Authenticator>,
    /// The region that keys are for.
    pub region: String,
}

const GET: &[Method] = &[Method::GET];
const POST: &[Method] = &[Method::POST];

/// Routes that are signed for `iot`.
pub static CONTROL_ROUTES: &[Route<IotState>] = &[Route {
    methods: GET,
    path: "/endpoint",
    access: Access::Signed,
    handler: |_, call| Box::pin(async move { describe_endpoint::call(&call) }),
}];

/// Routes of ours that give keys and tokens.
pub static KEY_ROUTES: &[Route<IotState>] = &[
    Route {
        methods: GET,
        path: "/iot/keys",
        access: Access::Public,
        handler: |state, call| Box::pin(async move { keys::call(&state, &call) }),
    },
    Route {
        methods: GET,
        path: "/{stage}/iot/keys",
        access: Access::Public,
        handler: |state, call| Box::pin(async move { keys::call(&state, &call) }),
    },
    Route {
        methods: POST,
        path: "/mqtt/token",
        access: Access::OperatorOrOwner,
        handler: |state, call| Box::pin(async move { connect_token::call(&state, &call) }),
    },
];

/// What [`KEY_ROUTES`] say of themselves.
#[derive(OpenApi)]
#[openapi(paths(keys::call, connect_token::call))]
struct Described;

/// The description of [`KEY_ROUTES`] for the OpenAPI document.
pub fn document() -> utoipa::openapi::OpenApi {
    let mut document = Described::openapi();
    // The prior art's pages ask under the stage of their API.
    let paths = &mut document.paths.paths;
    let mut staged = paths["/iot/keys"].clone();
    if let Some(operation) = &mut staged.get {
        operation.operation_id = Some("get_stage_iot_keys".to_owned());
        let stage = ParameterBuilder::new()
            .name("stage")
            .parameter_in(ParameterIn::Path)
            .description(Some("any word"))
            .schema(Some(ObjectBuilder::new().schema_type(Type::String)));
        let parameters = operation.parameters.get_or_insert_default();
        parameters.push(stage.build().into());
    }
    paths.insert("/{stage}/iot/keys".to_owned(), staged);
    document
}

fn answer<T: Serialize>(body: &T) -> HttpResponse {
    let body = serde_json::to_string(body).expect("texts, numbers and flags are JSON");
    HttpResponse::Ok()
        .content_type("application/json")
        // Keys must not be kept by whatever is in between.
        .insert_header(("Cache-Control", "no-store"))
        .body(body)
}

fn refused(status: StatusCode, code: &'static str, message: &str) -> HttpResponse {
    let body = json!({ "success": false, "message": message, "code": code });
    HttpResponse::build(status)
        .content_type("application/json")
        .insert_header((ERROR_TYPE, code))
        .body(body.to_string())
}

fn issue_refused(error: &IssueError) -> HttpResponse {
    let message = error.to_string();
    match error {
        IssueError::NoGuests | IssueError::NoSuchRole | IssueError::NotPermanent => {
            refused(StatusCode::FORBIDDEN, "AccessDeniedException", &message)
        }
        IssueError::Malformed(_) | IssueError::TooLarge => {
            refused(StatusCode::BAD_REQUEST, "ValidationException", &message)
        }
        IssueError::Throttled(wait) => {
            let mut response = refused(
                StatusCode::TOO_MANY_REQUESTS,
                "TooManyRequestsException",
                &message,
            );
            let seconds = wait.as_secs().max(1);
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
            response
        }
    }
}

/// The only value of a query parameter, decoded.
fn parameter(call: &Call, name: &str) -> Result<Option<String>, Box<HttpResponse>> {
    let malformed = |text: String| {
        let refused = refused(StatusCode::BAD_REQUEST, "ValidationException", &text);
        Box::new(refused)
    };
    let mut found = None;
    for pair in call.raw_query.split('&') {
        let Some(value) = pair
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix('='))
        else {
            continue;
        };
        let value = value.replace('+', " ");
        let value = percent_encoding::percent_decode_str(&value)
            .decode_utf8()
            .map_err(|_| malformed(format!("{name} is not UTF-8")))?;
        if found.replace(value.into_owned()).is_some() {
            return Err(malformed(format!("{name} is given twice")));
        }
    }
    Ok(found)
}
