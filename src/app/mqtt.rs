//! The topic plane's part of the composition root.

use std::sync::Arc;

use crate::actors::topic::{
    RetainedLimits, SessionQueues, StandingRights, TopicParts, TopicSettings, Topics,
};
use crate::auth::Authenticator;
use crate::backends::broker::TopicBroker;
use crate::backends::rooms::RoomStore;
use crate::backends::topics::TopicStore;
use crate::config::{self, Config};
use crate::domain::publication::Publication;
use crate::domain::topic::Hash;
use crate::domain::{Clock, StoreError};
use crate::wire::front::{Door, Origins};
use crate::wire::iot::data::DataState;
use crate::wire::mqtt::link::{Mqtt, MqttSettings};
use crate::wire::mqtt::transport::TransportOptions;
use crate::wire::mqtt::{MqttDoor, Profile, Transports, door};

/// What the topic plane and its wire are made with.
#[derive(Debug, Clone)]
pub struct MqttParts {
    /// Where MQTT over TCP is served.
    pub listen: std::net::SocketAddr,
    /// Which pages may open a WebSocket.
    pub origins: Origins,
    /// Bounds of the topics.
    pub topics: TopicSettings,
    /// Bounds of what is spoken on a connection.
    pub links: MqttSettings,
    /// Bounds of connections.
    pub transports: TransportOptions,
}

impl MqttParts {
    /// What a configuration stands for; `None`: no MQTT.
    pub(super) fn of(config: &Config) -> Option<Self> {
        let mqtt = &config.mqtt;
        mqtt.enabled.then(|| Self {
            listen: mqtt.listen,
            origins: Origins::of(&mqtt.allowed_origins),
            topics: topics(mqtt, &config.rooms),
            links: links(mqtt),
            transports: TransportOptions {
                max_connections: mqtt.max_connections,
                // The largest packet always finds room beside what waits already.
                outbox_bytes: mqtt.max_packet_bytes + (256 << 10),
                frame_bytes: mqtt.max_packet_bytes.max(64 << 10) + 16,
                ping_interval: mqtt.ping_interval,
            },
        })
    }
}

impl MqttParts {
    /// The same for topics that go through a broker: what a node would have to keep is not offered.
    #[cfg(feature = "aws")]
    pub(super) fn through_a_broker(&self) -> Self {
        let mut parts = self.clone();
        parts.topics.rooms.clear();
        parts.links.max_session_expiry = std::time::Duration::ZERO;
        parts.links.shared_subscriptions = false;
        parts
    }

    /// The longest payload that can be published over HTTP: what an MQTT client might publish.
    pub(super) fn max_payload_bytes(&self) -> usize {
        match self.links.profile {
            Profile::Open => self.links.max_packet_bytes,
            Profile::Aws => crate::wire::mqtt::profile::PAYLOAD_BYTES,
        }
    }
}

fn topics(mqtt: &config::Mqtt, rooms: &[config::Room]) -> TopicSettings {
    TopicSettings {
        queue_limit: mqtt.queue_limit,
        max_durable_sessions: mqtt.max_durable_sessions,
        max_subscriptions: match mqtt.profile {
            config::MqttProfile::Open => mqtt.max_subscriptions,
            config::MqttProfile::Aws => mqtt
                .max_subscriptions
                .min(crate::wire::mqtt::profile::SUBSCRIPTIONS),
        },
        retained: RetainedLimits {
            messages: mqtt.max_retained_messages,
            bytes: mqtt.max_retained_bytes,
        },
        hash: match mqtt.profile {
            config::MqttProfile::Open => Hash::WithParent,
            config::MqttProfile::Aws => Hash::WithoutParent,
        },
        lifecycle_events: mqtt.lifecycle_events,
        // A filter that is none was refused with the configuration.
        rooms: rooms.iter().filter_map(config::Room::rule).collect(),
    }
}

fn links(mqtt: &config::Mqtt) -> MqttSettings {
    MqttSettings {
        profile: match mqtt.profile {
            config::MqttProfile::Open => Profile::Open,
            config::MqttProfile::Aws => Profile::Aws,
        },
        max_packet_bytes: mqtt.max_packet_bytes,
        connect_timeout: mqtt.connect_timeout,
        max_in_flight: mqtt.max_in_flight,
        max_waiting: mqtt.max_waiting,
        max_waiting_bytes: mqtt.max_waiting_bytes,
        max_outbound_bytes: mqtt.max_outbound_bytes,
        slow_consumer_timeout: mqtt.slow_consumer_timeout,
        max_keep_alive: mqtt.max_keep_alive,
        max_topic_aliases: mqtt.max_topic_aliases,
        max_client_id_bytes: mqtt.max_client_id_bytes,
        max_session_expiry: mqtt.max_session_expiry,
        shared_subscriptions: true,
    }
}

/// Where the topic plane keeps what it keeps, and what it goes through.
pub(super) struct Kept {
    pub(super) store: Arc<dyn TopicStore>,
    pub(super) histories: Arc<dyn RoomStore>,
    pub(super) inboxes: Option<SessionQueues>,
    pub(super) broker: Option<Arc<dyn TopicBroker>>,
}

/// The running topic plane.
pub(super) struct Plane {
    pub(super) topics: Topics,
    pub(super) transports: Transports,
    door: Arc<MqttDoor>,
}

impl Plane {
    /// Reads what the store has, and keeps time from now on.
    pub(super) fn start(
        parts: &MqttParts,
        kept: Kept,
        authenticator: &Arc<Authenticator>,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        let topics = Topics::open(
            TopicParts {
                store: kept.store,
                histories: kept.histories,
                rights: Arc::new(Rights(authenticator.clone())),
                inboxes: kept.inboxes,
                broker: kept.broker,
                clock,
            },
            parts.topics.clone(),
        )?;
        topics.keep_time();
        let transports = Transports::new(parts.transports.clone());
        let mqtt = Mqtt::new(
            topics.clone(),
            authenticator.clone(),
            parts.links.clone(),
            clock,
        );
        let door = Arc::new(MqttDoor::new(Arc::new(mqtt), transports.clone()));
        Ok(Self {
            topics,
            transports,
            door,
        })
    }
}

impl Plane {
    /// What HTTP's way to the topics works with.
    pub(super) fn data_state(
        &self,
        parts: &MqttParts,
        authenticator: &Arc<Authenticator>,
        clock: Clock,
    ) -> DataState {
        DataState {
            topics: self.topics.clone(),
            authenticator: authenticator.clone(),
            clock,
            max_payload_bytes: parts.max_payload_bytes(),
            max_client_id_bytes: parts.links.max_client_id_bytes,
        }
    }

    /// Lets connections in through the door.
    pub(super) fn serve(&self, door: Door, parts: &MqttParts) -> Door {
        let origins = parts.origins.clone();
        door.links(
            "mqtt",
            door::PATH,
            door::PROTOCOLS,
            origins,
            self.door.clone(),
        )
    }
}

/// What was published may be delivered later only as long as its publisher still might publish it.
struct Rights(Arc<Authenticator>);

impl StandingRights for Rights {
    fn stand(&self, publication: &Publication) -> bool {
        let Some(publisher) = &publication.publisher else {
            return true;
        };
        self.0
            .still_publishes(publisher, publication.topic.as_str())
    }
}
