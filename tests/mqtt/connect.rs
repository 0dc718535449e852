//! CONNECT, CONNACK, keep alive, PINGREQ, DISCONNECT.

use std::time::{Duration, Instant};

use fanfare::wire::mqtt::codec::{Auth, Connect, Disconnect, Packet, Password, ReasonCode};

use crate::broker::{self, Setup};
use crate::client::{BOTH, Client, Q0, V5, V311, publish, subscription};

fn open(version: fanfare::wire::mqtt::codec::Version) -> Client {
    Client::open(broker::open().mqtt(), version)
}

#[test]
fn the_first_packet_is_connect() {
    for packet in [[0xc0, 0], [0xe0, 0], [0xf0, 0]] {
        let mut client = open(V311);
        client.raw(&packet);
        client.closed();
    }
}

#[test]
fn a_second_connect_ends_the_connection() {
    for version in BOTH {
        let mut client = broker::open().client(version, "second-connect");
        let again = Connect::new(version, "second-connect");
        client.send(Packet::Connect(Box::new(again)));
        client.ended(ReasonCode::ProtocolError);
    }
}

#[test]
fn another_protocol_or_version_is_refused() {
    let connect = |name: &[u8], level: u8, rest: &[u8]| {
        let mut body = vec![0, u8::try_from(name.len()).unwrap()];
        body.extend_from_slice(name);
        body.extend_from_slice(&[level, 2, 0, 0]);
        body.extend_from_slice(rest);
        [vec![0x10, u8::try_from(body.len()).unwrap()], body].concat()
    };
    let mut client = open(V311);
    client.raw(&connect(b"HTTP", 4, &[0, 1, b'x']));
    client.closed();
    // MQTT 3.1 is told that in 3.1.1's words, and 6 in those of 5.
    let mut client = open(V311);
    client.raw(&connect(b"MQIsdp", 3, &[0, 1, b'x']));
    let refused = [0x20, 2, 0, 1];
    assert_eq!(client.recv(), decoded(V311, &refused));
    client.closed();
    let mut client = open(V5);
    client.raw(&connect(b"MQTT", 6, &[0, 0, 1, b'x']));
    match client.recv() {
        Packet::ConnAck(connack) => {
            assert_eq!(connack.reason, ReasonCode::UnsupportedProtocolVersion);
        }
        other => panic!("{other:?}"),
    }
    client.closed();
}

fn decoded(version: fanfare::wire::mqtt::codec::Version, bytes: &[u8]) -> Packet {
    use fanfare::wire::mqtt::codec::{Decoder, Sender};
    let mut bytes = bytes::Bytes::copy_from_slice(bytes);
    let decoder = Decoder::connected(Sender::Server, version, usize::MAX);
    decoder.decode(&mut bytes).unwrap().unwrap()
}

#[test]
fn a_malformed_connect_gets_no_connack_in_3_1_1() {
    // The reserved flag; a will's QoS without a will; a password without a user name.
    for flags in [0x03, 0x0a, 0x42] {
        let mut client = open(V311);
        client.raw(&[
            0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, flags, 0, 0, 0, 1, b'x',
        ]);
        client.closed();
    }
}

#[test]
fn a_malformed_connect_of_5_ends_with_its_reason() {
    let mut client = open(V5);
    client.raw(&[
        0x10, 14, 0, 4, b'M', b'Q', b'T', b'T', 5, 3, 0, 0, 0, 0, 1, b'x',
    ]);
    match client.recv() {
        Packet::ConnAck(connack) => {
            assert_eq!(connack.reason, ReasonCode::MalformedPacket);
            assert!(!connack.session_present);
        }
        other => panic!("{other:?}"),
    }
    client.closed();
}

#[test]
fn an_empty_client_id_is_replaced() {
    let address = broker::open().mqtt();
    let (_one, first) = Client::connected(address, Connect::new(V5, ""));
    let (_two, second) = Client::connected(address, Connect::new(V5, ""));
    let first = first.assigned_client_id.expect("it is told");
    assert_ne!(Some(first), second.assigned_client_id);
    // In 3.1.1 only with a clean session.
    Client::connected(address, Connect::new(V311, ""));
    let mut connect = Connect::new(V311, "");
    connect.clean_start = false;
    let (mut client, connack) = Client::tried(address, connect);
    assert_eq!(connack.reason, ReasonCode::ClientIdentifierNotValid);
    client.closed();
}

