//! The wires: one module per protocol; wires know nothing of each other.
//!
//! A request comes in through the front door ([`front`]), which finds the route or operation, verifies the
//! signature, makes the access decision and only then calls the wire with the [`Grant`] in hand.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::Method;
use actix_web::http::header::HeaderMap;
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;

use crate::auth::{Access, Grant};

pub mod front;

pub mod http;

pub mod cognito;

pub mod kinesis;

pub mod inbound;

pub mod iot;

pub mod json11;

pub mod mqtt;

pub mod pages;

pub mod probes;

pub mod refusal;

pub mod sqs;

pub mod sts;

pub use inbound::{Inbound, Params};
pub use refusal::Refusal;

/// A verified request with its access decision.
#[derive(Debug)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// The path as sent, still percent-encoded.
    pub raw_path: String,
    /// The query as sent, still percent-encoded, without `?`.
    pub raw_query: String,
    /// The route's parameters, percent-decoded; empty for RPC-style wires.
    pub params: Params,
    /// The headers.
    pub headers: HeaderMap,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Who sent it; `None` if the connection ended before that was looked at, and in tests without one.
    pub peer: Option<std::net::SocketAddr>,
    /// The `Host` header or `:authority`: the host that answers name in URLs they hand out.
    pub host: String,
    /// The whole body.
    pub body: Bytes,
    /// `x-amzn-RequestId` of the answer.
    pub request_id: uuid::Uuid,
    /// Proof of the access decision.
    pub grant: Grant,
}

impl Call {
    /// The call that `inbound` is once the access decision was made.
    pub fn new(inbound: Inbound, params: Params, grant: Grant) -> Self {
        Self {
            method: inbound.method,
            raw_path: inbound.raw_path,
            raw_query: inbound.raw_query,
            params,
            headers: inbound.headers,
            scheme: inbound.scheme,
            peer: inbound.peer,
            host: inbound.host,
            body: inbound.body,
            request_id: inbound.request_id,
            grant,
        }
    }
}

/// How an answer is computed. Handlers run on the worker that took the request; dropping the future is how
/// they learn that the client has gone.
pub type Handler<S> = fn(Arc<S>, Call) -> LocalBoxFuture<'static, HttpResponse>;

/// An operation of an RPC-style AWS wire (`X-Amz-Target` or `Action` names it).
pub struct Operation<S> {
    /// The name, as in `AmazonSQS.{name}`.
    pub name: &'static str,
    /// What it asks of the caller.
    pub access: Access,
    /// What it does.
    pub handler: Handler<S>,
}

/// A route of a REST-style wire.
pub struct Route<S> {
    /// Methods that it answers; `GET` includes `HEAD`.
    pub methods: &'static [Method],
    /// Path pattern, segments in braces are parameters: `/notify/user/{user}`. A last segment `{name*}` takes
    /// the rest of the path, slashes included.
    pub path: &'static str,
    /// What it asks of the caller.
    pub access: Access,
    /// What it does.
    pub handler: Handler<S>,
}
