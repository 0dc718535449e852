//! `PutRecords`: up to 500 records; those that are not taken are named in a successful answer.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::wire::json11::{self, Fault};

use super::put_record::{Entry, told};
use super::stream::{Stream, violates};
use super::{IngestError, IngestRecord, KinesisState};

/// A call as sent.
#[derive(Debug, Deserialize)]
struct PutRecords<'a> {
    #[serde(borrow, rename = "StreamName")]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "StreamARN")]
    arn: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "Records")]
    records: Option<Vec<Entry<'a>>>,
}

/// Reads a body. Total: any bytes give records or a fault.
///
/// # Errors
/// As AWS names them. One bad record refuses the call: then nothing was put.
pub fn parse(stream: &Stream, body: &[u8]) -> Result<Vec<IngestRecord>, Fault> {
    let call: PutRecords<'_> = json11::parse(body)?;
    stream.check(call.name.as_deref(), call.arn.as_deref())?;
    let entries = call
        .records
        .ok_or_else(|| violates("null", "records", "not be null"))?;
    let limit = stream.limits.call_records;
    if entries.is_empty() || entries.len() > limit {
        let value = format!("'[{} records]'", entries.len());
        let bound = match entries.len() {
            0 => "have length greater than or equal to 1".to_owned(),
            _ => format!("have length less than or equal to {limit}"),
        };
        return Err(violates(&value, "records", &bound));
    }
    let records = entries
        .into_iter()
        .enumerate()
        .map(|(at, entry)| entry.into_record(stream, &format!("records.{}.member.", at + 1)))
        .collect::<Result<Vec<_>, _>>()?;
    let bytes: usize = records
        .iter()
        .map(|record| record.data.len() + record.partition_key.len())
        .sum();
    if bytes > stream.limits.call_bytes {
        let text = format!(
            "Records size exceeds {} bytes: it is {bytes}.",
            stream.limits.call_bytes
        );
        return Err(Fault::sender("InvalidArgumentException", text));
    }
    Ok(records)
}

pub(super) async fn call(state: Arc<KinesisState>, body: Bytes) -> Result<Value, Fault> {
    let records = parse(&state.stream, &body)?;
    let shards: Vec<_> = records.iter().map(|record| record.shard).collect();
    let mut outcomes = state.ingest.put(records).await;
    // Whoever does not answer for a record has not taken it.
    outcomes.resize(shards.len(), Err(IngestError::Failed));
    let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
    let entries: Vec<Value> = shards
        .iter()
        .zip(outcomes)
        .map(|(shard, outcome)| match outcome {
            Ok(number) => json!({ "SequenceNumber": number.text(), "ShardId": shard.id() }),
            Err(error) => {
                let (code, message) = told(&state.stream, *shard, error);
                json!({ "ErrorCode": code, "ErrorMessage": message })
            }
        })
        .collect();
    Ok(json!({ "FailedRecordCount": failed, "Records": entries }))
}
