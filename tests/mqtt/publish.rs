//! PUBLISH from clients, its answers, and topic aliases.

use std::num::NonZeroU16;

use fanfare::wire::mqtt::codec::{Ack, Connect, Packet, PacketId, ReasonCode};

use crate::broker::{self, Setup, policy, statement};
use crate::client::{BOTH, Client, Q0, Q1, Q2, V5, V311, persistent, publish};

#[test]
fn each_quality_of_service_is_answered_as_it_must_be() {
    for version in BOTH {
        let mut client = broker::open().client(version, "answers");
        for qos in [Q0, Q1, Q2] {
            client.publish("answers", "x", qos);
        }
        client.quiet();
    }
}

#[test]
fn a_publication_of_qos_2_is_handed_on_once_until_it_is_released() {
    let broker = broker::open();
    for version in BOTH {
        let mut watcher = broker.client(V5, "twice-watcher");
        watcher.subscribe("twice", Q2);
        let mut client = broker.client(version, "twice");
        let mut first = publish("twice", "1", Q2);
        let id = PacketId::new(7).unwrap();
        first.packet_id = Some(id);
        for dup in [false, true, false] {
            first.dup = dup;
            client.send(Packet::Publish(first.clone()));
            assert_eq!(client.recv(), Packet::PubRec(Ack::success(id)));
        }
        client.send(Packet::PubRel(Ack::success(id)));
        assert_eq!(client.recv(), Packet::PubComp(Ack::success(id)));
        // Now the packet id stands for another publication, whatever its DUP flag says.
        first.dup = true;
        first.payload = "2".into();
        client.send(Packet::Publish(first));
        assert_eq!(client.recv(), Packet::PubRec(Ack::success(id)));
        assert_eq!(watcher.take().payload, "1");
        let second = watcher.take();
        assert_eq!(second.payload, "2");
        assert!(!second.dup, "DUP is not handed on");
        watcher.quiet();
    }
}

#[test]
fn a_publication_of_qos_1_is_new_each_time() {
    let broker = broker::open();
    for version in BOTH {
        let mut watcher = broker.client(V5, "again-watcher");
        watcher.subscribe("again", Q1);
        let mut client = broker.client(version, "again");
        let mut one = publish("again", "1", Q1);
        one.packet_id = PacketId::new(9);
        for dup in [false, true] {
            one.dup = dup;
            client.send(Packet::Publish(one.clone()));
            let ack = Ack::success(PacketId::new(9).unwrap());
            assert_eq!(client.recv(), Packet::PubAck(ack));
            let got = watcher.take();
            assert_eq!((got.payload, got.dup), ("1".into(), false));
        }
    }
}

#[test]
fn a_pubrel_for_nothing_is_answered() {
    let ack = Ack::success(PacketId::new(99).unwrap());
    let mut client = broker::open().client(V311, "nothing");
    client.send(Packet::PubRel(ack.clone()));
    assert_eq!(client.recv(), Packet::PubComp(ack.clone()));
    let mut client = broker::open().client(V5, "nothing");
    client.send(Packet::PubRel(ack.clone()));
    let mut not_found = ack;
    not_found.reason = ReasonCode::PacketIdentifierNotFound;
    assert_eq!(client.recv(), Packet::PubComp(not_found));
}

#[test]
fn who_may_not_publish_is_told_in_5_and_ended_in_3_1_1() {
    let broker = Setup::new()
        .anonymous(&policy(&[
            statement("Allow", "Connect", "client/*"),
            statement("Allow", "Publish", "topic/good"),
        ]))
        .start();
    for qos in [Q1, Q2] {
        let mut client = broker.client(V5, "told");
        client.publish_refused(publish("bad", "x", qos), ReasonCode::NotAuthorized);
        // The packet id of a refused publication is free.
        client.publish("good", "x", qos);
        let mut client = broker.client(V311, "ended");
        client.publish("good", "x", qos);
        let mut bad = publish("bad", "x", qos);
        bad.packet_id = Some(client.id());
        client.send(Packet::Publish(bad));
        client.closed();
    }
    let mut client = broker.client(V5, "zero");
    client.publish("bad", "x", Q0);
    client.ended(ReasonCode::NotAuthorized);
}

