//! The routes, asked through the door, on a real store.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::app::testing::{ACCOUNT, Composed, MOST_SESSIONS, keys_of};
use crate::auth::testing::{HOST, operator};
use crate::config::limits;

/// A path's shape: parameters are all alike.
fn shape(path: &str) -> String {
    let segments = path.split('/');
    let segments = segments.map(|segment| match segment.starts_with('{') {
        true => "{}",
        false => segment,
    });
    segments.collect::<Vec<_>>().join("/")
}

#[test]
fn every_form_of_every_route_is_in_the_document_and_nothing_else() {
    let document: Value = serde_json::to_value(openapi::build()).unwrap();
    let mut described = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let wanted: BTreeSet<_> = path.split(['{', '}']).skip(1).step_by(2).collect();
        for (method, operation) in item.as_object().unwrap() {
            assert!(described.insert((shape(path), method.to_uppercase())));
            let id = operation["operationId"].as_str().unwrap().to_owned();
            assert!(ids.insert(id), "{path} {method}: an id that is there twice");
            let given = operation["parameters"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let given: BTreeSet<_> = given
                .iter()
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect();
            assert_eq!(given, wanted, "{path} {method}");
            assert_eq!(operation["security"], json!([{"sigv4": []}]), "{path}");
            let bodiless = method != "get" || operation["requestBody"].is_null();
            assert!(bodiless, "{path}: GET has no body");
        }
    }
    let served: BTreeSet<_> = ROUTES
        .iter()
        .flat_map(|route| {
            let methods = route.methods.iter();
            methods.map(|method| (shape(route.path), method.to_string()))
        })
        .collect();
    assert_eq!(described, served);
}

#[actix::test]
async fn a_session_is_created_shown_renewed_and_destroyed() {
    let given = Composed::new();
    let created = given.ok(("POST", "/create/7/abc/3"), "").await;
    let session = &created["session"];
    assert_eq!(created["success"], true);
    assert_eq!(
        (
            &session["accountId"],
            &session["userId"],
            &session["sessionId"]
        ),
        (&json!(7), &json!(3), &json!("abc"))
    );
    let name = session["sqsQueueName"].as_str().unwrap();
    assert_eq!(session["sqsUrl"], format!("http://{HOST}/{ACCOUNT}/{name}"));
    assert!(name.len() <= 80 && !name.contains("abc"), "{name}");

    // Either order, either method, and the same session.
    for line in [
        ("GET", "/status/7/abc/3"),
        ("GET", "/status/7/3/abc"),
        ("POST", "/status/7/abc"),
    ] {
        let shown = given.ok(line, "").await;
        assert_eq!(shown["session"]["sqsQueueName"], name, "{line:?}");
    }
    let refreshed = given.ok(("GET", "/create/7/3/abc"), "").await;
    let renewed = given.ok(("GET", "/renew/7/abc/3"), "").await;
    let mut keys = BTreeSet::new();
    for described in [&created, &refreshed, &renewed] {
        assert_eq!(described["session"]["aesKey"], session["aesKey"]);
        assert_eq!(described["session"]["sqsUrl"], session["sqsUrl"]);
        assert!(keys.insert(described["session"]["accessKey"].to_string()));
    }
    let listed = given.ok(("GET", "/status"), "").await;
    assert_eq!(listed["sessions"].as_array().unwrap().len(), 1);

    let gone = given.ok(("GET", "/destroy/7/abc/3"), "").await;
    assert_eq!(gone, json!({"success": true}));
    let nothing = json!({"success": false, "message": "session not found"});
    for line in [("POST", "/destroy/7/abc/3"), ("POST", "/renew/7/abc")] {
        assert_eq!(given.ok(line, "").await, nothing, "{line:?}");
    }
    let shown = given.ok(("GET", "/status/7/abc"), "").await;
    assert_eq!(shown, json!({"success": true, "session": null}));
    let cleaned = given.ok(("GET", "/cleanup"), "").await;
    assert_eq!(cleaned, json!({"success": true, "queues_removed": 0}));
}

#[actix::test]
async fn all_sessions_are_listed_in_pages_and_at_once() {
    let given = Composed::new();
    for session in ["a", "b", "c"] {
        given
            .ok(("POST", &format!("/create/7/{session}")), "")
            .await;
    }
    let names = |listed: &Value| -> Vec<String> {
        let sessions = listed["sessions"].as_array().unwrap().iter();
        sessions
            .map(|session| session["sessionId"].as_str().unwrap().to_owned())
            .collect()
    };
    let first = given.ok(("GET", "/status?limit=2"), "").await;
    assert_eq!(names(&first), ["a", "b"]);
    let next = first["nextToken"].as_str().unwrap();
    let second = given
        .ok(("GET", &format!("/status?limit=2&nextToken={next}")), "")
        .await;
    assert_eq!(
        (names(&second), &second["nextToken"]),
        (vec!["c".into()], &Value::Null)
    );
    assert_eq!(
        names(&given.ok(("GET", "/status"), "").await),
        ["a", "b", "c"]
    );
}

