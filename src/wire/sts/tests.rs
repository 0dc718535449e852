//! Who gets which keys, in which form, and how the rest is refused.

use serde_json::Value;

use crate::app::testing::{ACCOUNT, Answer, Composed};
use crate::auth::testing::{guest, operator, signed};
use crate::domain::Timestamp;
use crate::domain::session::Credentials;

/// What is between two tags.
fn tag<'a>(text: &'a str, name: &str) -> &'a str {
    let (_, rest) = text
        .split_once(&format!("<{name}>"))
        .unwrap_or_else(|| panic!("no {name} in {text}"));
    rest.split_once(&format!("</{name}>")).unwrap().0
}

fn keys_in(answer: &Answer) -> Credentials {
    assert_eq!(answer.status, 200, "{}", answer.text);
    let text = |name| tag(&answer.text, name).to_owned();
    Credentials {
        access_key: text("AccessKeyId"),
        secret_key: text("SecretAccessKey"),
        session_token: text("SessionToken"),
        expires: Timestamp(u64::MAX),
    }
}

async fn call(given: &Composed, keys: &Credentials, body: &str) -> Answer {
    call_with(given, keys, body, &[]).await
}

async fn call_with(
    given: &Composed,
    keys: &Credentials,
    body: &str,
    extra: &[(&str, &str)],
) -> Answer {
    let body = format!("{body}&Version=2011-06-15");
    let form = ("content-type", "application/x-www-form-urlencoded");
    let headers: Vec<_> = [form].iter().chain(extra).copied().collect();
    let headers = signed(keys, "sts", ("POST", "/"), &headers, body.as_bytes());
    given.send(("POST", "/"), &headers, body.as_bytes()).await
}

const ASSUME: &str = "Action=AssumeRole&RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fplayer&RoleSessionName=sess";

#[track_caller]
fn check_refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!(
        (answer.status, tag(&answer.text, "Code")),
        (status, code),
        "{}",
        answer.text
    );
    assert_eq!(tag(&answer.text, "Type"), "Sender");
    assert!(answer.text.contains("<RequestId>"), "{}", answer.text);
    assert_eq!(answer.headers.get("x-amzn-errortype").unwrap(), code);
}

#[actix::test]
async fn callers_are_told_who_they_are() {
    let given = Composed::new();
    let ask = async |keys: &Credentials| {
        let answer = call(&given, keys, "Action=GetCallerIdentity").await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(tag(&answer.text, "Account"), ACCOUNT);
        tag(&answer.text, "Arn").to_owned()
    };
    assert_eq!(
        ask(&operator()).await,
        format!("arn:aws:iam::{ACCOUNT}:root")
    );
    let role = keys_in(&call(&given, &operator(), ASSUME).await);
    let expect = format!("arn:aws:sts::{ACCOUNT}:assumed-role/player/sess");
    assert_eq!(ask(&role).await, expect);
    let guest = ask(&guest(given.authenticator())).await;
    assert!(
        guest.contains(":assumed-role/fanfare-guest/us-east-1:"),
        "{guest}"
    );
    let body = "Action=GetSessionToken&DurationSeconds=900";
    let temporary = keys_in(&call(&given, &operator(), body).await);
    assert_eq!(
        ask(&temporary).await,
        format!("arn:aws:iam::{ACCOUNT}:root")
    );
    check_refused(&call(&given, &temporary, body).await, 403, "AccessDenied");
}

#[actix::test]
async fn json_is_answered_if_it_is_asked_for() {
    let given = Composed::new();
    let accept = [("accept", "application/json")];
    let answer = call_with(&given, &operator(), ASSUME, &accept).await.json();
    let credentials = &answer["AssumeRoleResponse"]["AssumeRoleResult"]["Credentials"];
    assert!(credentials["Expiration"].is_u64(), "{answer}");
    assert!(credentials["AccessKeyId"].is_string(), "{answer}");
    let answer = call_with(&given, &operator(), "Action=AssumeRole", &accept).await;
    assert_eq!(
        (answer.status, &answer.json()["Error"]["Code"]),
        (400, &Value::from("ValidationError"))
    );
}

