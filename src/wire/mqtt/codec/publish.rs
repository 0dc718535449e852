//! PUBLISH (section 3.3): reading one, and writing one to many receivers.

use std::num::NonZeroU16;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::domain::publication::{Properties, Publication, Publisher, QoS};
use crate::domain::time::Timestamp;
use crate::domain::topic::TopicName;

use super::packet::kind;
use super::properties::{Property, each, id, take_message, write_message};
use super::read::{Parsed, Reader};
use super::rules;
use super::write::{TooLarge, Writer};
use super::{PacketId, Sender, Version};

/// A message as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// It was sent before.
    pub dup: bool,
    /// Quality of service.
    pub qos: QoS,
    /// From a client: to be kept. From a server: it was kept, or as published.
    pub retain: bool,
    /// There if the QoS is 1 or 2.
    pub packet_id: Option<PacketId>,
    /// `None` only if there is a topic alias, which then stands for an earlier packet's topic.
    pub topic: Option<TopicName>,
    /// Topic Alias. Whether it is below the maximum is for the connection to know.
    pub topic_alias: Option<NonZeroU16>,
    /// Message Expiry Interval in seconds.
    pub message_expiry_s: Option<u32>,
    /// Subscription Identifiers of the receiver's subscriptions; a client sends none.
    pub subscription_ids: Vec<u32>,
    /// What is handed on as it is; `None` if there is nothing.
    pub properties: Option<Box<Properties>>,
    /// The application's bytes, not looked into: see [`Publish::has_valid_payload`].
    pub payload: Bytes,
}

impl Publish {
    /// Whether the payload is UTF-8 if its format indicator says so. A server may refuse it with
    /// [`PayloadFormatInvalid`](super::ReasonCode::PayloadFormatInvalid) if not (3.3.2.3.2).
    pub fn has_valid_payload(&self) -> bool {
        let format = self
            .properties
            .as_ref()
            .and_then(|some| some.payload_format);
        format != Some(1) || std::str::from_utf8(&self.payload).is_ok()
    }

    /// What goes to the topic. `topic` is the packet's own, or what its alias stands for; `now` is when it was received.
    pub fn into_publication(
        self,
        topic: TopicName,
        now: Timestamp,
        publisher: Option<Publisher>,
    ) -> Publication {
        let expiry = self.message_expiry_s.map(u64::from);
        Publication {
            topic,
            payload: self.payload,
            qos: self.qos,
            retain: self.retain,
            properties: self.properties,
            expires: expiry.map(|seconds| now.plus(Duration::from_secs(seconds))),
            publisher,
        }
    }

    pub(super) fn read(
        first: u8,
        version: Version,
        sender: Sender,
        reader: &mut Reader<'_>,
    ) -> Parsed<Self> {
        let qos = qos(first >> 1 & 3).ok_or(&rules::PUBLISH_QOS)?;
        let topic = reader.text()?;
        let packet_id = match qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce | QoS::ExactlyOnce => Some(reader.packet_id()?),
        };
        let mut publish = Self {
            dup: first & 0b1000 != 0,
            qos,
            retain: first & 1 != 0,
            packet_id,
            topic: None,
            topic_alias: None,
            message_expiry_s: None,
            subscription_ids: Vec::new(),
            properties: None,
            payload: Bytes::new(),
        };
        if version == Version::V5 {
            each(reader, |property| publish.take(property, sender))?;
        }
        publish.topic = match (topic.is_empty(), version, publish.topic_alias) {
            (true, Version::V5, Some(_)) => None,
            (true, Version::V5, None) => return Err(&rules::TOPIC_MISSING),
            _ => Some(TopicName::parse(topic).map_err(rules::topic)?),
        };
        publish.payload = reader.rest();
        Ok(publish)
    }

    fn take(&mut self, property: Property, sender: Sender) -> Parsed<()> {
        match property {
            Property::TopicAlias(alias) => self.topic_alias = Some(alias),
            Property::MessageExpiry(seconds) => self.message_expiry_s = Some(seconds),
            Property::SubscriptionId(_) if sender == Sender::Client => {
                return Err(&rules::SUBSCRIPTION_ID);
            }
            Property::SubscriptionId(id) => self.subscription_ids.push(id),
            other => take_message(&mut self.properties, other)?,
        }
        Ok(())
    }

    pub(super) fn write(&self, version: Version, out: &mut Writer<'_>) {
        let outgoing = PublishHead {
            dup: self.dup,
            qos: self.qos,
            retain: self.retain,
            packet_id: self.packet_id,
            topic: self.topic.as_ref().map_or("", TopicName::as_str),
            topic_alias: self.topic_alias,
            message_expiry_s: self.message_expiry_s,
            subscription_ids: &self.subscription_ids,
            properties: self.properties.as_deref(),
        };
        outgoing.write(version, self.payload.len(), out);
        out.bytes(&self.payload);
    }
}

