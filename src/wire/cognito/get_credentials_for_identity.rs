//! `GetCredentialsForIdentity`: the session's current keys, for whoever proves to be the session.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;

use crate::auth::{Caller, Grant};
use crate::config::limits::cognito::LOGINS;
use crate::domain::Timestamp;
use crate::domain::session::Session;
use crate::wire::json11::{self, Fault};

use super::{CognitoState, PROVIDER, epoch_seconds, invalid, required};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetCredentials {
    identity_id: Option<String>,
    logins: Option<HashMap<String, String>>,
}

pub(super) async fn call(
    state: Arc<CognitoState>,
    grant: Grant,
    body: Bytes,
) -> Result<Value, Fault> {
    let call: GetCredentials = json11::parse(&body)?;
    let logins = call.logins.unwrap_or_default();
    if logins.len() > LOGINS {
        return Err(invalid("Logins must have at most 10 entries."));
    }
    let session = state.session(&required(call.identity_id, "IdentityId")?)?;
    let token = logins.get(PROVIDER).map(String::as_str);
    check_proof(&session, grant.caller(), token, state.clock.wall())?;
    let keys = &session.credentials;
    Ok(json!({
        "IdentityId": session.identity.as_str(),
        "Credentials": {
            "AccessKeyId": keys.access_key,
            "SecretKey": keys.secret_key,
            "SessionToken": keys.session_token,
            "Expiration": epoch_seconds(keys.expires),
        },
    }))
}

/// A signature of the operator or the session itself, or else the session's current token as a login.
fn check_proof(
    session: &Session,
    caller: &Caller,
    token: Option<&str>,
    now: Timestamp,
) -> Result<(), Fault> {
    match caller {
        Caller::Operator { .. } => return Ok(()),
        Caller::Session(own) if own.key == session.key => return Ok(()),
        Caller::Session(_) | Caller::Issued(_) | Caller::Anonymous => {}
    }
    let Some(token) = token else {
        return Err(refused(
            "Unauthenticated access is not supported for this identity pool.",
        ));
    };
    let current = session.credentials.session_token.as_bytes();
    if !bool::from(token.as_bytes().ct_eq(current)) {
        return Err(refused("Invalid login token."));
    }
    if now >= session.credentials.expires {
        return Err(refused("Invalid login token. Token expired."));
    }
    Ok(())
}

fn refused(text: &str) -> Fault {
    Fault::sender("NotAuthorizedException", text)
}
