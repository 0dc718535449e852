//! Dispatch, limits, forms of refusals, headers of every answer.

use super::*;
use crate::domain::StoreError;

#[actix::test]
async fn every_answer_can_be_read_by_a_browser() {
    let given = given();
    let nothing = [
        Ask::of("GET", "/public"),
        Ask::of("GET", "/operator"),
        Ask::of("GET", "/nope"),
        Ask::of("DELETE", "/public"),
        Ask::of("GET", "/panics"),
        Ask::of("OPTIONS", "/anything/at?all"),
    ];
    for ask in &nothing {
        let answer = given.send(ask, &[]).await;
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        let exposed = answer.header("access-control-expose-headers");
        for name in ["x-amzn-RequestId", "x-amzn-query-error", "Date"] {
            assert!(exposed.contains(name), "{exposed}");
        }
        assert_eq!(answer.header("access-control-allow-credentials"), "");
        let id = answer.header("x-amzn-requestid");
        assert!(uuid::Uuid::try_parse(id).is_ok(), "{id}");
    }
}

#[actix::test]
async fn a_preflight_gets_what_it_asks_for() {
    let given = given();
    let mut ask = Ask::of("OPTIONS", "/operator");
    ask.headers = &[
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,x-amz-date"),
        ("origin", "https://example.com"),
    ];
    let answer = given.send(&ask, &ask.unsigned()).await;
    assert_eq!(answer.status, 200);
    let expect = [
        ("access-control-allow-methods", "POST"),
        ("access-control-allow-headers", "authorization,x-amz-date"),
        ("access-control-max-age", "172800"),
    ];
    for (name, value) in expect {
        assert_eq!(answer.header(name), value, "{name}");
    }
    assert!(
        answer
            .header("vary")
            .contains("Access-Control-Request-Headers")
    );
}

#[track_caller]
fn check_rest(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    let body: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
    assert_eq!(body["success"], false, "{body}");
    assert_eq!(body["code"], code, "{body}");
    assert!(body["message"].as_str().is_some_and(|m| !m.is_empty()));
    assert_eq!(answer.header("x-amzn-errortype"), code);
    assert_eq!(answer.header("content-type"), "application/json");
}

#[actix::test]
async fn rest_refusals_have_one_form() {
    let given = given();
    let long = format!("/public?{}", "x".repeat(8193));
    let big = [b'x'; 1001];
    let mut too_big = Ask::of("POST", "/public");
    too_big.body = &big;
    let mut target = Ask::of("POST", "/");
    target.headers = &[("x-amz-target", "Unheard.Of")];
    let cases = [
        (Ask::of("GET", "/nope"), 404, "NotFoundException"),
        (Ask::of("GET", "/operator/%zz"), 400, "ValidationException"),
        (Ask::of("PUT", "/public"), 405, "MethodNotAllowedException"),
        (Ask::of("GET", &long), 414, "RequestUriTooLongException"),
        (too_big, 413, "RequestEntityTooLargeException"),
        (target, 400, "UnknownOperationException"),
        (Ask::of("GET", "/panics"), 500, "InternalFailureException"),
        (
            Ask::of("GET", "/operator"),
            403,
            "MissingAuthenticationTokenException",
        ),
    ];
    for (ask, status, code) in &cases {
        let answer = given.send(ask, &ask.unsigned()).await;
        check_rest(&answer, *status, code);
        if *status == 405 {
            assert_eq!(answer.header("allow"), "GET, HEAD, OPTIONS, POST");
        }
        if *status == 403 {
            assert!(answer.body.contains("Missing Authentication Token"));
        }
    }
    assert_eq!(given.ran(), 0);
}

#[actix::test]
async fn a_failing_registry_is_a_503_worth_trying_again() {
    let given = given();
    *given.registry.failure.lock().unwrap() = Some(StoreError::Failed("disk".into()));
    let ask = Ask::of("GET", "/operator");
    let headers = ask.signed(&given.session.credentials, "execute-api");
    let answer = given.send(&ask, &headers).await;
    check_rest(&answer, 503, "ServiceUnavailableException");
    assert_eq!(answer.header("retry-after"), "1");
    assert!(!answer.body.contains("disk"), "{}", answer.body);
}

#[actix::test]
async fn rpc_requests_reach_their_wire_by_target_or_by_form() {
    let given = given();
    let mut by_target = Ask::of("POST", "/whatever/path");
    by_target.headers = &[("x-amz-target", "Echo.Open")];
    let mut by_form = Ask::of("POST", "/");
    by_form.headers = &[(
        "content-type",
        "application/x-www-form-urlencoded; charset=utf-8",
    )];
    by_form.body = b"Action=Open";
    let mut unnamed = Ask::of("POST", "/");
    unnamed.body = b"Action=Open";
    for ask in [&by_target, &by_form, &unnamed] {
        assert_eq!(given.send(ask, &ask.unsigned()).await.status, 200);
    }
    // JSON is not a form, whatever it begins with: this is for the REST routes.
    let mut json = Ask::of("POST", "/public");
    json.headers = &[("content-type", "application/json")];
    json.body = b"Action=Panic";
    assert_eq!(given.send(&json, &json.unsigned()).await.status, 200);
    assert_eq!(given.ran(), 4);
}

