//! Queues as such: to find, create, list, edit and delete them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::directory::Directory;
use super::queues::Queues;
use crate::backends::QueueEdit;
use crate::domain::queue::{QueueAttributes, QueueRecord, RedrivePolicy};
use crate::domain::{QueueError, QueueName, QueueNo, Seq, StoreError};

/// Queues looked at in one go when the whole catalogue is walked through.
const PAGE: usize = 1_000;

impl Queues {
    /// The queue of this name.
    ///
    /// # Errors
    /// [`QueueError::DoesNotExist`].
    pub fn find(&self, name: &QueueName) -> Result<QueueRecord, QueueError> {
        let found = self.directory.catalog.find(name)?;
        found.ok_or(QueueError::DoesNotExist)
    }

    /// Creates a queue, or finds it: an existing one must not differ in the attributes that are `given`.
    ///
    /// # Errors
    /// [`QueueError::NameExists`], [`QueueError::DeletedRecently`], and [`QueueError::InvalidParameter`] if name and
    /// `FifoQueue` do not fit each other or the redrive policy's target does not allow it.
    pub async fn create(
        &self,
        name: QueueName,
        attributes: QueueAttributes,
        given: &[&'static str],
        tags: BTreeMap<String, String>,
    ) -> Result<QueueRecord, QueueError> {
        check_name(&name, &attributes)?;
        if let Some(redrive) = &attributes.redrive {
            check_redrive(&self.directory, &name, attributes.fifo, redrive)?;
        }
        let now = self.directory.clock.now();
        let asked = QueueRecord {
            no: QueueNo(0),
            name,
            attributes,
            tags,
            created: now,
            modified: now,
            since: Seq(0),
            owner: None,
        };
        let attributes = asked.attributes.clone();
        let (queue, created) = self.directory.catalog.create(asked).await??;
        let differs = given
            .iter()
            .find(|name| !created && !same(name, &queue.attributes, &attributes));
        match differs {
            Some(name) => Err(QueueError::NameExists((*name).into())),
            None => Ok(queue),
        }
    }

    /// Deletes a queue and its messages; waiting receives are told that it does not exist.
    ///
    /// # Errors
    /// [`QueueError::DoesNotExist`]; [`QueueError::UnsupportedOperation`] for a session's queue, which goes with the
    /// session.
    pub async fn delete_queue(&self, queue: &QueueRecord) -> Result<(), QueueError> {
        if queue.owner.is_some() {
            let text = "The queue belongs to a session: destroy the session instead.";
            return Err(QueueError::UnsupportedOperation(text.into()));
        }
        let now = self.directory.clock.now();
        let existed = self.directory.catalog.delete(queue.no, now).await?;
        self.directory.gone(queue.no);
        if existed {
            Ok(())
        } else {
            Err(QueueError::DoesNotExist)
        }
    }

    /// Queues whose names start with `prefix` and come after `after`, in the order of names.
    ///
    /// # Errors
    /// Only [`QueueError::Store`].
    pub fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<QueueRecord>, QueueError> {
        Ok(self.directory.catalog.list(prefix, after, limit)?)
    }

    /// Changes attributes and tags of the newest record; the modification time follows by itself.
    ///
    /// # Errors
    /// [`QueueError::DoesNotExist`], `edit`'s own, and [`QueueError::InvalidParameter`] if a new redrive policy's target
    /// does not allow it.
    pub async fn edit(
        &self,
        queue: &QueueRecord,
        edit: QueueEdit,
    ) -> Result<QueueRecord, QueueError> {
        let directory = self.directory.clone();
        let checked: QueueEdit = Box::new(move |record| {
            let before = record.attributes.clone();
            edit(record)?;
            if record.attributes != before {
                record.modified = directory.clock.now();
            }
            match &record.attributes.redrive {
                Some(redrive) if before.redrive.as_ref() != Some(redrive) => {
                    check_redrive(&directory, &record.name, record.attributes.fifo, redrive)
                }
                _ => Ok(()),
            }
        });
        let edited = self.directory.catalog.edit(queue.no, checked).await??;
        self.directory.edited(queue.no);
        Ok(edited)
    }

    /// Queues whose dead-letter queue is this one, in the order of names.
    ///
    /// # Errors
    /// Only [`QueueError::Store`].
    pub async fn dead_letter_sources(
        &self,
        queue: &QueueRecord,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<QueueRecord>, QueueError> {
        let directory = self.directory.clone();
        let arn = directory.arn(&queue.name);
        let after = after.map(str::to_owned);
        // Walks through all queues, which may be many: not on an event loop.
        let walk = tokio::task::spawn_blocking(move || sources(&directory, &arn, after, limit));
        walk.await
            .map_err(|error| StoreError::Failed(format!("listing queues: {error}")))?
    }
}

fn sources(
    directory: &Arc<Directory>,
    arn: &str,
    mut after: Option<String>,
    limit: usize,
) -> Result<Vec<QueueRecord>, QueueError> {
    let mut found = Vec::new();
    while found.len() < limit {
        let page = directory.catalog.list("", after.as_deref(), PAGE)?;
        let Some(last) = page.last() else { break };
        after = Some(last.name.as_str().to_owned());
        found.extend(page.into_iter().filter(|queue| {
            let redrive = queue.attributes.redrive.as_ref();
            redrive.is_some_and(|redrive| redrive.dead_letter_target_arn == arn)
        }));
    }
    found.truncate(limit);
    Ok(found)
}

fn check_name(name: &QueueName, attributes: &QueueAttributes) -> Result<(), QueueError> {
    let text = match (name.is_fifo(), attributes.fifo) {
        (true, true) | (false, false) => return Ok(()),
        (true, false) => {
            "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length"
        }
        (false, true) => {
            "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must end \
             with .fifo suffix and be 1 to 80 in length."
        }
    };
    Err(QueueError::InvalidParameter(text.into()))
}

/// Whether the target of a redrive policy exists, is of the same type, and allows the queue as its source.
fn check_redrive(
    directory: &Directory,
    source: &QueueName,
    fifo: bool,
    redrive: &RedrivePolicy,
) -> Result<(), QueueError> {
    let target = directory.by_arn(&redrive.dead_letter_target_arn)?;
    let reason = match target {
        None => "Dead letter target does not exist.",
        Some(target) if target.attributes.fifo != fifo => {
            "Dead-letter queue must be same type of queue as the source."
        }
        Some(target) if !allows(&target, &directory.arn(source)) => {
            "Dead letter target does not allow this queue as its source (RedriveAllowPolicy)."
        }
        Some(_) => return Ok(()),
    };
    Err(QueueError::InvalidParameter(format!(
        "Value {{\"deadLetterTargetArn\":\"{}\",\"maxReceiveCount\":\"{}\"}} for parameter RedrivePolicy is invalid. \
         Reason: {reason}",
        redrive.dead_letter_target_arn, redrive.max_receive_count
    )))
}

/// Reads `RedriveAllowPolicy`; without one, or with one that says nothing, every source is allowed.
fn allows(target: &QueueRecord, source_arn: &str) -> bool {
    let policy = target
        .attributes
        .redrive_allow
        .as_deref()
        .and_then(|text| serde_json::from_str::<Value>(text).ok())
        .unwrap_or_default();
    match policy["redrivePermission"].as_str() {
        Some("denyAll") => false,
        Some("byQueue") => policy["sourceQueueArns"]
            .as_array()
            .is_some_and(|arns| arns.iter().any(|arn| arn == source_arn)),
        _ => true,
    }
}

/// Whether two queues have the same value of the named attribute.
fn same(name: &str, a: &QueueAttributes, b: &QueueAttributes) -> bool {
    match name {
        "VisibilityTimeout" => a.visibility_timeout == b.visibility_timeout,
        "DelaySeconds" => a.delay == b.delay,
        "MessageRetentionPeriod" => a.retention == b.retention,
        "MaximumMessageSize" => a.maximum_message_size == b.maximum_message_size,
        "ReceiveMessageWaitTimeSeconds" => a.receive_wait == b.receive_wait,
        "FifoQueue" => a.fifo == b.fifo,
        "ContentBasedDeduplication" => {
            a.content_based_deduplication == b.content_based_deduplication
        }
        "DeduplicationScope" => a.dedup_scope == b.dedup_scope,
        "FifoThroughputLimit" => a.throughput_per_group == b.throughput_per_group,
        "RedrivePolicy" => a.redrive == b.redrive,
        "RedriveAllowPolicy" => a.redrive_allow == b.redrive_allow,
        "Policy" => a.policy == b.policy,
        "KmsMasterKeyId" => a.kms_master_key_id == b.kms_master_key_id,
        "KmsDataKeyReusePeriodSeconds" => {
            a.kms_data_key_reuse_period == b.kms_data_key_reuse_period
        }
        "SqsManagedSseEnabled" => a.sqs_managed_sse == b.sqs_managed_sse,
        // The wire refuses other names.
        _ => true,
    }
}
