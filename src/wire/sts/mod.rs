//! The STS wire (WIRE 2): temporary keys for roles, and who a caller is. Query in, XML out; JSON only if asked for.

use std::borrow::Cow;
use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::Method;
use actix_web::http::header::ACCEPT;

use crate::auth::{Access, Authenticator, Grant};
use crate::config::limits::sts as limits;

use super::front::{Refuser, RpcWire};
use super::{Call, Inbound, Operation, Refusal};

mod answer;
pub mod assume_role;
mod form;
pub mod get_caller_identity;
pub mod get_session_token;

#[cfg(test)]
mod tests;

use answer::{Fault, Format, Node};
use form::Form;

const VERSION: &str = "2011-06-15";

/// What the operations need.
pub struct StsState {
    /// Makes the keys.
    pub authenticator: Arc<Authenticator>,
    /// The account number in ARNs.
    pub account: String,
}

/// One line per operation: its name, what it asks of the caller, and the function that does it.
macro_rules! operations {
    ($($name:literal $access:ident $call:path,)*) => {
        &[$(Operation {
            name: $name,
            access: Access::$access,
            handler: |state, call| Box::pin(async move {
                serve($name, &state, &call, $call)
            }),
        },)*]
    };
}

/// Every operation.
pub static OPERATIONS: &[Operation<StsState>] = operations![
    "AssumeRole" Operator assume_role::call,
    "GetCallerIdentity" Signed get_caller_identity::call,
    "GetSessionToken" Operator get_session_token::call,
];

/// What the front door asks of this wire.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wire;

impl RpcWire for Wire {
    fn name(&self) -> &'static str {
        "sts"
    }

    fn signed_as(&self) -> &'static str {
        "sts"
    }

    fn body_limit_bytes(&self) -> usize {
        limits::BODY_BYTES
    }

    fn form_limit_bytes(&self) -> usize {
        limits::BODY_BYTES
    }

    fn claims(&self, inbound: &Inbound) -> bool {
        inbound.target().is_none()
            && parameter(inbound, "Version").is_some_and(|version| version == VERSION)
    }

    fn operation<'a>(&self, inbound: &'a Inbound) -> Option<Cow<'a, str>> {
        parameter(inbound, "Action").map(Cow::Owned)
    }

    fn refuser(&self, inbound: &Inbound) -> Refuser {
        let (format, request_id) = (Format::of(inbound.header(ACCEPT)), inbound.request_id);
        Box::new(move |refusal: &Refusal| Fault::from(refusal).answer(format, request_id))
    }
}

/// A parameter's value, wherever it is. What is malformed is left to the operation to complain about.
fn parameter(inbound: &Inbound, name: &str) -> Option<String> {
    let body = (inbound.method == Method::POST).then_some(&*inbound.body);
    form::find(&inbound.raw_query, body.unwrap_or_default(), name)
}

fn serve(
    operation: &'static str,
    state: &StsState,
    call: &Call,
    run: impl FnOnce(&StsState, &Grant, &Form) -> Result<Node, Fault>,
) -> HttpResponse {
    let accept = call
        .headers
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok());
    let format = Format::of(accept);
    let body = (call.method == Method::POST).then_some(&*call.body);
    let outcome = Form::read(&call.raw_query, body.unwrap_or_default())
        .and_then(|form| run(state, &call.grant, &form));
    match outcome {
        Ok(result) => answer::success(operation, result, format, call.request_id),
        Err(fault) => fault.answer(format, call.request_id),
    }
}
