//! Several policies: which decides, and how they narrow each other.

use super::*;
use crate::domain::topic::TopicFilter;

#[test]
fn an_explicit_deny_wins_wherever_it_stands() {
    let open = || allow(&["iot:*"], &["*"]);
    let closed = || deny(&["iot:Publish"], &["topic/secret/*"]);
    for statements in [[open(), closed()], [closed(), open()]] {
        let access = access(statements);
        check(&access, Publish, &["a"], &["secret/a"]);
        check(&access, Receive, &["secret/a"], &[]);
    }
    let identity = [document([open()]), document([closed()])];
    check(
        &layered(&[&identity], &context()),
        Publish,
        &["a"],
        &["secret/a"],
    );
}

#[test]
fn layers_intersect() {
    let wide = [document([allow(
        &["iot:*"],
        &["topic/a/*", "topicfilter/*"],
    )])];
    let narrow = [document([allow(
        &["iot:Publish", "iot:Receive"],
        &["topic/a/b", "topic/c"],
    )])];
    for order in [[&wide[..], &narrow[..]], [&narrow[..], &wide[..]]] {
        let access = layered(&order, &context());
        check(&access, Publish, &["a/b"], &["a/c", "c"]);
        check(&access, Subscribe, &[], &["a/b"]);
    }
    let denying = [document([deny(&["iot:Publish"], &["topic/a/b"])])];
    let access = layered(&[&wide, &denying], &context());
    check(&access, Publish, &[], &["a/b", "a/c"]);
    assert!(matches!(
        access.decide(Publish, "a/b"),
        Decision::Denied { .. }
    ));
}

#[test]
fn grants_allow_beside_documents_and_are_narrowed_like_them() {
    let filter = |text: &str| TopicFilter::parse(text).unwrap();
    let grants = Arc::new(Grants {
        read: vec![filter("sessions/q1")],
        full: vec![filter("chat/+/x")],
    });
    let own = Layer {
        documents: &[],
        grants: Some(&grants),
    };
    let access = Access::of(&[own], &context());
    check(
        &access,
        Connect,
        &["me", "mqttjs_1"],
        &["", "+", "a/b", "$x"],
    );
    check(
        &access,
        Subscribe,
        &["sessions/q1", "chat/+/x", "chat/7/x", "$share/g/chat/7/x"],
        &["sessions/q2", "sessions/+", "chat/#", "#", "chat/+/+", ""],
    );
    check(
        &access,
        Publish,
        &["chat/7/x"],
        &["sessions/q1", "chat/7/y", "chat/x", "chat/+/x"],
    );
    check(
        &access,
        Receive,
        &["chat/7/x", "sessions/q1"],
        &["chat/7/y", "sessions/q2"],
    );
    let session_policy = [document([allow(&["iot:*"], &["topic/chat/7/*"])])];
    let narrowed = Layer {
        documents: &session_policy,
        grants: None,
    };
    let access = Access::of(&[own, narrowed], &context());
    check(&access, Publish, &["chat/7/x"], &["chat/8/x", "chat/7/y"]);
}

#[test]
fn a_decision_says_what_decided() {
    let mut named = deny(&["iot:Publish"], &["topic/a"]);
    named.sid = Some("NoA".into());
    let access = access([allow(&["iot:*"], &["*"]), named]);
    for (resource, expect) in [
        ("a", "denied by statement 2 (\"NoA\") of the policy"),
        ("b", "allowed by statement 1 of the policy"),
    ] {
        assert_eq!(access.decide(Publish, resource).to_string(), expect);
    }
    let nothing = Access::nothing().decide(Publish, "a").to_string();
    assert_eq!(nothing, "not allowed by any statement");
}
