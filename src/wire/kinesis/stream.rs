//! The stream as clients see it: name, shards, hash keys, sequence numbers.

use md5::{Digest as _, Md5};
use serde_json::{Value, json};

use crate::config::limits::kinesis as limits;
use crate::domain::Timestamp;
use crate::wire::json11::Fault;

/// Number of a shard, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ShardNo(pub u32);

impl ShardNo {
    /// The id: `shardId-000000000000`.
    pub fn id(self) -> String {
        format!("shardId-{:012}", self.0)
    }

    /// Reads an id back.
    fn parse(id: &str) -> Option<Self> {
        let shard = Self(id.strip_prefix("shardId-")?.parse().ok()?);
        (shard.id() == id).then_some(shard)
    }
}

/// Position of a record in its shard; rises within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct SequenceNumber(pub u64);

impl SequenceNumber {
    /// As AWS writes them: 56 digits, the first two `49`.
    pub fn text(self) -> String {
        format!("49{:054}", self.0)
    }
}

/// Bounds of what may be put.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Data and key of one record.
    pub record_bytes: usize,
    /// Data and keys of one call.
    pub call_bytes: usize,
    /// Records of one call.
    pub call_records: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            record_bytes: limits::RECORD_BYTES,
            call_bytes: limits::CALL_BYTES,
            call_records: limits::CALL_RECORDS,
        }
    }
}

/// The one stream.
#[derive(Debug, Clone)]
pub struct Stream {
    /// Name: `{env}-sqs-browser-event-dispatcher`, unless configured otherwise.
    pub name: String,
    /// The region in ARNs.
    pub region: String,
    /// The account in ARNs, 12 digits.
    pub account: String,
    /// Number of shards, at least 1.
    pub shards: u32,
    /// When it came to be.
    pub created: Timestamp,
    /// Bounds of what may be put.
    pub limits: Limits,
}

impl Stream {
    /// The stream's ARN.
    pub fn arn(&self) -> String {
        let Self {
            name,
            region,
            account,
            ..
        } = self;
        format!("arn:aws:kinesis:{region}:{account}:stream/{name}")
    }

    /// Whether the call means this stream.
    ///
    /// # Errors
    /// `ResourceNotFoundException` for another, `InvalidArgumentException` for none or two different ones.
    pub fn check(&self, name: Option<&str>, arn: Option<&str>) -> Result<(), Fault> {
        if name.is_none() && arn.is_none() {
            let text = "Either StreamName or StreamARN must be given.";
            return Err(Fault::sender("InvalidArgumentException", text));
        }
        if let Some(other) = arn.filter(|arn| *arn != self.arn()) {
            let text = format!("Stream {other} not found.");
            return Err(Fault::sender("ResourceNotFoundException", text));
        }
        match name.filter(|name| *name != self.name) {
            None => Ok(()),
            Some(_) if arn.is_some() => Err(Fault::sender(
                "InvalidArgumentException",
                "StreamName and StreamARN name different streams.",
            )),
            Some(other) => Err(Fault::sender(
                "ResourceNotFoundException",
                format!("Stream {other} under account {} not found.", self.account),
            )),
        }
    }

    /// The shard whose range a hash key is in.
    pub fn shard_of(&self, hash_key: u128) -> ShardNo {
        let (mut low, mut high) = (0, self.shards.max(1));
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.first_hash_key(middle) <= hash_key {
                low = middle;
            } else {
                high = middle;
            }
        }
        ShardNo(low)
    }

    /// Start of a shard's range: `shard` × 2^128 ÷ shards, rounded down.
    fn first_hash_key(&self, shard: u32) -> u128 {
        let (shard, shards) = (u128::from(shard), u128::from(self.shards.max(1)));
        // 2^128 does not fit, so divide 2^128 - 1 and put the missing one back into the remainder.
        let (mut quotient, mut remainder) = (u128::MAX / shards, u128::MAX % shards + 1);
        if remainder == shards {
            (quotient, remainder) = (quotient.wrapping_add(1), 0);
        }
        shard.wrapping_mul(quotient) + shard * remainder / shards
    }

    fn last_hash_key(&self, shard: u32) -> u128 {
        if shard + 1 >= self.shards {
            u128::MAX
        } else {
            self.first_hash_key(shard + 1) - 1
        }
    }

    /// A page of shard descriptions that starts after `after`, and whether there are more.
    pub fn shards_page(&self, after: Option<ShardNo>, limit: usize) -> (Vec<Value>, bool) {
        let start = after.map_or(0, |shard| shard.0.saturating_add(1));
        let left = self.shards.saturating_sub(start);
        let count = left.min(u32::try_from(limit).unwrap_or(u32::MAX));
        let describe = |shard: u32| {
            json!({
                "ShardId": ShardNo(shard).id(),
                "HashKeyRange": {
                    "StartingHashKey": self.first_hash_key(shard).to_string(),
                    "EndingHashKey": self.last_hash_key(shard).to_string(),
                },
                "SequenceNumberRange": {
                    "StartingSequenceNumber": SequenceNumber(0).text(),
                },
            })
        };
        let page = (start..start.saturating_add(count)).map(describe);
        (page.collect(), count < left)
    }
}

/// The hash key that a partition key stands for.
pub fn hash_key(partition_key: &str) -> u128 {
    u128::from_be_bytes(Md5::digest(partition_key.as_bytes()).into())
}

/// Reads a shard id that a caller sent.
///
/// # Errors
/// `InvalidArgumentException`.
pub fn parse_shard_id(id: &str) -> Result<ShardNo, Fault> {
    ShardNo::parse(id).ok_or_else(|| {
        Fault::sender(
            "InvalidArgumentException",
            format!("{id:?} is not the id of a shard."),
        )
    })
}

/// A validation error as AWS words it.
pub(super) fn violates(value: &str, member: &str, constraint: &str) -> Fault {
    Fault::sender(
        "ValidationException",
        format!(
            "1 validation error detected: Value {value} at '{member}' failed to satisfy constraint: Member must {constraint}"
        ),
    )
}

/// A number that must be within bounds.
pub(super) fn within(
    value: Option<u64>,
    member: &str,
    (low, high, default): (u64, u64, u64),
) -> Result<usize, Fault> {
    let number = value.unwrap_or(default);
    let value = format!("'{number}'");
    if number < low {
        let text = format!("have value greater than or equal to {low}");
        return Err(violates(&value, member, &text));
    }
    if number > high {
        let text = format!("have value less than or equal to {high}");
        return Err(violates(&value, member, &text));
    }
    Ok(usize::try_from(number).unwrap_or(usize::MAX))
}
