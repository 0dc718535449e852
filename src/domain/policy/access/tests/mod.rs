//! Every rule of the evaluation, attacks M4 to M8 and M19 by name, and two properties.

use super::*;
use crate::domain::policy::{
    ActionPattern, Actions, Condition, Key, Operator, Realm, Template, Test,
};

mod conditions;
mod filters;
mod layers;
mod properties;
mod resources;

use Action::{Connect, Publish, Receive, RetainPublish, Subscribe};

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
