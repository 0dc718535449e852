//! Message attributes: their rules, their MD5, and which of them a receiver asks for (WIRE 1.4, 1.5).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};

use super::answer::{Member, Text, Value};
use super::error::Fault;
use super::limits;
use super::request::{Fields, MapParameter};
use crate::domain::QueueError;
use crate::domain::message::{AttributeValue, MessageAttribute};

const USER: MapParameter = MapParameter {
    json: "MessageAttributes",
    query: ["MessageAttribute", "MessageAttributes"],
    key: "Name",
};

const SYSTEM: MapParameter = MapParameter {
    json: "MessageSystemAttributes",
    query: ["MessageSystemAttribute", "MessageSystemAttributes"],
    key: "Name",
};

/// The only system attribute that a sender may set.
const TRACE_HEADER: &str = "AWSTraceHeader";

/// Reads `MessageAttributes`; ascending by name, the order in which they are stored and digested.
///
/// # Errors
/// `InvalidParameterValue`, `InvalidMessageContents`.
pub fn parse(fields: &mut Fields) -> Result<Vec<MessageAttribute>, Fault> {
    let given = fields.struct_map(USER)?;
    if given.len() > limits::MESSAGE_ATTRIBUTES {
        return Err(Fault::invalid(format!(
            "Number of message attributes [{}] exceeds the allowed maximum [{}].",
            given.len(),
            limits::MESSAGE_ATTRIBUTES
        )));
    }
    let mut attributes = Vec::with_capacity(given.len());
    for (name, mut value) in given {
        check_name(&name)?;
        attributes.push(parse_one(name, &mut value, "user")?);
    }
    attributes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(attributes)
}

/// Reads `MessageSystemAttributes`: `AWSTraceHeader` or nothing.
///
/// # Errors
/// `InvalidParameterValue`.
pub fn parse_trace_header(fields: &mut Fields) -> Result<Option<MessageAttribute>, Fault> {
    let mut found = None;
    for (name, mut value) in fields.struct_map(SYSTEM)? {
        if name != TRACE_HEADER {
            return Err(Fault::invalid(format!(
                "Message system attribute name '{name}' is invalid. Only {TRACE_HEADER} is allowed."
            )));
        }
        let attribute = parse_one(name, &mut value, "system")?;
        if attribute.data_type != "String" {
            return Err(Fault::invalid(format!(
                "Message (system) attribute '{TRACE_HEADER}' must be of type String."
            )));
        }
        found = Some(attribute);
    }
    Ok(found)
}

fn parse_one(name: String, fields: &mut Fields, whose: &str) -> Result<MessageAttribute, Fault> {
    let data_type = fields.text("DataType")?.unwrap_or_default();
    let refuse = |text: String| Err(Fault::invalid(text));
    if data_type.is_empty() {
        return refuse(format!(
            "The message attribute '{name}' must contain non-empty message attribute type."
        ));
    }
    let base = data_type.split('.').next().unwrap_or_default();
    if !matches!(base, "String" | "Number" | "Binary")
        || data_type.len() > limits::ATTRIBUTE_NAME_CHARS
    {
        return refuse(format!(
            "The type of message ({whose}) attribute '{name}' is invalid. You must use only the following supported type prefixes: Binary, Number, String."
        ));
    }
    let (text, bytes) = (fields.text("StringValue")?, fields.blob("BinaryValue")?);
    let value = match (base, text, bytes) {
        ("Binary", None, Some(bytes)) if !bytes.is_empty() => AttributeValue::Binary(bytes),
        ("String" | "Number", Some(text), None) if !text.is_empty() => AttributeValue::Text(text),
        _ => {
            return refuse(format!(
                "Message ({whose}) attribute '{name}' must contain a non-empty value of type '{base}'."
            ));
        }
    };
    if let AttributeValue::Text(text) = &value {
        check_text(text)?;
        if base == "Number" && !is_number(text) {
            return refuse(format!(
                "Can't cast the value of message ({whose}) attribute '{name}' to a number."
            ));
        }
    }
    Ok(MessageAttribute {
        name,
        data_type,
        value,
    })
}

