//! Resources: wildcards, places, variables.

use super::*;

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
