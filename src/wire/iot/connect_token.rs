//! `POST /mqtt/token`: a token for pages that can not sign, for `/mqtt?token=`.

use actix_web::HttpResponse;
use serde::Serialize;
use utoipa::ToSchema;

use super::{IotState, answer, issue_refused};
use crate::wire::Call;

/// A token for `/mqtt?token=`.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConnectToken {
    /// `true`.
    pub success: bool,
    /// The token; whoever has it may connect as who asked for it.
    pub token: String,
    /// Until when, in seconds since 1970.
    pub expires: u64,
}

/// A token with which a page that can not sign connects to `/mqtt?token=`, for a short time.
#[utoipa::path(
    post, path = "/mqtt/token", operation_id = "post_mqtt_token", tag = "topics",
    responses((status = 200, body = ConnectToken), (status = 403), (status = 429)),
    security(("sigv4" = [])),
)]
pub(super) fn call(state: &IotState, call: &Call) -> HttpResponse {
    match state.authenticator.connect_token(call.grant.caller()) {
        Ok((token, expires)) => answer(&ConnectToken {
            success: true,
            token,
            expires: expires.secs(),
        }),
        Err(error) => issue_refused(&error),
    }
}
