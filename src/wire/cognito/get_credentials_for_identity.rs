//! `GetCredentialsForIdentity`: the session's current keys, for whoever proves to be the session; a guest's.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;

use crate::auth::{Caller, Grant, IssueError};
use crate::config::limits::cognito::LOGINS;
use crate::domain::session::{Credentials, Session};
use crate::domain::{IdentityId, Timestamp};
use crate::wire::json11::{self, Fault};

use super::{CognitoState, PROVIDER, epoch_seconds, invalid, not_found, parse_identity, required};

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
    source_ip: Option<IpAddr>,
) -> Result<Value, Fault> {
    let call: GetCredentials = json11::parse(&body)?;
    let logins = call.logins.unwrap_or_default();
    if logins.len() > LOGINS {
        return Err(invalid("Logins must have at most 10 entries."));
    }
    let id = required(call.identity_id, "IdentityId")?;
    let identity = parse_identity(&id)?;
    let Some(session) = state.known(&identity)? else {
        return match state.authenticator.has_guests() && logins.is_empty() {
            true => guest(&state, &identity, source_ip),
            false => Err(not_found(&id)),
        };
    };
    let token = logins.get(PROVIDER).map(String::as_str);
    check_proof(&session, grant.caller(), token, state.clock.wall())?;
    Ok(told(&session.identity, &session.credentials))
}

/// Guests need no proof: an identity that no session has is a guest's.
fn guest(
    state: &CognitoState,
    identity: &IdentityId,
    source_ip: Option<IpAddr>,
) -> Result<Value, Fault> {
    match state.authenticator.guest_keys(identity, None, source_ip) {
        Ok(keys) => Ok(told(identity, &keys)),
        Err(error @ IssueError::Throttled(_)) => {
            Err(Fault::sender("TooManyRequestsException", error.to_string()))
        }
        Err(error) => Err(refused(&error.to_string())),
    }
}

fn told(identity: &IdentityId, keys: &Credentials) -> Value {
    json!({
        "IdentityId": identity.as_str(),
        "Credentials": {
            "AccessKeyId": keys.access_key,
            "SecretKey": keys.secret_key,
            "SessionToken": keys.session_token,
            "Expiration": epoch_seconds(keys.expires),
        },
    })
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
