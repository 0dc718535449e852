//! MQTT 5: whatever comes is read as packets or refused, however it is cut; what is read can be written.

#![no_main]

use fanfare::wire::mqtt::codec::Version;
use libfuzzer_sys::fuzz_target;

#[path = "mqtt/packets.rs"]
mod packets;

fuzz_target!(|data: &[u8]| packets::check(Version::V5, data));
