//! Every rule of [`rules`], broken.

use super::super::Version::{V5, V311};
use super::*;

/// What came before the packet.
#[derive(Debug, Clone, Copy)]
enum After {
    Nothing,
    Connect(Sender, Version),
}

use After::{Connect as Connected, Nothing};
use Sender::{Client, Server};

const C4: After = Connected(Client, V311);
const C5: After = Connected(Client, V5);
const S4: After = Connected(Server, V311);
const S5: After = Connected(Server, V5);

fn decoder_after(after: After) -> Decoder {
    match after {
        Nothing => Decoder::awaiting_connect(300),
        Connected(sender, version) => Decoder::connected(sender, version, 300),
    }
}

/// Refused for that, whole and in pieces: what comes before the last byte is never taken for a packet.
#[track_caller]
fn check(after: After, bytes: &[u8], rule: &'static Rule) {
    let decoder = decoder_after(after);
    let read = |bytes: &[u8]| decoder.decode_from(&mut BytesMut::from(bytes));
    let refused = read(bytes).map_err(|violation| violation.rule);
    assert_eq!(refused, Err(rule), "{}", bytes.escape_ascii());
    for end in 0..bytes.len() {
        match read(&bytes[..end]) {
            Ok(None) => {}
            Ok(Some(packet)) => panic!("{packet:?} from {}", bytes[..end].escape_ascii()),
            Err(violation) => assert_eq!(violation.rule, rule, "{end} bytes"),
        }
    }
}

/// A packet whose length is filled in.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let length = u8::try_from(body.len()).ok().filter(|length| *length < 128);
    let mut bytes = vec![first, length.expect("a short packet")];
    bytes.extend_from_slice(body);
    bytes
}

/// A CONNECT of that level and flags, and what follows the keep alive.
fn connect(level: u8, flags: u8, rest: &[u8]) -> Vec<u8> {
    let mut body = b"\0\x04MQTT".to_vec();
    body.extend_from_slice(&[level, flags, 0, 0]);
    body.extend_from_slice(rest);
    packet(0x10, &body)
}

/// The table. Each row breaks one rule.
fn rows() -> Vec<(After, Vec<u8>, &'static Rule)> {
    let mut rows = headers();
    rows.extend(fields());
    rows.extend(connects());
    rows.extend(publishes());
    rows.extend(answers());
    rows.extend(subscribes());
    rows
}

fn headers() -> Vec<(After, Vec<u8>, &'static Rule)> {
    let mut rows = vec![
        (Nothing, vec![0xc0, 0], &rules::FIRST_PACKET),
        // An HTTP request, and a TLS handshake.
        (
            Nothing,
            b"GET / HTTP/1.1\r\n".to_vec(),
            &rules::FIRST_PACKET,
        ),
        (Nothing, vec![0x16, 3, 1], &rules::FLAGS),
        (Nothing, vec![0x10, 0xad, 0x02], &rules::TOO_LARGE),
        (C5, connect(5, 2, b"\0\0\0"), &rules::SECOND_CONNECT),
        (C4, vec![0x00, 0], &rules::PACKET_TYPE),
        (C4, vec![0xf0, 0], &rules::PACKET_TYPE),
        (C4, vec![0xc0, 0xff, 0xff, 0xff, 0xff, 0x01], &rules::LENGTH),
        (C5, vec![0xc0, 0x80, 0], &rules::NOT_MINIMAL),
        (C5, vec![0xc0, 0x80, 0x80, 0], &rules::NOT_MINIMAL),
        (
            C5,
            packet(0x32, b"\0\x01a\0\x01\x80\0"),
            &rules::NOT_MINIMAL,
        ),
        (C5, vec![0x30, 0xff, 0xff, 0xff, 0x7f], &rules::TOO_LARGE),
        (C4, vec![0x30, 0xaa, 0x02], &rules::TOO_LARGE),
        (C4, vec![0xc1, 0], &rules::FLAGS),
        (C4, vec![0x41, 2, 0, 1], &rules::FLAGS),
        (C4, vec![0x60, 2, 0, 1], &rules::PUBREL_FLAGS),
        (C4, vec![0x80], &rules::SUBSCRIBE_FLAGS),
        (C4, vec![0x8a], &rules::SUBSCRIBE_FLAGS),
        (C5, vec![0xa0], &rules::UNSUBSCRIBE_FLAGS),
        (C5, vec![0xe1], &rules::DISCONNECT_FLAGS),
        (C5, vec![0xf1], &rules::AUTH_FLAGS),
    ];
    for first in [0x20, 0x90, 0xb0, 0xd0] {
        rows.push((C4, vec![first], &rules::WRONG_SIDE));
        rows.push((C5, vec![first], &rules::WRONG_SIDE));
    }
    for first in [0x10, 0x82, 0xa2, 0xc0] {
        rows.push((S5, vec![first], &rules::WRONG_SIDE));
    }
    rows.push((S4, vec![0xe0], &rules::WRONG_SIDE));
    rows
}

