//! Answers and errors, in XML or JSON.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::HeaderValue;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::auth::sigv4::AuthError;
use crate::domain::Timestamp;
use crate::domain::session::Credentials;
use crate::wire::Refusal;
use crate::wire::front::ERROR_TYPE;

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Xml,
    Json,
}

impl Format {
    /// XML, unless JSON is asked for.
    pub(super) fn of(accept: Option<&str>) -> Self {
        match accept {
            Some(accept) if accept.contains("application/json") => Self::Json,
            _ => Self::Xml,
        }
    }
}

/// A part of an answer.
#[derive(Debug, Clone)]
pub(super) enum Node {
    Text(String),
    Time(Timestamp),
    Members(Vec<(&'static str, Node)>),
}

impl Node {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// `Credentials` as STS has them.
    pub(super) fn credentials(keys: &Credentials) -> Self {
        Self::Members(vec![
            ("AccessKeyId", Self::text(&keys.access_key)),
            ("SecretAccessKey", Self::text(&keys.secret_key)),
            ("SessionToken", Self::text(&keys.session_token)),
            ("Expiration", Self::Time(keys.expires)),
        ])
    }

    fn xml(&self, out: &mut String) {
        match self {
            Self::Text(text) => escape(text, out),
            Self::Time(time) => out.push_str(&iso(*time)),
            Self::Members(members) => {
                for (name, node) in members {
                    out.push_str(&format!("<{name}>"));
                    node.xml(out);
                    out.push_str(&format!("</{name}>"));
                }
            }
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Text(text) => text.as_str().into(),
            Self::Time(time) => time.secs().into(),
            Self::Members(members) => {
                let members = members
                    .iter()
                    .map(|(name, node)| ((*name).to_owned(), node.json()));
                Value::Object(members.collect::<Map<_, _>>())
            }
        }
    }
}

/// Whole seconds: SDKs take more, and AWS sends no more.
fn iso(time: Timestamp) -> String {
    let seconds = i64::try_from(time.secs()).unwrap_or(i64::MAX);
    let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    time.format(&Rfc3339).unwrap_or_default()
}

/// Text in which no character can be taken for markup.
fn escape(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\r' => out.push_str("&#xD;"),
            character => out.push(character),
        }
    }
}

/// The answer of an operation.
pub(super) fn success(
    operation: &'static str,
    result: Node,
    format: Format,
    request_id: Uuid,
) -> HttpResponse {
    let metadata = ("RequestId", Node::text(request_id.to_string()));
    match format {
        Format::Xml => {
            let mut inside = String::new();
            result.xml(&mut inside);
            let text = format!(
                "<{operation}Response xmlns=\"{NAMESPACE}\"><{operation}Result>{inside}</{operation}Result>\
                 <ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{operation}Response>"
            );
            HttpResponse::Ok().content_type("text/xml").body(text)
        }
        Format::Json => {
            let mut body = Map::new();
            body.insert(format!("{operation}Result"), result.json());
            body.insert(
                "ResponseMetadata".to_owned(),
                Node::Members(vec![metadata]).json(),
            );
            let body = Map::from_iter([(format!("{operation}Response"), Value::Object(body))]);
            HttpResponse::Ok()
                .content_type("application/json")
                .body(Value::Object(body).to_string())
        }
    }
}

/// An error as STS tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl Fault {
    pub(super) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    /// A parameter that can not be used.
    pub(super) fn invalid(message: &str) -> Self {
        Self::new(400, "ValidationError", message)
    }

    /// The response.
    pub(super) fn answer(&self, format: Format, request_id: Uuid) -> HttpResponse {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let side = if self.status < 500 {
            "Sender"
        } else {
            "Receiver"
        };
        let error = Node::Members(vec![
            ("Type", Node::text(side)),
            ("Code", Node::text(self.code)),
            ("Message", Node::text(&self.message)),
        ]);
        let mut response = HttpResponse::build(status);
        let mut response = match format {
            Format::Xml => {
                let mut inside = String::new();
                error.xml(&mut inside);
                response.content_type("text/xml").body(format!(
                    "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error>{inside}</Error>\
                     <RequestId>{request_id}</RequestId></ErrorResponse>"
                ))
            }
            Format::Json => {
                let body = Node::Members(vec![
                    ("Error", error),
                    ("RequestId", Node::text(request_id.to_string())),
                ]);
                response
                    .content_type("application/json")
                    .body(body.json().to_string())
            }
        };
        let headers = response.headers_mut();
        headers.insert(ERROR_TYPE, HeaderValue::from_static(self.code));
        response
    }
}

impl From<&Refusal> for Fault {
    /// WIRE 7, the column of the Query services.
    fn from(refusal: &Refusal) -> Self {
        let (status, code) = match refusal {
            Refusal::Auth(error) => match error {
                AuthError::MissingAuthentication => (403, "MissingAuthenticationToken"),
                AuthError::IncompleteSignature(_) => (400, "IncompleteSignature"),
                AuthError::InvalidClientToken => (403, "InvalidClientTokenId"),
                AuthError::SignatureDoesNotMatch(_)
                | AuthError::SignatureExpired { .. }
                | AuthError::SignatureNotYetCurrent { .. } => (403, "SignatureDoesNotMatch"),
                AuthError::ExpiredToken => (403, "ExpiredToken"),
                AuthError::AccessDenied(_) => (403, "AccessDenied"),
            },
            Refusal::AccessDenied => (403, "AccessDenied"),
            Refusal::UnknownOperation(_) => (400, "InvalidAction"),
            Refusal::NotFound => (404, "NotFound"),
            Refusal::MethodNotAllowed { .. } => (405, "MethodNotAllowed"),
            Refusal::UpgradeRequired => (426, "UpgradeRequired"),
            Refusal::Malformed(_) => (400, "ValidationError"),
            Refusal::BodyTooLarge { .. } => (413, "RequestEntityTooLarge"),
            Refusal::QueryTooLong { .. } => (414, "RequestUriTooLong"),
            Refusal::HeadersTooLarge => (431, "RequestHeaderFieldsTooLarge"),
            Refusal::Timeout => (408, "RequestTimeout"),
            Refusal::Unavailable => (503, "ServiceUnavailable"),
            Refusal::Internal => (500, "InternalFailure"),
        };
        Self::new(status, code, refusal.to_string())
    }
}
