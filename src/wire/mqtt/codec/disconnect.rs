//! DISCONNECT (section 3.14).

use bytestring::ByteString;

use super::packet::kind;
use super::properties::{Property, each, id, take_extra};
use super::read::{Parsed, Reader};
use super::rules;
use super::write::Writer;
use super::{Extras, ReasonCode, Version};

/// The last packet. In 3.1.1 only a client sends it, and it is empty; a server closes the connection instead.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Disconnect {
    /// Why.
    pub reason: ReasonCode,
    /// Session Expiry Interval in seconds, only from a client: as of now instead of CONNECT's. 4,294,967,295: never.
    pub session_expiry_s: Option<u32>,
    /// Server Reference: another server to use.
    pub server_reference: Option<ByteString>,
    /// Why, in words.
    pub extras: Option<Box<Extras>>,
}

impl Disconnect {
    /// With a reason only.
    pub fn new(reason: ReasonCode) -> Self {
        Self {
            reason,
            ..Self::default()
        }
    }

    pub(super) fn read(version: Version, reader: &mut Reader<'_>) -> Parsed<Self> {
        let mut disconnect = Self::default();
        if version == Version::V311 || reader.is_empty() {
            return Ok(disconnect);
        }
        disconnect.reason = reader.reason(REASONS, &rules::DISCONNECT_REASON)?;
        if reader.is_empty() {
            return Ok(disconnect);
        }
        let mut extras = Extras::default();
        each(reader, |property| {
            match property {
                Property::SessionExpiry(seconds) => disconnect.session_expiry_s = Some(seconds),
                Property::ServerReference(text) => disconnect.server_reference = Some(text),
                other => take_extra(&mut extras, other)?,
            }
            Ok(())
        })?;
        disconnect.extras = extras.into_option();
        Ok(disconnect)
    }

    pub(super) fn write(&self, version: Version, extras: Option<&Extras>, out: &mut Writer<'_>) {
        out.packet(kind::DISCONNECT << 4, 0, |out| {
            let properties = self.session_expiry_s.is_some()
                || self.server_reference.is_some()
                || extras.is_some();
            if version == Version::V311 || self.reason == ReasonCode::Success && !properties {
                return;
            }
            out.u8(self.reason.code());
            if !properties {
                return;
            }
            out.properties(|out| {
                if let Some(seconds) = self.session_expiry_s {
                    out.u32_property(id::SESSION_EXPIRY, seconds);
                }
                if let Some(text) = &self.server_reference {
                    out.text_property(id::SERVER_REFERENCE, text);
                }
                out.extras(extras);
            });
        });
    }
}

/// Table 3-13, both sides' codes.
const REASONS: &[ReasonCode] = {
    use ReasonCode::*;
    &[
        Success,
        DisconnectWithWill,
        UnspecifiedError,
        MalformedPacket,
        ProtocolError,
        ImplementationSpecificError,
        NotAuthorized,
        ServerBusy,
        ServerShuttingDown,
        BadAuthenticationMethod,
        KeepAliveTimeout,
        SessionTakenOver,
        TopicFilterInvalid,
        TopicNameInvalid,
        ReceiveMaximumExceeded,
        TopicAliasInvalid,
        PacketTooLarge,
        MessageRateTooHigh,
        QuotaExceeded,
        AdministrativeAction,
        PayloadFormatInvalid,
        RetainNotSupported,
        QoSNotSupported,
        UseAnotherServer,
        ServerMoved,
        SharedSubscriptionsNotSupported,
        ConnectionRateExceeded,
        MaximumConnectTime,
        SubscriptionIdentifiersNotSupported,
        WildcardSubscriptionsNotSupported,
    ]
};