fn check_name(name: &str) -> Result<(), Fault> {
    let lower = name.to_ascii_lowercase();
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let reason = if name.is_empty() || name.len() > limits::ATTRIBUTE_NAME_CHARS {
        "it must have 1 to 256 characters"
    } else if !name.chars().all(allowed) {
        "it can contain alphanumeric characters, underscores, hyphens and periods only"
    } else if lower.starts_with("aws.") || lower.starts_with("amazon.") {
        "the prefixes AWS. and Amazon. are reserved"
    } else if name.starts_with('.') || name.ends_with('.') || name.contains("..") {
        "it can not start or end with a period, nor have two in a row"
    } else {
        return Ok(());
    };
    Err(Fault::invalid(format!(
        "The message (user) attribute name '{name:.300}' is invalid: {reason}."
    )))
}

/// `f64` reads more than SQS does: names such as `inf`.
fn is_number(text: &str) -> bool {
    text.parse::<f64>().is_ok_and(f64::is_finite)
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b))
}

/// Refuses text that SQS does not carry.
///
/// # Errors
/// `InvalidMessageContents`.
pub fn check_text(text: &str) -> Result<(), Fault> {
    let allowed = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
    if text.chars().all(allowed) {
        Ok(())
    } else {
        Err(QueueError::InvalidMessageContents.into())
    }
}

/// What the attributes add to a message's size: names, types and values.
pub fn size(attributes: &[MessageAttribute]) -> usize {
    let one = |a: &MessageAttribute| a.name.len() + a.data_type.len() + bytes(&a.value).len();
    attributes.iter().map(one).sum()
}

/// The MD5 of attributes, which must be ascending by name; `None` if there are none.
pub fn md5<'a>(attributes: impl IntoIterator<Item = &'a MessageAttribute>) -> Option<String> {
    let mut digest = Md5::new();
    let mut any = false;
    for attribute in attributes {
        any = true;
        digest_part(&mut digest, attribute.name.as_bytes());
        digest_part(&mut digest, attribute.data_type.as_bytes());
        digest.update(match &attribute.value {
            AttributeValue::Text(_) => [1],
            AttributeValue::Binary(_) => [2],
        });
        digest_part(&mut digest, bytes(&attribute.value));
    }
    any.then(|| hex::encode(digest.finalize()))
}

/// The MD5 of a message's body.
pub fn body_md5(body: &[u8]) -> String {
    hex::encode(Md5::digest(body))
}

fn digest_part(digest: &mut Md5, part: &[u8]) {
    let length = u32::try_from(part.len()).expect("a message is shorter than 4 GiB");
    digest.update(length.to_be_bytes());
    digest.update(part);
}

fn bytes(value: &AttributeValue) -> &[u8] {
    match value {
        AttributeValue::Text(text) => text.as_bytes(),
        AttributeValue::Binary(bytes) => bytes,
    }
}

/// Which message attributes a receiver asks for: `All`, `.*`, `prefix.*` or names. Names that no message can
/// have are not refused, they match nothing, as at AWS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter(Vec<String>);

impl Filter {
    /// Reads `MessageAttributeNames`.
    ///
    /// # Errors
    /// [`Fault::Malformed`].
    pub fn parse(fields: &mut Fields) -> Result<Self, Fault> {
        let names = fields.texts("MessageAttributeNames", "MessageAttributeName")?;
        Ok(Self(names))
    }

    /// Whether an attribute of this name is asked for.
    pub fn wants(&self, name: &str) -> bool {
        self.0.iter().any(|wanted| {
            wanted == "All"
                || wanted == name
                || wanted
                    .strip_suffix(".*")
                    .is_some_and(|prefix| name.starts_with(prefix))
        })
    }
}

