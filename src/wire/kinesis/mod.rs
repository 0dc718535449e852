//! The Kinesis wire (WIRE 5): one stream, into which backends put the messages to be relayed. Nothing is read
//! back from it. JSON 1.1 only: the Java SDKs' CBOR is answered with how to switch it off.

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::header;
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use serde_json::Value;

use crate::auth::Access;
use crate::config::limits;

use super::front::{Refuser, RpcWire};
use super::json11::{self, Fault};
use super::{Call, Inbound, Operation};

pub mod stream;

pub mod describe_stream;
pub mod list_shards;
pub mod list_streams;
pub mod put_record;
pub mod put_records;

pub mod relay;

#[cfg(test)]
mod tests;

pub use stream::{Limits, SequenceNumber, ShardNo, Stream};

const TARGET_PREFIX: &str = "Kinesis_20131202.";

/// A record on its way in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngestRecord {
    /// The shard that its key belongs to.
    pub shard: ShardNo,
    /// The key.
    pub partition_key: String,
    /// The decoded data: a message in JSON, or nonsense.
    pub data: Bytes,
}

/// Why a record was not taken. It may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IngestError {
    /// More is waiting than is allowed, or the disk is full: worth trying again later.
    #[error("more is waiting than is allowed")]
    Throttled,
    /// The store failed.
    #[error("the store failed")]
    Failed,
}

/// Where the records go.
pub trait Ingest: Send + Sync + 'static {
    /// Takes records in the order given, which within a shard is the order in which they are relayed, also
    /// relative to earlier calls. The answer has one entry per record, in the same order; `Ok` means
    /// that the message is durable in every queue it goes to, and its number rises within the shard. A record that
    /// is no message is counted, skipped and `Ok`: sending it again would not help.
    fn put(
        &self,
        records: Vec<IngestRecord>,
    ) -> LocalBoxFuture<'static, Vec<Result<SequenceNumber, IngestError>>>;
}

/// What the operations need.
pub struct KinesisState {
    /// The one stream.
    pub stream: Stream,
    /// Where its records go.
    pub ingest: Arc<dyn Ingest>,
}

/// One line per operation: its name and the function that does it. All are the operator's.
macro_rules! operations {
    ($($name:literal $call:path,)*) => {
        &[$(Operation {
            name: $name,
            access: Access::Operator,
            handler: |state, call| Box::pin(serve(state, call, $call)),
        },)*]
    };
}

/// Every operation.
pub static OPERATIONS: &[Operation<KinesisState>] = operations![
    "DescribeStream" describe_stream::full,
    "DescribeStreamSummary" describe_stream::summary,
    "ListShards" list_shards::call,
    "ListStreams" list_streams::call,
    "PutRecord" put_record::call,
    "PutRecords" put_records::call,
];

/// What the front door asks of this wire.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wire;

impl RpcWire for Wire {
    fn name(&self) -> &'static str {
        "kinesis"
    }

    fn signed_as(&self) -> &'static str {
        "kinesis"
    }

    fn body_limit_bytes(&self) -> usize {
        limits::kinesis::BODY_BYTES
    }

    fn claims(&self, inbound: &Inbound) -> bool {
        json11::operation(inbound, TARGET_PREFIX).is_some()
    }

    fn operation<'a>(&self, inbound: &'a Inbound) -> Option<Cow<'a, str>> {
        json11::operation(inbound, TARGET_PREFIX).map(Cow::Borrowed)
    }

    fn refuser(&self, _: &Inbound) -> Refuser {
        Box::new(json11::refuse)
    }
}

async fn serve<F: Future<Output = Result<Value, Fault>>>(
    state: Arc<KinesisState>,
    call: Call,
    run: impl FnOnce(Arc<KinesisState>, Bytes) -> F,
) -> HttpResponse {
    if is_cbor(&call) {
        let text = "CBOR is not supported, use JSON: AWS_CBOR_DISABLE=true in Java SDK 1, CBOR_ENABLED=false in 2.";
        return json11::answer(Err(Fault::sender("SerializationException", text)));
    }
    json11::answer(run(state, call.body).await)
}

fn is_cbor(call: &Call) -> bool {
    let content_type = call.headers.get(header::CONTENT_TYPE);
    content_type
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.trim_start().starts_with("application/x-amz-cbor"))
}
