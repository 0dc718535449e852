//! The packets of MQTT 3.1.1 and 5, read strictly from a stream of bytes, and written.
//!
//! One [`Packet`] type serves both versions; what only MQTT 5 has is empty in 3.1.1. A packet holds the domain's own
//! types ([`Subscription`](crate::domain::publication::Subscription), [`Will`](crate::domain::publication::Will),
//! [`TopicName`](crate::domain::topic::TopicName) and so on), so what comes out of here goes to the actors as it is.
//! Whatever breaks a rule of the specification is a [`Violation`], which names the rule.
//!
//! - [`Decoder`] reads. It buffers nothing; the texts and payloads that it returns share the memory that was read into. Who
//!   keeps one for long (a retained message) copies it, so that it does not keep the rest of that memory.
//! - [`Encoder`] writes everything but publications, within the receiver's maximum packet size.
//! - [`PublishHead`] writes publications: whole, to be shared by many receivers, or the part before the payload.
//!
//! The codec is our own because rmqtt-codec, which was to be used, does not say which rule was broken, has one set of types per
//! version, and lets through a dozen things that a server must refuse: to check them first is to parse twice.

mod ack;
mod auth;
mod connack;
mod connect;
mod decode;
mod disconnect;
mod encode;
mod packet;
mod properties;
mod publish;
mod read;
mod reason;
pub mod rules;
mod subscribe;
mod write;

#[cfg(test)]
mod tests;

pub use ack::Ack;
pub use auth::Auth;
pub use connack::ConnAck;
pub use connect::{Connect, Password};
pub use decode::Decoder;
pub use disconnect::Disconnect;
pub use encode::Encoder;
pub use packet::{Extras, Packet, PacketId, Sender, UserProperties, Version};
pub use publish::{Publish, PublishHead};
pub use reason::ReasonCode;
pub use rules::{Rule, Violation};
pub use subscribe::{SubAck, Subscribe, UnsubAck, Unsubscribe};
pub use write::TooLarge;
