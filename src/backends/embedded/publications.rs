//! What rows of the topic plane hold, and its conversion from and to the domain's types.

use std::time::Duration;

use bincode::{BorrowDecode, Encode};
use bytes::Bytes;
use bytestring::ByteString;

use super::records::corrupt;
use crate::domain::publication::{
    ClientId, ClientNo, ClientRecord, Properties, Publication, Publisher, QoS, RetainHandling,
    Subscription, Will,
};
use crate::domain::topic::{TopicFilter, TopicName};
use crate::domain::{StoreError, Timestamp};

/// What the parts of a fixed size take, at most.
const FIXED_BYTES: usize = 256;

/// Where a place in a queue, or a retained message, has its publication.
#[derive(Encode, BorrowDecode)]
pub(super) enum HeldRow<'a> {
    /// In the row.
    Here(PublicationRow<'a>),
    /// In `shared`, stored once for several rows.
    Shared(u64),
    /// Nowhere: the client has it, and only the end of the exchange is to be waited for.
    Received,
}

/// A message's place in a client's queue.
#[derive(Encode, BorrowDecode)]
pub(super) struct PlaceRow<'a> {
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) ids: Vec<u32>,
    pub(super) held: HeldRow<'a>,
}

/// A topic's retained message.
#[derive(Encode, BorrowDecode)]
pub(super) struct RetainedRow<'a> {
    pub(super) held: HeldRow<'a>,
    /// Since when.
    pub(super) at: u64,
}

/// A publication.
#[derive(Encode, BorrowDecode, Clone)]
pub(super) struct PublicationRow<'a> {
    topic: &'a str,
    payload: &'a [u8],
    qos: u8,
    retain: bool,
    properties: Option<PropertiesRow<'a>>,
    expires: Option<u64>,
    publisher: Option<(Option<&'a str>, &'a str)>,
}

#[derive(Encode, BorrowDecode, Clone)]
struct PropertiesRow<'a> {
    payload_format: Option<u8>,
    content_type: Option<&'a str>,
    response_topic: Option<&'a str>,
    correlation_data: Option<&'a [u8]>,
    user: Vec<(&'a str, &'a str)>,
}

impl<'a> PropertiesRow<'a> {
    fn new(properties: &'a Properties) -> Self {
        let user = properties.user.iter();
        Self {
            payload_format: properties.payload_format,
            content_type: properties.content_type.as_deref(),
            response_topic: properties.response_topic.as_deref(),
            correlation_data: properties.correlation_data.as_deref(),
            user: user.map(|(name, value)| (&**name, &**value)).collect(),
        }
    }

    fn bytes(&self) -> usize {
        let user = self.user.iter();
        self.content_type.map_or(0, str::len)
            + self.response_topic.map_or(0, str::len)
            + self.correlation_data.map_or(0, <[u8]>::len)
            + user
                .map(|(name, value)| size_of::<(&str, &str)>() + name.len() + value.len())
                .sum::<usize>()
    }

    fn properties(&self) -> Properties {
        let user = self.user.iter();
        Properties {
            payload_format: self.payload_format,
            content_type: self.content_type.map(ByteString::from),
            response_topic: self.response_topic.map(ByteString::from),
            correlation_data: self.correlation_data.map(Bytes::copy_from_slice),
            user: user
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect(),
        }
    }
}

impl<'a> PublicationRow<'a> {
    pub(super) fn new(publication: &'a Publication) -> Self {
        let publisher = publication.publisher.as_ref();
        Self {
            topic: publication.topic.as_str(),
            payload: &publication.payload,
            qos: qos_row(publication.qos),
            retain: publication.retain,
            properties: publication.properties.as_deref().map(PropertiesRow::new),
            expires: publication.expires.map(|at| at.0),
            publisher: publisher.map(|publisher| {
                let client = publisher.client.as_ref().map(ClientId::as_str);
                (client, &*publisher.principal)
            }),
        }
    }

    /// What it takes in memory when it is read, at most: what the codec's limit counts.
    pub(super) fn bytes(&self) -> usize {
        let publisher = self.publisher.map_or(0, |(client, principal)| {
            client.map_or(0, str::len) + principal.len()
        });
        let properties = self.properties.as_ref().map_or(0, PropertiesRow::bytes);
        FIXED_BYTES + self.topic.len() + self.payload.len() + publisher + properties
    }

    pub(super) fn publication(&self) -> Result<Publication, StoreError> {
        Ok(Publication {
            topic: TopicName::parse(self.topic.into()).map_err(corrupt)?,
            payload: Bytes::copy_from_slice(self.payload),
            qos: qos(self.qos)?,
            retain: self.retain,
            properties: self
                .properties
                .as_ref()
                .map(|properties| Box::new(properties.properties())),
            expires: self.expires.map(Timestamp),
            publisher: self.publisher.map(|(client, principal)| Publisher {
                client: client.map(|client| ClientId(client.into())),
                principal: principal.into(),
            }),
        })
    }
}

