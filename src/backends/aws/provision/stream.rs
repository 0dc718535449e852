//! The stream in Kinesis.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::service::Pauses;
use super::super::signed::CallError;
use super::{Found, Part, Provisioner, TAG, object};
use crate::domain::StoreError;

/// What names of its operations begin with.
const PREFIX: &str = "Kinesis_20131202";

/// How long a stream may take until it can be used.
const ACTIVATION: Duration = Duration::from_secs(120);

impl Provisioner {
    pub(super) async fn find_stream(&self, part: &Part) -> Result<Option<Found>, StoreError> {
        let Some(summary) = self.describe_stream(part).await? else {
            return Ok(None);
        };
        let asked = json!({ "StreamName": part.name });
        let answer = self.stream_call("ListTagsForStream", &asked).await?;
        let mut tags = answer["Tags"].as_array().into_iter().flatten();
        let tag = tags.find(|tag| tag["Key"] == TAG);
        let tag = tag.and_then(|tag| tag["Value"].as_str()).map(str::to_owned);
        let is = json!({ "shards": summary["OpenShardCount"] });
        Ok(Some(Found {
            is: object(is),
            tag: Some(tag),
        }))
    }

    pub(super) async fn make_stream(&self, part: &Part) -> Result<(), StoreError> {
        let asked = json!({
            "StreamName": part.name,
            "ShardCount": part.wanted["shards"],
        });
        self.stream_call("CreateStream", &asked).await?;
        let mut waiting = Pauses::lasting(ACTIVATION);
        loop {
            let found = self.describe_stream(part).await?;
            if found.is_some_and(|found| found["StreamStatus"] == "ACTIVE") {
                break;
            }
            if !waiting.pause().await {
                let text = format!("the stream {} does not become active", part.name);
                return Err(StoreError::Unavailable(text));
            }
        }
        let asked = json!({ "StreamName": part.name, "Tags": { TAG: self.options.env } });
        self.stream_call("AddTagsToStream", &asked).await?;
        Ok(())
    }

    pub(super) async fn remove_stream(&self, part: &Part) -> Result<(), StoreError> {
        let asked = json!({ "StreamName": part.name, "EnforceConsumerDeletion": true });
        self.stream_call("DeleteStream", &asked).await?;
        Ok(())
    }

    /// `None` if it is not there.
    async fn describe_stream(&self, part: &Part) -> Result<Option<Value>, StoreError> {
        let asked = json!({ "StreamName": part.name });
        match self.stream_call("DescribeStreamSummary", &asked).await {
            Ok(mut answer) => Ok(Some(answer["StreamDescriptionSummary"].take())),
            Err(error) if error.code() == "ResourceNotFoundException" => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn stream_call(
        &self,
        operation: &'static str,
        asked: &Value,
    ) -> Result<Value, CallError> {
        let called = self
            .services
            .signed
            .json(&self.kinesis, (PREFIX, operation), asked);
        called.await
    }
}
