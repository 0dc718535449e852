//! `GetConnection`: `GET /connections/{clientId}`. A client that is not connected is known as long as it has a session.

use serde_json::{Value, json};

use super::{DataState, Refused, access, client, flag, remote_refused};
use crate::wire::Call;

/// What AWS IoT and MQTT 5 write for a session that never ends.
const FOR_EVER_S: u64 = 0xFFFF_FFFF;

pub(super) async fn call(state: &DataState, call: &Call) -> Result<Value, Refused> {
    let (principal, access) = access(state, call)?;
    let client = client(call)?;
    let with_socket = flag(call, "includeSocketInformation")?;
    let found = state.topics.client(&access, &client).await;
    let found = found.map_err(|error| remote_refused(&principal, &client, error))?;
    let mut answer = json!({
        "clientId": client.as_str(),
        "connected": found.connection.is_some(),
        "cleanSession": found.clean,
        "sessionExpiry": found.expiry.map_or(FOR_EVER_S, |expiry| expiry.as_secs()),
    });
    if let Some(connection) = &found.connection {
        answer["keepAliveDuration"] = connection.keep_alive_s.into();
        answer["connectedSince"] = connection.since.millis().into();
        if let Some(peer) = connection.peer.filter(|_| with_socket) {
            answer["sourceIp"] = peer.ip().to_string().into();
            answer["sourcePort"] = peer.port().into();
        }
    } else if let Some(since) = found.disconnected {
        answer["disconnectedSince"] = since.millis().into();
    }
    if let Some(reason) = found.reason {
        answer["disconnectReason"] = reason.into();
    }
    Ok(answer)
}
