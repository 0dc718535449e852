//! The shards of the stream: which there are, and what follows for their leases.

use std::collections::HashSet;

use aws_sdk_kinesis::operation::list_shards::ListShardsError;

use super::rows::Lease;
use crate::backends::aws::Services;
use crate::backends::aws::service::{Pauses, persist, trouble};
use crate::domain::StoreError;

/// A shard, open or closed, whose records Kinesis still has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListedShard {
    /// Its id.
    pub id: String,
    /// The shards that it was made of by a split or a merge.
    pub parents: Vec<String>,
}

/// All shards of the stream, parents before their children; `None` if there is no such stream.
///
/// # Errors
/// [`StoreError`] if Kinesis refuses or does not answer.
pub async fn list(
    services: &Services,
    stream: &str,
) -> Result<Option<Vec<ListedShard>>, StoreError> {
    let (mut shards, mut next) = (Vec::new(), None);
    loop {
        // The token stands for the stream.
        let call = services.kinesis.list_shards();
        let call = match next {
            None => call.stream_name(stream),
            token => call.set_next_token(token),
        };
        let pauses = Pauses::lasting(services.options.patience);
        let page = match persist("ListShards", pauses, || call.clone().send()).await {
            Ok(page) => page,
            Err(error) => {
                return match error.as_service_error() {
                    Some(ListShardsError::ResourceNotFoundException(_)) => Ok(None),
                    _ => Err(trouble("ListShards", error)),
                };
            }
        };
        let listed = page.shards.unwrap_or_default().into_iter();
        shards.extend(listed.map(|shard| {
            let parents = [shard.parent_shard_id, shard.adjacent_parent_shard_id];
            ListedShard {
                id: shard.shard_id,
                parents: parents.into_iter().flatten().collect(),
            }
        }));
        next = page.next_token;
        if next.is_none() {
            // Ids are numbered in the order in which shards are made.
            shards.sort();
            return Ok(Some(shards));
        }
    }
}

/// Shards that have no lease yet, in the order in which they are listed.
pub fn missing<'a>(
    listed: &'a [ListedShard],
    leases: &'a [Lease],
) -> impl Iterator<Item = &'a ListedShard> {
    let known: HashSet<&str> = leases.iter().map(|lease| lease.shard.as_str()).collect();
    listed
        .iter()
        .filter(move |shard| !known.contains(shard.id.as_str()))
}

/// Leases of shards that are no more: all of their records have left the stream.
pub fn gone<'a>(listed: &'a [ListedShard], leases: &'a [Lease]) -> impl Iterator<Item = &'a Lease> {
    let there: HashSet<&str> = listed.iter().map(|shard| shard.id.as_str()).collect();
    leases
        .iter()
        .filter(move |lease| !there.contains(lease.shard.as_str()))
}

#[cfg(test)]
mod tests {
    use super::super::rows::Checkpoint;
    use super::*;

    #[test]
    fn leases_follow_the_shards_that_there_are() {
        let listed = ["0", "1", "2"].map(|id| ListedShard {
            id: id.into(),
            parents: Vec::new(),
        });
        let leases = ["1", "9"].map(|shard| Lease {
            shard: shard.into(),
            owner: None,
            switches: 0,
            checkpoint: Checkpoint::TrimHorizon,
            parents: Vec::new(),
        });
        let missing: Vec<&str> = missing(&listed, &leases).map(|shard| &*shard.id).collect();
        assert_eq!(missing, ["0", "2"]);
        let gone: Vec<&str> = gone(&listed, &leases).map(|lease| &*lease.shard).collect();
        assert_eq!(gone, ["9"]);
    }
}