fn fields() -> Vec<(After, Vec<u8>, &'static Rule)> {
    let publish = |properties: &[u8]| {
        let mut body = b"\0\x01a".to_vec();
        body.push(properties.len() as u8);
        body.extend_from_slice(properties);
        packet(0x30, &body)
    };
    let mut rows = vec![
        (C4, packet(0x30, b"\0\x05a"), &rules::TRUNCATED),
        (C4, packet(0x30, b"\0"), &rules::TRUNCATED),
        (C4, packet(0x40, b"\0"), &rules::TRUNCATED),
        (C4, packet(0x82, b"\0\x01\0\x01a"), &rules::TRUNCATED),
        (C5, packet(0x30, b"\0\x01a\x05"), &rules::TRUNCATED),
        (C5, packet(0x30, b"\0\x01a"), &rules::TRUNCATED),
        (C5, publish(b"\x02\0\0"), &rules::TRUNCATED),
        (C5, publish(b"\x26\0\x01k"), &rules::TRUNCATED),
        (C5, packet(0xf0, b"\x18"), &rules::TRUNCATED),
        (C4, packet(0xc0, b"\0"), &rules::TRAILING),
        (C4, packet(0xe0, b"\0"), &rules::TRAILING),
        (C4, packet(0x40, b"\0\x01\0"), &rules::TRAILING),
        (C5, packet(0x40, b"\0\x01\0\0\0"), &rules::TRAILING),
        (C5, packet(0xe0, b"\0\0\0"), &rules::TRAILING),
        (Nothing, connect(4, 2, b"\0\x01a\0"), &rules::TRAILING),
        (C4, packet(0x30, b"\0\x03a\0b"), &rules::NUL),
        (C4, packet(0x82, b"\0\x01\0\x01\0\0"), &rules::NUL),
        (C5, publish(b"\x03\0\x01\0"), &rules::NUL),
        (C4, packet(0x32, b"\0\x01a\0\0"), &rules::PACKET_ID),
        (C4, packet(0x40, b"\0\0"), &rules::PACKET_ID),
        (C4, packet(0x82, b"\0\0\0\x01a\0"), &rules::PACKET_ID),
        (C5, packet(0xa2, b"\0\0\0\0\x01a"), &rules::PACKET_ID),
        (C5, publish(b"\x04\0"), &rules::PROPERTY_UNKNOWN),
        (C5, publish(b"\x7f"), &rules::PROPERTY_UNKNOWN),
        (C5, publish(b"\x83\x02\0"), &rules::PROPERTY_UNKNOWN),
        (C5, publish(b"\x11\0\0\0\0"), &rules::PROPERTY_PLACE),
        (
            C5,
            packet(0x82, b"\0\x01\x02\x01\0\0\x01a\0"),
            &rules::PROPERTY_PLACE,
        ),
        (
            C5,
            packet(0xa2, b"\0\x01\x02\x0b\x01\0\x01a"),
            &rules::PROPERTY_PLACE,
        ),
        (C5, publish(b"\x01\0\x01\0"), &rules::PROPERTY_TWICE),
        (
            C5,
            packet(0x82, b"\0\x01\x04\x0b\x01\x0b\x01\0\x01a\0"),
            &rules::PROPERTY_TWICE,
        ),
        (C5, publish(b"\x01\x02"), &rules::PROPERTY_VALUE),
        (
            C5,
            packet(0x82, b"\0\x01\x02\x0b\0\0\x01a\0"),
            &rules::PROPERTY_VALUE,
        ),
        (
            Nothing,
            connect(5, 2, b"\x03\x21\0\0\0\0"),
            &rules::PROPERTY_VALUE,
        ),
        (
            Nothing,
            connect(5, 2, b"\x05\x27\0\0\0\0\0\0"),
            &rules::PROPERTY_VALUE,
        ),
        (
            Nothing,
            connect(5, 2, b"\x02\x17\x02\0\0"),
            &rules::PROPERTY_VALUE,
        ),
    ];
    // A surrogate, an overlong slash, a lone continuation byte, a byte that UTF-8 never has, a code point beyond the last.
    for text in [
        &b"\xed\xa0\x80"[..],
        b"\xc0\xaf",
        b"\x80",
        b"\xff",
        b"\xf4\x90\x80\x80",
        b"\xc3",
    ] {
        let mut body = vec![0, text.len() as u8];
        body.extend_from_slice(text);
        rows.push((C4, packet(0x30, &body), &rules::UTF8));
        body.splice(0..0, [0, 1]);
        body.push(0);
        rows.push((C4, packet(0x82, &body), &rules::UTF8));
    }
    rows
}

