//! An operation or route with its state bound: the one way to a handler leads through the access decision.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use metrics::Counter;

use crate::auth::{Access, Caller, Grant};
use crate::wire::{Call, Handler, Inbound, Params, Refusal};

type Run = Box<dyn Fn(Call) -> LocalBoxFuture<'static, HttpResponse> + Send + Sync>;

/// What is behind a route or an operation name.
pub(super) struct Target {
    access: Access,
    run: Run,
    counts: Counts,
}

/// Metrics of one target; the handles are made once, since looking them up costs more than a small request.
pub(super) struct Counts {
    by_class: [Counter; 4],
    panics: Counter,
}

impl Target {
    pub(super) fn new<S: Send + Sync + 'static>(
        wire: &'static str,
        name: &'static str,
        access: Access,
        state: &Arc<S>,
        handler: Handler<S>,
    ) -> Self {
        let state = Arc::clone(state);
        Self {
            access,
            run: Box::new(move |call| handler(Arc::clone(&state), call)),
            counts: Counts::new(wire, name),
        }
    }

    pub(super) fn access(&self) -> Access {
        self.access
    }

    /// Decides, and hands back the request with the proof.
    pub(super) fn decide(&self, caller: Caller) -> Result<Grant, Refusal> {
        self.access
            .decide(caller)
            .map_err(|_| Refusal::AccessDenied)
    }

    /// Runs the handler; a panic in it ends this request and nothing else.
    pub(super) async fn run(
        &self,
        inbound: Inbound,
        params: Params,
        grant: Grant,
    ) -> Result<HttpResponse, Refusal> {
        let call = Call::new(inbound, params, grant);
        let request_id = call.request_id;
        // The state behind a handler is shared, and must cope with a handler that stops anywhere: that is what
        // a client that goes away does, too.
        let handled = AssertUnwindSafe(async { (self.run)(call).await });
        handled.catch_unwind().await.map_err(|panic| {
            self.counts.panics.increment(1);
            tracing::error!(%request_id, panic = panic_text(&*panic), "a handler panicked");
            Refusal::Internal
        })
    }

    /// Counts an answer, refusals included.
    pub(super) fn count(&self, response: &HttpResponse) {
        self.counts.count(response.status());
    }
}

impl Counts {
    /// Counts an answer; a switch of protocols is a success.
    pub(super) fn count(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(2, 5) - 2;
        self.by_class[class].increment(1);
    }

    pub(super) fn new(wire: &'static str, name: &'static str) -> Self {
        let answered = |class: &'static str| metrics::counter!("fanfare_requests_total", "wire" => wire, "operation" => name, "status" => class);
        Self {
            by_class: ["2xx", "3xx", "4xx", "5xx"].map(answered),
            panics: metrics::counter!("fanfare_handler_panics_total", "wire" => wire, "operation" => name),
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without text")
}
