//! A request as the operations read it: the parameters, whichever protocol they came in, and the queue that
//! they are for. Reading takes a value out, so a message's text is never copied.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value};

use super::SqsState;
use super::error::Fault;
use super::json::parse_json;
use super::presigned;
use super::protocol::{Parts, Protocol, form};
use super::query::{Form, parse_query};
use super::queue_url::QueueAddress;
use crate::auth::{Caller, Denied, Grant};
use crate::domain::queue::QueueRecord;
use crate::domain::{QueueError, QueueName};
use crate::wire::Call;

/// The parameters of a request, or of one structure in it.
#[derive(Debug)]
pub struct Fields(Source);

#[derive(Debug)]
enum Source {
    Json(Map<String, Value>),
    Query(Form),
}

/// How the protocols name a map in requests. The two names in Query are those that clients are known to send.
#[derive(Debug, Clone, Copy)]
pub struct MapParameter {
    /// In JSON.
    pub json: &'static str,
    /// In Query, before the number.
    pub query: [&'static str; 2],
    /// In Query, the key after the number.
    pub key: &'static str,
}

impl Fields {
    /// From the body of a JSON request.
    ///
    /// # Errors
    /// As [`parse_json`].
    pub fn of_json(body: &[u8]) -> Result<Self, Fault> {
        parse_json(body).map(|map| Self(Source::Json(map)))
    }

    /// From the query string and the form of a Query request.
    ///
    /// # Errors
    /// As [`parse_query`].
    pub fn of_query(raw_query: &[u8], body: &[u8]) -> Result<Self, Fault> {
        parse_query(raw_query, body).map(|form| Self(Source::Query(form)))
    }

    /// A text; `None` if it is absent or null.
    ///
    /// # Errors
    /// [`Fault::Malformed`] if JSON has another type there.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, Fault> {
        match &mut self.0 {
            Source::Json(map) => json_text(name, take(map, name)),
            Source::Query(form) => Ok(form
                .children
                .get_mut(name)
                .and_then(|node| node.text.take())),
        }
    }

    /// A text that must be there and not be empty.
    ///
    /// # Errors
    /// `MissingParameter`, or as [`Fields::text`].
    pub fn required_text(&mut self, name: &str) -> Result<String, Fault> {
        self.text(name)?
            .filter(|text| !text.is_empty())
            .ok_or_else(|| Fault::missing(name))
    }

    /// A whole number.
    ///
    /// # Errors
    /// [`Fault::Malformed`] if it is anything else, a text of digits in JSON included.
    pub fn integer(&mut self, name: &str) -> Result<Option<i64>, Fault> {
        match &mut self.0 {
            Source::Json(map) => match take(map, name) {
                None => Ok(None),
                Some(value) => value
                    .as_i64()
                    .map(Some)
                    .ok_or_else(|| wrong_type(name, &value, "an Integer")),
            },
            Source::Query(_) => match self.text(name)? {
                None => Ok(None),
                Some(text) => text.parse().map(Some).map_err(|_| {
                    Fault::Malformed(format!("{name} must be an integer, not \"{text:.40}\""))
                }),
            },
        }
    }

    /// A whole number in a range.
    ///
    /// # Errors
    /// `InvalidParameterValue` with this reason, or as [`Fields::integer`].
    pub fn integer_within(
        &mut self,
        name: &str,
        range: std::ops::RangeInclusive<i64>,
        reason: &str,
    ) -> Result<Option<u64>, Fault> {
        match self.integer(name)? {
            Some(value) if !range.contains(&value) => Err(Fault::invalid(format!(
                "Value {value} for parameter {name} is invalid. Reason: {reason}"
            ))),
            value => Ok(value.map(i64::unsigned_abs)),
        }
    }

