//! MQTT: over TCP, in TLS, and in WebSockets.

mod frames;
mod outbox;
mod queue;
mod tcp;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod transport;
pub mod transports;
mod worker;
mod ws;

pub use transports::Transports;
