//! The MQTT wire: 3.1.1 and 5, over TCP, in TLS, and in WebSockets (WIRE 4.2, 4.3).

pub mod codec;
mod frames;
mod outbox;
mod queue;
mod tcp;
pub mod transport;
pub mod transports;
mod worker;
mod ws;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use transports::Transports;
