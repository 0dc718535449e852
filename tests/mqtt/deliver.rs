//! PUBLISH to clients: what is in it, how often it comes, and in which order.

use std::num::NonZeroU16;
use std::time::Duration;

use bytes::Bytes;
use fanfare::domain::publication::Properties;
use fanfare::wire::mqtt::codec::{Ack, Connect, Packet, ReasonCode};

use crate::broker;
use crate::client::{
    BOTH, Client, Q0, Q1, Q2, V5, V311, persistent, publish, retained, subscription,
};

#[test]
fn the_quality_of_service_is_the_lesser_of_both() {
    let broker = broker::open();
    for version in BOTH {
        for asked in [Q0, Q1, Q2] {
            let mut client = broker.client(version, "lesser");
            client.subscribe("lesser", asked);
            let mut sender = broker.client(version, "lesser-sender");
            for sent in [Q0, Q1, Q2] {
                sender.publish("lesser", "x", sent);
                let got = client.take();
                assert_eq!(got.qos, sent.min(asked));
                assert!(!got.dup);
                assert_eq!(got.packet_id.is_some(), got.qos != Q0);
            }
        }
    }
}

#[test]
fn overlapping_subscriptions_get_one_copy_with_all_their_identifiers() {
    let broker = broker::open();
    let mut client = broker.client(V5, "overlap");
    let mut one = subscription("overlap/#", Q1);
    one.id = Some(1);
    let mut two = subscription("overlap/+", Q2);
    two.id = Some(268_435_455);
    client.subscribe_all(vec![one]);
    client.subscribe_all(vec![two]);
    client.subscribe_all(vec![subscription("overlap/x", Q0)]);
    broker
        .client(V5, "overlap-sender")
        .publish("overlap/x", "x", Q2);
    let got = client.take();
    assert_eq!(got.qos, Q2);
    let mut ids = got.subscription_ids;
    ids.sort_unstable();
    assert_eq!(ids, [1, 268_435_455]);
    client.quiet();
    let mut client = broker.client(V311, "overlap");
    client.subscribe("overlap/#", Q0);
    client.subscribe("overlap/x", Q1);
    broker
        .client(V311, "overlap-sender")
        .publish("overlap/x", "x", Q2);
    assert_eq!(client.take().qos, Q1);
    client.quiet();
}

#[test]
fn properties_are_handed_on_as_they_are() {
    let broker = broker::open();
    let mut client = broker.client(V5, "properties");
    let mut old = broker.client(V311, "properties-old");
    for client in [&mut client, &mut old] {
        client.subscribe("properties", Q1);
    }
    let properties = Properties {
        payload_format: Some(1),
        content_type: Some("text/\u{feff}plain".into()),
        response_topic: Some("answers/here".into()),
        correlation_data: Some(Bytes::from_static(&[0, 1, 0xff])),
        user: [("b", "1"), ("a", "2"), ("b", "1")]
            .map(|(name, value)| (name.into(), value.into()))
            .to_vec(),
    };
    let mut sent = publish("properties", "x", Q1);
    sent.properties = Some(Box::new(properties.clone()));
    broker.client(V5, "properties-sender").publish_as(sent);
    assert_eq!(client.take().properties.as_deref(), Some(&properties));
    assert_eq!(old.take().payload, "x");
}

#[test]
fn time_that_passes_is_taken_off_the_expiry() {
    let broker = broker::open();
    let (mut client, _) = Client::connected(broker.mqtt(), persistent(V5, "expiry"));
    client.subscribe("expiry", Q1);
    client.disconnect();
    let mut sender = broker.client(V5, "expiry-sender");
    for (payload, seconds) in [("short", 1), ("long", 60)] {
        let mut sent = publish("expiry", payload, Q1);
        sent.message_expiry_s = Some(seconds);
        sender.publish_as(sent);
    }
    let mut kept = retained("expiry/kept", "kept", Q0);
    kept.message_expiry_s = Some(60);
    sender.publish_as(kept);
    std::thread::sleep(Duration::from_millis(2100));
    let (mut client, _) = Client::connected(broker.mqtt(), persistent(V5, "expiry"));
    let got = client.take();
    assert_eq!(got.payload, "long");
    let left = got.message_expiry_s.unwrap();
    assert!((55..=58).contains(&left), "{left}");
    client.subscribe("expiry/kept", Q0);
    let left = client.take().message_expiry_s.unwrap();
    assert!((55..=58).contains(&left), "{left}");
    client.quiet();
}

