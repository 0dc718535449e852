//! `DeleteIdentities`: their sessions are destroyed.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::auth::Grant;
use crate::config::limits::cognito::IDENTITIES;
use crate::domain::{IdentityId, StoreError};
use crate::wire::json11::{self, Fault};

use super::{CognitoState, invalid, parse_identity, required};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Delete {
    identity_ids_to_delete: Option<Vec<String>>,
}

pub(super) async fn call(
    state: Arc<CognitoState>,
    _: Grant,
    body: Bytes,
    _: Option<IpAddr>,
) -> Result<Value, Fault> {
    let call: Delete = json11::parse(&body)?;
    let ids = required(call.identity_ids_to_delete, "IdentityIdsToDelete")?;
    if ids.is_empty() || ids.len() > IDENTITIES {
        return Err(invalid("IdentityIdsToDelete must have 1 to 60 entries."));
    }
    // All are checked before any is deleted.
    let identities = ids.iter().map(|id| parse_identity(id));
    let identities: Vec<_> = identities.collect::<Result<_, _>>()?;
    // At once, so that they share a commit.
    let outcomes = join_all(identities.iter().map(|identity| delete(&state, identity))).await;
    let unprocessed: Vec<_> = ids
        .iter()
        .zip(outcomes)
        .filter_map(|(id, outcome)| {
            let error = outcome.err()?;
            tracing::error!(%error, identity = %id, "an identity was not deleted");
            Some(json!({ "IdentityId": id, "ErrorCode": "InternalServerError" }))
        })
        .collect();
    Ok(json!({ "UnprocessedIdentityIds": unprocessed }))
}

/// An identity that is not there is as deleted as can be.
async fn delete(state: &CognitoState, identity: &IdentityId) -> Result<(), StoreError> {
    if let Some(session) = (state.find)(identity)? {
        (state.destroy)(session.key).await?;
    }
    Ok(())
}
