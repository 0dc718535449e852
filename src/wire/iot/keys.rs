//! `GET /iot/keys`: keys for a guest, for an hour (SEMANTICS 8).

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde_json::json;

use super::{IotState, answer, issue_refused, parameter, refused};
use crate::domain::IdentityId;
use crate::wire::Call;

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
    // Both namings at once: the prior art's two front ends have one each.
    answer(&json!({
        "iotEndpoint": call.host,
        "region": state.region,
        "sessionToken": keys.session_token,
        "accessKey": keys.access_key,
        "secretKey": keys.secret_key,
        "awsAccessKey": keys.access_key,
        "awsSecretAccessKey": keys.secret_key,
        "identityId": identity.as_str(),
        "expires": keys.expires.secs(),
    }))
}
