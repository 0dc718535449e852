//! CONNECT (section 3.1).

use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;

use crate::domain::publication::{Properties, Publication, Will};
use crate::domain::topic::TopicName;

use super::packet::kind;
use super::properties::{Property, each, id, take_message, write_message};
use super::publish::{qos, qos_bits};
use super::read::{Parsed, Reader};
use super::rules;
use super::write::Writer;
use super::{UserProperties, Version};

/// A client introduces itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// The version that it speaks from here on.
    pub version: Version,
    /// Clean Start, or 3.1.1's Clean Session: an earlier session is forgotten.
    pub clean_start: bool,
    /// Keep Alive in seconds; 0: none.
    pub keep_alive_s: u16,
    /// May be empty: then the server assigns one. In 3.1.1 only with `clean_start`.
    pub client_id: ByteString,
    /// What is published if the connection ends without goodbye. Its publisher is not filled in.
    pub will: Option<Will>,
    /// User Name.
    pub username: Option<ByteString>,
    /// Password. 3.1.1 has none without a user name.
    pub password: Option<Password>,
    /// Session Expiry Interval in seconds, 4,294,967,295: never. 3.1.1: never, or 0 with `clean_start`.
    pub session_expiry_s: u32,
    /// Receive Maximum: QoS 1 and 2 publications that the server may have in flight. Unsaid: 65,535.
    pub receive_maximum: NonZeroU16,
    /// Maximum Packet Size in bytes that the client takes. Unsaid: any.
    pub maximum_packet_bytes: Option<NonZeroU32>,
    /// Topic Alias Maximum that the server may use. Unsaid: 0.
    pub topic_alias_maximum: u16,
    /// Request Response Information. Unsaid: no.
    pub request_response_information: bool,
    /// Request Problem Information. Unsaid: yes.
    pub request_problem_information: bool,
    /// Authentication Method: the client wants an extended authentication.
    pub auth_method: Option<ByteString>,
    /// Authentication Data.
    pub auth_data: Option<Bytes>,
    /// User Properties.
    pub user: UserProperties,
}

/// A password as sent. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Bytes);

impl Password {
    /// Wraps a password.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }

    /// The password itself.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// Bits of the connect flags (3.1.2.3).
mod flag {
    pub const RESERVED: u8 = 0x01;
    pub const CLEAN_START: u8 = 0x02;
    pub const WILL: u8 = 0x04;
    /// Two bits from here on.
    pub const WILL_QOS: u8 = 0x08;
    pub const WILL_RETAIN: u8 = 0x20;
    pub const PASSWORD: u8 = 0x40;
    pub const USERNAME: u8 = 0x80;
}

const NEVER: u32 = u32::MAX;

impl Connect {
    /// A clean 3.1.1 or 5 session without anything special.
    pub fn new(version: Version, client_id: impl Into<ByteString>) -> Self {
        Self {
            version,
            clean_start: true,
            keep_alive_s: 0,
            client_id: client_id.into(),
            will: None,
            username: None,
            password: None,
            session_expiry_s: 0,
            receive_maximum: NonZeroU16::MAX,
            maximum_packet_bytes: None,
            topic_alias_maximum: 0,
            request_response_information: false,
            request_problem_information: true,
            auth_method: None,
            auth_data: None,
            user: Vec::new(),
        }
    }

    /// Reads it, and says which version the client would read an answer in as soon as that is known.
    pub(super) fn read(reader: &mut Reader<'_>, answer: &mut Option<Version>) -> Parsed<Self> {
        let version = read_version(reader, answer)?;
        let flags = reader.u8()?;
        check_flags(version, flags)?;
        let mut connect = Self::new(version, "");
        connect.clean_start = flags & flag::CLEAN_START != 0;
        connect.keep_alive_s = reader.u16()?;
        match version {
            Version::V311 if !connect.clean_start => connect.session_expiry_s = NEVER,
            Version::V311 => {}
            Version::V5 => {
                each(reader, |property| connect.take(property))?;
                if connect.auth_data.is_some() && connect.auth_method.is_none() {
                    return Err(&rules::AUTH_DATA_ALONE);
                }
            }
        }
        connect.client_id = reader.text()?;
        if version == Version::V311 && connect.client_id.is_empty() && !connect.clean_start {
            return Err(&rules::CLIENT_ID_EMPTY);
        }
        if flags & flag::WILL != 0 {
            connect.will = Some(read_will(version, flags, reader)?);
        }
        if flags & flag::USERNAME != 0 {
            connect.username = Some(reader.text()?);
        }
        if flags & flag::PASSWORD != 0 {
            connect.password = Some(Password(reader.binary()?));
        }
        Ok(connect)
    }

    fn take(&mut self, property: Property) -> Parsed<()> {
        match property {
            Property::SessionExpiry(seconds) => self.session_expiry_s = seconds,
            Property::ReceiveMaximum(value) => self.receive_maximum = value,
            Property::MaximumPacketSize(bytes) => self.maximum_packet_bytes = Some(bytes),
            Property::TopicAliasMaximum(value) => self.topic_alias_maximum = value,
            Property::RequestResponseInformation(value) => {
                self.request_response_information = value;
            }
            Property::RequestProblemInformation(value) => self.request_problem_information = value,
            Property::AuthMethod(text) => self.auth_method = Some(text),
            Property::AuthData(data) => self.auth_data = Some(data),
            Property::User(name, value) => self.user.push((name, value)),
            _ => return Err(&rules::PROPERTY_PLACE),
        }
        Ok(())
    }

