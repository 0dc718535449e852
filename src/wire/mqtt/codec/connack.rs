//! CONNACK (section 3.2).

use std::num::{NonZeroU16, NonZeroU32};

use bytes::Bytes;
use bytestring::ByteString;

use crate::domain::publication::QoS;

use super::packet::kind;
use super::properties::{Property, each, id, take_extra};
use super::read::{Parsed, Reader};
use super::rules;
use super::write::Writer;
use super::{Extras, ReasonCode, Version};

/// The answer to CONNECT. What is `None` is not said, which means what the specification says it means. 3.1.1 has the first
/// two only, with the nearest of its six return codes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConnAck {
    /// The client's earlier session goes on. Must be `false` with an error.
    pub session_present: bool,
    /// Whether and why not the client is connected.
    pub reason: ReasonCode,
    /// Session Expiry Interval in seconds that the server uses instead of the client's.
    pub session_expiry_s: Option<u32>,
    /// Receive Maximum: QoS 1 and 2 publications that the client may have in flight. Unsaid: 65,535.
    pub receive_maximum: Option<NonZeroU16>,
    /// Maximum QoS, 0 or 1. Unsaid: 2.
    pub maximum_qos: Option<QoS>,
    /// Retain Available. Unsaid: yes.
    pub retain_available: Option<bool>,
    /// Maximum Packet Size in bytes that the server takes. Unsaid: any.
    pub maximum_packet_bytes: Option<NonZeroU32>,
    /// Assigned Client Identifier, for a client that sent none.
    pub assigned_client_id: Option<ByteString>,
    /// Topic Alias Maximum that the client may use. Unsaid: 0.
    pub topic_alias_maximum: Option<u16>,
    /// Wildcard Subscription Available. Unsaid: yes.
    pub wildcard_available: Option<bool>,
    /// Subscription Identifiers Available. Unsaid: yes.
    pub subscription_ids_available: Option<bool>,
    /// Shared Subscription Available. Unsaid: yes.
    pub shared_available: Option<bool>,
    /// Server Keep Alive in seconds, instead of the client's.
    pub server_keep_alive_s: Option<u16>,
    /// Response Information, only if asked for.
    pub response_information: Option<ByteString>,
    /// Server Reference: another server to use.
    pub server_reference: Option<ByteString>,
    /// Authentication Method.
    pub auth_method: Option<ByteString>,
    /// Authentication Data.
    pub auth_data: Option<Bytes>,
    /// Why, in words.
    pub extras: Option<Box<Extras>>,
}

impl ConnAck {
    /// Says that the client is not connected.
    pub fn refused(reason: ReasonCode) -> Self {
        Self {
            reason,
            ..Self::default()
        }
    }

    pub(super) fn read(version: Version, reader: &mut Reader<'_>) -> Parsed<Self> {
        let flags = reader.u8()?;
        if flags > 1 {
            return Err(&rules::CONNACK_FLAGS);
        }
        let mut connack = Self {
            session_present: flags == 1,
            ..Self::default()
        };
        if version == Version::V311 {
            connack.reason =
                ReasonCode::from_connack_v311(reader.u8()?).ok_or(&rules::CONNACK_REASON)?;
            return Ok(connack);
        }
        connack.reason = reader.reason(REASONS, &rules::CONNACK_REASON)?;
        let mut extras = Extras::default();
        each(reader, |property| connack.take(property, &mut extras))?;
        connack.extras = extras.into_option();
        Ok(connack)
    }

