//! A message as it was posted: a JSON object whose values are kept to the letter.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use crate::config::limits;
use crate::domain::{AccountId, MessageId, SessionId, Target, UserId};

/// Why a message was refused; the text names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMessage {
    /// Not JSON, or not an object, or with a repeated key or too deep.
    #[error("{0}")]
    NotAnObject(String),
    /// A routing field of another type or form than it must have.
    #[error("{field}: {reason}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What is allowed.
        reason: String,
    },
    /// Longer than a message may be.
    #[error("the message has {length} bytes, the most is {most}")]
    TooLong {
        /// Its length, in bytes: as ASCII JSON, or as history would keep it.
        length: usize,
        /// What is allowed.
        most: usize,
    },
}

/// A message: its fields in the order in which they came, and what routing needs of them.
#[derive(Debug)]
pub struct Posted {
    fields: Vec<(String, Box<RawValue>)>,
    /// Whom it is for.
    pub target: Target,
    /// The sender's id for it.
    pub message_id: Option<MessageId>,
    /// Deliver, do not keep in history.
    pub sqs_only: bool,
    /// The `_type`, if it is a string.
    pub kind: Option<Box<str>>,
}

impl Posted {
    /// Reads a JSON object.
    ///
    /// # Errors
    /// [`InvalidMessage`], naming what is wrong.
    pub fn parse(json: &[u8]) -> Result<Self, InvalidMessage> {
        let not_an_object = |error: serde_json::Error| {
            InvalidMessage::NotAnObject(format!("the message must be a JSON object: {error}"))
        };
        serde_json::from_slice::<Strict>(json).map_err(not_an_object)?;
        let Fields(fields) = serde_json::from_slice(json).map_err(not_an_object)?;
        Self::from_fields(fields)
    }

    /// Makes a message of names and texts, as a query string has them.
    ///
    /// # Errors
    /// [`InvalidMessage`] for a repeated name or a routing field of the wrong form.
    pub fn from_texts(
        texts: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, InvalidMessage> {
        let mut fields: Vec<(String, Box<RawValue>)> = Vec::new();
        for (name, text) in texts {
            if fields.iter().any(|(other, _)| *other == name) {
                return Err(InvalidMessage::NotAnObject(format!(
                    "the field {name} is given twice"
                )));
            }
            let value = serde_json::value::to_raw_value(&text).expect("a text is a JSON value");
            fields.push((name, value));
        }
        Self::from_fields(fields)
    }

    fn from_fields(fields: Vec<(String, Box<RawValue>)>) -> Result<Self, InvalidMessage> {
        let find = |name: &str| {
            fields
                .iter()
                .find(|(field, _)| field == name)
                .map(|(_, value)| value.get())
        };
        let session = find("sessionId")
            .map(|raw| text("sessionId", raw))
            .transpose()?
            .flatten();
        let message_id = find("messageId")
            .map(|raw| text("messageId", raw))
            .transpose()?
            .flatten();
        let invalid = |field, reason| InvalidMessage::Field { field, reason };
        let target = Target {
            account: integer("accountId", find("accountId"))?.map(AccountId),
            user: integer("userId", find("userId"))?.map(UserId),
            session: session
                .map(|id| SessionId::parse(&id).map_err(|error| invalid("sessionId", error.0)))
                .transpose()?,
        };
        let message_id = message_id
            .map(|id| MessageId::parse(&id).map_err(|error| invalid("messageId", error.0)))
            .transpose()?;
        let kind = find("_type").and_then(|raw| serde_json::from_str::<Box<str>>(raw).ok());
        let sqs_only = find("_sqs_only").is_some();
        Ok(Self {
            target,
            message_id,
            sqs_only,
            kind,
            fields,
        })
    }

    /// Sets a routing field from the path, over what the message itself says.
    pub fn set(&mut self, target: Target) {
        if let Some(account) = target.account {
            self.put("accountId", &account.0);
            self.target.account = Some(account);
        }
        if let Some(user) = target.user {
            self.put("userId", &user.0);
            self.target.user = Some(user);
        }
        if let Some(session) = target.session {
            self.put("sessionId", session.as_str());
            self.target.session = Some(session);
        }
    }

    /// The message as JSON, with its id.
    pub fn to_json(&self, message_id: &MessageId) -> String {
        let mut out = String::with_capacity(
            64 + self
                .fields
                .iter()
                .map(|(name, raw)| name.len() + raw.get().len() + 4)
                .sum::<usize>(),
        );
        out.push('{');
        for (name, raw) in self.fields.iter().filter(|(name, _)| name != "messageId") {
            push_text(&mut out, name);
            out.push(':');
            out.push_str(raw.get());
            out.push(',');
        }
        out.push_str("\"messageId\":");
        push_text(&mut out, message_id.as_str());
        out.push('}');
        out
    }

    /// A digest of the content, the same for the same fields in the same order.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        for (name, raw) in &self.fields {
            // A name or a value may contain any separator but not this one, which JSON text escapes.
            digest.update(name);
            digest.update([0]);
            digest.update(raw.get());
            digest.update([0]);
        }
        digest.finalize().into()
    }

    fn put(&mut self, name: &str, value: &(impl serde::Serialize + ?Sized)) {
        let value =
            serde_json::value::to_raw_value(value).expect("numbers and texts are JSON values");
        match self.fields.iter_mut().find(|(field, _)| field == name) {
            Some((_, old)) => *old = value,
            None => self.fields.push((name.to_owned(), value)),
        }
    }
}