#[actix::test]
async fn rpc_refusals_take_the_form_of_the_wire() {
    let given = given();
    let big = [b'x'; 4097];
    let cases: [(&str, &[u8], u16, &str); 4] = [
        ("Echo.Nope", b"", 400, "echo:UnknownOperationException"),
        (
            "Echo.Operate",
            b"",
            400,
            "echo:MissingAuthenticationTokenException",
        ),
        (
            "Echo.Open",
            &big,
            413,
            "echo:RequestEntityTooLargeException",
        ),
        ("Echo.Panic", b"", 500, "echo:InternalFailureException"),
    ];
    for (target, body, status, text) in cases {
        let headers = [("x-amz-target", target)];
        let mut ask = Ask::of("POST", "/");
        ask.headers = &headers;
        ask.body = body;
        let answer = given.send(&ask, &ask.unsigned()).await;
        assert_eq!((answer.status, answer.body.as_str()), (status, text));
    }
}

#[actix::test]
async fn a_form_may_be_longer_than_a_rest_body_if_it_is_for_a_wire() {
    let given = given();
    let refused = "RequestEntityTooLargeException";
    for (length, status, code) in [
        (2000, 400, "echo:UnknownOperationException"),
        (4097, 413, refused),
    ] {
        let form = format!("Action={}", "x".repeat(length - "Action=".len()));
        let mut ask = Ask::of("POST", "/");
        ask.headers = &[("content-type", "application/x-www-form-urlencoded")];
        ask.body = form.as_bytes();
        let answer = given.send(&ask, &ask.unsigned()).await;
        assert_eq!(answer.status, status, "{length}: {}", answer.body);
        assert!(answer.body.contains(code), "{length}: {}", answer.body);
    }
    // For a REST route the limit stays, form or not.
    let big = [b'x'; 1001];
    let mut ask = Ask::of("POST", "/public");
    ask.headers = &[("content-type", "application/x-www-form-urlencoded")];
    ask.body = &big;
    let answer = given.send(&ask, &ask.unsigned()).await;
    check_rest(&answer, 413, refused);
}

#[actix::test]
async fn handlers_see_the_request_as_it_was_signed() {
    let given = given();
    let mut ask = Ask::of("GET", "/operator/a%2Fb/c?x=1");
    ask.headers = &[("x-forwarded-host", "evil.test")];
    let headers = ask.signed(&testing::operator(), "execute-api");
    let answer = given.send(&ask, &headers).await;
    assert_eq!(answer.body, format!("{} 0 a/b/c", testing::HOST));
    let head = Ask::of("HEAD", "/operator/x");
    let headers = head.signed(&testing::operator(), "execute-api");
    assert_eq!(given.send(&head, &headers).await.status, 200);
}

#[actix::test]
async fn h03_too_many_or_too_long_headers_are_refused() {
    let given = given();
    let ask = Ask::of("GET", "/public");
    // One header, the content length, comes with the test's own request.
    let many: Vec<_> = (0..100).map(|n| (format!("x-{n}"), "v".into())).collect();
    assert_eq!(given.send(&ask, &many[..99]).await.status, 200);
    assert_eq!(given.send(&ask, &many).await.status, 431);
    let long = [("x-long".to_owned(), "v".repeat(16 * 1024))];
    assert_eq!(given.send(&ask, &long).await.status, 431);
}

/// The price of a call without the socket: head, signature, decision, route. Run with `--release -- --ignored`.
#[actix::test]
#[ignore = "a measurement"]
async fn measure_a_verified_call() {
    let given = given_with(Limits::default());
    let ask = Ask::of("GET", "/bench/verify");
    let headers = ask.signed(&testing::operator(), "execute-api");
    let rounds = 100_000_u32;
    let mut spent = Duration::ZERO;
    for _ in 0..rounds {
        let mut request = TestRequest::with_uri(ask.target);
        for (name, value) in &headers {
            request = request.append_header((name.as_str(), value.as_str()));
        }
        let request = request.to_srv_request();
        let started = std::time::Instant::now();
        let response = given.door.handle(request).await;
        spent += started.elapsed();
        assert_eq!(response.status(), StatusCode::OK);
    }
    println!("{:?} a call", spent / rounds);
}
