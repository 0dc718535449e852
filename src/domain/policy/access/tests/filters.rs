//! Filters of subscriptions, and what comes through them.

use super::*;

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
    let by_name = super::access([allow(&["iot:Subscribe"], &["topicfilter/$share/g/a"])]);
    check(&by_name, Subscribe, &["$share/g/a"], &["a", "$share/h/a"]);
    let denied = super::access([
        allow(&["iot:*"], &["*"]),
        deny(&["iot:Subscribe"], &["topicfilter/$share/*"]),
    ]);
    check(&denied, Subscribe, &["a"], &["$share/g/a"]);
}
