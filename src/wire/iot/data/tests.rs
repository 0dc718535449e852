//! Publishing and reading over HTTP, through the door.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::app::testing::{Answer, Composed, keys_of};
use crate::auth::testing::{guest, operator, signed};
use crate::config::limits::iot::RETAINED_RESULTS;
use crate::domain::session::Credentials;

async fn ask(
    given: &Composed,
    keys: &Credentials,
    line: (&str, &str),
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let headers = signed(keys, "iotdata", line, headers, body);
    given.send(line, &headers, body).await
}

async fn refused(given: &Composed, keys: &Credentials, line: (&str, &str), status: u16) {
    let answer = ask(given, keys, line, &[], b"x").await;
    assert_eq!(answer.status, status, "{line:?} {}", answer.text);
    assert!(answer.headers.contains_key("x-amzn-errortype"), "{line:?}");
}

async fn retained(given: &Composed, topic: &str) -> String {
    let line = ("GET", format!("/retainedMessage/{topic}"));
    let answer = ask(given, &operator(), (line.0, &line.1), &[], b"").await;
    if answer.status == 404 {
        return "none".into();
    }
    assert_eq!(answer.status, 200, "{}", answer.text);
    let payload = answer.json()["payload"].as_str().unwrap().to_owned();
    String::from_utf8(STANDARD.decode(payload).unwrap()).unwrap()
}

#[actix::test]
async fn a_topic_is_what_the_path_says_with_its_slashes_escaped_or_not() {
    let given = Composed::new();
    for (sent, asked) in [
        ("a/b", "a%2Fb"),
        ("a%2Fb%20c%2F%C3%A9", "a/b%20c/%C3%A9"),
        ("end/", "end%2F"),
        ("%2Fserverless%2Fpubsub", "%2Fserverless%2Fpubsub"),
        ("a+b%252F", "x"),
    ] {
        let target = format!("/topics/{sent}?qos=1&retain=true");
        let line = ("POST", target.as_str());
        let answer = ask(&given, &operator(), line, &[], sent.as_bytes()).await;
        let is_valid = !sent.contains('+');
        assert_eq!(answer.status, if is_valid { 200 } else { 400 }, "{sent}");
        let expect = if is_valid { sent } else { "none" };
        assert_eq!(retained(&given, asked).await, expect);
    }
    // `end` is another topic than `end/`.
    assert_eq!(retained(&given, "end").await, "none");
}