fn push_text(out: &mut String, text: &str) {
    let plain = |b: u8| b >= b' ' && b != b'"' && b != b'\\';
    if text.bytes().all(plain) {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&serde_json::to_string(text).expect("a text is a JSON value"));
    }
}

/// A routing number: an integer, or a text of one, as query strings and old producers send.
fn integer(field: &'static str, raw: Option<&str>) -> Result<Option<i64>, InvalidMessage> {
    let Some(raw) = raw.filter(|raw| *raw != "null") else {
        return Ok(None);
    };
    let number = match serde_json::from_str::<&str>(raw) {
        Ok(text) => text.parse().ok(),
        Err(_) => serde_json::from_str(raw).ok(),
    };
    number.map(Some).ok_or(InvalidMessage::Field {
        field,
        reason: "must be an integer of 64 bits".into(),
    })
}

/// A routing text: a text, or an integer taken as one.
fn text(field: &'static str, raw: &str) -> Result<Option<String>, InvalidMessage> {
    if raw == "null" {
        return Ok(None);
    }
    if let Ok(text) = serde_json::from_str::<String>(raw) {
        return Ok(Some(text));
    }
    match serde_json::from_str::<i64>(raw) {
        Ok(number) => Ok(Some(number.to_string())),
        Err(_) => Err(InvalidMessage::Field {
            field,
            reason: "must be a text or an integer".into(),
        }),
    }
}

