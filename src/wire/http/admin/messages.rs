//! `/admin/messages`: a test message, to sessions or to a topic. It is followed, whatever else is.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use super::topics::topics;
use super::{AdminState, answer};
use crate::actors::dispatcher::{Dispatch, Posted};
use crate::actors::topic::PublishError;
use crate::auth::{Connection, Denied};
use crate::domain::publication::{Publication, Publisher, QoS};
use crate::domain::topic::TopicName;
use crate::domain::{AccountId, MessageId, Target, UserId};
use crate::observe::traces::{Destination, What};
use crate::wire::Call;
use crate::wire::http::answer::{Answer, Failure, Refused, respond};
use crate::wire::http::fields;

/// A test message.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TestMessage {
    /// To sessions of this account …
    account_id: Option<i64>,
    /// … of this user …
    user_id: Option<i64>,
    /// … or this session; without any, to everyone.
    session_id: Option<String>,
    /// Or to whoever subscribes to this topic.
    topic: Option<String>,
    /// Quality of service there, 0 (default) or 1.
    #[serde(default)]
    qos: u8,
    /// The message: for sessions a JSON object, for a topic any JSON value.
    #[schema(value_type = serde_json::Value)]
    message: Box<RawValue>,
}

/// A test message that was sent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TestSent {
    success: bool,
    /// What `/admin/traces/{message}` knows it as.
    message_id: String,
    /// Sessions that it is for, or connections that subscribed when it was published.
    reached: u64,
}

/// Sends a test message and follows it. Refused (409) unless `console.publish` allows it.
#[utoipa::path(
    post, path = "/admin/messages", operation_id = "admin_send", tag = "admin", request_body = TestMessage,
    responses(
        (status = 200, body = TestSent), (status = 400, body = Failure), (status = 409, body = Failure),
        (status = 429, body = Failure), (status = 503, body = Failure),
    ),
    security(("sigv4" = [])),
)]
pub async fn send(state: &AdminState, call: &Call) -> HttpResponse {
    respond(post(state, call).await)
}

async fn post(state: &AdminState, call: &Call) -> Answer {
    if !state.may_publish {
        let text =
            "the console is for reading only: `[console] publish = true` allows test messages";
        return Err(Refused::new(
            StatusCode::CONFLICT,
            "ReadOnlyException",
            text,
        ));
    }
    let message: TestMessage = fields::read(&call.body)?;
    match message.topic.clone() {
        None => to_sessions(state, &message).await,
        Some(topic) => {
            let ids = (message.account_id, message.user_id, &message.session_id);
            if !matches!(ids, (None, None, None)) {
                return Err(Refused::invalid(
                    "topic excludes accountId, userId and sessionId",
                ));
            }
            to_topic(state, call, topic, &message).await
        }
    }
}

fn fresh_id() -> MessageId {
    let id = format!("test-{}", Uuid::new_v4());
    MessageId::parse(&id).expect("letters, digits and dashes are a message id")
}

async fn to_sessions(state: &AdminState, message: &TestMessage) -> Answer {
    let mut posted = Posted::parse(message.message.get().as_bytes())?;
    let session = message.session_id.as_deref();
    posted.set(Target {
        account: message.account_id.map(AccountId),
        user: message.user_id.map(UserId),
        session: session.map(fields::session).transpose()?,
    });
    let id = posted.message_id.clone().unwrap_or_else(fresh_id);
    state.traces.announce(&id, state.clock.now());
    let dispatch = Dispatch {
        posted,
        fallback_id: Some(id),
    };
    let done = state.dispatchers.dispatch(dispatch).await?;
    answer(&TestSent {
        success: true,
        message_id: done.message_id.to_string(),
        reached: done.sessions,
    })
}

async fn to_topic(state: &AdminState, call: &Call, topic: String, message: &TestMessage) -> Answer {
    let topics = topics(state)?;
    let operator = state.authenticator.principal(call.grant.caller());
    let operator = operator.ok_or(Denied)?;
    let publication = publication(state, topic, message, operator.name.clone())?;
    let (id, name) = (fresh_id(), publication.topic.clone());
    let followed = state.traces.announce(&id, state.clock.now());
    let to = Destination::Topic(name.to_string());
    let bytes = publication.payload.len();
    followed.note(state.clock.now(), What::Accepted { to, bytes });
    let (connected, away) = topics.reached(&name).await;
    let access = operator.access(Connection::default());
    let outcome = topics.publish(&access, publication).outcome().await;
    let now = state.clock.now();
    outcome.map_err(|error| {
        followed.note(now, What::Refused(error.to_string()));
        refused(error)
    })?;
    followed.note(now, What::Published { connected, away });
    answer(&TestSent {
        success: true,
        message_id: id.to_string(),
        reached: connected as u64,
    })
}

/// What is published.
fn publication(
    state: &AdminState,
    topic: String,
    message: &TestMessage,
    principal: Arc<str>,
) -> Result<Publication, Refused> {
    let topic = TopicName::parse(topic.into())
        .map_err(|error| Refused::invalid(format!("topic is not valid: {error}")))?;
    let qos = match message.qos {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => return Err(Refused::invalid("qos must be 0 or 1")),
    };
    let (payload, most) = (message.message.get(), state.max_payload_bytes);
    if payload.len() > most {
        let length = payload.len();
        let text = format!("message has {length} bytes, at most {most} can be published");
        let status = StatusCode::PAYLOAD_TOO_LARGE;
        let code = "RequestEntityTooLargeException";
        return Err(Refused::new(status, code, text));
    }
    Ok(Publication {
        topic,
        payload: payload.to_owned().into(),
        qos,
        retain: false,
        properties: None,
        expires: None,
        publisher: Some(Publisher {
            client: None,
            principal,
        }),
    })
}

fn refused(error: PublishError) -> Refused {
    match error {
        PublishError::Store(error) => error.into(),
        PublishError::QuotaExceeded(_) => Refused::temporary(
            StatusCode::TOO_MANY_REQUESTS,
            "ThrottlingException",
            error.to_string(),
        ),
        PublishError::NotAllowed(_)
        | PublishError::Reserved
        | PublishError::NotARoom(_)
        | PublishError::Malformed(_)
        | PublishError::NotNow(_) => Refused::invalid(error.to_string()),
    }
}
