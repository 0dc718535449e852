//! `ReceiveMessage`, with its long poll.

use std::time::Duration;

use super::answer::{self, Answer, ListName, Member, Text, Value};
use super::attributes::is_attribute;
use super::error::Fault;
use super::limits;
use super::message_attributes::{self, Filter, body_md5, md5};
use super::request::{Fields, Request};
use super::send_message::{sequence_number, token};
use crate::actors::queue::messages::{Receive, Received};
use crate::domain::QueueError;
use crate::domain::queue::Transport;

const MESSAGES: ListName = ListName {
    json: "Messages",
    xml: "Message",
    query_json: "messages",
};

/// The attributes that SQS itself gives a message, in the order in which they are listed.
const SYSTEM_ATTRIBUTES: [&str; 9] = [
    "SenderId",
    "SentTimestamp",
    "ApproximateReceiveCount",
    "ApproximateFirstReceiveTimestamp",
    "SequenceNumber",
    "MessageDeduplicationId",
    "MessageGroupId",
    "AWSTraceHeader",
    "DeadLetterQueueSourceArn",
];

/// What is asked, and what is to be shown of each message.
#[derive(Debug)]
pub struct Poll {
    receive: Receive,
    system: Vec<String>,
    filter: Filter,
}

impl Poll {
    /// Reads a request.
    ///
    /// # Errors
    /// `InvalidParameterValue`, `InvalidAttributeName`.
    pub fn parse(fields: &mut Fields) -> Result<Self, Fault> {
        let max = fields.integer_within(
            "MaxNumberOfMessages",
            1..=limits::RECEIVE_MESSAGES,
            "Must be between 1 and 10, if provided.",
        )?;
        let wait = fields.integer_within(
            "WaitTimeSeconds",
            0..=limits::WAIT_SECONDS,
            "Must be >= 0 and <= 20, if provided.",
        )?;
        let visibility = fields.integer_within(
            "VisibilityTimeout",
            0..=limits::VISIBILITY_SECONDS,
            "Must be >= 0 and <= 43200, if provided.",
        )?;
        let mut system = fields.texts("AttributeNames", "AttributeName")?;
        system.extend(fields.texts("MessageSystemAttributeNames", "MessageSystemAttributeName")?);
        // Names of queue attributes are in the same enumeration and match nothing.
        let known = |name: &str| SYSTEM_ATTRIBUTES.contains(&name) || is_attribute(name);
        if let Some(unknown) = system.iter().find(|name| !known(name)) {
            return Err(QueueError::InvalidAttributeName(unknown.clone()).into());
        }
        Ok(Self {
            receive: Receive {
                max: max.and_then(|max| usize::try_from(max).ok()).unwrap_or(1),
                wait: wait.map(Duration::from_secs),
                visibility: visibility.map(Duration::from_secs),
                attempt: token(fields, "ReceiveRequestAttemptId")?,
                via: Transport::Sqs,
            },
            system,
            filter: Filter::parse(fields)?,
        })
    }
}

/// `ReceiveMessage`. While it waits, dropping the future ends the wait, and no message is marked as received.
///
/// # Errors
/// As [`Poll::parse`], and the queue's.
pub async fn call(mut request: Request) -> Result<Answer, Fault> {
    let queue = request.queue()?;
    let Poll {
        receive,
        system,
        filter,
    } = Poll::parse(&mut request.fields)?;
    let received = request.state.queues.receive(&queue, receive).await?;
    Ok(encode(&received, &system, &filter))
}

fn encode(received: &[Received], system: &[String], filter: &Filter) -> Answer {
    let message = |message| Value::Struct(encode_message(message, system, filter));
    let messages: Vec<_> = received.iter().map(message).collect();
    // AWS leaves the list out when it is empty.
    let list = (!messages.is_empty()).then_some(Member::List(MESSAGES, messages));
    Some(list.into_iter().collect())
}

fn encode_message(message: &Received, system: &[String], filter: &Filter) -> Vec<Member> {
    let mut members = vec![
        Member::text("MessageId", message.message_id.to_string()),
        Member::text("ReceiptHandle", message.handle.clone()),
        Member::text("MD5OfBody", body_md5(&message.body)),
        Member::text("Body", String::from_utf8_lossy(&message.body).into_owned()),
    ];
    let system = system_attributes(message, system);
    if !system.is_empty() {
        members.push(Member::Map(answer::ATTRIBUTES, system));
    }
    let wanted = || message.attributes.iter().filter(|a| filter.wants(&a.name));
    // The digest is of the attributes that are shown.
    if let Some(digest) = md5(wanted()) {
        let shown = message_attributes::encode(wanted());
        members.push(Member::text("MD5OfMessageAttributes", digest));
        members.push(Member::Map(answer::MESSAGE_ATTRIBUTES, shown));
    }
    members
}