#[test]
fn the_client_ids_that_must_be_taken_are() {
    for version in BOTH {
        for id in [
            "0",
            "0123456789abcdefghijklm",
            "nopqrstuvwxyzABCDEFGHIJ",
            "KLMNOPQRSTUVWXYZ",
        ] {
            broker::open().client(version, id).ping();
        }
    }
}

#[test]
fn what_is_sent_after_a_refused_connect_is_not_looked_at() {
    let broker = broker::open();
    let mut watcher = broker.client(V5, "refused-watcher");
    watcher.subscribe("refused/#", Q0);
    let mut connect = Connect::new(V311, "refused");
    connect.username = Some("nobody".into());
    connect.password = Some(Password::new("wrong"));
    let mut client = open(V311);
    client.send(Packet::Connect(Box::new(connect)));
    client.send(Packet::Publish(publish("refused/x", "1", Q0)));
    match client.recv() {
        Packet::ConnAck(connack) => {
            assert_eq!(connack.reason, ReasonCode::BadUserNameOrPassword);
            assert!(!connack.session_present);
        }
        other => panic!("{other:?}"),
    }
    client.closed();
    watcher.quiet();
}

#[test]
fn packets_may_follow_connect_before_connack() {
    let broker = broker::open();
    let mut watcher = broker.client(V5, "eager-watcher");
    watcher.subscribe("eager", Q0);
    for version in BOTH {
        let mut client = open(version);
        client.send(Packet::Connect(Box::new(Connect::new(version, "eager"))));
        client.send(Packet::Publish(publish("eager", "1", Q0)));
        client.send(Packet::PingReq);
        // CONNACK comes before everything else.
        assert!(matches!(client.recv(), Packet::ConnAck(_)));
        assert_eq!(client.recv(), Packet::PingResp);
        assert_eq!(watcher.payload(), "1");
    }
}

#[test]
fn a_client_id_has_one_connection() {
    let broker = broker::open();
    for version in BOTH {
        let mut old = broker.client(version, "one-connection");
        let mut new = broker.client(version, "one-connection");
        old.ended(ReasonCode::SessionTakenOver);
        new.ping();
    }
}

#[test]
fn an_authentication_method_is_refused() {
    let mut connect = Connect::new(V5, "method");
    connect.auth_method = Some("SCRAM".into());
    let (mut client, connack) = Client::tried(broker::open().mqtt(), connect);
    assert_eq!(connack.reason, ReasonCode::BadAuthenticationMethod);
    assert!(connack.auth_method.is_none());
    client.closed();
    let mut client = broker::open().client(V5, "auth");
    client.send(Packet::Auth(Auth {
        reason: ReasonCode::ReAuthenticate,
        method: Some("SCRAM".into()),
        data: None,
        extras: None,
    }));
    client.ended(ReasonCode::ProtocolError);
}

#[test]
fn a_silent_client_is_ended_after_one_and_a_half_keep_alives() {
    for version in BOTH {
        let mut connect = Connect::new(version, "silent");
        connect.keep_alive_s = 1;
        let (mut client, _) = Client::connected(broker::open().mqtt(), connect);
        // Pings count as signs of life.
        for _ in 0..4 {
            std::thread::sleep(Duration::from_millis(700));
            client.ping();
        }
        let since = Instant::now();
        client.ended(ReasonCode::KeepAliveTimeout);
        let took = since.elapsed();
        assert!(took >= Duration::from_millis(1000), "{took:?}");
        assert!(took <= Duration::from_millis(4000), "{took:?}");
    }
}

