//! The MQTT wire: 3.1.1 and 5, over TCP, in TLS, and in WebSockets (WIRE 4.2, 4.3).
//!
//! A [transport] brings bytes to a [link], which reads packets from them with the [codec] and does what they say with the
//! topic actors ([`Topics`](crate::actors::topic::Topics)). What the topics deliver, the link puts into its outbox.

pub mod codec;
pub mod door;
mod frames;
pub mod link;
mod outbox;
pub mod profile;
mod queue;
mod tcp;
pub mod transport;
pub mod transports;
mod turn_log;
mod worker;
mod ws;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use door::MqttDoor;
pub use link::{Link, Mqtt, MqttSettings};
pub use profile::Profile;
pub use transports::Transports;
