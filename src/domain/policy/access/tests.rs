//! Every rule of the evaluation, attacks M4 to M8 and M19 by name, and two properties.

use std::net::IpAddr;

use super::*;
use crate::domain::policy::{
    ActionPattern, Actions, Condition, ConnectAttribute, Key, Network, Operator, Quantifier, Realm,
    Template, Test,
};
use crate::domain::topic::TopicFilter;

fn context() -> Context {
    Context {
        realm: Realm {
            region: "eu-west-1".into(),
            account: "000000000000".into(),
        },
        client_id: Some("me".into()),
        source_ip: Some("10.1.2.3".parse().unwrap()),
        identity: Some("eu-west-1:1234".into()),
        ..Context::default()
    }
}

/// `iot:REGION:ACCOUNT:` is put in where a resource does not say `arn:`.
fn arn(text: &str) -> Arn {
    if text == "*" || text.starts_with("arn:") {
        return Arn::parse(text).unwrap();
    }
    Arn::parse(&format!("arn:aws:iot:eu-west-1:000000000000:{text}")).unwrap()
}

fn statement(effect: Effect, actions: &[&str], resources: &[&str]) -> Statement {
    let pattern = |text: &&str| ActionPattern::parse(text).unwrap();
    Statement {
        sid: None,
        effect,
        actions: Actions::Only(actions.iter().map(pattern).collect()),
        resources: Resources::Only(resources.iter().map(|text| arn(text)).collect()),
        conditions: Vec::new(),
    }
}

fn allow(actions: &[&str], resources: &[&str]) -> Statement {
    statement(Effect::Allow, actions, resources)
}

fn deny(actions: &[&str], resources: &[&str]) -> Statement {
    statement(Effect::Deny, actions, resources)
}

fn document(statements: impl Into<Vec<Statement>>) -> Arc<Document> {
    Arc::new(Document {
        name: "the policy".into(),
        statements: statements.into(),
    })
}

fn layered(layers: &[&[Arc<Document>]], context: &Context) -> Access {
    let layers: Vec<_> = layers
        .iter()
        .map(|documents| Layer {
            documents,
            grants: None,
        })
        .collect();
    Access::of(&layers, context)
}

fn access_in(context: &Context, statements: impl Into<Vec<Statement>>) -> Access {
    layered(&[&[document(statements)]], context)
}

fn access(statements: impl Into<Vec<Statement>>) -> Access {
    access_in(&context(), statements)
}

#[track_caller]
fn check(access: &Access, action: Action, yes: &[&str], no: &[&str]) {
    for (resources, expect) in [(yes, true), (no, false)] {
        for resource in resources {
            let decision = access.decide(action, resource);
            assert_eq!(
                decision.is_allowed(),
                expect,
                "{action} {resource}: {decision}"
            );
            assert_eq!(
                access.allows(action, resource),
                expect,
                "{action} {resource}"
            );
        }
    }
}

use Action::{Connect, Publish, Receive, RetainPublish, Subscribe};

#[test]
fn the_operator_may_everything_and_nobody_nothing() {
    check(&Access::everything(), Publish, &["a", "$SYS/x"], &[]);
    check(&Access::everything(), Connect, &["a", "#"], &[]);
    check(&Access::nothing(), Publish, &[], &["a"]);
    check(&Access::of(&[], &context()), Publish, &[], &["a"]);
}

#[test]
fn m19_an_empty_policy_denies_all() {
    for action in Action::ALL {
        check(&access([]), action, &[], &["a", "*", ""]);
    }
}

#[test]
fn actions_are_matched_by_pattern() {
    for (pattern, publish, retain, connect) in [
        ("iot:Publish", true, false, false),
        ("IOT:publish", true, false, false),
        ("iot:*Publish", true, true, false),
        ("iot:*", true, true, true),
        ("*", true, true, true),
        ("iot:Publis?", true, false, false),
        ("iot:Connect", false, false, true),
        ("sqs:*", false, false, false),
        ("i*:*n*", false, true, true),
    ] {
        let access = access([allow(&[pattern], &["*"])]);
        assert_eq!(access.allows(Publish, "a"), publish, "{pattern}");
        assert_eq!(access.allows(RetainPublish, "a"), retain, "{pattern}");
        assert_eq!(access.allows(Connect, "a"), connect, "{pattern}");
    }
    for bad in ["", "Publish", "iot:", ":x", "iot:a b", "iot:a:b", "**"] {
        assert_eq!(ActionPattern::parse(bad), None, "{bad}");
    }
}

#[test]
fn not_action_and_not_resource() {
    let mut other = allow(&[], &["topic/a"]);
    other.actions = Actions::Except(vec![ActionPattern::parse("iot:Publish").unwrap()]);
    other.resources = Resources::Except(vec![arn("topic/secret/*")]);
    let access = access([other]);
    check(&access, Publish, &[], &["a"]);
    check(&access, Receive, &["a", "secret"], &["secret/x"]);
    check(&access, Connect, &["me"], &[]);
}

