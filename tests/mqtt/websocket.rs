//! MQTT in WebSockets: `[MQTT-6.0.0-…]`, and RELIABILITY's table W.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use fanfare::wire::mqtt::codec::{Connect, Decoder, Encoder, Packet, ReasonCode, Sender, Version};

use crate::broker::{self, Broker, Setup};
use crate::client::{Q0, V5, V311, publish, subscription};

/// A WebSocket, frame by frame.
pub struct Ws {
    stream: TcpStream,
    input: BytesMut,
    /// What the server answered to the upgrade.
    pub head: String,
}

pub const MQTT: &str = "Sec-WebSocket-Protocol: mqtt\r\n";

impl Ws {
    /// Asks for an upgrade, with more header lines.
    pub fn ask(address: SocketAddr, target: &str, more: &str) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(8)))
            .unwrap();
        stream
            .set_write_timeout(Some(Duration::from_secs(8)))
            .unwrap();
        let host = if more.contains("Host: ") {
            String::new()
        } else {
            format!("Host: {address}\r\n")
        };
        let request = format!(
            "GET {target} HTTP/1.1\r\n{host}Upgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{more}\r\n"
        );
        let _closed_early = stream.write_all(request.as_bytes());
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
            head.push(byte[0]);
        }
        Self {
            stream,
            input: BytesMut::new(),
            head: String::from_utf8(head).unwrap(),
        }
    }

    pub fn status(&self) -> u16 {
        let status = self.head.split(' ').nth(1);
        status.and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    pub fn open(address: SocketAddr) -> Self {
        let ws = Self::ask(address, "/mqtt", MQTT);
        assert_eq!(ws.status(), 101, "{}", ws.head);
        ws
    }

    /// One frame; `first` has FIN and the opcode.
    pub fn frame(&mut self, first: u8, payload: &[u8]) {
        let mut bytes = vec![first];
        match payload.len() {
            short @ 0..=125 => bytes.push(0x80 | u8::try_from(short).unwrap()),
            long => {
                bytes.push(0xfe);
                bytes.extend_from_slice(&u16::try_from(long).unwrap().to_be_bytes());
            }
        }
        bytes.extend_from_slice(&[0, 0, 0, 0]);
        bytes.extend_from_slice(payload);
        self.raw(&bytes);
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        let _closed = self.stream.write_all(bytes);
    }

    pub fn send(&mut self, version: Version, packet: Packet) {
        self.frame(0x82, &encoded(version, packet));
    }

    /// The next frame that is no ping: opcode and payload; `None` at the end.
    pub fn next(&mut self) -> Option<(u8, Bytes)> {
        loop {
            let (first, payload) = self.next_frame()?;
            assert_eq!(first & 0x70, 0, "no extension was agreed on");
            if first & 0x0f == 9 {
                self.frame(0x8a, &payload);
                continue;
            }
            return Some((first & 0x0f, payload));
        }
    }

    fn next_frame(&mut self) -> Option<(u8, Bytes)> {
        let first = self.take(2)?;
        let length = match first[1] {
            126 => usize::from(u16::from_be_bytes(self.take(2)?[..].try_into().unwrap())),
            127 => {
                let bytes = self.take(8)?;
                u64::from_be_bytes(bytes[..].try_into().unwrap())
                    .try_into()
                    .unwrap()
            }
            short => usize::from(short),
        };
        Some((first[0], self.take(length)?))
    }

    fn take(&mut self, count: usize) -> Option<Bytes> {
        let mut bytes = [0; 4096];
        while self.input.len() < count {
            match self.stream.read(&mut bytes) {
                Ok(0) | Err(_) => return None,
                Ok(read) => self.input.extend_from_slice(&bytes[..read]),
            }
        }
        Some(self.input.split_to(count).freeze())
    }

    /// Whether the server ends the connection within that time although it was pinged; no ping is answered.
    pub fn is_cut_without_pongs(&mut self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let mut pings = 0;
        while let Some((first, _)) = self.next_frame() {
            pings += usize::from(first & 0x0f == 9);
        }
        pings > 0 && Instant::now() < until
    }

    /// The packets in the next frame.
    pub fn packets(&mut self, version: Version) -> Vec<Packet> {
        let (opcode, mut payload) = self.next().expect("a frame");
        assert_eq!(opcode, 2, "MQTT comes in binary frames");
        let decoder = Decoder::connected(Sender::Server, version, usize::MAX);
        std::iter::from_fn(|| decoder.decode(&mut payload).unwrap()).collect()
    }

    /// CONNECT, and its answer.
    pub fn connect(&mut self, connect: Connect) -> ReasonCode {
        let version = connect.version;
        self.send(version, Packet::Connect(Box::new(connect)));
        match self.packets(version).remove(0) {
            Packet::ConnAck(connack) => connack.reason,
            other => panic!("{other:?}"),
        }
    }

    /// The status of the close frame; everything before is skipped.
    pub fn close_code(&mut self) -> Option<u16> {
        loop {
            match self.next()? {
                (8, payload) if payload.len() >= 2 => {
                    return Some(u16::from_be_bytes([payload[0], payload[1]]));
                }
                (8, _) => return None,
                _ => {}
            }
        }
    }
}

