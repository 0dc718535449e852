//! `/create`, `/renew`, `/destroy`, `/status`, `/cleanup`: the session manager (SEMANTICS 2).

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::Method;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer::{Answer, Failure, Refused, ok, respond};
use super::{RestState, fields};
use crate::actors::registrar::Create;
use crate::config::limits;
use crate::domain::policy::is_plain;
use crate::domain::session::{EnvelopeVersion, Session, Transport};
use crate::domain::{AccountId, SessionId, SessionKey, UserId};
use crate::wire::Call;

/// A session, with everything its client needs.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Description {
    account_id: i64,
    /// Absent for a session without a user.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<i64>,
    session_id: String,
    /// The session's own queue.
    sqs_url: String,
    sqs_queue_name: String,
    /// Temporary SigV4 keys …
    access_key: String,
    secret_key: String,
    session_token: String,
    /// … that end then, in epoch seconds.
    expires: u64,
    /// When the session is removed unless renewed, in epoch seconds.
    ttl: u64,
    /// The Cognito identity.
    identity_id: String,
    /// Base64 of the 32 bytes that messages are encrypted with.
    aes_key: String,
    /// `v1` (AES-256-CTR) or `gcm` (AES-256-GCM).
    envelope: &'static str,
    /// The session's own MQTT topic.
    topic: String,
    /// Which of the two has its messages, `sqs` or `iot`; absent where both have.
    #[serde(skip_serializing_if = "Option::is_none")]
    transport: Option<&'static str>,
    /// Host for MQTT over WebSocket.
    iot_endpoint: String,
    region: String,
}

/// One session, or none.
#[derive(Debug, Serialize, ToSchema)]
pub struct OneSession {
    /// `true`.
    pub success: bool,
    /// The session; `null` if `/status` finds none.
    pub session: Option<Description>,
}

/// That something was done, or why not.
#[derive(Debug, Serialize, ToSchema)]
pub struct Done {
    /// Whether it was done.
    pub success: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<&'static str>,
}

/// A page of sessions.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sessions {
    /// `true`.
    pub success: bool,
    /// The sessions.
    pub sessions: Vec<Description>,
    /// Where the next page starts, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

/// What `/cleanup` did.
#[derive(Debug, Serialize, ToSchema)]
pub struct Cleaned {
    /// `true`.
    pub success: bool,
    /// How many queues were removed, each with its identity.
    pub queues_removed: u64,
}

const NOT_FOUND: Done = Done {
    success: false,
    message: Some("session not found"),
};

/// Options of `create`, in the query or in a JSON body.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CreateOptions {
    /// Seconds that messages wait in the queue, 60 to 1209600; default 3600.
    #[serde(rename = "MessageRetentionPeriod")]
    retention: Option<u64>,
    /// `v1` (default) or `gcm`; a refresh keeps what the session has.
    envelope: Option<String>,
    /// MQTT topic filters that the session may use; `{accountId}`, `{userId}` and `{sessionId}` expand.
    topics: Option<Vec<String>>,
    /// `sqs` (default): its client polls its queue; `iot`: it subscribes to its topic. A refresh without it keeps what the
    /// session has. With the embedded backend both are possible always, and this changes nothing.
    transport: Option<String>,
}

/// Creates a session, or refreshes it: same queue, same pending messages, same AES key, new keys.
#[utoipa::path(
    post, path = "/create/{account}/{session}/{user}", tag = "sessions", request_body = Option<CreateOptions>,
    params(
        ("account" = i64, Path), ("session" = String, Path), ("user" = i64, Path),
        ("MessageRetentionPeriod" = Option<u32>, Query), ("envelope" = Option<String>, Query),
        ("topics" = Option<String>, Query, description = "MQTT topic filters, separated by commas"),
        ("transport" = Option<String>, Query, description = "sqs or iot"),
    ),
    responses((status = 200, body = OneSession), (status = 400, body = Failure), (status = 429, body = Failure)),
    security(("sigv4" = [])),
)]
pub async fn create(state: Arc<RestState>, call: Call) -> HttpResponse {
    respond(open(&state, &call).await)
}

/// Gives a session new keys; the old ones stop working at once.
#[utoipa::path(
    post, path = "/renew/{account}/{session}/{user}", tag = "sessions",
    params(("account" = i64, Path), ("session" = String, Path), ("user" = i64, Path)),
    responses((status = 200, body = OneSession), (status = 400, body = Failure)), security(("sigv4" = [])),
)]
pub async fn renew(state: Arc<RestState>, call: Call) -> HttpResponse {
    let renewed = async {
        let (key, _) = names(&call)?;
        match state.registrar.renew(key).await? {
            Some(session) => ok(&OneSession {
                success: true,
                session: Some(describe(&state, &call, &session)),
            }),
            None => ok(&NOT_FOUND),
        }
    };
    respond(renewed.await)
}