    fn take(&mut self, property: Property, extras: &mut Extras) -> Parsed<()> {
        match property {
            Property::SessionExpiry(value) => self.session_expiry_s = Some(value),
            Property::ReceiveMaximum(value) => self.receive_maximum = Some(value),
            Property::MaximumQoS(value) => self.maximum_qos = Some(value),
            Property::RetainAvailable(value) => self.retain_available = Some(value),
            Property::MaximumPacketSize(value) => self.maximum_packet_bytes = Some(value),
            Property::AssignedClientId(value) => self.assigned_client_id = Some(value),
            Property::TopicAliasMaximum(value) => self.topic_alias_maximum = Some(value),
            Property::WildcardAvailable(value) => self.wildcard_available = Some(value),
            Property::SubscriptionIdsAvailable(value) => {
                self.subscription_ids_available = Some(value);
            }
            Property::SharedAvailable(value) => self.shared_available = Some(value),
            Property::ServerKeepAlive(value) => self.server_keep_alive_s = Some(value),
            Property::ResponseInformation(value) => self.response_information = Some(value),
            Property::ServerReference(value) => self.server_reference = Some(value),
            Property::AuthMethod(value) => self.auth_method = Some(value),
            Property::AuthData(value) => self.auth_data = Some(value),
            other => take_extra(extras, other)?,
        }
        Ok(())
    }

    pub(super) fn write(&self, version: Version, extras: Option<&Extras>, out: &mut Writer<'_>) {
        out.packet(kind::CONNACK << 4, 0, |out| {
            out.u8(self.session_present.into());
            match version {
                Version::V311 => out.u8(self.reason.connack_v311()),
                Version::V5 => {
                    out.u8(self.reason.code());
                    out.properties(|out| {
                        self.write_limits(out);
                        self.write_texts(out);
                        out.extras(extras);
                    });
                }
            }
        });
    }

    fn write_limits(&self, out: &mut Writer<'_>) {
        let mut flag = |id, value: Option<bool>| {
            if let Some(value) = value {
                out.u8_property(id, value.into());
            }
        };
        flag(
            id::MAXIMUM_QOS,
            self.maximum_qos.map(|qos| qos != QoS::AtMostOnce),
        );
        flag(id::RETAIN_AVAILABLE, self.retain_available);
        flag(id::WILDCARD_AVAILABLE, self.wildcard_available);
        flag(
            id::SUBSCRIPTION_IDS_AVAILABLE,
            self.subscription_ids_available,
        );
        flag(id::SHARED_AVAILABLE, self.shared_available);
        if let Some(value) = self.session_expiry_s {
            out.u32_property(id::SESSION_EXPIRY, value);
        }
        if let Some(value) = self.receive_maximum {
            out.u16_property(id::RECEIVE_MAXIMUM, value.get());
        }
        if let Some(value) = self.maximum_packet_bytes {
            out.u32_property(id::MAXIMUM_PACKET_SIZE, value.get());
        }
        if let Some(value) = self.topic_alias_maximum {
            out.u16_property(id::TOPIC_ALIAS_MAXIMUM, value);
        }
        if let Some(value) = self.server_keep_alive_s {
            out.u16_property(id::SERVER_KEEP_ALIVE, value);
        }
    }

    fn write_texts(&self, out: &mut Writer<'_>) {
        for (id, text) in [
            (id::ASSIGNED_CLIENT_ID, &self.assigned_client_id),
            (id::RESPONSE_INFORMATION, &self.response_information),
            (id::SERVER_REFERENCE, &self.server_reference),
            (id::AUTH_METHOD, &self.auth_method),
        ] {
            if let Some(text) = text {
                out.text_property(id, text);
            }
        }
        if let Some(data) = &self.auth_data {
            out.binary_property(id::AUTH_DATA, data);
        }
    }
}

/// Table 3-1.
const REASONS: &[ReasonCode] = {
    use ReasonCode::*;
    &[
        Success,
        UnspecifiedError,
        MalformedPacket,
        ProtocolError,
        ImplementationSpecificError,
        UnsupportedProtocolVersion,
        ClientIdentifierNotValid,
        BadUserNameOrPassword,
        NotAuthorized,
        ServerUnavailable,
        ServerBusy,
        Banned,
        BadAuthenticationMethod,
        TopicNameInvalid,
        PacketTooLarge,
        QuotaExceeded,
        PayloadFormatInvalid,
        RetainNotSupported,
        QoSNotSupported,
        UseAnotherServer,
        ServerMoved,
        ConnectionRateExceeded,
    ]
};
