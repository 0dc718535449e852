//! `DeleteConnection`: `DELETE /connections/{clientId}`. With `cleanSession` the session goes, too, of a client that is not
//! connected as well.

use serde_json::{Value, json};

use super::{DataState, Refused, access, client, flag, remote_refused};
use crate::actors::topic::WillFate;
use crate::wire::Call;

pub(super) async fn call(state: &DataState, call: &Call) -> Result<Value, Refused> {
    let (principal, access) = access(state, call)?;
    let client = client(call)?;
    let forget = flag(call, "cleanSession")?;
    let will = if flag(call, "preventWillMessage")? {
        WillFate::Discard
    } else {
        WillFate::Publish
    };
    let done = state.topics.disconnect(&access, &client, will, forget);
    let done = done.await;
    done.map_err(|error| remote_refused(&principal, &client, error))?;
    tracing::info!(principal = %principal.name, client = client.as_str(), forget, "a connection was ended over HTTP");
    Ok(json!({}))
}
