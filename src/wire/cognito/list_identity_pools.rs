//! `ListIdentityPools`: there is one.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::auth::Grant;
use crate::wire::json11::{self, Fault};

use super::{CognitoState, invalid, required};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListPools {
    max_results: Option<u64>,
    next_token: Option<String>,
}

pub(super) async fn call(
    state: Arc<CognitoState>,
    _: Grant,
    body: Bytes,
    _: Option<IpAddr>,
) -> Result<Value, Fault> {
    let call: ListPools = json11::parse(&body)?;
    if !(1..=60).contains(&required(call.max_results, "MaxResults")?) {
        return Err(invalid("MaxResults must be between 1 and 60."));
    }
    if call.next_token.is_some() {
        return Err(invalid(
            "The NextToken was not issued here: there is never a second page.",
        ));
    }
    Ok(json!({
        "IdentityPools": [{
            "IdentityPoolId": state.pool_id(),
            "IdentityPoolName": state.pool_name(),
        }],
    }))
}
