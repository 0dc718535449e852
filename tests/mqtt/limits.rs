//! Each bound of `[mqtt]` is reached, says so with its reason, and is counted.

use std::time::{Duration, Instant};

use fanfare::domain::publication::RetainHandling;
use fanfare::wire::mqtt::codec::{Ack, Connect, Packet, ReasonCode};

use crate::broker::Setup;
use crate::client::{
    BOTH, Client, Q0, Q1, Q2, V5, V311, persistent, publish, retained, subscription, will,
};
use crate::websocket::{MQTT, Ws};

#[test]
fn of_connections() {
    let broker = Setup::new().mqtt("max_connections", 2).start();
    let _one = broker.client(V5, "1");
    let two = broker.client(V5, "2");
    let mut third = Client::open(broker.mqtt(), V5);
    third.raw(&[0xc0, 0]);
    third.closed();
    assert_eq!(Ws::ask(broker.server.address, "/mqtt", MQTT).status(), 503);
    broker.await_metric(&["fanfare_mqtt_connections_refused_total"], 1.0);
    assert!((broker.metric(&["fanfare_mqtt_connections "]) - 2.0).abs() < 0.5);
    two.disconnect();
    std::thread::sleep(Duration::from_millis(200));
    broker.client(V5, "3").ping();
}

#[test]
fn of_packets() {
    let broker = Setup::new().mqtt("max_packet_bytes", 4096).start();
    for version in BOTH {
        let (mut client, connack) = Client::connected(broker.mqtt(), Connect::new(version, "big"));
        if version == V5 {
            assert_eq!(connack.maximum_packet_bytes.map(u32::from), Some(4096));
        }
        client.publish("big", &"x".repeat(4000), Q1);
        client.publish("big", &"x".repeat(4096), Q0);
        client.ended(ReasonCode::PacketTooLarge);
    }
    broker.await_metric(&["fanfare_mqtt_violations_total"], 2.0);
}

#[test]
fn of_client_ids() {
    let broker = Setup::new().mqtt("max_client_id_bytes", 30).start();
    broker.client(V5, &"x".repeat(30)).ping();
    let (mut client, connack) = Client::tried(broker.mqtt(), Connect::new(V5, "x".repeat(31)));
    assert_eq!(connack.reason, ReasonCode::ClientIdentifierNotValid);
    client.closed();
    broker.await_metric(&["fanfare_mqtt_refused_total", "connect"], 1.0);
}

#[test]
fn of_topic_aliases() {
    let broker = Setup::new().mqtt("max_topic_aliases", 0).start();
    let (mut client, connack) = Client::connected(broker.mqtt(), Connect::new(V5, "alias"));
    assert_eq!(connack.topic_alias_maximum, None);
    let mut packet = publish("a", "x", Q0);
    packet.topic_alias = std::num::NonZeroU16::new(1);
    client.publish_as(packet);
    client.ended(ReasonCode::TopicAliasInvalid);
    broker.await_metric(&["fanfare_mqtt_disconnects_total"], 1.0);
}

#[test]
fn of_subscriptions() {
    let broker = Setup::new().mqtt("max_subscriptions", 2).start();
    let mut client = broker.client(V5, "subscriptions");
    client.subscribe("a", Q0);
    client.subscribe("b", Q0);
    client.subscribe("a", Q1);
    let refused = client.subscribe_all(vec![subscription("c", Q0)]);
    assert_eq!(refused, [ReasonCode::QuotaExceeded]);
    client.unsubscribe(&["a"]);
    client.subscribe("c", Q0);
    let mut old = broker.client(V311, "old");
    let three = ["a", "b", "c"].map(|text| subscription(text, Q0));
    let reasons = old.subscribe_all(three.to_vec());
    assert_eq!(reasons[2], ReasonCode::UnspecifiedError);
    broker.await_metric(&["fanfare_mqtt_refused_total", "subscriptions"], 2.0);
}

#[test]
fn of_durable_sessions() {
    let broker = Setup::new().mqtt("max_durable_sessions", 1).start();
    let (one, _) = Client::connected(broker.mqtt(), persistent(V5, "one"));
    let (mut two, connack) = Client::tried(broker.mqtt(), persistent(V5, "two"));
    assert_eq!(connack.reason, ReasonCode::QuotaExceeded);
    two.closed();
    broker.client(V5, "two").ping();
    broker.await_metric(&["fanfare_mqtt_refused_total", "durable sessions"], 1.0);
    assert!((broker.metric(&["fanfare_mqtt_durable_sessions"]) - 1.0).abs() < 0.5);
    one.disconnect();
    Client::connected(broker.mqtt(), Connect::new(V5, "one"))
        .0
        .disconnect();
    Client::connected(broker.mqtt(), persistent(V5, "two"))
        .0
        .ping();
}

