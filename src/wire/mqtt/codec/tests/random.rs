//! Packets and bytes made up at random.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use bytestring::ByteString;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::domain::publication::{
    Properties, Publication, QoS, RetainHandling, Subscription, Will,
};
use crate::domain::topic::{TopicFilter, TopicName};

use super::super::Version::{V5, V311};
use super::*;

fn text() -> impl Strategy<Value = ByteString> {
    "[a-zé✓😀\n/#]{0,6}".prop_map(ByteString::from)
}

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..200).prop_map(Bytes::from)
}

fn topic() -> impl Strategy<Value = TopicName> {
    "[a-z$é/]{1,8}".prop_map(|text| TopicName::parse(text.into()).unwrap())
}

fn filter() -> impl Strategy<Value = TopicFilter> {
    "(\\$share/[a-z]{1,2}/)?([a-z]{0,2}/|\\+/){0,3}([a-z]{1,2}|#|\\+)"
        .prop_map(|text| TopicFilter::parse(&text).unwrap())
}

fn users() -> impl Strategy<Value = UserProperties> {
    vec((text(), text()), 0..4)
}

fn extras() -> impl Strategy<Value = Option<Box<Extras>>> {
    (option::of(text()), users()).prop_map(|(reason_string, user)| {
        Extras {
            reason_string,
            user,
        }
        .into_option()
    })
}