/// How many messages each session's queue has got.
async fn counts(given: &Composed, sessions: &[Value]) -> Vec<u64> {
    let mut counts = Vec::new();
    for session in sessions {
        let ask = json!({
            "QueueUrl": session["sqsUrl"], "AttributeNames": ["ApproximateNumberOfMessages"],
        });
        let keys = keys_of(session);
        let answer = given.sqs(&keys, "GetQueueAttributes", &ask).await.json();
        let count = &answer["Attributes"]["ApproximateNumberOfMessages"];
        counts.push(count.as_str().unwrap().parse().unwrap());
    }
    counts
}

#[actix::test]
async fn each_target_gets_its_own() {
    let given = Composed::new();
    let mut sessions = Vec::new();
    for path in [
        "/create/1/a/10",
        "/create/1/b/10",
        "/create/1/c/11",
        "/create/2/a/10",
    ] {
        sessions.push(given.ok(("POST", path), "").await["session"].take());
    }
    let mut before = counts(&given, &sessions).await;
    for (path, expect) in [
        ("/notify", [1, 1, 1, 1]),
        ("/notify/1", [1, 1, 1, 0]),
        ("/notify/account/2", [0, 0, 0, 1]),
        ("/notify/user/10", [1, 1, 0, 1]),
        ("/notify/1/user/10", [1, 1, 0, 0]),
        ("/notify/user/10/session/a", [1, 0, 0, 1]),
        ("/notify/1/user/10/session/a", [1, 0, 0, 0]),
        ("/notify/3", [0, 0, 0, 0]),
        ("/notify/user/12", [0, 0, 0, 0]),
    ] {
        for (line, body) in [
            (("POST", path.to_owned()), r#"{"n":1}"#),
            (("GET", format!("{path}?n=1")), ""),
        ] {
            let answer = given.ok((line.0, &line.1), body).await;
            let after = counts(&given, &sessions).await;
            let got = after
                .iter()
                .zip(&before)
                .map(|(after, before)| after - before);
            assert_eq!(got.collect::<Vec<_>>(), expect, "{line:?}");
            before = after;
            let reached = expect.iter().sum::<u64>();
            assert_eq!(answer["sessions"], reached, "{line:?}");
            let urls = answer["sqsUrls"].as_array().unwrap();
            assert_eq!(urls.len() as u64, reached, "{line:?}");
        }
    }
}

#[actix::test]
async fn history_is_paged_filtered_and_receipted() {
    let given = Composed::new();
    let session = given.ok(("POST", "/create/7/s/3"), "").await["session"].take();
    for n in 0..5 {
        let kind = if n % 2 == 0 { "even" } else { "odd" };
        let message = json!({"messageId": format!("m{n}"), "_type": kind, "n": n});
        given
            .ok(("POST", "/notify/user/3"), &message.to_string())
            .await;
    }
    given
        .ok(
            ("POST", "/notify/user/3"),
            r#"{"_sqs_only":0,"messageId":"not kept"}"#,
        )
        .await;
    let ids = |page: &Value| -> Vec<String> {
        let messages = page["messages"].as_array().unwrap().iter();
        messages
            .map(|m| m["messageId"].as_str().unwrap().to_owned())
            .collect()
    };
    let all = given.ok(("GET", "/messages/user/3"), "").await;
    assert_eq!(ids(&all), ["m4", "m3", "m2", "m1", "m0"]);
    let first = given.ok(("GET", "/messages/user/3?limit=3"), "").await;
    let next = format!(
        "/messages/user/3?nextToken={}",
        first["nextToken"].as_str().unwrap()
    );
    assert_eq!(ids(&given.ok(("GET", &next), "").await), ["m1", "m0"]);
    let odd = given
        .ok(("GET", "/messages/user/3?_type=odd,none"), "")
        .await;
    assert_eq!(ids(&odd), ["m3", "m1"]);
    let at = all["messages"][2]["created"].to_string();
    let window = format!("/messages/user/3?start={at}&end={at}");
    assert_eq!(ids(&given.ok(("GET", &window), "").await), ["m2"]);

    let receipt = |ids: &[&str]| json!({"success": true, "messages_receipted": ids});
    let set_read = "/messages/set-read/user/3";
    for (line, body, expect) in [
        (
            ("GET", format!("{set_read}/message/m0,nope")),
            "",
            receipt(&["m0"]),
        ),
        (
            ("POST", set_read.to_owned()),
            r#"["m1","m0"]"#,
            receipt(&["m1"]),
        ),
        (("GET", format!("{set_read}/asof/1")), "", receipt(&[])),
    ] {
        assert_eq!(given.ok((line.0, &line.1), body).await, expect, "{line:?}");
    }
    let unread = given.ok(("GET", "/messages/unread/user/3"), "").await;
    assert_eq!(unread, json!({"success": true, "unread": 3}));
    let later = given
        .ok(("GET", &format!("{set_read}/message/m2,m3,m4?async")), "")
        .await;
    assert_eq!(later, json!({"success": true}));
    for _ in 0..500 {
        let unread = given.ok(("GET", "/messages/unread/user/3"), "").await;
        if unread["unread"] == 0 {
            // Six messages, and a receipt for each call that changed something.
            assert_eq!(counts(&given, &[session]).await, [9]);
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("promised receipts were not made");
}

/// Refused with this status, and the text names this.
async fn check_refused(given: &Composed, line: (&str, &str), body: &str, status: u16, names: &str) {
    let answer = given.rest(&operator(), line, body).await;
    let case = format!("{line:?} {} {answer:?}", &body[..body.len().min(80)]);
    assert_eq!(answer.status, status, "{case}");
    let told = answer.json();
    assert_eq!(told["success"], false, "{case}");
    assert!(told["message"].as_str().unwrap().contains(names), "{case}");
    let code = told["code"].as_str().unwrap();
    assert_eq!(
        answer.headers.get("x-amzn-errortype").unwrap(),
        code,
        "{case}"
    );
    let temporary = [429, 503].contains(&status);
    assert_eq!(
        answer.headers.contains_key("retry-after"),
        temporary,
        "{case}"
    );
}

#[actix::test]
async fn what_is_wrong_is_named_and_changes_nothing() {
    let given = Composed::new();
    let longest = "s".repeat(257);
    let topics = vec!["t"; limits::SESSION_TOPICS + 1].join(",");
    let topic = "t".repeat(limits::TOPIC_FILTER_BYTES + 1);
    for (path, names) in [
        ("/create/x/s".to_owned(), "accountId"),
        ("/create/9223372036854775808/s".to_owned(), "accountId"),
        ("/create/7/s/t".to_owned(), "userId"),
        (format!("/create/7/{longest}"), "sessionId"),
        (
            "/create/7/s?MessageRetentionPeriod=59".to_owned(),
            "MessageRetentionPeriod",
        ),
        (
            "/create/7/s?MessageRetentionPeriod=1209601".to_owned(),
            "MessageRetentionPeriod",
        ),
        (
            "/create/7/s?MessageRetentionPeriod=x".to_owned(),
            "MessageRetentionPeriod",
        ),
        ("/create/7/s?envelope=v3".to_owned(), "envelope"),
        ("/create/7/s?envelope=v1&envelope=v1".to_owned(), "envelope"),
        (format!("/create/7/s?topics={topics}"), "topics"),
        (format!("/create/7/s?topics={topic}"), "topics"),
        ("/status?limit=0".to_owned(), "limit"),
        (
            format!("/status?limit={}", limits::STATUS_PAGE + 1),
            "limit",
        ),
        ("/status?nextToken=x".to_owned(), "nextToken"),
        ("/notify/x".to_owned(), "accountId"),
        ("/notify/user/x".to_owned(), "userId"),
        ("/messages/user/x".to_owned(), "userId"),
        ("/messages/user/3?limit=0".to_owned(), "limit"),
        (
            format!("/messages/user/3?limit={}", limits::HISTORY_PAGE + 1),
            "limit",
        ),
        ("/messages/user/3?start=x".to_owned(), "start"),
        ("/messages/user/3?end=-1".to_owned(), "end"),
        ("/messages/user/3?nextToken=x".to_owned(), "nextToken"),
        ("/messages/set-read/user/3/asof/x".to_owned(), "asof"),
    ] {
        check_refused(&given, ("GET", &path), "", 400, names).await;
    }
    let sessions = given.ok(("GET", "/status"), "").await;
    assert_eq!(sessions["sessions"], json!([]));
}

/// JSON that is not what the route reads, or not JSON.
const NOT_AN_OBJECT: [&str; 12] = [
    "[]",
    "[60]",
    "null",
    "1",
    "\"x\"",
    "{",
    "{}{}",
    "{} x",
    "{\"a\":1,}",
    "{\"a\":NaN}",
    "{'a':1}",
    "\u{feff}{}",
];

#[actix::test]
async fn h4_bodies_are_read_strictly() {
    let given = Composed::new();
    let mut options = NOT_AN_OBJECT.to_vec();
    options.extend([
        r#"{"unknown":1}"#,
        r#"{"MessageRetentionPeriod":"60"}"#,
        r#"{"MessageRetentionPeriod":60.5}"#,
        r#"{"MessageRetentionPeriod":-60}"#,
        r#"{"MessageRetentionPeriod":60,"MessageRetentionPeriod":60}"#,
        r#"{"envelope":1}"#,
        r#"{"topics":"a"}"#,
        r#"{"topics":[1]}"#,
    ]);
    for body in options {
        check_refused(&given, ("POST", "/create/7/s"), body, 400, "").await;
    }
    for body in NOT_AN_OBJECT {
        check_refused(&given, ("POST", "/notify"), body, 400, "").await;
    }
    for body in [
        "", "{}", "null", "[1]", "[null]", "\"m\"", "[\"m\"", "[\"m\"]]",
    ] {
        let line = ("POST", "/messages/set-read/user/3");
        check_refused(&given, line, body, 400, "list").await;
    }
    let sessions = given.ok(("GET", "/status"), "").await;
    assert_eq!(sessions["sessions"], json!([]));
}

#[actix::test]
async fn limits_are_reached_and_not_passed() {
    let given = Composed::new();
    let filters = vec!["t"; limits::SESSION_TOPICS].join(",");
    let filter = "t".repeat(limits::TOPIC_FILTER_BYTES);
    let session = "s".repeat(256);
    for path in [
        format!("/create/1/{session}?topics={filters}"),
        format!("/create/2/s/3?topics={filter}"),
    ] {
        given.ok(("POST", &path), "").await;
    }

    // A message's length: what is posted, its id, and what the path adds.
    let around = r#"{"messageId":"m","text":""}"#.len() + r#","userId":3"#.len();
    let fits = "x".repeat(limits::MESSAGE_BYTES - around);
    let body = |text: &str| json!({"messageId": "m", "text": text}).to_string();
    let notify = ("POST", "/notify/user/3");
    given.ok(notify, &body(&fits)).await;
    check_refused(&given, notify, &body(&(fits + "x")), 413, "").await;

    let keys = |count: usize| {
        let keys: Vec<_> = (0..count).map(|key| format!("\"{key}\":1")).collect();
        format!("{{{}}}", keys.join(","))
    };
    // `userId` and `messageId` are added.
    given.ok(notify, &keys(limits::MESSAGE_KEYS - 2)).await;
    check_refused(&given, notify, &keys(limits::MESSAGE_KEYS + 1), 400, "").await;

    let ids = |count: usize| json!(vec!["m"; count]).to_string();
    let receipt = ("POST", "/messages/set-read/user/3");
    given.ok(receipt, &ids(limits::RECEIPT_IDS)).await;
    check_refused(
        &given,
        receipt,
        &ids(limits::RECEIPT_IDS + 1),
        400,
        "messageIds",
    )
    .await;
    given
        .ok(
            (
                "GET",
                &format!("/messages/user/3?limit={}", limits::HISTORY_PAGE),
            ),
            "",
        )
        .await;
    given
        .ok(
            ("GET", &format!("/status?limit={}", limits::STATUS_PAGE)),
            "",
        )
        .await;

    for n in 2..MOST_SESSIONS {
        given.ok(("POST", &format!("/create/9/{n}")), "").await;
    }
    check_refused(&given, ("POST", "/create/9/more"), "", 429, "session").await;
    given.ok(("POST", "/create/9/5"), "").await;
}

/// A request of a page: nobody signs it.
async fn page(given: &Composed, line: (&str, &str), body: Value) -> (u16, Value) {
    let headers = [("host".to_owned(), HOST.to_owned())];
    let body = body.to_string();
    let answer = given.send(line, &headers, body.as_bytes()).await;
    (answer.status, answer.json())
}

#[actix::test]
async fn whoever_signs_in_to_the_demos_is_who_they_say_and_keeps_the_session() {
    let given = Composed::tuned(|settings| settings.demo = true);
    let sign_in = |body| page(&given, ("POST", "/demo/session"), body);
    let (status, first) = sign_in(json!({"name": " Ada "})).await;
    assert_eq!(status, 200, "{first}");
    let ada = &first["session"];
    assert_eq!(
        (&ada["name"], &ada["envelope"]),
        (&json!("Ada"), &json!("gcm"))
    );
    assert!(ada["connectToken"].is_string());

    let (_, again) = sign_in(json!({"name": "Ada", "session": ada["sessionId"]})).await;
    assert_eq!(again["session"]["sqsUrl"], ada["sqsUrl"]);
    assert_ne!(again["session"]["accessKey"], ada["accessKey"]);
    let (_, other) = sign_in(json!({"name": "ada"})).await;
    assert_eq!(other["session"]["userId"], ada["userId"]);
    assert_ne!(other["session"]["sqsUrl"], ada["sqsUrl"]);

    let theirs = json!({"name": "Bob", "session": ada["sessionId"]});
    for wrong in [
        theirs,
        json!({"name": ""}),
        json!({}),
        json!([]),
        json!({"name": "x", "y": 1}),
    ] {
        let (status, refused) = sign_in(wrong.clone()).await;
        assert_eq!(
            (status, &refused["code"]),
            (400, &json!("ValidationException")),
            "{wrong}"
        );
    }
}

#[actix::test]
async fn a_direct_message_is_from_whoever_has_the_session() {
    let given = Composed::tuned(|settings| settings.demo = true);
    let (_, ada) = page(&given, ("POST", "/demo/session"), json!({"name": "Ada"})).await;
    let (_, bob) = page(&given, ("POST", "/demo/session"), json!({"name": "Bob"})).await;
    let ada = &ada["session"]["sessionId"];
    let notify = |body| page(&given, ("POST", "/demo/notify"), body);
    let (status, sent) = notify(json!({"session": ada, "to": "bob", "text": "hi"})).await;
    assert_eq!((status, &sent["sessions"]), (200, &json!(1)), "{sent}");
    let path = format!("/messages/user/{}", bob["session"]["userId"]);
    let history = given.ok(("GET", &path), "").await;
    let message = &history["messages"][0];
    assert_eq!(
        (&message["from"], &message["text"]),
        (&json!("Ada"), &json!("hi"))
    );

    let text = |length| "é".repeat(length);
    let most = demo::TEXT_CHARACTERS;
    let forged = ada.as_str().map(|id| id.replace("demo-", "demo-0"));
    for wrong in [
        json!({"session": ada, "to": "bob", "text": ""}),
        json!({"session": ada, "to": "bob", "text": text(most + 1)}),
        json!({"session": ada, "to": "", "text": "x"}),
        json!({"session": forged, "to": "bob", "text": "x"}),
        json!({"session": "demo-0123456789abcdef0123456789abcdef-416461", "to": "bob", "text": "x"}),
    ] {
        let (status, refused) = notify(wrong.clone()).await;
        assert_eq!(status, 400, "{wrong} {refused}");
    }
    let (status, _) = notify(json!({"session": ada, "to": "bob", "text": text(most)})).await;
    assert_eq!(status, 200);
}

#[actix::test]
async fn pages_are_there_with_the_demos_only_and_allow_nothing_foreign() {
    let given = Composed::tuned(|settings| settings.demo = true);
    let headers = [("host".to_owned(), HOST.to_owned())];
    for path in [
        "/",
        "/chat",
        "/game",
        "/compat",
        "/compat/dist/mqtt.js",
        "/client/fanfare.js",
        "/favicon.ico",
    ] {
        let answer = given.send(("GET", path), &headers, b"").await;
        assert_eq!(answer.status, 200, "{path}");
        let policy = answer.headers.get("content-security-policy").unwrap();
        let policy = policy.to_str().unwrap();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
        let tag = answer.headers.get("etag").unwrap().to_str().unwrap();
        let again = [
            headers[0].clone(),
            ("if-none-match".to_owned(), tag.to_owned()),
        ];
        let answer = given.send(("GET", path), &again, b"").await;
        assert_eq!((answer.status, answer.text.as_str()), (304, ""), "{path}");
    }
    for path in [
        "/chat/nothing.js",
        "/chat/README.md",
        "/compat/clients/mqtt.js",
        "/chat/..%2fCargo.toml",
        "/site/../Cargo.toml",
    ] {
        assert_eq!(
            given.send(("GET", path), &headers, b"").await.status,
            404,
            "{path}"
        );
    }
    let without = Composed::tuned(|settings| settings.demo = false);
    for line in [("GET", "/"), ("GET", "/chat"), ("POST", "/demo/session")] {
        assert_eq!(
            without.send(line, &headers, b"").await.status,
            404,
            "{line:?}"
        );
    }
}
