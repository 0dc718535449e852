//! `ListShards`, paged.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::wire::json11::{self, Fault};

use super::stream::{Stream, parse_shard_id, within};
use super::{KinesisState, ShardNo};

#[derive(Debug, Deserialize)]
struct ListShards {
    #[serde(rename = "StreamName")]
    name: Option<String>,
    #[serde(rename = "StreamARN")]
    arn: Option<String>,
    #[serde(rename = "NextToken")]
    token: Option<String>,
    #[serde(rename = "MaxResults")]
    limit: Option<u64>,
    #[serde(rename = "ExclusiveStartShardId")]
    after: Option<String>,
}

pub(super) async fn call(state: Arc<KinesisState>, body: Bytes) -> Result<Value, Fault> {
    let call: ListShards = json11::parse(&body)?;
    let stream = &state.stream;
    let limit = within(call.limit, "maxResults", (1, 10_000, 1000))?;
    let after = match &call.token {
        Some(token) => {
            if call.name.is_some() || call.after.is_some() {
                let text = "NextToken and StreamName cannot be provided together.";
                return Err(Fault::sender("InvalidArgumentException", text));
            }
            Some(parse_token(stream, token)?)
        }
        None => {
            stream.check(call.name.as_deref(), call.arn.as_deref())?;
            call.after.as_deref().map(parse_shard_id).transpose()?
        }
    };
    let (shards, more) = stream.shards_page(after, limit);
    let last = shards.last().and_then(|shard| shard["ShardId"].as_str());
    let token = last.filter(|_| more).map(|id| token(stream, id));
    let mut answer = json!({ "Shards": shards });
    if let Some(token) = token {
        answer["NextToken"] = token.into();
    }
    Ok(answer)
}

fn token(stream: &Stream, last: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}/{last}", stream.name))
}

fn parse_token(stream: &Stream, token: &str) -> Result<ShardNo, Fault> {
    let invalid = || Fault::sender("InvalidArgumentException", "The NextToken is invalid.");
    let text = URL_SAFE_NO_PAD.decode(token).map_err(|_| invalid())?;
    let text = String::from_utf8(text).map_err(|_| invalid())?;
    let (name, id) = text.split_once('/').ok_or_else(invalid)?;
    if name != stream.name {
        return Err(invalid());
    }
    parse_shard_id(id).map_err(|_| invalid())
}
