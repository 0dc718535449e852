//! `SendDirectMessage`: `POST /connections/{clientId}/messages?topic=`. With `confirmation` it is answered when the client
//! has acknowledged the message.

use std::time::Duration;

use serde_json::{Value, json};

use super::publish::properties;
use super::{
    DataState, Refused, access, client, flag, number, parameter, remote_refused, trace_id,
};
use crate::actors::topic::Direct;
use crate::config::limits::iot::{CONFIRMATION_DEFAULT_S, CONFIRMATION_S};
use crate::domain::publication::{Publication, Publisher, QoS};
use crate::domain::topic::TopicName;
use crate::wire::Call;

pub(super) async fn call(state: &DataState, call: &Call) -> Result<Value, Refused> {
    let (principal, access) = access(state, call)?;
    let client = client(call)?;
    if call.body.len() > state.max_payload_bytes {
        return Err(Refused::TooLarge(state.max_payload_bytes));
    }
    let publication = Publication {
        topic: topic(call)?,
        payload: call.body.clone(),
        qos: QoS::AtMostOnce,
        retain: false,
        properties: properties(call)?,
        expires: None,
        publisher: Some(Publisher {
            client: None,
            principal: principal.name.clone(),
        }),
    };
    let direct = Direct {
        publication,
        confirm: confirm(call)?,
    };
    let sent = state.topics.send_direct(&access, &client, direct).await;
    sent.map_err(|error| remote_refused(&principal, &client, error))?;
    Ok(json!({ "message": "OK", "traceId": trace_id() }))
}

fn topic(call: &Call) -> Result<TopicName, Refused> {
    let text = parameter(call, "topic")?.ok_or(Refused::invalid("topic is missing."))?;
    let name = TopicName::parse(text.into());
    name.map_err(|error| Refused::Invalid(format!("The topic is not valid: {error}.")))
}

/// How long to wait for the client, if at all.
fn confirm(call: &Call) -> Result<Option<Duration>, Refused> {
    let seconds = number(call, "timeout", 1..=CONFIRMATION_S)?.unwrap_or(CONFIRMATION_DEFAULT_S);
    let wanted = flag(call, "confirmation")?;
    Ok(wanted.then(|| Duration::from_secs(seconds as u64)))
}
