//! What the real door lets whom do: everything that can be called × every kind of credential.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::testing::{Composed, keys_of};
use super::*;
use crate::auth::sigv4::AuthError;
use crate::auth::testing::operator;
use crate::auth::testing::proofs::{Keyring, Proof};
use crate::auth::{Access, keys};
use crate::domain::session::{AesKeyBytes, Credentials, EnvelopeVersion, OpenSession};
use crate::domain::{AccountId, IdentityId, QueueName, SessionId, SessionKey, Timestamp};
use crate::wire::Refusal;
use crate::wire::front::Exposed;

/// Every case of a contract, each a test of its own on a subject of its own.
macro_rules! cases {
    ($subject:expr, $($(#[$attribute:meta])* $part:ident::$case:ident,)*) => {$(
        #[actix::test]
        $(#[$attribute])*
        async fn $case() {
            $part::$case(&$subject.await).await;
        }
    )*};
}

#[cfg(feature = "aws")]
mod broker;
mod contract;
mod limits;

/// Everything that anyone may call.
const PUBLIC: [&str; 16] = [
    "/console",
    "/console/settings.json",
    "/console/sign.js",
    "/console/{file*}",
    "/docs",
    "/docs/{file*}",
    "/favicon.ico",
    "/health/live",
    "/health/ready",
    "/iot/keys",
    "/metrics",
    "/openapi.json",
    "/site/{file*}",
    "/{stage}/iot/keys",
    "GetCredentialsForIdentity",
    "GetId",
];

/// What the demos add to that.
const DEMO: [&str; 10] = [
    "/",
    "/chat",
    "/chat/{file*}",
    "/client/{file*}",
    "/compat",
    "/compat/{file*}",
    "/demo/notify",
    "/demo/session",
    "/game",
    "/game/{file*}",
];

/// Everything that a session may call for what is its own (SEMANTICS 3).
const OWN: [&str; 14] = [
    "/messages/set-read/user/{user}",
    "/messages/set-read/user/{user}/asof/{asof}",
    "/messages/set-read/user/{user}/message/{ids}",
    "/messages/unread/user/{user}",
    "/messages/user/{user}",
    "/mqtt/token",
    "ChangeMessageVisibility",
    "ChangeMessageVisibilityBatch",
    "DeleteMessage",
    "DeleteMessageBatch",
    "GetQueueAttributes",
    "GetQueueUrl",
    "PurgeQueue",
    "ReceiveMessage",
];

fn open_to(door: &Door, access: Access) -> BTreeSet<&'static str> {
    let entries = door.surface().iter().filter(|entry| entry.access == access);
    entries.map(|entry| entry.name).collect()
}

#[actix::test]
async fn nothing_is_open_that_the_contract_does_not_open() {
    let demos = Composed::tuned(|settings| settings.demo = true);
    let open: BTreeSet<_> = PUBLIC.into_iter().chain(DEMO).collect();
    assert_eq!(open_to(&demos.door, Access::Public), open);
    let given = Composed::tuned(|settings| settings.demo = false);
    assert_eq!(open_to(&given.door, Access::Public), PUBLIC.into());
    assert_eq!(open_to(&given.door, Access::OperatorOrOwner), OWN.into());
    let signed = [
        "/connections/{client}",
        "/connections/{client}/messages",
        "/connections/{client}/subscriptions",
        "/endpoint",
        "/retainedMessage",
        "/retainedMessage/{topic*}",
        "/rooms/{room}",
        "/rooms/{room}/history",
        "/rooms/{room}/seat",
        "/topics/{topic*}",
        "GetCallerIdentity",
    ];
    assert_eq!(open_to(&given.door, Access::Signed), signed.into());
    assert!(open_to(&given.door, Access::Operator).len() > 30);
    // Without the console nothing of it is there.
    let given = Composed::tuned(|settings| (settings.demo, settings.console) = (false, None));
    let left = given.door.surface().iter().map(|entry| entry.name);
    let of_console = ["/console", "/admin", "/site", "/favicon"];
    let mut left = left.filter(|name| of_console.iter().any(|begin| name.starts_with(begin)));
    assert_eq!(left.next(), None);
}

#[actix::test]
async fn two_pairs_of_operator_keys_are_one_operator() {
    let given = Composed::tuned(|settings| {
        let config = crate::config::Config {
            operator_access_key: Some("OLD".into()),
            operator_secret_key: Some(crate::config::Secret::new("old secret")),
            operator_access_key_2: Some("NEW".into()),
            operator_secret_key_2: Some(crate::config::Secret::new("new secret")),
            ..crate::config::Config::default()
        };
        let keys = config.operator_keys().unwrap();
        settings.operators = super::settings::operators(&keys);
    });
    let pair = |access_key: &str, secret_key: &str| Credentials {
        access_key: access_key.into(),
        secret_key: secret_key.into(),
        ..operator()
    };
    let (old, new) = (pair("OLD", "old secret"), pair("NEW", "new secret"));
    for (keys, status) in [
        (&old, 200),
        (&new, 200),
        (&pair("OLD", "new secret"), 403),
        (&pair("NEW", "old secret"), 403),
        (&operator(), 403),
    ] {
        let listed = given.rest(keys, ("GET", "/status"), "").await;
        assert_eq!(listed.status, status, "{keys:?} {}", listed.text);
    }
    // What one does, the other can go on with, and nobody sees which it was.
    let created = given.rest(&old, ("POST", "/create/1/alice/7"), "").await;
    let session = &created.json()["session"];
    for keys in [&old, &new] {
        let posted = given.rest(keys, ("POST", "/notify/user/7"), "{}").await;
        assert_eq!(posted.status, 200, "{}", posted.text);
    }
    let receive = json!({
        "QueueUrl": session["sqsUrl"], "MaxNumberOfMessages": 10, "AttributeNames": ["SenderId"],
    });
    let received = given.sqs(&new, "ReceiveMessage", &receive).await.json();
    let messages = received["Messages"].as_array().unwrap();
    let senders: BTreeSet<_> = messages
        .iter()
        .map(|message| message["Attributes"]["SenderId"].as_str().unwrap())
        .collect();
    assert_eq!((messages.len(), senders.len()), (2, 1), "{senders:?}");
}

/// Sessions of user 3 in every state.
async fn keyring(given: &Composed) -> Keyring {
    let create = async |session: &str| {
        let path = format!("/create/7/{session}/3");
        keys_of(&given.ok(("POST", &path), "").await["session"])
    };
    let replaced = create("renewed").await;
    given.ok(("POST", "/renew/7/renewed/3"), "").await;
    let destroyed = create("destroyed").await;
    given.ok(("POST", "/destroy/7/destroyed/3"), "").await;
    Keyring {
        session: create("s").await,
        expired: expired(given).await,
        replaced,
        destroyed,
        guest: crate::auth::testing::guest(&given.core.authenticator),
        other: create("other").await,
    }
}

/// A session that lives, with keys whose time has passed.
async fn expired(given: &Composed) -> Credentials {
    let credentials = keys::issue(Timestamp(1));
    let now = given.core.clock.wall();
    let open = OpenSession {
        key: SessionKey {
            account: AccountId(7),
            session: SessionId::parse("expired").unwrap(),
        },
        user: None,
        queue_name: QueueName::parse("expired").unwrap(),
        aes_key: AesKeyBytes([7; 32]),
        identity: IdentityId::parse("us-east-1:e083f780-0000-4000-8000-000000000000").unwrap(),
        envelope: EnvelopeVersion::V1,
        credentials: credentials.clone(),
        ttl: now.plus(Duration::from_secs(3600)),
        retention: None,
        topics: None,
        transport: None,
        now,
    };
    given.core.store.open(open).await.unwrap();
    credentials
}

/// One way to send a request to an entry of the surface.
struct Way {
    method: &'static str,
    target: String,
    header: Option<(&'static str, String)>,
    body: String,
    /// Whether it is SQS's Query protocol.
    form: bool,
}

/// Every way to an entry: each method of a route, `HEAD` for `GET`; each protocol of an operation.
fn ways(entry: &Exposed) -> Vec<Way> {
    let rpc = |prefix: &str| Way {
        method: "POST",
        target: "/".into(),
        header: Some(("x-amz-target", format!("{prefix}.{}", entry.name))),
        body: "{}".into(),
        form: false,
    };
    match entry.wire {
        "sqs" => {
            let form = Way {
                header: Some(("content-type", "application/x-www-form-urlencoded".into())),
                body: format!("Action={}&Version=2012-11-05", entry.name),
                form: true,
                ..rpc("")
            };
            vec![rpc("AmazonSQS"), form]
        }
        "sts" => vec![Way {
            header: Some(("content-type", "application/x-www-form-urlencoded".into())),
            body: format!("Action={}&Version=2011-06-15", entry.name),
            form: true,
            ..rpc("")
        }],
        "kinesis" => vec![rpc("Kinesis_20131202")],
        "cognito" => vec![rpc("AWSCognitoIdentityService")],
        _ => {
            let mut methods: Vec<_> = entry.methods.iter().map(|method| method.as_str()).collect();
            if methods.contains(&"GET") {
                methods.push("HEAD");
            }
            let route = |method: &str| Way {
                method: ["DELETE", "GET", "HEAD", "POST"]
                    .into_iter()
                    .find(|known| *known == method)
                    .unwrap(),
                target: path(entry.name),
                header: None,
                body: String::new(),
                form: false,
            };
            methods.into_iter().map(route).collect()
        }
    }
}

/// A path that the pattern matches, of a session that nobody has, or of user 3.
fn path(pattern: &str) -> String {
    let values = [
        ("{account}", "7"),
        ("{session}", "nobody"),
        ("{a}", "nobody"),
        ("{b}", "9"),
        ("{user}", "3"),
        ("{ids}", "x"),
        ("{asof}", "1"),
        ("{client}", "nobody"),
        ("{file*}", "index.css"),
        ("{stage}", "dev"),
        ("{topic*}", "x"),
        ("{room}", "x"),
        ("{message}", "x"),
    ];
    let path = values
        .iter()
        .fold(pattern.to_owned(), |path, (name, value)| {
            path.replace(name, value)
        });
    assert!(!path.contains('{'), "{path}");
    path
}

/// The code as the entry's wire tells it.
fn code(refusal: &Refusal, entry: &Exposed, way: &Way) -> &'static str {
    match (refusal, entry.wire) {
        (Refusal::AccessDenied, "cognito") => "NotAuthorizedException",
        (Refusal::Auth(AuthError::InvalidClientToken), "sqs" | "sts") if way.form => {
            "InvalidClientTokenId"
        }
        (Refusal::Auth(AuthError::SignatureDoesNotMatch(_)), "sqs" | "sts") if way.form => {
            "SignatureDoesNotMatch"
        }
        // The older protocols leave the suffix out.
        (refusal, _) => refusal.told().code.trim_end_matches("Exception"),
    }
}

/// What only the door answers, never a handler that was given nothing to work with.
const REFUSED: [&str; 9] = [
    "MissingAuthenticationToken",
    "IncompleteSignature",
    "UnrecognizedClient",
    "InvalidClientTokenId",
    "InvalidSignature",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "AccessDenied",
    "Access denied",
];

/// Sends one request and judges the answer.
async fn check(given: &Composed, keyring: &Keyring, entry: &Exposed, way: &Way, proof: Proof) {
    let target = match proof.query() {
        "" => way.target.clone(),
        query => format!("{}?{query}", way.target),
    };
    let line = (way.method, target.as_str());
    let named = way.header.iter();
    let named: Vec<_> = named.map(|(name, value)| (*name, value.as_str())).collect();
    let body = way.body.as_bytes();
    let headers = keyring.headers(proof, entry.service, line, &named, body);
    let answer = given.send(line, &headers, body).await;
    let case = format!("{entry:?} {} {proof:?} {answer:?}", way.method);
    match proof.refusal(entry.access) {
        Some(refusal) => {
            assert!([400, 403].contains(&answer.status), "{case}");
            assert!(answer.text.contains(code(&refusal, entry, way)), "{case}");
        }
        None => {
            // What the keys' policy says about a topic comes after the door, in a word of its own.
            let has_policy = entry.service == "iotdata" || entry.wire == "rooms";
            let by_policy = has_policy && answer.text.contains("\"Forbidden\"");
            let is_let_in = answer.status != 403 || by_policy;
            assert!(answer.status < 500 && is_let_in, "{case}");
            let refused = REFUSED.iter().find(|code| answer.text.contains(**code));
            // An operation that proves the caller itself says so in words of its own.
            let own = entry.name == "/openapi.json" || entry.name.starts_with("/docs");
            assert!(own || refused.is_none(), "{case}");
        }
    }
}

#[actix::test]
async fn s16_whatever_can_be_called_decides_on_every_kind_of_credential() {
    let given = Composed::new();
    let keyring = keyring(&given).await;
    let mut walked = 0;
    for entry in given.door.surface() {
        for way in ways(entry) {
            for proof in Proof::ALL {
                check(&given, &keyring, entry, &way, proof).await;
                walked += 1;
            }
        }
    }
    // 22 routes in 39 ways and more, 23 SQS operations in two, 6 and 4 of Kinesis and Cognito.
    assert!(walked > 95 * Proof::ALL.len(), "{walked}");
}

/// What a session's keys do to the queue at `url`: each operation they may call, with a message's `handle`.
fn on_queue(url: &str, handle: &str) -> Vec<(&'static str, Value)> {
    let name = url.rsplit('/').next().unwrap();
    let one = |mut more: Value| {
        more["QueueUrl"] = url.into();
        more
    };
    let entry = json!({"Id": "a", "ReceiptHandle": handle, "VisibilityTimeout": 0});
    let entries = json!({ "Entries": [entry] });
    vec![
        (
            "ChangeMessageVisibility",
            one(json!({"ReceiptHandle": handle, "VisibilityTimeout": 0})),
        ),
        ("ChangeMessageVisibilityBatch", one(entries)),
        ("DeleteMessage", one(json!({ "ReceiptHandle": handle }))),
        (
            "DeleteMessageBatch",
            one(json!({"Entries": [{"Id": "a", "ReceiptHandle": handle}]})),
        ),
        (
            "GetQueueAttributes",
            one(json!({"AttributeNames": ["All"]})),
        ),
        ("GetQueueUrl", json!({ "QueueName": name })),
        ("PurgeQueue", one(json!({}))),
        ("ReceiveMessage", one(json!({}))),
    ]
}

#[actix::test]
async fn a_session_reaches_no_queue_but_its_own() {
    let given = Composed::new();
    let own = given.ok(("POST", "/create/7/own/3"), "").await["session"].take();
    let other = given.ok(("POST", "/create/7/other/4"), "").await["session"].take();
    let operators = json!({ "QueueName": "operators" });
    let operators = given.sqs(&operator(), "CreateQueue", &operators).await;
    let operators = operators.json()["QueueUrl"].as_str().unwrap().to_owned();
    given.ok(("POST", "/notify"), r#"{"n":1}"#).await;

    let url = |session: &Value| session["sqsUrl"].as_str().unwrap().to_owned();
    let receive = json!({"QueueUrl": url(&other), "VisibilityTimeout": 0});
    let message = given
        .sqs(&keys_of(&other), "ReceiveMessage", &receive)
        .await;
    let handle = message.json()["Messages"][0]["ReceiptHandle"].take();
    let handle = handle.as_str().unwrap();

    let owned: BTreeSet<_> = OWN
        .into_iter()
        .filter(|name| !name.starts_with('/'))
        .collect();
    let nowhere = format!("http://x/{}/nowhere", testing::ACCOUNT);
    for foreign in [&url(&other), &operators, &nowhere] {
        let calls = on_queue(foreign, handle);
        let called: BTreeSet<_> = calls.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            called, owned,
            "an operation that sessions may call is not tried"
        );
        for (operation, body) in calls {
            let answer = given.sqs(&keys_of(&own), operation, &body).await;
            let case = format!("{operation} {foreign} {answer:?}");
            assert_eq!(answer.status, 403, "{case}");
            assert!(answer.text.contains("AccessDenied"), "{case}");
        }
    }
    // None of it did anything, and the other's own keys do it.
    let receive = json!({ "QueueUrl": url(&other) });
    let still = given
        .sqs(&keys_of(&other), "ReceiveMessage", &receive)
        .await;
    let still = still.json()["Messages"][0].take();
    let (url, handle) = (url(&other), still["ReceiptHandle"].as_str().unwrap());
    for (operation, body) in on_queue(&url, handle) {
        let answer = given.sqs(&keys_of(&other), operation, &body).await;
        assert_eq!(answer.status, 200, "{operation} {answer:?}");
    }
}

#[actix::test]
async fn a_session_reaches_no_history_but_its_users() {
    let given = Composed::new();
    let session = given.ok(("POST", "/create/7/own/3"), "").await["session"].take();
    let nobody = given.ok(("POST", "/create/7/nobody"), "").await["session"].take();
    given
        .ok(("POST", "/notify/user/4"), r#"{"messageId":"x"}"#)
        .await;
    let routes = given.door.surface().iter();
    let routes = routes.filter(|entry| OWN.contains(&entry.name) && entry.wire == "http");
    for entry in routes.clone() {
        let body = if entry.name.ends_with("set-read/user/{user}") {
            r#"["x"]"#
        } else {
            ""
        };
        let method = entry.methods[0].as_str();
        let (own, foreign) = (path(entry.name), path(&entry.name.replace("{user}", "4")));
        for (keys, path, expect) in [
            (keys_of(&session), &own, 200),
            (keys_of(&session), &foreign, 403),
            (keys_of(&nobody), &own, 403),
        ] {
            let answer = given.rest(&keys, (method, path), body).await;
            assert_eq!(answer.status, expect, "{path} {answer:?}");
        }
    }
    assert_eq!(routes.count(), 5);
    let unread = given.ok(("GET", "/messages/unread/user/4"), "").await;
    assert_eq!(unread["unread"], 1, "nothing was receipted");
}