/// Removes a session with its queue.
#[utoipa::path(
    post, path = "/destroy/{account}/{session}/{user}", tag = "sessions",
    params(("account" = i64, Path), ("session" = String, Path), ("user" = i64, Path)),
    responses((status = 200, body = Done), (status = 400, body = Failure)), security(("sigv4" = [])),
)]
pub async fn destroy(state: Arc<RestState>, call: Call) -> HttpResponse {
    let destroyed = async {
        let (key, _) = names(&call)?;
        match state.registrar.destroy(key).await? {
            true => ok(&Done {
                success: true,
                message: None,
            }),
            false => ok(&NOT_FOUND),
        }
    };
    respond(destroyed.await)
}

/// Shows a session.
#[utoipa::path(
    get, path = "/status/{account}/{session}/{user}", tag = "sessions",
    params(("account" = i64, Path), ("session" = String, Path), ("user" = i64, Path)),
    responses((status = 200, body = OneSession), (status = 400, body = Failure)), security(("sigv4" = [])),
)]
pub async fn status(state: Arc<RestState>, call: Call) -> HttpResponse {
    let shown = async {
        let (key, _) = names(&call)?;
        let session = state.registrar.status(key).await?;
        ok(&OneSession {
            success: true,
            session: session.map(|session| describe(&state, &call, &session)),
        })
    };
    respond(shown.await)
}

/// Lists the active sessions: a page if `limit` is given, else all.
#[utoipa::path(
    get, path = "/status", tag = "sessions",
    params(("limit" = Option<u32>, Query, description = "1 to 1000"), ("nextToken" = Option<String>, Query)),
    responses((status = 200, body = Sessions), (status = 400, body = Failure)), security(("sigv4" = [])),
)]
pub async fn list(state: Arc<RestState>, call: Call) -> HttpResponse {
    let page = fields::query(&call).and_then(|query| {
        let most = limits::STATUS_PAGE as u64;
        let limit = fields::one(&query, "limit")?
            .map(|text| fields::number("limit", text, 1, most))
            .transpose()?;
        let after = fields::one(&query, "nextToken")?
            .map(parse_token)
            .transpose()?;
        Ok((limit, after))
    });
    match page {
        Ok((None, None)) => list_all(state, call),
        Ok((limit, after)) => respond(list_page(&state, &call, after, limit).await),
        Err(refused) => refused.respond(),
    }
}

/// Removes what no session owns any more.
#[utoipa::path(
    post, path = "/cleanup", tag = "sessions", responses((status = 200, body = Cleaned)), security(("sigv4" = [])),
)]
pub async fn cleanup(state: Arc<RestState>, _: Call) -> HttpResponse {
    let swept = state.registrar.cleanup().await;
    respond(swept.map_err(Refused::from).and_then(|queues_removed| {
        ok(&Cleaned {
            success: true,
            queues_removed,
        })
    }))
}

/// Account, session and user of the path, in either order: of two last segments the one that is no integer is
/// the session; if both are integers, the session comes first.
fn names(call: &Call) -> Result<(SessionKey, Option<UserId>), Refused> {
    let account: AccountId = fields::account(fields::segment(call, "account").unwrap_or_default())?;
    let (session, user): (SessionId, _) =
        match (fields::segment(call, "a"), fields::segment(call, "b")) {
            (Some(a), Some(b)) if b.parse::<i64>().is_ok() => {
                (fields::session(a)?, Some(fields::user(b)?))
            }
            (Some(a), Some(b)) => (fields::session(b)?, Some(fields::user(a)?)),
            _ => (
                fields::session(fields::segment(call, "session").unwrap_or_default())?,
                None,
            ),
        };
    Ok((SessionKey { account, session }, user))
}