fn qos() -> impl Strategy<Value = QoS> {
    select(vec![QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
}

fn packet_id() -> impl Strategy<Value = PacketId> {
    any::<NonZeroU16>().prop_map(PacketId)
}

fn properties() -> impl Strategy<Value = Option<Box<Properties>>> {
    let parts = (
        option::of(0..=1_u8),
        option::of(text()),
        option::of(topic()),
        option::of(bytes()),
        users(),
    );
    parts.prop_map(
        |(payload_format, content_type, response, correlation_data, user)| {
            let properties = Properties {
                payload_format,
                content_type,
                response_topic: response.map(|topic| topic.as_str().into()),
                correlation_data,
                user,
            };
            (properties != Properties::default()).then(|| Box::new(properties))
        },
    )
}

fn publish(version: Version, sender: Sender) -> impl Strategy<Value = Packet> {
    let flags = (any::<bool>(), qos(), any::<bool>(), packet_id());
    let more = (
        option::of(any::<NonZeroU16>()),
        any::<bool>(),
        option::of(any::<u32>()),
        vec(1..=268_435_455_u32, 0..3),
        properties(),
    );
    (flags, topic(), bytes(), more).prop_map(move |(flags, topic, payload, more)| {
        let (dup, qos, retain, packet_id) = flags;
        let (topic_alias, named, message_expiry_s, subscription_ids, properties) = more;
        let mut publish = Publish {
            dup: dup && qos != QoS::AtMostOnce,
            qos,
            retain,
            packet_id: (qos != QoS::AtMostOnce).then_some(packet_id),
            topic: (named || version == V311 || topic_alias.is_none()).then_some(topic),
            topic_alias,
            message_expiry_s,
            subscription_ids,
            properties,
            payload,
        };
        if sender == Sender::Client {
            publish.subscription_ids.clear();
        }
        if version == V311 {
            publish.topic_alias = None;
            publish.message_expiry_s = None;
            publish.subscription_ids.clear();
            publish.properties = None;
        }
        Packet::Publish(publish)
    })
}

fn will(version: Version) -> impl Strategy<Value = Will> {
    let parts = (topic(), bytes(), qos(), any::<bool>(), properties());
    (parts, any::<u32>(), option::of(any::<u32>())).prop_map(move |(parts, delay, expiry)| {
        let (topic, payload, qos, retain, properties) = parts;
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        let is_5 = version == V5;
        Will {
            publication: Publication {
                topic,
                payload,
                qos,
                retain,
                properties: properties.filter(|_| is_5),
                expires: None,
                publisher: None,
            },
            delay: if is_5 { seconds(delay) } else { Duration::ZERO },
            message_expiry: expiry.filter(|_| is_5).map(seconds),
        }
    })
}

fn connect(version: Version) -> impl Strategy<Value = Packet> {
    let common = (
        any::<bool>(),
        any::<u16>(),
        "[a-z]{1,4}",
        option::of(will(version)),
        option::of(text()),
        option::of(bytes()),
    );
    let only_5 = (
        any::<u32>(),
        any::<NonZeroU16>(),
        option::of(any::<NonZeroU32>()),
        any::<u16>(),
        any::<bool>(),
        any::<bool>(),
        option::of((text(), option::of(bytes()))),
        users(),
    );
    (common, only_5).prop_map(move |(common, only_5)| {
        let (clean_start, keep_alive_s, client_id, will, username, password) = common;
        let mut connect = Connect {
            clean_start,
            keep_alive_s,
            will,
            password: password
                .filter(|_| version == V5 || username.is_some())
                .map(Password::new),
            username,
            ..Connect::new(version, client_id)
        };
        if version == V311 {
            connect.session_expiry_s = if clean_start { 0 } else { u32::MAX };
            return Packet::Connect(Box::new(connect));
        }
        let (expiry, receive, size, aliases, response, problem, auth, user) = only_5;
        let (auth_method, auth_data) = auth.unzip();
        Packet::Connect(Box::new(Connect {
            session_expiry_s: expiry,
            receive_maximum: receive,
            maximum_packet_bytes: size,
            topic_alias_maximum: aliases,
            request_response_information: response,
            request_problem_information: problem,
            auth_method,
            auth_data: auth_data.flatten(),
            user,
            ..connect
        }))
    })
}

fn connack(version: Version) -> impl Strategy<Value = Packet> {
    let numbers = (
        option::of(any::<u32>()),
        option::of(any::<NonZeroU16>()),
        option::of(any::<NonZeroU32>()),
        option::of(any::<u16>()),
        option::of(any::<u16>()),
    );
    let flags = vec(option::of(any::<bool>()), 5);
    let texts = (vec(option::of(text()), 4), option::of(bytes()), extras());
    (any::<bool>(), numbers, flags, texts).prop_map(
        move |(session_present, numbers, flags, texts)| {
            if version == V311 {
                return Packet::ConnAck(Box::new(ConnAck {
                    session_present,
                    ..ConnAck::default()
                }));
            }
            let (mut texts, auth_data, extras) = texts;
            Packet::ConnAck(Box::new(ConnAck {
                session_present,
                reason: ReasonCode::Success,
                session_expiry_s: numbers.0,
                receive_maximum: numbers.1,
                maximum_packet_bytes: numbers.2,
                topic_alias_maximum: numbers.3,
                server_keep_alive_s: numbers.4,
                maximum_qos: flags[0].map(|one| {
                    if one {
                        QoS::AtLeastOnce
                    } else {
                        QoS::AtMostOnce
                    }
                }),
                retain_available: flags[1],
                wildcard_available: flags[2],
                subscription_ids_available: flags[3],
                shared_available: flags[4],
                assigned_client_id: texts[0].take(),
                response_information: texts[1].take(),
                server_reference: texts[2].take(),
                auth_method: texts[3].take(),
                auth_data,
                extras,
            }))
        },
    )
}

fn ack(version: Version) -> impl Strategy<Value = Packet> {
    type Kind = (fn(Ack) -> Packet, ReasonCode);
    let kinds: Vec<Kind> = vec![
        (Packet::PubAck, ReasonCode::QuotaExceeded),
        (Packet::PubRec, ReasonCode::NoMatchingSubscribers),
        (Packet::PubRel, ReasonCode::PacketIdentifierNotFound),
        (Packet::PubComp, ReasonCode::PacketIdentifierNotFound),
    ];
    let parts = (select(kinds), packet_id(), any::<bool>(), extras());
    parts.prop_map(move |((wrap, reason), packet_id, success, extras)| {
        if version == V311 {
            return wrap(Ack::success(packet_id));
        }
        let reason = if success { ReasonCode::Success } else { reason };
        wrap(Ack {
            packet_id,
            reason,
            extras,
        })
    })
}

fn subscription(version: Version) -> impl Strategy<Value = Subscription> {
    let handling = select(vec![
        RetainHandling::Always,
        RetainHandling::New,
        RetainHandling::Never,
    ]);
    let parts = (filter(), qos(), any::<bool>(), any::<bool>(), handling);
    parts.prop_map(
        move |(filter, qos, no_local, retain_as_published, handling)| {
            let is_5 = version == V5;
            Subscription {
                no_local: is_5 && no_local && filter.group().is_none(),
                retain_as_published: is_5 && retain_as_published,
                retain_handling: if is_5 {
                    handling
                } else {
                    RetainHandling::Always
                },
                filter,
                qos,
                id: None,
            }
        },
    )
}

fn subscribe(version: Version) -> impl Strategy<Value = Packet> {
    let parts = (
        packet_id(),
        vec(subscription(version), 1..4),
        option::of(1..=268_435_455_u32),
        users(),
    );
    parts.prop_map(move |(packet_id, mut subscriptions, id, mut user)| {
        if version == V311 {
            user.clear();
        } else {
            subscriptions.iter_mut().for_each(|one| one.id = id);
        }
        Packet::Subscribe(Subscribe {
            packet_id,
            subscriptions,
            user,
        })
    })
}

fn others(version: Version, sender: Sender) -> impl Strategy<Value = Packet> {
    let parts = (
        0..7,
        packet_id(),
        vec(filter(), 1..4),
        users(),
        extras(),
        option::of(any::<u32>()),
        option::of((text(), bytes())),
    );
    parts.prop_map(
        move |(choice, packet_id, filters, mut user, mut extras, number, pair)| {
            if version == V311 {
                user.clear();
                extras = None;
            }
            let (method, data) = pair.unzip();
            let is_5 = version == V5;
            match (choice, sender) {
                (0 | 1, Sender::Client) => Packet::Unsubscribe(Unsubscribe {
                    packet_id,
                    filters,
                    user,
                }),
                (0, Sender::Server) => Packet::SubAck(SubAck {
                    packet_id,
                    reasons: vec![ReasonCode::GrantedQoS1, ReasonCode::UnspecifiedError],
                    extras,
                }),
                (1, Sender::Server) => Packet::UnsubAck(UnsubAck {
                    packet_id,
                    reasons: vec![ReasonCode::NoSubscriptionExisted; if is_5 { 2 } else { 0 }],
                    extras,
                }),
                (2 | 3, _) if is_5 => Packet::Auth(Auth {
                    reason: ReasonCode::ContinueAuthentication,
                    method,
                    data,
                    extras,
                }),
                (4 | 5, _) if is_5 => Packet::Disconnect(Disconnect {
                    reason: ReasonCode::AdministrativeAction,
                    session_expiry_s: number,
                    server_reference: method,
                    extras,
                }),
                (2..=5, Sender::Client) => Packet::Disconnect(Disconnect::default()),
                (_, Sender::Client) => Packet::PingReq,
                (_, Sender::Server) => Packet::PingResp,
            }
        },
    )
}

/// Any packet that a side can send in a version.
fn packet(version: Version, sender: Sender) -> BoxedStrategy<Packet> {
    let common = prop_oneof![
        publish(version, sender),
        ack(version),
        others(version, sender)
    ];
    match sender {
        Sender::Client => prop_oneof![common, connect(version), subscribe(version)].boxed(),
        Sender::Server => prop_oneof![common, connack(version)].boxed(),
    }
}

fn any_packet() -> impl Strategy<Value = (Version, Sender, Packet)> {
    let versions = select(vec![V311, V5]);
    let senders = select(vec![Sender::Client, Sender::Server]);
    (versions, senders)
        .prop_flat_map(|(version, sender)| (Just(version), Just(sender), packet(version, sender)))
}

fn decoder_for(version: Version, sender: Sender, packet: &Packet) -> Decoder {
    match packet {
        Packet::Connect(_) => Decoder::awaiting_connect(usize::MAX),
        _ => decoder(sender, version),
    }
}

proptest! {
    #[test]
    fn what_is_written_is_what_is_read((version, sender, packet) in any_packet()) {
        let bytes = encode(encoder(version), &packet);
        let decoder = decoder_for(version, sender, &packet);
        prop_assert_eq!(decoder.measure(&bytes), Ok(Some(bytes.len())));
        prop_assert_eq!(decode(decoder, &bytes), Ok(packet));
    }

    /// Nothing panics, and what is read can be written and read again.
    #[test]
    fn damage_is_refused_or_means_something(
        (version, sender, packet) in any_packet(),
        changes in vec((any::<Index>(), any::<u8>()), 1..4),
        cut in option::of(any::<Index>()),
    ) {
        let mut bytes = encode(encoder(version), &packet);
        let decoder = decoder_for(version, sender, &packet);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(cut.map_or(bytes.len(), |cut| cut.index(bytes.len()) + 1));
        let mut input = Bytes::from(bytes);
        if let Ok(Some(read)) = decoder.decode(&mut input) {
            let version = match &read {
                Packet::Connect(connect) => connect.version,
                _ => version,
            };
            let again = encode(encoder(version), &read);
            prop_assert_eq!(decode(decoder, &again), Ok(read));
        }
    }

    /// Whatever comes, in whatever pieces: the same packets, and the same end.
    #[test]
    fn pieces_do_not_matter(
        version in select(vec![V311, V5]),
        stream in vec(packet(V311, Sender::Client), 1..4),
        noise in vec(any::<u8>(), 0..8),
        size in 1..40_usize,
    ) {
        let mut bytes = BytesMut::new();
        for packet in &stream {
            encoder(V311).encode(packet, &mut bytes).unwrap();
        }
        bytes.extend_from_slice(&noise);
        let decoder = decoder(Sender::Client, version);
        let drain = |held: &mut BytesMut, read: &mut Vec<_>| loop {
            match decoder.decode_from(held) {
                Ok(Some(packet)) => read.push(packet),
                Ok(None) => return None,
                Err(violation) => return Some(violation),
            }
        };
        let mut expected = Vec::new();
        let end = drain(&mut bytes.clone(), &mut expected);
        let mut held = BytesMut::new();
        let mut read = Vec::new();
        let mut ended = None;
        for piece in bytes.chunks(size) {
            held.extend_from_slice(piece);
            ended = drain(&mut held, &mut read);
            if ended.is_some() {
                break;
            }
        }
        prop_assert_eq!(read, expected);
        prop_assert_eq!(ended, end);
    }
}
