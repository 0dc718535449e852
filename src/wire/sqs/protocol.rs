//! Which of SQS's protocols a request speaks, and which operation it names (WIRE 0, 1.1).

use std::borrow::Cow;

use actix_web::http::Method;
use actix_web::http::header::{ACCEPT, CONTENT_TYPE, HeaderMap};

use super::query;
use super::queue_url::QueueAddress;
use crate::wire::{Call, Inbound};

const TARGET: &str = "x-amz-target";
const TARGET_PREFIX: &str = "AmazonSQS.";
const VERSION: &str = "2012-11-05";

/// How a request is written, and so how it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// AWS JSON 1.0: the operation is in `X-Amz-Target`, parameters and answer are JSON.
    Json,
    /// AWS Query: parameters are a form or a query string, the answer is XML.
    Query,
    /// AWS Query with `Accept: application/json`: the same parameters, the answer is JSON.
    QueryJson,
}

/// The parts of a request that tell what it asks for; all of it is as sent, nothing is verified yet.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path, still percent-encoded.
    pub raw_path: &'a str,
    /// The query, still percent-encoded, without `?`.
    pub raw_query: &'a str,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The whole body.
    pub body: &'a [u8],
}

impl<'a> From<&'a Call> for Parts<'a> {
    fn from(call: &'a Call) -> Self {
        Self {
            method: &call.method,
            raw_path: &call.raw_path,
            raw_query: &call.raw_query,
            headers: &call.headers,
            body: &call.body,
        }
    }
}

impl<'a> From<&'a Inbound> for Parts<'a> {
    fn from(inbound: &'a Inbound) -> Self {
        Self {
            method: &inbound.method,
            raw_path: &inbound.raw_path,
            raw_query: &inbound.raw_query,
            headers: &inbound.headers,
            body: &inbound.body,
        }
    }
}

impl Protocol {
    /// The protocol of a request to SQS; `None` if the request is for something else.
    ///
    /// A request without an `Action` is for SQS if its path is that of a queue URL, `/{12 digits}/{name}`; then
    /// [`operation_name`] finds none and the answer is `UnknownOperation`, as AWS's.
    pub fn of(parts: &Parts<'_>) -> Option<Self> {
        if parts.headers.contains_key(TARGET) {
            return operation_in_target(parts).map(|_| Self::Json);
        }
        let on_queue_url = QueueAddress::of_path(parts.raw_path).is_some_and(|a| a.has_account());
        if parameter(parts, "Action").is_none() {
            return on_queue_url.then_some(Self::Query);
        }
        let for_sqs = match parameter(parts, "Version") {
            Some(version) => version == VERSION,
            None => on_queue_url,
        };
        for_sqs.then(|| {
            if header(parts, &ACCEPT).is_some_and(|accept| accept.contains("application/json")) {
                Self::QueryJson
            } else {
                Self::Query
            }
        })
    }

    /// The `Content-Type` of its answers.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/x-amz-json-1.0",
            Self::Query => "text/xml",
            Self::QueryJson => "application/json",
        }
    }
}

/// The operation that a request to SQS names, which need not exist.
pub fn operation_name<'a>(parts: &Parts<'a>) -> Option<Cow<'a, str>> {
    match operation_in_target(parts) {
        Some(name) => Some(Cow::Borrowed(name)),
        None => parameter(parts, "Action"),
    }
}

/// The form in the body, if the request has one. Some clients leave the content type out.
pub(super) fn form<'a>(parts: &Parts<'a>) -> &'a [u8] {
    let is_form = header(parts, &CONTENT_TYPE)
        .is_none_or(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    if parts.method == Method::POST && is_form {
        parts.body
    } else {
        b""
    }
}

fn operation_in_target<'a>(parts: &Parts<'a>) -> Option<&'a str> {
    let target = parts.headers.get(TARGET)?.to_str().ok()?;
    target.strip_prefix(TARGET_PREFIX)
}

fn header<'a>(parts: &Parts<'a>, name: &actix_web::http::header::HeaderName) -> Option<&'a str> {
    parts.headers.get(name)?.to_str().ok()
}

fn parameter<'a>(parts: &Parts<'a>, name: &str) -> Option<Cow<'a, str>> {
    query::find(parts.raw_query.as_bytes(), name).or_else(|| query::find(form(parts), name))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn check(
        request: (&str, &str, &str),
        headers: &[(&'static str, &'static str)],
        body: &str,
        expect: Option<(Protocol, Option<&str>)>,
    ) {
        let (method, raw_path, raw_query) = request;
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        let parts = Parts {
            method: &method.parse().unwrap(),
            raw_path,
            raw_query,
            headers: &map,
            body: body.as_bytes(),
        };
        let protocol = Protocol::of(&parts);
        let name = operation_name(&parts);
        assert_eq!(
            protocol.map(|p| (p, name.as_deref())),
            expect,
            "{request:?} {headers:?} {body}"
        );
    }

    const FORM: (&str, &str) = (
        "content-type",
        "application/x-www-form-urlencoded; charset=utf-8",
    );
    const WANTS_JSON: (&str, &str) = ("accept", "application/json");
    const QUEUE: &str = "/123456789012/q";

    #[test]
    fn the_protocol_and_the_operation_are_found() {
        use Protocol::{Json, Query, QueryJson};
        let target = ("x-amz-target", "AmazonSQS.SendMessage");
        let send = Some("SendMessage");
        check(("POST", "/", ""), &[target], "{}", Some((Json, send)));
        check(("POST", QUEUE, ""), &[target], "{}", Some((Json, send)));
        let other = ("x-amz-target", "Kinesis_20131202.PutRecord");
        check(("POST", "/", ""), &[other], "{}", None);
        check(("POST", QUEUE, ""), &[other], "{}", None);

        let body = "QueueUrl=x&Version=2012-11-05&Action=SendMessage";
        check(("POST", "/", ""), &[FORM], body, Some((Query, send)));
        check(("POST", "/", ""), &[], body, Some((Query, send)));
        check(("GET", "/", body), &[], "", Some((Query, send)));
        check(
            ("GET", "/", body),
            &[WANTS_JSON],
            "",
            Some((QueryJson, send)),
        );
        // A body of another type is not read as a form.
        check(
            ("POST", "/", ""),
            &[("content-type", "text/plain")],
            body,
            None,
        );
    }

    #[test]
    fn a_version_is_needed_except_on_a_queue_url() {
        let list = Some("Foo");
        check(("GET", "/", "Action=Foo"), &[], "", None);
        check(
            ("GET", QUEUE, "Action=Foo"),
            &[],
            "",
            Some((Protocol::Query, list)),
        );
        check(("GET", "/", "Action=Foo&Version=2011-06-15"), &[], "", None);
        check(("GET", "/notify/user", "Action=Foo"), &[], "", None);
    }

    #[test]
    fn a_queue_url_without_action_is_for_sqs() {
        check(("GET", QUEUE, ""), &[], "", Some((Protocol::Query, None)));
        check(
            ("GET", QUEUE, ""),
            &[WANTS_JSON],
            "",
            Some((Protocol::Query, None)),
        );
        check(("GET", "/status", ""), &[], "", None);
        check(("GET", "/notify/5", ""), &[], "", None);
    }
}