#[test]
fn no_more_are_in_flight_than_the_client_takes_and_other_packets_go_on() {
    let broker = broker::open();
    let mut connect = Connect::new(V5, "quota");
    connect.receive_maximum = NonZeroU16::new(2).unwrap();
    let (mut client, _) = Client::connected(broker.mqtt(), connect);
    client.subscribe("quota", Q2);
    let mut sender = broker.client(V5, "quota-sender");
    for payload in ["1", "2", "3", "4"] {
        sender.publish("quota", payload, Q2);
    }
    let (one, two) = (client.publish_in(), client.publish_in());
    client.quiet();
    client.subscribe("quota/other", Q0);
    // QoS 0 has no quota.
    sender.publish("quota/other", "zero", Q0);
    assert_eq!(client.payload(), "zero");
    // PUBREC alone does not make room, PUBREC with an error and PUBCOMP do.
    let (one, two) = (one.packet_id.unwrap(), two.packet_id.unwrap());
    client.send(Packet::PubRec(Ack::success(one)));
    assert_eq!(client.recv(), Packet::PubRel(Ack::success(one)));
    client.quiet();
    client.send(Packet::PubComp(Ack::success(one)));
    assert_eq!(client.payload(), "3");
    client.send(Packet::PubRec(Ack::new(two, ReasonCode::UnspecifiedError)));
    assert_eq!(client.payload(), "4");
}

#[test]
fn what_the_client_refuses_is_not_sent_again() {
    let broker = broker::open();
    for qos in [Q1, Q2] {
        let (mut client, _) = Client::connected(broker.mqtt(), persistent(V5, "unwanted"));
        client.subscribe("unwanted", qos);
        broker
            .client(V5, "unwanted-sender")
            .publish("unwanted", "x", qos);
        let id = client.publish_in().packet_id.unwrap();
        let ack = Ack::new(id, ReasonCode::ImplementationSpecificError);
        client.send(match qos {
            Q1 => Packet::PubAck(ack),
            _ => Packet::PubRec(ack),
        });
        client.quiet();
        client.vanish();
        let (mut client, _) = Client::connected(broker.mqtt(), persistent(V5, "unwanted"));
        client.quiet();
        let (client, _) = Client::connected(broker.mqtt(), Connect::new(V5, "unwanted"));
        client.disconnect();
    }
}

#[test]
fn each_topic_keeps_the_order_of_its_publisher() {
    let broker = broker::open();
    for version in BOTH {
        for qos in [Q0, Q1, Q2] {
            let mut live = broker.client(version, "ordered");
            let mut connect = persistent(version, "ordered-durable");
            connect.receive_maximum = NonZeroU16::new(3).unwrap();
            let (mut durable, _) = Client::connected(broker.mqtt(), connect);
            for client in [&mut live, &mut durable] {
                client.subscribe("ordered/+", qos);
            }
            let mut sender = broker.client(version, "ordered-sender");
            for number in 0..40 {
                sender.publish("ordered/x", &number.to_string(), qos);
            }
            for client in [&mut live, &mut durable] {
                for number in 0..40 {
                    assert_eq!(client.take().payload, number.to_string());
                }
            }
        }
    }
}

