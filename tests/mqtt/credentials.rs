//! RELIABILITY's table S on the way to MQTT: at the upgrade, and over an open connection. That bodies, header forms and the
//! published vectors are judged as they must be is shown in `src/auth/sigv4/tests`.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use fanfare::wire::mqtt::codec::{Connect, Packet, ReasonCode};
use serde_json::Value;

use crate::broker::{Broker, Setup};
use crate::client::V5;
use crate::websocket::{MQTT, Ws};

/// How a presigned URL is made.
pub struct Signing {
    keys: Credentials,
    region: &'static str,
    service: &'static str,
    time: SystemTime,
    expires: Option<Duration>,
    /// Not signed, as AWS's old SDKs append it.
    token_after: Option<String>,
}

impl Signing {
    pub fn with(keys: Credentials) -> Self {
        Self {
            keys,
            region: "us-east-1",
            service: "iotdevicegateway",
            time: SystemTime::now(),
            expires: None,
            token_after: None,
        }
    }

    pub fn target(&self, host: &str) -> String {
        let identity = self.keys.clone().into();
        let mut settings = SigningSettings::default();
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(self.expires.unwrap_or(Duration::from_secs(60)));
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.region)
            .name(self.service)
            .time(self.time)
            .settings(settings)
            .build()
            .unwrap();
        let url = format!("http://{host}/mqtt");
        let headers = [("host", host)];
        let request =
            SignableRequest::new("GET", &url, headers.into_iter(), SignableBody::Bytes(b""))
                .unwrap();
        let (instructions, _) = sign(request, &params.into()).unwrap().into_parts();
        let encode = |text: &str| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
                .to_string()
        };
        let parameters = instructions.params().iter();
        let mut query: Vec<_> = parameters
            .map(|(name, value)| format!("{name}={}", encode(value).replace("%2D", "-")))
            .collect();
        if let Some(token) = &self.token_after {
            query.push(format!("X-Amz-Security-Token={}", encode(token)));
        }
        format!("/mqtt?{}", query.join("&"))
    }
}

fn operator() -> Credentials {
    Credentials::new("FANFAREDEV", "fanfare-dev-secret", None, None, "test")
}

fn status(broker: &Broker, signing: &Signing) -> u16 {
    let address = broker.server.address;
    Ws::ask(address, &signing.target(&address.to_string()), MQTT).status()
}

/// A session's description.
pub fn session(address: SocketAddr, path: &str) -> Value {
    called(address, path)["session"].clone()
}

/// What the operator's call answers.
fn called(address: SocketAddr, path: &str) -> Value {
    let client = crate::server::client::Client::to(address);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let answer = runtime.block_on(client.get(path)).expect("an answer");
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    answer.body
}

pub fn keys_of(session: &Value, token: Option<&str>) -> Credentials {
    let text = |key: &str| {
        session[key]
            .as_str()
            .expect("a session has keys")
            .to_owned()
    };
    Credentials::new(
        text("accessKey"),
        text("secretKey"),
        token.map(str::to_owned),
        None,
        "test",
    )
}

#[test]
fn s01_s02_a_credential_without_proof_or_twice_is_refused() {
    let broker = Setup::new().start();
    let address = broker.server.address;
    let ask =
        |target: &str, more: &str| Ws::ask(address, target, &format!("{MQTT}{more}")).status();
    let good = Signing::with(operator()).target(&address.to_string());
    assert_eq!(ask(&good, ""), 101);
    let unsigned = good.split("&X-Amz-Signature").next().unwrap();
    assert_eq!(ask(unsigned, ""), 403);
    let header = "Authorization: AWS4-HMAC-SHA256 Credential=FANFAREDEV/20261121/us-east-1/iotdevicegateway/aws4_request, SignedHeaders=host, Signature=00\r\n";
    assert!(matches!(ask(&good, header), 400 | 403));
}

#[test]
fn s06_a_changed_url_is_refused() {
    let broker = Setup::new().start();
    let address = broker.server.address;
    let good = Signing::with(operator()).target(&address.to_string());
    for changed in [
        format!("{good}&a=b"),
        format!("{good}&X-Amz-Expires=60"),
        good.replace("X-Amz-Expires=60", "X-Amz-Expires=61"),
        good.replace("/mqtt?", "//mqtt?"),
        good.replace("/mqtt?", "/mqtt/../mqtt?"),
        good.replace("FANFAREDEV", "FANFAREDEW"),
    ] {
        let status = Ws::ask(address, &changed, MQTT).status();
        assert!(matches!(status, 400 | 403 | 404), "{status} {changed}");
    }
}

#[test]
fn s07_another_scope_is_refused() {
    let broker = Setup::new().start();
    for service in ["iotdata", "iotdevicegateway"] {
        let mut signing = Signing::with(operator());
        signing.service = service;
        assert_eq!(status(&broker, &signing), 101, "{service}");
    }
    let mut signing = Signing::with(operator());
    signing.region = "eu-west-1";
    assert_eq!(status(&broker, &signing), 403);
    for service in ["sqs", "execute-api"] {
        let mut signing = Signing::with(operator());
        signing.service = service;
        assert_eq!(status(&broker, &signing), 403, "{service}");
    }
}

