//! Packets byte by byte, as the specifications lay them out.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use crate::domain::publication::{
    Properties, Publication, QoS, RetainHandling, Subscription, Will,
};
use crate::domain::time::Timestamp;
use crate::domain::topic::{TopicFilter, TopicName};

use super::super::Version::{V5, V311};
use super::*;

/// The bytes are the packet, and the packet is the bytes.
#[track_caller]
fn check(sender: Sender, version: Version, bytes: &[u8], packet: Packet) {
    let decoder = match packet {
        Packet::Connect(_) => Decoder::awaiting_connect(usize::MAX),
        _ => decoder(sender, version),
    };
    assert_eq!(decode(decoder, bytes), Ok(packet.clone()));
    assert_eq!(encode(encoder(version), &packet), bytes, "{packet:?}");
}

#[track_caller]
fn client(version: Version, bytes: &[u8], packet: Packet) {
    check(Sender::Client, version, bytes, packet);
}

#[track_caller]
fn server(version: Version, bytes: &[u8], packet: Packet) {
    check(Sender::Server, version, bytes, packet);
}

fn connect(connect: Connect) -> Packet {
    Packet::Connect(Box::new(connect))
}

fn topic(text: &'static str) -> TopicName {
    TopicName::parse(text.into()).unwrap()
}

fn filter(text: &'static str) -> TopicFilter {
    TopicFilter::parse(text).unwrap()
}

fn subscription(text: &'static str, qos: QoS) -> Subscription {
    Subscription {
        filter: filter(text),
        qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Always,
        id: None,
    }
}

fn publication(text: &'static str, payload: &'static [u8]) -> Publication {
    Publication {
        topic: topic(text),
        payload: Bytes::from_static(payload),
        qos: QoS::AtMostOnce,
        retain: false,
        properties: None,
        expires: None,
        publisher: None,
    }
}

fn publish(text: &'static str, payload: &'static [u8]) -> Publish {
    Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        packet_id: None,
        topic: Some(topic(text)),
        topic_alias: None,
        message_expiry_s: None,
        subscription_ids: Vec::new(),
        properties: None,
        payload: Bytes::from_static(payload),
    }
}

#[test]
fn connect_of_both_versions() {
    client(
        V311,
        b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01a",
        connect(Connect {
            keep_alive_s: 60,
            ..Connect::new(V311, "a")
        }),
    );
    client(
        V311,
        b"\x10\x1e\0\x04MQTT\x04\xec\x01\0\0\x01a\0\x01t\0\x02hi\0\x04user\0\x02pw",
        connect(Connect {
            clean_start: false,
            session_expiry_s: u32::MAX,
            keep_alive_s: 256,
            will: Some(Will {
                publication: Publication {
                    qos: QoS::AtLeastOnce,
                    retain: true,
                    ..publication("t", b"hi")
                },
                delay: Duration::ZERO,
                message_expiry: None,
            }),
            username: Some("user".into()),
            password: Some(Password::new("pw")),
            ..Connect::new(V311, "a")
        }),
    );
    client(
        V5,
        b"\x10\x0d\0\x04MQTT\x05\x02\0\0\0\0\0",
        connect(Connect::new(V5, "")),
    );
    client(
        V5,
        b"\x10\x0f\0\x04MQTT\x05\x42\0\0\0\0\0\0\x00",
        connect(Connect {
            password: Some(Password::new("")),
            ..Connect::new(V5, "")
        }),
    );
}

