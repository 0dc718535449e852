//! The MQTT wire: 3.1.1 and 5, over TCP and WebSocket (WIRE 4.2, 4.3).

pub mod codec;