    /// Bytes, in base64.
    ///
    /// # Errors
    /// [`Fault::Malformed`] if they are not.
    pub fn blob(&mut self, name: &str) -> Result<Option<Bytes>, Fault> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        match STANDARD.decode(text) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(_) => Err(Fault::Malformed(format!("{name} must be base64"))),
        }
    }

    /// A list of texts: `json` in JSON, `query.1`, `query.2` and so on in Query.
    ///
    /// # Errors
    /// [`Fault::Malformed`] if it is something else.
    pub fn texts(&mut self, json: &str, query: &str) -> Result<Vec<String>, Fault> {
        match &mut self.0 {
            Source::Json(map) => json_list(json, take(map, json))?
                .into_iter()
                .filter_map(|item| json_text(json, Some(item)).transpose())
                .collect(),
            Source::Query(form) => numbered(query, form.children.remove(query))?
                .into_iter()
                .map(|node| node.text.ok_or_else(|| not_here(query)))
                .collect(),
        }
    }

    /// A list of structures, named as in [`Fields::texts`].
    ///
    /// # Errors
    /// [`Fault::Malformed`] if it is something else.
    pub fn structs(&mut self, json: &str, query: &str) -> Result<Vec<Self>, Fault> {
        match &mut self.0 {
            Source::Json(map) => json_list(json, take(map, json))?
                .into_iter()
                .map(|item| json_object(json, item).map(Self::from))
                .collect(),
            Source::Query(form) => {
                let items = numbered(query, form.children.remove(query))?;
                Ok(items.into_iter().map(Self::from).collect())
            }
        }
    }

    /// A map to texts, in the order of the request. An absent value in Query is an empty one: clients leave
    /// `Value` out for it.
    ///
    /// # Errors
    /// [`Fault::Malformed`] if it is something else or has a key twice.
    pub fn text_map(&mut self, name: MapParameter) -> Result<Vec<(String, String)>, Fault> {
        match &mut self.0 {
            Source::Json(map) => match take(map, name.json) {
                None => Ok(Vec::new()),
                Some(value) => json_object(name.json, value)?
                    .into_iter()
                    .filter_map(|(key, value)| {
                        let text = json_text(&key, Some(value)).transpose()?;
                        Some(text.map(|text| (key, text)))
                    })
                    .collect(),
            },
            Source::Query(form) => {
                let pairs = form_map(form, name)?.into_iter();
                Ok(pairs
                    .map(|(key, value)| (key, value.text.unwrap_or_default()))
                    .collect())
            }
        }
    }

    /// A map to structures.
    ///
    /// # Errors
    /// [`Fault::Malformed`] if it is something else or has a key twice.
    pub fn struct_map(&mut self, name: MapParameter) -> Result<Vec<(String, Self)>, Fault> {
        match &mut self.0 {
            Source::Json(map) => match take(map, name.json) {
                None => Ok(Vec::new()),
                Some(value) => json_object(name.json, value)?
                    .into_iter()
                    .map(|(key, value)| json_object(&key, value).map(|map| (key, Self::from(map))))
                    .collect(),
            },
            Source::Query(form) => {
                let pairs = form_map(form, name)?.into_iter();
                Ok(pairs.map(|(key, value)| (key, Self::from(value))).collect())
            }
        }
    }
}

impl From<Map<String, Value>> for Fields {
    fn from(map: Map<String, Value>) -> Self {
        Self(Source::Json(map))
    }
}

impl From<Form> for Fields {
    fn from(form: Form) -> Self {
        Self(Source::Query(form))
    }
}

fn take(map: &mut Map<String, Value>, name: &str) -> Option<Value> {
    map.remove(name).filter(|value| !value.is_null())
}

fn json_text(name: &str, value: Option<Value>) -> Result<Option<String>, Fault> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(wrong_type(name, &other, "a String")),
    }
}

fn json_list(name: &str, value: Option<Value>) -> Result<Vec<Value>, Fault> {
    match value {
        None => Ok(Vec::new()),
        Some(Value::Array(items)) => Ok(items),
        Some(other) => Err(wrong_type(name, &other, "a List")),
    }
}

fn json_object(name: &str, value: Value) -> Result<Map<String, Value>, Fault> {
    match value {
        Value::Object(map) => Ok(map),
        other => Err(wrong_type(name, &other, "a Structure or Map")),
    }
}

fn wrong_type(name: &str, found: &Value, wanted: &str) -> Fault {
    let found = match found {
        Value::Null => "NULL_VALUE",
        Value::Bool(_) => "BOOLEAN_VALUE",
        Value::Number(_) => "NUMBER_VALUE",
        Value::String(_) => "STRING_VALUE",
        Value::Array(_) => "LIST_VALUE",
        Value::Object(_) => "STRUCTURE_VALUE",
    };
    Fault::Malformed(format!("{name}: {found} can not be converted to {wanted}"))
}

/// The items of a Query list in the order of their numbers. A bare `name=`, which some clients send for an empty
/// list, has none.
fn numbered(name: &str, node: Option<Form>) -> Result<Vec<Form>, Fault> {
    let mut items = Vec::new();
    for (number, item) in node.unwrap_or_default().children {
        let number: u32 = number.parse().map_err(|_| not_here(name))?;
        items.push((number, item));
    }
    items.sort_by_key(|(number, _)| *number);
    if items.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return Err(not_here(name));
    }
    Ok(items.into_iter().map(|(_, item)| item).collect())
}