fn connects() -> Vec<(After, Vec<u8>, &'static Rule)> {
    let name = |name: &[u8]| {
        let mut body = vec![0, name.len() as u8];
        body.extend_from_slice(name);
        body.extend_from_slice(b"\x04\x02\0\0\0\x01a");
        packet(0x10, &body)
    };
    vec![
        (Nothing, name(b"mqtt"), &rules::PROTOCOL_NAME),
        (Nothing, name(b"MQTT2"), &rules::PROTOCOL_NAME),
        (Nothing, name(b"MQIsdp"), &rules::PROTOCOL_VERSION),
        (Nothing, connect(3, 2, b"\0\x01a"), &rules::PROTOCOL_VERSION),
        (
            Nothing,
            connect(6, 2, b"\0\0\x01a"),
            &rules::PROTOCOL_VERSION,
        ),
        (
            Nothing,
            connect(0x84, 2, b"\0\x01a"),
            &rules::PROTOCOL_VERSION,
        ),
        (Nothing, connect(4, 3, b"\0\x01a"), &rules::CONNECT_FLAGS),
        (Nothing, connect(5, 3, b"\0\0\x01a"), &rules::CONNECT_FLAGS),
        (
            Nothing,
            connect(4, 0x0a, b"\0\x01a"),
            &rules::WILL_QOS_UNUSED,
        ),
        (
            Nothing,
            connect(4, 0x1a, b"\0\x01a"),
            &rules::WILL_QOS_UNUSED,
        ),
        (
            Nothing,
            connect(4, 0x1e, b"\0\x01a\0\x01t\0\0"),
            &rules::WILL_QOS,
        ),
        (
            Nothing,
            connect(5, 0x22, b"\0\0\x01a"),
            &rules::WILL_RETAIN_UNUSED,
        ),
        (
            Nothing,
            connect(4, 0x42, b"\0\x01a\0\x01p"),
            &rules::PASSWORD_ALONE,
        ),
        (Nothing, connect(4, 0, b"\0\0"), &rules::CLIENT_ID_EMPTY),
        (
            Nothing,
            connect(5, 2, b"\x04\x16\0\x01d\0\0"),
            &rules::AUTH_DATA_ALONE,
        ),
        (
            Nothing,
            connect(5, 2, b"\x02\x24\0\0\0"),
            &rules::PROPERTY_PLACE,
        ),
        (
            Nothing,
            connect(4, 6, b"\0\x01a\0\x01#\0\0"),
            &rules::TOPIC_WILDCARD,
        ),
        (
            Nothing,
            connect(4, 6, b"\0\x01a\0\0\0\0"),
            &rules::TOPIC_EMPTY,
        ),
        // A will property that is none, and one twice.
        (
            Nothing,
            connect(5, 6, b"\0\0\x01a\x03\x23\0\x01\0\x01t\0\0"),
            &rules::PROPERTY_PLACE,
        ),
        (
            Nothing,
            connect(5, 6, b"\0\0\x01a\x04\x01\0\x01\0\0\x01t\0\0"),
            &rules::PROPERTY_TWICE,
        ),
        (Nothing, connect(4, 6, b"\0\x01a\0\x01t"), &rules::TRUNCATED),
        (Nothing, connect(4, 0x82, b"\0\x01a"), &rules::TRUNCATED),
        (S4, packet(0x20, b"\x02\0"), &rules::CONNACK_FLAGS),
        (S4, packet(0x20, b"\0\x06"), &rules::CONNACK_REASON),
        (S5, packet(0x20, b"\0\x8e\0"), &rules::CONNACK_REASON),
    ]
}

