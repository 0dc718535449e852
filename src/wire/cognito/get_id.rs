//! `GetId`: an identity for a guest. It is not remembered: whoever has it can get its keys, as with Cognito.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::auth::Grant;
use crate::wire::json11::{self, Fault};

use super::{CognitoState, required};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetId {
    identity_pool_id: Option<String>,
    logins: Option<HashMap<String, String>>,
}

pub(super) async fn call(
    state: Arc<CognitoState>,
    _: Grant,
    body: Bytes,
    _: Option<IpAddr>,
) -> Result<Value, Fault> {
    let call: GetId = json11::parse(&body)?;
    let pool = required(call.identity_pool_id, "IdentityPoolId")?;
    if pool != state.pool_id() {
        let text = format!("IdentityPool '{pool}' not found.");
        return Err(Fault::sender("ResourceNotFoundException", text));
    }
    // A session knows its identity from its description.
    if call.logins.is_some_and(|logins| !logins.is_empty()) {
        let text = "Invalid login token.";
        return Err(Fault::sender("NotAuthorizedException", text));
    }
    if !state.authenticator.has_guests() {
        let text = "Unauthenticated access is not supported for this identity pool.";
        return Err(Fault::sender("NotAuthorizedException", text));
    }
    let identity = format!("{}:{}", state.region, uuid::Uuid::new_v4());
    Ok(json!({ "IdentityId": identity }))
}
