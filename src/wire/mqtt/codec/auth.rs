//! AUTH (MQTT 5.0 section 3.15).

use bytes::Bytes;
use bytestring::ByteString;

use super::packet::kind;
use super::properties::{Property, each, id, take_extra};
use super::read::{Parsed, Reader};
use super::rules;
use super::write::Writer;
use super::{Extras, ReasonCode};

/// A step of an extended authentication.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Auth {
    /// Success, continue, or authenticate again.
    pub reason: ReasonCode,
    /// Authentication Method.
    pub method: Option<ByteString>,
    /// Authentication Data.
    pub data: Option<Bytes>,
    /// Why.
    pub extras: Option<Box<Extras>>,
}

const REASONS: &[ReasonCode] = &[
    ReasonCode::Success,
    ReasonCode::ContinueAuthentication,
    ReasonCode::ReAuthenticate,
];

impl Auth {
    pub(super) fn read(reader: &mut Reader<'_>) -> Parsed<Self> {
        let mut auth = Self::default();
        if reader.is_empty() {
            return Ok(auth);
        }
        auth.reason = reader.reason(REASONS, &rules::AUTH_REASON)?;
        let mut extras = Extras::default();
        each(reader, |property| {
            match property {
                Property::AuthMethod(text) => auth.method = Some(text),
                Property::AuthData(data) => auth.data = Some(data),
                other => take_extra(&mut extras, other)?,
            }
            Ok(())
        })?;
        auth.extras = extras.into_option();
        Ok(auth)
    }

    pub(super) fn write(&self, extras: Option<&Extras>, out: &mut Writer<'_>) {
        out.packet(kind::AUTH << 4, 0, |out| {
            if *self == Self::default() {
                return;
            }
            out.u8(self.reason.code());
            out.properties(|out| {
                if let Some(text) = &self.method {
                    out.text_property(id::AUTH_METHOD, text);
                }
                if let Some(data) = &self.data {
                    out.binary_property(id::AUTH_DATA, data);
                }
                out.extras(extras);
            });
        });
    }
}