fn publishes() -> Vec<(After, Vec<u8>, &'static Rule)> {
    let levels = {
        let mut body = b"\0\x20".to_vec();
        body.extend([b'/'; 32]);
        body
    };
    vec![
        (C4, vec![0x36], &rules::PUBLISH_QOS),
        (C5, vec![0x3f], &rules::PUBLISH_QOS),
        (C4, vec![0x38], &rules::PUBLISH_DUP),
        (C5, vec![0x39], &rules::PUBLISH_DUP),
        (C5, packet(0x30, b"\0\0\0"), &rules::TOPIC_MISSING),
        (C4, packet(0x30, b"\0\0"), &rules::TOPIC_EMPTY),
        (C4, packet(0x30, b"\0\x03a/#"), &rules::TOPIC_WILDCARD),
        (C5, packet(0x30, b"\0\x03a/+\0"), &rules::TOPIC_WILDCARD),
        (C4, packet(0x30, b"\0\x03a\r\n"), &rules::TOPIC_CHARACTER),
        (C4, packet(0x30, &levels), &rules::TOPIC_LEVELS),
        (
            C5,
            packet(0x30, b"\0\x01a\x03\x23\0\0"),
            &rules::TOPIC_ALIAS,
        ),
        (
            C5,
            packet(0x30, b"\0\x01a\x04\x08\0\x01#"),
            &rules::RESPONSE_TOPIC,
        ),
        (
            C5,
            packet(0x30, b"\0\x01a\x03\x08\0\0"),
            &rules::RESPONSE_TOPIC,
        ),
        (
            C5,
            packet(0x30, b"\0\x01a\x02\x0b\x01"),
            &rules::SUBSCRIPTION_ID,
        ),
    ]
}

fn answers() -> Vec<(After, Vec<u8>, &'static Rule)> {
    vec![
        (C5, packet(0x40, b"\0\x01\x92"), &rules::PUBACK_REASON),
        (C5, packet(0x40, b"\0\x01\x03"), &rules::PUBACK_REASON),
        (C5, packet(0x50, b"\0\x01\x92"), &rules::PUBREC_REASON),
        (C5, packet(0x62, b"\0\x01\x80"), &rules::PUBREL_REASON),
        (C5, packet(0x70, b"\0\x01\x80"), &rules::PUBCOMP_REASON),
        (C5, packet(0xe0, b"\x01"), &rules::DISCONNECT_REASON),
        (C5, packet(0xf0, b"\x01\0"), &rules::AUTH_REASON),
        (S4, packet(0x90, b"\0\x01\x87"), &rules::SUBACK_REASON),
        (S5, packet(0x90, b"\0\x01\0\x11"), &rules::SUBACK_REASON),
        (S5, packet(0xb0, b"\0\x01\0\x01"), &rules::UNSUBACK_REASON),
    ]
}

fn subscribes() -> Vec<(After, Vec<u8>, &'static Rule)> {
    let one = |filter: &[u8], options: u8| {
        let mut body = b"\0\x01\0".to_vec();
        body.extend([0, filter.len() as u8]);
        body.extend_from_slice(filter);
        body.push(options);
        packet(0x82, &body)
    };
    let mut rows = vec![
        (C4, packet(0x82, b"\0\x01"), &rules::SUBSCRIBE_EMPTY),
        (C5, packet(0x82, b"\0\x01\0"), &rules::SUBSCRIBE_EMPTY),
        (C4, packet(0xa2, b"\0\x01"), &rules::UNSUBSCRIBE_EMPTY),
        (C5, packet(0xa2, b"\0\x01\0"), &rules::UNSUBSCRIBE_EMPTY),
        (C4, packet(0xa2, b"\0\x01\0\x02#a"), &rules::FILTER_HASH),
        (C5, one(b"", 0), &rules::FILTER_EMPTY),
        (C5, one(b"a/#/b", 0), &rules::FILTER_HASH),
        (C5, one(b"a#", 0), &rules::FILTER_HASH),
        (C5, one(b"+a/#", 0), &rules::FILTER_PLUS),
        (C5, one(b"++", 0), &rules::FILTER_PLUS),
        (C5, one(b"a\r\nPUB", 0), &rules::FILTER_CHARACTER),
        (C5, one(&[b'/'; 32], 0), &rules::FILTER_LEVELS),
        (C5, one(b"$share//a", 0), &rules::SHARE_NAME),
        (C5, one(b"$share/g", 0), &rules::SHARE_FORM),
        (C5, one(b"$share/g+/a", 0), &rules::SHARE_FORM),
        (C5, one(b"a", 0x40), &rules::SUBSCRIPTION_OPTIONS),
        (C5, one(b"a", 0x80), &rules::SUBSCRIPTION_OPTIONS),
        (
            C4,
            packet(0x82, b"\0\x01\0\x01a\x04"),
            &rules::SUBSCRIPTION_OPTIONS,
        ),
        (
            C4,
            packet(0x82, b"\0\x01\0\x01a\x03"),
            &rules::SUBSCRIPTION_QOS,
        ),
        (C5, one(b"a", 3), &rules::SUBSCRIPTION_QOS),
        (C5, one(b"a", 0x30), &rules::RETAIN_HANDLING),
        (C5, one(b"$share/g/a", 4), &rules::NO_LOCAL_SHARED),
    ];
    // The second of two.
    rows.push((
        C4,
        packet(0x82, b"\0\x01\0\x01a\0\0\x02a#\0"),
        &rules::FILTER_HASH,
    ));
    rows
}

