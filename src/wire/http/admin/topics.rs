//! `/admin/topics`, `/admin/subscribers`: what is subscribed to, and by whom.

use actix_web::HttpResponse;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use utoipa::ToSchema;

use super::{AdminState, answer, limit};
use crate::actors::topic::Topics;
use crate::domain::publication::QoS;
use crate::domain::topic::TopicFilter;
use crate::wire::Call;
use crate::wire::http::answer::{Answer, Failure, Refused, respond};
use crate::wire::http::fields;

/// What is subscribed to.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TopicList {
    success: bool,
    /// In order of filter.
    topics: Vec<TopicSummary>,
    /// Where the next page starts, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
    /// Whether all subscriptions were looked at; if not, there are too many, and the numbers are too small.
    complete: bool,
}

/// A topic filter, and how many subscribe to it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TopicSummary {
    filter: String,
    /// Connections that subscribe to it.
    connected: usize,
    /// Durable sessions without a connection that do.
    away: usize,
}

/// Who subscribes to a filter.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubscriberList {
    success: bool,
    filter: String,
    /// How many there are.
    total: usize,
    /// The first, in order of client id.
    subscribers: Vec<SubscriberSummary>,
    /// Whether all subscriptions were looked at; if not, there are too many, and the numbers are too small.
    complete: bool,
}

/// A client that subscribes.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubscriberSummary {
    client_id: String,
    /// At most this.
    qos: u8,
    /// Whether it is connected, or has a session that waits for it.
    connected: bool,
}

/// Lists the topic filters that clients subscribe to, sessions' own topics among them.
#[utoipa::path(
    get, path = "/admin/topics", operation_id = "admin_topics", tag = "admin",
    params(
        ("prefix" = Option<String>, Query, description = "only filters that begin so"),
        ("limit" = Option<u32>, Query, description = "1 to 200, default 50"),
        ("nextToken" = Option<String>, Query),
    ),
    responses((status = 200, body = TopicList), (status = 400, body = Failure), (status = 404, body = Failure)),
    security(("sigv4" = [])),
)]
pub async fn list(state: &AdminState, call: &Call) -> HttpResponse {
    respond(filters(state, call).await)
}

/// Lists who subscribes to a topic filter, as it was subscribed to.
#[utoipa::path(
    get, path = "/admin/subscribers", operation_id = "admin_subscribers", tag = "admin",
    params(
        ("filter" = String, Query),
        ("limit" = Option<u32>, Query, description = "1 to 200, default 50"),
    ),
    responses((status = 200, body = SubscriberList), (status = 400, body = Failure), (status = 404, body = Failure)),
    security(("sigv4" = [])),
)]
pub async fn subscribers(state: &AdminState, call: &Call) -> HttpResponse {
    respond(who(state, call).await)
}

/// The topics, if there are any.
pub(super) fn topics(state: &AdminState) -> Result<&Topics, Refused> {
    let none = || Refused::not_found("there is no MQTT (mqtt.enabled)");
    state.topics.as_ref().ok_or_else(none)
}

async fn filters(state: &AdminState, call: &Call) -> Answer {
    let query = fields::query(call)?;
    let beginning = fields::one(&query, "prefix")?.unwrap_or_default();
    let after = fields::one(&query, "nextToken")?.map(decode).transpose()?;
    let limit = limit(&query)?;
    let found = topics(state)?
        .filters(beginning, after.as_deref(), limit)
        .await;
    let last = found.listed.last().filter(|_| found.more);
    answer(&TopicList {
        success: true,
        next_token: last.map(|last| URL_SAFE_NO_PAD.encode(&last.filter)),
        complete: found.complete,
        topics: found
            .listed
            .into_iter()
            .map(|view| TopicSummary {
                filter: view.filter,
                connected: view.connected,
                away: view.away,
            })
            .collect(),
    })
}

async fn who(state: &AdminState, call: &Call) -> Answer {
    let query = fields::query(call)?;
    let filter = fields::one(&query, "filter")?.unwrap_or_default();
    let parsed = TopicFilter::parse(filter)
        .map_err(|error| Refused::invalid(format!("filter is not valid: {error}")))?;
    let found = topics(state)?.subscribers(&parsed, limit(&query)?).await;
    answer(&SubscriberList {
        success: true,
        filter: filter.to_owned(),
        total: found.total,
        complete: found.complete,
        subscribers: found
            .listed
            .iter()
            .map(|view| SubscriberSummary {
                client_id: view.client.as_str().to_owned(),
                qos: match view.qos {
                    QoS::AtMostOnce => 0,
                    QoS::AtLeastOnce => 1,
                    QoS::ExactlyOnce => 2,
                },
                connected: view.connected,
            })
            .collect(),
    })
}

fn decode(token: &str) -> Result<String, Refused> {
    let text = URL_SAFE_NO_PAD.decode(token).ok();
    text.and_then(|text| String::from_utf8(text).ok())
        .ok_or_else(|| Refused::invalid("nextToken is not one of ours"))
}
