//! `/admin/sessions…`: sessions with their keys' end, their queue and who reads it. No secret is shown.

use actix_web::HttpResponse;
use serde::Serialize;
use utoipa::ToSchema;

use super::{AdminState, RESULTS, answer, limit, session_key, target};
use crate::actors::queue::messages::{MessageView, QueueView, Whereabouts};
use crate::auth::session_name;
use crate::domain::session::{EnvelopeVersion, Session};
use crate::domain::{QueueError, SessionKey, StoreError, Timestamp};
use crate::wire::Call;
use crate::wire::http::answer::{Answer, Failure, Refused, respond};
use crate::wire::http::fields;
use crate::wire::http::sessions::{parse_token, token};

/// The first messages of a queue that are shown with it.
pub(super) const SHOWN_MESSAGES: usize = 20;

/// A session without its secrets.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionSummary {
    account_id: i64,
    /// Absent for a session without a user.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<i64>,
    session_id: String,
    queue_name: String,
    /// Id of its present keys.
    access_key: String,
    /// When they end, in epoch seconds.
    expires: u64,
    /// When the session is removed unless renewed, in epoch seconds.
    ttl: u64,
    /// When it was created, in epoch seconds.
    created: u64,
    /// `v1` or `gcm`.
    envelope: &'static str,
    identity_id: String,
}

/// A page of sessions.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionList {
    success: bool,
    sessions: Vec<SessionSummary>,
    /// Where the next page starts, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

/// A session with its queue and its connections.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionDetail {
    success: bool,
    session: SessionSummary,
    /// MQTT filters that it was granted.
    topics: Vec<String>,
    /// How long messages wait, in seconds.
    retention: u64,
    queue: QueueDetail,
    /// Its MQTT connections, at most 200.
    connections: Vec<ConnectionDetail>,
}

/// A queue.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueueDetail {
    /// Messages that can be handed out.
    visible: u64,
    /// Messages that are with a client.
    in_flight: u64,
    /// Messages that are not to be handed out yet.
    delayed: u64,
    /// Receives that wait for a message: long polls, and the reader of the session's topic.
    waiting: usize,
    /// The oldest messages, at most 20.
    first: Vec<MessageDetail>,
}

/// A message in a queue, before it is encrypted.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessageDetail {
    /// The id that SQS clients see.
    sqs_message_id: String,
    /// When it was accepted, in epoch milliseconds.
    sent: u64,
    /// When it is dropped unread, in epoch milliseconds.
    expires: u64,
    /// `visible`, `in flight`, `delayed` or `leaving`.
    state: &'static str,
    /// When that ends by itself, in epoch milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
    /// How often it was handed out.
    receive_count: u32,
    /// Its length in bytes.
    bytes: usize,
    /// Its first 2,048 bytes.
    beginning: String,
}

/// A client that is connected by MQTT.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionDetail {
    client_id: String,
    /// Since when, in epoch milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<u64>,
    /// Address and port of the other side.
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<String>,
}

/// Lists sessions that a message to this target would reach, all if none is given.
#[utoipa::path(
    get, path = "/admin/sessions", operation_id = "admin_sessions", tag = "admin",
    params(
        ("account" = Option<i64>, Query), ("user" = Option<i64>, Query), ("session" = Option<String>, Query),
        ("limit" = Option<u32>, Query, description = "1 to 200, default 50"),
        ("nextToken" = Option<String>, Query),
    ),
    responses((status = 200, body = SessionList), (status = 400, body = Failure)), security(("sigv4" = [])),
)]
pub fn list(state: &AdminState, call: &Call) -> HttpResponse {
    respond(find(state, call))
}

/// Shows a session with its queue and its connections.
#[utoipa::path(
    get, path = "/admin/sessions/{account}/{session}", operation_id = "admin_session", tag = "admin",
    params(("account" = i64, Path), ("session" = String, Path)),
    responses((status = 200, body = SessionDetail), (status = 404, body = Failure)), security(("sigv4" = [])),
)]
pub async fn show(state: &AdminState, call: &Call) -> HttpResponse {
    respond(detail(state, call).await)
}

