//! The SQS wire (WIRE 1): JSON 1.0 and Query, one file per operation or family of operations.
//!
//! A request's parameters are read through [`request::Fields`], which hides the protocol; an operation parses
//! them, asks the queues and answers with a tree that [`answer`] renders in the protocol of the request.

use std::borrow::Cow;
use std::sync::Arc;

use actix_web::HttpResponse;

use crate::actors::queue::Queues;
use crate::auth::Access;

use super::front::{Refuser, RpcWire};
use super::{Call, Inbound, Operation};

pub mod protocol;

pub mod json;
mod presigned;
pub mod query;

pub mod queue_url;
pub mod request;

pub mod answer;
pub mod error;
pub mod xml;

pub use crate::config::limits::sqs as limits;

pub mod attributes;
pub mod batch;
pub mod message_attributes;
pub mod page;
pub mod redrive;

pub mod create_queue;
pub mod delete_queue;
pub mod get_queue_url;
pub mod list_queues;
pub mod permissions;
pub mod purge_queue;
pub mod queue_attributes;
pub mod tags;

pub mod change_message_visibility;
pub mod delete_message;
pub mod receive_message;
pub mod send_message;

pub mod dead_letter_source_queues;
pub mod message_move_tasks;

pub use error::Fault;
pub use protocol::Protocol;

use answer::Answer;
use protocol::Parts;
use request::Request;

/// What the operations need.
pub struct SqsState {
    /// The queues.
    pub queues: Queues,
    /// The region in ARNs.
    pub region: String,
    /// The account in ARNs and queue URLs, 12 digits.
    pub account: Arc<str>,
}

/// The wire as the front door sees it.
pub struct SqsWire;

impl RpcWire for SqsWire {
    fn name(&self) -> &'static str {
        "sqs"
    }

    fn signed_as(&self) -> &'static str {
        "sqs"
    }

    fn body_limit_bytes(&self) -> usize {
        limits::BODY_BYTES
    }

    fn form_limit_bytes(&self) -> usize {
        limits::BODY_BYTES
    }

    fn claims(&self, inbound: &Inbound) -> bool {
        Protocol::of(&Parts::from(inbound)).is_some()
    }

    fn operation<'a>(&self, inbound: &'a Inbound) -> Option<Cow<'a, str>> {
        protocol::operation_name(&Parts::from(inbound))
    }

    fn refuser(&self, inbound: &Inbound) -> Refuser {
        let protocol = Protocol::of(&Parts::from(inbound)).unwrap_or(Protocol::Json);
        let request_id = inbound.request_id;
        Box::new(move |refusal| {
            error::fault_answer(protocol, &Fault::Refused(refusal.clone()), request_id)
        })
    }
}

/// One line per operation: its name, what it asks of the caller, and the function that does it.
macro_rules! operations {
    ($($name:literal $access:ident $call:path,)*) => {
        &[$(Operation {
            name: $name,
            access: Access::$access,
            handler: |state, call| Box::pin(serve($name, state, call, $call)),
        },)*]
    };
}

/// Every operation. Those that a session's keys may use ask [`Request::queue`] for the queue, which makes sure
/// that it is the session's own.
pub static OPERATIONS: &[Operation<SqsState>] = operations![
    "AddPermission" Operator permissions::add,
    "CancelMessageMoveTask" Operator message_move_tasks::cancel,
    "ChangeMessageVisibility" OperatorOrOwner change_message_visibility::one,
    "ChangeMessageVisibilityBatch" OperatorOrOwner change_message_visibility::batch,
    "CreateQueue" Operator create_queue::call,
    "DeleteMessage" OperatorOrOwner delete_message::one,
    "DeleteMessageBatch" OperatorOrOwner delete_message::batch,
    "DeleteQueue" Operator delete_queue::call,
    "GetQueueAttributes" OperatorOrOwner queue_attributes::get,
    "GetQueueUrl" OperatorOrOwner get_queue_url::call,
    "ListDeadLetterSourceQueues" Operator dead_letter_source_queues::call,
    "ListMessageMoveTasks" Operator message_move_tasks::list,
    "ListQueueTags" Operator tags::list,
    "ListQueues" Operator list_queues::call,
    "PurgeQueue" OperatorOrOwner purge_queue::call,
    "ReceiveMessage" OperatorOrOwner receive_message::call,
    "RemovePermission" Operator permissions::remove,
    "SendMessage" Operator send_message::one,
    "SendMessageBatch" Operator send_message::batch,
    "SetQueueAttributes" Operator queue_attributes::set,
    "StartMessageMoveTask" Operator message_move_tasks::start,
    "TagQueue" Operator tags::add,
    "UntagQueue" Operator tags::remove,
];

/// Reads the request, runs the operation and renders what comes of it. Dropping the future, as happens when the
/// client goes away, drops the operation where it waits.
async fn serve(
    operation: &'static str,
    state: Arc<SqsState>,
    call: Call,
    run: impl AsyncFnOnce(Request) -> Result<Answer, Fault>,
) -> HttpResponse {
    let request_id = call.request_id;
    let protocol = Protocol::of(&Parts::from(&call)).unwrap_or(Protocol::Json);
    let outcome = match Request::read(state, protocol, call) {
        Ok(request) => run(request).await,
        Err(fault) => Err(fault),
    };
    match outcome {
        Ok(answer) => answer::response(protocol, operation, answer, request_id),
        Err(fault) => error::fault_answer(protocol, &fault, request_id),
    }
}

#[cfg(test)]
mod tests;
