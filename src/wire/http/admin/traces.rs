//! `/admin/traces…`: messages that are followed, from their acceptance to their acknowledgement.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{AdminState, RESULTS_DEFAULT, answer, limit};
use crate::domain::queue::Transport;
use crate::domain::{AccountId, MessageId, SessionKey, Target, UserId};
use crate::observe::traces::{Destination, Step, Trace, Watch, What};
use crate::wire::Call;
use crate::wire::http::answer::{Answer, Failure, Refused, respond};
use crate::wire::http::fields;

/// How long a target is watched at most, in seconds; beyond: 400.
pub(super) const WATCH_S: u64 = 300;

/// The same unless asked otherwise.
pub(super) const WATCH_DEFAULT_S: u64 = 15;

/// What to follow, and for how long.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct WatchRequest {
    /// Only messages that may reach sessions of this account …
    account_id: Option<i64>,
    /// … of this user …
    user_id: Option<i64>,
    /// … or this session; without any, all.
    session_id: Option<String>,
    /// For so many seconds, 1 to 300; default 15.
    seconds: Option<u64>,
}

/// What is followed, and what was.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TraceList {
    success: bool,
    /// Whose messages are followed now.
    watches: Vec<WatchDetail>,
    /// Messages that were, newest first.
    traces: Vec<TraceSummary>,
}

/// Whose messages are followed, and until when.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WatchDetail {
    #[serde(flatten)]
    target: TargetDetail,
    /// In epoch milliseconds.
    until: u64,
}

/// Account, user and session; absent: any.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetDetail {
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<String>,
}

/// A message that was followed, in one line.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TraceSummary {
    message_id: String,
    /// When it was accepted, in epoch milliseconds with a fraction.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<f64>,
    /// How many steps are known.
    steps: usize,
    /// The newest of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<StepDetail>,
}

/// A message that was followed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TraceDetail {
    success: bool,
    message_id: String,
    /// What happened, in order.
    steps: Vec<StepDetail>,
    /// Steps that are not in the list because there were too many.
    left_out: usize,
}

/// One step of a message.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepDetail {
    /// When, in epoch milliseconds with a fraction.
    at: f64,
    /// `accepted`, `stored`, `published`, `refused`, `handed out`, `returned`, `acknowledged` or `read`.
    what: &'static str,
    /// The session that has it, or whose it is.
    #[serde(flatten)]
    target: TargetDetail,
    /// The topic that it is published to.
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<String>,
    /// `sqs` or `mqtt`: how a client fetched or acknowledged it.
    #[serde(skip_serializing_if = "Option::is_none")]
    via: Option<&'static str>,
    /// Its length.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<usize>,
    /// Sessions that it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    sessions: Option<u64>,
    /// Sessions that do not get it because their queue is full.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<usize>,
    /// Whether history keeps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<bool>,
    /// How often it was handed out, this time included.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u32>,
    /// Connections that subscribed when it was published.
    #[serde(skip_serializing_if = "Option::is_none")]
    connected: Option<usize>,
    /// Durable sessions without a connection that did.
    #[serde(skip_serializing_if = "Option::is_none")]
    away: Option<usize>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Lists messages that were followed, newest first, and whose are followed now.
#[utoipa::path(
    get, path = "/admin/traces", operation_id = "admin_traces", tag = "admin",
    params(("limit" = Option<u32>, Query, description = "1 to 200, default 50")),
    responses((status = 200, body = TraceList), (status = 400, body = Failure)), security(("sigv4" = [])),
)]
pub fn list(state: &AdminState, call: &Call) -> HttpResponse {
    respond(fields::query(call).and_then(|query| listed(state, limit(&query)?)))
}

/// Follows messages for a while: those that may reach a target, or all.
#[utoipa::path(
    post, path = "/admin/traces", operation_id = "admin_watch", tag = "admin", request_body = Option<WatchRequest>,
    responses((status = 200, body = TraceList), (status = 400, body = Failure), (status = 429, body = Failure)),
    security(("sigv4" = [])),
)]
pub fn watch(state: &AdminState, call: &Call) -> HttpResponse {
    respond(begin(state, call))
}

/// Shows what became of a message.
#[utoipa::path(
    get, path = "/admin/traces/{message}", operation_id = "admin_trace", tag = "admin", params(("message" = String, Path)),
    responses((status = 200, body = TraceDetail), (status = 404, body = Failure)), security(("sigv4" = [])),
)]
pub fn show(state: &AdminState, call: &Call) -> HttpResponse {
    respond(found(state, call))
}

