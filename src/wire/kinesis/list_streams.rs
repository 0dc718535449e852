//! `ListStreams`: there is one.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::wire::json11::{self, Fault};

use super::KinesisState;
use super::describe_stream::created;
use super::stream::within;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListStreams {
    limit: Option<u64>,
    exclusive_start_stream_name: Option<String>,
    next_token: Option<String>,
}

pub(super) async fn call(state: Arc<KinesisState>, body: Bytes) -> Result<Value, Fault> {
    let call: ListStreams = json11::parse(&body)?;
    within(call.limit, "limit", (1, 10_000, 100))?;
    if call.next_token.is_some() {
        let text = "The NextToken was not issued here: there is never a second page.";
        return Err(Fault::sender("InvalidArgumentException", text));
    }
    let stream = &state.stream;
    let passed = call
        .exclusive_start_stream_name
        .is_some_and(|after| after >= stream.name);
    let streams = if passed { &[][..] } else { &[stream][..] };
    let names: Vec<_> = streams.iter().map(|stream| &stream.name).collect();
    let summaries: Vec<_> = streams
        .iter()
        .map(|stream| {
            json!({
                "StreamName": stream.name,
                "StreamARN": stream.arn(),
                "StreamStatus": "ACTIVE",
                "StreamModeDetails": { "StreamMode": "PROVISIONED" },
                "StreamCreationTimestamp": created(stream),
            })
        })
        .collect();
    Ok(json!({ "StreamNames": names, "HasMoreStreams": false, "StreamSummaries": summaries }))
}
