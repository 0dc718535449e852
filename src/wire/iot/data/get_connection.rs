//! `GetConnection`: `GET /connections/{clientId}`. A client that is not connected is known as long as it has a session.
//! `thingName` and `vpcEndpointId` are never told: there are no things here and no VPCs.

use std::net::SocketAddr;

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
        if with_socket {
            tell_end(&mut answer, "source", connection.peer);
            tell_end(&mut answer, "target", connection.local);
        }
    } else if let Some(since) = found.disconnected {
        answer["disconnectedSince"] = since.millis().into();
    }
    if let Some(reason) = found.reason {
        answer["disconnectReason"] = reason.into();
    }
    Ok(answer)
}

/// One end of the connection.
fn tell_end(answer: &mut Value, end: &str, address: Option<SocketAddr>) {
    if let Some(address) = address {
        // A socket for both kinds of addresses writes those of IPv4 as IPv6's.
        answer[format!("{end}Ip")] = address.ip().to_canonical().to_string().into();
        answer[format!("{end}Port")] = address.port().into();
    }
}