#[test]
fn connect_with_all_properties() {
    let bytes = b"\x10\0\0\x04MQTT\x05\x16\0\x1e\
        \x24\x11\0\0\x0e\x10\x21\0\x14\x27\0\0\x10\0\x22\0\x08\x19\x01\x17\0\
        \x15\0\x01m\x16\0\x02dd\x26\0\x01k\0\x01v\
        \0\x01c\
        \x21\x18\0\0\0\x05\x02\0\0\0\x09\x01\x01\x03\0\x01j\x08\0\x03r/s\x09\0\x02\0\xff\x26\0\x01k\0\0\
        \0\x03w/t\0\x01p";
    let mut bytes = bytes.to_vec();
    bytes[1] = (bytes.len() - 2) as u8;
    client(
        V5,
        &bytes,
        connect(Connect {
            keep_alive_s: 30,
            session_expiry_s: 3600,
            receive_maximum: NonZeroU16::new(20).unwrap(),
            maximum_packet_bytes: NonZeroU32::new(4096),
            topic_alias_maximum: 8,
            request_response_information: true,
            request_problem_information: false,
            auth_method: Some("m".into()),
            auth_data: Some(Bytes::from_static(b"dd")),
            user: vec![("k".into(), "v".into())],
            will: Some(Will {
                publication: Publication {
                    qos: QoS::ExactlyOnce,
                    properties: Some(Box::new(Properties {
                        payload_format: Some(1),
                        content_type: Some("j".into()),
                        response_topic: Some("r/s".into()),
                        correlation_data: Some(Bytes::from_static(b"\0\xff")),
                        user: vec![("k".into(), "".into())],
                    })),
                    ..publication("w/t", b"p")
                },
                delay: Duration::from_secs(5),
                message_expiry: Some(Duration::from_secs(9)),
            }),
            ..Connect::new(V5, "c")
        }),
    );
}

#[test]
fn connack() {
    let accepted = |packet: ConnAck| Packet::ConnAck(Box::new(packet));
    server(V311, b"\x20\x02\0\0", accepted(ConnAck::default()));
    server(
        V311,
        b"\x20\x02\0\x05",
        accepted(ConnAck::refused(ReasonCode::NotAuthorized)),
    );
    server(
        V5,
        b"\x20\x03\x01\0\0",
        accepted(ConnAck {
            session_present: true,
            ..ConnAck::default()
        }),
    );
    let mut bytes = b"\x20\x00\0\x9d\x4a\
        \x24\x01\x25\0\x28\0\x29\x01\x2a\x01\x11\0\0\0\x01\x21\0\x02\x27\0\0\0\x03\x22\0\x04\x13\0\x05\
        \x12\0\x01i\x1a\0\x01r\x1c\0\x01s\x15\0\x01m\x16\0\x01\0\x1f\0\x02no\x26\0\x01a\0\x01b"
        .to_vec();
    bytes[1] = (bytes.len() - 2) as u8;
    bytes[4] = (bytes.len() - 5) as u8;
    server(
        V5,
        &bytes,
        accepted(ConnAck {
            session_present: false,
            reason: ReasonCode::ServerMoved,
            session_expiry_s: Some(1),
            receive_maximum: NonZeroU16::new(2),
            maximum_qos: Some(QoS::AtLeastOnce),
            retain_available: Some(false),
            maximum_packet_bytes: NonZeroU32::new(3),
            assigned_client_id: Some("i".into()),
            topic_alias_maximum: Some(4),
            wildcard_available: Some(false),
            subscription_ids_available: Some(true),
            shared_available: Some(true),
            server_keep_alive_s: Some(5),
            response_information: Some("r".into()),
            server_reference: Some("s".into()),
            auth_method: Some("m".into()),
            auth_data: Some(Bytes::from_static(b"\0")),
            extras: Some(Box::new(Extras {
                reason_string: Some("no".into()),
                user: vec![("a".into(), "b".into())],
            })),
        }),
    );
}

#[test]
fn every_connack_reason_has_a_return_code_in_3_1_1() {
    for reason in ReasonCode::ALL {
        let code = reason.connack_v311();
        assert!(code <= 5, "{reason:?}");
        assert!(code != 0 || !reason.is_error(), "{reason:?}");
    }
    assert_eq!(ReasonCode::UnsupportedProtocolVersion.connack_v311(), 1);
    assert_eq!(ReasonCode::ClientIdentifierNotValid.connack_v311(), 2);
    assert_eq!(ReasonCode::ServerBusy.connack_v311(), 3);
    assert_eq!(ReasonCode::BadUserNameOrPassword.connack_v311(), 4);
    assert_eq!(ReasonCode::NotAuthorized.connack_v311(), 5);
}

