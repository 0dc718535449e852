//! The operator's routes, asked through the door, on a real store.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::sessions::SHOWN_MESSAGES;
use super::*;
use crate::app::testing::{Composed, keys_of};
use crate::auth::testing::operator;
use crate::config::Console;
use crate::config::limits::console::{SHOWN_BYTES, WATCHES};

fn publishing() -> Composed {
    Composed::tuned(|settings| {
        settings.console = Some(Console {
            publish: true,
            ..Console::default()
        });
    })
}

async fn create(given: &Composed, path: &str) -> Value {
    given.ok(("POST", &format!("/create/{path}")), "").await["session"].take()
}

async fn get(given: &Composed, path: &str) -> Value {
    given.ok(("GET", path), "").await
}

/// What must be refused: the status and the code.
async fn refused(given: &Composed, line: (&str, &str), body: &str) -> (u16, String) {
    let answer = given.rest(&operator(), line, body).await;
    let code = answer.json()["code"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    (answer.status, code)
}

fn names(listed: &Value) -> Vec<String> {
    let sessions = listed["sessions"].as_array().unwrap().iter();
    let name = |session: &Value| session["sessionId"].as_str().unwrap().to_owned();
    sessions.map(name).collect()
}

#[test]
fn every_route_is_in_the_document_and_nothing_else() {
    let document = serde_json::to_value(document()).unwrap();
    let mut described = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert_eq!(operation["security"], json!([{"sigv4": []}]), "{path}");
            described.insert((path.clone(), method.to_uppercase()));
        }
    }
    let routes = ADMIN_ROUTES.iter();
    let served = routes.map(|route| (route.path.to_owned(), route.methods[0].to_string()));
    assert_eq!(described, served.collect());
}

#[actix::test]
async fn the_document_has_them_under_names_of_their_own() {
    let given = Composed::new();
    let document = get(&given, "/openapi.json").await;
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap().to_owned();
            assert!(ids.insert(id), "{method} {path}: an id that is there twice");
        }
    }
    assert!(ids.contains("admin_trace"), "{ids:?}");
    let without = Composed::tuned(|settings| settings.console = None);
    let document = get(&without, "/openapi.json").await;
    assert!(document["paths"]["/admin"].is_null());
}

#[actix::test]
async fn sessions_are_found_by_what_is_known_of_them_page_by_page() {
    let given = Composed::new();
    for path in ["1/a/7", "1/b/7", "2/a/8", "2/c"] {
        create(&given, path).await;
    }
    for (query, expect) in [
        ("", vec!["a", "b", "a", "c"]),
        ("?user=7", vec!["a", "b"]),
        ("?user=7&session=b", vec!["b"]),
        ("?user=7&account=2", vec![]),
        ("?user=9", vec![]),
        ("?session=a", vec!["a", "a"]),
        ("?session=a&account=2", vec!["a"]),
        ("?account=2", vec!["a", "c"]),
    ] {
        let listed = get(&given, &format!("/admin/sessions{query}")).await;
        assert_eq!(names(&listed), expect, "{query}");
        assert_eq!(listed["nextToken"], Value::Null, "{query}");
        let mut paged = Vec::new();
        let mut next = String::new();
        let sign = if query.is_empty() { "?" } else { "&" };
        while paged.len() < 10 {
            let path = format!("/admin/sessions{query}{sign}limit=1{next}");
            let page = get(&given, &path).await;
            paged.extend(names(&page));
            match page["nextToken"].as_str() {
                Some(token) => next = format!("&nextToken={token}"),
                None => break,
            }
        }
        assert_eq!(paged, expect, "{query}, one at a time");
    }
    for (path, code) in [
        ("/admin/sessions?user=x", 400),
        ("/admin/sessions?limit=0", 400),
        ("/admin/sessions?nextToken=!", 400),
        ("/admin/sessions/1/nobody", 404),
        ("/admin/sessions/x/a", 400),
    ] {
        assert_eq!(refused(&given, ("GET", path), "").await.0, code, "{path}");
    }
    let beyond = format!("/admin/sessions?limit={}", RESULTS + 1);
    assert_eq!(refused(&given, ("GET", &beyond), "").await.0, 400);
    let most = format!("/admin/sessions?limit={}", RESULTS);
    assert_eq!(names(&get(&given, &most).await).len(), 4);
}

