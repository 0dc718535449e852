//! Bounds on MQTT packets. What a packet may have in bytes is a setting.

/// Bytes of a text, or of binary data, in a packet: what MQTT's two-byte length can carry. Beyond it 400 over HTTP.
pub const TEXT_BYTES: usize = 65_535;
/// Bytes of a packet whose sender is not authenticated (RELIABILITY 5); beyond: 0x95 and the connection ends.
pub const PRE_AUTH_BYTES: usize = 4096;
/// User properties of one packet, or of its will; beyond: 0x95 and the connection ends.
pub const USER_PROPERTIES: usize = 100;
/// Topic filters of one SUBSCRIBE or UNSUBSCRIBE; beyond: 0x97 and the connection ends.
pub const PACKET_FILTERS: usize = 512;
