//! One connection to a broker, by rumqttc: MQTT 5, or 3.1.1 if the broker knows no other. What is the same in both is told
//! apart here and nowhere else.
//!
//! rumqttc is used for one connection at a time and never told to connect again: what was not acknowledged is ours to keep
//! ([`letters`](super::letters)), as rumqttc forgets it when the broker has forgotten the session.

use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use rumqttc::v5::mqttbytes::v5 as packets5;
use rumqttc::{Outgoing, TlsConfiguration, Transport, v5};

use super::BrokerOptions;
use crate::config::{BrokerScheme, BrokerUrl, limits};
use crate::domain::publication::{Properties, Publication, QoS};
use crate::domain::topic::{TopicFilter, TopicName};
use crate::domain::{Clock, Timestamp};

/// How long until the broker has accepted or refused the connection.
const CONNECT: Duration = Duration::from_secs(5);

/// How often the broker is asked whether it is there. Twice that without an answer ends the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Requests on their way to rumqttc. There is one writer, which waits.
const REQUESTS: usize = 16;

/// Which connection it is, and how its session ends.
#[derive(Debug, Clone)]
pub(super) struct Role {
    pub(super) client_id: String,
    /// How long the broker keeps the session when the connection breaks; `None`: not at all.
    pub(super) resume: Option<Duration>,
    /// Whether an earlier session of this client id is to be gone.
    pub(super) clean: bool,
}

/// A connection that stands.
pub(super) struct Connection {
    pub(super) sender: Sender,
    pub(super) events: Events,
    pub(super) terms: Terms,
}

/// What the broker said when it accepted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// Whether it still has the session, with its subscriptions.
    pub(super) present: bool,
    /// Packet ids that rumqttc goes through before it begins again.
    pub(super) packet_ids: u16,
    /// Longest packet that it takes.
    pub(super) packet_bytes: usize,
}

/// What happened on a connection.
#[derive(Debug)]
pub(super) enum Event {
    /// A publication has come.
    Arrived(Publication),
    /// A publication of quality of service 1 was sent, under this packet id.
    Sent(u16),
    /// The broker has it, or says why not.
    Acknowledged(u16, Result<(), String>),
    /// The answer to SUBSCRIBE: for each filter, whether it stands.
    Subscribed(Vec<Result<(), String>>),
    /// The answer to UNSUBSCRIBE.
    Unsubscribed,
}

/// Says what is to be sent.
#[derive(Clone)]
pub(super) enum Sender {
    V5(v5::AsyncClient),
    V4(rumqttc::AsyncClient),
}

/// Says what happens, and makes it happen: nothing is sent either unless somebody asks for the [next](Events::next).
pub(super) struct Events {
    polled: Polled,
    clock: Clock,
}

enum Polled {
    V5(Box<v5::EventLoop>),
    V4(Box<rumqttc::EventLoop>),
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Why not, in words.
    pub(super) async fn open(options: &BrokerOptions, role: &Role) -> Result<Self, String> {
        match open_v5(options, role).await {
            Err(error) if may_be_the_version(&error) => {
                let older = open_v4(options, role).await;
                older.map_err(|older| format!("{error}; with MQTT 3.1.1: {older}"))
            }
            other => other.map_err(|error| error.to_string()),
        }
    }
}

/// Whether the broker may only not know MQTT 5: one that does not says so in a form that MQTT 5 does not have, or hangs up.
fn may_be_the_version(error: &v5::ConnectionError) -> bool {
    use packets5::ConnectReturnCode::{
        ProtocolError, RefusedProtocolVersion, UnsupportedProtocolVersion,
    };
    use v5::ConnectionError as Error;
    match error {
        Error::ConnectionRefused(code) => matches!(
            code,
            ProtocolError | RefusedProtocolVersion | UnsupportedProtocolVersion
        ),
        Error::MqttState(_) | Error::NotConnAck(_) | Error::Timeout(_) => true,
        _ => false,
    }
}