#[test]
fn s08_the_time_has_an_exact_window() {
    let broker = Setup::new().start();
    for (seconds, expect) in [(-290, 101), (290, 101), (-310, 403), (310, 403)] {
        let mut signing = Signing::with(operator());
        let away = Duration::from_secs(i64::unsigned_abs(seconds));
        signing.time = if seconds < 0 {
            signing.time - away
        } else {
            signing.time + away
        };
        signing.expires = Some(Duration::from_secs(600));
        assert_eq!(status(&broker, &signing), expect, "{seconds}");
    }
    let mut signing = Signing::with(operator());
    signing.expires = Some(Duration::from_secs(604_801));
    assert!(matches!(status(&broker, &signing), 400 | 403));
}

#[test]
fn s09_temporary_keys_need_their_own_token() {
    let broker = Setup::new().start();
    let address = broker.server.address;
    let one = session(address, "/create/1/s09/1");
    let two = session(address, "/create/1/s09-other/2");
    let token = |session: &Value| session["sessionToken"].as_str().unwrap().to_owned();
    let (own, other) = (token(&one), token(&two));
    assert_eq!(
        status(&broker, &Signing::with(keys_of(&one, Some(&own)))),
        101
    );
    assert_eq!(
        status(&broker, &Signing::with(keys_of(&one, Some(&other)))),
        403
    );
    assert_eq!(status(&broker, &Signing::with(keys_of(&one, None))), 403);
    // After the signature, as the old SDKs put it.
    for (after, expect) in [(own, 101), (other, 403)] {
        let mut signing = Signing::with(keys_of(&one, None));
        signing.token_after = Some(after);
        assert_eq!(status(&broker, &signing), expect);
    }
}

#[test]
fn s10_a_url_is_good_for_minutes_only() {
    let broker = Setup::new().start();
    let address = broker.server.address;
    let mut signing = Signing::with(operator());
    let target = signing.target(&address.to_string());
    for _ in 0..2 {
        assert_eq!(Ws::ask(address, &target, MQTT).status(), 101);
    }
    // However long it says that it is good.
    signing.time -= Duration::from_secs(310);
    signing.expires = Some(Duration::from_secs(86_400));
    assert_eq!(status(&broker, &signing), 403);
}

/// A connection with a session's keys.
fn connect(broker: &Broker, session: &Value, id: &str) -> Ws {
    let address = broker.server.address;
    let token = session["sessionToken"].as_str();
    let target = Signing::with(keys_of(session, token)).target(&address.to_string());
    let mut ws = Ws::ask(address, &target, MQTT);
    assert_eq!(ws.status(), 101, "{}", ws.head);
    assert_eq!(
        ws.connect(Connect::new(V5, id.to_owned())),
        ReasonCode::Success
    );
    ws
}

#[test]
fn s11_keys_that_end_end_their_connection() {
    let data = tempfile::tempdir().unwrap();
    let server = crate::server::Launch::on(data.path())
        .env("FANFARE_SESSIONS_KEY_LIFETIME", "3")
        .start();
    let broker = Broker { server, data };
    let begun = Instant::now();
    let session = session(broker.server.address, "/create/1/s11/1");
    let id = session["clientId"].as_str().unwrap_or("s11").to_owned();
    let mut ws = connect(&broker, &session, &id);
    let reason = loop {
        if let Packet::Disconnect(disconnect) = ws.packets(V5).remove(0) {
            break disconnect.reason;
        }
    };
    assert_eq!(reason, ReasonCode::NotAuthorized);
    let took = begun.elapsed();
    assert!(
        took > Duration::from_millis(2000) && took < Duration::from_millis(5500),
        "{took:?}"
    );
}

#[test]
fn s11_a_session_that_is_destroyed_ends_its_connection_within_a_second() {
    let broker = Setup::new().start();
    let address = broker.server.address;
    let made = session(address, "/create/1/s11/2");
    let mut ws = connect(&broker, &made, "s11-destroyed");
    called(address, "/destroy/1/s11/2");
    let since = Instant::now();
    match ws.packets(V5).remove(0) {
        Packet::Disconnect(disconnect) => assert_eq!(disconnect.reason, ReasonCode::NotAuthorized),
        other => panic!("{other:?}"),
    }
    assert!(
        since.elapsed() < Duration::from_millis(1500),
        "{:?}",
        since.elapsed()
    );
}

#[test]
fn s14_an_unknown_key_is_answered_as_a_bad_signature_is() {
    let broker = Setup::new().start();
    let address = broker.server.address;
    let answer = |keys: Credentials| {
        let target = Signing::with(keys).target(&address.to_string());
        let ws = Ws::ask(address, &target, MQTT);
        let lines = ws.head.lines().filter(|line| {
            let line = line.to_ascii_lowercase();
            !line.starts_with("date:")
                && !line.contains("request-id")
                && !line.contains("requestid")
        });
        let mut lines: Vec<_> = lines.map(str::to_owned).collect();
        lines[1..].sort_unstable();
        lines.join("\n")
    };
    let unknown = answer(Credentials::new("FANFAREXXX", "x", None, None, "test"));
    let wrong = answer(Credentials::new("FANFAREDEV", "wrong", None, None, "test"));
    assert!(unknown.contains(" 403 "), "{unknown}");
    assert_eq!(unknown, wrong);
}
