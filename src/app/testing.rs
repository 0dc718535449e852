//! For tests: everything composed, on a folder of its own, asked through the door as a client would.

use actix_web::body::to_bytes;
use actix_web::http::header::HeaderMap;
use actix_web::test::TestRequest;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::Value;

use super::*;
use crate::auth::testing::{self, REGION};
use crate::backends::embedded::StoreSizes;
use crate::domain::session::Credentials;

/// The account in ARNs and queue URLs.
pub(crate) const ACCOUNT: &str = "123456789012";

/// The composed program, without a socket.
pub(crate) struct Composed {
    pub(super) core: Core,
    pub(crate) door: Door,
    _dir: tempfile::TempDir,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }
}

impl Composed {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(&dir);
        let core = Core::start(&settings, Arc::new(|error| panic!("{error}"))).unwrap();
        let probes = probes::ProbeState {
            health: core.health(),
            metrics: PrometheusBuilder::new().build_recorder().handle(),
        };
        Self {
            door: core.door(&settings, probes),
            core,
            _dir: dir,
        }
    }

    /// Sends a request with exactly these headers.
    pub(crate) async fn send(
        &self,
        (method, target): (&str, &str),
        headers: &[(String, String)],
        body: &[u8],
    ) -> Answer {
        let mut request = TestRequest::with_uri(target)
            .method(method.parse().unwrap())
            .set_payload(body.to_vec());
        for (name, value) in headers {
            request = request.append_header((name.as_str(), value.as_str()));
        }
        let response = self.door.handle(request.to_srv_request()).await;
        let (_, response) = response.into_parts();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = to_bytes(response.into_body()).await.ok().unwrap();
        Answer {
            status,
            headers,
            text: String::from_utf8(body.into()).unwrap(),
        }
    }

    /// Calls a REST route.
    pub(crate) async fn rest(&self, keys: &Credentials, line: (&str, &str), body: &str) -> Answer {
        let headers = testing::signed(keys, "execute-api", line, &[], body.as_bytes());
        self.send(line, &headers, body.as_bytes()).await
    }

    /// The same as the operator, of what must succeed.
    pub(crate) async fn ok(&self, line: (&str, &str), body: &str) -> Value {
        let answer = self.rest(&testing::operator(), line, body).await;
        assert_eq!(answer.status, 200, "{line:?} {}", answer.text);
        answer.json()
    }

    /// Calls an operation of SQS in JSON.
    pub(crate) async fn sqs(&self, keys: &Credentials, operation: &str, body: &Value) -> Answer {
        let (line, body) = (("POST", "/"), body.to_string());
        let target = format!("AmazonSQS.{operation}");
        let given = [("x-amz-target", target.as_str())];
        let headers = testing::signed(keys, "sqs", line, &given, body.as_bytes());
        self.send(line, &headers, body.as_bytes()).await
    }
}

/// The keys in a session description.
pub(crate) fn keys_of(session: &Value) -> Credentials {
    let text = |name: &str| session[name].as_str().unwrap().to_owned();
    Credentials {
        access_key: text("accessKey"),
        secret_key: text("secretKey"),
        session_token: text("sessionToken"),
        expires: crate::domain::Timestamp::from_secs(session["expires"].as_u64().unwrap()),
    }
}

fn settings(dir: &tempfile::TempDir) -> Settings {
    let operator = testing::operator();
    let (hour, day) = (Duration::from_secs(3600), Duration::from_secs(86_400));
    Settings {
        region: REGION.into(),
        aws_account: ACCOUNT.into(),
        operators: vec![OperatorKey {
            access_key: operator.access_key.into(),
            secret_key: operator.secret_key,
        }],
        http_listen: "127.0.0.1:0".parse().unwrap(),
        serve: ServeOptions::default(),
        limits: Limits::default(),
        actor_threads: 1,
        store: StoreOptions {
            dir: dir.path().to_owned(),
            min_free_bytes: 0,
            sizes: StoreSizes {
                cache_bytes: 4 << 20,
                write_buffer_bytes: 4 << 20,
                journal_bytes: 128 << 20,
            },
            sweep_interval: hour,
            compact_after_bytes: 1 << 20,
            user_message_ttl: day,
        },
        sessions: SessionSettings {
            key_lifetime: hour,
            ttl: hour,
            queue_prefix: "test-fanfare".into(),
            region: REGION.into(),
            retention: hour,
            most: 20,
            issue_keys: crate::auth::keys::issue,
        },
        session_sweep_interval: hour,
        session_queue_limit: 100,
        queues: QueuesConfig {
            region: REGION.into(),
            account: ACCOUNT.into(),
            idle_after: Duration::from_secs(30),
            mailbox: 64,
            max_messages: 1000,
            max_in_flight: 1000,
            max_waiting: 64,
            cached_body_bytes: 1 << 20,
            arbiters: Vec::new(),
        },
        stream: kinesis::Stream {
            name: "test-sqs-browser-event-dispatcher".into(),
            region: REGION.into(),
            account: ACCOUNT.into(),
            shards: 1,
            created: Clock::start().wall(),
            limits: kinesis::Limits::default(),
        },
        env: "test".into(),
        user_message_ttl: day,
        user_idle_after: Duration::from_secs(30),
        bench: true,
    }
}
