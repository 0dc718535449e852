//! Rows of the table of leases: their keys and their form.
//!
//! The table's keys are `stream` (the stream's name) and `lease`; the other names are those of Kinesis's own client library:
//!
//! | `lease` | attributes | what for |
//! |---|---|---|
//! | `start` | `checkpoint` | where a shard is begun with that nobody has read |
//! | `node/{id}` | `leaseCounter` | a node lives as long as it changes |
//! | `shard/{id}` | `leaseOwner`, `ownerSwitches`, `checkpoint`, `parentShardIds` | who reads a shard, and how far |

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::backends::aws::items::{Item, corrupt, number_of, text, text_of};
use crate::domain::{StoreError, Timestamp};

/// The key of the row that says where shards are begun with.
pub const START: &str = "start";

/// How far a shard was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checkpoint {
    /// Not at all: it is begun with at its oldest record.
    TrimHorizon,
    /// Not at all: it is begun with at the first record of this time or later.
    AtTimestamp(Timestamp),
    /// Up to this sequence number, which was relayed.
    After(String),
    /// To its end.
    ShardEnd,
}

impl Checkpoint {
    /// The value of the attribute `checkpoint`.
    pub fn text(&self) -> String {
        match self {
            Self::TrimHorizon => "TRIM_HORIZON".into(),
            Self::AtTimestamp(at) => format!("AT_TIMESTAMP {}", at.micros()),
            Self::After(number) => number.clone(),
            Self::ShardEnd => "SHARD_END".into(),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        Some(match text {
            "TRIM_HORIZON" => Self::TrimHorizon,
            "SHARD_END" => Self::ShardEnd,
            number if is_number => Self::After(number.into()),
            other => Self::AtTimestamp(Timestamp(
                other.strip_prefix("AT_TIMESTAMP ")?.parse().ok()?,
            )),
        })
    }
}

/// A shard and who reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The shard's id.
    pub shard: String,
    /// The node that reads it, if one does.
    pub owner: Option<String>,
    /// How often it changed hands; with the owner's name it is a lease that nobody else has, nor had.
    pub switches: u64,
    /// How far it was read.
    pub checkpoint: Checkpoint,
    /// The shards that it was made of.
    pub parents: Vec<String>,
}

/// All rows of a stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// Where shards are begun with that nobody has read; `None` before the first node.
    pub start: Option<Checkpoint>,
    /// Nodes and their counters.
    pub nodes: BTreeMap<String, u64>,
    /// Shards.
    pub leases: Vec<Lease>,
}

impl Rows {
    /// Takes in a row.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if it is not of the form of its kind.
    pub fn add(&mut self, row: &Item) -> Result<(), StoreError> {
        let key = text_of(row, "lease")?;
        if key == START {
            self.start = Some(checkpoint(row)?);
        } else if let Some(node) = key.strip_prefix("node/") {
            let counter = number_of(row, "leaseCounter")?;
            self.nodes.insert(node.to_owned(), counter);
        } else if let Some(shard) = key.strip_prefix("shard/") {
            self.leases.push(Lease {
                shard: shard.to_owned(),
                owner: text_of(row, "leaseOwner").ok().map(str::to_owned),
                switches: number_of(row, "ownerSwitches")?,
                checkpoint: checkpoint(row)?,
                parents: parents(row)?,
            });
        }
        Ok(())
    }
}

fn checkpoint(row: &Item) -> Result<Checkpoint, StoreError> {
    let text = text_of(row, "checkpoint")?;
    Checkpoint::parse(text).ok_or_else(|| corrupt("checkpoint"))
}

fn parents(row: &Item) -> Result<Vec<String>, StoreError> {
    let list = row
        .get("parentShardIds")
        .and_then(|value| value.as_l().ok());
    let list = list.ok_or_else(|| corrupt("parentShardIds"))?.iter();
    let id = |value: &AttributeValue| value.as_s().cloned().map_err(|_| corrupt("parentShardIds"));
    list.map(id).collect()
}

/// The key of a node's row.
pub fn node_key(node: &str) -> String {
    format!("node/{node}")
}

/// The key of a shard's row.
pub fn shard_key(shard: &str) -> String {
    format!("shard/{shard}")
}

/// Shards' ids as a value.
pub fn shard_ids(shards: &[String]) -> AttributeValue {
    AttributeValue::L(shards.iter().map(text).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::aws::items::number;

    fn row(key: &str, pairs: &[(&str, AttributeValue)]) -> Item {
        let named = |(name, value): &(&str, AttributeValue)| ((*name).to_owned(), value.clone());
        let key = ("lease", text(key));
        pairs.iter().chain([&key]).map(named).collect()
    }

    #[test]
    fn checkpoints_come_back_as_they_were_written() {
        for checkpoint in [
            Checkpoint::TrimHorizon,
            Checkpoint::AtTimestamp(Timestamp(1_795_281_218_312_040)),
            Checkpoint::After("49612".into()),
            Checkpoint::ShardEnd,
        ] {
            assert_eq!(Checkpoint::parse(&checkpoint.text()), Some(checkpoint));
        }
        for other in ["", "LATEST", "-4", "AT_TIMESTAMP ", "4x"] {
            assert_eq!(Checkpoint::parse(other), None, "{other}");
        }
    }

    #[test]
    fn rows_are_told_apart_by_their_keys() {
        let mut rows = Rows::default();
        let end = ("checkpoint", text("SHARD_END"));
        rows.add(&row(START, std::slice::from_ref(&end))).unwrap();
        rows.add(&row("node/a", &[("leaseCounter", number(7))]))
            .unwrap();
        let shard = [
            end,
            ("ownerSwitches", number(3)),
            ("leaseOwner", text("a")),
            ("parentShardIds", shard_ids(&["p".into(), "q".into()])),
        ];
        rows.add(&row("shard/s", &shard)).unwrap();
        rows.add(&row("of a later version", &[])).unwrap();
        let lease = Lease {
            shard: "s".into(),
            owner: Some("a".into()),
            switches: 3,
            checkpoint: Checkpoint::ShardEnd,
            parents: vec!["p".into(), "q".into()],
        };
        assert_eq!(rows.start, Some(Checkpoint::ShardEnd));
        assert_eq!(rows.nodes, BTreeMap::from([("a".to_owned(), 7)]));
        assert_eq!(rows.leases, [lease]);
        for missing in 0..shard.len() {
            let mut pairs = shard.to_vec();
            let (name, _) = pairs.remove(missing);
            let outcome = rows.add(&row("shard/s", &pairs));
            assert_eq!(outcome.is_ok(), name == "leaseOwner", "{name}");
        }
    }
}
