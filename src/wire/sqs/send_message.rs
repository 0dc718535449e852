//! `SendMessage` and `SendMessageBatch`.

use std::sync::Arc;
use std::time::Duration;

use super::answer::{Answer, Member};
use super::batch::{self, Batch};
use super::error::Fault;
use super::limits;
use super::message_attributes::{self, body_md5, check_text, md5};
use super::request::{Fields, Request};
use crate::actors::queue::messages::{Outgoing, Send, Sent};
use crate::domain::QueueError;
use crate::domain::message::{AttributeValue, MessageAttribute};
use crate::domain::queue::QueueRecord;

const ENTRY: &str = "SendMessageBatchRequestEntry";

/// A message as the request has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    body: String,
    delay: Option<Duration>,
    attributes: Vec<MessageAttribute>,
    trace_header: Option<MessageAttribute>,
    group: Option<Arc<str>>,
    dedup: Option<Arc<str>>,
}

impl Message {
    /// Reads a request, or an entry of a batch.
    ///
    /// # Errors
    /// Whatever is wrong with the message, whichever queue it is for.
    pub fn parse(fields: &mut Fields) -> Result<Self, Fault> {
        let body = fields.required_text("MessageBody")?;
        check_text(&body)?;
        let delay = fields.integer_within(
            "DelaySeconds",
            0..=limits::DELAY_SECONDS,
            "DelaySeconds must be >= 0 and <= 900.",
        )?;
        Ok(Self {
            body,
            delay: delay.map(Duration::from_secs),
            attributes: message_attributes::parse(fields)?,
            trace_header: message_attributes::parse_trace_header(fields)?,
            group: token(fields, "MessageGroupId")?,
            dedup: token(fields, "MessageDeduplicationId")?,
        })
    }

    fn size(&self) -> usize {
        self.body.len() + message_attributes::size(&self.attributes)
    }

    fn check_size(&self, queue: &QueueRecord) -> Result<(), Fault> {
        let most = queue.attributes.maximum_message_size;
        if self.size() <= most as usize {
            return Ok(());
        }
        Err(Fault::invalid(format!(
            "One or more parameters are invalid. Reason: Message must be shorter than {most} bytes."
        )))
    }

    fn digests(&self) -> Digests {
        Digests {
            body: body_md5(self.body.as_bytes()),
            attributes: md5(&self.attributes),
            system_attributes: md5(&self.trace_header),
        }
    }

    fn outgoing(self, sender: Arc<str>) -> Outgoing {
        let trace_header = self.trace_header.map(|header| match header.value {
            AttributeValue::Text(text) => Arc::from(text),
            AttributeValue::Binary(_) => unreachable!("the parser takes text only"),
        });
        Outgoing {
            body: self.body.into(),
            delay: self.delay,
            attributes: self.attributes.into(),
            group: self.group,
            dedup: self.dedup,
            trace_header,
            sender,
        }
    }
}

/// A FIFO id: 1 to 128 letters, digits and punctuation.
///
/// # Errors
/// `InvalidParameterValue`.
pub fn token(fields: &mut Fields, name: &str) -> Result<Option<Arc<str>>, Fault> {
    let Some(text) = fields.text(name)? else {
        return Ok(None);
    };
    let allowed = text.bytes().all(|b| b.is_ascii_graphic());
    if allowed && (1..=limits::TOKEN_CHARS).contains(&text.len()) {
        return Ok(Some(text.into()));
    }
    Err(Fault::invalid(format!(
        "Value {text:.200} for parameter {name} is invalid. Reason: {name} can only include alphanumeric and punctuation characters. 1 to 128 in length."
    )))
}

/// What senders check that their message arrived whole by.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Digests {
    body: String,
    attributes: Option<String>,
    system_attributes: Option<String>,
}

/// `SendMessage`.
///
/// # Errors
/// As [`Message::parse`], and the queue's.
pub async fn one(mut request: Request) -> Result<Answer, Fault> {
    let queue = request.queue()?;
    let message = Message::parse(&mut request.fields)?;
    message.check_size(&queue)?;
    let digests = message.digests();
    let send = Send {
        entries: vec![message.outgoing(request.state.account.clone())],
    };
    let mut sent = request.state.queues.send(&queue, send).await?;
    let sent = sent.pop().expect("the queue answers each entry")?;
    Ok(Some(encode(&digests, sent)))
}