async fn open_v5(options: &BrokerOptions, role: &Role) -> Result<Connection, v5::ConnectionError> {
    let (address, port, transport) = way(options).await.map_err(other)?;
    let mut mqtt = v5::MqttOptions::new(&role.client_id, address, port);
    mqtt.set_transport(transport)
        .set_keep_alive(KEEP_ALIVE)
        .set_connection_timeout(CONNECT.as_secs())
        .set_clean_start(role.clean)
        .set_session_expiry_interval(role.resume.map(seconds))
        .set_max_packet_size(u32::try_from(options.packet_bytes).ok())
        .set_outgoing_inflight_upper_limit(limits::broker::PACKET_IDS);
    if let Some((user, password)) = options.login.as_ref() {
        mqtt.set_credentials(user, password.expose());
    }
    let (client, mut events) = v5::AsyncClient::new(mqtt, REQUESTS);
    let v5::Event::Incoming(packets5::Packet::ConnAck(accepted)) = events.poll().await? else {
        return Err(other("the first packet is no CONNACK".to_owned()));
    };
    let properties = accepted.properties.as_ref();
    let receive_max = properties.and_then(|properties| properties.receive_max);
    let longest = properties.and_then(|properties| properties.max_packet_size);
    Ok(Connection {
        sender: Sender::V5(client),
        events: Events {
            polled: Polled::V5(Box::new(events)),
            clock: options.clock,
        },
        terms: Terms {
            present: accepted.session_present,
            packet_ids: receive_max
                .unwrap_or(u16::MAX)
                .min(limits::broker::PACKET_IDS),
            packet_bytes: longest.map_or(usize::MAX, |longest| longest as usize),
        },
    })
}

async fn open_v4(options: &BrokerOptions, role: &Role) -> Result<Connection, String> {
    let (address, port, transport) = way(options).await?;
    let mut mqtt = rumqttc::MqttOptions::new(&role.client_id, address, port);
    let most = options.packet_bytes;
    mqtt.set_transport(transport)
        .set_keep_alive(KEEP_ALIVE)
        // 3.1.1 has no end for a session: one that outlived its node would be the broker's for ever.
        .set_clean_session(true)
        .set_max_packet_size(most, most)
        .set_inflight(limits::broker::PACKET_IDS);
    if let Some((user, password)) = options.login.as_ref() {
        mqtt.set_credentials(user, password.expose());
    }
    let (client, mut events) = rumqttc::AsyncClient::new(mqtt, REQUESTS);
    let mut network = rumqttc::NetworkOptions::new();
    network.set_connection_timeout(CONNECT.as_secs());
    events.set_network_options(network);
    let first = events.poll().await.map_err(|error| error.to_string())?;
    let rumqttc::Event::Incoming(rumqttc::Packet::ConnAck(accepted)) = first else {
        return Err("the first packet is no CONNACK".to_owned());
    };
    Ok(Connection {
        sender: Sender::V4(client),
        events: Events {
            polled: Polled::V4(Box::new(events)),
            clock: options.clock,
        },
        terms: Terms {
            present: accepted.session_present,
            packet_ids: limits::broker::PACKET_IDS,
            packet_bytes: most,
        },
    })
}

fn other(text: String) -> v5::ConnectionError {
    v5::ConnectionError::Io(std::io::Error::other(text))
}

