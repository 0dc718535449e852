//! What holds for any policies.

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