/// All of a message but its payload, to be written.
#[derive(Debug, Clone, Copy)]
pub struct PublishHead<'a> {
    /// It was sent before, on this session.
    pub dup: bool,
    /// Quality of service of this delivery.
    pub qos: QoS,
    /// The flag for this receiver.
    pub retain: bool,
    /// Must be there if the QoS is 1 or 2, and only then.
    pub packet_id: Option<PacketId>,
    /// Empty only if `topic_alias` stands for it.
    pub topic: &'a str,
    /// Not in 3.1.1.
    pub topic_alias: Option<NonZeroU16>,
    /// What is left of the Message Expiry Interval, in seconds. Not in 3.1.1.
    pub message_expiry_s: Option<u32>,
    /// Of the subscriptions that this delivery is for. Not in 3.1.1.
    pub subscription_ids: &'a [u32],
    /// Handed on as they are. Not in 3.1.1.
    pub properties: Option<&'a Properties>,
}

impl<'a> PublishHead<'a> {
    /// A first delivery at `now` with QoS 0, not marked as retained. Change the fields for another.
    pub fn new(publication: &'a Publication, now: Timestamp) -> Self {
        let left = publication
            .expires
            .map(|expires| expires.since(now).as_secs());
        Self {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            packet_id: None,
            topic: publication.topic.as_str(),
            topic_alias: None,
            message_expiry_s: left.map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX)),
            subscription_ids: &[],
            properties: publication.properties.as_deref(),
        }
    }

    /// Appends everything that comes before a payload of `payload_bytes`, which the caller sends after it.
    ///
    /// # Errors
    /// [`TooLarge`] if a length does not fit into its field; `out` is as it was.
    pub fn encode_head(
        &self,
        version: Version,
        payload_bytes: usize,
        out: &mut BytesMut,
    ) -> Result<(), TooLarge> {
        let start = out.len();
        let mut writer = Writer::new(out);
        self.write(version, payload_bytes, &mut writer);
        let result = writer.result();
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    /// The whole packet, to be shared by all receivers that get the same: with QoS 0, and without alias or subscription
    /// identifiers. Compare its length with each receiver's maximum packet size.
    ///
    /// # Errors
    /// [`TooLarge`] if a length does not fit into its field.
    pub fn encode(&self, version: Version, payload: &[u8]) -> Result<Bytes, TooLarge> {
        let mut out = BytesMut::with_capacity(self.topic.len() + payload.len() + 16);
        self.encode_head(version, payload.len(), &mut out)?;
        out.extend_from_slice(payload);
        Ok(out.freeze())
    }

    fn write(&self, version: Version, payload_bytes: usize, out: &mut Writer<'_>) {
        let flags = u8::from(self.dup) << 3 | qos_bits(self.qos) << 1 | u8::from(self.retain);
        out.packet(kind::PUBLISH << 4 | flags, payload_bytes, |out| {
            out.text(self.topic);
            if let Some(packet_id) = self.packet_id {
                out.u16(packet_id.get());
            }
            if version == Version::V5 {
                out.properties(|out| self.write_properties(out));
            }
        });
    }

    fn write_properties(&self, out: &mut Writer<'_>) {
        if let Some(alias) = self.topic_alias {
            out.u16_property(id::TOPIC_ALIAS, alias.get());
        }
        if let Some(seconds) = self.message_expiry_s {
            out.u32_property(id::MESSAGE_EXPIRY, seconds);
        }
        for id in self.subscription_ids {
            out.number_property(id::SUBSCRIPTION_ID, *id);
        }
        write_message(out, self.properties);
    }
}

/// From two bits; `None` for 3.
pub(super) const fn qos(bits: u8) -> Option<QoS> {
    match bits {
        0 => Some(QoS::AtMostOnce),
        1 => Some(QoS::AtLeastOnce),
        2 => Some(QoS::ExactlyOnce),
        _ => None,
    }
}

/// As two bits.
pub(super) const fn qos_bits(qos: QoS) -> u8 {
    match qos {
        QoS::AtMostOnce => 0,
        QoS::AtLeastOnce => 1,
        QoS::ExactlyOnce => 2,
    }
}
