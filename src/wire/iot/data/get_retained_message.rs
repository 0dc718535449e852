//! `GetRetainedMessage`: `GET /retainedMessage/{topic}`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{DataState, Refused, access, topic};
use crate::domain::policy::Action;
use crate::domain::publication::QoS;
use crate::wire::Call;

pub(super) fn call(state: &DataState, call: &Call) -> Result<Value, Refused> {
    let (principal, access) = access(state, call)?;
    let topic = topic(call, "/retainedMessage/")?;
    let decision = access.decide(Action::GetRetainedMessage, topic.as_str());
    if !decision.is_allowed() {
        tracing::info!(principal = %principal.name, %topic, %decision, "a retained message was not shown");
        return Err(Refused::Forbidden);
    }
    let found = state.topics.retained(&topic);
    // As over MQTT: not what its publisher might not publish any more.
    let found = found.filter(|(found, _)| {
        let publisher = found.publisher.as_ref();
        publisher.is_none_or(|publisher| {
            state
                .authenticator
                .still_publishes(publisher, topic.as_str())
        })
    });
    let (found, at) = found.ok_or(Refused::NotFound("The topic has no retained message."))?;
    let mut answer = json!({
        "topic": topic.as_str(),
        "payload": STANDARD.encode(&found.payload),
        "qos": qos(found.qos),
        "lastModifiedTime": at.millis(),
    });
    let user = found.properties.iter().flat_map(|some| &some.user);
    let user: Vec<_> = user
        .map(|(key, value)| json!({ (&**key): &**value }))
        .collect();
    if !user.is_empty() {
        let text = Value::from(user).to_string();
        answer["userProperties"] = STANDARD.encode(text).into();
    }
    Ok(answer)
}

/// AWS IoT knows no quality of service 2.
pub(super) fn qos(qos: QoS) -> u8 {
    u8::from(qos != QoS::AtMostOnce)
}
