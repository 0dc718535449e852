//! Operations from the call to the answer, with real queues on a real store, as each kind of caller.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use actix_web::body::MessageBody as _;
use actix_web::http::Method;
use actix_web::http::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::actors::queue::QueuesConfig;
use crate::auth::Caller;
use crate::backends::embedded::{Embedded, StoreOptions, StoreSizes};
use crate::domain::queue::{QueueAttributes, QueueRecord};
use crate::domain::session::{Credentials, EnvelopeVersion, Session};
use crate::domain::{
    AccountId, Clock, IdentityId, QueueName, QueueNo, Seq, SessionId, SessionKey, Timestamp,
};
use crate::observe::traces::Traces;
use crate::wire::{Params, Refusal};

mod access;
mod forms;
mod messages;
mod queues;

const ACCOUNT: &str = "123456789012";
const HOST: &str = "queues.example:8080";

/// A standard queue without anything, for the tests of the operations.
pub(super) fn test_queue(name: &str) -> QueueRecord {
    QueueRecord {
        no: QueueNo(1),
        name: QueueName::parse(name).unwrap(),
        attributes: QueueAttributes::default(),
        tags: BTreeMap::new(),
        created: Timestamp::from_secs(10),
        modified: Timestamp::from_secs(20),
        since: Seq(0),
        owner: None,
    }
}

struct Fixture {
    state: Arc<SqsState>,
    _dir: tempfile::TempDir,
}

/// An answer: status, headers and body.
struct Answered {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Answered {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    /// Status and short type of a JSON error.
    fn fault(&self) -> (u16, String) {
        let kind = self.json()["__type"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        (self.status, kind.rsplit('#').next().unwrap().to_owned())
    }
}

fn operator() -> Caller {
    Caller::Operator {
        access_key: "OPERATOR".into(),
    }
}

/// The keys of a session that owns the queue of this name.
fn session(queue: &str) -> Caller {
    Caller::Session(Arc::new(Session {
        key: SessionKey {
            account: AccountId(1),
            session: SessionId::parse("s").unwrap(),
        },
        user: None,
        queue: QueueNo(1),
        queue_name: QueueName::parse(queue).unwrap(),
        queue_url: None,
        aes_key: [0; 32],
        envelope: EnvelopeVersion::V1,
        credentials: Credentials {
            access_key: "ASIA".into(),
            secret_key: String::new(),
            session_token: String::new(),
            expires: Timestamp(u64::MAX),
        },
        identity: IdentityId::parse("us-east-1:e083f780-0000-4000-8000-000000000000").unwrap(),
        created: Timestamp(0),
        ttl: Timestamp(u64::MAX),
        retention: Duration::from_secs(3600),
        topics: Vec::new(),
        transport: crate::domain::session::Transport::default(),
    }))
}

fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.insert(name.clone(), HeaderValue::from_str(value).unwrap());
    }
    map
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = StoreOptions {
            dir: dir.path().to_owned(),
            min_free_bytes: 0,
            sizes: StoreSizes {
                cache_bytes: 4 << 20,
                write_buffer_bytes: 4 << 20,
                journal_bytes: 128 << 20,
            },
            sweep_interval: Duration::from_secs(3600),
            compact_after_bytes: 1 << 20,
            user_message_ttl: Duration::from_secs(86_400),
        };
        let clock = Clock::start();
        // The store tells the queues what it committed, and the queues need the store.
        let told: Arc<OnceLock<Queues>> = Arc::default();
        let tell = Arc::clone(&told);
        let on_touched: crate::backends::OnTouched = Arc::new(move |touched| {
            if let Some(queues) = tell.get() {
                touched.iter().for_each(|one| queues.touched(one));
            }
        });
        let on_failure: crate::backends::embedded::OnFailure = Arc::new(|error| panic!("{error}"));
        let store = Arc::new(Embedded::open(&options, clock, on_touched, on_failure).unwrap());
        let config = QueuesConfig {
            region: "us-east-1".into(),
            account: ACCOUNT.into(),
            idle_after: Duration::from_secs(30),
            mailbox: 64,
            max_messages: 1_000,
            max_in_flight: 1_000,
            max_waiting: 64,
            cached_body_bytes: 1 << 20,
        };
        let sealers: crate::actors::queue::Sealers = Arc::new(|_, _| Ok(None));
        let queues = Queues::new(config, store.clone(), store, sealers, Traces::new(1), clock);
        assert!(told.set(queues.clone()).is_ok());
        let state = Arc::new(SqsState {
            queues,
            region: "us-east-1".into(),
            account: ACCOUNT.into(),
        });
        Self { state, _dir: dir }
    }

    /// Sends a call through the operation's access decision and handler.
    async fn send(&self, caller: Caller, operation: &str, call: Inbound) -> Answered {
        let operation = OPERATIONS.iter().find(|o| o.name == operation).unwrap();
        let response = match operation.access.decide(caller) {
            Ok(grant) => {
                let call = Call::new(call, Params::default(), grant);
                (operation.handler)(Arc::clone(&self.state), call).await
            }
            Err(_) => SqsWire.refuser(&call)(&Refusal::AccessDenied),
        };
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.into_body().try_into_bytes().unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        Answered {
            status,
            headers,
            text,
        }
    }

    async fn json_as(&self, caller: Caller, operation: &str, body: Value) -> Answered {
        self.send(caller, operation, json_call(operation, &body))
            .await
    }

    async fn json(&self, operation: &str, body: Value) -> Answered {
        self.json_as(operator(), operation, body).await
    }

    /// As [`Fixture::json`], and what must succeed.
    async fn ok(&self, operation: &str, body: Value) -> Value {
        let answered = self.json(operation, body).await;
        assert_eq!(answered.status, 200, "{operation}: {}", answered.text);
        answered.json()
    }

    async fn query(&self, path: &str, operation: &str, rest: &str) -> Answered {
        let form = format!("Action={operation}&Version=2012-11-05&{rest}");
        self.send(operator(), operation, query_call(path, &form))
            .await
    }

    async fn create(&self, name: &str) -> String {
        let answer = self.ok("CreateQueue", json!({ "QueueName": name })).await;
        answer["QueueUrl"].as_str().unwrap().to_owned()
    }
}

fn inbound(method: Method, path: &str, query: &str, headers: HeaderMap, body: &str) -> Inbound {
    Inbound {
        method,
        raw_path: path.into(),
        raw_query: query.into(),
        headers,
        scheme: "http",
        peer: None,
        host: HOST.into(),
        http2: false,
        body: body.to_owned().into(),
        request_id: Uuid::nil(),
    }
}

fn json_call(operation: &str, body: &Value) -> Inbound {
    let target = HeaderName::from_static("x-amz-target");
    let headers = headers(&[(target, &format!("AmazonSQS.{operation}"))]);
    inbound(Method::POST, "/", "", headers, &body.to_string())
}

fn query_call(path: &str, form: &str) -> Inbound {
    inbound(Method::POST, path, "", HeaderMap::new(), form)
}
