//! What an idle MQTT connection keeps on the heap. There are many of them, so every struct on their way counts: this test
//! fails when one of them grows.

#![allow(clippy::unwrap_used, reason = "a test may end by a panic")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use fanfare::app::{App, Settings};
use fanfare::auth::Rulebook;
use fanfare::config::{self, Flags};
use fanfare::observe::metrics;

/// Counts the bytes that are asked for. What an allocator makes of them is its own affair; mimalloc adds an eighth at most.
#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// Enough that what the server keeps for all of them together hardly shows.
/// Not so many that a process may not have the files.
const CONNECTIONS: usize = 100;

struct Server {
    http: SocketAddr,
    mqtt: SocketAddr,
}

fn serve(dir: &std::path::Path) -> Server {
    let set = |key: &str, value: &str| ("test".to_owned(), key.to_owned(), value.to_owned());
    let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}"#;
    let flags = Flags {
        file: None,
        settings: vec![
            set("http.listen", "127.0.0.1:0"),
            set("http.workers", "1"),
            set("mqtt.listen", "127.0.0.1:0"),
            set("guests.anonymous_policy", policy),
            set("store.dir", dir.to_str().unwrap()),
        ],
    };
    let config = config::load(&flags, []).unwrap();
    let operator = config.operator_keys().unwrap();
    let book = Arc::new(Rulebook::of(&config).unwrap());
    let settings = Settings::of(&config, &operator, book);
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let recorder = metrics::record().unwrap();
        actix_rt::System::new().block_on(async move {
            let app = App::start(settings, recorder, Arc::new(|error| panic!("{error}")))
                .await
                .unwrap();
            tell.send((app.http, app.others.mqtt.unwrap())).unwrap();
            std::future::pending::<()>().await;
        });
    });
    let (http, mqtt) = told.recv().unwrap();
    Server { http, mqtt }
}

/// A client of MQTT 3.1.1 that is connected, and subscribes to a topic of its own.
struct Client {
    stream: TcpStream,
    is_websocket: bool,
}

impl Client {
    fn connect(server: &Server, is_websocket: bool, number: usize, subscribe: bool) -> Self {
        let address = if is_websocket {
            server.http
        } else {
            server.mqtt
        };
        let stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let mut client = Self {
            stream,
            is_websocket,
        };
        if is_websocket {
            let head = "GET /mqtt HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                        Sec-WebSocket-Protocol: mqtt\r\n\
                        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
            client.stream.write_all(head.as_bytes()).unwrap();
            let mut answer = [0; 1024];
            let mut have = 0;
            while !answer[..have].ends_with(b"\r\n\r\n") {
                have += client.stream.read(&mut answer[have..]).unwrap();
            }
        }
        let id = format!("bench-0123456789abcdef-{number:05}");
        let mut connect = b"\x10\x00\x00\x04MQTT\x04\x02\x00\x3c".to_vec();
        connect.extend_from_slice(&(id.len() as u16).to_be_bytes());
        connect.extend_from_slice(id.as_bytes());
        connect[1] = connect.len() as u8 - 2;
        assert_eq!(client.ask(&connect, 4), [0x20, 2, 0, 0]);
        if subscribe {
            let topic = format!("bench/0123456789abcdef/{number:05}");
            let mut packet = b"\x82\x00\x00\x01".to_vec();
            packet.extend_from_slice(&(topic.len() as u16).to_be_bytes());
            packet.extend_from_slice(topic.as_bytes());
            packet.push(0);
            packet[1] = packet.len() as u8 - 2;
            assert_eq!(client.ask(&packet, 5), [0x90, 3, 0, 1, 0]);
        }
        client
    }

    /// Sends a packet and reads its answer.
    fn ask(&mut self, packet: &[u8], answer: usize) -> Vec<u8> {
        let mut framed = Vec::new();
        if self.is_websocket {
            framed.extend_from_slice(&[0x82, 0x80 | packet.len() as u8, 0, 0, 0, 0]);
        }
        framed.extend_from_slice(packet);
        self.stream.write_all(&framed).unwrap();
        let head = if self.is_websocket { 2 } else { 0 };
        let mut bytes = vec![0; head + answer];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes.split_off(head)
    }
}

/// What is on the heap, when what is only there for a moment has gone.
fn heap_bytes() -> usize {
    let looks = (0..10).map(|_| {
        thread::sleep(Duration::from_millis(100));
        dhat::HeapStats::get().curr_bytes
    });
    looks.min().unwrap()
}

/// Bytes for each connection. As many are there already: what the first ones make the server set up is not theirs.
fn each(server: &Server, is_websocket: bool, subscribe: bool) -> usize {
    let connect = |number| Client::connect(server, is_websocket, number, subscribe);
    let mut clients = Vec::with_capacity(2 * CONNECTIONS);
    clients.extend((0..CONNECTIONS).map(connect));
    let before = heap_bytes();
    clients.extend((CONNECTIONS..2 * CONNECTIONS).map(connect));
    let after = heap_bytes();
    after.saturating_sub(before) / CONNECTIONS
}

/// Who made it grow finds out what did with dhat's own profile: `Profiler::builder().build()` writes one when it is dropped,
/// and dhat's viewer shows which line asked for what is there at the end.
#[test]
fn an_idle_connection_keeps_little() {
    let dir = tempfile::tempdir().unwrap();
    let _profiler = dhat::Profiler::builder().testing().build();
    let server = serve(dir.path());
    // Measured, and a tenth more: tables grow by doubling, so that a little more can be seen as much more.
    for (is_websocket, subscribe, most) in [
        (false, false, 1400),
        (false, true, 1450),
        (true, false, 2300),
        (true, true, 2450),
    ] {
        let found = each(&server, is_websocket, subscribe);
        assert!(
            found <= most,
            "websocket {is_websocket}, subscription {subscribe}: {found} bytes, not {most}"
        );
    }
}
