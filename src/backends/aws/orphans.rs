//! Queues and identities that no session owns: a node that ended between making them and writing their session's row leaves
//! them behind.
//!
//! All sessions are read first, then all queues and identities: one whose session was not among them has none, unless it has
//! just been made. A queue's tag says which table its session would stand in, so that nobody's queues are taken for orphans
//! of another's table; a pool of identities has one table of sessions.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName;

use super::identities::{self, Identities, Listed};
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

/// Names of queues and ids of identities by their digests: ten million texts would not fit. Two with the same digest cost one
/// orphan that stays.
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
    fn add(&mut self, text: &str) -> bool {
        self.digests.insert(self.hasher.hash_one(text));
        self.digests.len() <= self.most
    }

    fn has(&self, text: &str) -> bool {
        self.digests.contains(&self.hasher.hash_one(text))
    }
}

impl Sessions {
    /// Removes queues with this prefix, and identities, that no session owns; resolves to how many queues there were.
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
        if let Some(identities) = self.keys.identities() {
            self.reap_identities(identities, &owned, now).await?;
        }
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

    /// Removes identities of the pool that are none of these and have not just been made.
    async fn reap_identities(
        &self,
        identities: &Identities,
        owned: &Owned,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut from = None;
        loop {
            let page = identities.page(from.as_deref()).await?;
            let is_orphan = |one: &&Listed| {
                // One whose age nobody knows may have been made a moment ago.
                let made = one.creation_date.map(identities::seconds);
                !owned.has(&one.identity_id) && self.is_old(made, now)
            };
            let orphans = page.identities.iter().filter(is_orphan);
            let orphans: Vec<&str> = orphans.map(|one| one.identity_id.as_str()).collect();
            if !orphans.is_empty() {
                identities.delete(&orphans).await?;
                let removed = orphans.len() as u64;
                metrics::counter!("fanfare_aws_orphaned_identities_total").increment(removed);
            }
            from = page.next_token;
            if from.is_none() {
                return Ok(());
            }
        }
    }

    /// Whether what was made then was made so long ago that whoever made it has given up writing its session.
    fn is_old(&self, made: Option<Timestamp>, now: Timestamp) -> bool {
        // Identity, queue and row are tried for as long each.
        let patience = self.services.options.patience * 3 + CLOCKS_APART;
        made.is_some_and(|made| made.plus(patience) <= now)
    }

    /// The queues of all sessions, and their identities if they are Cognito's; `None` if there are too many.
    async fn owned(&self) -> Result<Option<Owned>, StoreError> {
        let identities = self.keys.identities().is_some();
        let texts = 1 + usize::from(identities);
        let mut owned = Owned::of_at_most(limits::aws::QUEUE_OWNERS * texts);
        let mut from = None;
        loop {
            let call = self.services.db.scan().table_name(self.table());
            let call = call
                .consistent_read(true)
                .filter_expression("kind = :kind")
                .expression_attribute_values(":kind", text(Kind::Session.text()))
                .projection_expression("sqsQueueName, identityId")
                .set_exclusive_start_key(from);
            let found = persist("Scan", self.pauses(), || call.clone().send()).await;
            let found = found.map_err(|error| trouble("Scan", error))?;
            for item in found.items.unwrap_or_default() {
                let queue = items::text_of(&item, "sqsQueueName")?;
                let identity = items::text_of(&item, "identityId")?;
                if !owned.add(queue) || identities && !owned.add(identity) {
                    return Ok(None);
                }
            }
            from = found.last_evaluated_key;
            if from.is_none() {
                return Ok(Some(owned));
            }
        }
    }

    /// Whether a queue was made for this table, and so long ago that whoever made it has given up.
    async fn is_abandoned(&self, url: &str, now: Timestamp) -> Result<bool, StoreError> {
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
        if !self.is_old(made.map(Timestamp::from_secs), now) {
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
        const { assert!(limits::aws::QUEUE_OWNERS * 2 * 16 <= 512 << 20) };
    }
}
