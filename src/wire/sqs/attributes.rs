//! Queue attributes as SQS writes them: every value is a text (WIRE 1.4, 1.6).

use std::ops::RangeInclusive;
use std::time::Duration;

use super::answer::{Text, Value};
use super::error::Fault;
use super::limits;
use super::redrive;
use super::request::{Fields, MapParameter};
use crate::domain::QueueError;
use crate::domain::queue::{DedupScope, QueueAttributes, QueueCounts, QueueRecord, RedrivePolicy};

const PARAMETER: MapParameter = MapParameter {
    json: "Attributes",
    query: ["Attribute", "Attributes"],
    key: "Name",
};

/// An attribute's name, as SQS has it.
type Name = &'static str;

/// Attributes that only FIFO queues have.
const FIFO_ONLY: [Name; 4] = [
    "FifoQueue",
    "ContentBasedDeduplication",
    "DeduplicationScope",
    "FifoThroughputLimit",
];

/// Attributes that are computed, in the order in which they are listed.
const COUNTS: [Name; 3] = [
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
];

/// One attribute with its new value, checked by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    Visibility(Duration),
    Delay(Duration),
    Retention(Duration),
    MaximumSize(u32),
    ReceiveWait(Duration),
    Fifo(bool),
    ContentDedup(bool),
    Scope(DedupScope),
    ThroughputPerGroup(bool),
    Redrive(Option<RedrivePolicy>),
    RedriveAllow(Option<String>),
    Policy(Option<String>),
    KmsKey(Option<String>),
    KmsReuse(u32),
    ManagedSse(bool),
}

/// The attributes that a request sets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes(Vec<(Name, Change)>);