#[test]
fn publish_of_both_versions() {
    for sender in [Sender::Client, Sender::Server] {
        check(
            sender,
            V311,
            b"\x30\x05\0\x01thi",
            Packet::Publish(publish("t", b"hi")),
        );
        check(
            sender,
            V311,
            b"\x3b\x05\0\x01t\x01\x02",
            Packet::Publish(Publish {
                dup: true,
                qos: QoS::AtLeastOnce,
                retain: true,
                packet_id: Some(id(0x102)),
                ..publish("t", b"")
            }),
        );
        check(
            sender,
            V5,
            b"\x34\x08\0\x01t\xff\xff\0hi",
            Packet::Publish(Publish {
                qos: QoS::ExactlyOnce,
                packet_id: Some(id(0xffff)),
                ..publish("t", b"hi")
            }),
        );
        check(
            sender,
            V5,
            b"\x30\x06\0\0\x03\x23\0\x09",
            Packet::Publish(Publish {
                topic: None,
                topic_alias: NonZeroU16::new(9),
                ..publish("t", b"")
            }),
        );
    }
    // A leading slash, and an empty payload, are a topic and a message.
    client(
        V311,
        b"\x31\x04\0\x02/a",
        Packet::Publish(Publish {
            retain: true,
            ..publish("/a", b"")
        }),
    );
}

#[test]
fn publish_with_all_properties() {
    let mut bytes = b"\x30\x00\0\x01t\x00\
        \x23\0\x01\x02\0\0\0\x0a\x0b\x07\x0b\x80\x01\x01\0\x03\0\x01j\x08\0\x01r\x09\0\x01\0\
        \x26\0\x01k\0\x01v\x26\0\x01k\0\x01v{}"
        .to_vec();
    bytes[1] = (bytes.len() - 2) as u8;
    bytes[5] = (bytes.len() - 8) as u8;
    let user = ("k".into(), "v".into());
    server(
        V5,
        &bytes,
        Packet::Publish(Publish {
            topic_alias: NonZeroU16::new(1),
            message_expiry_s: Some(10),
            subscription_ids: vec![7, 128],
            properties: Some(Box::new(Properties {
                payload_format: Some(0),
                content_type: Some("j".into()),
                response_topic: Some("r".into()),
                correlation_data: Some(Bytes::from_static(b"\0")),
                user: vec![user.clone(), user],
            })),
            ..publish("t", b"{}")
        }),
    );
}

#[test]
fn a_payload_shares_the_memory_that_was_read() {
    let input = Bytes::from_static(b"\x30\x05\0\x01thi");
    let read = decoder(Sender::Client, V311).decode(&mut input.clone());
    let Ok(Some(Packet::Publish(read))) = read else {
        panic!("{read:?}");
    };
    assert_eq!(read.payload.as_ptr(), input[5..].as_ptr());
    assert_eq!(read.topic.unwrap().as_bytes().as_ptr(), input[4..].as_ptr());
}

#[test]
fn a_publication_keeps_what_was_published() {
    let mut read = publish("t", b"hi");
    read.message_expiry_s = Some(10);
    read.qos = QoS::AtLeastOnce;
    let now = Timestamp::from_secs(100);
    let publication = read.into_publication(topic("u"), now, None);
    assert_eq!(publication.topic, topic("u"));
    assert_eq!(publication.qos, QoS::AtLeastOnce);
    assert_eq!(publication.expires, Some(Timestamp::from_secs(110)));
    let later = PublishHead::new(&publication, Timestamp::from_secs(103));
    assert_eq!(later.message_expiry_s, Some(7));
}

#[test]
fn payload_format() {
    let with = |format, payload| Publish {
        properties: Some(Box::new(Properties {
            payload_format: format,
            ..Properties::default()
        })),
        ..publish("t", payload)
    };
    assert!(publish("t", b"\xff").has_valid_payload());
    assert!(with(Some(0), b"\xff").has_valid_payload());
    assert!(with(Some(1), "é".as_bytes()).has_valid_payload());
    assert!(!with(Some(1), b"\xff").has_valid_payload());
}

