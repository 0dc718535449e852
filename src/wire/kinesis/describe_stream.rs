//! `DescribeStream` and `DescribeStreamSummary`.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::wire::json11::{self, Fault};

use super::KinesisState;
use super::stream::{Stream, parse_shard_id, within};

#[derive(Debug, Deserialize)]
struct Describe {
    #[serde(rename = "StreamName")]
    name: Option<String>,
    #[serde(rename = "StreamARN")]
    arn: Option<String>,
    #[serde(rename = "Limit")]
    limit: Option<u64>,
    #[serde(rename = "ExclusiveStartShardId")]
    after: Option<String>,
}

pub(super) async fn full(state: Arc<KinesisState>, body: Bytes) -> Result<Value, Fault> {
    let call: Describe = json11::parse(&body)?;
    let stream = &state.stream;
    stream.check(call.name.as_deref(), call.arn.as_deref())?;
    let limit = within(call.limit, "limit", (1, 10_000, 100))?;
    let after = call.after.as_deref().map(parse_shard_id).transpose()?;
    let (shards, more) = stream.shards_page(after, limit);
    let mut description = describe(stream);
    description["Shards"] = shards.into();
    description["HasMoreShards"] = more.into();
    Ok(json!({ "StreamDescription": description }))
}

pub(super) async fn summary(state: Arc<KinesisState>, body: Bytes) -> Result<Value, Fault> {
    let call: Describe = json11::parse(&body)?;
    let stream = &state.stream;
    stream.check(call.name.as_deref(), call.arn.as_deref())?;
    let mut description = describe(stream);
    description["OpenShardCount"] = stream.shards.into();
    description["ConsumerCount"] = 0.into();
    Ok(json!({ "StreamDescriptionSummary": description }))
}

fn describe(stream: &Stream) -> Value {
    json!({
        "StreamName": stream.name,
        "StreamARN": stream.arn(),
        "StreamStatus": "ACTIVE",
        "StreamModeDetails": { "StreamMode": "PROVISIONED" },
        "RetentionPeriodHours": 24,
        "StreamCreationTimestamp": created(stream),
        "EnhancedMonitoring": [{ "ShardLevelMetrics": [] }],
        "EncryptionType": "NONE",
        "MaxRecordSizeInKiB": stream.limits.record_bytes / 1024,
    })
}

/// Epoch seconds, with milliseconds: an ISO string would crash the JavaScript SDK.
pub(super) fn created(stream: &Stream) -> f64 {
    stream.created.millis() as f64 / 1000.0
}
