//! Properties (MQTT 5.0 section 2.2.2): what they are called, and reading them one by one.

use std::num::{NonZeroU16, NonZeroU32};

use bytes::Bytes;
use bytestring::ByteString;

use crate::config::limits::mqtt::USER_PROPERTIES;
use crate::domain::publication::{Properties, QoS};
use crate::domain::topic::TopicName;

use super::read::{Parsed, Reader};
use super::rules;
use super::write::Writer;
use super::{Extras, UserProperties};

/// The identifiers (table 2-4).
pub(super) mod id {
    pub const PAYLOAD_FORMAT: u8 = 0x01;
    pub const MESSAGE_EXPIRY: u8 = 0x02;
    pub const CONTENT_TYPE: u8 = 0x03;
    pub const RESPONSE_TOPIC: u8 = 0x08;
    pub const CORRELATION_DATA: u8 = 0x09;
    pub const SUBSCRIPTION_ID: u8 = 0x0b;
    pub const SESSION_EXPIRY: u8 = 0x11;
    pub const ASSIGNED_CLIENT_ID: u8 = 0x12;
    pub const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub const AUTH_METHOD: u8 = 0x15;
    pub const AUTH_DATA: u8 = 0x16;
    pub const REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
    pub const WILL_DELAY: u8 = 0x18;
    pub const REQUEST_RESPONSE_INFORMATION: u8 = 0x19;
    pub const RESPONSE_INFORMATION: u8 = 0x1a;
    pub const SERVER_REFERENCE: u8 = 0x1c;
    pub const REASON_STRING: u8 = 0x1f;
    pub const RECEIVE_MAXIMUM: u8 = 0x21;
    pub const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub const TOPIC_ALIAS: u8 = 0x23;
    pub const MAXIMUM_QOS: u8 = 0x24;
    pub const RETAIN_AVAILABLE: u8 = 0x25;
    pub const USER: u8 = 0x26;
    pub const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    pub const WILDCARD_AVAILABLE: u8 = 0x28;
    pub const SUBSCRIPTION_IDS_AVAILABLE: u8 = 0x29;
    pub const SHARED_AVAILABLE: u8 = 0x2a;
}

/// One property as it was read. Each kind of packet takes the ones it can have.
#[derive(Debug)]
pub(super) enum Property {
    PayloadFormat(u8),
    MessageExpiry(u32),
    ContentType(ByteString),
    ResponseTopic(ByteString),
    CorrelationData(Bytes),
    SubscriptionId(u32),
    SessionExpiry(u32),
    AssignedClientId(ByteString),
    ServerKeepAlive(u16),
    AuthMethod(ByteString),
    AuthData(Bytes),
    RequestProblemInformation(bool),
    WillDelay(u32),
    RequestResponseInformation(bool),
    ResponseInformation(ByteString),
    ServerReference(ByteString),
    ReasonString(ByteString),
    ReceiveMaximum(NonZeroU16),
    TopicAliasMaximum(u16),
    TopicAlias(NonZeroU16),
    MaximumQoS(QoS),
    RetainAvailable(bool),
    User(ByteString, ByteString),
    MaximumPacketSize(NonZeroU32),
    WildcardAvailable(bool),
    SubscriptionIdsAvailable(bool),
    SharedAvailable(bool),
}

/// Reads a property length and hands the properties to `take` in order. `take` refuses what its packet cannot have, and a
/// second subscription identifier where there may be one; other duplicates are refused here.
pub(super) fn each(
    reader: &mut Reader<'_>,
    mut take: impl FnMut(Property) -> Parsed<()>,
) -> Parsed<()> {
    let bytes = reader.number()?;
    let mut part = reader.part(bytes as usize)?;
    let mut seen = 0_u64;
    let mut users = 0;
    while !part.is_empty() {
        // The identifiers that there are take one byte.
        let identifier = part.number()?;
        let identifier = u8::try_from(identifier).map_err(|_| &rules::PROPERTY_UNKNOWN)?;
        let property = one(&mut part, identifier)?;
        match identifier {
            id::SUBSCRIPTION_ID => {}
            id::USER => {
                users += 1;
                if users > USER_PROPERTIES {
                    return Err(&rules::USER_PROPERTIES);
                }
            }
            // `one` knows no identifier above 0x2a.
            _ if seen & 1 << identifier != 0 => return Err(&rules::PROPERTY_TWICE),
            _ => seen |= 1 << identifier,
        }
        take(property)?;
    }
    Ok(())
}