/// `SendMessageBatch`.
///
/// # Errors
/// What is wrong with the whole batch, and the queue's.
pub async fn batch(mut request: Request) -> Result<Answer, Fault> {
    let queue = request.queue()?;
    let batch = read_batch(&mut request.fields, &queue)?;
    let mut digests = batch
        .good()
        .map(Message::digests)
        .collect::<Vec<_>>()
        .into_iter();
    let account = request.state.account.clone();
    let results = batch
        .run(async |good: Vec<Message>| {
            let outgoing = good.into_iter().map(|m| m.outgoing(account.clone()));
            let send = Send {
                entries: outgoing.collect(),
            };
            let sent = request.state.queues.send(&queue, send).await?;
            let with_digests = sent.into_iter().map(|result| {
                let digests = digests.next().expect("each entry has its digests");
                result.map(|sent| (digests, sent))
            });
            Ok(with_digests.collect())
        })
        .await?;
    let element = "SendMessageBatchResultEntry";
    Ok(batch::answer(
        request.protocol,
        element,
        results,
        |(digests, sent)| encode(&digests, sent),
    ))
}

fn read_batch(fields: &mut Fields, queue: &QueueRecord) -> Result<Batch<Message>, Fault> {
    let mut batch = Batch::parse(fields, ENTRY, Message::parse)?;
    let total: usize = batch.good().map(Message::size).sum();
    if total > limits::MESSAGE_BYTES {
        return Err(Fault::BatchTooLong(total));
    }
    // AWS refuses the whole batch for these, not the entry.
    if queue.attributes.fifo {
        for message in batch.good() {
            if message.group.is_none() {
                let text = "The request must contain the parameter MessageGroupId.";
                return Err(Fault::invalid(text));
            }
            if message.dedup.is_none() && !queue.attributes.content_based_deduplication {
                return Err(QueueError::InvalidParameter(
                    "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly".into(),
                )
                .into());
            }
        }
    }
    batch.check(|message| message.check_size(queue));
    Ok(batch)
}

fn encode(digests: &Digests, sent: Sent) -> Vec<Member> {
    let mut members = vec![
        Member::text("MessageId", sent.message_id.to_string()),
        Member::text("MD5OfMessageBody", digests.body.clone()),
    ];
    let optional = [
        ("MD5OfMessageAttributes", digests.attributes.clone()),
        (
            "MD5OfMessageSystemAttributes",
            digests.system_attributes.clone(),
        ),
        ("SequenceNumber", sent.sequence_number.map(sequence_number)),
    ];
    let present = optional
        .into_iter()
        .filter_map(|(name, text)| Some(Member::text(name, text?)));
    members.extend(present);
    members
}