fn find(state: &AdminState, call: &Call) -> Answer {
    let query = fields::query(call)?;
    let given = |name| fields::one(&query, name);
    let target = target(given("account")?, given("user")?, given("session")?)?;
    let after: Option<SessionKey> = given("nextToken")?.map(parse_token).transpose()?;
    let (found, next) = state.finder.find(&target, after.as_ref(), limit(&query)?)?;
    answer(&SessionList {
        success: true,
        sessions: found.iter().map(summary).collect(),
        next_token: next.as_ref().map(token),
    })
}

async fn detail(state: &AdminState, call: &Call) -> Answer {
    let none = || Refused::not_found("there is no such session");
    let session = state.finder.get(&session_key(call)?)?.ok_or_else(none)?;
    let queue = state.queues.find(&session.queue_name);
    let looked = match queue {
        Ok(queue) => state.queues.look(&queue, SHOWN_MESSAGES).await,
        Err(error) => Err(error),
    };
    let queue = looked.map_err(|error| match error {
        // It was destroyed in this moment.
        QueueError::DoesNotExist => none(),
        QueueError::Store(error) => error.into(),
        _ => StoreError::Overloaded.into(),
    })?;
    answer(&SessionDetail {
        success: true,
        topics: session.topics.clone(),
        retention: session.retention.as_secs(),
        queue: queue_detail(queue),
        connections: connections(state, call, &session).await,
        session: summary(&session),
    })
}

/// The session's MQTT connections.
async fn connections(state: &AdminState, call: &Call, session: &Session) -> Vec<ConnectionDetail> {
    let (Some(topics), Some(operator)) = (
        &state.topics,
        state.authenticator.principal(call.grant.caller()),
    ) else {
        return Vec::new();
    };
    let access = operator.access(crate::auth::Connection::default());
    let mut found = Vec::new();
    for client in topics.clients_of(&session_name(session), RESULTS) {
        // An error: it has gone in this moment.
        let Ok(view) = topics.client(&access, &client).await else {
            continue;
        };
        let about = view.connection.as_ref();
        found.push(ConnectionDetail {
            client_id: client.as_str().to_owned(),
            since: about.map(|about| about.since.millis()),
            peer: about.and_then(|about| Some(about.peer?.to_string())),
        });
    }
    found
}

fn summary(session: &Session) -> SessionSummary {
    SessionSummary {
        account_id: session.key.account.0,
        user_id: session.user.map(|user| user.0),
        session_id: session.key.session.to_string(),
        queue_name: session.queue_name.to_string(),
        access_key: session.credentials.access_key.clone(),
        expires: session.credentials.expires.secs(),
        ttl: session.ttl.secs(),
        created: session.created.secs(),
        envelope: match session.envelope {
            EnvelopeVersion::V1 => "v1",
            EnvelopeVersion::V2 => "gcm",
        },
        identity_id: session.identity.to_string(),
    }
}

fn queue_detail(view: QueueView) -> QueueDetail {
    QueueDetail {
        visible: view.counts.visible,
        in_flight: view.counts.in_flight,
        delayed: view.counts.delayed,
        waiting: view.waiting,
        first: view.first.iter().map(message_detail).collect(),
    }
}

fn message_detail(view: &MessageView) -> MessageDetail {
    let (state, until) = match view.whereabouts {
        Whereabouts::Visible => ("visible", None),
        Whereabouts::InFlight(until) => ("in flight", Some(until)),
        Whereabouts::Delayed(until) => ("delayed", Some(until)),
        Whereabouts::Leaving => ("leaving", None),
    };
    MessageDetail {
        sqs_message_id: view.message_id.to_string(),
        sent: view.sent.millis(),
        expires: view.expires.millis(),
        state,
        until: until.map(Timestamp::millis),
        receive_count: view.receive_count,
        bytes: view.bytes,
        beginning: String::from_utf8_lossy(&view.beginning).into_owned(),
    }
}
