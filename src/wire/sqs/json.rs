//! JSON bodies, read strictly: an object, no key twice, no nesting without end.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::error::Fault;

/// Reads the body of a JSON request. Total: any bytes are read or refused. No body at all is an empty object.
///
/// # Errors
/// [`Fault::Malformed`] unless it is one JSON object in which no key repeats, nested less than 128 deep.
pub fn parse_json(body: &[u8]) -> Result<Map<String, Value>, Fault> {
    if body.is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_slice(body) {
        Ok(Strict(Value::Object(map))) => Ok(map),
        Ok(Strict(_)) => Err(Fault::Malformed("The body must be a JSON object".into())),
        Err(error) => Err(Fault::Malformed(format!("The body is not JSON: {error}"))),
    }
}

/// A value without repeated keys. serde_json alone keeps the last of them, and so might disagree with whoever
/// looked at the request before.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Strict(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((key, Strict(value))) = access.next_entry::<String, Strict>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!("the key {key:?} is given twice")));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_are_read() {
        let body = r#"{"a":1,"b":[true,null,{"c":"\u00e9\ud83d\ude00","d":-1.5}]}"#;
        let expect = json!({"a": 1, "b": [true, null, {"c": "é😀", "d": -1.5}]});
        assert_eq!(Value::Object(parse_json(body.as_bytes()).unwrap()), expect);
        assert_eq!(parse_json(b"").unwrap(), Map::new());
        assert_eq!(parse_json(b" {} ").unwrap(), Map::new());
    }

    #[test]
    fn anything_else_is_refused() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
        for bad in [
            "[]",
            "1",
            "null",
            "{",
            "{} {}",
            r#"{"a":1,"a":1}"#,
            r#"{"x":[{"a":1,"\u0061":2}]}"#,
            r#"{"a":"\ud800"}"#,
            &deep,
        ] {
            let found = parse_json(bad.as_bytes());
            assert!(matches!(found, Err(Fault::Malformed(_))), "{bad:.40}");
        }
        assert!(parse_json(b"{\"a\":\"\xff\"}").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body: Vec<u8>) {
            let _ = parse_json(&body);
        }

        #[test]
        fn any_text_comes_back(value: String) {
            let body = json!({ "a": value }).to_string();
            prop_assert_eq!(&parse_json(body.as_bytes()).unwrap()["a"], &Value::String(value));
        }
    }
}
