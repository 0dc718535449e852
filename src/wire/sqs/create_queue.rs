//! `CreateQueue`.

use std::collections::BTreeMap;

use super::answer::{Answer, Member};
use super::attributes::Changes;
use super::error::Fault;
use super::protocol::Protocol;
use super::request::{Fields, Request};
use super::tags;
use crate::domain::QueueName;
use crate::domain::queue::QueueAttributes;

/// A queue as the request describes it.
#[derive(Debug, PartialEq, Eq)]
pub struct NewQueue {
    name: QueueName,
    attributes: QueueAttributes,
    given: Vec<&'static str>,
    tags: BTreeMap<String, String>,
}

impl NewQueue {
    /// Reads a request.
    ///
    /// # Errors
    /// `InvalidParameterValue`, and as [`Changes`].
    pub fn parse(fields: &mut Fields) -> Result<Self, Fault> {
        let text = fields.text("QueueName")?;
        let text = text.ok_or_else(|| Fault::missing("QueueName"))?;
        let changes = Changes::parse(fields)?;
        let fifo = changes.fifo().unwrap_or(false);
        let name = QueueName::parse(&text)
            .ok()
            .filter(|name| name.is_fifo() == fifo);
        let name = name.ok_or_else(|| {
            Fault::invalid(if fifo {
                "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must end with .fifo suffix and be 1 to 80 in length."
            } else {
                "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length"
            })
        })?;
        Ok(Self {
            name,
            attributes: changes.for_new(fifo)?,
            given: changes.names(),
            tags: tags::parse(fields, tags::OF_CREATE)?,
        })
    }
}

/// `CreateQueue`.
///
/// # Errors
/// As [`NewQueue::parse`], `QueueNameExists`, `QueueDeletedRecently`.
pub async fn call(mut request: Request) -> Result<Answer, Fault> {
    if request.protocol != Protocol::Json && request.path_queue.is_some() {
        return Err(Fault::InvalidAction("CreateQueue"));
    }
    let new = NewQueue::parse(&mut request.fields)?;
    let queues = &request.state.queues;
    let queue = queues
        .create(new.name, new.attributes, &new.given, new.tags)
        .await?;
    let url = request.queue_url(&queue.name);
    Ok(Some(vec![Member::text("QueueUrl", url)]))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::super::request::both;
    use super::*;

    #[test]
    fn a_queue_is_read_in_both_protocols() {
        let found = both(
            json!({
                "QueueName": "q.fifo",
                "Attributes": {"FifoQueue": "true", "VisibilityTimeout": "5"},
                "tags": {"k": "v"},
            }),
            "QueueName=q.fifo&Attribute.1.Name=FifoQueue&Attribute.1.Value=true\
             &Attribute.2.Name=VisibilityTimeout&Attribute.2.Value=5&Tag.1.Key=k&Tag.1.Value=v",
            NewQueue::parse,
        )
        .unwrap();
        assert_eq!(found.name.as_str(), "q.fifo");
        assert!(found.attributes.fifo);
        assert_eq!(found.attributes.visibility_timeout, Duration::from_secs(5));
        assert_eq!(found.given, ["FifoQueue", "VisibilityTimeout"]);
        assert_eq!(found.tags["k"], "v");
    }

    #[test]
    fn the_name_and_the_type_must_agree() {
        let check = |name: &str, fifo: Option<&str>, good: bool| {
            let mut json = json!({ "QueueName": name });
            let mut query = format!("QueueName={name}");
            if let Some(fifo) = fifo {
                json["Attributes"] = json!({ "FifoQueue": fifo });
                query += &format!("&Attribute.1.Name=FifoQueue&Attribute.1.Value={fifo}");
            }
            let found = both(json, &query, NewQueue::parse);
            assert_eq!(found.is_ok(), good, "{name} {fifo:?}: {found:?}");
        };
        check("q", None, true);
        check("q.fifo", Some("true"), true);
        check("q", Some("true"), false);
        check("q.fifo", None, false);
        // A standard queue has no such attribute, not even a false one.
        check("q", Some("false"), false);
        check("a.b", None, false);
        check("", None, false);
        assert_eq!(
            both(json!({}), "", NewQueue::parse),
            Err(Fault::missing("QueueName"))
        );
        check(&"x".repeat(81), None, false);
    }
}