#[test]
fn wildcards_cross_levels_and_those_of_mqtt_are_letters() {
    let access = access([
        allow(
            &["iot:Subscribe"],
            &["topicfilter/a/*", "topicfilter/b/+/x"],
        ),
        allow(&["iot:Receive"], &["topic/a/*", "topic/b/?"]),
    ]);
    check(
        &access,
        Subscribe,
        &["a/#", "a/+/c", "a/b/c", "b/+/x"],
        &["a", "#", "+/b", "b/1/x", "b/#", "b/+/+"],
    );
    check(&access, Receive, &["a/b/c", "b/x", "b/é"], &["a", "b/xy"]);
}

#[test]
fn the_place_of_a_resource_counts() {
    for (resource, expect) in [
        ("arn:aws:iot:eu-west-1:000000000000:topic/a", true),
        ("arn:aws:iot:*:*:topic/a", true),
        ("arn:aws:iot:eu-*-?:0*:topic/a", true),
        ("arn:aws:iot:us-east-1:000000000000:topic/a", false),
        ("arn:aws:iot:eu-west-1:111111111111:topic/a", false),
        ("arn:aws:sqs:eu-west-1:000000000000:topic/a", false),
        ("arn:aws:iot:eu-west-1:000000000000:topicfilter/a", false),
        ("arn:aws:iot:eu-west-1:000000000000:*", true),
        ("arn:aws:iot:eu-west-1:000000000000:*/a", true),
        ("arn:aws:iot:eu-west-1:000000000000:t*a", true),
        ("arn:aws:iot:eu-west-1:000000000000:t?pic/?", true),
        ("arn:aws:iot:eu-west-1:000000000000:topi*", true),
        ("arn:aws:iot:eu-west-1:000000000000:topic", false),
        ("*", true),
    ] {
        let access = access([allow(&["iot:Publish"], &[resource])]);
        assert_eq!(access.allows(Publish, "a"), expect, "{resource}");
    }
    for bad in [
        "",
        "topic/a",
        "arn:aws:iot:*",
        "**",
        "arn:aws:iot:::topic/${x}",
    ] {
        assert!(Arn::parse(bad).is_err(), "{bad}");
    }
}

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
fn m05_a_client_id_is_compared_letter_by_letter() {
    let policy = || {
        [
            allow(&["iot:Connect"], &["client/${iot:ClientId}"]),
            allow(
                &["iot:*"],
                &[
                    "topic/my/${iot:ClientId}/t",
                    "topicfilter/my/${iot:ClientId}/*",
                ],
            ),
        ]
    };
    check(
        &access(policy()),
        Publish,
        &["my/me/t"],
        &["my/you/t", "my/m/t", "my/me/x"],
    );
    check(&access(policy()), Connect, &["me"], &["you"]);
    for id in [".*", "m.", "[a-z]+", "(me|you)", "^", "m\\w"] {
        let context = Context {
            client_id: Some(id.into()),
            ..context()
        };
        check(
            &access_in(&context, policy()),
            Publish,
            &[],
            &["my/me/t", "my/you/t"],
        );
    }
}

#[test]
fn m04_a_name_that_could_be_a_wildcard_gets_no_rights() {
    for id in ["+", "#", "*", "?", "a*", "a/b", "$x", "", "a\0"] {
        let context = Context {
            client_id: Some(id.into()),
            ..context()
        };
        let access = access_in(
            &context,
            [
                allow(&["iot:Connect"], &["client/*"]),
                allow(
                    &["iot:*"],
                    &[
                        "topicfilter/my/${iot:ClientId}/t",
                        "topic/my/${iot:ClientId}/t",
                    ],
                ),
            ],
        );
        check(&access, Connect, &[], &[id]);
        check(
            &access,
            Subscribe,
            &[],
            &[
                "my/+/t",
                "my/#",
                "my/me/t",
                "my/a/b/t",
                "my//t",
                &format!("my/{id}/t"),
            ],
        );
        check(&access, Publish, &[], &["my/me/t", &format!("my/{id}/t")]);
        // Where it denies, it denies all that it could mean.
        let access = access_in(
            &context,
            [
                allow(&["iot:*"], &["*"]),
                deny(&["iot:Publish"], &["topic/my/${iot:ClientId}/t"]),
            ],
        );
        check(&access, Publish, &["other"], &["my/me/t", "my/you/t"]);
    }
}

#[test]
fn m06_a_filter_wider_than_what_is_allowed_is_refused() {
    let access = access([allow(
        &["iot:Subscribe"],
        &["topicfilter/a/x", "topicfilter/b/*"],
    )]);
    check(
        &access,
        Subscribe,
        &["a/x", "b/#"],
        &["#", "+/x", "a/+", "a/#", "+/#", "b"],
    );
}

