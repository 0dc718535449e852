//! Conditions.

use std::net::IpAddr;

use super::*;
use crate::domain::policy::{ConnectAttribute, Network, Quantifier};

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