#[test]
fn of_a_sessions_queue() {
    let broker = Setup::new().mqtt("queue_limit", 3).start();
    let (mut away, _) = Client::connected(broker.mqtt(), persistent(V5, "away"));
    away.subscribe("queue", Q1);
    away.disconnect();
    let mut sender = broker.client(V5, "sender");
    (0..3).for_each(|_| sender.publish("queue", "x", Q1));
    sender.publish_refused(publish("queue", "x", Q1), ReasonCode::QuotaExceeded);
    sender.publish_refused(publish("queue", "x", Q2), ReasonCode::QuotaExceeded);
    broker.await_metric(&["fanfare_mqtt_dropped_total", "session queue full"], 2.0);
    // Who is not to be told is ended.
    let mut old = broker.client(V311, "old");
    let mut packet = publish("queue", "x", Q1);
    packet.packet_id = Some(old.id());
    old.send(Packet::Publish(packet));
    old.closed();
    let (mut back, _) = Client::connected(broker.mqtt(), persistent(V5, "away"));
    (0..3).for_each(|_| assert_eq!(back.take().payload, "x"));
    back.quiet();
    sender.publish("queue", "room again", Q1);
}

#[test]
fn of_retained_messages() {
    let broker = Setup::new()
        .mqtt("max_retained_messages", 2)
        .mqtt("max_retained_bytes", 4096)
        .start();
    let mut client = broker.client(V5, "retained");
    for topic in ["a", "b", "a"] {
        client.publish_as(retained(topic, "x", Q1));
    }
    client.publish_refused(retained("c", "x", Q1), ReasonCode::QuotaExceeded);
    client.publish_refused(
        retained("a", &"x".repeat(5000), Q1),
        ReasonCode::QuotaExceeded,
    );
    client.publish_as(retained("a", "", Q1));
    client.publish_as(retained("c", "x", Q1));
    broker.await_metric(&["fanfare_mqtt_refused_total", "publish"], 2.0);
    assert!((broker.metric(&["fanfare_mqtt_retained_messages"]) - 2.0).abs() < 0.5);
    assert!((broker.metric(&["fanfare_mqtt_retained_bytes"]) - 4.0).abs() < 0.5);
}

#[test]
fn of_publications_that_wait_for_acknowledgements() {
    for (key, most) in [("max_waiting", 3), ("max_waiting_bytes", 4096)] {
        let broker = Setup::new().mqtt(key, most).start();
        let mut connect = Connect::new(V5, "slow");
        connect.receive_maximum = std::num::NonZeroU16::new(1).unwrap();
        let (mut slow, _) = Client::connected(broker.mqtt(), connect);
        slow.subscribe("slow", Q1);
        let mut sender = broker.client(V5, "sender");
        for _ in 0..10 {
            sender.publish("slow", &"x".repeat(1000), Q1);
        }
        slow.publish_in();
        slow.ended(ReasonCode::QuotaExceeded);
        broker.await_metric(&["fanfare_mqtt_dropped_total", "slow consumer"], 1.0);
        sender.ping();
    }
}

#[test]
fn of_retained_messages_that_wait() {
    let broker = Setup::new().mqtt("max_waiting", 3).start();
    let mut sender = broker.client(V5, "sender");
    for number in 0..60 {
        sender.publish_as(retained(&format!("r/{number}"), "x", Q1));
    }
    // It subscribes again and again, and acknowledges nothing.
    let mut client = broker.client(V5, "greedy");
    for _ in 0..3 {
        let packet_id = client.id();
        client.send(Packet::Subscribe(fanfare::wire::mqtt::codec::Subscribe {
            packet_id,
            subscriptions: vec![subscription("r/#", Q1)],
            user: Vec::new(),
        }));
    }
    assert!(client.is_closed(Duration::from_secs(5)));
}

#[test]
fn of_what_a_client_does_not_read() {
    let broker = Setup::new()
        .mqtt("max_outbound_bytes", 65_536)
        .mqtt("slow_consumer_timeout", 2)
        .start();
    let mut slow = broker.client(V5, "slow");
    slow.subscribe("slow", Q0);
    let mut fast = broker.client(V5, "fast");
    fast.subscribe("slow", Q0);
    let mut sender = broker.client(V5, "sender");
    let payload = "x".repeat(20_000);
    let since = Instant::now();
    let mut sent = 0;
    // The kernel's buffers take some megabytes first.
    while since.elapsed() < Duration::from_millis(6000)
        && broker.metric(&["fanfare_mqtt_dropped_total", "slow consumer"]) < 1.0
    {
        for _ in 0..50 {
            sender.publish("slow", &payload, Q0);
            fast.publish_in();
            sent += 1;
        }
    }
    broker.await_metric(&["fanfare_mqtt_dropped_total", "client does not read"], 1.0);
    broker.await_metric(&["fanfare_mqtt_dropped_total", "slow consumer"], 1.0);
    let mut read = 0;
    while let Some(packet) = slow.recv_within(Duration::from_secs(2)) {
        match packet {
            Packet::Publish(_) => read += 1,
            Packet::Disconnect(end) => assert_eq!(end.reason, ReasonCode::QuotaExceeded),
            other => panic!("{other:?}"),
        }
    }
    assert!(read < sent, "{read} of {sent}");
    fast.ping();
}

