//! Answers: an operation builds one typed tree, rendered as JSON, as XML or as Query's JSON.

use std::borrow::Cow;

use actix_web::HttpResponse;
use uuid::Uuid;

use super::error::respond;
use super::protocol::Protocol;
use super::xml;

/// A text that is mostly computed and sometimes fixed.
pub type Text = Cow<'static, str>;

/// A value in an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Text.
    Text(Text),
    /// A whole number.
    Integer(u64),
    /// Yes or no.
    Bool(bool),
    /// A structure.
    Struct(Vec<Member>),
}

/// A member of a structure. Members that are absent are left out, never null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Member {
    /// One value.
    One(&'static str, Value),
    /// A list, flattened in XML: the element repeats without one around all.
    List(ListName, Vec<Value>),
    /// A map, flattened in XML to elements with a key and a value in each.
    Map(MapName, Vec<(Text, Value)>),
}

/// How the protocols name a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListName {
    /// In JSON.
    pub json: &'static str,
    /// Each element in XML.
    pub xml: &'static str,
    /// In Query's JSON.
    pub query_json: &'static str,
}

/// How the protocols name a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapName {
    /// In JSON, and in Query's JSON.
    pub json: &'static str,
    /// Each element in XML.
    pub xml: &'static str,
    /// The key in an element.
    pub key: &'static str,
    /// The value in an element.
    pub value: &'static str,
}

/// `Attributes` of queues and messages.
pub const ATTRIBUTES: MapName = MapName {
    json: "Attributes",
    xml: "Attribute",
    key: "Name",
    value: "Value",
};

/// `MessageAttributes`.
pub const MESSAGE_ATTRIBUTES: MapName = MapName {
    json: "MessageAttributes",
    xml: "MessageAttribute",
    key: "Name",
    value: "Value",
};

/// `Tags`.
pub const TAGS: MapName = MapName {
    json: "Tags",
    xml: "Tag",
    key: "Key",
    value: "Value",
};

/// What an operation answers; `None` for those that answer nothing.
pub type Answer = Option<Vec<Member>>;

impl Member {
    /// A text.
    pub fn text(name: &'static str, text: impl Into<Text>) -> Self {
        Self::One(name, Value::Text(text.into()))
    }

    /// A whole number.
    pub fn integer(name: &'static str, value: u64) -> Self {
        Self::One(name, Value::Integer(value))
    }
}

/// The response that carries an operation's answer.
pub(super) fn response(
    protocol: Protocol,
    operation: &str,
    answer: Answer,
    request_id: Uuid,
) -> HttpResponse {
    let body = match protocol {
        Protocol::Json => {
            let mut out = String::new();
            json_struct(
                &mut out,
                answer.as_deref().unwrap_or_default(),
                JsonKind::Native,
            );
            out
        }
        Protocol::Query => {
            let result = answer.as_deref().map(|members| {
                move |xml: &mut xml::Writer| members.iter().for_each(|m| xml_member(xml, m))
            });
            xml::answer(operation, result, request_id)
        }
        Protocol::QueryJson => query_json(operation, answer.as_deref(), request_id),
    };
    respond(protocol, 200).body(body)
}

/// Query's JSON is older than AWS JSON: it names what it wraps and writes maps as lists of pairs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum JsonKind {
    Native,
    OfQuery,
}

fn query_json(operation: &str, answer: Option<&[Member]>, request_id: Uuid) -> String {
    let mut out = format!("{{\"{operation}Response\":{{");
    if let Some(members) = answer {
        out.push_str(&format!("\"{operation}Result\":"));
        json_struct(&mut out, members, JsonKind::OfQuery);
        out.push(',');
    }
    out.push_str(&format!(
        "\"ResponseMetadata\":{{\"RequestId\":\"{request_id}\"}}}}}}"
    ));
    out
}

fn json_struct(out: &mut String, members: &[Member], kind: JsonKind) {
    json_list(out, ('{', '}'), members, |out, member| match member {
        Member::One(name, value) => json_pair(out, name, value, kind),
        Member::List(name, items) => {
            let native = kind == JsonKind::Native;
            json_name(out, if native { name.json } else { name.query_json });
            json_list(out, ('[', ']'), items, |out, item| {
                json_value(out, item, kind)
            });
        }
        Member::Map(name, entries) => {
            json_name(out, name.json);
            match kind {
                JsonKind::Native => json_list(out, ('{', '}'), entries, |out, (key, value)| {
                    json_pair(out, key, value, kind);
                }),
                JsonKind::OfQuery => json_list(out, ('[', ']'), entries, |out, (key, value)| {
                    out.push('{');
                    json_name(out, name.key);
                    json_text(out, key);
                    out.push(',');
                    json_pair(out, name.value, value, kind);
                    out.push('}');
                }),
            }
        }
    });
}