fn form_map(form: &mut Form, name: MapParameter) -> Result<Vec<(String, Form)>, Fault> {
    let mut seen = BTreeSet::new();
    let mut pairs = Vec::new();
    for query in name.query {
        for mut item in numbered(query, form.children.remove(query))? {
            let key = item.children.remove(name.key).and_then(|node| node.text);
            let key = key.ok_or_else(|| not_here(query))?;
            if !seen.insert(key.clone()) {
                return Err(Fault::Malformed(format!("{key} is given twice in {query}")));
            }
            pairs.push((key, item.children.remove("Value").unwrap_or_default()));
        }
    }
    Ok(pairs)
}

fn not_here(name: &str) -> Fault {
    Fault::Malformed(format!("{name} is not of the form {name}.1, {name}.2, …"))
}

/// A verified request on its way through an operation.
pub struct Request {
    /// The wire's state.
    pub state: Arc<SqsState>,
    /// The parameters.
    pub fields: Fields,
    /// The queue whose URL the request was sent to, if it was sent to one.
    pub path_queue: Option<QueueAddress>,
    /// How it came.
    pub protocol: Protocol,
    grant: Grant,
    scheme: &'static str,
    host: String,
}

impl Request {
    /// Reads a call's parameters.
    pub(super) fn read(
        state: Arc<SqsState>,
        protocol: Protocol,
        call: Call,
    ) -> Result<Self, Fault> {
        let fields = match protocol {
            Protocol::Json if call.body.is_empty() => {
                presigned::parse(call.raw_query.as_bytes()).map(Fields::from)
            }
            Protocol::Json => Fields::of_json(&call.body),
            Protocol::Query | Protocol::QueryJson => {
                let parts = Parts::from(&call);
                Fields::of_query(parts.raw_query.as_bytes(), form(&parts))
            }
        }?;
        Ok(Self {
            state,
            fields,
            path_queue: QueueAddress::of_path(&call.raw_path),
            protocol,
            grant: call.grant,
            scheme: call.scheme,
            host: call.host,
        })
    }

    /// The queue that `QueueUrl`, or else the path, names. Whether the caller may use it is decided before
    /// whether it exists: a session learns nothing about queues that are not its own.
    ///
    /// # Errors
    /// `MissingParameter`, `InvalidAddress`, `AccessDenied`, `QueueDoesNotExist`.
    pub fn queue(&mut self) -> Result<QueueRecord, Fault> {
        let address = match self.fields.text("QueueUrl")?.filter(|url| !url.is_empty()) {
            Some(url) => QueueAddress::parse(&url)?,
            None => self
                .path_queue
                .clone()
                .ok_or_else(|| Fault::missing("QueueUrl"))?,
        };
        self.queue_named(&address.name, Some(&address.account))
    }

    /// The queue of this name, if the account is ours or not given.
    ///
    /// # Errors
    /// `AccessDenied`, `QueueDoesNotExist`.
    pub fn queue_named(&self, name: &str, account: Option<&str>) -> Result<QueueRecord, Fault> {
        let Ok(name) = QueueName::parse(name) else {
            return Err(match self.grant.caller() {
                Caller::Operator { .. } => QueueError::DoesNotExist.into(),
                Caller::Session(_) | Caller::Issued(_) | Caller::Anonymous => Denied.into(),
            });
        };
        self.grant.queue_named(&name)?;
        if account.is_some_and(|account| account != &*self.state.account) {
            return Err(QueueError::DoesNotExist.into());
        }
        Ok(self.state.queues.find(&name)?)
    }

    /// The URL of a queue, on the host that the caller used.
    pub fn queue_url(&self, name: &QueueName) -> String {
        let (scheme, host, account) = (self.scheme, &self.host, &self.state.account);
        format!("{scheme}://{host}/{account}/{}", name.as_str())
    }
}

