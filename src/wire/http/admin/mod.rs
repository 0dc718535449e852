//! `/admin…`: what the console shows and `/metrics` does not, for the operator only. Nothing here changes what is stored,
//! but for test messages, which are off unless the configuration says otherwise; no answer has a secret.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::Method;
use actix_web::http::header::CACHE_CONTROL;
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use super::answer::{Answer, Refused, respond};
use super::fields;
use crate::actors::dispatcher::Dispatchers;
use crate::actors::finder::Finder;
use crate::actors::queue::Queues;
use crate::actors::topic::Topics;
use crate::auth::{Access, Authenticator};
use crate::domain::{Clock, SessionId, SessionKey, Target};
use crate::observe::traces::Traces;
use crate::wire::{Call, Handler, Route};

pub mod messages;
pub mod sessions;
pub mod topics;
pub mod traces;

#[cfg(test)]
mod tests;

/// What the routes work with.
pub struct AdminState {
    /// Sessions.
    pub finder: Finder,
    /// Their queues.
    pub queues: Queues,
    /// Where test messages go.
    pub dispatchers: Dispatchers,
    /// Topics and their clients; `None`: there is no MQTT.
    pub topics: Option<Topics>,
    /// Says what the operator may do with topics.
    pub authenticator: Arc<Authenticator>,
    /// Messages that are followed.
    pub traces: Arc<Traces>,
    /// The time.
    pub clock: Clock,
    /// Whether test messages may be sent.
    pub may_publish: bool,
    /// The longest payload of a test message to a topic.
    pub max_payload_bytes: usize,
    /// Which server this is.
    pub place: Place,
}

/// Which server this is.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Place {
    /// The region that signatures name.
    pub region: String,
    /// The environment.
    pub env: String,
}

/// Sessions, topic filters, subscribers or traces in one answer; more is refused (400), and comes on the next page.
const RESULTS: usize = 200;

/// The same unless `limit` says otherwise.
const RESULTS_DEFAULT: usize = 50;

const GET: &[Method] = &[Method::GET];
const POST: &[Method] = &[Method::POST];

const fn route(
    methods: &'static [Method],
    path: &'static str,
    handler: Handler<AdminState>,
) -> Route<AdminState> {
    Route {
        methods,
        path,
        access: Access::Operator,
        handler,
    }
}

/// The table.
pub static ADMIN_ROUTES: &[Route<AdminState>] = &[
    route(GET, "/admin", |state, _| {
        Box::pin(async move { about(&state) })
    }),
    route(GET, "/admin/sessions", |state, call| {
        Box::pin(async move { sessions::list(&state, &call) })
    }),
    route(GET, "/admin/sessions/{account}/{session}", |state, call| {
        Box::pin(async move { sessions::show(&state, &call).await })
    }),
    route(GET, "/admin/topics", |state, call| {
        Box::pin(async move { topics::list(&state, &call).await })
    }),
    route(GET, "/admin/subscribers", |state, call| {
        Box::pin(async move { topics::subscribers(&state, &call).await })
    }),
    route(GET, "/admin/traces", |state, call| {
        Box::pin(async move { traces::list(&state, &call) })
    }),
    route(POST, "/admin/traces", |state, call| {
        Box::pin(async move { traces::watch(&state, &call) })
    }),
    route(GET, "/admin/traces/{message}", |state, call| {
        Box::pin(async move { traces::show(&state, &call) })
    }),
    route(POST, "/admin/messages", |state, call| {
        Box::pin(async move { messages::send(&state, &call).await })
    }),
];

/// What the console's page must know before it can sign anything.
pub static SIGN_IN_ROUTES: &[Route<AdminState>] = &[Route {
    methods: GET,
    path: "/console/settings.json",
    access: Access::Public,
    handler: |state, _| Box::pin(async move { respond(answer(&state.place)) }),
}];

/// What [`ADMIN_ROUTES`] say of themselves.
#[derive(OpenApi)]
#[openapi(paths(
    about,
    sessions::list,
    sessions::show,
    topics::list,
    topics::subscribers,
    traces::list,
    traces::watch,
    traces::show,
    messages::send,
))]
struct Described;

/// The description of [`ADMIN_ROUTES`] for the OpenAPI document.
pub fn document() -> utoipa::openapi::OpenApi {
    Described::openapi()
}

/// What this server is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct About {
    success: bool,
    /// The program's version.
    version: &'static str,
    #[serde(flatten)]
    place: Place,
    /// Sessions that exist now.
    sessions: u64,
    /// Whether there is MQTT.
    mqtt: bool,
    /// Whether test messages may be sent (`console.publish`).
    may_publish: bool,
    /// Messages that are followed at most (`console.traces`).
    most_traces: usize,
}

/// Says what this server is.
#[utoipa::path(
    get, path = "/admin", operation_id = "admin_about", tag = "admin", responses((status = 200, body = About)), security(("sigv4" = [])),
)]
pub fn about(state: &AdminState) -> HttpResponse {
    respond(answer(&About {
        success: true,
        version: env!("CARGO_PKG_VERSION"),
        place: state.place.clone(),
        sessions: state.finder.count(),
        mqtt: state.topics.is_some(),
        may_publish: state.may_publish,
        most_traces: state.traces.most(),
    }))
}

/// `200` with what is so now.
fn answer(body: &impl Serialize) -> Answer {
    let mut answer = HttpResponse::Ok();
    answer.insert_header((CACHE_CONTROL, "no-store"));
    Ok(answer.json(body))
}

/// The `limit` of a listing.
fn limit(query: &[(String, String)]) -> Result<usize, Refused> {
    let given = fields::one(query, "limit")?;
    let given = given.map(|text| fields::number("limit", text, 1, RESULTS as u64));
    Ok(given.transpose()?.map_or(RESULTS_DEFAULT, |number| {
        usize::try_from(number).unwrap_or(RESULTS)
    }))
}

/// Account, user and session of a query or a body, as texts.
fn target(
    account: Option<&str>,
    user: Option<&str>,
    session: Option<&str>,
) -> Result<Target, Refused> {
    Ok(Target {
        account: account.map(fields::account).transpose()?,
        user: user.map(fields::user).transpose()?,
        session: session.map(fields::session).transpose()?,
    })
}

/// The session that the path names.
fn session_key(call: &Call) -> Result<SessionKey, Refused> {
    let account = fields::account(fields::segment(call, "account").unwrap_or_default())?;
    let session: SessionId = fields::session(fields::segment(call, "session").unwrap_or_default())?;
    Ok(SessionKey { account, session })
}
