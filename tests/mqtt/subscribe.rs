//! SUBSCRIBE and UNSUBSCRIBE, retained messages, shared subscriptions.

use fanfare::domain::publication::RetainHandling;
use fanfare::wire::mqtt::codec::{Ack, Connect, Packet, ReasonCode};

use crate::broker::{self, Setup, policy, statement};
use crate::client::{
    BOTH, Client, Q0, Q1, Q2, V5, V311, persistent, publish, retained, subscription,
};

#[test]
fn each_filter_has_its_code_in_order() {
    let broker = Setup::new()
        .anonymous(&policy(&[
            statement("Allow", "Connect", "client/*"),
            statement("Allow", "Subscribe", "topicfilter/codes/*"),
        ]))
        .start();
    let asked = |filters: &[(&str, _)]| {
        let asked = filters.iter().map(|(text, qos)| subscription(text, *qos));
        asked.collect::<Vec<_>>()
    };
    let filters = [
        ("codes/2", Q2),
        ("no", Q0),
        ("codes/0", Q0),
        ("codes/1", Q1),
    ];
    for (version, refused) in [
        (V311, ReasonCode::UnspecifiedError),
        (V5, ReasonCode::NotAuthorized),
    ] {
        let mut client = broker.client(version, "codes");
        let reasons = client.subscribe_all(asked(&filters));
        let expect = [
            ReasonCode::GrantedQoS2,
            refused,
            ReasonCode::Success,
            ReasonCode::GrantedQoS1,
        ];
        assert_eq!(reasons, expect);
    }
    let mut client = broker.client(V5, "codes");
    client.subscribe("codes/a", Q0);
    let reasons = client.unsubscribe(&["codes/b", "codes/a", "codes/a"]);
    let none = ReasonCode::NoSubscriptionExisted;
    assert_eq!(reasons, [none, ReasonCode::Success, none]);
}

#[test]
fn the_same_filter_again_replaces_the_subscription() {
    let broker = broker::open();
    for version in BOTH {
        let mut sender = broker.client(version, "replace-sender");
        sender.publish_as(retained("replace", "kept", Q1));
        other_workers_have_it();
        let mut client = broker.client(version, "replace");
        for qos in [Q1, Q0] {
            client.subscribe("replace", qos);
            let got = client.take();
            assert_eq!(
                (got.payload, got.retain, got.qos),
                ("kept".into(), true, qos)
            );
        }
        sender.publish("replace", "live", Q1);
        let got = client.take();
        assert_eq!(
            (got.payload, got.retain, got.qos),
            ("live".into(), false, Q0)
        );
        client.quiet();
        sender.publish_as(retained("replace", "", Q0));
    }
}

#[test]
fn a_filter_is_unsubscribed_letter_by_letter() {
    let broker = broker::open();
    for version in BOTH {
        let mut client = broker.client(version, "exactly");
        client.subscribe("exactly/+", Q0);
        client.unsubscribe(&["exactly/x", "exactly/#"]);
        let mut sender = broker.client(version, "exactly-sender");
        sender.publish("exactly/x", "still", Q0);
        assert_eq!(client.payload(), "still");
        client.unsubscribe(&["exactly/+"]);
        sender.publish("exactly/x", "gone", Q1);
        client.quiet();
    }
}

#[test]
fn what_was_sent_before_unsubscribe_is_brought_to_its_end() {
    let broker = broker::open();
    let mut client = broker.client(V5, "started");
    client.subscribe("started", Q2);
    broker
        .client(V5, "started-sender")
        .publish("started", "x", Q2);
    let id = client.publish_in().packet_id.unwrap();
    client.unsubscribe(&["started"]);
    client.send(Packet::PubRec(Ack::success(id)));
    assert_eq!(client.recv(), Packet::PubRel(Ack::success(id)));
}

