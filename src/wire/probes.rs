//! `/health/live`, `/health/ready` and `/metrics`: for whoever watches the process.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::Method;
use futures_util::future::LocalBoxFuture;
use metrics_exporter_prometheus::PrometheusHandle;

use super::{Call, Route};
use crate::auth::Access;
use crate::observe::health::Health;
use crate::observe::metrics;

/// What the probes show.
pub struct ProbeState {
    /// Whether the process is ready.
    pub health: Health,
    /// The metrics.
    pub metrics: PrometheusHandle,
}

const GET: &[Method] = &[Method::GET];

/// The table.
pub static ROUTES: &[Route<ProbeState>] = &[
    Route {
        methods: GET,
        path: "/health/live",
        access: Access::Public,
        handler: live,
    },
    Route {
        methods: GET,
        path: "/health/ready",
        access: Access::Public,
        handler: ready,
    },
    Route {
        methods: GET,
        path: "/metrics",
        access: Access::Public,
        handler: show,
    },
];

type Answer = LocalBoxFuture<'static, HttpResponse>;

fn live(_: Arc<ProbeState>, _: Call) -> Answer {
    Box::pin(async { HttpResponse::Ok().json(serde_json::json!({ "live": true })) })
}

fn ready(state: Arc<ProbeState>, _: Call) -> Answer {
    Box::pin(async move {
        match state.health.ready() {
            Ok(()) => HttpResponse::Ok().json(serde_json::json!({ "ready": true })),
            Err(reason) => {
                let body = serde_json::json!({ "ready": false, "reason": reason.to_string() });
                HttpResponse::ServiceUnavailable().json(body)
            }
        }
    })
}

fn show(state: Arc<ProbeState>, _: Call) -> Answer {
    Box::pin(async move {
        let text = metrics::render(&state.metrics);
        HttpResponse::Ok()
            .content_type("text/plain; version=0.0.4; charset=utf-8")
            .body(text)
    })
}