async fn open(state: &RestState, call: &Call) -> Answer {
    let (key, user) = names(call)?;
    let options = options(call)?;
    let envelope = match options.envelope.as_deref() {
        None | Some("v1") => EnvelopeVersion::V1,
        Some("gcm") => EnvelopeVersion::V2,
        Some(_) => return Err(Refused::invalid("envelope must be v1 or gcm")),
    };
    let transport = match options.transport.as_deref() {
        None => None,
        Some("sqs") => Some(Transport::Sqs),
        Some("iot") if state.has_topics => Some(Transport::Iot),
        Some("iot") => return Err(Refused::invalid("transport=iot: there are no topics here")),
        Some(_) => return Err(Refused::invalid("transport must be sqs or iot")),
    };
    let retention = options.retention.map(|secs| match secs {
        60..=1_209_600 => Ok(Duration::from_secs(secs)),
        _ => Err(Refused::invalid(
            "MessageRetentionPeriod must be an integer from 60 to 1209600",
        )),
    });
    let session = key.session.as_str();
    let topics = options
        .topics
        .map(|topics| topics.iter().map(|topic| filter(topic, session)).collect());
    let create = Create {
        key,
        user,
        retention: retention.transpose()?,
        envelope,
        topics: topics.transpose()?,
        transport,
    };
    if create
        .topics
        .as_ref()
        .is_some_and(|topics| topics.len() > limits::SESSION_TOPICS)
    {
        return Err(Refused::invalid(format!(
            "topics must not be more than {}",
            limits::SESSION_TOPICS
        )));
    }
    let session = state.registrar.create(create).await?;
    ok(&OneSession {
        success: true,
        session: Some(describe(state, call, &session)),
    })
}

/// A topic filter as MQTT has it: `#` only at the end, `+` and `#` only as a whole level. The session's id stands in it only
/// if it means nothing there but itself (M4).
fn filter(topic: &str, session: &str) -> Result<String, Refused> {
    if topic.contains("{sessionId}") && !is_plain(session) {
        return Err(Refused::invalid(
            "topics: {sessionId} can not stand for an id with any of + # * ? $ /",
        ));
    }
    let levels: Vec<&str> = topic.split('/').collect();
    let last = levels.len() - 1;
    let level = |(at, level): (usize, &&str)| match *level {
        "#" => at == last,
        "+" => true,
        other => !other.contains(['#', '+', '\0']),
    };
    if topic.is_empty()
        || topic.len() > limits::TOPIC_FILTER_BYTES
        || !levels.iter().enumerate().all(level)
    {
        return Err(Refused::invalid(format!(
            "topics: {topic:?} is not an MQTT topic filter of at most 256 bytes"
        )));
    }
    Ok(topic.to_owned())
}

/// The options in a body; none without a body.
fn parse_options(body: &[u8]) -> Result<CreateOptions, Refused> {
    let body = body.trim_ascii();
    // serde reads a struct from a list, too.
    match body.first() {
        None => Ok(CreateOptions::default()),
        Some(b'{') => serde_json::from_slice(body).map_err(|error| error.to_string()),
        Some(_) => Err("it is something else".to_owned()),
    }
    .map_err(|error| {
        Refused::invalid(format!(
            "the body must be a JSON object of options: {error}"
        ))
    })
}

fn options(call: &Call) -> Result<CreateOptions, Refused> {
    let mut options = match call.method {
        Method::POST => parse_options(&call.body)?,
        _ => CreateOptions::default(),
    };
    let query = fields::query(call)?;
    if let Some(text) = fields::one(&query, "MessageRetentionPeriod")? {
        options.retention = Some(fields::number(
            "MessageRetentionPeriod",
            text,
            60,
            1_209_600,
        )?);
    }
    if let Some(text) = fields::one(&query, "envelope")? {
        options.envelope = Some(text.to_owned());
    }
    if let Some(text) = fields::one(&query, "topics")? {
        options.topics = Some(text.split(',').map(str::to_owned).collect());
    }
    if let Some(text) = fields::one(&query, "transport")? {
        options.transport = Some(text.to_owned());
    }
    Ok(options)
}

pub(super) fn describe(state: &RestState, call: &Call, session: &Session) -> Description {
    let name = session.queue_name.as_str();
    Description {
        account_id: session.key.account.0,
        user_id: session.user.map(|user| user.0),
        session_id: session.key.session.to_string(),
        sqs_url: state.queue_url(call, name, session.queue_url.as_deref()),
        sqs_queue_name: name.to_owned(),
        access_key: session.credentials.access_key.clone(),
        secret_key: session.credentials.secret_key.clone(),
        session_token: session.credentials.session_token.clone(),
        expires: session.credentials.expires.secs(),
        ttl: session.ttl.secs(),
        identity_id: session.identity.to_string(),
        aes_key: STANDARD.encode(session.aes_key),
        envelope: match session.envelope {
            EnvelopeVersion::V1 => "v1",
            EnvelopeVersion::V2 => "gcm",
        },
        topic: session.topic().to_string(),
        transport: session.queue_url.as_ref().map(|_| match session.transport {
            Transport::Sqs => "sqs",
            Transport::Iot => "iot",
        }),
        iot_endpoint: call.host.clone(),
        region: state.region.clone(),
    }
}