/// What stands for a message that the client already has.
pub(super) fn received() -> Publication {
    Publication {
        topic: TopicName::parse(ByteString::from_static("$received")).expect("a valid name"),
        payload: Bytes::new(),
        qos: QoS::ExactlyOnce,
        retain: false,
        properties: None,
        expires: None,
        publisher: None,
    }
}

/// A client's record.
#[derive(Encode, BorrowDecode)]
pub(super) struct ClientRow<'a> {
    pub(super) id: &'a str,
    owner: &'a str,
    expiry: Option<u64>,
    disconnected: Option<u64>,
    subscriptions: Vec<SubscriptionRow<'a>>,
    will: Option<WillRow<'a>>,
}

#[derive(Encode, BorrowDecode)]
struct SubscriptionRow<'a> {
    filter: &'a str,
    qos: u8,
    no_local: bool,
    retain_as_published: bool,
    retain_handling: u8,
    id: Option<u32>,
}

#[derive(Encode, BorrowDecode)]
struct WillRow<'a> {
    publication: PublicationRow<'a>,
    delay: u64,
    message_expiry: Option<u64>,
}

impl<'a> ClientRow<'a> {
    pub(super) fn new(record: &'a ClientRecord) -> Self {
        let will = record.will.as_ref();
        Self {
            id: record.id.as_str(),
            owner: &record.owner,
            expiry: record.expiry.map(micros),
            disconnected: record.disconnected.map(|at| at.0),
            subscriptions: record
                .subscriptions
                .iter()
                .map(SubscriptionRow::new)
                .collect(),
            will: will.map(|will| WillRow {
                publication: PublicationRow::new(&will.publication),
                delay: micros(will.delay),
                message_expiry: will.message_expiry.map(micros),
            }),
        }
    }

    /// What it takes in memory when it is read, at most: what the codec's limit counts.
    pub(super) fn bytes(&self) -> usize {
        let subscriptions = self.subscriptions.iter();
        FIXED_BYTES
            + self.id.len()
            + self.owner.len()
            + self
                .will
                .as_ref()
                .map_or(0, |will| will.publication.bytes())
            + subscriptions
                .map(|subscription| size_of::<SubscriptionRow<'_>>() + subscription.filter.len())
                .sum::<usize>()
    }

    pub(super) fn record(&self, no: ClientNo) -> Result<ClientRecord, StoreError> {
        let subscriptions = self.subscriptions.iter();
        Ok(ClientRecord {
            no,
            id: ClientId(self.id.into()),
            owner: self.owner.into(),
            expiry: self.expiry.map(Duration::from_micros),
            disconnected: self.disconnected.map(Timestamp),
            subscriptions: subscriptions
                .map(SubscriptionRow::subscription)
                .collect::<Result<_, _>>()?,
            will: self.will.as_ref().map(WillRow::will).transpose()?,
        })
    }
}

impl<'a> SubscriptionRow<'a> {
    fn new(subscription: &'a Subscription) -> Self {
        Self {
            filter: subscription.filter.as_str(),
            qos: qos_row(subscription.qos),
            no_local: subscription.no_local,
            retain_as_published: subscription.retain_as_published,
            retain_handling: match subscription.retain_handling {
                RetainHandling::Always => 0,
                RetainHandling::New => 1,
                RetainHandling::Never => 2,
            },
            id: subscription.id,
        }
    }

    fn subscription(&self) -> Result<Subscription, StoreError> {
        Ok(Subscription {
            filter: TopicFilter::parse(self.filter).map_err(corrupt)?,
            qos: qos(self.qos)?,
            no_local: self.no_local,
            retain_as_published: self.retain_as_published,
            retain_handling: match self.retain_handling {
                0 => RetainHandling::Always,
                1 => RetainHandling::New,
                2 => RetainHandling::Never,
                other => return Err(corrupt(format!("retain handling {other}"))),
            },
            id: self.id,
        })
    }
}

impl WillRow<'_> {
    fn will(&self) -> Result<Will, StoreError> {
        Ok(Will {
            publication: self.publication.publication()?,
            delay: Duration::from_micros(self.delay),
            message_expiry: self.message_expiry.map(Duration::from_micros),
        })
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

pub(super) const fn qos_row(qos: QoS) -> u8 {
    match qos {
        QoS::AtMostOnce => 0,
        QoS::AtLeastOnce => 1,
        QoS::ExactlyOnce => 2,
    }
}

pub(super) fn qos(row: u8) -> Result<QoS, StoreError> {
    match row {
        0 => Ok(QoS::AtMostOnce),
        1 => Ok(QoS::AtLeastOnce),
        2 => Ok(QoS::ExactlyOnce),
        other => Err(corrupt(format!("quality of service {other}"))),
    }
}
