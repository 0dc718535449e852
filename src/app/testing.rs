//! For tests: everything composed, on a folder of its own, asked through the door as a client would.

use actix_web::body::to_bytes;
use actix_web::http::header::HeaderMap;
use actix_web::test::TestRequest;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::Value;

use super::*;
use crate::auth::testing;
use crate::backends::HistoryStore;
use crate::config::Config;
use crate::domain::session::Credentials;

/// The account in ARNs and queue URLs.
pub(crate) const ACCOUNT: &str = "123456789012";

/// How many sessions there can be.
pub(crate) const MOST_SESSIONS: u64 = 20;

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
        Self::tuned(|_| {})
    }

    /// With other settings.
    pub(crate) fn tuned(tune: impl FnOnce(&mut Settings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = settings(&config(&dir));
        tune(&mut settings);
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

    /// The store as history.
    pub(crate) fn history(&self) -> Arc<dyn HistoryStore> {
        self.core.store.clone()
    }

    pub(crate) fn dispatchers(&self) -> Dispatchers {
        self.core.dispatchers.clone()
    }

    pub(crate) fn authenticator(&self) -> &Authenticator {
        &self.core.authenticator
    }

    pub(crate) fn clock(&self) -> Clock {
        self.core.clock
    }

    /// What dispatchers work with, but for the registry.
    pub(crate) fn neighbours(&self, registry: Arc<dyn SessionRegistry>) -> Neighbours {
        Neighbours {
            routes: Arc::new(Routes::default()),
            registry,
            queues: self.core.store.clone(),
            history: Historians::new(self.history()),
            clock: self.core.clock,
            user_message_ttl: Duration::from_secs(86_400),
            sender: "".into(),
            queue_limit: 100,
            traces: self.core.traces.clone(),
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

/// The default configuration, small.
pub(super) fn config(dir: &tempfile::TempDir) -> Config {
    let mut config = Config {
        aws_account: ACCOUNT.into(),
        ..Config::default()
    };
    config.store.dir = dir.path().to_owned();
    config.store.min_free_bytes = 0;
    config.bench.enabled = true;
    config.guests.allow = vec!["/game/*".into()];
    config.guests.keys_burst = 1000;
    config.roles = vec![crate::config::Role {
        name: "player".into(),
        policy: r#"{"Statement":{"Effect":"Allow","Action":"iot:*","Resource":"*"}}"#.into(),
    }];
    config
}

/// What it stands for, with few threads.
pub(super) fn settings(config: &Config) -> Settings {
    let operator = config.operator_keys().unwrap();
    let book = Arc::new(Rulebook::of(config).unwrap());
    let mut settings = Settings::of(config, &operator, book);
    settings.actor_threads = 1;
    settings.sessions.most = MOST_SESSIONS;
    settings
}