#[actix::test]
async fn a_listing_has_so_many_unless_it_is_asked_for_more() {
    let given = Composed::tuned(|settings| settings.sessions.most = 1000);
    for n in 0..=RESULTS_DEFAULT {
        create(&given, &format!("1/s{n}")).await;
    }
    let listed = get(&given, "/admin/sessions").await;
    assert_eq!(names(&listed).len(), RESULTS_DEFAULT);
    assert!(listed["nextToken"].is_string());
}

#[actix::test]
async fn a_session_is_shown_with_its_queue_and_without_its_secrets() {
    let given = Composed::new();
    let session = create(&given, "1/a/7").await;
    given.ok(("POST", "/notify/user/7"), r#"{"n":1}"#).await;
    given.ok(("POST", "/notify/user/7"), r#"{"n":2}"#).await;
    let receive = json!({ "QueueUrl": session["sqsUrl"], "VisibilityTimeout": 60 });
    given
        .sqs(&keys_of(&session), "ReceiveMessage", &receive)
        .await;

    let shown = get(&given, "/admin/sessions/1/a").await;
    let text = shown.to_string();
    for secret in ["secretKey", "sessionToken", "aesKey"] {
        let secret = session[secret].as_str().unwrap();
        assert!(!text.contains(secret), "{text}");
    }
    assert_eq!(shown["session"]["accessKey"], session["accessKey"]);
    assert_eq!(shown["session"]["expires"], session["expires"]);
    let queue = &shown["queue"];
    let counts = ["visible", "inFlight", "delayed", "waiting"].map(|name| queue[name].as_u64());
    assert_eq!(counts, [Some(1), Some(1), Some(0), Some(0)], "{queue}");
    let first = queue["first"].as_array().unwrap();
    let state = |n: usize| {
        (
            first[n]["state"].as_str(),
            first[n]["receiveCount"].as_u64(),
        )
    };
    assert_eq!(state(0), (Some("in flight"), Some(1)));
    assert_eq!(state(1), (Some("visible"), Some(0)));
    assert!(first[0]["beginning"].as_str().unwrap().contains(r#""n":1"#));
    // Looking changes nothing.
    assert_eq!(get(&given, "/admin/sessions/1/a").await["queue"], *queue);
    assert_eq!(shown["connections"], json!([]));
}

#[actix::test]
async fn of_a_queue_the_beginning_is_shown() {
    let given = Composed::new();
    create(&given, "1/a/7").await;
    let long = json!({ "text": "x".repeat(2 * SHOWN_BYTES) }).to_string();
    for _ in 0..=SHOWN_MESSAGES {
        given.ok(("POST", "/notify/user/7"), &long).await;
    }
    let queue = get(&given, "/admin/sessions/1/a").await["queue"].take();
    assert_eq!(queue["visible"], SHOWN_MESSAGES + 1);
    let first = queue["first"].as_array().unwrap();
    assert_eq!(first.len(), SHOWN_MESSAGES);
    let shown = first[0]["beginning"].as_str().unwrap().len();
    assert_eq!(shown, SHOWN_BYTES);
    assert!(first[0]["bytes"].as_u64().unwrap() > 2 * SHOWN_BYTES as u64);
}

/// What is known of a message: the steps' names, each with the session if it has one.
async fn steps(given: &Composed, message: &str) -> Vec<String> {
    let trace = get(given, &format!("/admin/traces/{message}")).await;
    let steps = trace["steps"].as_array().unwrap().iter();
    let mut times = steps.clone().map(|step| step["at"].as_f64().unwrap());
    assert!(
        times.all(|at| at > 1.7e12),
        "milliseconds since the epoch: {trace}"
    );
    let name = |step: &Value| {
        let what = step["what"].as_str().unwrap().to_owned();
        let via = step["via"].as_str().map(|via| format!(" by {via}"));
        what + &via.unwrap_or_default()
    };
    steps.map(name).collect()
}

#[actix::test]
async fn a_message_is_followed_from_its_acceptance_to_its_receipt() {
    let given = Composed::new();
    let session = create(&given, "1/a/7").await;
    create(&given, "1/b/8").await;
    given
        .ok(("POST", "/notify/user/7"), r#"{"messageId":"before"}"#)
        .await;
    let watched = given.ok(("POST", "/admin/traces"), r#"{"userId":7}"#).await;
    assert_eq!(watched["watches"][0]["userId"], 7);
    for (path, id) in [
        ("user/7", "mine"),
        ("user/8", "another's"),
        ("account/1", "all"),
    ] {
        let body = json!({ "messageId": id }).to_string();
        given.ok(("POST", &format!("/notify/{path}")), &body).await;
    }
    let receive = json!({ "QueueUrl": session["sqsUrl"], "MaxNumberOfMessages": 10 });
    let keys = keys_of(&session);
    let received = given.sqs(&keys, "ReceiveMessage", &receive).await.json();
    for message in received["Messages"].as_array().unwrap() {
        let handle = json!({
            "QueueUrl": session["sqsUrl"], "ReceiptHandle": message["ReceiptHandle"],
        });
        given.sqs(&keys, "DeleteMessage", &handle).await;
    }
    get(&given, "/messages/set-read/user/7/message/mine").await;

    let all = [
        "accepted",
        "stored",
        "handed out by sqs",
        "acknowledged by sqs",
        "read",
    ];
    assert_eq!(steps(&given, "mine").await, all);
    assert_eq!(steps(&given, "all").await, all[..4]);
    for id in ["before", "another's", "never"] {
        let path = format!("/admin/traces/{}", id.replace('\'', "%27"));
        assert_eq!(refused(&given, ("GET", &path), "").await.0, 404, "{id}");
    }
    let listed = get(&given, "/admin/traces").await;
    // The receipt itself is a message to the user's sessions, too, but takes another way.
    let ids: Vec<_> = listed["traces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| &t["messageId"])
        .collect();
    assert_eq!(ids, ["all", "mine"]);
    assert_eq!(listed["traces"][1]["last"]["what"], "read");
}

#[actix::test]
async fn what_is_refused_is_followed_to_its_end() {
    let given = Composed::tuned(|settings| settings.session_queue_limit = 1);
    create(&given, "1/a/7").await;
    given.ok(("POST", "/admin/traces"), "").await;
    given
        .ok(("POST", "/notify/user/7"), r#"{"messageId":"fits"}"#)
        .await;
    let body = r#"{"messageId":"full"}"#;
    assert_eq!(
        refused(&given, ("POST", "/notify/user/7"), body).await.0,
        429
    );
    assert_eq!(steps(&given, "full").await, ["accepted", "refused"]);
}

#[actix::test]
async fn watches_are_bounded() {
    let given = Composed::new();
    for wrong in [
        json!({ "seconds": 0 }),
        json!({ "seconds": traces::WATCH_S + 1 }),
        json!({ "sessionId": "" }),
        json!({ "other": 1 }),
        json!([]),
    ] {
        let line = ("POST", "/admin/traces");
        assert_eq!(
            refused(&given, line, &wrong.to_string()).await.0,
            400,
            "{wrong}"
        );
    }
    let before = given.clock().now().millis();
    let unless = given.ok(("POST", "/admin/traces"), "").await;
    let until = unless["watches"][0]["until"].as_u64().unwrap();
    let seconds = (until - before) / 1000;
    assert!((traces::WATCH_DEFAULT_S - 1..=traces::WATCH_DEFAULT_S + 1).contains(&seconds));
    for user in 1..WATCHES {
        let body = json!({ "userId": user, "seconds": traces::WATCH_S }).to_string();
        given.ok(("POST", "/admin/traces"), &body).await;
    }
    let more = refused(&given, ("POST", "/admin/traces"), r#"{"userId":0}"#).await;
    assert_eq!(more, (429, "LimitExceededException".into()));
}

#[actix::test]
async fn test_messages_are_refused_unless_the_configuration_allows_them() {
    let message = r#"{"userId":7,"message":{"text":"test"}}"#;
    let given = Composed::new();
    create(&given, "1/a/7").await;
    let answer = refused(&given, ("POST", "/admin/messages"), message).await;
    assert_eq!(answer, (409, "ReadOnlyException".into()));
    assert_eq!(get(&given, "/admin").await["mayPublish"], false);
    let queue = get(&given, "/admin/sessions/1/a").await["queue"].take();
    assert_eq!(queue["visible"], 0);
}

#[actix::test]
async fn test_messages_are_followed_whatever_else_is() {
    let given = publishing();
    create(&given, "1/a/7").await;
    let about = get(&given, "/admin").await;
    assert_eq!(
        (&about["mayPublish"], &about["sessions"]),
        (&json!(true), &json!(1))
    );
    let message = r#"{"userId":7,"message":{"text":"test"}}"#;
    let sent = given.ok(("POST", "/admin/messages"), message).await;
    assert_eq!(sent["reached"], 1);
    let id = sent["messageId"].as_str().unwrap();
    assert_eq!(steps(&given, id).await, ["accepted", "stored"]);
    let history = get(&given, "/messages/user/7").await;
    assert_eq!(history["messages"][0]["text"], "test");

    let own = r#"{"sessionId":"a","message":{"messageId":"own"}}"#;
    assert_eq!(
        given.ok(("POST", "/admin/messages"), own).await["messageId"],
        "own"
    );

    let topic = r#"{"topic":"a/b","qos":1,"message":[1,"two"]}"#;
    let sent = given.ok(("POST", "/admin/messages"), topic).await;
    assert_eq!(sent["reached"], 0);
    let id = sent["messageId"].as_str().unwrap();
    assert_eq!(steps(&given, id).await, ["accepted", "published"]);
    for wrong in [
        r#"{"topic":"a/#","message":1}"#,
        r#"{"topic":"$aws/x","message":1}"#,
        r#"{"topic":"a","qos":2,"message":1}"#,
        r#"{"topic":"a","userId":7,"message":1}"#,
        r#"{"userId":7,"message":[1]}"#,
        r#"{"userId":"7","message":{}}"#,
        r#"{"message":{"#,
        r#"{"to":7,"message":{}}"#,
        "",
    ] {
        let line = ("POST", "/admin/messages");
        assert_eq!(refused(&given, line, wrong).await.0, 400, "{wrong}");
    }
    let long = json!({ "topic": "a", "message": "x".repeat(1 << 20) }).to_string();
    let long = refused(&given, ("POST", "/admin/messages"), &long).await;
    assert_eq!(long, (413, "RequestEntityTooLargeException".into()));
}

#[actix::test]
async fn topics_are_listed_where_there_are_any() {
    let given = Composed::new();
    let listed = get(&given, "/admin/topics").await;
    assert_eq!(
        (&listed["topics"], &listed["complete"]),
        (&json!([]), &json!(true))
    );
    let who = get(&given, "/admin/subscribers?filter=a/%23").await;
    assert_eq!((&who["filter"], &who["total"]), (&json!("a/#"), &json!(0)));
    for wrong in [
        "/admin/subscribers",
        "/admin/subscribers?filter=a/%23/b",
        "/admin/topics?nextToken=!",
    ] {
        assert_eq!(refused(&given, ("GET", wrong), "").await.0, 400, "{wrong}");
    }
    let without = Composed::tuned(|settings| settings.mqtt = None);
    for path in ["/admin/topics", "/admin/subscribers?filter=a"] {
        assert_eq!(refused(&without, ("GET", path), "").await.0, 404, "{path}");
    }
    assert_eq!(get(&without, "/admin").await["mqtt"], false);
}