/// The top level of an object, values kept as text.
struct Fields(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Fields;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// Walks a whole JSON value and keeps nothing: it only fails for what other parsers would read
/// differently (repeated keys), for numbers out of range and for depth beyond serde_json's limit.
struct Strict;

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Strict)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Strict;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E>(self) -> Result<Strict, E> {
        Ok(Strict)
    }
    fn visit_bool<E>(self, _: bool) -> Result<Strict, E> {
        Ok(Strict)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Strict, E> {
        Ok(Strict)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Strict, E> {
        Ok(Strict)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Strict, E> {
        Ok(Strict)
    }
    fn visit_str<E>(self, _: &str) -> Result<Strict, E> {
        Ok(Strict)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Strict, A::Error> {
        while seq.next_element::<Strict>()?.is_some() {}
        Ok(Strict)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Strict, A::Error> {
        let mut keys: Vec<Cow<'de, str>> = Vec::new();
        while let Some(Key(key)) = map.next_key()? {
            map.next_value::<Strict>()?;
            if keys.len() >= limits::MESSAGE_KEYS {
                return Err(A::Error::custom(
                    "more keys than an object of a message may have",
                ));
            }
            keys.push(key);
        }
        keys.sort_unstable();
        match keys.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(A::Error::custom(format!(
                "the key {:?} is given twice",
                pair[0]
            ))),
            None => Ok(Strict),
        }
    }
}

/// A key, borrowed where it has no escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrow;
        impl<'de> Visitor<'de> for Borrow {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(key)))
            }
            fn visit_str<E>(self, key: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(key.to_owned())))
            }
        }
        deserializer.deserialize_str(Borrow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(posted: &Posted) -> String {
        posted.to_json(&MessageId::parse("m1").expect("valid"))
    }

    #[test]
    fn values_stay_as_they_were_written() {
        let text = r#"{"n":12345678901234567890123,"f":1.10,"nested":{"b":[1, {"a":null}]},"e":"é\u00e9😀"}"#;
        let posted = Posted::parse(text.as_bytes()).expect("valid");
        assert_eq!(
            json(&posted),
            format!("{},\"messageId\":\"m1\"}}", &text[..text.len() - 1])
        );
    }

    #[test]
    fn the_path_wins_over_the_body() {
        let mut posted = Posted::parse(br#"{"userId":1,"messageId":"x","a":1}"#).expect("valid");
        assert_eq!(posted.message_id, MessageId::parse("x").ok());
        posted.set(Target {
            account: Some(AccountId(5)),
            user: Some(UserId(2)),
            session: None,
        });
        assert_eq!(posted.target.user, Some(UserId(2)));
        assert_eq!(
            json(&posted),
            r#"{"userId":2,"a":1,"accountId":5,"messageId":"m1"}"#
        );
    }

    #[test]
    fn routing_fields_may_be_texts_of_numbers() {
        let posted =
            Posted::parse(br#"{"accountId":"5","userId":-7,"sessionId":12,"_sqs_only":null}"#)
                .expect("valid");
        assert_eq!(posted.target.account, Some(AccountId(5)));
        assert_eq!(posted.target.user, Some(UserId(-7)));
        assert_eq!(
            posted.target.session.as_ref().map(SessionId::as_str),
            Some("12")
        );
        assert!(posted.sqs_only);
        let none = Posted::parse(br#"{"accountId":null,"sessionId":null}"#).expect("valid");
        assert_eq!(none.target, Target::default());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(128), "]".repeat(128));
        for (text, named) in [
            ("", "JSON object"),
            ("[1]", "JSON object"),
            ("{\"a\":1} x", "JSON object"),
            ("{\"a\":1,\"a\":2}", "\"a\" is given twice"),
            ("{\"o\":{\"b\":1,\"b\":1}}", "\"b\" is given twice"),
            ("{\"a\":1e999}", "out of range"),
            (deep.as_str(), "recursion limit"),
            ("{\"userId\":1.5}", "userId"),
            ("{\"accountId\":true}", "accountId"),
            ("{\"sessionId\":\"\"}", "sessionId"),
            ("{\"sessionId\":{}}", "sessionId"),
            ("{\"messageId\":\"a,b\"}", "messageId"),
        ] {
            let error = Posted::parse(text.as_bytes()).expect_err(text).to_string();
            assert!(error.contains(named), "{text}: {error}");
        }
    }

    #[test]
    fn query_texts_become_fields() {
        let texts = [
            ("a".to_owned(), "1\"".to_owned()),
            ("_type".to_owned(), "t".to_owned()),
        ];
        let posted = Posted::from_texts(texts).expect("valid");
        assert_eq!(json(&posted), r#"{"a":"1\"","_type":"t","messageId":"m1"}"#);
        assert_eq!(posted.kind.as_deref(), Some("t"));
    }
}
