//! What AWS IoT Core does otherwise than the MQTT specification (WIRE 4.3): enforced with the profile `aws`, told once to
//! each client's developer, in the log, with the profile `open`.

use std::time::Duration;

use super::codec::{Connect, Publish, ReasonCode};
use crate::domain::publication::{QoS, Subscription};

/// Whose limits hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// The specification's, and Fanfare's own.
    #[default]
    Open,
    /// AWS IoT Core's.
    Aws,
}

/// Something that AWS IoT Core does not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deviation {
    /// What the answer says where it is enforced.
    pub reason: ReasonCode,
    /// What and how much, for the client's developer.
    pub what: &'static str,
}

const fn deviation(reason: ReasonCode, what: &'static str) -> Result<(), Deviation> {
    Err(Deviation { reason, what })
}

/// Bytes of a payload.
pub const PAYLOAD_BYTES: usize = 128 * 1024;
/// Bytes of a client id.
pub const CLIENT_ID_BYTES: usize = 128;
/// Bytes of a topic.
pub const TOPIC_BYTES: usize = 256;
/// Slashes in a topic.
pub const SLASHES: usize = 7;
/// Filters in one SUBSCRIBE.
pub const FILTERS: usize = 8;
/// Subscriptions of one connection.
pub const SUBSCRIPTIONS: usize = 50;
/// Topic aliases.
pub const TOPIC_ALIASES: u16 = 8;
/// Publications in flight, each way.
pub const IN_FLIGHT: u16 = 100;
/// Shortest and longest keep alive, in seconds.
pub const KEEP_ALIVE_S: (u16, u16) = (30, 1200);
/// Longest life of a session after its connection.
pub const SESSION_EXPIRY: Duration = Duration::from_secs(3600);
/// Longest message expiry, in seconds.
pub const MESSAGE_EXPIRY_S: u32 = 604_800;

/// What AWS IoT Core would not take of a CONNECT.
pub fn connect(packet: &Connect) -> Result<(), Deviation> {
    if packet.client_id.len() > CLIENT_ID_BYTES {
        return deviation(
            ReasonCode::ClientIdentifierNotValid,
            "a client id has at most 128 bytes",
        );
    }
    if let Some(will) = &packet.will {
        if will.publication.qos == QoS::ExactlyOnce {
            return deviation(ReasonCode::QoSNotSupported, "a will has at most QoS 1");
        }
        topic(will.publication.topic.as_str())?;
    }
    if packet.auth_method.is_some() {
        return deviation(
            ReasonCode::BadAuthenticationMethod,
            "there is no extended authentication",
        );
    }
    Ok(())
}

/// What AWS IoT Core would not take of a PUBLISH.
pub fn publish(packet: &Publish) -> Result<(), Deviation> {
    if packet.qos == QoS::ExactlyOnce {
        return deviation(ReasonCode::QoSNotSupported, "there is no QoS 2");
    }
    if packet.payload.len() > PAYLOAD_BYTES {
        return deviation(ReasonCode::PacketTooLarge, "a payload has at most 128 KiB");
    }
    if packet
        .message_expiry_s
        .is_some_and(|expiry| !(1..=MESSAGE_EXPIRY_S).contains(&expiry))
    {
        return deviation(
            ReasonCode::ImplementationSpecificError,
            "a message expiry is 1 to 604800 seconds",
        );
    }
    packet
        .topic
        .as_ref()
        .map_or(Ok(()), |name| topic(name.as_str()))
}

/// What AWS IoT Core would not take of a SUBSCRIBE.
pub fn subscribe(subscriptions: &[Subscription]) -> Result<(), Deviation> {
    if subscriptions.len() > FILTERS {
        return deviation(
            ReasonCode::QuotaExceeded,
            "a SUBSCRIBE has at most 8 filters",
        );
    }
    for subscription in subscriptions {
        if subscription.id.is_some() {
            return deviation(
                ReasonCode::SubscriptionIdentifiersNotSupported,
                "there are no subscription identifiers",
            );
        }
        topic(subscription.filter.filter())?;
    }
    Ok(())
}

fn topic(text: &str) -> Result<(), Deviation> {
    if text.len() > TOPIC_BYTES {
        return deviation(
            ReasonCode::TopicNameInvalid,
            "a topic has at most 256 bytes",
        );
    }
    if text.bytes().filter(|byte| *byte == b'/').count() > SLASHES {
        return deviation(
            ReasonCode::TopicNameInvalid,
            "a topic has at most 7 slashes",
        );
    }
    Ok(())
}
