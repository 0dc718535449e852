//! Queues that no session owns: a node that ended between making a queue and writing its session's row leaves one behind.
//!
//! All sessions are read first, then all queues: a queue whose session was not among them has none, unless it has just been
//! made. Its tag says which table its session would stand in, so that nobody's queues are taken for orphans of another's
//! table.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName;

use super::items::{self, Kind, text};
use super::outbox::is_gone;
use super::service::{persist, trouble};
use super::sessions::Sessions;
use crate::config::limits;
use crate::domain::{QueueName, StoreError, Timestamp};

/// The tag of a session's queue; its value is the table that the session is in.
pub const OWNER_TAG: &str = "fanfare:sessions";

/// Queues of one page (SQS's own limit).
const PAGE: i32 = 1000;

/// Clocks may be so far apart that AWS still takes signatures.
const CLOCKS_APART: Duration = Duration::from_secs(300);

/// Names of queues by their digests: ten million names would not fit. Two names with the same digest cost one orphan that
/// stays.
struct Owned {
    digests: HashSet<u64>,
    hasher: RandomState,
    most: usize,
}

impl Owned {
    fn of_at_most(most: usize) -> Self {
        Self {
            digests: HashSet::new(),
            hasher: RandomState::new(),
            most,
        }
    }

    /// `false` if there are more than may be.
    fn add(&mut self, name: &str) -> bool {
        self.digests.insert(self.hasher.hash_one(name));
        self.digests.len() <= self.most
    }

    fn has(&self, name: &str) -> bool {
        self.digests.contains(&self.hasher.hash_one(name))
    }
}

impl Sessions {
    /// Removes queues with this prefix that no session owns; resolves to how many there were.
    pub(super) async fn reap_orphans(
        self,
        prefix: String,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let Some(owned) = self.owned().await? else {
            tracing::warn!(
                most = limits::aws::QUEUE_OWNERS,
                "there are too many sessions to look for queues without one"
            );
            return Ok(0);
        };
        let (mut removed, mut from) = (0, None);
        loop {
            let call = self.services.sqs.list_queues().max_results(PAGE);
            let call = call
                .queue_name_prefix(format!("{prefix}-"))
                .set_next_token(from);
            let found = persist("ListQueues", self.pauses(), || call.clone().send()).await;
            let found = found.map_err(|error| trouble("ListQueues", error))?;
            for url in found.queue_urls.unwrap_or_default() {
                let name = url.rsplit('/').next().unwrap_or_default();
                let is_candidate = QueueName::parse(name)
                    .is_ok_and(|name| name.is_for_session(&prefix) && !owned.has(name.as_str()));
                if is_candidate && self.is_abandoned(&url, now).await? {
                    self.delete_queue_at(&url).await?;
                    removed += 1;
                }
            }
            from = found.next_token;
            if from.is_none() {
                metrics::counter!("fanfare_aws_orphaned_queues_total").increment(removed);
                return Ok(removed);
            }
        }
    }

    /// The queues of all sessions; `None` if there are too many.
    async fn owned(&self) -> Result<Option<Owned>, StoreError> {
        let mut owned = Owned::of_at_most(limits::aws::QUEUE_OWNERS);
        let mut from = None;
        loop {
            let call = self.services.db.scan().table_name(self.table());
            let call = call
                .consistent_read(true)
                .filter_expression("kind = :kind")
                .expression_attribute_values(":kind", text(Kind::Session.text()))
                .projection_expression("sqsQueueName")
                .set_exclusive_start_key(from);
            let found = persist("Scan", self.pauses(), || call.clone().send()).await;
            let found = found.map_err(|error| trouble("Scan", error))?;
            for item in found.items.unwrap_or_default() {
                if !owned.add(items::text_of(&item, "sqsQueueName")?) {
                    return Ok(None);
                }
            }
            from = found.last_evaluated_key;
            if from.is_none() {
                return Ok(Some(owned));
            }
        }
    }

    /// Whether a queue was made for this table, and so long before that whoever made it has given up.
    async fn is_abandoned(&self, url: &str, before: Timestamp) -> Result<bool, StoreError> {
        let call = self.services.sqs.get_queue_attributes().queue_url(url);
        let call = call.attribute_names(QueueAttributeName::CreatedTimestamp);
        let asked = persist("GetQueueAttributes", self.pauses(), || call.clone().send()).await;
        let attributes = match asked {
            Ok(found) => found.attributes.unwrap_or_default(),
            Err(error) if is_gone(&error) => return Ok(false),
            Err(error) => return Err(trouble("GetQueueAttributes", error)),
        };
        let made = attributes.get(&QueueAttributeName::CreatedTimestamp);
        let made = made.and_then(|seconds| seconds.parse().ok());
        let made = made.map(Timestamp::from_secs);
        // The queue's making and its row's writing are tried for as long each.
        let patience = self.services.options.patience * 2 + CLOCKS_APART;
        if made.is_none_or(|made| made.plus(patience) > before) {
            return Ok(false);
        }
        let call = self.services.sqs.list_queue_tags().queue_url(url);
        match persist("ListQueueTags", self.pauses(), || call.clone().send()).await {
            Ok(found) => {
                let tags = found.tags.unwrap_or_default();
                Ok(tags
                    .get(OWNER_TAG)
                    .is_some_and(|table| table == self.table()))
            }
            Err(error) if is_gone(&error) => Ok(false),
            Err(error) => Err(trouble("ListQueueTags", error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_owners_are_kept_and_no_more() {
        let mut owned = Owned::of_at_most(2);
        assert!(owned.add("a") && owned.add("b") && owned.add("a"));
        assert!(owned.has("a") && owned.has("b") && !owned.has("c"));
        assert!(!owned.add("c"));
        const { assert!(limits::aws::QUEUE_OWNERS * 16 <= 256 << 20) };
    }
}
