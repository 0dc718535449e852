//! Sizes: of what is read, of what is written, and of what a stranger may make us hold.

use crate::config::limits::mqtt::{PACKET_FILTERS, PRE_AUTH_BYTES, USER_PROPERTIES};

use super::super::Version::{V5, V311};
use super::*;

/// Appends a field with its length before it.
fn counted(out: &mut Vec<u8>, body: &[u8]) {
    let mut left = body.len();
    while left > 127 {
        out.push((left % 128) as u8 | 0x80);
        left /= 128;
    }
    out.push(left as u8);
    out.extend_from_slice(body);
}

fn publish_with_users(users: usize) -> Vec<u8> {
    let mut body = b"\0\x01a".to_vec();
    counted(&mut body, &b"\x26\0\0\0\0".repeat(users));
    let mut bytes = vec![0x30];
    counted(&mut bytes, &body);
    bytes
}

#[test]
fn user_properties_are_bounded() {
    let read = |users| decode(decoder(Sender::Client, V5), &publish_with_users(users));
    assert!(read(USER_PROPERTIES).is_ok());
    for users in [USER_PROPERTIES + 1, 10_000] {
        assert_eq!(read(users).unwrap_err().rule, &rules::USER_PROPERTIES);
    }
}

#[test]
fn filters_are_bounded() {
    for version in [V311, V5] {
        for (first, one) in [(0x82, &b"\0\x01a\0"[..]), (0xa2, b"\0\x01a")] {
            let read = |filters| {
                let mut body = b"\0\x01".to_vec();
                if version == V5 {
                    body.push(0);
                }
                body.extend(one.repeat(filters));
                let mut bytes = vec![first];
                counted(&mut bytes, &body);
                decode(decoder(Sender::Client, version), &bytes)
            };
            assert!(read(PACKET_FILTERS).is_ok());
            let refused = read(PACKET_FILTERS + 1).unwrap_err();
            assert_eq!(refused.rule, &rules::FILTERS);
        }
    }
}

/// The maximum counts the header, and is known before the packet is there.
#[test]
fn a_packet_may_have_the_maximum_and_no_more() {
    let bytes = b"\x30\x05\0\x01thi";
    let read = |max| Decoder::connected(Sender::Client, V311, max).decode(&mut (&bytes[..]).into());
    assert!(matches!(read(7), Ok(Some(Packet::Publish(_)))));
    assert_eq!(read(6).unwrap_err().rule, &rules::TOO_LARGE);
    let decoder = Decoder::connected(Sender::Client, V311, 6);
    assert_eq!(
        decoder.measure(b"\x30").map_err(|refused| refused.rule),
        Ok(None)
    );
    assert_eq!(
        decoder.measure(b"\x30\x05").unwrap_err().reason(),
        ReasonCode::PacketTooLarge
    );
}

/// What has to be held before a CONNECT is complete stays below the bound, whatever is sent in whatever pieces.
#[test]
fn little_is_held_before_connect() {
    let decoder = Decoder::awaiting_connect(PRE_AUTH_BYTES);
    for length in 0..=u16::MAX {
        let mut bytes = vec![0x10];
        counted(&mut bytes, &vec![0; length.into()]);
        match decoder.measure(&bytes[..4.min(bytes.len())]) {
            Ok(Some(whole)) => assert!(whole <= PRE_AUTH_BYTES && whole == bytes.len()),
            Ok(None) => panic!("unknown after four bytes: {length}"),
            Err(refused) => {
                assert!(bytes.len() > PRE_AUTH_BYTES, "{length}");
                assert_eq!(refused.rule, &rules::TOO_LARGE);
            }
        }
    }
}

#[test]
fn packets_come_one_by_one_however_they_are_cut() {
    let stream = b"\xc0\0\x30\x05\0\x01thi\x40\x02\0\x01\xe0\0";
    let decoder = decoder(Sender::Client, V311);
    let mut whole = Bytes::from_static(stream);
    let mut expected = Vec::new();
    while let Some(packet) = decoder.decode(&mut whole).unwrap() {
        expected.push(packet);
    }
    assert_eq!(expected.len(), 4);
    for size in 1..=stream.len() {
        let mut held = BytesMut::new();
        let mut read = Vec::new();
        for piece in stream.chunks(size) {
            held.extend_from_slice(piece);
            while let Some(packet) = decoder.decode_from(&mut held).unwrap() {
                read.push(packet);
            }
        }
        assert_eq!(read, expected, "pieces of {size}");
        assert!(held.is_empty());
    }
}

