//! JSON that keeps the order of members and takes none twice.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::Malformed;
use crate::config::limits::policy as limits;

/// As much of JSON as policies have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Json {
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
    /// A number, `true`, `false` or `null`: nowhere of use.
    Other,
}

impl Json {
    /// The members of an object.
    pub(super) fn members(&self, what: &str) -> Result<&[(String, Json)], Malformed> {
        match self {
            Self::Object(members) => Ok(members),
            _ => Err(Malformed::new(format!("{what} is not an object"))),
        }
    }

    /// A text.
    pub(super) fn text(&self, what: &str) -> Result<&str, Malformed> {
        match self {
            Self::Text(text) => Ok(text),
            _ => Err(Malformed::new(format!("{what} is not a text"))),
        }
    }

    /// A text or several, at least one.
    pub(super) fn texts(&self, what: &str) -> Result<Vec<&str>, Malformed> {
        let values = self.one_or_many();
        if values.is_empty() {
            return Err(Malformed::new(format!("{what} is empty")));
        }
        if values.len() > limits::VALUES {
            return Err(Malformed::new(format!(
                "{what} has {} values, at most {} are allowed",
                values.len(),
                limits::VALUES
            )));
        }
        values.iter().map(|value| value.text(what)).collect()
    }

    /// The values of a list, or the value alone.
    pub(super) fn one_or_many(&self) -> &[Json] {
        match self {
            Self::List(values) => values,
            one => std::slice::from_ref(one),
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = values.next_element()? {
            list.push(value);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let mut object: Vec<(String, Json)> = Vec::new();
        while let Some((key, value)) = members.next_entry::<String, Json>()? {
            if object.iter().any(|(known, _)| *known == key) {
                return Err(A::Error::custom(format_args!("{key:?} is there twice")));
            }
            object.push((key, value));
        }
        Ok(Json::Object(object))
    }
}
