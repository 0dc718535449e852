//! `POST /mqtt/token`: a token for pages that can not sign, for `/mqtt?token=`.

use actix_web::HttpResponse;
use serde_json::json;

use super::{IotState, answer, issue_refused};
use crate::wire::Call;

pub(super) fn call(state: &IotState, call: &Call) -> HttpResponse {
    match state.authenticator.connect_token(call.grant.caller()) {
        Ok((token, expires)) => answer(&json!({
            "success": true,
            "token": token,
            "expires": expires.secs(),
        })),
        Err(error) => issue_refused(&error),
    }
}