#[test]
fn each_rule_is_kept() {
    for (after, bytes, rule) in rows() {
        check(after, &bytes, rule);
    }
}

#[test]
fn no_rule_is_forgotten() {
    // These take long packets, and are among the bounds.
    let mut broken = vec![&rules::FILTERS, &rules::USER_PROPERTIES];
    broken.extend(rows().iter().map(|(_, _, rule)| *rule));
    for rule in rules::ALL {
        assert!(broken.contains(rule), "nothing breaks {rule:?}");
    }
}

#[test]
fn a_rule_of_the_specification_names_its_statement() {
    let violation = |rule, version| Violation { rule, version };
    let alone = violation(&rules::PASSWORD_ALONE, Some(V311));
    assert_eq!(alone.statement(), Some("MQTT-3.1.2-22"));
    let text = violation(&rules::UTF8, Some(V311));
    assert_eq!(text.statement(), Some("MQTT-1.5.3-1"));
    let text = violation(&rules::UTF8, Some(V5));
    assert_eq!(text.statement(), Some("MQTT-1.5.4-1"));
    assert_eq!(text.reason(), ReasonCode::MalformedPacket);
    assert_eq!(text.to_string(), "a text must be well-formed UTF-8");
}

/// An answer to a refused CONNECT is in the version that its sender speaks, if that is known.
#[test]
fn a_refused_connect_says_how_to_answer() {
    for (bytes, version) in [
        (connect(4, 3, b"\0\x01a"), Some(V311)),
        (connect(5, 3, b"\0\0\x01a"), Some(V5)),
        (connect(3, 2, b"\0\x01a"), Some(V311)),
        (connect(0x84, 2, b"\0\x01a"), Some(V311)),
        (connect(6, 2, b"\0\x01a"), Some(V5)),
        (packet(0x10, b"\0\x04HTTP"), None),
        (vec![0x30, 0], None),
        (vec![0x10, 0xff, 0x7f], None),
    ] {
        let refused = decoder_after(Nothing).decode(&mut bytes.into());
        assert_eq!(refused.unwrap_err().version, version);
    }
}

/// 3.1.1 does not ask for the shortest form of a length, and some small devices always write several bytes.
#[test]
fn a_long_length_is_taken_in_3_1_1() {
    let read = decode(decoder(Client, V311), &[0xc0, 0x80, 0x80, 0]);
    assert_eq!(read, Ok(Packet::PingReq));
    let read = Decoder::awaiting_connect(300).decode(&mut Bytes::from_static(
        b"\x10\x8d\0\0\x04MQTT\x04\x02\0\0\0\x01a",
    ));
    assert!(matches!(read, Ok(Some(Packet::Connect(_)))), "{read:?}");
    let read = Decoder::awaiting_connect(300).decode(&mut Bytes::from_static(
        b"\x10\x8e\0\0\x04MQTT\x05\x02\0\0\0\0\x01a",
    ));
    assert_eq!(read.unwrap_err().rule, &rules::NOT_MINIMAL);
}