/// Where rumqttc is to connect to, and how. A WebSocket is signed anew each time: signatures are good for minutes.
async fn way(options: &BrokerOptions) -> Result<(String, u16, Transport), String> {
    let BrokerUrl {
        scheme, host, port, ..
    } = &options.url;
    let tls = || {
        let trust = options.tls.clone();
        let trust = trust.ok_or("there is nobody to trust in TLS")?;
        Ok::<_, String>(TlsConfiguration::Rustls(trust))
    };
    let transport = match scheme {
        BrokerScheme::Mqtt => Transport::tcp(),
        BrokerScheme::Mqtts => Transport::tls_with_config(tls()?),
        BrokerScheme::Ws => Transport::ws(),
        BrokerScheme::Wss => Transport::wss_with_config(tls()?),
    };
    let address = match &options.presign {
        _ if !scheme.is_websocket() => host.clone(),
        Some(presign) => presign(options.url.text.clone()).await?,
        None => options.url.text.clone(),
    };
    Ok((address, *port, transport))
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

/// The connection is over; what happened says why.
#[derive(Debug)]
pub(super) struct Closed;

impl Sender {
    /// Publishes, with quality of service 1 at most.
    pub(super) async fn publish(
        &self,
        publication: &Publication,
        now: Timestamp,
    ) -> Result<(), Closed> {
        let topic = publication.topic.as_str();
        let payload = publication.payload.clone();
        let is_promised = publication.qos != QoS::AtMostOnce;
        let sent = match self {
            Self::V5(client) => {
                use v5::mqttbytes::QoS::{AtLeastOnce, AtMostOnce};
                let qos = if is_promised { AtLeastOnce } else { AtMostOnce };
                let retain = publication.retain;
                match properties_of(publication, now) {
                    Some(properties) => client
                        .publish_with_properties(topic, qos, retain, payload, properties)
                        .await
                        .is_ok(),
                    None => client.publish(topic, qos, retain, payload).await.is_ok(),
                }
            }
            Self::V4(client) => {
                use rumqttc::QoS::{AtLeastOnce, AtMostOnce};
                let qos = if is_promised { AtLeastOnce } else { AtMostOnce };
                let sent = client.publish_bytes(topic, qos, publication.retain, payload);
                sent.await.is_ok()
            }
        };
        if sent { Ok(()) } else { Err(Closed) }
    }

    /// Subscribes with quality of service 1; `retained`: to be sent what is retained.
    pub(super) async fn subscribe(
        &self,
        filters: &[TopicFilter],
        retained: bool,
    ) -> Result<(), Closed> {
        let sent = match self {
            Self::V5(client) => {
                let filters = filters.iter().map(|filter| packets5::Filter {
                    retain_forward_rule: match retained {
                        true => packets5::RetainForwardRule::OnEverySubscribe,
                        false => packets5::RetainForwardRule::Never,
                    },
                    ..packets5::Filter::new(filter.as_str(), v5::mqttbytes::QoS::AtLeastOnce)
                });
                client.subscribe_many(filters).await.is_ok()
            }
            Self::V4(client) => {
                let filters = filters.iter().map(|filter| rumqttc::SubscribeFilter {
                    path: filter.as_str().to_owned(),
                    qos: rumqttc::QoS::AtLeastOnce,
                });
                client.subscribe_many(filters).await.is_ok()
            }
        };
        if sent { Ok(()) } else { Err(Closed) }
    }

    /// Ends a subscription.
    pub(super) async fn unsubscribe(&self, filter: &TopicFilter) -> Result<(), Closed> {
        let sent = match self {
            Self::V5(client) => client.unsubscribe(filter.as_str()).await.is_ok(),
            Self::V4(client) => client.unsubscribe(filter.as_str()).await.is_ok(),
        };
        if sent { Ok(()) } else { Err(Closed) }
    }

    /// Ends the connection in order, after everything that was to be sent before.
    pub(super) async fn disconnect(&self) -> Result<(), Closed> {
        let sent = match self {
            Self::V5(client) => client.disconnect().await.is_ok(),
            Self::V4(client) => client.disconnect().await.is_ok(),
        };
        if sent { Ok(()) } else { Err(Closed) }
    }
}

/// What MQTT 5 carries beside the payload; `None`: nothing.
fn properties_of(publication: &Publication, now: Timestamp) -> Option<packets5::PublishProperties> {
    let properties = publication.properties.as_deref();
    if properties.is_none() && publication.expires.is_none() {
        return None;
    }
    let Properties {
        payload_format,
        content_type,
        response_topic,
        correlation_data,
        user,
    } = properties.cloned().unwrap_or_default();
    let left = |expires: Timestamp| seconds(expires.since(now)).max(1);
    Some(packets5::PublishProperties {
        payload_format_indicator: payload_format,
        message_expiry_interval: publication.expires.map(left),
        response_topic: response_topic.map(String::from),
        correlation_data,
        user_properties: user
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect(),
        content_type: content_type.map(String::from),
        ..packets5::PublishProperties::default()
    })
}

impl Events {
    /// What happens next.
    ///
    /// # Errors
    /// Why the connection is over, in words.
    pub(super) async fn next(&mut self) -> Result<Event, String> {
        loop {
            let now = self.clock.now();
            let event = match &mut self.polled {
                Polled::V5(events) => {
                    let event = events.poll().await.map_err(|error| error.to_string())?;
                    event_v5(event, now)
                }
                Polled::V4(events) => {
                    let event = events.poll().await.map_err(|error| error.to_string())?;
                    event_v4(event)
                }
            };
            if let Some(event) = event {
                return Ok(event);
            }
        }
    }
}

fn event_v5(event: v5::Event, now: Timestamp) -> Option<Event> {
    use packets5::{Packet, PubAckReason, SubscribeReasonCode};
    let packet = match event {
        v5::Event::Outgoing(outgoing) => return sent(&outgoing),
        v5::Event::Incoming(packet) => packet,
    };
    Some(match packet {
        Packet::Publish(publish) => {
            let properties = publish.properties.unwrap_or_default();
            let expires = properties.message_expiry_interval;
            let publication = Publication {
                expires: expires.map(|left| now.plus(Duration::from_secs(left.into()))),
                properties: received(properties),
                qos: quality(publish.qos as u8),
                retain: publish.retain,
                ..arrived(publish.topic, publish.payload)?
            };
            Event::Arrived(publication)
        }
        Packet::PubAck(ack) => {
            let outcome = match ack.reason {
                PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Ok(()),
                refused => Err(format!("{refused:?}")),
            };
            Event::Acknowledged(ack.pkid, outcome)
        }
        Packet::SubAck(ack) => Event::Subscribed(
            ack.return_codes
                .into_iter()
                .map(|code| match code {
                    SubscribeReasonCode::Success(_) => Ok(()),
                    refused => Err(format!("{refused:?}")),
                })
                .collect(),
        ),
        Packet::UnsubAck(_) => Event::Unsubscribed,
        _ => return None,
    })
}

fn event_v4(event: rumqttc::Event) -> Option<Event> {
    use rumqttc::{Packet, SubscribeReasonCode};
    let packet = match event {
        rumqttc::Event::Outgoing(outgoing) => return sent(&outgoing),
        rumqttc::Event::Incoming(packet) => packet,
    };
    Some(match packet {
        Packet::Publish(publish) => Event::Arrived(Publication {
            qos: quality(publish.qos as u8),
            retain: publish.retain,
            ..arrived(publish.topic.into(), publish.payload)?
        }),
        Packet::PubAck(ack) => Event::Acknowledged(ack.pkid, Ok(())),
        Packet::SubAck(ack) => Event::Subscribed(
            ack.return_codes
                .into_iter()
                .map(|code| match code {
                    SubscribeReasonCode::Success(_) => Ok(()),
                    SubscribeReasonCode::Failure => Err("Failure".to_owned()),
                })
                .collect(),
        ),
        Packet::UnsubAck(_) => Event::Unsubscribed,
        _ => return None,
    })
}

fn sent(outgoing: &Outgoing) -> Option<Event> {
    match outgoing {
        Outgoing::Publish(id) if *id != 0 => Some(Event::Sent(*id)),
        _ => None,
    }
}

fn quality(qos: u8) -> QoS {
    match qos {
        0 => QoS::AtMostOnce,
        _ => QoS::AtLeastOnce,
    }
}

/// A publication of another, as far as both versions have the same. One to a topic that is none here, such as one of very
/// many levels, is nobody's: no client can subscribe to it.
fn arrived(topic: Bytes, payload: Bytes) -> Option<Publication> {
    let topic = ByteString::try_from(topic).ok()?;
    let Ok(topic) = TopicName::parse(topic) else {
        metrics::counter!("fanfare_broker_skipped_total").increment(1);
        return None;
    };
    Some(Publication {
        topic,
        payload,
        qos: QoS::AtMostOnce,
        retain: false,
        properties: None,
        expires: None,
        publisher: None,
    })
}

fn received(properties: packets5::PublishProperties) -> Option<Box<Properties>> {
    let properties = Properties {
        payload_format: properties.payload_format_indicator,
        content_type: properties.content_type.map(ByteString::from),
        response_topic: properties.response_topic.map(ByteString::from),
        correlation_data: properties.correlation_data,
        user: properties
            .user_properties
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect(),
    };
    (properties != Properties::default()).then(|| Box::new(properties))
}