#[test]
fn retained_messages_are_kept_replaced_and_removed() {
    let broker = broker::open();
    for version in BOTH {
        let mut sender = broker.client(version, "kept-sender");
        let mut live = broker.client(version, "kept-live");
        live.subscribe("kept/#", Q0);
        sender.publish_as(retained("kept/a", "1", Q1));
        sender.publish_as(retained("kept/a", "2", Q0));
        // Without the flag nothing is kept or removed.
        sender.publish("kept/a", "", Q1);
        sender.publish("kept/b", "x", Q1);
        sender.ping();
        // Whoever subscribed before sees no retain flag.
        for payload in ["1", "2", "", "x"] {
            let got = live.publish_in();
            assert_eq!((got.payload, got.retain), (payload.into(), false));
        }
        let mut late = broker.client(version, "kept-late");
        late.subscribe("kept/+", Q1);
        let got = late.take();
        assert_eq!((got.payload, got.retain), ("2".into(), true));
        late.quiet();
        // An empty payload is delivered, and is not kept.
        sender.publish_as(retained("kept/a", "", Q1));
        assert_eq!(live.payload(), "");
        let mut later = broker.client(version, "kept-later");
        later.subscribe("kept/#", Q0);
        later.quiet();
    }
}

/// An acknowledged publication may still be on its way to another worker, and reaches whoever subscribes there meanwhile.
fn other_workers_have_it() {
    std::thread::sleep(std::time::Duration::from_millis(100));
}

#[test]
fn retained_messages_come_as_the_subscription_asks() {
    let broker = broker::open();
    let mut sender = broker.client(V5, "handling-sender");
    sender.publish_as(retained("handling", "kept", Q1));
    other_workers_have_it();
    let mut client = broker.client(V5, "handling");
    let ask = |client: &mut Client, handling| {
        let mut asked = subscription("handling", Q0);
        asked.retain_handling = handling;
        asked.retain_as_published = true;
        client.subscribe_all(vec![asked]);
    };
    ask(&mut client, RetainHandling::Never);
    client.quiet();
    ask(&mut client, RetainHandling::New);
    client.quiet();
    ask(&mut client, RetainHandling::Always);
    assert_eq!(client.payload(), "kept");
    client.unsubscribe(&["handling"]);
    ask(&mut client, RetainHandling::New);
    assert_eq!(client.payload(), "kept");
    // Retain as published: live ones have the flag that they were published with.
    sender.publish_as(retained("handling", "again", Q0));
    sender.publish("handling", "plain", Q0);
    for (payload, retain) in [("again", true), ("plain", false)] {
        let got = client.publish_in();
        assert_eq!((got.payload, got.retain), (payload.into(), retain));
    }
}

#[test]
fn no_local_keeps_ones_own_away() {
    let broker = broker::open();
    let mut client = broker.client(V5, "local");
    let mut asked = subscription("local", Q1);
    asked.no_local = true;
    client.subscribe_all(vec![asked]);
    client.publish("local", "own", Q1);
    broker
        .client(V5, "local-other")
        .publish("local", "other", Q1);
    assert_eq!(client.take().payload, "other");
    client.quiet();
    let mut shared = subscription("$share/g/local", Q1);
    shared.no_local = true;
    let packet_id = client.id();
    client.send(Packet::Subscribe(fanfare::wire::mqtt::codec::Subscribe {
        packet_id,
        subscriptions: vec![shared],
        user: Vec::new(),
    }));
    client.ended(ReasonCode::ProtocolError);
}

#[test]
fn wildcards_do_not_match_reserved_topics() {
    let broker = Setup::new().start();
    for version in BOTH {
        let mut client = broker.client(version, "reserved");
        client.subscribe("#", Q0);
        client.subscribe("+/events/#", Q0);
        let mut events = broker.client(version, "reserved-events");
        events.subscribe("$aws/events/presence/connected/reserved-other", Q0);
        broker.client(version, "reserved-other").disconnect();
        assert!(events.payload().contains("reserved-other"));
        client.quiet();
    }
}