fn json_list<T>(
    out: &mut String,
    (open, close): (char, char),
    items: &[T],
    mut each: impl FnMut(&mut String, &T),
) {
    out.push(open);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        each(out, item);
    }
    out.push(close);
}

fn json_pair(out: &mut String, name: &str, value: &Value, kind: JsonKind) {
    json_name(out, name);
    json_value(out, value, kind);
}

fn json_name(out: &mut String, name: &str) {
    json_text(out, name);
    out.push(':');
}

fn json_value(out: &mut String, value: &Value, kind: JsonKind) {
    match value {
        Value::Text(text) => json_text(out, text),
        Value::Integer(number) => out.push_str(&number.to_string()),
        Value::Bool(yes) => out.push_str(if *yes { "true" } else { "false" }),
        Value::Struct(members) => json_struct(out, members, kind),
    }
}

fn json_text(out: &mut String, text: &str) {
    out.push_str(&serde_json::to_string(text).expect("text is always JSON"));
}

fn xml_member(xml: &mut xml::Writer, member: &Member) {
    match member {
        Member::One(name, value) => xml_value(xml, name, value),
        Member::List(name, items) => items.iter().for_each(|item| xml_value(xml, name.xml, item)),
        Member::Map(name, entries) => {
            for (key, value) in entries {
                xml.element(name.xml, |xml| {
                    xml.text_element(name.key, key);
                    xml_value(xml, name.value, value);
                });
            }
        }
    }
}

fn xml_value(xml: &mut xml::Writer, name: &str, value: &Value) {
    xml.element(name, |xml| match value {
        Value::Text(text) => xml.text(text),
        Value::Integer(number) => xml.text(&number.to_string()),
        Value::Bool(yes) => xml.text(if *yes { "true" } else { "false" }),
        Value::Struct(members) => members.iter().for_each(|member| xml_member(xml, member)),
    });
}

/// Renders an answer as a client would see its body, for the tests of the operations.
#[cfg(test)]
pub(super) fn rendered(protocol: Protocol, operation: &str, answer: Answer) -> String {
    use actix_web::body::MessageBody as _;

    let response = response(protocol, operation, answer, Uuid::nil());
    let body = response
        .into_body()
        .try_into_bytes()
        .expect("the body is in memory");
    String::from_utf8(body.to_vec()).expect("answers are UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Answer {
        let list = ListName {
            json: "Messages",
            xml: "Message",
            query_json: "messages",
        };
        let message = Value::Struct(vec![
            Member::text("Body", "a\"<\u{e9}>\r"),
            Member::One("Fault", Value::Bool(true)),
            Member::Map(ATTRIBUTES, vec![("k".into(), Value::Text("v".into()))]),
        ]);
        Some(vec![
            Member::integer("Moved", 3),
            Member::List(list, vec![message]),
        ])
    }

    #[test]
    fn one_tree_renders_three_ways() {
        assert_eq!(
            rendered(Protocol::Json, "Op", sample()),
            r#"{"Moved":3,"Messages":[{"Body":"a\"<é>\r","Fault":true,"Attributes":{"k":"v"}}]}"#
        );
        let xml = rendered(Protocol::Query, "Op", sample());
        assert!(xml.contains(
            "<OpResult><Moved>3</Moved><Message><Body>a&quot;&lt;é&gt;&#xD;</Body><Fault>true</Fault>\
             <Attribute><Name>k</Name><Value>v</Value></Attribute></Message></OpResult><ResponseMetadata>"
        ), "{xml}");
        let found = rendered(Protocol::QueryJson, "Op", sample());
        let expect = serde_json::json!({"OpResponse": {
            "OpResult": {"Moved": 3, "messages": [
                {"Body": "a\"<é>\r", "Fault": true, "Attributes": [{"Name": "k", "Value": "v"}]}
            ]},
            "ResponseMetadata": {"RequestId": Uuid::nil().to_string()}
        }});
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&found).unwrap(),
            expect
        );
    }

    #[test]
    fn nothing_renders_as_nothing() {
        assert_eq!(rendered(Protocol::Json, "Op", None), "{}");
        assert!(!rendered(Protocol::Query, "Op", None).contains("OpResult"));
        assert!(!rendered(Protocol::QueryJson, "Op", None).contains("OpResult"));
        // An empty answer is not none: Query clients look for the result's element.
        assert!(rendered(Protocol::Query, "Op", Some(vec![])).contains("<OpResult></OpResult>"));
    }
}
