//! Cross-origin rules (WIRE 8): browsers may call every path, and read every answer, errors too.
//!
//! Credentials of the browser (cookies) are never allowed: callers prove themselves by signature.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderValue};

/// Headers of answers that scripts may read. `Date` lets SDKs correct their clock.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "x-amzn-RequestId,x-amzn-ErrorType,x-amzn-ErrorMessage,x-amzn-query-error,x-amz-request-id,x-amz-id-2,Retry-After,Date",
);
const ANY: HeaderValue = HeaderValue::from_static("*");
/// What AWS allows; browsers cap it near two hours.
const MAX_AGE_SECS: HeaderValue = HeaderValue::from_static("172800");
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
const VARY: HeaderValue =
    HeaderValue::from_static("Access-Control-Request-Headers, Access-Control-Request-Method");

/// Lets scripts of any origin read this answer.
pub(super) fn expose(headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
}

/// The answer to `OPTIONS`, on any path: what was asked for is allowed.
pub(super) fn preflight(asked: &HeaderMap) -> HttpResponse {
    let mut response = HttpResponse::new(StatusCode::OK);
    let headers = response.headers_mut();
    let methods = asked.get(header::ACCESS_CONTROL_REQUEST_METHOD);
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        methods.cloned().unwrap_or(METHODS),
    );
    if let Some(names) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE_SECS);
    headers.insert(header::VARY, VARY);
    response
}
