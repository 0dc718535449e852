//! PUBACK, PUBREC, PUBREL and PUBCOMP (sections 3.4 to 3.7): one shape.

use super::packet::kind;
use super::properties::extras_only;
use super::read::{Parsed, Reader};
use super::rules::{self, Rule};
use super::write::Writer;
use super::{Extras, PacketId, ReasonCode, Version};

/// What answers a PUBLISH, and the answers to that. 3.1.1 has the packet identifier only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// The publication's.
    pub packet_id: PacketId,
    /// How it went; 3.1.1 knows success only.
    pub reason: ReasonCode,
    /// MQTT 5: why.
    pub extras: Option<Box<Extras>>,
}

impl Ack {
    /// Says that all went well.
    pub const fn success(packet_id: PacketId) -> Self {
        Self::new(packet_id, ReasonCode::Success)
    }

    /// Without explanation.
    pub const fn new(packet_id: PacketId, reason: ReasonCode) -> Self {
        Self {
            packet_id,
            reason,
            extras: None,
        }
    }

    pub(super) fn read(packet: u8, version: Version, reader: &mut Reader<'_>) -> Parsed<Self> {
        let packet_id = reader.packet_id()?;
        let mut ack = Self::success(packet_id);
        if version == Version::V5 && !reader.is_empty() {
            let (allowed, rule) = reasons(packet);
            ack.reason = reader.reason(allowed, rule)?;
            if !reader.is_empty() {
                ack.extras = extras_only(reader)?;
            }
        }
        Ok(ack)
    }

    pub(super) fn write(
        &self,
        packet: u8,
        version: Version,
        extras: Option<&Extras>,
        out: &mut Writer<'_>,
    ) {
        let flags = if packet == kind::PUBREL { 0b0010 } else { 0 };
        out.packet(packet << 4 | flags, 0, |out| {
            out.u16(self.packet_id.get());
            if version == Version::V311 || self.reason == ReasonCode::Success && extras.is_none() {
                return;
            }
            out.u8(self.reason.code());
            if extras.is_some() {
                out.properties(|out| out.extras(extras));
            }
        });
    }
}

/// The reason codes that each packet can have, and the rule that others break.
fn reasons(packet: u8) -> (&'static [ReasonCode], &'static Rule) {
    use ReasonCode::*;
    /// Tables 3-4 and 3-5.
    const RECEIVED: &[ReasonCode] = &[
        Success,
        NoMatchingSubscribers,
        UnspecifiedError,
        ImplementationSpecificError,
        NotAuthorized,
        TopicNameInvalid,
        PacketIdentifierInUse,
        QuotaExceeded,
        PayloadFormatInvalid,
    ];
    /// Tables 3-6 and 3-7.
    const RELEASED: &[ReasonCode] = &[Success, PacketIdentifierNotFound];
    match packet {
        kind::PUBACK => (RECEIVED, &rules::PUBACK_REASON),
        kind::PUBREC => (RECEIVED, &rules::PUBREC_REASON),
        kind::PUBREL => (RELEASED, &rules::PUBREL_REASON),
        _ => (RELEASED, &rules::PUBCOMP_REASON),
    }
}