fn system_attributes(message: &Received, wanted: &[String]) -> Vec<(Text, Value)> {
    let shared = |text: &std::sync::Arc<str>| text.to_string();
    let value = |name: &str| match name {
        "SenderId" => Some(message.sender.to_string()),
        "SentTimestamp" => Some(message.sent.millis().to_string()),
        "ApproximateReceiveCount" => Some(message.receive_count.to_string()),
        "ApproximateFirstReceiveTimestamp" => Some(message.first_received.millis().to_string()),
        "SequenceNumber" => message.sequence_number.map(sequence_number),
        "MessageDeduplicationId" => message.dedup.as_ref().map(shared),
        "MessageGroupId" => message.group.as_ref().map(shared),
        "AWSTraceHeader" => message.trace_header.as_ref().map(shared),
        "DeadLetterQueueSourceArn" => message.dead_letter_source.as_ref().map(shared),
        _ => None,
    };
    SYSTEM_ATTRIBUTES
        .into_iter()
        .filter(|name| wanted.iter().any(|w| w == "All" || w == name))
        .filter_map(|name| Some((name.into(), Value::Text(value(name)?.into()))))
        .collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;
    use uuid::Uuid;

    use super::super::answer::rendered;
    use super::super::protocol::Protocol;
    use super::super::request::both;
    use super::*;
    use crate::domain::Timestamp;
    use crate::domain::message::{AttributeValue, MessageAttribute};

    /// What a poll asks, comparable.
    fn read(json: serde_json::Value, query: &str) -> Result<String, Fault> {
        both(json, query, |fields| {
            Poll::parse(fields).map(|poll| format!("{poll:?}"))
        })
    }

    fn parse(json: &serde_json::Value) -> Poll {
        Poll::parse(&mut Fields::of_json(json.to_string().as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn a_poll_is_read_in_both_protocols() {
        let json = json!({
            "MaxNumberOfMessages": 10, "WaitTimeSeconds": 20, "VisibilityTimeout": 0,
            "AttributeNames": ["SenderId"], "MessageSystemAttributeNames": ["SentTimestamp"],
            "MessageAttributeNames": ["a.*"], "ReceiveRequestAttemptId": "x",
        });
        let query = "MaxNumberOfMessages=10&WaitTimeSeconds=20&VisibilityTimeout=0\
                     &AttributeName.1=SenderId&MessageSystemAttributeName.1=SentTimestamp\
                     &MessageAttributeName.1=a.*&ReceiveRequestAttemptId=x";
        read(json.clone(), query).unwrap();
        let poll = parse(&json);
        assert_eq!(poll.receive.max, 10);
        assert_eq!(poll.receive.wait, Some(Duration::from_secs(20)));
        assert_eq!(poll.receive.visibility, Some(Duration::ZERO));
        assert_eq!(poll.system, ["SenderId", "SentTimestamp"]);
        assert!(poll.filter.wants("a.b"));

        read(json!({}), "").unwrap();
        let poll = parse(&json!({}));
        assert_eq!((poll.receive.max, poll.receive.wait), (1, None));
    }

    #[test]
    fn limits_have_awss_texts() {
        for (name, value, reason) in [
            (
                "MaxNumberOfMessages",
                11,
                "Must be between 1 and 10, if provided.",
            ),
            (
                "MaxNumberOfMessages",
                0,
                "Must be between 1 and 10, if provided.",
            ),
            (
                "WaitTimeSeconds",
                21,
                "Must be >= 0 and <= 20, if provided.",
            ),
            (
                "WaitTimeSeconds",
                -1,
                "Must be >= 0 and <= 20, if provided.",
            ),
            (
                "VisibilityTimeout",
                43_201,
                "Must be >= 0 and <= 43200, if provided.",
            ),
        ] {
            let found = read(json!({name: value}), &format!("{name}={value}"));
            let text = format!("Value {value} for parameter {name} is invalid. Reason: {reason}");
            assert_eq!(found, Err(Fault::invalid(text)));
        }
        let unknown = QueueError::InvalidAttributeName("Foo".into());
        let found = read(json!({"AttributeNames": ["Foo"]}), "AttributeName.1=Foo");
        assert_eq!(found, Err(unknown.into()));
        assert!(
            read(
                json!({"AttributeNames": ["QueueArn"]}),
                "AttributeName.1=QueueArn"
            )
            .is_ok()
        );
    }

    fn received() -> Received {
        let attribute = |name: &str, value| MessageAttribute {
            name: name.into(),
            data_type: "String".into(),
            value: AttributeValue::Text(value),
        };
        Received {
            message_id: Uuid::nil(),
            handle: "H".into(),
            body: Bytes::from_static(b"hello"),
            attributes: [attribute("Bar", "x".into()), attribute("Foo", "Bar".into())].into(),
            sender: "AIDA".into(),
            sent: Timestamp::from_millis(1_795_216_061_078),
            first_received: Timestamp::from_millis(1_795_216_061_153),
            receive_count: 2,
            sequence_number: Some(5),
            group: Some("g".into()),
            dedup: None,
            trace_header: None,
            dead_letter_source: None,
        }
    }

    fn shown(system: &[&str], filter: &[&str]) -> serde_json::Value {
        let names: Vec<_> = filter.iter().map(|f| json!(f)).collect();
        let body = json!({ "MessageAttributeNames": names }).to_string();
        let filter = Filter::parse(&mut Fields::of_json(body.as_bytes()).unwrap()).unwrap();
        let system: Vec<_> = system.iter().map(|s| (*s).to_owned()).collect();
        let answer = encode(&[received()], &system, &filter);
        let text = rendered(Protocol::Json, "ReceiveMessage", answer);
        serde_json::from_str::<serde_json::Value>(&text).unwrap()["Messages"][0].take()
    }

    #[test]
    fn only_what_is_asked_for_is_shown() {
        let plain = json!({
            "MessageId": Uuid::nil().to_string(), "ReceiptHandle": "H",
            "MD5OfBody": "5d41402abc4b2a76b9719d911017c592", "Body": "hello",
        });
        assert_eq!(shown(&[], &[]), plain);
        let all = shown(&["All"], &["All"]);
        assert_eq!(
            all["Attributes"],
            json!({
                "SenderId": "AIDA", "SentTimestamp": "1795216061078", "ApproximateReceiveCount": "2",
                "ApproximateFirstReceiveTimestamp": "1795216061153",
                "SequenceNumber": "00000000000000000005", "MessageGroupId": "g",
            })
        );
        assert_eq!(all["MessageAttributes"].as_object().unwrap().len(), 2);
        let some = shown(&["SenderId", "AWSTraceHeader"], &["Foo"]);
        assert_eq!(some["Attributes"], json!({"SenderId": "AIDA"}));
        assert_eq!(
            some["MessageAttributes"],
            json!({"Foo": {"StringValue": "Bar", "DataType": "String"}})
        );
        assert_eq!(
            some["MD5OfMessageAttributes"],
            "ae7155c6026991b6d54b11589678bf9c"
        );
        assert_eq!(shown(&["QueueArn"], &["Nothing"]), plain);
    }

    #[test]
    fn xml_is_flat() {
        let filter =
            Filter::parse(&mut Fields::of_query(b"", b"MessageAttributeName.1=Foo").unwrap());
        let answer = encode(&[received()], &["SenderId".into()], &filter.unwrap());
        let xml = rendered(Protocol::Query, "ReceiveMessage", answer);
        assert!(xml.contains(
            "<ReceiveMessageResult><Message><MessageId>00000000-0000-0000-0000-000000000000</MessageId>\
             <ReceiptHandle>H</ReceiptHandle><MD5OfBody>5d41402abc4b2a76b9719d911017c592</MD5OfBody>\
             <Body>hello</Body><Attribute><Name>SenderId</Name><Value>AIDA</Value></Attribute>\
             <MD5OfMessageAttributes>ae7155c6026991b6d54b11589678bf9c</MD5OfMessageAttributes>\
             <MessageAttribute><Name>Foo</Name><Value><StringValue>Bar</StringValue><DataType>String</DataType>\
             </Value></MessageAttribute></Message></ReceiveMessageResult>"
        ), "{xml}");
    }

    #[test]
    fn an_empty_receive_is_an_empty_object() {
        let answer = encode(&[], &[], &Filter::default());
        assert_eq!(
            rendered(Protocol::Json, "ReceiveMessage", answer.clone()),
            "{}"
        );
        let xml = rendered(Protocol::Query, "ReceiveMessage", answer);
        assert!(xml.contains("<ReceiveMessageResult></ReceiveMessageResult>"));
    }
}
