//! `ListSubscriptions`: `GET /connections/{clientId}/subscriptions`, in order of filter.

use serde_json::{Value, json};

use super::get_retained_message::qos;
use super::{DataState, Refused, access, after, client, next_token, number, remote_refused};
use crate::config::limits::iot::{SUBSCRIPTION_RESULTS, SUBSCRIPTION_RESULTS_DEFAULT};
use crate::wire::Call;

pub(super) async fn call(state: &DataState, call: &Call) -> Result<Value, Refused> {
    let (principal, access) = access(state, call)?;
    let client = client(call)?;
    let limit = number(call, "maxResults", 1..=SUBSCRIPTION_RESULTS)?;
    let limit = limit.unwrap_or(SUBSCRIPTION_RESULTS_DEFAULT);
    let after = after(call)?;
    let found = state.topics.subscriptions(&access, &client).await;
    let mut found = found.map_err(|error| remote_refused(&principal, &client, error))?;
    if let Some(after) = &after {
        found.retain(|subscription| subscription.filter.as_str() > after.as_str());
    }
    let more = found.len() > limit;
    found.truncate(limit);
    let listed = found.iter().map(|subscription| {
        json!({
            "topicFilter": subscription.filter.as_str(),
            "qos": qos(subscription.qos),
        })
    });
    let mut answer = json!({ "subscriptions": listed.collect::<Vec<_>>() });
    if let Some(last) = found.last().filter(|_| more) {
        answer["nextToken"] = next_token(last.filter.as_str()).into();
    }
    Ok(answer)
}
