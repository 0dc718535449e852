//! `DescribeIdentity`.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::auth::Grant;
use crate::wire::json11::{self, Fault};

use super::{CognitoState, PROVIDER, epoch_seconds, required};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Describe {
    identity_id: Option<String>,
}

pub(super) async fn call(
    state: Arc<CognitoState>,
    _: Grant,
    body: Bytes,
    _: Option<IpAddr>,
) -> Result<Value, Fault> {
    let call: Describe = json11::parse(&body)?;
    let session = state.session(&required(call.identity_id, "IdentityId")?)?;
    // An identity never changes: a refresh gives new keys, not another identity.
    let created = epoch_seconds(session.created);
    Ok(json!({
        "IdentityId": session.identity.as_str(),
        "Logins": [PROVIDER],
        "CreationDate": created,
        "LastModifiedDate": created,
    }))
}
