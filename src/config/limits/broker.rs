//! What a node asks of the broker that its topics go through.

use std::time::Duration;

/// Ours: packet ids that are in use at a time, so publications of quality of service 1 that were sent and are not
/// acknowledged, if the broker does not want fewer. More wait, in bytes bounded by `aws.hold_bytes`.
pub const PACKET_IDS: u16 = 1000;
/// Filters of one SUBSCRIBE (AWS IoT Core's own). More wait for the next.
pub const FILTERS: usize = 8;
/// Ours: retained messages that one SUBSCRIBE of a client brings. More are counted as dropped.
pub const RETAINED: usize = 10_000;
/// Ours: how long the broker keeps what is published while a node has lost its connection. What comes after that is not
/// for whoever is connected to the node.
pub const RESUME: Duration = Duration::from_secs(300);