#[test]
fn a_refused_publication_of_qos_2_may_be_tried_again_with_its_packet_id() {
    let broker = Setup::new()
        .anonymous(&policy(&[
            statement("Allow", "Connect Subscribe Receive", "*"),
            statement("Allow", "Publish", "topic/good"),
        ]))
        .start();
    let mut watcher = broker.client(V5, "watcher");
    watcher.subscribe("#", Q2);
    let (mut client, _) = Client::connected(broker.mqtt(), persistent(V5, "retry"));
    let id = PacketId::new(5).unwrap();
    for (topic, reason) in [
        ("bad", ReasonCode::NotAuthorized),
        ("good", ReasonCode::Success),
    ] {
        let mut publish = publish(topic, topic, Q2);
        publish.packet_id = Some(id);
        client.send(Packet::Publish(publish));
        match client.recv() {
            Packet::PubRec(ack) => assert_eq!((ack.packet_id, ack.reason), (id, reason)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(watcher.take().payload, "good");
}

#[test]
fn topic_aliases_stand_for_topics_of_their_connection() {
    let broker = broker::open();
    let mut watcher = broker.client(V5, "alias-watcher");
    watcher.subscribe("alias/#", Q0);
    let (mut client, connack) = Client::connected(broker.mqtt(), Connect::new(V5, "alias"));
    let most = connack.topic_alias_maximum.unwrap();
    for alias in [1, most] {
        let mut set = publish("alias/a", "set", Q0);
        set.topic_alias = NonZeroU16::new(alias);
        let mut using = publish("", "used", Q0);
        using.topic_alias = set.topic_alias;
        client.publish_as(set);
        client.publish_as(using);
        for payload in ["set", "used"] {
            let got = watcher.publish_in();
            assert_eq!(got.payload, payload);
            assert_eq!(got.topic.unwrap().as_str(), "alias/a");
            assert_eq!(got.topic_alias, None, "aliases are not handed on");
        }
    }
    let mut high = publish("alias/a", "x", Q0);
    high.topic_alias = NonZeroU16::new(most + 1);
    client.publish_as(high);
    client.ended(ReasonCode::TopicAliasInvalid);
    // A new connection has none.
    let mut client = broker.client(V5, "alias");
    let mut using = publish("", "x", Q0);
    using.topic_alias = NonZeroU16::new(1);
    client.publish_as(using);
    client.ended(ReasonCode::ProtocolError);
    watcher.quiet();
}

#[test]
fn the_server_uses_no_more_aliases_than_the_client_takes() {
    let broker = broker::open();
    let mut connect = Connect::new(V5, "aliased");
    connect.topic_alias_maximum = 1;
    let (mut client, _) = Client::connected(broker.mqtt(), connect);
    client.subscribe("aliased/#", Q0);
    let mut sender = broker.client(V5, "aliased-sender");
    for topic in ["aliased/a", "aliased/b", "aliased/a"] {
        sender.publish(topic, topic, Q0);
    }
    let shown: Vec<_> = (0..3)
        .map(|_| {
            let got = client.publish_in();
            let name = got
                .topic
                .map_or(String::new(), |name| name.as_str().to_owned());
            (name, got.topic_alias.map(NonZeroU16::get))
        })
        .collect();
    let expect = [("aliased/a", Some(1)), ("aliased/b", None), ("", Some(1))];
    assert_eq!(shown, expect.map(|(name, alias)| (name.to_owned(), alias)));
}

#[test]
fn an_alias_that_was_not_told_is_not_used() {
    let broker = broker::open();
    let mut connect = Connect::new(V5, "untold");
    connect.topic_alias_maximum = 1;
    connect.maximum_packet_bytes = std::num::NonZeroU32::new(60);
    let (mut client, _) = Client::connected(broker.mqtt(), connect);
    client.subscribe("untold", Q0);
    let mut sender = broker.client(V5, "untold-sender");
    sender.publish("untold", &"x".repeat(100), Q0);
    sender.publish("untold", "1", Q0);
    let got = client.publish_in();
    assert_eq!(
        got.topic.expect("the first that it gets").as_str(),
        "untold"
    );
}

#[test]
fn a_payload_that_is_not_what_it_says_is_refused() {
    let mut client = broker::open().client(V5, "format");
    let mut wrong = publish("format", "", Q1);
    wrong.payload = bytes::Bytes::from_static(&[0xff]);
    wrong.properties = Some(Box::new(fanfare::domain::publication::Properties {
        payload_format: Some(1),
        ..Default::default()
    }));
    client.publish_refused(wrong.clone(), ReasonCode::PayloadFormatInvalid);
    wrong.qos = Q2;
    client.publish_refused(wrong, ReasonCode::PayloadFormatInvalid);
    client.ping();
}

#[test]
fn acknowledgements_come_in_the_order_of_the_publications() {
    let broker = broker::open();
    for version in BOTH {
        let away = format!("order-away-{version:?}");
        let (mut away, _) = Client::connected(broker.mqtt(), persistent(version, &away));
        away.subscribe("order/disk", Q2);
        away.disconnect();
        let mut client = broker.client(version, "order");
        // Some wait for the disk, some do not.
        let mut ids = Vec::new();
        for topic in ["order/disk", "order/no", "order/disk", "order/no"] {
            let mut publish = publish(topic, "x", Q1);
            let id = client.id();
            publish.packet_id = Some(id);
            ids.push(id);
            client.send(Packet::Publish(publish));
        }
        for id in ids {
            assert_eq!(client.recv(), Packet::PubAck(Ack::success(id)));
        }
    }
}

#[test]
fn as_many_of_qos_2_may_be_in_flight_as_was_said() {
    let broker = broker::open();
    let (mut away, _) = Client::connected(broker.mqtt(), persistent(V5, "flight-away"));
    away.subscribe("flight", Q2);
    let (mut client, connack) = Client::connected(broker.mqtt(), persistent(V5, "flight"));
    let most = connack.receive_maximum.unwrap().get();
    let send = |client: &mut Client, id: u16| {
        let mut publish = publish("flight", "x", Q2);
        publish.packet_id = PacketId::new(id);
        client.send(Packet::Publish(publish));
    };
    (1..=most).for_each(|id| send(&mut client, id));
    for id in 1..=most {
        let ack = Ack::success(PacketId::new(id).unwrap());
        assert_eq!(client.recv(), Packet::PubRec(ack));
    }
    client.vanish();
    // All of them again in a new connection are still as many; one more is too much.
    let (mut client, connack) = Client::connected(broker.mqtt(), persistent(V5, "flight"));
    assert!(connack.session_present);
    (1..=most).for_each(|id| send(&mut client, id));
    for id in 1..=most {
        let ack = Ack::success(PacketId::new(id).unwrap());
        assert_eq!(client.recv(), Packet::PubRec(ack));
    }
    send(&mut client, most + 1);
    client.ended(ReasonCode::ReceiveMaximumExceeded);
}
