//! Queue attributes and the queue's catalogue record.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{QueueName, QueueNo, Seq, SessionKey, Timestamp};

/// `DeduplicationScope` and `FifoThroughputLimit` of a FIFO queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DedupScope {
    /// `queue`: one id is one message, whichever group it is sent to.
    #[default]
    Queue,
    /// `messageGroup`.
    MessageGroup,
}

/// `RedrivePolicy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedrivePolicy {
    /// ARN of the dead-letter queue.
    pub dead_letter_target_arn: String,
    /// Moved when the receive count would exceed this, 1..=1000.
    pub max_receive_count: u32,
}

/// What `SetQueueAttributes` can set, and FIFO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueAttributes {
    /// `VisibilityTimeout`, 0..=43200 s.
    pub visibility_timeout: Duration,
    /// `DelaySeconds`, 0..=900.
    pub delay: Duration,
    /// `MessageRetentionPeriod`, 60..=1209600 s.
    pub retention: Duration,
    /// `MaximumMessageSize`, 1024..=1048576 bytes.
    pub maximum_message_size: u32,
    /// `ReceiveMessageWaitTimeSeconds`, 0..=20.
    pub receive_wait: Duration,
    /// `FifoQueue`.
    pub fifo: bool,
    /// `ContentBasedDeduplication`.
    pub content_based_deduplication: bool,
    /// `DeduplicationScope`.
    pub dedup_scope: DedupScope,
    /// `FifoThroughputLimit=perMessageGroupId`.
    pub throughput_per_group: bool,
    /// `RedrivePolicy`.
    pub redrive: Option<RedrivePolicy>,
    /// `RedriveAllowPolicy`, stored and echoed; checked when a source names this queue.
    pub redrive_allow: Option<String>,
    /// `Policy`: an IAM policy document.
    pub policy: Option<String>,
    /// `KmsMasterKeyId`, stored and echoed.
    pub kms_master_key_id: Option<String>,
    /// `KmsDataKeyReusePeriodSeconds`, stored and echoed.
    pub kms_data_key_reuse_period: Option<u32>,
    /// `SqsManagedSseEnabled`, stored and echoed.
    pub sqs_managed_sse: bool,
}

impl Default for QueueAttributes {
    /// SQS's defaults for a new standard queue (WIRE 1.4).
    fn default() -> Self {
        Self {
            visibility_timeout: Duration::from_secs(30),
            delay: Duration::ZERO,
            retention: Duration::from_secs(345_600),
            maximum_message_size: 1_048_576,
            receive_wait: Duration::ZERO,
            fifo: false,
            content_based_deduplication: false,
            dedup_scope: DedupScope::Queue,
            throughput_per_group: false,
            redrive: None,
            redrive_allow: None,
            policy: None,
            kms_master_key_id: None,
            kms_data_key_reuse_period: None,
            sqs_managed_sse: true,
        }
    }
}

/// How a queue is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transport {
    /// By SQS's operations.
    #[default]
    Sqs,
    /// As an MQTT topic, which sessions' queues are, too.
    Mqtt,
}

/// A queue in the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueRecord {
    /// Internal number.
    pub no: QueueNo,
    /// Name, unique.
    pub name: QueueName,
    /// Attributes.
    pub attributes: QueueAttributes,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// `CreatedTimestamp`.
    pub created: Timestamp,
    /// `LastModifiedTimestamp`.
    pub modified: Timestamp,
    /// Broadcasts accepted before this are not for this queue.
    pub since: Seq,
    /// The session that owns the queue; `None` for an operator's.
    pub owner: Option<SessionKey>,
}

/// `ApproximateNumberOfMessages` and its companions; here they are exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueCounts {
    /// Visible now.
    pub visible: u64,
    /// In flight.
    pub in_flight: u64,
    /// Delayed, never received.
    pub delayed: u64,
}