fn encoded(version: Version, packet: Packet) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    Encoder::plain(version).encode(&packet, &mut bytes).unwrap();
    bytes.to_vec()
}

fn http() -> SocketAddr {
    broker::open().server.address
}

#[test]
fn packets_may_be_cut_and_joined_at_will() {
    let connect = encoded(V311, Packet::Connect(Box::new(Connect::new(V311, "cut"))));
    // As the old AWS SDK does: one byte, then the rest.
    let mut ws = Ws::open(http());
    ws.frame(0x82, &connect[..1]);
    ws.frame(0x82, &connect[1..]);
    assert!(matches!(ws.packets(V311)[..], [Packet::ConnAck(_)]));
    // Several packets in one frame, the last of them cut, in fragments.
    let ping = encoded(V311, Packet::PingReq);
    let bytes = [ping.clone(), ping.clone(), ping].concat();
    ws.frame(0x02, &bytes[..3]);
    ws.frame(0x89, b"a ping between fragments");
    ws.frame(0x80, &bytes[3..5]);
    ws.frame(0x82, &bytes[5..]);
    let mut pongs = 0;
    let mut answers = 0;
    while answers < 3 || pongs < 1 {
        match ws.next().expect("a frame") {
            (10, payload) => {
                assert_eq!(payload, "a ping between fragments");
                pongs += 1;
            }
            (2, payload) => answers += payload.len() / 2,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_subprotocol_is_one_that_was_offered() {
    for (offered, expect) in [
        ("mqtt", "mqtt"),
        ("mqttv3.1", "mqttv3.1"),
        ("other, mqtt", "mqtt"),
    ] {
        let ws = Ws::ask(
            http(),
            "/mqtt",
            &format!("Sec-WebSocket-Protocol: {offered}\r\n"),
        );
        assert_eq!(ws.status(), 101);
        let head = ws.head.to_ascii_lowercase();
        assert!(
            head.contains(&format!("sec-websocket-protocol: {expect}\r\n")),
            "{head}"
        );
    }
}

#[test]
fn text_frames_end_the_connection() {
    let mut ws = Ws::open(http());
    ws.frame(
        0x81,
        &encoded(V5, Packet::Connect(Box::new(Connect::new(V5, "text")))),
    );
    assert_eq!(ws.close_code(), Some(1003));
}

#[test]
fn tcp_and_websockets_meet() {
    let broker = broker::open();
    let mut ws = Ws::open(http());
    assert_eq!(ws.connect(Connect::new(V5, "meet-ws")), ReasonCode::Success);
    let subscribe = fanfare::wire::mqtt::codec::Subscribe {
        packet_id: fanfare::wire::mqtt::codec::PacketId::new(1).unwrap(),
        subscriptions: vec![subscription("meet", Q0)],
        user: Vec::new(),
    };
    ws.send(V5, Packet::Subscribe(subscribe));
    assert!(matches!(ws.packets(V5)[..], [Packet::SubAck(_)]));
    let mut tcp = broker.client(V311, "meet-tcp");
    tcp.subscribe("meet", Q0);
    tcp.publish("meet", "1", Q0);
    assert_eq!(tcp.payload(), "1");
    assert!(matches!(&ws.packets(V5)[..], [Packet::Publish(got)] if got.payload == "1"));
    ws.send(V5, Packet::Publish(publish("meet", "2", Q0)));
    assert_eq!(tcp.payload(), "2");
}

fn restricted() -> Broker {
    Setup::new()
        .mqtt("allowed_origins", "\"https://game.example\"")
        .mqtt("connect_timeout", 1)
        .start()
}

#[test]
fn w01_a_foreign_page_is_refused_and_cookies_prove_nothing() {
    let broker = restricted();
    let ask =
        |more: &str| Ws::ask(broker.server.address, "/mqtt", &format!("{MQTT}{more}")).status();
    assert_eq!(ask("Origin: https://game.example\r\n"), 101);
    assert_eq!(ask(""), 101);
    assert_eq!(ask("Origin: https://evil.example\r\n"), 403);
    assert_eq!(ask("Origin: https://game.example.evil\r\n"), 403);
    assert_eq!(ask("Cookie: session=1\r\n"), 403);
    assert_eq!(
        ask("Origin: https://evil.example\r\nCookie: session=1\r\n"),
        403
    );
}

#[test]
fn w02_bad_frames_are_told_so() {
    let masked = [0, 0, 0, 0];
    let cases: [(&str, Vec<u8>); 4] = [
        ("unmasked", vec![0x82, 1, 0]),
        ("RSV1", [&[0xc2, 0x81][..], &masked, &[0]].concat()),
        (
            "reserved opcode",
            [&[0x83, 0x81][..], &masked, &[0]].concat(),
        ),
        ("a fragmented ping", [&[0x09, 0x80][..], &masked].concat()),
    ];
    for (what, bytes) in cases {
        let mut ws = Ws::open(http());
        ws.raw(&bytes);
        assert_eq!(ws.close_code(), Some(1002), "{what}");
    }
}

#[test]
fn w03_endless_fragments_end_the_connection() {
    let mut ws = Ws::open(http());
    ws.frame(0x02, &[0x10]);
    for _ in 0..3000 {
        ws.frame(0x00, &[0]);
        ws.frame(0x89, &[]);
    }
    let code = ws.close_code();
    assert!(
        matches!(code, Some(1002 | 1008 | 1009)) || code.is_none(),
        "{code:?}"
    );
    broker::open().client(V5, "w03").ping();
}

#[test]
fn w04_compression_is_not_agreed_on() {
    let more =
        format!("{MQTT}Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n");
    let ws = Ws::ask(http(), "/mqtt", &more);
    assert_eq!(ws.status(), 101);
    assert!(
        !ws.head
            .to_ascii_lowercase()
            .contains("sec-websocket-extensions"),
        "{}",
        ws.head
    );
}

#[test]
fn w05_a_length_that_can_not_be_ends_the_connection() {
    for length in [u64::MAX, 1 << 63, 1 << 40] {
        let mut ws = Ws::open(http());
        ws.raw(&[&[0x82, 0xff][..], &length.to_be_bytes(), &[0; 4]].concat());
        let code = ws.close_code();
        assert!(matches!(code, Some(1002 | 1009)), "{code:?}");
    }
    broker::open().client(V5, "w05").ping();
}

#[test]
fn w06_a_megabyte_of_headers_is_refused() {
    let long = format!("X-Long: {}\r\n", "x".repeat(1 << 20));
    let ws = Ws::ask(http(), "/mqtt", &long);
    assert!(matches!(ws.status(), 431 | 400 | 0), "{}", ws.head);
    broker::open().client(V5, "w06").ping();
}

#[test]
fn w07_a_flood_of_pings_is_cut() {
    let mut ws = Ws::open(http());
    assert_eq!(ws.connect(Connect::new(V5, "w07")), ReasonCode::Success);
    let since = Instant::now();
    for _ in 0..2000 {
        ws.frame(0x89, &[]);
    }
    while ws.next().is_some() {}
    assert!(since.elapsed() < Duration::from_secs(7), "it was not cut");
}

#[test]
fn m26_without_mqtt_there_is_no_path() {
    let data = tempfile::tempdir().unwrap();
    let server = crate::server::Launch::on(data.path())
        .env("FANFARE_MQTT_ENABLED", "false")
        .start();
    assert_eq!(server.mqtt, None);
    assert_eq!(Ws::ask(server.address, "/mqtt", MQTT).status(), 404);
}
