//! RELIABILITY's table M end to end, where nothing nearer to the code shows it whole. The rest has tests of these names in
//! `src/actors/topic/tests`, `src/domain/policy` and `src/auth`.

use std::time::{Duration, Instant};

use fanfare::wire::mqtt::codec::{Ack, Connect, Packet, PacketId, Password, ReasonCode};

use crate::broker::{self, Broker, EVERYTHING, Setup, policy, statement};
use crate::client::{
    BOTH, Client, Q0, Q1, Q2, V5, V311, persistent, publish, retained, subscription, will,
};

fn login(version: fanfare::wire::mqtt::codec::Version, id: &str, username: &str) -> Connect {
    let mut connect = Connect::new(version, id.to_owned());
    connect.username = Some(username.to_owned().into());
    connect.password = Some(Password::new("right"));
    connect
}

#[test]
fn m01_anothers_client_id_is_refused_and_the_victim_stays() {
    let broker = Setup::new()
        .account("one", EVERYTHING)
        .account("two", EVERYTHING)
        .start();
    for version in BOTH {
        let (mut victim, _) = Client::connected(broker.mqtt(), login(version, "mine", "one"));
        let (mut thief, connack) = Client::tried(broker.mqtt(), login(version, "mine", "two"));
        assert_eq!(connack.reason, ReasonCode::ClientIdentifierNotValid);
        thief.closed();
        victim.ping();
        victim.disconnect();
    }
    // A session that waits for its owner is its owner's, too.
    let mut connect = login(V5, "away", "one");
    (connect.clean_start, connect.session_expiry_s) = (false, 60);
    Client::connected(broker.mqtt(), connect).0.vanish();
    let (_, connack) = Client::tried(broker.mqtt(), login(V5, "away", "two"));
    assert_eq!(connack.reason, ReasonCode::ClientIdentifierNotValid);
}

