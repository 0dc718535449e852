//! `GET /iot/keys`: keys for a guest, for an hour (SEMANTICS 8).

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::{IotState, answer, issue_refused, parameter, refused};
use crate::domain::IdentityId;
use crate::wire::Call;

/// A guest's keys, in the names of both of the prior art's front ends at once.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GuestKeys {
    /// Host and port for `wss://{iotEndpoint}/mqtt`.
    pub iot_endpoint: String,
    /// What signatures name.
    pub region: String,
    /// Goes with the keys.
    pub session_token: String,
    /// The access key.
    pub access_key: String,
    /// The secret key.
    pub secret_key: String,
    /// The access key.
    pub aws_access_key: String,
    /// The secret key.
    pub aws_secret_access_key: String,
    /// Who the guest is, for policies.
    pub identity_id: String,
    /// Until when they are good, in seconds since 1970.
    pub expires: u64,
}

/// Keys for a guest, for an hour. No signature is needed; what guests may do is configuration.
#[utoipa::path(
    get, path = "/iot/keys", operation_id = "get_iot_keys", tag = "topics",
    params(("topic" = Option<String>, Query, description = "topic filters, separated by commas, that narrow what the keys allow")),
    responses(
        (status = 200, body = GuestKeys), (status = 400), (status = 403, description = "there are no guests here"), (status = 429),
    ),
    security(()),
)]
pub(super) fn call(state: &IotState, call: &Call) -> HttpResponse {
    let topics = match parameter(call, "topic") {
        Ok(topics) => topics,
        Err(response) => return *response,
    };
    let topics = topics.map(|topics| topics.split(',').map(str::to_owned).collect());
    let identity = format!("{}:{}", state.region, uuid::Uuid::new_v4());
    let Ok(identity) = IdentityId::parse(&identity) else {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        return refused(status, "InternalFailureException", "Internal error.");
    };
    let source_ip = call.peer.map(|peer| peer.ip());
    let keys = state.authenticator.guest_keys(&identity, topics, source_ip);
    let keys = match keys {
        Ok(keys) => keys,
        Err(error) => return issue_refused(&error),
    };
    answer(&GuestKeys {
        iot_endpoint: call.host.to_string(),
        region: state.region.clone(),
        session_token: keys.session_token,
        access_key: keys.access_key.clone(),
        secret_key: keys.secret_key.clone(),
        aws_access_key: keys.access_key,
        aws_secret_access_key: keys.secret_key,
        identity_id: identity.as_str().to_owned(),
        expires: keys.expires.secs(),
    })
}