    pub(super) fn write(&self, out: &mut Writer<'_>) {
        out.packet(kind::CONNECT << 4, 0, |out| {
            out.text("MQTT");
            out.u8(match self.version {
                Version::V311 => 4,
                Version::V5 => 5,
            });
            out.u8(self.flags());
            out.u16(self.keep_alive_s);
            if self.version == Version::V5 {
                out.properties(|out| self.write_properties(out));
            }
            out.text(&self.client_id);
            if let Some(will) = &self.will {
                write_will(self.version, will, out);
            }
            if let Some(username) = &self.username {
                out.text(username);
            }
            if let Some(password) = &self.password {
                out.binary(&password.0);
            }
        });
    }

    fn flags(&self) -> u8 {
        let mut flags = 0;
        let mut set = |is_set, bit| {
            if is_set {
                flags |= bit;
            }
        };
        set(self.clean_start, flag::CLEAN_START);
        set(self.username.is_some(), flag::USERNAME);
        set(self.password.is_some(), flag::PASSWORD);
        if let Some(will) = &self.will {
            set(true, flag::WILL);
            set(will.publication.retain, flag::WILL_RETAIN);
            set(true, qos_bits(will.publication.qos) * flag::WILL_QOS);
        }
        flags
    }

    fn write_properties(&self, out: &mut Writer<'_>) {
        if self.session_expiry_s != 0 {
            out.u32_property(id::SESSION_EXPIRY, self.session_expiry_s);
        }
        if self.receive_maximum != NonZeroU16::MAX {
            out.u16_property(id::RECEIVE_MAXIMUM, self.receive_maximum.get());
        }
        if let Some(bytes) = self.maximum_packet_bytes {
            out.u32_property(id::MAXIMUM_PACKET_SIZE, bytes.get());
        }
        if self.topic_alias_maximum != 0 {
            out.u16_property(id::TOPIC_ALIAS_MAXIMUM, self.topic_alias_maximum);
        }
        if self.request_response_information {
            out.u8_property(id::REQUEST_RESPONSE_INFORMATION, 1);
        }
        if !self.request_problem_information {
            out.u8_property(id::REQUEST_PROBLEM_INFORMATION, 0);
        }
        if let Some(text) = &self.auth_method {
            out.text_property(id::AUTH_METHOD, text);
        }
        if let Some(data) = &self.auth_data {
            out.binary_property(id::AUTH_DATA, data);
        }
        out.user_properties(&self.user);
    }
}

/// Protocol name and version. Who speaks another version of MQTT gets its refusal in the nearest that we speak.
fn read_version(reader: &mut Reader<'_>, answer: &mut Option<Version>) -> Parsed<Version> {
    let name = reader.binary()?;
    let level = match &name[..] {
        b"MQTT" => reader.u8()?,
        // MQTT 3.1, protocol level 3.
        b"MQIsdp" => 3,
        _ => return Err(&rules::PROTOCOL_NAME),
    };
    // Mosquitto's bridges set the highest bit, and try again without it.
    let nearest = if level & 0x7f < 5 {
        Version::V311
    } else {
        Version::V5
    };
    *answer = Some(nearest);
    match level {
        4 | 5 => Ok(nearest),
        _ => Err(&rules::PROTOCOL_VERSION),
    }
}

fn check_flags(version: Version, flags: u8) -> Parsed<()> {
    if flags & flag::RESERVED != 0 {
        return Err(&rules::CONNECT_FLAGS);
    }
    if flags & flag::WILL == 0 {
        if will_qos(flags) != 0 {
            return Err(&rules::WILL_QOS_UNUSED);
        }
        if flags & flag::WILL_RETAIN != 0 {
            return Err(&rules::WILL_RETAIN_UNUSED);
        }
    }
    let password_alone = flags & (flag::USERNAME | flag::PASSWORD) == flag::PASSWORD;
    if version == Version::V311 && password_alone {
        return Err(&rules::PASSWORD_ALONE);
    }
    Ok(())
}

const fn will_qos(flags: u8) -> u8 {
    (flags / flag::WILL_QOS) & 3
}

fn read_will(version: Version, flags: u8, reader: &mut Reader<'_>) -> Parsed<Will> {
    let mut properties: Option<Box<Properties>> = None;
    let mut delay_s = 0;
    let mut expiry_s = None;
    if version == Version::V5 {
        each(reader, |property| {
            match property {
                Property::WillDelay(seconds) => delay_s = seconds,
                Property::MessageExpiry(seconds) => expiry_s = Some(seconds),
                other => take_message(&mut properties, other)?,
            }
            Ok(())
        })?;
    }
    let topic = TopicName::parse(reader.text()?).map_err(rules::topic)?;
    Ok(Will {
        publication: Publication {
            topic,
            payload: reader.binary()?,
            qos: qos(will_qos(flags)).ok_or(&rules::WILL_QOS)?,
            retain: flags & flag::WILL_RETAIN != 0,
            properties,
            expires: None,
            publisher: None,
        },
        delay: Duration::from_secs(delay_s.into()),
        message_expiry: expiry_s.map(|seconds: u32| Duration::from_secs(seconds.into())),
    })
}

fn write_will(version: Version, will: &Will, out: &mut Writer<'_>) {
    if version == Version::V5 {
        out.properties(|out| {
            let delay_s = seconds(will.delay);
            if delay_s != 0 {
                out.u32_property(id::WILL_DELAY, delay_s);
            }
            if let Some(expiry) = will.message_expiry {
                out.u32_property(id::MESSAGE_EXPIRY, seconds(expiry));
            }
            write_message(out, will.publication.properties.as_deref());
        });
    }
    out.text(will.publication.topic.as_str());
    out.binary(&will.publication.payload);
}

fn seconds(span: Duration) -> u32 {
    u32::try_from(span.as_secs()).unwrap_or(u32::MAX)
}
