//! `DescribeEndpoint`: the host that the client has reached already. Clients put `https://` or `wss://` in front of it.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde_json::json;

use super::{answer, parameter, refused};
use crate::wire::Call;

const TYPES: [&str; 4] = ["", "iot:Data", "iot:Data-ATS", "iot:Data-Beta"];

pub(super) fn call(call: &Call) -> HttpResponse {
    let kind = match parameter(call, "endpointType") {
        Ok(kind) => kind.unwrap_or_default(),
        Err(response) => return *response,
    };
    if !TYPES.contains(&kind.as_str()) {
        let text = format!("endpointType {kind:?} is not served here");
        return refused(StatusCode::BAD_REQUEST, "InvalidRequestException", &text);
    }
    answer(&json!({ "endpointAddress": call.host }))
}
