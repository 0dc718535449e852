//! What a packet is, and what several kinds of packets have in common.

use std::num::NonZeroU16;

use bytestring::ByteString;

use super::{
    Ack, Auth, ConnAck, Connect, Disconnect, Publish, SubAck, Subscribe, UnsubAck, Unsubscribe,
};

/// Version of the protocol that a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// 3.1.1, protocol level 4.
    V311,
    /// 5, protocol level 5.
    V5,
}

impl Version {
    /// From 0, for tables by version.
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Which side of a connection a packet comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// The side that connects.
    Client,
    /// The side that was connected to.
    Server,
}

/// Packet Identifier, 1 to 65,535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PacketId(pub NonZeroU16);

impl PacketId {
    /// From a number; `None` for 0.
    pub const fn new(number: u16) -> Option<Self> {
        match NonZeroU16::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// As a number.
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

/// User Properties in order; at most [`USER_PROPERTIES`](crate::config::limits::mqtt::USER_PROPERTIES) are read.
pub type UserProperties = Vec<(ByteString, ByteString)>;

/// What explains an answer; left out of a packet that it makes too large (for example `[MQTT-3.4.2-2]`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Extras {
    /// Reason String, for whoever reads the client's log.
    pub reason_string: Option<ByteString>,
    /// User Properties.
    pub user: UserProperties,
}

impl Extras {
    /// With a reason string only.
    pub fn reason(text: impl Into<ByteString>) -> Option<Box<Self>> {
        Some(Box::new(Self {
            reason_string: Some(text.into()),
            user: Vec::new(),
        }))
    }

    /// `None` if there is nothing in it.
    pub(super) fn into_option(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }
}

/// A control packet of either version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// CONNECT: a client introduces itself.
    Connect(Box<Connect>),
    /// CONNACK: the answer to CONNECT.
    ConnAck(Box<ConnAck>),
    /// PUBLISH: a message.
    Publish(Publish),
    /// PUBACK: the answer to a PUBLISH with QoS 1.
    PubAck(Ack),
    /// PUBREC: the answer to a PUBLISH with QoS 2.
    PubRec(Ack),
    /// PUBREL: the answer to PUBREC.
    PubRel(Ack),
    /// PUBCOMP: the answer to PUBREL.
    PubComp(Ack),
    /// SUBSCRIBE.
    Subscribe(Subscribe),
    /// SUBACK: the answer to SUBSCRIBE.
    SubAck(SubAck),
    /// UNSUBSCRIBE.
    Unsubscribe(Unsubscribe),
    /// UNSUBACK: the answer to UNSUBSCRIBE.
    UnsubAck(UnsubAck),
    /// PINGREQ: a sign of life.
    PingReq,
    /// PINGRESP: the answer to PINGREQ.
    PingResp,
    /// DISCONNECT: the last packet.
    Disconnect(Disconnect),
    /// AUTH: a step of an extended authentication. MQTT 5 only.
    Auth(Auth),
}

/// The number of each packet type, the upper four bits of its first byte (2.1.2).
pub(super) mod kind {
    pub const CONNECT: u8 = 1;
    pub const CONNACK: u8 = 2;
    pub const PUBLISH: u8 = 3;
    pub const PUBACK: u8 = 4;
    pub const PUBREC: u8 = 5;
    pub const PUBREL: u8 = 6;
    pub const PUBCOMP: u8 = 7;
    pub const SUBSCRIBE: u8 = 8;
    pub const SUBACK: u8 = 9;
    pub const UNSUBSCRIBE: u8 = 10;
    pub const UNSUBACK: u8 = 11;
    pub const PINGREQ: u8 = 12;
    pub const PINGRESP: u8 = 13;
    pub const DISCONNECT: u8 = 14;
    pub const AUTH: u8 = 15;
}