#[test]
fn a_keep_alive_of_0_and_one_that_is_too_long_are_replaced_in_5() {
    let broker = Setup::new().mqtt("max_keep_alive", 2).start();
    for asked in [0, 3] {
        let mut connect = Connect::new(V5, "long");
        connect.keep_alive_s = asked;
        let (mut client, connack) = Client::connected(broker.mqtt(), connect);
        assert_eq!(connack.server_keep_alive_s, Some(2));
        client.ended(ReasonCode::KeepAliveTimeout);
    }
    let mut connect = Connect::new(V5, "short");
    connect.keep_alive_s = 1;
    let (_client, connack) = Client::connected(broker.mqtt(), connect);
    assert_eq!(connack.server_keep_alive_s, None);
}

#[test]
fn pings_are_answered() {
    for version in BOTH {
        let mut client = broker::open().client(version, "pings");
        (0..3).for_each(|_| client.ping());
    }
}

#[test]
fn after_disconnect_nothing_is_looked_at() {
    let broker = broker::open();
    let mut watcher = broker.client(V5, "after-watcher");
    watcher.subscribe("after", Q0);
    for version in BOTH {
        let mut client = broker.client(version, "after");
        client.send(Packet::Disconnect(Disconnect::default()));
        client.send(Packet::Publish(publish("after", "late", Q0)));
        client.closed();
    }
    watcher.quiet();
}

#[test]
fn reserved_flags_and_malformed_packets_end_the_connection() {
    let cases: [(&[u8], ReasonCode); 7] = [
        (&[0xe1, 0], ReasonCode::MalformedPacket),
        (&[0xc1, 0], ReasonCode::MalformedPacket),
        (&[0x60, 2, 0, 1], ReasonCode::MalformedPacket),
        (&[0x80, 6, 0, 1, 0, 1, b'a', 0], ReasonCode::MalformedPacket),
        (&[0x36, 6, 0, 1, b'a', 0, 1, 0], ReasonCode::MalformedPacket),
        (&[0x30, 4, 0, 2, 0xff, 0xff], ReasonCode::MalformedPacket),
        (&[0x30, 0xff, 0xff, 0xff, 0xff], ReasonCode::MalformedPacket),
    ];
    for version in BOTH {
        for (bytes, reason) in cases {
            let mut client = broker::open().client(version, "malformed");
            client.raw(bytes);
            client.ended(reason);
        }
    }
}

#[test]
fn the_clients_maximum_packet_size_holds() {
    let broker = broker::open();
    let mut connect = Connect::new(V5, "small");
    connect.maximum_packet_bytes = std::num::NonZeroU32::new(60);
    let (mut small, _) = Client::connected(broker.mqtt(), connect);
    small.subscribe_all(vec![subscription("small", crate::client::Q1)]);
    let mut sender = broker.client(V5, "small-sender");
    for payload in ["x".repeat(100), "fits".to_owned()] {
        sender.publish("small", &payload, crate::client::Q1);
        sender.publish("small", &payload, Q0);
    }
    assert_eq!(small.take().payload, "fits");
    assert_eq!(small.take().payload, "fits");
    small.quiet();
    // A refusal that does not fit is shortened.
    let mut connect = Connect::new(V5, "bad/id");
    connect.maximum_packet_bytes = std::num::NonZeroU32::new(20);
    let (mut client, connack) = Client::tried(broker.mqtt(), connect);
    assert_eq!(connack.reason, ReasonCode::ClientIdentifierNotValid);
    assert!(connack.extras.is_none());
    client.closed();
}

#[test]
fn problem_information_is_left_out_if_not_wanted() {
    let broker = Setup::new()
        .anonymous(&broker::policy(&[broker::statement(
            "Allow", "Connect", "client/*",
        )]))
        .start();
    for wanted in [true, false] {
        let mut connect = Connect::new(V5, "information");
        connect.request_problem_information = wanted;
        let (mut client, connack) = Client::connected(broker.mqtt(), connect);
        assert!(
            connack.response_information.is_none(),
            "it was not asked for"
        );
        let mut refused = publish("x", "1", crate::client::Q1);
        refused.packet_id = Some(client.id());
        client.send(Packet::Publish(refused));
        match client.recv() {
            Packet::PubAck(ack) => {
                assert_eq!(ack.reason, ReasonCode::NotAuthorized);
                assert_eq!(ack.extras.is_some(), wanted);
            }
            other => panic!("{other:?}"),
        }
    }
}
