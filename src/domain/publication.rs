//! What is published to topics, and what a client's session asks for and keeps.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;

use super::room::Mark;
use super::time::Timestamp;
use super::topic::{TopicFilter, TopicName};

/// Quality of service: what a delivery promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum QoS {
    /// 0: at most once.
    #[default]
    AtMostOnce,
    /// 1: at least once.
    AtLeastOnce,
    /// 2: exactly once.
    ExactlyOnce,
}

/// A message on its way to the subscribers of its topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// Where it was published to.
    pub topic: TopicName,
    /// The application's bytes.
    pub payload: Bytes,
    /// As published; a subscriber gets it with this or less.
    pub qos: QoS,
    /// As published: the topic keeps it as its retained message.
    pub retain: bool,
    /// What MQTT 5 adds, if anything.
    pub properties: Option<Box<Properties>>,
    /// When it is no longer worth delivering.
    pub expires: Option<Timestamp>,
    /// Who published it; `None` for the server itself.
    pub publisher: Option<Publisher>,
}

/// User properties that only the server gives to what is published in a room.
pub const ROOM_PROPERTIES: [&str; 4] = ["epoch", "offset", "ts", "member"];

impl Publication {
    /// As a room's members get it: who said it is among its user properties, and where in the history it is, if there is
    /// a mark. What the publisher called so is not.
    #[must_use]
    pub fn marked(mut self, mark: Option<Mark>) -> Self {
        let properties = self.properties.get_or_insert_default();
        let user = &mut properties.user;
        user.retain(|(name, _)| !ROOM_PROPERTIES.contains(&&**name));
        if let Some(Mark { place, at }) = mark {
            user.push(("epoch".into(), place.epoch.to_string().into()));
            user.push(("offset".into(), place.offset.to_string().into()));
            user.push(("ts".into(), at.millis().to_string().into()));
        }
        let publisher = self.publisher.as_ref();
        if let Some(member) = publisher.and_then(|publisher| publisher.client.as_ref()) {
            user.push(("member".into(), member.as_str().into()));
        }
        self
    }
}

/// Who published a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publisher {
    /// The client, for `no local`; `None` if it came by HTTP.
    pub client: Option<ClientId>,
    /// The principal: a retained message is not delivered any more when its publisher's right to publish it was taken
    /// away.
    pub principal: Arc<str>,
}

/// Properties that are handed on to the receiver as they are (MQTT 5.0 section 3.3.2.3).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Properties {
    /// Payload Format Indicator: 1 says that the payload is UTF-8.
    pub payload_format: Option<u8>,
    /// Content Type.
    pub content_type: Option<ByteString>,
    /// Response Topic.
    pub response_topic: Option<ByteString>,
    /// Correlation Data.
    pub correlation_data: Option<Bytes>,
    /// User Properties in order.
    pub user: Vec<(ByteString, ByteString)>,
}

/// The name by which a client and its session are known.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub Arc<str>);

impl ClientId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Internal number of a durable client session; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientNo(pub u64);

/// Position of a message in one durable client session's queue; rises by one, and never repeats while there are
/// messages in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Ordinal(pub u64);

/// When retained messages are sent to a new subscriber (MQTT 5.0 section 3.8.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RetainHandling {
    /// 0: at each SUBSCRIBE.
    #[default]
    Always,
    /// 1: only if the subscription is new.
    New,
    /// 2: never.
    Never,
}

/// One subscription of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// What it asks for.
    pub filter: TopicFilter,
    /// At most this quality of service.
    pub qos: QoS,
    /// Not the client's own publications.
    pub no_local: bool,
    /// The retain flag as published, instead of 0 for live messages.
    pub retain_as_published: bool,
    /// Retained messages when subscribing.
    pub retain_handling: RetainHandling,
    /// Subscription Identifier, 1 to 268,435,455.
    pub id: Option<u32>,
}

/// What is published when a client's connection ends without goodbye.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// The message; its `expires` is empty, see `message_expiry`.
    pub publication: Publication,
    /// How long after the end of the connection, unless the session ends before.
    pub delay: Duration,
    /// Message Expiry Interval, counted from when it is published.
    pub message_expiry: Option<Duration>,
}

/// What is known of a client session that outlives its connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientRecord {
    /// Given by the store.
    pub no: ClientNo,
    /// The client's name.
    pub id: ClientId,
    /// The principal that the session belongs to; another's connection with the same client id is refused.
    pub owner: Arc<str>,
    /// How long the session outlives its connection; `None`: for ever.
    pub expiry: Option<Duration>,
    /// When the connection ended; `None` while there is one (or there was one when the process ended).
    pub disconnected: Option<Timestamp>,
    /// In order of subscription.
    pub subscriptions: Vec<Subscription>,
    /// To be published if the connection ends without goodbye.
    pub will: Option<Will>,
}
