//! A stream of packets of one version, from either side, in pieces.

use bytes::BytesMut;
use fanfare::wire::mqtt::codec::{Decoder, Encoder, Packet, Sender, Version, Violation};

/// What a connection would let through: beyond it nothing may be held.
const MAX_BYTES: usize = 2048;

/// The first byte chooses who sends, whether CONNECT was read, and how long the pieces are; the rest is the stream.
pub fn check(version: Version, data: &[u8]) {
    let Some((&choice, stream)) = data.split_first() else {
        return;
    };
    let (sender, start) = match choice & 3 {
        0 => (Sender::Client, None),
        1 => (Sender::Server, None),
        _ => (Sender::Client, Some(Decoder::awaiting_connect(MAX_BYTES))),
    };
    let start = start.unwrap_or(Decoder::connected(sender, version, MAX_BYTES));
    let (packets, end) = read(start, stream, stream.len().max(1));
    let in_pieces = read(start, stream, usize::from(choice >> 2) + 1);
    assert_eq!(in_pieces, (packets.clone(), end), "pieces matter");
    if let Some(violation) = end {
        assert!(violation.reason().is_error(), "{violation:?}");
    }
    let mut version = version;
    for packet in &packets {
        let decoder = match packet {
            Packet::Connect(connect) => {
                version = connect.version;
                Decoder::awaiting_connect(usize::MAX)
            }
            _ => Decoder::connected(sender, version, usize::MAX),
        };
        write_and_read(packet, version, decoder);
    }
}

/// The packets and what was wrong with the first that was refused.
fn read(mut decoder: Decoder, stream: &[u8], piece: usize) -> (Vec<Packet>, Option<Violation>) {
    let mut held = BytesMut::new();
    let mut packets = Vec::new();
    for piece in stream.chunks(piece) {
        held.extend_from_slice(piece);
        loop {
            match decoder.decode_from(&mut held) {
                Ok(Some(packet)) => {
                    if let Packet::Connect(connect) = &packet {
                        decoder = Decoder::connected(Sender::Client, connect.version, MAX_BYTES);
                    }
                    packets.push(packet);
                }
                Ok(None) => break,
                Err(violation) => return (packets, Some(violation)),
            }
        }
        assert!(held.len() < MAX_BYTES, "{} bytes held", held.len());
    }
    (packets, None)
}

/// What is read can be written, and means the same then; cut to a size it keeps to it, and is still a packet.
fn write_and_read(packet: &Packet, version: Version, decoder: Decoder) {
    let mut encoder = Encoder {
        version,
        max_bytes: usize::MAX,
        problem_information: true,
    };
    let mut written = BytesMut::new();
    encoder.encode(packet, &mut written).expect("it was read");
    let written = written.freeze();
    let again = decoder
        .decode(&mut written.clone())
        .expect("it was written");
    assert_eq!(again.as_ref(), Some(packet), "{}", written.escape_ascii());
    for max_bytes in [written.len() - 1, written.len() / 2] {
        encoder.max_bytes = max_bytes;
        let mut short = BytesMut::new();
        if encoder.encode(packet, &mut short).is_ok() {
            assert!(short.len() <= max_bytes, "{} bytes", short.len());
            let read = decoder.decode(&mut short.clone().freeze());
            assert!(matches!(read, Ok(Some(_))), "{}", short.escape_ascii());
        } else {
            assert!(short.is_empty());
        }
    }
}
