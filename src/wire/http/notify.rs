//! `/notify…`: posting messages (SEMANTICS 4).

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::Method;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::{Answer, Failure, ok, respond};
use super::{RestState, fields};
use crate::actors::dispatcher::{Dispatch, Posted};
use crate::domain::Target;
use crate::wire::Call;

/// A message that is durable in every queue it is for, and in history.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Notified {
    /// `true`.
    pub success: bool,
    /// The message's id: the sender's, or derived.
    pub message_id: String,
    /// How many sessions get it.
    pub sessions: u64,
    /// Their queues, at most 1,000 of them.
    pub sqs_urls: Vec<String>,
    /// Ids of sessions that do not get it because their queue is full.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<String>,
}

/// Posts a message to everyone, an account, a user or one session.
///
/// `GET`: the query's parameters are the message's fields. `POST`: the body is the message, a JSON object.
/// The path's ids are added to it. A success means that it is on disk.
#[utoipa::path(
    post, path = "/notify", tag = "notify", request_body = serde_json::Value,
    responses(
        (status = 200, body = Notified), (status = 400, body = Failure), (status = 413, body = Failure),
        (status = 429, body = Failure), (status = 503, body = Failure),
    ),
    security(("sigv4" = [])),
)]
pub async fn notify(state: Arc<RestState>, call: Call) -> HttpResponse {
    respond(post(&state, &call).await)
}

async fn post(state: &RestState, call: &Call) -> Answer {
    let mut posted = if call.method == Method::POST {
        Posted::parse(&call.body)?
    } else {
        Posted::from_texts(fields::query(call)?)?
    };
    posted.set(Target {
        account: fields::segment(call, "account")
            .map(fields::account)
            .transpose()?,
        user: fields::segment(call, "user")
            .map(fields::user)
            .transpose()?,
        session: fields::segment(call, "session")
            .map(fields::session)
            .transpose()?,
    });
    let done = state
        .dispatchers
        .dispatch(Dispatch {
            posted,
            fallback_id: None,
        })
        .await?;
    ok(&Notified {
        success: true,
        message_id: done.message_id.to_string(),
        sessions: done.sessions,
        sqs_urls: done
            .queues
            .iter()
            .map(|queue| state.queue_url(call, queue.name.as_str(), queue.url.as_deref()))
            .collect(),
        refused: done.refused.iter().map(ToString::to_string).collect(),
    })
}
