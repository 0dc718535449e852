//! The door as a whole, in process and over sockets.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::body::to_bytes;
use actix_web::http::Method;
use actix_web::http::StatusCode;
use actix_web::test::TestRequest;
use futures_util::future::LocalBoxFuture;

use super::*;
use crate::auth::Grant;
use crate::auth::testing::{self, FakeRegistry, signed};
use crate::domain::UserId;
use crate::domain::session::{Credentials, Session};
use crate::wire::Call;

mod encrypted;
mod matrix;
mod requests;
mod sockets;
mod upgrades;

/// What the handlers of the test tables leave behind.
#[derive(Default)]
pub(super) struct Seen {
    ran: AtomicUsize,
    dropped: AtomicUsize,
}

fn ok(state: Arc<Seen>, call: Call) -> LocalBoxFuture<'static, HttpResponse> {
    Box::pin(async move {
        state.ran.fetch_add(1, Ordering::SeqCst);
        let params: Vec<_> = ["user", "rest"]
            .iter()
            .filter_map(|name| call.params.get(name))
            .collect();
        HttpResponse::Ok().body(format!(
            "{} {} {}",
            call.host,
            call.body.len(),
            params.join(",")
        ))
    })
}

fn owner(state: Arc<Seen>, call: Call) -> LocalBoxFuture<'static, HttpResponse> {
    let user = call.params.get("user").and_then(|user| user.parse().ok());
    let granted = |grant: &Grant| grant.user(UserId(user.unwrap_or_default()));
    if granted(&call.grant).is_err() {
        return Box::pin(async { refuse_rest(&Refusal::AccessDenied) });
    }
    ok(state, call)
}

fn panics(_: Arc<Seen>, _: Call) -> LocalBoxFuture<'static, HttpResponse> {
    panic!("on purpose")
}

/// Never answers, but tells when it is dropped.
fn waits(state: Arc<Seen>, _: Call) -> LocalBoxFuture<'static, HttpResponse> {
    struct Tell(Arc<Seen>);
    impl Drop for Tell {
        fn drop(&mut self) {
            self.0.dropped.fetch_add(1, Ordering::SeqCst);
        }
    }
    Box::pin(async move {
        let tell = Tell(state);
        tell.0.ran.fetch_add(1, Ordering::SeqCst);
        std::future::pending::<HttpResponse>().await
    })
}

const GET: &[Method] = &[Method::GET];
const ANY: &[Method] = &[Method::GET, Method::POST];

macro_rules! route {
    ($methods:expr, $path:literal, $access:ident, $handler:expr) => {
        Route {
            methods: $methods,
            path: $path,
            access: Access::$access,
            handler: $handler,
        }
    };
}

static ROUTES: &[Route<Seen>] = &[
    route!(ANY, "/public", Public, ok),
    route!(ANY, "/operator", Operator, ok),
    route!(GET, "/operator/{rest*}", Operator, ok),
    route!(GET, "/owner/{user}", OperatorOrOwner, owner),
    route!(GET, "/panics", Public, panics),
    route!(GET, "/waits", Public, waits),
];

static OPERATIONS: &[Operation<Seen>] = &[
    Operation {
        name: "Open",
        access: Access::Public,
        handler: ok,
    },
    Operation {
        name: "Operate",
        access: Access::Operator,
        handler: ok,
    },
    Operation {
        name: "Own",
        access: Access::OperatorOrOwner,
        handler: ok,
    },
    Operation {
        name: "Panic",
        access: Access::Public,
        handler: panics,
    },
];

/// A wire with both a JSON target and a form.
struct Echo;

impl RpcWire for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn signed_as(&self) -> &'static str {
        "echo"
    }

    fn body_limit_bytes(&self) -> usize {
        4096
    }

    fn form_limit_bytes(&self) -> usize {
        4096
    }

    fn claims(&self, inbound: &Inbound) -> bool {
        inbound.target().is_some_and(|t| t.starts_with("Echo."))
            || inbound.body.starts_with(b"Action=")
    }

    fn operation<'a>(&self, inbound: &'a Inbound) -> Option<Cow<'a, str>> {
        let of_target = inbound.target().and_then(|t| t.strip_prefix("Echo."));
        let of_form = || {
            std::str::from_utf8(&inbound.body)
                .ok()?
                .strip_prefix("Action=")
        };
        of_target.or_else(of_form).map(Cow::Borrowed)
    }

    fn refuser(&self, _: &Inbound) -> Refuser {
        Box::new(|refusal| {
            let told = refusal.told().json_1_1();
            HttpResponse::build(StatusCode::from_u16(told.status).unwrap())
                .body(format!("echo:{}", told.code))
        })
    }
}

pub(super) struct Given {
    pub(super) door: Arc<Door>,
    pub(super) seen: Arc<Seen>,
    pub(super) registry: Arc<FakeRegistry>,
    pub(super) session: Session,
}

pub(super) fn given() -> Given {
    given_with(Limits {
        rest_body_bytes: 1000,
        body_patience: Duration::from_millis(300),
        ..Limits::default()
    })
}

pub(super) fn given_with(limits: Limits) -> Given {
    let registry = Arc::new(FakeRegistry::default());
    let session = testing::session(7, "s", Some(3));
    registry.put(session.clone());
    let seen = Arc::new(Seen::default());
    let door = Door::new(testing::authenticator(&registry), limits, "http")
        .rest("test", "execute-api", &seen, ROUTES)
        .rest("bench", "execute-api", &Arc::new(()), BENCH_ROUTES)
        .rpc(Echo, &seen, OPERATIONS);
    Given {
        door: Arc::new(door),
        seen,
        registry,
        session,
    }
}

/// A request to be signed, or not.
pub(super) struct Ask<'a> {
    pub(super) method: &'a str,
    pub(super) target: &'a str,
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) body: &'a [u8],
}

impl<'a> Ask<'a> {
    pub(super) fn of(method: &'a str, target: &'a str) -> Self {
        Self {
            method,
            target,
            headers: &[],
            body: b"",
        }
    }

    pub(super) fn signed(&self, keys: &Credentials, service: &str) -> Vec<(String, String)> {
        let line = (self.method, self.target);
        signed(keys, service, line, self.headers, self.body)
    }

    pub(super) fn unsigned(&self) -> Vec<(String, String)> {
        let given = self.headers.iter();
        given.map(|(n, v)| ((*n).into(), (*v).into())).collect()
    }
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.and_then(|value| value.to_str().ok()).unwrap_or("")
    }
}

impl Given {
    pub(super) async fn send(&self, ask: &Ask<'_>, headers: &[(String, String)]) -> Answer {
        let mut request = TestRequest::with_uri(ask.target)
            .method(ask.method.parse().unwrap())
            .set_payload(ask.body.to_vec());
        for (name, value) in headers {
            request = request.append_header((name.as_str(), value.as_str()));
        }
        let response = self.door.handle(request.to_srv_request()).await;
        let (_, response) = response.into_parts();
        Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: String::from_utf8(to_bytes(response.into_body()).await.unwrap().into()).unwrap(),
        }
    }

    pub(super) fn ran(&self) -> usize {
        self.seen.ran.load(Ordering::SeqCst)
    }

    pub(super) fn dropped(&self) -> usize {
        self.seen.dropped.load(Ordering::SeqCst)
    }
}