#[test]
fn malformed_filters_end_the_connection() {
    let subscribe = |filter: &[u8], options: u8| {
        let mut body = vec![0, 1, 0];
        body.extend_from_slice(&[0, u8::try_from(filter.len()).unwrap()]);
        body.extend_from_slice(filter);
        body.push(options);
        [vec![0x82, u8::try_from(body.len()).unwrap()], body].concat()
    };
    let cases: [(&[u8], u8, ReasonCode); 10] = [
        (b"", 0, ReasonCode::TopicFilterInvalid),
        (b"a#", 0, ReasonCode::TopicFilterInvalid),
        (b"a/#/b", 0, ReasonCode::TopicFilterInvalid),
        (b"a+/b", 0, ReasonCode::TopicFilterInvalid),
        (b"$share//a", 0, ReasonCode::TopicFilterInvalid),
        (b"$share/g", 0, ReasonCode::TopicFilterInvalid),
        (b"$share/g+/a", 0, ReasonCode::TopicFilterInvalid),
        (b"a\0", 0, ReasonCode::MalformedPacket),
        (b"a", 0x40, ReasonCode::MalformedPacket),
        (b"a", 3, ReasonCode::ProtocolError),
    ];
    for (filter, options, reason) in cases {
        let mut client = broker::open().client(V5, "malformed-filters");
        client.raw(&subscribe(filter, options));
        client.ended(reason);
    }
    for empty in [[0x82, 3, 0, 1, 0], [0xa2, 3, 0, 1, 0]] {
        let mut client = broker::open().client(V5, "malformed-filters");
        client.raw(&empty);
        client.ended(ReasonCode::ProtocolError);
    }
}

#[test]
fn a_shared_subscription_gives_each_publication_to_one() {
    let broker = broker::open();
    let mut one = broker.client(V5, "shared-1");
    let mut two = broker.client(V5, "shared-2");
    let mut third = broker.client(V5, "shared-3");
    for client in [&mut one, &mut two] {
        client.subscribe("$share/g/shared/+", Q0);
    }
    third.subscribe("$share/other/shared/+", Q1);
    // There are no retained messages for shared subscriptions.
    let mut sender = broker.client(V5, "shared-sender");
    for number in 0..6 {
        // The granted quality of service holds.
        sender.publish("shared/x", &number.to_string(), Q1);
    }
    let mut got = Vec::new();
    for client in [&mut one, &mut two] {
        for _ in 0..3 {
            let publish = client.publish_in();
            assert_eq!(publish.qos, Q0);
            got.push(String::from_utf8(publish.payload.to_vec()).unwrap());
        }
        client.quiet();
    }
    got.sort_unstable();
    assert_eq!(got, ["0", "1", "2", "3", "4", "5"]);
    for number in 0..6 {
        assert_eq!(third.take().payload, number.to_string());
    }
    assert_eq!(
        third.unsubscribe(&["shared/+"]),
        [ReasonCode::NoSubscriptionExisted]
    );
    assert_eq!(
        third.unsubscribe(&["$share/other/shared/+"]),
        [ReasonCode::Success]
    );
    sender.publish("shared/x", "late", Q1);
    third.quiet();
}

#[test]
fn what_a_member_of_a_group_was_given_stays_its_own() {
    let broker = broker::open();
    for refuse in [false, true] {
        let (mut one, _) = Client::connected(broker.mqtt(), persistent(V5, "member-1"));
        one.subscribe("$share/m/member", Q2);
        let mut sender = broker.client(V5, "member-sender");
        sender.publish("member", "mine", Q2);
        let id = one.publish_in().packet_id.unwrap();
        let mut two = broker.client(V5, "member-2");
        two.subscribe("$share/m/member", Q2);
        if refuse {
            one.send(Packet::PubRec(Ack::new(id, ReasonCode::UnspecifiedError)));
            one.quiet();
            one.vanish();
        } else {
            one.vanish();
            let (mut one, _) = Client::connected(broker.mqtt(), persistent(V5, "member-1"));
            let again = one.take();
            assert_eq!((again.payload, again.dup), ("mine".into(), true));
            one.vanish();
        }
        let (one, _) = Client::connected(broker.mqtt(), Connect::new(V5, "member-1"));
        one.disconnect();
        two.quiet();
    }
}

#[test]
fn many_retained_messages_come_in_order_after_suback() {
    let broker = broker::open();
    let mut sender = broker.client(V5, "many-sender");
    for number in 0..300 {
        sender.publish_as(retained(
            &format!("many/{number:03}"),
            &"x".repeat(2000),
            Q0,
        ));
    }
    sender.ping();
    let mut client = broker.client(V5, "many");
    client.subscribe("many/#", Q1);
    for number in 0..300 {
        let got = client.take();
        assert_eq!(got.topic.unwrap().as_str(), format!("many/{number:03}"));
    }
    client.quiet();
    for number in 0..300 {
        sender.publish_as(retained(&format!("many/{number:03}"), "", Q0));
    }
    let _unused = publish("many", "", Q0);
}