#[test]
fn acknowledgements() {
    type Wrap = fn(Ack) -> Packet;
    let kinds: [(u8, Wrap, ReasonCode); 4] = [
        (0x40, Packet::PubAck, ReasonCode::NotAuthorized),
        (0x50, Packet::PubRec, ReasonCode::NoMatchingSubscribers),
        (0x62, Packet::PubRel, ReasonCode::PacketIdentifierNotFound),
        (0x70, Packet::PubComp, ReasonCode::PacketIdentifierNotFound),
    ];
    for (first, wrap, reason) in kinds {
        for sender in [Sender::Client, Sender::Server] {
            for version in [V311, V5] {
                let packet = wrap(Ack::success(id(258)));
                check(sender, version, &[first, 2, 1, 2], packet);
            }
            let mut ack = Ack::new(id(258), reason);
            let short = [first, 3, 1, 2, reason.code()];
            check(sender, V5, &short, wrap(ack.clone()));
            ack.extras = Extras::reason("x");
            let long = [first, 8, 1, 2, reason.code(), 4, 0x1f, 0, 1, b'x'];
            check(sender, V5, &long, wrap(ack));
        }
        // Longer than it need be, but allowed.
        let read = decode(decoder(Sender::Client, V5), &[first, 4, 1, 2, 0, 0]);
        assert_eq!(read, Ok(wrap(Ack::success(id(258)))));
    }
}

#[test]
fn subscribe() {
    client(
        V311,
        b"\x82\x0d\0\x01\0\x03a/#\x01\0\x02+/\x00",
        Packet::Subscribe(Subscribe {
            packet_id: id(1),
            subscriptions: vec![
                subscription("a/#", QoS::AtLeastOnce),
                subscription("+/", QoS::AtMostOnce),
            ],
            user: Vec::new(),
        }),
    );
    client(
        V5,
        b"\x82\x1e\0\x01\x0a\x0b\x80\x01\x26\0\x01k\0\x01v\0\x01a\x2e\0\x0a$share/g/b\x11",
        Packet::Subscribe(Subscribe {
            packet_id: id(1),
            subscriptions: vec![
                Subscription {
                    no_local: true,
                    retain_as_published: true,
                    retain_handling: RetainHandling::Never,
                    id: Some(128),
                    ..subscription("a", QoS::ExactlyOnce)
                },
                Subscription {
                    retain_handling: RetainHandling::New,
                    id: Some(128),
                    ..subscription("$share/g/b", QoS::AtLeastOnce)
                },
            ],
            user: vec![("k".into(), "v".into())],
        }),
    );
}

#[test]
fn suback_and_unsuback() {
    let reasons = vec![
        ReasonCode::Success,
        ReasonCode::GrantedQoS2,
        ReasonCode::UnspecifiedError,
    ];
    let suback = Packet::SubAck(SubAck {
        packet_id: id(1),
        reasons,
        extras: None,
    });
    server(V311, b"\x90\x05\0\x01\0\x02\x80", suback.clone());
    server(V5, b"\x90\x06\0\x01\0\0\x02\x80", suback);
    let refused = Packet::SubAck(SubAck {
        packet_id: id(1),
        reasons: vec![ReasonCode::NotAuthorized],
        extras: Extras::reason("x"),
    });
    server(V5, b"\x90\x08\0\x01\x04\x1f\0\x01x\x87", refused.clone());
    assert_eq!(encode(encoder(V311), &refused), b"\x90\x03\0\x01\x80");

    let unsuback = |reasons: &[ReasonCode]| {
        Packet::UnsubAck(UnsubAck {
            packet_id: id(1),
            reasons: reasons.to_vec(),
            extras: None,
        })
    };
    server(V311, b"\xb0\x02\0\x01", unsuback(&[]));
    let reasons = [ReasonCode::Success, ReasonCode::NoSubscriptionExisted];
    server(V5, b"\xb0\x05\0\x01\0\0\x11", unsuback(&reasons));
}