fn begin(state: &AdminState, call: &Call) -> Answer {
    let asked: WatchRequest = match call.body.trim_ascii() {
        b"" => WatchRequest::default(),
        body => fields::read(body)?,
    };
    let seconds = asked.seconds.unwrap_or(WATCH_DEFAULT_S);
    if !(1..=WATCH_S).contains(&seconds) {
        let text = format!("seconds must be an integer from 1 to {}", WATCH_S);
        return Err(Refused::invalid(text));
    }
    let target = Target {
        account: asked.account_id.map(AccountId),
        user: asked.user_id.map(UserId),
        session: asked
            .session_id
            .as_deref()
            .map(fields::session)
            .transpose()?,
    };
    let time = Duration::from_secs(seconds);
    let watched = state.traces.watch(target, time, state.clock.now());
    watched.map_err(|error| {
        let (status, code) = (StatusCode::TOO_MANY_REQUESTS, "LimitExceededException");
        Refused::temporary(status, code, error.to_string())
    })?;
    listed(state, RESULTS_DEFAULT)
}

fn listed(state: &AdminState, limit: usize) -> Answer {
    let watches = state.traces.watches(state.clock.now());
    answer(&TraceList {
        success: true,
        watches: watches.into_iter().map(watch_detail).collect(),
        traces: state.traces.newest(limit).iter().map(summary).collect(),
    })
}

fn found(state: &AdminState, call: &Call) -> Answer {
    let id = fields::segment(call, "message").unwrap_or_default();
    let trace = MessageId::parse(id)
        .ok()
        .and_then(|id| state.traces.get(&id));
    let text = "no message of this id was followed, or others have taken its place since";
    let trace = trace.ok_or_else(|| Refused::not_found(text))?;
    answer(&TraceDetail {
        success: true,
        message_id: trace.message.to_string(),
        steps: trace.steps.iter().map(step).collect(),
        left_out: trace.left_out,
    })
}

fn watch_detail(Watch { target, until }: Watch) -> WatchDetail {
    WatchDetail {
        target: target_detail(&target),
        until: until.millis(),
    }
}

fn target_detail(target: &Target) -> TargetDetail {
    TargetDetail {
        account_id: target.account.map(|account| account.0),
        user_id: target.user.map(|user| user.0),
        session_id: target.session.as_ref().map(ToString::to_string),
    }
}

fn session_detail(key: &SessionKey) -> TargetDetail {
    TargetDetail {
        account_id: Some(key.account.0),
        session_id: Some(key.session.to_string()),
        user_id: None,
    }
}

fn summary(trace: &Trace) -> TraceSummary {
    TraceSummary {
        message_id: trace.message.to_string(),
        at: trace.steps.first().map(at),
        steps: trace.steps.len() + trace.left_out,
        last: trace.steps.last().map(step),
    }
}

/// Milliseconds since the epoch. Steps are often a few microseconds apart.
fn at(step: &Step) -> f64 {
    step.at.micros() as f64 / 1000.0
}

fn step(step: &Step) -> StepDetail {
    let mut told = StepDetail {
        at: at(step),
        ..StepDetail::default()
    };
    let via = |transport: Transport| match transport {
        Transport::Sqs => Some("sqs"),
        Transport::Mqtt => Some("mqtt"),
    };
    match &step.what {
        What::Accepted { to, bytes } => {
            (told.what, told.bytes) = ("accepted", Some(*bytes));
            match to {
                Destination::Sessions(target) => told.target = target_detail(target),
                Destination::Topic(topic) => told.topic = Some(topic.clone()),
            }
        }
        What::Stored {
            sessions,
            refused,
            kept,
        } => {
            (told.what, told.sessions) = ("stored", Some(*sessions));
            told.refused = Some(*refused).filter(|refused| *refused > 0);
            told.kept = Some(*kept);
        }
        What::Published { connected, away } => {
            (told.what, told.connected) = ("published", Some(*connected));
            told.away = Some(*away);
        }
        What::Refused(reason) => (told.what, told.reason) = ("refused", Some(reason.clone())),
        What::HandedOut {
            session,
            via: transport,
            count,
        } => {
            (told.what, told.target) = ("handed out", session_detail(session));
            (told.via, told.count) = (via(*transport), Some(*count));
        }
        What::Returned { session } => {
            (told.what, told.target) = ("returned", session_detail(session));
        }
        What::Acknowledged {
            session,
            via: transport,
        } => {
            (told.what, told.target) = ("acknowledged", session_detail(session));
            told.via = via(*transport);
        }
        What::Read { user } => (told.what, told.target.user_id) = ("read", Some(user.0)),
    }
    told
}