#[actix::test]
async fn what_can_not_be_is_refused_as_sts_does() {
    let given = Composed::new();
    let policy = |text: &str| format!("{ASSUME}&Policy={}", text.replace('"', "%22"));
    for (body, status, code) in [
        ("Action=AssumeRole".to_owned(), 400, "ValidationError"),
        (ASSUME.replace("iam", "sqs"), 400, "ValidationError"),
        (
            ASSUME.replace("123456789012", "12345678901x"),
            400,
            "ValidationError",
        ),
        (ASSUME.replace("=sess", "=a%20b"), 400, "ValidationError"),
        (ASSUME.replace("=sess", "=s"), 400, "ValidationError"),
        (
            format!("{ASSUME}&RoleSessionName=twice"),
            400,
            "ValidationError",
        ),
        (
            format!("{ASSUME}&DurationSeconds=899"),
            400,
            "ValidationError",
        ),
        (
            format!("{ASSUME}&DurationSeconds=43201"),
            400,
            "ValidationError",
        ),
        (
            format!("{ASSUME}&PolicyArns.member.1.arn=x"),
            400,
            "ValidationError",
        ),
        (policy(&"x".repeat(2049)), 400, "ValidationError"),
        (policy("{}"), 400, "MalformedPolicyDocument"),
        (policy("not json"), 400, "MalformedPolicyDocument"),
        (ASSUME.replace("player", "nobody"), 403, "AccessDenied"),
        ("Action=GetFederationToken".to_owned(), 400, "InvalidAction"),
        (String::new(), 400, "InvalidAction"),
        (
            "Action=GetSessionToken&DurationSeconds=x".to_owned(),
            400,
            "ValidationError",
        ),
    ] {
        check_refused(&call(&given, &operator(), &body).await, status, code);
    }
}

#[actix::test]
async fn parameters_are_counted() {
    // Without the demos, so that a POST to `/` is nobody's but the wires'.
    let given = Composed::tuned(|settings| settings.demo = false);
    // Beside these there are Action and Version.
    let with = |count: usize| {
        let more = (2..count).map(|n| format!("&a{n}=1"));
        format!("Action=GetCallerIdentity{}", more.collect::<String>())
    };
    let most = super::limits::PARAMETERS;
    assert_eq!(call(&given, &operator(), &with(most)).await.status, 200);
    // Version comes last, so that nobody takes the call for one of STS's beyond the limit.
    assert_eq!(call(&given, &operator(), &with(most + 1)).await.status, 404);
    // Version first: it is STS's call, and says too much.
    let body = format!("Version=2011-06-15&{}", with(most + 1));
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let headers = signed(&operator(), "sts", ("POST", "/"), &form, body.as_bytes());
    let answer = given.send(("POST", "/"), &headers, body.as_bytes());
    check_refused(&answer.await, 400, "ValidationError");
}

#[actix::test]
async fn bad_keys_are_refused_as_sts_does() {
    let given = Composed::new();
    let ask = "Action=GetCallerIdentity";
    let mut wrong = operator();
    wrong.secret_key = "wrong".into();
    check_refused(
        &call(&given, &wrong, ask).await,
        403,
        "SignatureDoesNotMatch",
    );
    let session = given.ok(("POST", "/create/7/s"), "").await;
    let mut keys = crate::app::testing::keys_of(&session["session"]);
    keys.session_token = "made-up".into();
    check_refused(&call(&given, &keys, ask).await, 403, "InvalidClientTokenId");
    let headers = [(
        "content-type".to_owned(),
        "application/x-www-form-urlencoded".to_owned(),
    )];
    let body = format!("{ask}&Version=2011-06-15");
    let unsigned = given.send(("POST", "/"), &headers, body.as_bytes()).await;
    check_refused(&unsigned, 403, "MissingAuthenticationToken");
    check_refused(
        &call(&given, &guest(given.authenticator()), ASSUME).await,
        403,
        "AccessDenied",
    );
}

#[actix::test]
async fn a_guest_may_do_nothing_on_other_wires() {
    let given = Composed::new();
    let keys = guest(given.authenticator());
    given.ok(("POST", "/create/7/s"), "").await;
    let answer = given.sqs(&keys, "ListQueues", &serde_json::json!({})).await;
    assert_eq!(answer.status, 403, "{}", answer.text);
    let answer = given.rest(&keys, ("GET", "/status"), "").await;
    assert_eq!(answer.status, 403, "{}", answer.text);
}