#[test]
fn m07_a_denied_topic_is_not_delivered_through_a_wider_filter() {
    for denied in [
        deny(&["iot:Receive"], &["topic/secret/*"]),
        deny(&["iot:Subscribe"], &["topicfilter/secret/*"]),
    ] {
        let access = access([allow(&["iot:*"], &["*"]), denied]);
        check(&access, Subscribe, &["#", "+/x"], &[]);
        check(&access, Receive, &["open/x", "secret"], &["secret/x"]);
    }
    // What NotResource lists are filters: that the topic is not one of them says nothing.
    let mut only = deny(&["iot:Subscribe"], &[]);
    only.resources = Resources::Except(vec![arn("topicfilter/a/#")]);
    let access = access([allow(&["iot:*"], &["*"]), only]);
    check(&access, Subscribe, &["a/#"], &["b"]);
    check(&access, Receive, &["a/x"], &[]);
}

#[test]
fn m08_a_shared_subscription_is_decided_as_its_unshared_twin() {
    let access = access([
        allow(
            &["iot:Subscribe"],
            &["topicfilter/open/*", "topicfilter/*/x"],
        ),
        deny(&["iot:Subscribe"], &["topicfilter/open/secret"]),
    ]);
    check(
        &access,
        Subscribe,
        &["open/a", "$share/g/open/a", "$share/g/open/#"],
        &[
            "open/secret",
            "$share/g/open/secret",
            "$share/g/x",
            "$share/g/#",
            "$share/open/x/y",
        ],
    );
    let by_name = super::tests::access([allow(&["iot:Subscribe"], &["topicfilter/$share/g/a"])]);
    check(&by_name, Subscribe, &["$share/g/a"], &["a", "$share/h/a"]);
    let denied = super::tests::access([
        allow(&["iot:*"], &["*"]),
        deny(&["iot:Subscribe"], &["topicfilter/$share/*"]),
    ]);
    check(&denied, Subscribe, &["a"], &["$share/g/a"]);
}

fn condition(key: Key, test: Test) -> Condition {
    Condition {
        quantifier: None,
        if_exists: false,
        key,
        test,
    }
}

fn text(like: bool, negated: bool, values: &[&str]) -> Test {
    let operator = Operator {
        like,
        ignore_case: false,
        negated,
    };
    let template = |text: &&str| match like {
        true => Template::with_wildcards(text).unwrap(),
        false => Template::without_wildcards(text).unwrap(),
    };
    Test::Text(operator, values.iter().map(template).collect())
}

fn networks(negated: bool, texts: &[&str]) -> Test {
    Test::Network {
        negated,
        networks: texts
            .iter()
            .map(|text| Network::parse(text).unwrap())
            .collect(),
    }
}

/// Whether an Allow and a Deny with this condition match.
fn holds(condition: &Condition, context: &Context) -> (bool, bool) {
    let with = |mut statement: Statement| {
        statement.conditions.push(condition.clone());
        statement
    };
    let allows = access_in(context, [with(allow(&["*"], &["*"]))]).allows(Publish, "a");
    let open = allow(&["*"], &["*"]);
    let denies = !access_in(context, [open, with(deny(&["*"], &["*"]))]).allows(Publish, "a");
    (allows, denies)
}

#[track_caller]
fn check_condition(condition: &Condition, context: &Context, expect: bool) {
    assert_eq!(holds(condition, context), (expect, expect), "{condition:?}");
}

#[test]
fn conditions_on_the_source_address() {
    let from = |ip: &str| Context {
        source_ip: Some(ip.parse::<IpAddr>().unwrap()),
        ..context()
    };
    for (network, inside, outside) in [
        ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
        ("10.1.2.3", "10.1.2.3", "10.1.2.4"),
        ("10.0.0.0/8", "::ffff:10.0.0.1", "::10.0.0.1"),
        ("0.0.0.0/0", "1.2.3.4", "::1"),
        ("2001:db8::/32", "2001:db8::1", "2001:db9::1"),
        ("::/0", "::1", "1.2.3.4"),
    ] {
        for negated in [false, true] {
            let condition = condition(Key::SourceIp, networks(negated, &[network]));
            check_condition(&condition, &from(inside), !negated);
            check_condition(&condition, &from(outside), negated);
        }
    }
    for bad in ["", "10", "10.0.0.0/33", "::/129", "10.0.0.0/-1", "a"] {
        assert_eq!(Network::parse(bad), None, "{bad}");
    }
}