/// Runs one parser on both forms of a request, for the tests of the operations.
#[cfg(test)]
pub(super) fn both<T: PartialEq + std::fmt::Debug>(
    json: Value,
    query: &str,
    parse: impl Fn(&mut Fields) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let of_json = Fields::of_json(json.to_string().as_bytes()).and_then(|mut f| parse(&mut f));
    let of_query = Fields::of_query(b"", query.as_bytes()).and_then(|mut f| parse(&mut f));
    assert_eq!(of_json, of_query, "{json} and {query} are not read alike");
    of_json
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TAGS: MapParameter = MapParameter {
        json: "Tags",
        query: ["Tag", "Tags"],
        key: "Key",
    };

    fn fields(json: Value) -> Fields {
        Fields::of_json(json.to_string().as_bytes()).unwrap()
    }

    fn form_of(query: &str) -> Fields {
        Fields::of_query(query.as_bytes(), b"").unwrap()
    }

    #[test]
    fn both_protocols_read_alike() {
        let json = json!({
            "T": "é", "N": -5, "B": "AAE=", "L": ["b", "a"],
            "E": [{"Id": "x"}, {"Id": "y"}], "Tags": {"k": "v", "l": ""}, "Nothing": null,
        });
        let query = "T=%C3%A9&N=-5&B=AAE%3D&L.2=a&L.1=b&E.10.Id=y&E.9.Id=x\
                     &Tag.1.Key=k&Tag.1.Value=v&Tag.2.Key=l";
        let found = both(json, query, |f| {
            let ids: Result<Vec<_>, _> = f
                .structs("E", "E")?
                .iter_mut()
                .map(|e| e.text("Id"))
                .collect();
            let scalars = (
                f.text("T")?,
                f.integer("N")?,
                f.blob("B")?,
                f.text("Nothing")?,
            );
            Ok((scalars, f.texts("L", "L")?, ids?, f.text_map(TAGS)?))
        });
        let (scalars, list, ids, tags) = found.unwrap();
        let bytes = Bytes::from_static(&[0, 1]);
        assert_eq!(scalars, (Some("é".into()), Some(-5), Some(bytes), None));
        assert_eq!(list, ["b", "a"]);
        assert_eq!(ids, [Some("x".to_owned()), Some("y".to_owned())]);
        assert_eq!(
            tags,
            [("k".into(), "v".into()), ("l".into(), String::new())]
        );
    }

    #[test]
    fn json_types_are_not_guessed() {
        let malformed = |found: Option<Fault>, what: &str| {
            assert!(
                matches!(found, Some(Fault::Malformed(_))),
                "{what}: {found:?}"
            );
        };
        for value in [json!(1), json!(true), json!([]), json!({})] {
            malformed(fields(json!({"a": value})).text("a").err(), "text");
        }
        for value in [
            json!("1"),
            json!(1.5),
            json!(true),
            json!([1]),
            json!(u64::MAX),
        ] {
            malformed(fields(json!({"a": value})).integer("a").err(), "integer");
        }
        for value in [json!("a"), json!([1]), json!({"1": "a"})] {
            malformed(fields(json!({"a": value})).texts("a", "a").err(), "list");
        }
        for value in [json!("a"), json!(["a"]), json!({"k": 1}), json!({"k": {}})] {
            malformed(fields(json!({"Tags": value})).text_map(TAGS).err(), "map");
        }
        for value in [json!("a"), json!([[]]), json!({})] {
            malformed(
                fields(json!({"a": value})).structs("a", "a").err(),
                "structs",
            );
        }
        malformed(fields(json!({"a": "%"})).blob("a").err(), "blob");
    }

    #[test]
    fn query_forms_are_not_guessed() {
        for (query, what) in [
            ("a=1.5", "integer"),
            ("a=", "integer"),
            ("L.x=1", "list"),
            ("L.1.y=1", "list"),
            ("L.1=a&L.01=b", "list"),
            ("Tag.1.Value=x", "map"),
            ("Tag.1.Key=x&Tag.2.Key=x", "map"),
            ("Tag.1.Key=x&Tags.1.Key=x", "map"),
        ] {
            let mut form = form_of(query);
            let found = match what {
                "integer" => form.integer("a").err(),
                "list" => form.texts("L", "L").err(),
                _ => form.text_map(TAGS).err(),
            };
            assert!(
                matches!(found, Some(Fault::Malformed(_))),
                "{query}: {found:?}"
            );
        }
        assert_eq!(form_of("L=").texts("L", "L"), Ok(vec![]));
    }

    #[test]
    fn ranges_are_told() {
        let mut form = form_of("N=11");
        let found = form.integer_within("N", 1..=10, "Must be between 1 and 10, if provided.");
        let text =
            "Value 11 for parameter N is invalid. Reason: Must be between 1 and 10, if provided.";
        assert_eq!(found, Err(Fault::invalid(text)));
        assert_eq!(
            form_of("N=10").integer_within("N", 1..=10, ""),
            Ok(Some(10))
        );
        assert_eq!(form_of("").integer_within("N", 1..=10, ""), Ok(None));
    }
}