/// Twenty digits, as AWS's, so that comparing texts compares numbers.
pub fn sequence_number(number: u64) -> String {
    format!("{number:020}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::super::answer::rendered;
    use super::super::protocol::Protocol;
    use super::super::request::both;
    use super::*;
    use crate::domain::queue::QueueAttributes;

    fn queue(attributes: QueueAttributes) -> QueueRecord {
        QueueRecord {
            attributes,
            ..super::super::tests::test_queue("q")
        }
    }

    fn body(text: &str) -> Result<Message, Fault> {
        let query = percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC);
        both(
            json!({"MessageBody": text}),
            &format!("MessageBody={query}"),
            Message::parse,
        )
    }

    #[test]
    fn a_message_is_read_in_both_protocols() {
        let found = both(
            json!({
                "MessageBody": "hello é", "DelaySeconds": 5,
                "MessageGroupId": "g", "MessageDeduplicationId": "d!",
                "MessageAttributes": {"Foo": {"DataType": "String", "StringValue": "Bar"}},
                "MessageSystemAttributes": {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1"}},
            }),
            "MessageBody=hello+%C3%A9&DelaySeconds=5&MessageGroupId=g&MessageDeduplicationId=d!\
             &MessageAttribute.1.Name=Foo&MessageAttribute.1.Value.DataType=String\
             &MessageAttribute.1.Value.StringValue=Bar&MessageSystemAttribute.1.Name=AWSTraceHeader\
             &MessageSystemAttribute.1.Value.DataType=String\
             &MessageSystemAttribute.1.Value.StringValue=Root%3D1&Version=2012-11-05&Action=SendMessage",
            Message::parse,
        )
        .unwrap();
        let digests = found.digests();
        assert_eq!(
            digests.attributes.as_deref(),
            Some("ae7155c6026991b6d54b11589678bf9c")
        );
        assert!(digests.system_attributes.is_some());
        let outgoing = found.outgoing("1".into());
        assert_eq!(outgoing.body, "hello é");
        assert_eq!(outgoing.delay, Some(Duration::from_secs(5)));
        assert_eq!(outgoing.group.as_deref(), Some("g"));
        assert_eq!(outgoing.dedup.as_deref(), Some("d!"));
        assert_eq!(outgoing.trace_header.as_deref(), Some("Root=1"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |json, query: &str, text: &str| {
            let found = both(json, query, Message::parse).unwrap_err();
            assert_eq!(found.to_string(), text);
        };
        let missing = "The request must contain the parameter MessageBody.";
        check(json!({}), "", missing);
        check(json!({"MessageBody": ""}), "MessageBody=", missing);
        check(
            json!({"MessageBody": "x", "DelaySeconds": 901}),
            "MessageBody=x&DelaySeconds=901",
            "Value 901 for parameter DelaySeconds is invalid. Reason: DelaySeconds must be >= 0 and <= 900.",
        );
        for bad in ["", "a b", "é", &"x".repeat(129)] {
            let found = both(
                json!({"MessageBody": "x", "MessageGroupId": bad}),
                &format!("MessageBody=x&MessageGroupId={bad}"),
                Message::parse,
            );
            assert!(found.is_err(), "{bad}");
        }
        assert_eq!(
            body("a\u{b}"),
            Err(QueueError::InvalidMessageContents.into())
        );
    }

    #[test]
    fn the_queues_size_is_the_limit() {
        let small = queue(QueueAttributes {
            maximum_message_size: 1024,
            ..QueueAttributes::default()
        });
        assert_eq!(body(&"x".repeat(1024)).unwrap().check_size(&small), Ok(()));
        assert_eq!(
            body(&"x".repeat(1025))
                .unwrap()
                .check_size(&small)
                .unwrap_err()
                .to_string(),
            "One or more parameters are invalid. Reason: Message must be shorter than 1024 bytes."
        );
        // Attributes count too, by name, type and value.
        let with_attribute = Message {
            attributes: vec![MessageAttribute {
                name: "n".into(),
                data_type: "String".into(),
                value: AttributeValue::Text("v".into()),
            }],
            ..body(&"x".repeat(1017)).unwrap()
        };
        assert!(with_attribute.check_size(&small).is_err());
    }

    fn batch_of(queue: &QueueRecord, entries: &serde_json::Value) -> Result<Batch<Message>, Fault> {
        let body = json!({ "Entries": entries }).to_string();
        read_batch(&mut Fields::of_json(body.as_bytes()).unwrap(), queue)
    }

    #[test]
    fn a_batch_has_a_size_of_its_own() {
        let standard = queue(QueueAttributes::default());
        let entries = |second: usize| {
            json!([
                {"Id": "1", "MessageBody": "x".repeat(1_000_000)},
                {"Id": "2", "MessageBody": "x".repeat(second)},
            ])
        };
        assert!(batch_of(&standard, &entries(48_576)).is_ok());
        let found = batch_of(&standard, &entries(48_577));
        assert_eq!(found, Err(Fault::BatchTooLong(1_048_577)));

        let small = queue(QueueAttributes {
            maximum_message_size: 48_576,
            ..QueueAttributes::default()
        });
        assert_eq!(
            batch_of(&small, &entries(48_576)).unwrap().good().count(),
            1
        );
    }

    #[test]
    fn a_fifo_batch_without_ids_is_refused_whole() {
        let mut fifo = queue(QueueAttributes {
            fifo: true,
            ..QueueAttributes::default()
        });
        let ids = |extra: serde_json::Value| {
            let mut entry = json!({"Id": "1", "MessageBody": "x"});
            entry
                .as_object_mut()
                .unwrap()
                .extend(extra.as_object().unwrap().clone());
            json!([entry])
        };
        assert!(batch_of(&fifo, &ids(json!({}))).is_err());
        assert!(batch_of(&fifo, &ids(json!({"MessageGroupId": "g"}))).is_err());
        let both_ids = json!({"MessageGroupId": "g", "MessageDeduplicationId": "d"});
        assert!(batch_of(&fifo, &ids(both_ids)).is_ok());
        fifo.attributes.content_based_deduplication = true;
        assert!(batch_of(&fifo, &ids(json!({"MessageGroupId": "g"}))).is_ok());
    }

    #[test]
    fn the_answer_has_what_the_message_has() {
        let digests = Digests {
            body: body_md5(b"hello"),
            attributes: None,
            system_attributes: None,
        };
        let sent = Sent {
            message_id: Uuid::nil(),
            sequence_number: None,
        };
        assert_eq!(
            rendered(Protocol::Json, "SendMessage", Some(encode(&digests, sent))),
            r#"{"MessageId":"00000000-0000-0000-0000-000000000000","MD5OfMessageBody":"5d41402abc4b2a76b9719d911017c592"}"#
        );
        let fifo = Sent {
            sequence_number: Some(7),
            ..sent
        };
        let xml = rendered(Protocol::Query, "SendMessage", Some(encode(&digests, fifo)));
        assert!(
            xml.contains("<SequenceNumber>00000000000000000007</SequenceNumber>"),
            "{xml}"
        );
    }
}