#[test]
fn conditions_on_texts() {
    let me = context();
    for (test, expect) in [
        (text(false, false, &["me"]), true),
        (text(false, false, &["you", "me"]), true),
        (text(false, false, &["m*"]), false),
        (text(true, false, &["m*"]), true),
        (text(false, true, &["you"]), true),
        (text(false, true, &["you", "me"]), false),
        (text(false, false, &["${iot:ClientId}"]), true),
    ] {
        check_condition(&condition(Key::ClientId, test), &me, expect);
    }
    let mut fold = text(false, false, &["ME"]);
    if let Test::Text(operator, _) = &mut fold {
        operator.ignore_case = true;
    }
    check_condition(&condition(Key::ClientId, fold), &me, true);
    // Of a key without value.
    let mut missing = condition(Key::User, text(false, false, &["7"]));
    check_condition(&missing, &me, false);
    missing.if_exists = true;
    check_condition(&missing, &me, true);
    check_condition(&condition(Key::User, text(false, true, &["7"])), &me, true);
}

#[test]
fn what_a_condition_can_not_tell_denies() {
    let unknown = condition(Key::ClientId, text(false, false, &["${fanfare:user}"]));
    assert_eq!(holds(&unknown, &context()), (false, true));
}

#[test]
fn conditions_on_what_connect_asks_for() {
    let with = |attributes: &[ConnectAttribute]| Context {
        attributes: attributes.to_vec(),
        ..context()
    };
    let (persistent, will) = (
        ConnectAttribute::PersistentConnect,
        ConnectAttribute::LastWill,
    );
    let mut condition = condition(
        Key::ConnectAttributes,
        text(false, false, &["PersistentConnect"]),
    );
    for (quantifier, none, one, other, both) in [
        (Quantifier::Any, false, true, false, true),
        (Quantifier::All, true, true, false, false),
    ] {
        condition.quantifier = Some(quantifier);
        check_condition(&condition, &with(&[]), none);
        check_condition(&condition, &with(&[persistent]), one);
        check_condition(&condition, &with(&[will]), other);
        check_condition(&condition, &with(&[persistent, will]), both);
    }
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

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn any_statement(effect: Effect) -> impl Strategy<Value = Statement> {
        let actions = prop::sample::select(vec![
            "iot:*",
            "iot:Publish",
            "iot:Subscribe",
            "iot:Receive",
            "*",
        ]);
        let resources = prop::sample::select(vec![
            "*",
            "topic/*",
            "topic/a",
            "topic/a/*",
            "topicfilter/*",
            "topicfilter/a/?",
            "topic/${iot:ClientId}",
            "topicfilter/${fanfare:user}/*",
            "client/*",
        ]);
        (
            actions,
            prop::collection::vec(resources, 1..3),
            any::<[bool; 3]>(),
        )
            .prop_map(
                move |(action, resources, [not_action, not_resource, conditioned])| {
                    let mut made = statement(effect, &[action], &resources);
                    made.actions = match made.actions {
                        Actions::Only(patterns) if not_action => Actions::Except(patterns),
                        actions => actions,
                    };
                    made.resources = match made.resources {
                        Resources::Only(arns) if not_resource => Resources::Except(arns),
                        resources => resources,
                    };
                    if conditioned {
                        let test = text(false, false, &["${fanfare:user}", "me"]);
                        made.conditions.push(condition(Key::ClientId, test));
                    }
                    made
                },
            )
    }

    fn any_statements() -> impl Strategy<Value = Vec<Statement>> {
        let one = prop_oneof![any_statement(Effect::Allow), any_statement(Effect::Deny)];
        prop::collection::vec(one, 0..4)
    }

    fn all_allowed(access: &Access) -> Vec<(Action, &'static str)> {
        let resources = ["a", "a/b", "#", "a/#", "a/+", "me", "b", "$share/g/a/b", ""];
        Action::ALL
            .into_iter()
            .flat_map(|action| resources.map(|resource| (action, resource)))
            .filter(|(action, resource)| {
                let allowed = access.allows(*action, resource);
                assert_eq!(access.decide(*action, resource).is_allowed(), allowed);
                allowed
            })
            .collect()
    }

    proptest! {
        #[test]
        fn one_more_deny_never_allows_more(
            statements in any_statements(),
            another in any_statement(Effect::Deny),
            at in 0..4_usize,
        ) {
            let before = all_allowed(&access(statements.clone()));
            let mut more = statements;
            more.insert(at.min(more.len()), another);
            for pair in all_allowed(&access(more)) {
                prop_assert!(before.contains(&pair), "{:?}", pair);
            }
        }

        #[test]
        fn a_session_policy_never_widens(own in any_statements(), session in any_statements()) {
            let before = all_allowed(&access(own.clone()));
            let (own, session) = ([document(own)], [document(session)]);
            for pair in all_allowed(&layered(&[&own, &session], &context())) {
                prop_assert!(before.contains(&pair), "{:?}", pair);
            }
        }
    }
}
