//! `ListRetainedMessages`: `GET /retainedMessage`, in order of topic.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::get_retained_message::qos;
use super::{DataState, Refused, access, parameter};
use crate::config::limits::iot::RETAINED_RESULTS;
use crate::domain::policy::Action;
use crate::wire::Call;

pub(super) fn call(state: &DataState, call: &Call) -> Result<Value, Refused> {
    let (principal, access) = access(state, call)?;
    let decision = access.decide(Action::ListRetainedMessages, "*");
    if !decision.is_allowed() {
        tracing::info!(principal = %principal.name, %decision, "retained messages were not listed");
        return Err(Refused::Forbidden);
    }
    let limit = limit(call)?;
    let after = after(call)?;
    // One more than is shown tells whether there is more.
    let mut found = state.topics.retained_page(after.as_deref(), limit + 1);
    let more = found.len() > limit;
    found.truncate(limit);
    let listed: Vec<_> = found
        .iter()
        .map(|found| {
            json!({
                "topic": found.topic.as_str(),
                "payloadSize": found.payload.len(),
                "qos": qos(found.qos),
            })
        })
        .collect();
    let mut answer = json!({ "retainedTopics": listed });
    if let Some(last) = found.last().filter(|_| more) {
        answer["nextToken"] = URL_SAFE_NO_PAD.encode(last.topic.as_str()).into();
    }
    Ok(answer)
}

fn limit(call: &Call) -> Result<usize, Refused> {
    let Some(text) = parameter(call, "maxResults")? else {
        return Ok(RETAINED_RESULTS);
    };
    let limit = text.parse().ok();
    limit
        .filter(|limit| (1..=RETAINED_RESULTS).contains(limit))
        .ok_or_else(|| Refused::Invalid(format!("maxResults must be 1 to {RETAINED_RESULTS}.")))
}

fn after(call: &Call) -> Result<Option<String>, Refused> {
    let token = parameter(call, "nextToken")?;
    let decode = |token: String| {
        let topic = URL_SAFE_NO_PAD.decode(token).ok();
        let topic = topic.and_then(|topic| String::from_utf8(topic).ok());
        topic.ok_or_else(|| Refused::invalid("nextToken is not one of ours."))
    };
    token.map(decode).transpose()
}
