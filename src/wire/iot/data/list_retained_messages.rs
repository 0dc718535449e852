//! `ListRetainedMessages`: `GET /retainedMessage`, in order of topic.

use serde_json::{Value, json};

use super::get_retained_message::qos;
use super::{DataState, Refused, access, after, next_token, number};
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
    let limit = number(call, "maxResults", 1..=RETAINED_RESULTS)?.unwrap_or(RETAINED_RESULTS);
    let after = after(call)?;
    // One more than is shown tells whether there is more.
    let mut found = state.topics.retained_page(after.as_deref(), limit + 1);
    let more = found.len() > limit;
    found.truncate(limit);
    let listed: Vec<_> = found
        .iter()
        .map(|(found, at)| {
            json!({
                "topic": found.topic.as_str(),
                "payloadSize": found.payload.len(),
                "qos": qos(found.qos),
                "lastModifiedTime": at.millis(),
            })
        })
        .collect();
    let mut answer = json!({ "retainedTopics": listed });
    if let Some((last, _)) = found.last().filter(|_| more) {
        answer["nextToken"] = next_token(last.topic.as_str()).into();
    }
    Ok(answer)
}