#[test]
fn m02_a_take_over_loses_no_message() {
    let broker = broker::open();
    let mut sender = broker.client(V5, "m02-sender");
    let (mut old, _) = Client::connected(broker.mqtt(), persistent(V5, "m02"));
    old.subscribe("m02", Q1);
    for number in 0..5 {
        sender.publish("m02", &number.to_string(), Q1);
    }
    assert_eq!(old.take().payload, "0");
    let (mut new, connack) = Client::connected(broker.mqtt(), persistent(V5, "m02"));
    assert!(connack.session_present);
    loop {
        match old.recv() {
            Packet::Publish(_) => {}
            Packet::Disconnect(disconnect) => {
                assert_eq!(disconnect.reason, ReasonCode::SessionTakenOver);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    // The first may come again if its acknowledgement was still on its way to the disk.
    let mut got = new.take().payload;
    if got == "0" {
        got = new.take().payload;
    }
    assert_eq!(got, "1");
    for number in 2..5 {
        assert_eq!(new.take().payload, number.to_string());
    }
}

#[test]
fn m03_a_hundred_take_overs_leave_one_and_one_will() {
    let broker = broker::open();
    let mut watcher = broker.client(V5, "m03-watcher");
    watcher.subscribe("m03", Q1);
    let address = broker.mqtt();
    let clients: Vec<_> = (0..100)
        .map(|_| {
            std::thread::spawn(move || {
                let mut connect = persistent(V5, "m03");
                let mut message = will("m03", "x", Q1);
                message.delay = Duration::from_secs(1);
                connect.will = Some(message);
                let mut client = Client::open(address, V5);
                client.send(Packet::Connect(Box::new(connect)));
                client
            })
        })
        .collect();
    let mut clients: Vec<_> = clients.into_iter().map(|one| one.join().unwrap()).collect();
    let until = Instant::now() + Duration::from_secs(10);
    while clients.len() > 1 && Instant::now() < until {
        clients.retain_mut(|client| !client.is_closed(Duration::from_millis(20)));
    }
    clients.retain_mut(|client| !client.is_closed(Duration::from_millis(200)));
    assert_eq!(clients.len(), 1, "one owner");
    drop(clients);
    assert_eq!(watcher.take().payload, "x");
    std::thread::sleep(Duration::from_millis(1300));
    watcher.quiet();
}

#[test]
fn m04_names_with_wildcards_are_refused() {
    let broker = broker::open();
    for version in BOTH {
        for id in ["#", "a+b", "a/b", "*", "a?", "$SYS", "a\nb"] {
            let (mut client, connack) = Client::tried(broker.mqtt(), Connect::new(version, id));
            assert_eq!(connack.reason, ReasonCode::ClientIdentifierNotValid, "{id}");
            client.closed();
        }
        for username in ["#", "+", "a/b", "one*"] {
            let (mut client, connack) =
                Client::tried(broker.mqtt(), login(version, "m04", username));
            assert_eq!(
                connack.reason,
                ReasonCode::BadUserNameOrPassword,
                "{username}"
            );
            client.closed();
        }
    }
}

/// May everything below `m/`, but not `m/secret`.
fn guarded() -> Broker {
    let policy = policy(&[
        statement("Allow", "Connect", "client/*"),
        statement("Allow", "Publish RetainPublish Receive", "topic/m/*"),
        statement("Allow", "Subscribe", "topicfilter/m/*"),
        statement("Deny", "Publish Receive", "topic/m/secret"),
        statement("Deny", "Subscribe", "topicfilter/m/secret"),
    ]);
    Setup::new()
        .anonymous(&policy)
        .account("boss", EVERYTHING)
        .start()
}

#[test]
fn m06_m07_m08_m16_what_is_denied_comes_by_no_way() {
    let broker = guarded();
    let (mut boss, _) = Client::connected(broker.mqtt(), login(V5, "boss", "boss"));
    boss.publish_as(retained("m/secret", "kept", Q1));
    let (mut client, _) = Client::connected(broker.mqtt(), persistent(V5, "client"));
    // M6: wider than what is allowed. M8: shared and unshared are one.
    for filter in [
        "#",
        "+/x",
        "+/#",
        "m/secret",
        "$share/g/m/secret",
        "$share/g/#",
    ] {
        let refused = client.subscribe_all(vec![subscription(filter, Q1)]);
        assert_eq!(refused, [ReasonCode::NotAuthorized], "{filter}");
    }
    // M7: allowed filters that overlap what is denied.
    client.subscribe("m/#", Q1);
    client.subscribe("m/+", Q2);
    client.subscribe("$share/g/m/+", Q1);
    client.quiet();
    for qos in [Q0, Q1, Q2] {
        boss.publish("m/secret", "live", qos);
    }
    client.quiet();
    // M16: nothing was kept for later, either.
    client.vanish();
    boss.publish("m/secret", "away", Q1);
    boss.publish("m/open", "open", Q1);
    let (mut client, connack) = Client::connected(broker.mqtt(), persistent(V5, "client"));
    assert!(connack.session_present);
    let mut got = vec![client.take().payload, client.take().payload];
    got.dedup();
    assert_eq!(got, ["open"], "once for the session and once for the group");
    client.quiet();
    assert_eq!(client.unsubscribe(&["$share/g/m/+"]), [ReasonCode::Success]);
}

#[test]
fn m09_m10_the_servers_topics_are_not_for_clients() {
    let broker = broker::open();
    for topic in [
        "$SYS/x",
        "$CONTROL/dynamic-security/v1",
        "$x",
        "$",
        "$share/g/a",
        "sessions/q",
    ] {
        let mut client = broker.client(V5, "m10");
        client.publish_refused(publish(topic, "x", Q1), ReasonCode::TopicNameInvalid);
        client.ping();
        let mut client = broker.client(V311, "m10");
        let mut packet = publish(topic, "x", Q1);
        packet.packet_id = Some(client.id());
        client.send(Packet::Publish(packet));
        client.closed();
    }
    let mut client = broker.client(V5, "m10");
    for filter in ["$SYS/#", "$CONTROL/#", "$share/g/$SYS/#"] {
        let refused = client.subscribe_all(vec![subscription(filter, Q0)]);
        assert_eq!(refused, [ReasonCode::NotAuthorized], "{filter}");
    }
}

#[test]
fn m11_m12_bad_topics_end_the_connection_and_reach_nobody() {
    let broker = broker::open();
    let mut watcher = broker.client(V5, "m11-watcher");
    watcher.subscribe("m11/#", Q0);
    let long = [b"m11/".to_vec(), vec![b'x'; 100]].concat();
    let cases: [(&[u8], ReasonCode); 9] = [
        (b"m11/#", ReasonCode::TopicNameInvalid),
        (b"m11/+", ReasonCode::TopicNameInvalid),
        (b"", ReasonCode::ProtocolError),
        (b"m11/\0", ReasonCode::MalformedPacket),
        (b"m11/\xed\xa0\x80", ReasonCode::MalformedPacket),
        (b"m11/\xc0\xaf", ReasonCode::MalformedPacket),
        (b"m11/\xff", ReasonCode::MalformedPacket),
        (b"m11/\r\n", ReasonCode::TopicNameInvalid),
        (&long[..60], ReasonCode::MalformedPacket),
    ];
    for (index, (topic, reason)) in cases.into_iter().enumerate() {
        let is_cut = index == 8;
        let length = if is_cut {
            200
        } else {
            u8::try_from(topic.len()).unwrap()
        };
        let mut body = vec![0, length];
        body.extend_from_slice(topic);
        if !is_cut {
            // No properties.
            body.push(0);
        }
        let mut client = broker.client(V5, "m11");
        client.raw(&[vec![0x30, u8::try_from(body.len()).unwrap()], body].concat());
        client.ended(reason);
    }
    watcher.quiet();
}

#[test]
fn m14_m17_m18_a_changed_configuration_reaches_open_connections() {
    let data = tempfile::tempdir().unwrap();
    let reader = |allowed: &str| {
        policy(&[
            statement("Allow", "Connect", "client/*"),
            statement("Allow", "Publish", &format!("topic/{allowed}")),
            statement("Allow", "Receive", &format!("topic/{allowed}")),
            statement("Allow", "Subscribe", &format!("topicfilter/{allowed}")),
        ])
    };
    let setup = |allowed: &str| Setup::new().account("reader", &reader(allowed));
    let broker = setup("*").account("gone", EVERYTHING).start_on(data);
    let mut watcher = broker.client(V5, "watcher");
    watcher.subscribe("will/#", Q1);
    // M17: a live subscription and a durable one; M18: half of a QoS 2 delivery; M14: a will.
    let (mut live, _) = Client::connected(broker.mqtt(), login(V5, "live", "reader"));
    live.subscribe("room/#", Q0);
    let mut connect = login(V5, "durable", "reader");
    (connect.clean_start, connect.session_expiry_s) = (false, 600);
    let (mut durable, _) = Client::connected(broker.mqtt(), connect.clone());
    durable.subscribe("room/#", Q2);
    let mut doomed = login(V5, "doomed", "gone");
    doomed.will = Some(will("will/doomed", "x", Q1));
    let (mut doomed, _) = Client::connected(broker.mqtt(), doomed);
    let mut sender = broker.client(V5, "sender");
    sender.publish("room/1", "before", Q2);
    assert_eq!(live.payload(), "before");
    durable.publish_in();
    durable.vanish();
    setup("other/*").write(&broker.data);
    doomed.ended(ReasonCode::NotAuthorized);
    std::thread::sleep(Duration::from_millis(1000));
    sender.publish("room/1", "after", Q2);
    live.quiet();
    let (mut durable, connack) = Client::connected(broker.mqtt(), connect);
    assert!(connack.session_present);
    durable.quiet();
    watcher.quiet();
}

#[test]
fn m20_a_first_packet_that_is_none_or_too_long_is_not_waited_for() {
    let broker = broker::open();
    let since = Instant::now();
    for bytes in [
        &[0x30, 0x80, 0x80, 0x80, 0x10][..],
        &[0x10, 0xff, 0xff, 0xff, 0x7f],
        // CONNECT of 4,097 bytes.
        &[0x10, 0xfe, 0x1f],
        b"GET / HTTP/1.1\r\n",
    ] {
        let mut client = Client::open(broker.mqtt(), V5);
        client.raw(bytes);
        client.closed();
    }
    assert!(since.elapsed() < Duration::from_secs(3), "it waited");
}

#[test]
fn m21_connect_by_drops_ends_in_time() {
    let broker = Setup::new().mqtt("connect_timeout", 1).start();
    let mut clients: Vec<_> = (0..200).map(|_| Client::open(broker.mqtt(), V5)).collect();
    let since = Instant::now();
    for byte in [0x10, 0x20, 0] {
        clients.iter_mut().for_each(|client| client.raw(&[byte]));
        std::thread::sleep(Duration::from_millis(300));
    }
    clients.iter_mut().for_each(Client::closed);
    assert!(
        since.elapsed() < Duration::from_secs(5),
        "{:?}",
        since.elapsed()
    );
    broker.await_metric(&["fanfare_mqtt_refused_total", "connect timeout"], 200.0);
}

#[test]
fn m22_qos_2_that_is_never_released_takes_no_more_memory() {
    let broker = broker::open();
    let mut client = broker.client(V5, "m22");
    let mut packet = publish("m22", &"x".repeat(1000), Q2);
    packet.packet_id = PacketId::new(1);
    for _ in 0..5000 {
        client.send(Packet::Publish(packet.clone()));
        assert_eq!(
            client.recv(),
            Packet::PubRec(Ack::success(PacketId::new(1).unwrap()))
        );
    }
    // With ever new packet ids the bound ends it.
    for id in 2..=100 {
        packet.packet_id = PacketId::new(id);
        client.send(Packet::Publish(packet.clone()));
    }
    assert!(client.is_closed(Duration::from_secs(5)));
}

#[test]
fn m23_many_user_properties_are_refused() {
    let broker = broker::open();
    let mut client = broker.client(V5, "m23");
    let property = [0x26, 0, 1, b'a', 0, 1, b'b'].repeat(10_000);
    let body = [&[0, 1, b'x'][..], &[0xf0, 0xa2, 0x04], &property].concat();
    assert_eq!(property.len(), 70_000);
    let head = [&[0x30][..], &[0xf6, 0xa2, 0x04]].concat();
    let since = Instant::now();
    client.raw(&[head, body].concat());
    client.ended(ReasonCode::PacketTooLarge);
    assert!(since.elapsed() < Duration::from_secs(2));
    // A property that a will can not have.
    let mut client = Client::open(broker.mqtt(), V5);
    let rest = [0, 1, b'a', 2, 0x0b, 1, 0, 1, b'w', 0, 0];
    let head = [0x10, 11 + u8::try_from(rest.len()).unwrap(), 0, 4];
    client.raw(&[&head[..], b"MQTT", &[5, 6, 0, 0, 0], &rest].concat());
    match client.recv() {
        Packet::ConnAck(connack) => assert_eq!(connack.reason, ReasonCode::MalformedPacket),
        other => panic!("{other:?}"),
    }
    client.closed();
}

#[test]
fn m24_a_topic_has_at_most_32_levels() {
    let broker = broker::open();
    let mut client = broker.client(V5, "m24");
    let levels = |count: usize| vec!["x"; count].join("/");
    client.subscribe(&levels(32), Q0);
    client.publish(&levels(32), "1", Q0);
    assert_eq!(client.payload(), "1");
    for count in [33, 10_000] {
        let mut client = broker.client(V5, "m24");
        let topic = levels(count);
        let mut body = u16::try_from(topic.len()).unwrap().to_be_bytes().to_vec();
        body.extend_from_slice(topic.as_bytes());
        body.push(0);
        let length = body.len();
        let head = [0x30, 0x80 | (length % 128) as u8, (length / 128) as u8];
        let head = if length < 128 {
            vec![0x30, length as u8]
        } else {
            head.to_vec()
        };
        let head = if length < 16_384 {
            head
        } else {
            vec![
                0x30,
                0x80 | (length % 128) as u8,
                0x80 | (length / 128 % 128) as u8,
                (length / 16_384) as u8,
            ]
        };
        client.raw(&[head, body].concat());
        client.ended(ReasonCode::TopicNameInvalid);
    }
}

#[test]
fn m25_what_only_servers_send_ends_the_connection() {
    for version in BOTH {
        for bytes in [
            &[0x20, 2, 0, 0][..],
            &[0x90, 3, 0, 1, 0],
            &[0xb0, 2, 0, 1],
            &[0xd0, 0],
        ] {
            let mut client = broker::open().client(version, "m25");
            client.raw(bytes);
            client.ended(ReasonCode::ProtocolError);
        }
    }
}

#[test]
fn m27_a_crash_between_delivery_and_release_makes_no_duplicate() {
    let data = tempfile::tempdir().unwrap();
    let broker = Setup::new().start_on(data);
    let (mut reader, _) = Client::connected(broker.mqtt(), persistent(V5, "reader"));
    reader.subscribe("m27", Q2);
    let (mut client, _) = Client::connected(broker.mqtt(), persistent(V5, "writer"));
    let id = PacketId::new(3).unwrap();
    let mut packet = publish("m27", "x", Q2);
    packet.packet_id = Some(id);
    client.send(Packet::Publish(packet.clone()));
    assert_eq!(client.recv(), Packet::PubRec(Ack::success(id)));
    assert_eq!(reader.take().payload, "x");
    // The reader's last acknowledgement is not waited for by anyone; an answer to a later packet shows that it was seen.
    reader.ping();
    std::thread::sleep(Duration::from_millis(100));
    let Broker { server, data } = broker;
    server.kill();
    let broker = Setup::new().start_on(data);
    let (mut reader, _) = Client::connected(broker.mqtt(), persistent(V5, "reader"));
    let (mut client, connack) = Client::connected(broker.mqtt(), persistent(V5, "writer"));
    assert!(connack.session_present);
    packet.dup = true;
    client.send(Packet::Publish(packet));
    assert_eq!(client.recv(), Packet::PubRec(Ack::success(id)));
    client.send(Packet::PubRel(Ack::success(id)));
    assert_eq!(client.recv(), Packet::PubComp(Ack::success(id)));
    reader.quiet();
}
