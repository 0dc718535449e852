//! What is read, and how what is not is told.

use super::*;
use crate::domain::policy::{Access, Action, Context, Realm};

fn read(text: &str) -> Result<Document, Malformed> {
    parse("the policy", text, limits::CONFIGURED_BYTES)
}

fn access(text: &str) -> Access {
    let document = [Arc::new(read(text).unwrap())];
    let context = Context {
        realm: Realm {
            region: "us-east-1".into(),
            account: "000000000000".into(),
        },
        client_id: Some("me".into()),
        source_ip: Some("10.0.0.1".parse().unwrap()),
        ..Context::default()
    };
    Access::of(&[layer(&document)], &context)
}

#[test]
fn reads_what_iam_reads() {
    for text in [
        r#"{"Version":"2012-10-17","Id":"x","Statement":{"Sid":"a","Effect":"Allow","Action":"iot:Publish","Resource":"*"}}"#,
        r#"{"Statement":[{"Effect":"Allow","Action":["sqs:*","iot:Pub*"],"Resource":["arn:aws:iot:us-east-1:000000000000:topic/a"]}]}"#,
        r#"{"Statement":[{"Effect":"Allow","NotAction":"iot:Subscribe","NotResource":"arn:aws:iot:*:*:topic/b"}]}"#,
        r#"{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{
            "IpAddress":{"aws:SourceIp":["10.0.0.0/8","::1"]},
            "StringLikeIfExists":{"iot:ClientId":"m*"},
            "ForAllValues:StringEquals":{"iot:ConnectAttributes":["PersistentConnect","LastWill"]}}}]}"#,
    ] {
        assert!(access(text).allows(Action::Publish, "a"), "{text}");
        assert!(
            !access(text).allows(Action::Subscribe, "a") || text.contains(r#""*""#),
            "{text}"
        );
    }
    assert_eq!(
        read(r#"{"Statement":[]}"#).map(|document| document.statements.len()),
        Ok(0)
    );
}

#[test]
fn what_is_not_understood_is_told_with_its_place() {
    let statement = |members: &str| {
        let first = r#"{"Effect":"Deny","Action":"iot:*","Resource":"*"}"#;
        format!(r#"{{"Statement":[{first},{{{members}}}]}}"#)
    };
    let allow = |members: &str| {
        statement(&format!(
            r#""Effect":"Allow","Action":"iot:*","Resource":"*",{members}"#
        ))
    };
    for (text, part) in [
        (String::new(), "not JSON"),
        ("[]".into(), "the policy is not an object"),
        ("{}".into(), "Statement is missing"),
        (
            r#"{"Version":"2008-10-17","Statement":[]}"#.into(),
            "2012-10-17",
        ),
        (r#"{"Statement":[],"Other":1}"#.into(), "\"Other\""),
        (r#"{"Statement":[],"Statement":[]}"#.into(), "there twice"),
        (
            r#"{"Statement":[1]}"#.into(),
            "statement 1: the statement is not",
        ),
        (
            statement(r#""Action":"iot:*","Resource":"*""#),
            "statement 2: Effect",
        ),
        (
            statement(r#""Effect":"allow","Action":"iot:*","Resource":"*""#),
            "\"allow\"",
        ),
        (
            statement(r#""Effect":"Allow","Resource":"*""#),
            "statement 2: Action",
        ),
        (
            statement(r#""Effect":"Allow","Action":"iot:*""#),
            "statement 2: Resource",
        ),
        (
            statement(r#""Effect":"Allow","Action":[],"Resource":"*""#),
            "Action is empty",
        ),
        (
            statement(r#""Effect":"Allow","Action":"Publish","Resource":"*""#),
            "\"Publish\"",
        ),
        (
            statement(r#""Effect":"Allow","Action":7,"Resource":"*""#),
            "Action is not a text",
        ),
        (
            statement(r#""Effect":"Allow","Action":"iot:*","Resource":"topic/a""#),
            "topic/a",
        ),
        (
            statement(
                r#""Effect":"Allow","Action":"iot:*","Resource":"arn:aws:iot:r:a:topic/${x}""#,
            ),
            "${x}",
        ),
        (allow(r#""NotAction":"iot:*""#), "opposite"),
        (allow(r#""Effect":"Deny""#), "there twice"),
        (allow(r#""Principal":"*""#), "\"Principal\""),
        (allow(r#""Condition":[]"#), "Condition is not an object"),
        (
            allow(r#""Condition":{"Bool":{"iot:ClientId":"x"}}"#),
            "operator is not known",
        ),
        (
            allow(r#""Condition":{"StringEquals":{"aws:x":"y"}}"#),
            "\"aws:x\"",
        ),
        (
            allow(r#""Condition":{"IpAddress":{"aws:SourceIp":"10"}}"#),
            "\"10\"",
        ),
        (
            allow(r#""Condition":{"StringEquals":{"iot:ConnectAttributes":"LastWill"}}"#),
            "ForAnyValue",
        ),
        (
            allow(r#""Condition":{"StringEquals":{"iot:ClientId":"${x}"}}"#),
            "${x}",
        ),
        (
            format!(r#"{{"Statement":[],"Id":"{}"}}"#, "x".repeat(8192)),
            "8192 are allowed",
        ),
        (
            format!(r#"{{"Statement":[{}]}}"#, vec!["{}"; 101].join(",")),
            "101 statements",
        ),
        ("[".repeat(8000), "not JSON"),
    ] {
        let error = read(&text).expect_err(&text).to_string();
        assert!(error.contains(part), "{error} lacks {part}");
        assert!(error.len() < 400, "{error}");
    }
}

#[test]
fn counts_are_bounded() {
    let first = r#"{"Effect":"Deny","Action":"iot:*","Resource":"*"}"#;
    let statements =
        |count: usize| format!(r#"{{"Statement":[{}]}}"#, vec![first; count].join(","));
    assert!(parse("p", &statements(limits::STATEMENTS), 1 << 20).is_ok());
    let error = parse("p", &statements(limits::STATEMENTS + 1), 1 << 20).expect_err("too many");
    assert!(error.to_string().contains("statements"), "{error}");
    let values = |count: usize| {
        let resources = vec![r#""*""#; count].join(",");
        first.replace(r#""Resource":"*""#, &format!(r#""Resource":[{resources}]"#))
    };
    let document = |count| format!(r#"{{"Statement":{}}}"#, values(count));
    assert!(read(&document(limits::VALUES)).is_ok());
    let error = read(&document(limits::VALUES + 1)).expect_err("too many");
    assert!(error.to_string().contains("Resource has"), "{error}");
}

#[test]
fn topic_patterns_allow_what_they_match() {
    let document = allow_topics("guests", &["/game/*".into(), "a?".into()]).unwrap();
    let context = Context::default();
    let access = Access::of(&[layer(&[Arc::new(document)])], &context);
    for (action, resource, expect) in [
        (Action::Connect, "me", true),
        (Action::Publish, "/game/x/y", true),
        (Action::Subscribe, "/game/#", true),
        (Action::Receive, "ab", true),
        (Action::Publish, "/game", false),
        (Action::Publish, "/other", false),
        (Action::Subscribe, "#", false),
        (Action::RetainPublish, "/game/x", false),
        (Action::GetRetainedMessage, "/game/x", false),
    ] {
        assert_eq!(
            access.allows(action, resource),
            expect,
            "{action} {resource}"
        );
    }
}

proptest::proptest! {
    #[test]
    fn any_text_is_a_document_or_an_error(text in ".{0,200}") {
        let _ = read(&text);
    }
}
