//! The promises that matter most, against the real binary: what was acknowledged is there after a
//! kill, a power cut, a failing or a full disk; no counter repeats; a drain loses nothing.
//!
//! `FANFARE_CRASH_ROUNDS` (100) sets the kills, `FANFARE_POWER_CUTS` (30) the power cuts and
//! `FANFARE_CRASH_SEED` repeats a run's choices. `FANFARE_BIN` tests another binary.

mod faults;
#[path = "mqtt/client.rs"]
#[allow(
    dead_code,
    clippy::unwrap_used,
    reason = "the tests of MQTT use the rest, and may end by a panic"
)]
mod mqtt_client;
mod server;