async fn list_page(
    state: &RestState,
    call: &Call,
    after: Option<SessionKey>,
    limit: Option<u64>,
) -> Answer {
    let limit = limit.map_or(limits::STATUS_PAGE, |limit| limit as usize);
    let (sessions, next) = state.registrar.list(after, limit).await?;
    ok(&Sessions {
        success: true,
        sessions: sessions
            .iter()
            .map(|session| describe(state, call, session))
            .collect(),
        next_token: next.as_ref().map(token),
    })
}

/// All sessions, read and sent a page at a time: there may be a million.
fn list_all(state: Arc<RestState>, call: Call) -> HttpResponse {
    /// Where the listing stands, and whether anything is in it yet.
    enum At {
        Start,
        After(SessionKey, bool),
        End,
    }
    let asked = Rc::new((state, call));
    let pages = futures_util::stream::unfold(At::Start, move |at| {
        let asked = asked.clone();
        async move {
            let (after, mut text, mut any) = match at {
                At::Start => (None, String::from(r#"{"success":true,"sessions":["#), false),
                At::After(key, any) => (Some(key), String::new(), any),
                At::End => return None,
            };
            let (state, call) = &*asked;
            // An error in the middle cuts the answer off, which no client takes for the end of the list.
            let (sessions, next) = match state.registrar.list(after, limits::STATUS_PAGE).await {
                Ok(page) => page,
                Err(error) => return Some((Err(error), At::End)),
            };
            for session in &sessions {
                if std::mem::replace(&mut any, true) {
                    text.push(',');
                }
                let session = describe(state, call, session);
                text.push_str(
                    &serde_json::to_string(&session).expect("a description is a JSON value"),
                );
            }
            if next.is_none() {
                text.push_str("]}");
            }
            let at = next.map_or(At::End, |next| At::After(next, any));
            Some((Ok(Bytes::from(text)), at))
        }
    });
    HttpResponse::Ok()
        .content_type("application/json")
        .streaming(Box::pin(pages))
}

/// A session as a page token, opaque to clients.
pub(super) fn token(key: &SessionKey) -> String {
    URL_SAFE_NO_PAD.encode(format!("{} {}", key.account, key.session))
}

pub(super) fn parse_token(text: &str) -> Result<SessionKey, Refused> {
    let decoded = URL_SAFE_NO_PAD
        .decode(text)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    let key = decoded
        .as_deref()
        .and_then(|text| text.split_once(' '))
        .and_then(|(account, session)| {
            Some(SessionKey {
                account: AccountId(account.parse().ok()?),
                session: SessionId::parse(session).ok()?,
            })
        });
    key.ok_or_else(|| Refused::invalid("nextToken is not one of ours"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_filters_are_checked() {
        for good in ["a", "a/b", "/a", "a/+/b", "#", "a/#", "rooms/{accountId}/#"] {
            assert!(filter(good, "s").is_ok(), "{good}");
        }
        for bad in ["", "a/#/b", "a#", "a+/b", "a\0", &"x".repeat(257)] {
            assert!(filter(bad, "s").is_err(), "{bad}");
        }
    }

    #[test]
    fn m04_a_session_id_widens_no_grant() {
        for (id, expect) in [("s", true), ("+", false), ("#", false), ("a/b", false)] {
            assert_eq!(filter("rooms/{sessionId}", id).is_ok(), expect, "{id}");
            assert!(filter("rooms/{accountId}/#", id).is_ok(), "{id}");
        }
    }

    #[test]
    fn options_are_an_object_or_absent() {
        let retention = |body: &str| parse_options(body.as_bytes()).map(|found| found.retention);
        for (body, expect) in [
            ("", None),
            (" \n", None),
            ("{}", None),
            (r#" {"MessageRetentionPeriod":60}"#, Some(60)),
        ] {
            assert_eq!(retention(body).ok(), Some(expect), "{body}");
        }
        for bad in [
            "[]",
            "[60]",
            "null",
            "7",
            "{",
            r#"{"other":1}"#,
            "{} {}",
            "\u{feff}{}",
        ] {
            assert!(retention(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn page_tokens_come_back() {
        let key = SessionKey {
            account: AccountId(-4),
            session: SessionId::parse("a b/é").expect("valid"),
        };
        assert_eq!(parse_token(&token(&key)).map_err(|_| ()), Ok(key));
        assert!(parse_token("!").is_err());
    }
}