impl Changes {
    /// Reads `Attributes`.
    ///
    /// # Errors
    /// `InvalidAttributeName`, `InvalidAttributeValue`, or `InvalidParameterValue` for redrive policies.
    pub fn parse(fields: &mut Fields) -> Result<Self, Fault> {
        let given = fields.text_map(PARAMETER)?.into_iter();
        given
            .map(|(name, value)| change(&name, &value))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names of the attributes that are set.
    pub fn names(&self) -> Vec<Name> {
        self.0.iter().map(|(name, _)| *name).collect()
    }

    /// Whether the request says that the queue is FIFO, if it says anything.
    pub fn fifo(&self) -> Option<bool> {
        self.0.iter().find_map(|(_, change)| match change {
            Change::Fifo(fifo) => Some(*fifo),
            _ => None,
        })
    }

    /// The attributes of a new queue.
    ///
    /// # Errors
    /// As [`Changes::check`].
    pub fn for_new(&self, fifo: bool) -> Result<QueueAttributes, Fault> {
        let mut attributes = QueueAttributes {
            fifo,
            ..QueueAttributes::default()
        };
        self.check(&attributes)?;
        self.apply(&mut attributes);
        Ok(attributes)
    }

    /// Checks what depends on the queue that the attributes are for.
    ///
    /// # Errors
    /// `InvalidAttributeName` for attributes of FIFO queues on a standard queue and for two kinds of encryption,
    /// `InvalidAttributeValue` for a change of the queue's type.
    pub fn check(&self, now: &QueueAttributes) -> Result<(), Fault> {
        for (name, change) in &self.0 {
            if !now.fifo && FIFO_ONLY.contains(name) {
                return Err(QueueError::InvalidAttributeName((*name).to_owned()).into());
            }
            if *change == Change::Fifo(false) {
                return Err(Fault::InvalidAttributeValue {
                    name,
                    reason: "Modifying queue type is not supported.".into(),
                });
            }
        }
        let kms_key = self.0.iter().find_map(|(_, change)| match change {
            Change::KmsKey(key) => Some(key.is_some()),
            _ => None,
        });
        let keeps_kms_key = kms_key.unwrap_or(now.kms_master_key_id.is_some());
        if keeps_kms_key
            && self
                .0
                .iter()
                .any(|(_, change)| *change == Change::ManagedSse(true))
        {
            return Err(Fault::InvalidAttributeName(
                "You can use one type of server-side encryption (SSE) at one time. You can either enable KMS SSE or SQS SSE.".into(),
            ));
        }
        let mut after = now.clone();
        self.apply(&mut after);
        if after.throughput_per_group && after.dedup_scope == DedupScope::Queue {
            return Err(Fault::InvalidAttributeValue {
                name: "FifoThroughputLimit",
                reason: "perMessageGroupId needs DeduplicationScope messageGroup.".into(),
            });
        }
        Ok(())
    }

    /// Sets the attributes.
    pub fn apply(&self, to: &mut QueueAttributes) {
        for (_, change) in &self.0 {
            match change.clone() {
                Change::Visibility(value) => to.visibility_timeout = value,
                Change::Delay(value) => to.delay = value,
                Change::Retention(value) => to.retention = value,
                Change::MaximumSize(value) => to.maximum_message_size = value,
                Change::ReceiveWait(value) => to.receive_wait = value,
                // The type is fixed at creation; `check` refuses another.
                Change::Fifo(_) => {}
                Change::ContentDedup(value) => to.content_based_deduplication = value,
                Change::Scope(value) => to.dedup_scope = value,
                Change::ThroughputPerGroup(value) => to.throughput_per_group = value,
                Change::Redrive(value) => to.redrive = value,
                Change::RedriveAllow(value) => to.redrive_allow = value,
                Change::Policy(value) => to.policy = value,
                Change::KmsKey(value) => to.kms_master_key_id = value,
                Change::KmsReuse(value) => to.kms_data_key_reuse_period = Some(value),
                Change::ManagedSse(value) => to.sqs_managed_sse = value,
            }
        }
        // A KMS key ends the queue's own encryption.
        to.sqs_managed_sse &= to.kms_master_key_id.is_none();
    }
}

fn change(name: &str, value: &str) -> Result<(Name, Change), Fault> {
    Ok(match name {
        "VisibilityTimeout" => {
            let (name, value) = seconds("VisibilityTimeout", value, 0..=43_200)?;
            (name, Change::Visibility(value))
        }
        "DelaySeconds" => {
            let (name, value) = seconds("DelaySeconds", value, 0..=900)?;
            (name, Change::Delay(value))
        }
        "MessageRetentionPeriod" => {
            let (name, value) = seconds("MessageRetentionPeriod", value, 60..=1_209_600)?;
            (name, Change::Retention(value))
        }
        "ReceiveMessageWaitTimeSeconds" => {
            let (name, value) = seconds("ReceiveMessageWaitTimeSeconds", value, 0..=20)?;
            (name, Change::ReceiveWait(value))
        }
        "MaximumMessageSize" => {
            let (name, value) = number("MaximumMessageSize", value, 1_024..=1_048_576)?;
            (name, Change::MaximumSize(value))
        }
        "KmsDataKeyReusePeriodSeconds" => {
            let (name, value) = number("KmsDataKeyReusePeriodSeconds", value, 60..=86_400)?;
            (name, Change::KmsReuse(value))
        }
        "FifoQueue" => ("FifoQueue", Change::Fifo(boolean("FifoQueue", value)?)),
        "ContentBasedDeduplication" => {
            let yes = boolean("ContentBasedDeduplication", value)?;
            ("ContentBasedDeduplication", Change::ContentDedup(yes))
        }
        "SqsManagedSseEnabled" => {
            let yes = boolean("SqsManagedSseEnabled", value)?;
            ("SqsManagedSseEnabled", Change::ManagedSse(yes))
        }
        "DeduplicationScope" => {
            let words = [
                ("queue", DedupScope::Queue),
                ("messageGroup", DedupScope::MessageGroup),
            ];
            let scope = word("DeduplicationScope", value, words)?;
            ("DeduplicationScope", Change::Scope(scope))
        }
        "FifoThroughputLimit" => {
            let words = [("perQueue", false), ("perMessageGroupId", true)];
            let per_group = word("FifoThroughputLimit", value, words)?;
            ("FifoThroughputLimit", Change::ThroughputPerGroup(per_group))
        }
        "KmsMasterKeyId" => ("KmsMasterKeyId", Change::KmsKey(unless_empty(value))),
        "RedrivePolicy" => (
            "RedrivePolicy",
            Change::Redrive(redrive::parse_policy(value)?),
        ),
        "RedriveAllowPolicy" => (
            "RedriveAllowPolicy",
            Change::RedriveAllow(redrive::parse_allow_policy(value)?),
        ),
        "Policy" => ("Policy", Change::Policy(policy(value)?)),
        other => return Err(QueueError::InvalidAttributeName(other.to_owned()).into()),
    })
}

fn number(name: Name, value: &str, range: RangeInclusive<u32>) -> Result<(Name, u32), Fault> {
    match value.parse() {
        Ok(number) if range.contains(&number) => Ok((name, number)),
        _ => Err(Fault::InvalidAttributeValue {
            name,
            reason: format!(
                "Must be an integer from {} to {}.",
                range.start(),
                range.end()
            ),
        }),
    }
}

fn seconds(name: Name, value: &str, range: RangeInclusive<u32>) -> Result<(Name, Duration), Fault> {
    let (name, number) = number(name, value, range)?;
    Ok((name, Duration::from_secs(number.into())))
}

fn boolean(name: Name, value: &str) -> Result<bool, Fault> {
    let lower = value.to_ascii_lowercase();
    word(name, &lower, [("true", true), ("false", false)])
}

fn word<T: Copy>(name: Name, value: &str, words: [(&'static str, T); 2]) -> Result<T, Fault> {
    let found = words.iter().find(|(word, _)| *word == value);
    found
        .map(|(_, meaning)| *meaning)
        .ok_or_else(|| Fault::InvalidAttributeValue {
            name,
            reason: format!("Must be {} or {}.", words[0].0, words[1].0),
        })
}

fn unless_empty(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}

fn policy(value: &str) -> Result<Option<String>, Fault> {
    let is_document = || {
        value.len() <= limits::POLICY_BYTES
            && serde_json::from_str::<serde_json::Value>(value).is_ok_and(|v| v.is_object())
    };
    if value.is_empty() || is_document() {
        return Ok(unless_empty(value));
    }
    Err(Fault::InvalidAttributeValue {
        name: "Policy",
        reason: format!(
            "Must be a JSON policy document of at most {} bytes.",
            limits::POLICY_BYTES
        ),
    })
}

/// Which attributes `GetQueueAttributes` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted(Vec<String>);

impl Wanted {
    /// Reads `AttributeNames`.
    ///
    /// # Errors
    /// `InvalidAttributeName`.
    pub fn parse(fields: &mut Fields) -> Result<Self, Fault> {
        let names = fields.texts("AttributeNames", "AttributeName")?;
        match names.iter().find(|name| !is_attribute(name)) {
            Some(unknown) => Err(QueueError::InvalidAttributeName(unknown.clone()).into()),
            None => Ok(Self(names)),
        }
    }

    /// Whether the counts must be asked of the queue.
    pub fn counts(&self) -> bool {
        COUNTS.iter().any(|name| self.has(name))
    }

    /// Those of the queue's attributes that are wanted.
    pub fn of(&self, queue: &QueueRecord, arn: String, counts: QueueCounts) -> Vec<(Text, Value)> {
        all(queue, arn, counts)
            .into_iter()
            .filter(|(name, _)| self.has(name))
            .map(|(name, value)| (name.into(), Value::Text(value.into())))
            .collect()
    }

    fn has(&self, name: &str) -> bool {
        self.0
            .iter()
            .any(|wanted| wanted == "All" || wanted == name)
    }
}

/// Whether SQS has an attribute of this name, `All` included.
pub fn is_attribute(name: &str) -> bool {
    const OTHERS: [Name; 15] = [
        "All",
        "Policy",
        "VisibilityTimeout",
        "MaximumMessageSize",
        "MessageRetentionPeriod",
        "CreatedTimestamp",
        "LastModifiedTimestamp",
        "QueueArn",
        "DelaySeconds",
        "ReceiveMessageWaitTimeSeconds",
        "RedrivePolicy",
        "RedriveAllowPolicy",
        "KmsMasterKeyId",
        "KmsDataKeyReusePeriodSeconds",
        "SqsManagedSseEnabled",
    ];
    COUNTS.contains(&name) || FIFO_ONLY.contains(&name) || OTHERS.contains(&name)
}

fn all(queue: &QueueRecord, arn: String, counts: QueueCounts) -> Vec<(Name, String)> {
    let has = &queue.attributes;
    let seconds = |value: Duration| value.as_secs().to_string();
    let [visible, in_flight, delayed] = COUNTS;
    let mut list = vec![
        ("QueueArn", arn),
        (visible, counts.visible.to_string()),
        (in_flight, counts.in_flight.to_string()),
        (delayed, counts.delayed.to_string()),
        ("CreatedTimestamp", queue.created.secs().to_string()),
        ("LastModifiedTimestamp", queue.modified.secs().to_string()),
        ("VisibilityTimeout", seconds(has.visibility_timeout)),
        ("MaximumMessageSize", has.maximum_message_size.to_string()),
        ("MessageRetentionPeriod", seconds(has.retention)),
        ("DelaySeconds", seconds(has.delay)),
        ("ReceiveMessageWaitTimeSeconds", seconds(has.receive_wait)),
        ("SqsManagedSseEnabled", has.sqs_managed_sse.to_string()),
    ];
    if has.fifo {
        let scope = match has.dedup_scope {
            DedupScope::Queue => "queue",
            DedupScope::MessageGroup => "messageGroup",
        };
        let limit = if has.throughput_per_group {
            "perMessageGroupId"
        } else {
            "perQueue"
        };
        list.extend([
            ("FifoQueue", "true".into()),
            (
                "ContentBasedDeduplication",
                has.content_based_deduplication.to_string(),
            ),
            ("DeduplicationScope", scope.into()),
            ("FifoThroughputLimit", limit.into()),
        ]);
    }
    let optional = [
        ("Policy", has.policy.clone()),
        (
            "RedrivePolicy",
            has.redrive.as_ref().map(redrive::policy_text),
        ),
        ("RedriveAllowPolicy", has.redrive_allow.clone()),
        ("KmsMasterKeyId", has.kms_master_key_id.clone()),
        (
            "KmsDataKeyReusePeriodSeconds",
            has.kms_data_key_reuse_period.map(|value| value.to_string()),
        ),
    ];
    list.extend(
        optional
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    list
}

#[cfg(test)]
mod tests;