#[test]
fn what_comes_together_goes_to_each_as_it_subscribed() {
    let broker = broker::open();
    for version in BOTH {
        let mut sender = broker.client(version, "together-sender");
        let mut clients: Vec<Client> = ["together/a", "together/b", "together/#"]
            .into_iter()
            .enumerate()
            .map(|(number, filter)| {
                // Each in both versions of the protocol, as its number says.
                let mut client = broker.client(BOTH[number % 2], &format!("together-{number}"));
                client.subscribe(filter, Q0);
                client
            })
            .collect();
        let sent: Vec<(String, String)> = (0..200)
            .map(|number: u32| {
                let topic = if number % 3 == 1 { "b" } else { "a" };
                let payload = format!("{number}").repeat(1 + number as usize % 40);
                (format!("together/{topic}"), payload)
            })
            .collect();
        let packets = sent
            .iter()
            .map(|(topic, payload)| Packet::Publish(publish(topic, payload, Q0)));
        sender.send_together(packets);
        for (client, filter) in clients.iter_mut().zip(["together/a", "together/b", ""]) {
            for (topic, payload) in sent.iter().filter(|(topic, _)| topic.starts_with(filter)) {
                let got = client.publish_in();
                assert_eq!(
                    got.topic.as_ref().map(|name| name.as_str()),
                    Some(&topic[..])
                );
                assert_eq!(got.payload, payload.as_bytes());
            }
            client.quiet();
        }
    }
}

#[test]
fn one_that_waits_for_the_disk_is_not_overtaken() {
    let broker = broker::open();
    let mut client = broker.client(V5, "overtaken");
    client.subscribe("overtaken", Q1);
    let mut sender = broker.client(V5, "overtaken-sender");
    for round in 0..10 {
        // A retained message must be on disk, the others need not.
        for number in 0..5 {
            let mut sent = publish("overtaken", &format!("{round} {number}"), Q1);
            sent.retain = number == 0;
            sent.packet_id = Some(sender.id());
            sender.send(Packet::Publish(sent));
        }
        for number in 0..5 {
            assert_eq!(client.take().payload, format!("{round} {number}"));
            assert!(matches!(sender.recv(), Packet::PubAck(_)));
        }
    }
}

#[test]
fn pubrel_comes_in_the_order_of_pubrec() {
    let broker = broker::open();
    let (mut client, _) = Client::connected(broker.mqtt(), persistent(V5, "released"));
    client.subscribe("released", Q2);
    let mut sender = broker.client(V5, "released-sender");
    (0..5).for_each(|_| sender.publish("released", "x", Q2));
    let mut ids: Vec<_> = (0..5)
        .map(|_| client.publish_in().packet_id.unwrap())
        .collect();
    ids.reverse();
    for id in &ids {
        client.send(Packet::PubRec(Ack::success(*id)));
    }
    // One that the server does not know is answered at once, if that were possible.
    let unknown = fanfare::wire::mqtt::codec::PacketId::new(60_000).unwrap();
    client.send(Packet::PubRec(Ack::success(unknown)));
    for id in ids {
        assert_eq!(client.recv(), Packet::PubRel(Ack::success(id)));
        client.send(Packet::PubComp(Ack::success(id)));
    }
    let not_found = Ack::new(unknown, ReasonCode::PacketIdentifierNotFound);
    assert_eq!(client.recv(), Packet::PubRel(not_found));
    client.quiet();
}

#[test]
fn topics_are_compared_letter_by_letter() {
    let broker = broker::open();
    let mut client = broker.client(V5, "letters");
    client.subscribe("letters/Å/+", Q0);
    let mut sender = broker.client(V5, "letters-sender");
    for topic in [
        "letters/A\u{30a}/x",
        "letters/å/x",
        "Letters/Å/x",
        "letters/Å",
        "/letters/Å/x",
    ] {
        sender.publish(topic, topic, Q0);
    }
    sender.publish("letters/Å/", "\u{feff}empty", Q0);
    assert_eq!(client.payload(), "\u{feff}empty");
    client.quiet();
}