fn talkative() -> Packet {
    let mut ack = Ack::new(id(1), ReasonCode::NotAuthorized);
    ack.extras = Some(Box::new(Extras {
        reason_string: Some("because".into()),
        user: vec![("name".into(), "value".into())],
    }));
    Packet::PubAck(ack)
}

#[test]
fn an_explanation_is_shortened_to_fit() {
    let lengths: Vec<_> = (0..32)
        .map(|max_bytes| {
            let mut out = BytesMut::from(&b"before"[..]);
            let encoder = Encoder {
                max_bytes,
                ..encoder(V5)
            };
            let result = encoder.encode(&talkative(), &mut out);
            assert_eq!(result.is_err(), out.len() == 6, "{max_bytes}");
            assert!(out.len() - 6 <= max_bytes);
            out.len() - 6
        })
        .collect();
    // Nothing, the bare packet, with the reason string, with everything.
    for (max_bytes, length) in [
        (4, 0),
        (5, 5),
        (15, 5),
        (16, 16),
        (29, 16),
        (30, 30),
        (31, 30),
    ] {
        assert_eq!(lengths[max_bytes], length, "at most {max_bytes} bytes");
    }
}

#[test]
fn who_wants_no_explanation_gets_none() {
    let quiet = Encoder {
        problem_information: false,
        ..encoder(V5)
    };
    assert_eq!(encode(quiet, &talkative()), b"\x40\x03\0\x01\x87");
    // These two may have one all the same.
    let extras = Extras::reason("x");
    let connack = ConnAck {
        extras: extras.clone(),
        ..ConnAck::refused(ReasonCode::Banned)
    };
    let connack = encode(quiet, &Packet::ConnAck(Box::new(connack)));
    assert_eq!(connack, b"\x20\x07\0\x8a\x04\x1f\0\x01x");
    let disconnect = Packet::Disconnect(Disconnect {
        extras,
        ..Disconnect::new(ReasonCode::Banned)
    });
    assert_eq!(encode(quiet, &disconnect), b"\xe0\x06\x8a\x04\x1f\0\x01x");
}

/// A text that no length field can count is left out if it explains, and refused if it is the message.
#[test]
fn what_cannot_be_said_is_not_sent() {
    let long = "x".repeat(65_536);
    let ack = Ack {
        extras: Extras::reason(long.clone()),
        ..Ack::new(id(1), ReasonCode::QuotaExceeded)
    };
    assert_eq!(
        encode(encoder(V5), &Packet::PubAck(ack)),
        b"\x40\x03\0\x01\x97"
    );
    let properties = crate::domain::publication::Properties {
        content_type: Some(long.into()),
        ..Default::default()
    };
    let outgoing = PublishHead {
        dup: false,
        qos: Default::default(),
        retain: false,
        packet_id: None,
        topic: "a",
        topic_alias: None,
        message_expiry_s: None,
        subscription_ids: &[],
        properties: Some(&properties),
    };
    let mut out = BytesMut::new();
    assert_eq!(outgoing.encode_head(V5, 0, &mut out), Err(TooLarge));
    assert!(out.is_empty());
    assert_eq!(
        outgoing.encode_head(V311, 268_435_455, &mut out),
        Err(TooLarge)
    );
    assert!(out.is_empty());
    assert_eq!(outgoing.encode_head(V311, 268_435_452, &mut out), Ok(()));
    assert_eq!(out[..], *b"\x30\xff\xff\xff\x7f\0\x01a");
}

/// Lengths around each further byte of the length field.
#[test]
fn lengths_of_one_to_four_bytes() {
    for length in [
        0, 1, 124, 125, 126, 16_380, 16_381, 16_382, 2_097_148, 2_097_149,
    ] {
        let payload = vec![b'x'; length];
        let mut body = b"\0\x01a".to_vec();
        body.extend_from_slice(&payload);
        let mut bytes = vec![0x30];
        counted(&mut bytes, &body);
        let packet = decode(decoder(Sender::Client, V311), &bytes).unwrap();
        assert_eq!(encode(encoder(V311), &packet), bytes, "{length}");
    }
}
