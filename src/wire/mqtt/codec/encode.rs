//! From packets to bytes.

use bytes::BytesMut;

use super::packet::kind;
use super::write::{TooLarge, Writer};
use super::{Extras, Packet, Version};

/// Writes packets for one connection.
#[derive(Debug, Clone, Copy)]
pub struct Encoder {
    /// The version that the receiver speaks.
    pub version: Version,
    /// The receiver's Maximum Packet Size, header included; `usize::MAX` if it named none.
    pub max_bytes: usize,
    /// The receiver's Request Problem Information: if `false`, only CONNACK, PUBLISH and DISCONNECT may explain themselves
    /// (`[MQTT-3.1.2-29]`), and other packets are written without their [`Extras`].
    pub problem_information: bool,
}

impl Encoder {
    /// For a receiver that has not said what it wants.
    pub const fn plain(version: Version) -> Self {
        Self {
            version,
            max_bytes: usize::MAX,
            problem_information: true,
        }
    }

    /// Appends a packet to `out`. If it is too large for its receiver its user properties are left out, then its reason
    /// string.
    ///
    /// # Errors
    /// [`TooLarge`] if it is still too large; `out` is as it was.
    pub fn encode(&self, packet: &Packet, out: &mut BytesMut) -> Result<(), TooLarge> {
        let start = out.len();
        let extras = self.extras(packet);
        let mut result = self.attempt(packet, extras, out);
        if let (Err(TooLarge), Some(extras)) = (result, extras) {
            let shorter = Extras {
                reason_string: extras.reason_string.clone(),
                user: Vec::new(),
            };
            out.truncate(start);
            result = self.attempt(packet, Some(&shorter), out);
            if result.is_err() {
                out.truncate(start);
                result = self.attempt(packet, None, out);
            }
        }
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    /// What the packet may say to explain itself.
    fn extras<'a>(&self, packet: &'a Packet) -> Option<&'a Extras> {
        let (extras, always) = match packet {
            Packet::ConnAck(packet) => (&packet.extras, true),
            Packet::Disconnect(packet) => (&packet.extras, true),
            Packet::PubAck(ack)
            | Packet::PubRec(ack)
            | Packet::PubRel(ack)
            | Packet::PubComp(ack) => (&ack.extras, false),
            Packet::SubAck(packet) => (&packet.extras, false),
            Packet::UnsubAck(packet) => (&packet.extras, false),
            Packet::Auth(packet) => (&packet.extras, false),
            _ => return None,
        };
        extras
            .as_deref()
            .filter(|_| always || self.problem_information)
    }

    fn attempt(
        &self,
        packet: &Packet,
        extras: Option<&Extras>,
        out: &mut BytesMut,
    ) -> Result<(), TooLarge> {
        let start = out.len();
        let version = self.version;
        let mut writer = Writer::new(out);
        let to = &mut writer;
        match packet {
            Packet::Connect(packet) => packet.write(to),
            Packet::ConnAck(packet) => packet.write(version, extras, to),
            Packet::Publish(packet) => packet.write(version, to),
            Packet::PubAck(ack) => ack.write(kind::PUBACK, version, extras, to),
            Packet::PubRec(ack) => ack.write(kind::PUBREC, version, extras, to),
            Packet::PubRel(ack) => ack.write(kind::PUBREL, version, extras, to),
            Packet::PubComp(ack) => ack.write(kind::PUBCOMP, version, extras, to),
            Packet::Subscribe(packet) => packet.write(version, to),
            Packet::SubAck(packet) => packet.write(version, extras, to),
            Packet::Unsubscribe(packet) => packet.write(version, to),
            Packet::UnsubAck(packet) => packet.write(version, extras, to),
            Packet::PingReq => to.packet(kind::PINGREQ << 4, 0, |_| {}),
            Packet::PingResp => to.packet(kind::PINGRESP << 4, 0, |_| {}),
            Packet::Disconnect(packet) => packet.write(version, extras, to),
            Packet::Auth(packet) => packet.write(extras, to),
        }
        writer.result()?;
        if out.len() - start > self.max_bytes {
            return Err(TooLarge);
        }
        Ok(())
    }
}