/// Attributes as answers have them.
pub fn encode<'a>(
    attributes: impl IntoIterator<Item = &'a MessageAttribute>,
) -> Vec<(Text, Value)> {
    let one = |attribute: &MessageAttribute| {
        let value = match &attribute.value {
            AttributeValue::Text(text) => Member::text("StringValue", text.clone()),
            AttributeValue::Binary(bytes) => Member::text("BinaryValue", STANDARD.encode(bytes)),
        };
        let data_type = Member::text("DataType", attribute.data_type.clone());
        (
            attribute.name.clone().into(),
            Value::Struct(vec![value, data_type]),
        )
    };
    attributes.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::super::request::both;
    use super::*;

    fn text(name: &str, data_type: &str, value: &str) -> MessageAttribute {
        MessageAttribute {
            name: name.into(),
            data_type: data_type.into(),
            value: AttributeValue::Text(value.into()),
        }
    }

    /// Reads one attribute in both protocols.
    fn one(name: &str, data_type: &str, value: &str) -> Result<Vec<MessageAttribute>, Fault> {
        let field = if data_type.starts_with("Binary") {
            "BinaryValue"
        } else {
            "StringValue"
        };
        let encode = |text: &str| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
                .to_string()
        };
        let p = "MessageAttribute.1";
        both(
            json!({"MessageAttributes": {name: {"DataType": data_type, field: value}}}),
            &format!(
                "{p}.Name={}&{p}.Value.DataType={}&{p}.Value.{field}={}",
                encode(name),
                encode(data_type),
                encode(value)
            ),
            parse,
        )
    }

    #[test]
    fn attributes_are_read_in_order_of_name() {
        assert_eq!(
            one("b", "String.x", "é"),
            Ok(vec![text("b", "String.x", "é")])
        );
        let binary = one("b", "Binary.png", "AAE=").unwrap();
        let bytes = Bytes::from_static(&[0, 1]);
        assert_eq!(binary[0].value, AttributeValue::Binary(bytes));
        let found = both(
            json!({"MessageAttributes": {
                "z": {"DataType": "Number", "StringValue": "-1.5e3"},
                "a": {"DataType": "String", "StringValue": "x"},
            }}),
            "MessageAttribute.1.Name=z&MessageAttribute.1.Value.DataType=Number&MessageAttribute.1.Value.StringValue=-1.5e3\
             &MessageAttribute.2.Name=a&MessageAttribute.2.Value.DataType=String&MessageAttribute.2.Value.StringValue=x",
            parse,
        );
        assert_eq!(
            found,
            Ok(vec![
                text("a", "String", "x"),
                text("z", "Number", "-1.5e3")
            ])
        );
    }

    #[test]
    fn rules_are_kept() {
        for (name, data_type, value) in [
            ("AWS.x", "String", "v"),
            ("aws.x", "String", "v"),
            ("Amazon.x", "String", "v"),
            (".x", "String", "v"),
            ("x.", "String", "v"),
            ("a..b", "String", "v"),
            ("a b", "String", "v"),
            ("é", "String", "v"),
            (&"n".repeat(257), "String", "v"),
            ("x", "", "v"),
            ("x", "string", "v"),
            ("x", "Stringy", "v"),
            ("x", "String", ""),
            ("x", "Binary", ""),
            ("x", "Number", "one"),
            ("x", "Number", "inf"),
            ("x", "Number", "NaN"),
        ] {
            let found = one(name, data_type, value);
            let refused = matches!(found, Err(Fault::Queue(QueueError::InvalidParameter(_))));
            assert!(refused, "{name} {data_type} {value}: {found:?}");
        }
        for (name, data_type) in [("awsome", "String"), ("a.b-c_D9", "String.long.type")] {
            assert!(one(name, data_type, "v").is_ok(), "{name}");
        }
        let empty = one("ErrorDetails", "String", "").unwrap_err();
        assert_eq!(
            empty.to_string(),
            "Message (user) attribute 'ErrorDetails' must contain a non-empty value of type 'String'."
        );
        assert_eq!(
            one("x", "String", "\u{1}"),
            Err(QueueError::InvalidMessageContents.into())
        );
    }

    #[test]
    fn ten_are_the_most() {
        let body = |count: usize| {
            let map: serde_json::Map<_, _> = (0..count)
                .map(|i| {
                    (
                        format!("a{i}"),
                        json!({"DataType": "String", "StringValue": "x"}),
                    )
                })
                .collect();
            json!({"MessageAttributes": map}).to_string()
        };
        let count = |n| parse(&mut Fields::of_json(body(n).as_bytes()).unwrap()).map(|a| a.len());
        assert_eq!(count(10), Ok(10));
        assert!(count(11).is_err());
    }

    #[test]
    fn only_the_trace_header_is_a_system_attribute() {
        let read = |name: &str, data_type: &str| {
            let json = json!({"MessageSystemAttributes": {name: {"DataType": data_type, "StringValue": "1"}}});
            let p = "MessageSystemAttribute.1";
            let query =
                format!("{p}.Name={name}&{p}.Value.DataType={data_type}&{p}.Value.StringValue=1");
            both(json, &query, parse_trace_header)
        };
        let expect = text("AWSTraceHeader", "String", "1");
        assert_eq!(read("AWSTraceHeader", "String"), Ok(Some(expect)));
        assert!(read("AWSTraceHeader", "Number").is_err());
        assert!(read("SenderId", "String").is_err());
    }

    #[test]
    fn digests_are_those_of_aws() {
        let check = |attributes: &[MessageAttribute], expect: &str| {
            assert_eq!(md5(attributes).as_deref(), Some(expect), "{attributes:?}");
        };
        check(
            &[text("Foo", "String", "Bar")],
            "ae7155c6026991b6d54b11589678bf9c",
        );
        let (general, hello, help) = (
            text("General", "String", "Kenobi"),
            text("Hello", "String", "There"),
            text("Help.Me", "String", "Me"),
        );
        check(
            &[general.clone(), hello.clone(), help.clone()],
            "4c360f3fdafd970e05fae2f149d997f5",
        );
        check(
            &[general, hello.clone()],
            "fca026605781cb4126a1e9044df24232",
        );
        check(&[hello, help], "83fee93c1bcd8b9a5a923ffacdc636c7");
        let trace = b"traceparent\x1e00-774062d6c37081a5a0b9b5b88e30627c-2d2482211f6489da-01";
        let binary = MessageAttribute {
            name: "attr1".into(),
            data_type: "Binary".into(),
            value: AttributeValue::Binary(Bytes::from_static(trace)),
        };
        check(&[binary], "8cbe4db156db8a94db8b801b7addb984");
        assert_eq!(md5(&[]), None);
        assert_eq!(body_md5(b"test"), "098f6bcd4621d373cade4e832627b4f6");
    }

    #[test]
    fn filters_choose() {
        let check = |wanted: &[&str], expect: &[&str]| {
            let filter = Filter(wanted.iter().map(|w| (*w).to_owned()).collect());
            let names = ["General", "Hello", "Help.Me"];
            let chosen: Vec<_> = names
                .into_iter()
                .filter(|name| filter.wants(name))
                .collect();
            assert_eq!(chosen, expect, "{wanted:?}");
        };
        check(&[], &[]);
        check(&["All"], &["General", "Hello", "Help.Me"]);
        check(&[".*"], &["General", "Hello", "Help.Me"]);
        check(&["Hel.*"], &["Hello", "Help.Me"]);
        check(&["Hello", "Nothing"], &["Hello"]);
        check(&["Help"], &[]);
        check(&["*", "AWS.", "..foo"], &[]);
    }

    #[test]
    fn sizes_count_names_types_and_values() {
        assert_eq!(size(&[text("ab", "String", "é")]), 2 + 6 + 2);
        assert_eq!(size(&[]), 0);
    }

    #[test]
    fn text_is_what_xml_can_carry() {
        for good in ["", "\t\n\r", "é😀", "\u{fffd}", "\u{e000}", "\u{10ffff}"] {
            assert!(check_text(good).is_ok(), "{good:?}");
        }
        for bad in ["\0", "a\u{b}", "\u{1f}", "\u{fffe}", "\u{ffff}"] {
            assert!(check_text(bad).is_err(), "{bad:?}");
        }
    }
}
