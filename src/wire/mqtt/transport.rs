//! The seam between a connection and the MQTT that is spoken on it.
//!
//! A transport ([`tcp`](super::tcp), [`ws`](super::ws)) reads the socket and hands the bytes to a [`Receive`], which is the
//! link: the state of one client. The link answers through its [`Outbox`], and so does whoever delivers to the client.
//! Both live on the worker thread that accepted the connection, so nothing here waits for a lock.

use std::time::{Duration, Instant};

pub use super::outbox::{Outbox, Refused};

/// What a link does with what happens on its connection. No method may wait or take long: everything on this worker
/// thread waits meanwhile.
pub trait Receive: 'static {
    /// Takes bytes in the order they were sent. Packets end anywhere in them, so a link keeps the beginning of one that is
    /// not complete. Not called any more after the outbox was closed or while it asked for a pause.
    fn receive(&mut self, bytes: &[u8]);

    /// The time given to [`Outbox::set_alarm`] has come, at most half a second late. The alarm is off now.
    fn tick(&mut self, now: Instant);

    /// Somebody called [`Outbox::wake`], once or several times.
    fn woken(&mut self) {}

    /// The client reads again: the outbox had been full of what the socket did not take, and is empty.
    fn drained(&mut self) {}

    /// The process is ending: say goodbye, and close.
    fn drain(&mut self);

    /// The connection is over; the last call. What is pushed from now on goes nowhere.
    fn gone(&mut self, why: Gone);
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// The client closed it.
    Ended,
    /// It broke, or was not to be read any more.
    Broken,
    /// [`Outbox::close`] closed it.
    Closed,
    /// The client did not answer to pings.
    Silent,
}

/// Why a connection is closed, as a WebSocket's status code says it (RFC 6455, 7.4). On TCP the connection just ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// All is said.
    Done,
    /// The process ends.
    GoingAway,
    /// What the client sent breaks the WebSocket protocol or MQTT.
    Protocol,
    /// Text, where MQTT is binary.
    Unsupported,
    /// The client does not read, or sends too much of what costs something.
    Policy,
    /// Longer than is allowed.
    TooBig,
    /// The server's fault.
    Failed,
}

impl Close {
    /// The WebSocket status code.
    pub fn code(self) -> u16 {
        match self {
            Self::Done => 1000,
            Self::GoingAway => 1001,
            Self::Protocol => 1002,
            Self::Unsupported => 1003,
            Self::Policy => 1008,
            Self::TooBig => 1009,
            Self::Failed => 1011,
        }
    }

    /// The name in metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::GoingAway => "going_away",
            Self::Protocol => "protocol",
            Self::Unsupported => "unsupported",
            Self::Policy => "policy",
            Self::TooBig => "too_big",
            Self::Failed => "failed",
        }
    }
}

/// Bounds of connections.
#[derive(Debug, Clone)]
pub struct TransportOptions {
    /// Connections of all kinds and workers together; more are refused.
    pub max_connections: usize,
    /// Bytes that wait for one client; beyond it [`Outbox::push`] refuses. At least as long as the longest packet.
    pub outbox_bytes: usize,
    /// The longest WebSocket frame, in bytes; beyond it the connection is closed with 1009.
    pub frame_bytes: usize,
    /// After so long without a byte from a WebSocket client it is pinged, and after as long again it is gone.
    pub ping_interval: Duration,
}

impl Default for TransportOptions {
    fn default() -> Self {
        Self {
            max_connections: 100_000,
            outbox_bytes: 256 * 1024,
            frame_bytes: 256 * 1024 + 16,
            ping_interval: Duration::from_secs(30),
        }
    }
}