fn one(part: &mut Reader<'_>, identifier: u8) -> Parsed<Property> {
    Ok(match identifier {
        id::PAYLOAD_FORMAT => Property::PayloadFormat(flag(part)?.into()),
        id::MESSAGE_EXPIRY => Property::MessageExpiry(part.u32()?),
        id::CONTENT_TYPE => Property::ContentType(part.text()?),
        id::RESPONSE_TOPIC => Property::ResponseTopic(part.text()?),
        id::CORRELATION_DATA => Property::CorrelationData(part.binary()?),
        id::SUBSCRIPTION_ID => match part.number()? {
            0 => return Err(&rules::PROPERTY_VALUE),
            number => Property::SubscriptionId(number),
        },
        id::SESSION_EXPIRY => Property::SessionExpiry(part.u32()?),
        id::ASSIGNED_CLIENT_ID => Property::AssignedClientId(part.text()?),
        id::SERVER_KEEP_ALIVE => Property::ServerKeepAlive(part.u16()?),
        id::AUTH_METHOD => Property::AuthMethod(part.text()?),
        id::AUTH_DATA => Property::AuthData(part.binary()?),
        id::REQUEST_PROBLEM_INFORMATION => Property::RequestProblemInformation(flag(part)?),
        id::WILL_DELAY => Property::WillDelay(part.u32()?),
        id::REQUEST_RESPONSE_INFORMATION => Property::RequestResponseInformation(flag(part)?),
        id::RESPONSE_INFORMATION => Property::ResponseInformation(part.text()?),
        id::SERVER_REFERENCE => Property::ServerReference(part.text()?),
        id::REASON_STRING => Property::ReasonString(part.text()?),
        id::RECEIVE_MAXIMUM => {
            let value = NonZeroU16::new(part.u16()?);
            Property::ReceiveMaximum(value.ok_or(&rules::PROPERTY_VALUE)?)
        }
        id::TOPIC_ALIAS_MAXIMUM => Property::TopicAliasMaximum(part.u16()?),
        id::TOPIC_ALIAS => {
            let value = NonZeroU16::new(part.u16()?);
            Property::TopicAlias(value.ok_or(&rules::TOPIC_ALIAS)?)
        }
        id::MAXIMUM_QOS => Property::MaximumQoS(match flag(part)? {
            false => QoS::AtMostOnce,
            true => QoS::AtLeastOnce,
        }),
        id::RETAIN_AVAILABLE => Property::RetainAvailable(flag(part)?),
        id::USER => Property::User(part.text()?, part.text()?),
        id::MAXIMUM_PACKET_SIZE => {
            let value = NonZeroU32::new(part.u32()?);
            Property::MaximumPacketSize(value.ok_or(&rules::PROPERTY_VALUE)?)
        }
        id::WILDCARD_AVAILABLE => Property::WildcardAvailable(flag(part)?),
        id::SUBSCRIPTION_IDS_AVAILABLE => Property::SubscriptionIdsAvailable(flag(part)?),
        id::SHARED_AVAILABLE => Property::SharedAvailable(flag(part)?),
        _ => return Err(&rules::PROPERTY_UNKNOWN),
    })
}

/// A byte that may be 0 or 1.
fn flag(part: &mut Reader<'_>) -> Parsed<bool> {
    match part.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(&rules::PROPERTY_VALUE),
    }
}

/// Reads properties of which only User Properties may be there.
pub(super) fn user_only(reader: &mut Reader<'_>) -> Parsed<UserProperties> {
    let mut user = Vec::new();
    each(reader, |property| match property {
        Property::User(name, value) => {
            user.push((name, value));
            Ok(())
        }
        _ => Err(&rules::PROPERTY_PLACE),
    })?;
    Ok(user)
}

/// Reads properties of which only Reason String and User Properties may be there.
pub(super) fn extras_only(reader: &mut Reader<'_>) -> Parsed<Option<Box<Extras>>> {
    let mut extras = Extras::default();
    each(reader, |property| take_extra(&mut extras, property))?;
    Ok(extras.into_option())
}

/// Takes a Reason String or User Property.
pub(super) fn take_extra(extras: &mut Extras, property: Property) -> Parsed<()> {
    match property {
        Property::ReasonString(text) => extras.reason_string = Some(text),
        Property::User(name, value) => extras.user.push((name, value)),
        _ => return Err(&rules::PROPERTY_PLACE),
    }
    Ok(())
}

/// Takes what PUBLISH and a will have in common and is handed on to the receiver as it is. Nothing is allocated before the
/// first such property.
pub(super) fn take_message(
    message: &mut Option<Box<Properties>>,
    property: Property,
) -> Parsed<()> {
    match property {
        Property::PayloadFormat(format) => {
            message.get_or_insert_default().payload_format = Some(format)
        }
        Property::ContentType(text) => message.get_or_insert_default().content_type = Some(text),
        Property::ResponseTopic(text) => {
            TopicName::parse(text.clone()).map_err(|_| &rules::RESPONSE_TOPIC)?;
            message.get_or_insert_default().response_topic = Some(text);
        }
        Property::CorrelationData(data) => {
            message.get_or_insert_default().correlation_data = Some(data)
        }
        Property::User(name, value) => message.get_or_insert_default().user.push((name, value)),
        _ => return Err(&rules::PROPERTY_PLACE),
    }
    Ok(())
}

/// Writes what [`take_message`] reads.
pub(super) fn write_message(out: &mut Writer<'_>, message: Option<&Properties>) {
    let Some(message) = message else { return };
    if let Some(format) = message.payload_format {
        out.u8_property(id::PAYLOAD_FORMAT, format);
    }
    if let Some(text) = &message.content_type {
        out.text_property(id::CONTENT_TYPE, text);
    }
    if let Some(text) = &message.response_topic {
        out.text_property(id::RESPONSE_TOPIC, text);
    }
    if let Some(data) = &message.correlation_data {
        out.binary_property(id::CORRELATION_DATA, data);
    }
    out.user_properties(&message.user);
}
