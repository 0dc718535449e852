//! How the REST routes refuse: `{"success":false,"message":…,"code":…}` (SEMANTICS 9), statuses and codes of
//! WIRE 7's execute-api column, and the code again in a header, where AWS SDKs look for it.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};

use crate::wire::Refusal;

/// Header that SDKs read a REST service's error code from.
pub const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// The REST form of a refusal.
pub fn refuse(refusal: &Refusal) -> HttpResponse {
    let told = refusal.told();
    let status = StatusCode::from_u16(told.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::json!({
        "success": false,
        "message": told.message,
        "code": told.code,
    });
    let mut response = HttpResponse::build(status)
        .content_type("application/json")
        .body(body.to_string());
    let headers = response.headers_mut();
    headers.insert(ERROR_TYPE, HeaderValue::from_static(told.code));
    match refusal {
        Refusal::MethodNotAllowed { allow } => {
            if let Ok(allow) = HeaderValue::from_str(allow) {
                headers.insert(header::ALLOW, allow);
            }
        }
        Refusal::UpgradeRequired => {
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            let version = HeaderValue::from_static("13");
            headers.insert(header::SEC_WEBSOCKET_VERSION, version);
        }
        Refusal::Unavailable => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        _ => {}
    }
    response
}
