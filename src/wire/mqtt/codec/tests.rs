//! The codec against bytes written by hand, against every rule, and against chance.

mod bounds;
mod random;
mod refusals;
mod vectors;

use bytes::{Bytes, BytesMut};

use super::*;

fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

fn decoder(sender: Sender, version: Version) -> Decoder {
    Decoder::connected(sender, version, usize::MAX)
}

fn encoder(version: Version) -> Encoder {
    Encoder {
        version,
        max_bytes: usize::MAX,
        problem_information: true,
    }
}

/// Reads one packet, which must be all there is.
fn decode(decoder: Decoder, bytes: &[u8]) -> Result<Packet, Violation> {
    let mut input = Bytes::copy_from_slice(bytes);
    let packet = decoder.decode(&mut input)?;
    assert!(input.is_empty(), "left over: {input:?}");
    Ok(packet.expect("a whole packet"))
}

fn encode(encoder: Encoder, packet: &Packet) -> Vec<u8> {
    let mut out = BytesMut::new();
    encoder.encode(packet, &mut out).unwrap();
    out.to_vec()
}
