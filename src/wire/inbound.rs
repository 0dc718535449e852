//! A request as it came in, before anything it says is believed.

use std::net::SocketAddr;

use actix_web::dev::{RequestHead, ServiceRequest};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, Version};
use bytes::Bytes;
use uuid::Uuid;

use crate::domain::ids::unique_id;

/// What the front door shows a wire that has to say whether the request is its own.
#[derive(Debug)]
pub struct Inbound {
    /// The method.
    pub method: Method,
    /// The path as sent, still percent-encoded.
    pub raw_path: String,
    /// The query as sent, still percent-encoded, without `?`.
    pub raw_query: String,
    /// The headers.
    pub headers: HeaderMap,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Who sent it; `None` if the connection ended before that was looked at, and in tests without one.
    pub peer: Option<SocketAddr>,
    /// The `Host` header or `:authority`; never a forwarded one, which anybody can write.
    pub host: String,
    /// Whether the request came by HTTP/2, so that `host` is what `:authority` says.
    pub http2: bool,
    /// The body; empty until it was read.
    pub body: Bytes,
    /// `x-amzn-RequestId` of the answer.
    pub request_id: Uuid,
}

impl Inbound {
    /// Takes what is needed out of actix's request, the headers by move: they are not there afterwards.
    pub(crate) fn take(request: &mut ServiceRequest, scheme: &'static str) -> Self {
        let inbound = Self::without_headers(request.request().head(), scheme);
        Self {
            headers: std::mem::take(request.headers_mut()),
            ..inbound
        }
    }

    /// The same out of a request for an upgrade.
    pub(crate) fn of_upgrade(request: &mut actix_http::Request, scheme: &'static str) -> Self {
        let inbound = Self::without_headers(request.head(), scheme);
        Self {
            headers: std::mem::take(request.headers_mut()),
            ..inbound
        }
    }

    fn without_headers(head: &RequestHead, scheme: &'static str) -> Self {
        let uri = &head.uri;
        let raw_path = uri.path().to_owned();
        let raw_query = uri.query().unwrap_or_default().to_owned();
        let http2 = head.version == Version::HTTP_2;
        let authority = uri.authority().map(|authority| authority.as_str());
        let host_header = head.headers.get(header::HOST);
        let host_header = host_header.and_then(|value| value.to_str().ok());
        let host = if http2 {
            authority.or(host_header)
        } else {
            host_header.or(authority)
        };
        let host = host.unwrap_or_default().to_owned();
        Self {
            method: head.method.clone(),
            raw_path,
            raw_query,
            host,
            http2,
            scheme,
            peer: head.peer_addr,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            request_id: unique_id(),
        }
    }

    /// Whether HTTP/2's `:authority` and a `Host` header name different hosts.
    pub(crate) fn names_two_hosts(&self) -> bool {
        let differs =
            |value: &HeaderValue| !value.as_bytes().eq_ignore_ascii_case(self.host.as_bytes());
        self.http2 && self.headers.get_all(header::HOST).any(differs)
    }

    /// A header's only value as text; `None` if it is absent, repeated or not text.
    pub fn header(&self, name: impl Into<HeaderName>) -> Option<&str> {
        let mut values = self.headers.get_all(name.into());
        match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok(),
            _ => None,
        }
    }

    /// The `X-Amz-Target` header.
    pub fn target(&self) -> Option<&str> {
        self.header(HeaderName::from_static("x-amz-target"))
    }

    /// The media type of the body in lower case, without parameters; empty if there is none.
    pub fn media_type(&self) -> String {
        let full = self.header(header::CONTENT_TYPE).unwrap_or_default();
        let media = full.split(';').next().unwrap_or_default();
        media.trim().to_ascii_lowercase()
    }
}

/// Values of a route's parameters, percent-decoded once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params(Vec<(&'static str, String)>);

impl Params {
    /// The parameter's value; `None` if the route has no such parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.as_str())
    }
}

impl FromIterator<(&'static str, String)> for Params {
    fn from_iter<I: IntoIterator<Item = (&'static str, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_header_has_no_only_value() {
        let mut request = actix_web::test::TestRequest::default()
            .append_header(("X-Amz-Target", "A.B"))
            .append_header(("X-Amz-Target", "A.C"))
            .append_header(("Content-Type", "Application/JSON; charset=utf-8"))
            .to_srv_request();
        let inbound = Inbound::take(&mut request, "http");
        assert_eq!(inbound.target(), None);
        assert_eq!(inbound.media_type(), "application/json");
    }
}