#[test]
fn of_silence_on_websockets() {
    let broker = Setup::new().mqtt("ping_interval", 1).start();
    let mut ws = Ws::open(broker.server.address);
    assert_eq!(ws.connect(Connect::new(V5, "silent")), ReasonCode::Success);
    let since = Instant::now();
    // It answers pings as long as it reads: then it stays. One that does not answer is gone.
    let mut mute = Ws::open(broker.server.address);
    assert_eq!(mute.connect(Connect::new(V5, "mute")), ReasonCode::Success);
    assert!(mute.is_cut_without_pongs(Duration::from_secs(6)));
    assert!(since.elapsed() >= Duration::from_millis(1500));
}

#[test]
fn of_lifecycle_events() {
    let broker = Setup::new().mqtt("lifecycle_events", false).start();
    let mut watcher = broker.client(V5, "watcher");
    watcher.subscribe("$aws/events/#", Q0);
    broker.client(V5, "other").disconnect();
    watcher.quiet();
}

#[test]
fn the_profile_of_aws_has_qos_1_at_most() {
    let broker = Setup::new().mqtt("profile", "\"aws\"").start();
    let (mut client, connack) = Client::connected(broker.mqtt(), Connect::new(V5, "aws"));
    assert_eq!(connack.maximum_qos, Some(Q1));
    let granted = client.subscribe_all(vec![subscription("aws", Q2)]);
    assert_eq!(granted, [ReasonCode::GrantedQoS1]);
    let mut packet = publish("aws", "x", Q2);
    packet.packet_id = Some(client.id());
    client.send(Packet::Publish(packet));
    client.ended(ReasonCode::QoSNotSupported);
    let mut connect = Connect::new(V5, "aws");
    connect.will = Some(will("aws", "x", Q2));
    let (mut client, connack) = Client::tried(broker.mqtt(), connect);
    assert_eq!(connack.reason, ReasonCode::QoSNotSupported);
    client.closed();
}

#[test]
fn what_expires_is_still_acknowledged_to_the_end() {
    let broker = crate::broker::open();
    let (mut client, _) = Client::connected(broker.mqtt(), persistent(V5, "expires"));
    let mut packet = publish("expires", "x", Q2);
    packet.message_expiry_s = Some(1);
    let id = client.id();
    packet.packet_id = Some(id);
    client.send(Packet::Publish(packet));
    assert_eq!(client.recv(), Packet::PubRec(Ack::success(id)));
    std::thread::sleep(Duration::from_millis(1300));
    client.send(Packet::PubRel(Ack::success(id)));
    assert_eq!(client.recv(), Packet::PubComp(Ack::success(id)));
}

#[test]
fn a_hash_matches_the_parent_level_but_not_with_the_profile_of_aws() {
    for (profile, matches) in [("open", true), ("aws", false)] {
        let broker = Setup::new()
            .mqtt("profile", format!("\"{profile}\""))
            .start();
        let mut sender = broker.client(V5, "sender");
        for topic in ["sensor", "sensor/1"] {
            sender.publish_as(retained(topic, topic, Q1));
        }
        let expect = if matches {
            &["sensor", "sensor/1"][..]
        } else {
            &["sensor/1"]
        };
        let mut durable = persistent(V5, "durable");
        durable.session_expiry_s = 60;
        let (mut durable, _) = Client::connected(broker.mqtt(), durable);
        let mut live = broker.client(V5, "live");
        let mut member = broker.client(V5, "member");
        live.subscribe("sensor/#", Q0);
        let mut asked = subscription("sensor/#", Q1);
        asked.retain_handling = RetainHandling::Never;
        assert_eq!(
            durable.subscribe_all(vec![asked]),
            [ReasonCode::GrantedQoS1]
        );
        member.subscribe("$share/g/sensor/#", Q0);
        let got = |client: &mut Client| -> Vec<_> {
            expect.iter().map(|_| client.take().payload).collect()
        };
        if matches {
            assert_eq!(got(&mut live), expect, "what was kept");
        } else {
            // AWS IoT Core gives a wildcard nothing that was kept.
            live.quiet();
        }
        for topic in ["sensor", "sensor/1"] {
            sender.publish(topic, topic, Q1);
        }
        for client in [&mut live, &mut durable, &mut member] {
            assert_eq!(got(client), expect, "{profile}");
            client.quiet();
        }
        // And what comes while the client is away.
        durable.vanish();
        for topic in ["sensor", "sensor/1"] {
            sender.publish(topic, topic, Q1);
        }
        let (mut durable, _) = Client::connected(broker.mqtt(), persistent(V5, "durable"));
        assert_eq!(got(&mut durable), expect, "{profile}");
        durable.quiet();
    }
}