/// boto3 sends no content type, and then a body is looked at to see whether it is for a Query protocol.
#[actix::test]
async fn a_payload_may_look_like_a_request() {
    let given = Composed::new();
    for payload in [
        "Action=ListQueues&Version=2012-11-05",
        "Action=GetCallerIdentity&Version=2011-06-15",
    ] {
        let line = ("POST", "/topics/a?qos=1&retain=true");
        let answer = ask(&given, &operator(), line, &[], payload.as_bytes()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(retained(&given, "a").await, payload);
    }
}

#[actix::test]
async fn what_is_wrong_is_refused_and_changes_nothing() {
    let given = Composed::new();
    for target in [
        "/topics/a?retain=true&qos=2",
        "/topics/a?retain=yes",
        "/topics/a?retain=true&messageExpiry=0",
        "/topics/a?retain=true&messageExpiry=-1",
        "/topics/a?retain=true&responseTopic=%23",
        "/topics/%24aws%2Fx?retain=true",
        "/topics/sessions%2Fx?retain=true",
        "/topics/a%2F%23?retain=true",
        "/topics/%FF?retain=true",
    ] {
        refused(&given, &operator(), ("POST", target), 400).await;
    }
    let user = "x-amz-mqtt5-user-properties";
    let base64 = |text: &str| STANDARD.encode(text);
    for (name, value) in [
        ("x-amz-mqtt5-payload-format-indicator", "UTF8".into()),
        ("x-amz-mqtt5-correlation-data", "%".into()),
        (user, "%".into()),
        (user, base64("{}")),
        (user, base64("[{\"a\":1}]")),
        (user, base64("\"\\\"\\\"\"")),
    ] {
        let line = ("POST", "/topics/a?retain=true");
        let answer = ask(&given, &operator(), line, &[(name, &value)], b"x").await;
        assert_eq!(answer.status, 400, "{name} {value} {}", answer.text);
    }
    let long = vec![b'x'; 262_145];
    let line = ("POST", "/topics/a?retain=true");
    let answer = ask(&given, &operator(), line, &[], &long).await;
    assert_eq!(answer.status, 413, "{}", answer.text);
    assert_eq!(retained(&given, "a").await, "none");
}

#[actix::test]
async fn everyone_may_do_what_their_policy_says() {
    let given = Composed::new();
    let guest = guest(given.authenticator());
    let created = given.ok(("POST", "/create/7/s?topics=room/%2B"), "").await;
    let session = keys_of(&created["session"]);
    let publish = |topic: &str| format!("/topics/{topic}");
    for (keys, allowed, denied) in [
        (&guest, "%2Fgame%2Fx", "room"),
        (&session, "room/1", "game"),
    ] {
        let answer = ask(&given, keys, ("POST", &publish(allowed)), &[], b"x").await;
        assert_eq!(answer.status, 200, "{allowed} {}", answer.text);
        refused(&given, keys, ("POST", &publish(denied)), 403).await;
        refused(&given, keys, ("GET", "/retainedMessage"), 403).await;
        refused(&given, keys, ("GET", "/retainedMessage/denied"), 403).await;
    }
    let anonymous = [("host".to_owned(), crate::auth::testing::HOST.to_owned())];
    let answer = given.send(("POST", "/topics/a"), &anonymous, b"x").await;
    assert_eq!(answer.status, 403);
}

#[actix::test]
async fn retained_messages_are_listed_page_by_page() {
    let given = Composed::new();
    for topic in ["c", "a", "b"] {
        let line = ("POST", format!("/topics/{topic}?retain=true&qos=1"));
        ask(&given, &operator(), (line.0, &line.1), &[], b"xyz").await;
    }
    let mut target = "/retainedMessage?maxResults=2".to_owned();
    let mut found = Vec::new();
    loop {
        let answer = ask(&given, &operator(), ("GET", &target), &[], b"").await;
        let body = answer.json();
        for message in body["retainedTopics"].as_array().unwrap() {
            assert_eq!(
                (&message["payloadSize"], &message["qos"]),
                (&3.into(), &1.into())
            );
            found.push(message["topic"].as_str().unwrap().to_owned());
        }
        let Some(token) = body["nextToken"].as_str() else {
            break;
        };
        target = format!("/retainedMessage?maxResults=2&nextToken={token}");
    }
    assert_eq!(found, ["a", "b", "c"]);
    for target in ["?maxResults=0", "?maxResults=201", "?nextToken=%25"] {
        let target = format!("/retainedMessage{target}");
        refused(&given, &operator(), ("GET", &target), 400).await;
    }
}

#[actix::test]
async fn a_page_of_retained_messages_has_a_bound() {
    let given = Composed::new();
    let publish = (0..=RETAINED_RESULTS).map(|number| {
        let target = format!("/topics/{number:03}?retain=true&qos=1");
        let given = &given;
        async move { ask(given, &operator(), ("POST", &target), &[], b"x").await }
    });
    for answer in futures_util::future::join_all(publish).await {
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    let mut target = "/retainedMessage".to_owned();
    for (count, last) in [(RETAINED_RESULTS, "199"), (1, "200")] {
        let page = ask(&given, &operator(), ("GET", &target), &[], b"")
            .await
            .json();
        let topics = page["retainedTopics"].as_array().unwrap();
        assert_eq!(topics.len(), count);
        assert_eq!(topics[count - 1]["topic"], last);
        let token = page["nextToken"].as_str().unwrap_or_default();
        assert_eq!(token.is_empty(), count == 1);
        target = format!("/retainedMessage?nextToken={token}");
    }
}
