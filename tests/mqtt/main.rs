//! MQTT against the real binary, packet by packet: what both specifications ask of a server (`statements.md` says which test
//! shows which statement), the attacks of RELIABILITY's tables M, S and W, every limit, and the same sequences as against
//! Mosquitto.

#![allow(clippy::unwrap_used, reason = "a test may end by a panic")]
#![allow(dead_code, reason = "the server's other clients are other tests'")]

#[path = "../server/mod.rs"]
mod server;

mod attacks;
mod broker;
mod client;
mod connect;
mod credentials;
mod deliver;
mod differential;
mod floods;
mod limits;
mod publish;
mod rooms;
mod sessions;
mod statements;
mod subscribe;
mod websocket;
mod wills;
