//! `PutRecord`, and what a record must be.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::config::limits::kinesis::PARTITION_KEY_CHARS;
use crate::wire::json11::{self, Fault};

use super::stream::{Stream, hash_key, violates};
use super::{IngestError, IngestRecord, KinesisState, ShardNo};

/// A record as sent.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Entry<'a> {
    #[serde(borrow)]
    data: Option<Cow<'a, str>>,
    #[serde(borrow)]
    partition_key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    explicit_hash_key: Option<Cow<'a, str>>,
}

/// A call as sent.
#[derive(Debug, Deserialize)]
pub struct PutRecord<'a> {
    #[serde(borrow, rename = "StreamName")]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "StreamARN")]
    arn: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "Data")]
    data: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "PartitionKey")]
    partition_key: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "ExplicitHashKey")]
    explicit_hash_key: Option<Cow<'a, str>>,
}

/// Reads a body. Total: any bytes give a record or a fault.
///
/// # Errors
/// As AWS names them.
pub fn parse(stream: &Stream, body: &[u8]) -> Result<IngestRecord, Fault> {
    let call: PutRecord<'_> = json11::parse(body)?;
    stream.check(call.name.as_deref(), call.arn.as_deref())?;
    let entry = Entry {
        data: call.data,
        partition_key: call.partition_key,
        explicit_hash_key: call.explicit_hash_key,
    };
    entry.into_record(stream, "")
}

pub(super) async fn call(state: Arc<KinesisState>, body: Bytes) -> Result<Value, Fault> {
    let record = parse(&state.stream, &body)?;
    let shard = record.shard;
    let outcome = state.ingest.put(vec![record]).await.pop();
    match outcome.unwrap_or(Err(IngestError::Failed)) {
        Ok(number) => Ok(json!({ "ShardId": shard.id(), "SequenceNumber": number.text() })),
        Err(error) => {
            let (code, message) = told(&state.stream, shard, error);
            Err(match error {
                IngestError::Throttled => Fault::sender(code, message),
                IngestError::Failed => Fault {
                    status: 500,
                    code: "InternalFailureException",
                    message,
                },
            })
        }
    }
}

/// Code and text of a record that was not taken.
pub(super) fn told(stream: &Stream, shard: ShardNo, error: IngestError) -> (&'static str, String) {
    match error {
        IngestError::Throttled => (
            "ProvisionedThroughputExceededException",
            format!(
                "Rate exceeded for shard {} in stream {} under account {}.",
                shard.id(),
                stream.name,
                stream.account
            ),
        ),
        IngestError::Failed => ("InternalFailure", "Internal service failure.".to_owned()),
    }
}

impl Entry<'_> {
    /// Checks and decodes. `at` is what the entry's members are called by in errors: `records.1.member.`.
    pub(super) fn into_record(self, stream: &Stream, at: &str) -> Result<IngestRecord, Fault> {
        let required = |member: &str| violates("null", &format!("{at}{member}"), "not be null");
        let data = self.data.ok_or_else(|| required("data"))?;
        let partition_key = self.partition_key.ok_or_else(|| required("partitionKey"))?;
        check_key(&partition_key, at)?;
        let hash_key = match self.explicit_hash_key {
            Some(key) => parse_hash_key(&key)?,
            None => hash_key(&partition_key),
        };
        let data = STANDARD.decode(data.as_bytes()).map_err(|error| {
            let text = format!("{at}Data is not base 64: {error}");
            Fault::sender("SerializationException", text)
        })?;
        let limit = stream.limits.record_bytes;
        if data.len() + partition_key.len() > limit {
            let text = format!("have length less than or equal to {limit}");
            return Err(violates("'(binary)'", &format!("{at}data"), &text));
        }
        Ok(IngestRecord {
            shard: stream.shard_of(hash_key),
            partition_key: partition_key.into_owned(),
            data: data.into(),
        })
    }
}

fn check_key(key: &str, at: &str) -> Result<(), Fault> {
    let constraint = match key.chars().count() {
        0 => "have length greater than or equal to 1",
        1..=PARTITION_KEY_CHARS => return Ok(()),
        _ => "have length less than or equal to 256",
    };
    let member = format!("{at}partitionKey");
    Err(violates(&format!("'{key}'"), &member, constraint))
}

/// A decimal number below 2^128 as AWS writes it, without sign or leading zeros.
fn parse_hash_key(text: &str) -> Result<u128, Fault> {
    let canonical = text == "0" || text.starts_with(|first: char| ('1'..='9').contains(&first));
    let number = text.parse::<u128>().ok().filter(|_| canonical);
    number.ok_or_else(|| {
        Fault::sender(
            "InvalidArgumentException",
            format!(
                "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value was {text}"
            ),
        )
    })
}