#[test]
fn unsubscribe() {
    let packet = |user| {
        Packet::Unsubscribe(Unsubscribe {
            packet_id: id(1),
            filters: vec![filter("a"), filter("b/+")],
            user,
        })
    };
    client(V311, b"\xa2\x0a\0\x01\0\x01a\0\x03b/+", packet(Vec::new()));
    client(
        V5,
        b"\xa2\x12\0\x01\x07\x26\0\x01k\0\x01v\0\x01a\0\x03b/+",
        packet(vec![("k".into(), "v".into())]),
    );
}

#[test]
fn pings() {
    for version in [V311, V5] {
        client(version, b"\xc0\0", Packet::PingReq);
        server(version, b"\xd0\0", Packet::PingResp);
    }
}

#[test]
fn disconnect() {
    let packet = Packet::Disconnect;
    client(V311, b"\xe0\0", packet(Disconnect::default()));
    for sender in [Sender::Client, Sender::Server] {
        check(sender, V5, b"\xe0\0", packet(Disconnect::default()));
        let taken_over = Disconnect::new(ReasonCode::SessionTakenOver);
        check(sender, V5, b"\xe0\x01\x8e", packet(taken_over));
    }
    client(
        V5,
        b"\xe0\x07\x04\x05\x11\0\0\0\x1e",
        packet(Disconnect {
            session_expiry_s: Some(30),
            ..Disconnect::new(ReasonCode::DisconnectWithWill)
        }),
    );
    server(
        V5,
        b"\xe0\x0a\x9c\x08\x1c\0\x01s\x1f\0\x01x",
        packet(Disconnect {
            server_reference: Some("s".into()),
            extras: Extras::reason("x"),
            ..Disconnect::new(ReasonCode::UseAnotherServer)
        }),
    );
}

#[test]
fn auth() {
    for sender in [Sender::Client, Sender::Server] {
        check(sender, V5, b"\xf0\0", Packet::Auth(Auth::default()));
        check(
            sender,
            V5,
            b"\xf0\x0e\x18\x0c\x15\0\x01m\x16\0\x01d\x1f\0\x01x",
            Packet::Auth(Auth {
                reason: ReasonCode::ContinueAuthentication,
                method: Some("m".into()),
                data: Some(Bytes::from_static(b"d")),
                extras: Extras::reason("x"),
            }),
        );
    }
}

/// What is written for many, or in two parts, is what the encoder would have written for each receiver.
#[test]
fn publications_written_for_many() {
    for version in [V311, V5] {
        let is_5 = version == V5;
        for payload in [Bytes::from_static(b"hi"), Bytes::from(vec![b'x'; 300])] {
            let mut message = publication("a/b", b"");
            message.expires = is_5.then(|| Timestamp::from_secs(7));
            let mut head = PublishHead::new(&message, Timestamp::from_secs(2));
            let mut single = Publish {
                message_expiry_s: is_5.then_some(5),
                payload: payload.clone(),
                ..publish("a/b", b"")
            };
            let expected = encode(encoder(version), &Packet::Publish(single.clone()));
            assert_eq!(head.encode(version, &payload).unwrap(), expected);

            single.qos = QoS::AtLeastOnce;
            single.retain = true;
            single.packet_id = Some(id(0x1234));
            head.qos = single.qos;
            head.retain = true;
            head.packet_id = single.packet_id;
            if is_5 {
                single.subscription_ids = vec![1, 300];
                head.subscription_ids = &[1, 300];
            }
            let mut out = BytesMut::from(&b"before"[..]);
            head.encode_head(version, payload.len(), &mut out).unwrap();
            out.extend_from_slice(&payload);
            let expected = encode(encoder(version), &Packet::Publish(single));
            assert_eq!(out[6..], expected[..]);
        }
    }
}

#[test]
fn a_password_is_not_shown() {
    let connect = Connect {
        username: Some("user".into()),
        password: Some(Password::new("canary")),
        ..Connect::new(V5, "")
    };
    assert!(!format!("{connect:?}").contains("canary"));
    assert_eq!(connect.password.unwrap().expose(), b"canary");
}
