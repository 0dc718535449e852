//! `TagQueue`, `UntagQueue` and `ListQueueTags`.

use std::collections::BTreeMap;

use super::answer::{Answer, Member, TAGS, Value};
use super::error::Fault;
use super::limits;
use super::message_attributes::check_text;
use super::request::{Fields, MapParameter, Request};
use crate::domain::QueueError;
use crate::domain::queue::QueueRecord;

/// The tags in `CreateQueue`.
pub const OF_CREATE: MapParameter = MapParameter {
    json: "tags",
    query: ["Tag", "tags"],
    key: "Key",
};

/// The tags in `TagQueue`; botocore names them `Tags` in Query.
pub const OF_TAG: MapParameter = MapParameter {
    json: "Tags",
    query: ["Tag", "Tags"],
    key: "Key",
};

/// Reads tags.
///
/// # Errors
/// `InvalidParameterValue`, `InvalidMessageContents`.
pub fn parse(
    fields: &mut Fields,
    parameter: MapParameter,
) -> Result<BTreeMap<String, String>, Fault> {
    let given = fields.text_map(parameter)?;
    let refuse = |text: String| Err(Fault::invalid(text));
    for (key, value) in &given {
        if !(1..=limits::TAG_KEY_CHARS).contains(&key.chars().count()) {
            return refuse("Tag keys must be between 1 and 128 characters in length.".into());
        }
        if value.chars().count() > limits::TAG_VALUE_CHARS {
            return refuse(format!(
                "The value of the tag {key} must be between 0 and 256 characters in length."
            ));
        }
        check_text(key)?;
        check_text(value)?;
        if key.to_ascii_lowercase().starts_with("aws:") {
            return refuse("Tag keys that start with aws: are reserved for system use.".into());
        }
    }
    if given.len() > limits::TAGS {
        return Err(too_many());
    }
    Ok(given.into_iter().collect())
}

fn too_many() -> Fault {
    Fault::invalid(format!("A queue can have at most {} tags.", limits::TAGS))
}

/// `TagQueue`.
///
/// # Errors
/// As [`Request::queue`] and [`parse`].
pub async fn add(mut request: Request) -> Result<Answer, Fault> {
    let queue = request.queue()?;
    let tags = parse(&mut request.fields, OF_TAG)?;
    if tags.is_empty() {
        return Err(Fault::missing("Tags"));
    }
    let edit = Box::new(move |record: &mut QueueRecord| add_to(record, tags));
    request.state.queues.edit(&queue, edit).await?;
    Ok(None)
}

fn add_to(record: &mut QueueRecord, tags: BTreeMap<String, String>) -> Result<(), QueueError> {
    let new = tags
        .keys()
        .filter(|key| !record.tags.contains_key(*key))
        .count();
    if record.tags.len() + new > limits::TAGS {
        return Err(QueueError::InvalidParameter(too_many().to_string()));
    }
    record.tags.extend(tags);
    Ok(())
}

/// `UntagQueue`. Keys that the queue does not have change nothing.
///
/// # Errors
/// As [`Request::queue`].
pub async fn remove(mut request: Request) -> Result<Answer, Fault> {
    let queue = request.queue()?;
    let keys = request.fields.texts("TagKeys", "TagKey")?;
    if keys.is_empty() {
        return Err(Fault::missing("TagKeys"));
    }
    let edit = Box::new(move |record: &mut QueueRecord| {
        record.tags.retain(|key, _| !keys.contains(key));
        Ok(())
    });
    request.state.queues.edit(&queue, edit).await?;
    Ok(None)
}

/// `ListQueueTags`.
///
/// # Errors
/// As [`Request::queue`].
pub async fn list(mut request: Request) -> Result<Answer, Fault> {
    let queue = request.queue()?;
    Ok(encode(queue.tags))
}

fn encode(tags: BTreeMap<String, String>) -> Answer {
    let pairs: Vec<_> = tags
        .into_iter()
        .map(|(key, value)| (key.into(), Value::Text(value.into())))
        .collect();
    let map = (!pairs.is_empty()).then_some(Member::Map(TAGS, pairs));
    Some(map.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::answer::rendered;
    use super::super::protocol::Protocol;
    use super::super::request::both;
    use super::*;

    fn one(key: &str, value: &str) -> Result<BTreeMap<String, String>, Fault> {
        let encode = |text: &str| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
                .to_string()
        };
        let query = format!("Tag.1.Key={}&Tag.1.Value={}", encode(key), encode(value));
        both(json!({"Tags": {key: value}}), &query, |fields| {
            parse(fields, OF_TAG)
        })
    }

    #[test]
    fn tags_are_read_and_shown() {
        let tags = one("kéy", "a b/c").unwrap();
        assert_eq!(tags["kéy"], "a b/c");
        assert_eq!(
            rendered(Protocol::Json, "ListQueueTags", encode(tags.clone())),
            r#"{"Tags":{"kéy":"a b/c"}}"#
        );
        let xml = rendered(Protocol::Query, "ListQueueTags", encode(tags));
        assert!(
            xml.contains("<Tag><Key>kéy</Key><Value>a b/c</Value></Tag>"),
            "{xml}"
        );
        assert_eq!(
            rendered(Protocol::Json, "ListQueueTags", encode(BTreeMap::new())),
            "{}"
        );
        let botocore = Fields::of_query(b"", b"Tags.1.Key=k&Tags.1.Value=v");
        assert_eq!(parse(&mut botocore.unwrap(), OF_TAG).unwrap()["k"], "v");
    }

    #[test]
    fn rules_are_kept() {
        for (key, value) in [
            ("", "v"),
            ("aws:x", "v"),
            ("AWS:x", "v"),
            ("k", "\u{1}"),
            (&"k".repeat(129), "v"),
            ("k", &"v".repeat(257)),
        ] {
            assert!(one(key, value).is_err(), "{key}={value}");
        }
        assert!(one(&"k".repeat(128), &"✓".repeat(256)).is_ok());
        assert!(one("k", "").is_ok());
    }

    #[test]
    fn fifty_are_the_most() {
        let tags = |range: std::ops::Range<u32>| -> BTreeMap<_, _> {
            range.map(|i| (format!("k{i}"), String::new())).collect()
        };
        let body = |count| json!({"Tags": tags(0..count)}).to_string();
        let read = |count| {
            parse(
                &mut Fields::of_json(body(count).as_bytes()).unwrap(),
                OF_TAG,
            )
        };
        assert!(read(50).is_ok());
        assert!(read(51).is_err());

        let mut record = super::super::tests::test_queue("q");
        assert_eq!(add_to(&mut record, tags(0..50)), Ok(()));
        assert_eq!(add_to(&mut record, tags(10..20)), Ok(()));
        assert!(add_to(&mut record, tags(50..51)).is_err());
        assert_eq!(record.tags.len(), 50);
    }
}
