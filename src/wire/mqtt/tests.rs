//! Both transports over sockets.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::testing::{Client, Given, frame, given};
use super::transport::{Gone, TransportOptions};
use crate::config::limits::links;

const BINARY: u8 = 0x82;

fn small() -> TransportOptions {
    TransportOptions {
        max_connections: 3,
        outbox_bytes: 256 * 1024,
        frame_bytes: 100_000,
        ping_interval: Duration::from_secs(30),
    }
}

async fn read(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let read = stream.read_exact(&mut bytes);
    let read = tokio::time::timeout(Duration::from_secs(5), read).await;
    read.expect("bytes in time").expect("bytes");
    bytes
}

#[actix::test]
async fn tcp_gives_and_takes_bytes() {
    let given = given(small());
    let mut stream = TcpStream::connect(given.tcp).await.unwrap();
    for size in [1, 100, 70_000] {
        let sent = vec![b'x'; size];
        stream.write_all(&sent).await.unwrap();
        assert_eq!(read(&mut stream, size).await, sent);
    }
    stream.write_all(b"S").await.unwrap();
    let got = read(&mut stream, 5011).await;
    assert!(got.starts_with(b"befores") && got.ends_with(b"safter"));
    assert_eq!(given.transports.open(), 1);
    drop(stream);
    assert_eq!(given.gone(1).await, [Gone::Ended]);
    given.server.stop(false).await;
}

#[actix::test]
async fn a_link_is_woken_once_and_alarmed_once() {
    let given = given(small());
    let mut stream = TcpStream::connect(given.tcp).await.unwrap();
    stream.write_all(b"W").await.unwrap();
    assert_eq!(read(&mut stream, 5).await, b"woken");
    stream.write_all(b"A").await.unwrap();
    assert_eq!(read(&mut stream, 4).await, b"tick");
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(*given.seen.told.lock().unwrap(), ["woken", "tick"]);
    stream.write_all(b"C").await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "closed");
    drop(stream);
    assert_eq!(given.gone(1).await, [Gone::Closed]);
    given.server.stop(false).await;
}

#[actix::test]
async fn w07_what_waits_for_a_slow_reader_is_bounded_and_in_order() {
    for websocket in [false, true] {
        let given = given(small());
        let stream = match websocket {
            false => {
                let mut stream = TcpStream::connect(given.tcp).await.unwrap();
                stream.write_all(b"F").await.unwrap();
                stream
            }
            true => {
                let mut client = Client::connect(given.http).await;
                client.send(&frame(BINARY, b"F")).await;
                client.0
            }
        };
        let filled = async {
            loop {
                let pending = *given.seen.pending.lock().unwrap();
                if pending > 0 {
                    return pending;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let pending = tokio::time::timeout(Duration::from_secs(30), filled).await;
        let pending = pending.expect("it is filled");
        assert!((200_000..=256 * 1024).contains(&pending), "{pending}");
        let numbers = read_numbers(stream, websocket).await;
        assert!(numbers.len() > 400, "{}", numbers.len());
        assert!(
            numbers.iter().copied().eq(0..numbers.len() as u32),
            "in order"
        );
        assert_eq!(given.gone(1).await, [Gone::Closed]);
        assert_eq!(*given.seen.told.lock().unwrap(), ["drained"]);
        given.server.stop(false).await;
    }
}

/// Reads to the end. Each packet is 250 times its number.
async fn read_numbers(stream: TcpStream, websocket: bool) -> Vec<u32> {
    let mut all = Vec::new();
    let mut client = Client(stream);
    if websocket {
        while let Some((first, payload)) = client.frame().await {
            match first {
                BINARY => all.extend_from_slice(&payload),
                other => assert_eq!((other, payload), (0x88, vec![3, 232])),
            }
        }
    } else {
        client.0.read_to_end(&mut all).await.unwrap();
    }
    let number = |packet: &[u8]| u32::from_be_bytes(packet[..4].try_into().unwrap());
    all.chunks(1000).map(number).collect()
}

#[actix::test]
async fn a_websocket_carries_a_stream_however_it_is_cut() {
    let given = given(small());
    let mut client = Client::connect(given.http).await;
    // Several frames in one write come back in one.
    client
        .send(&[frame(BINARY, b"ab"), frame(BINARY, b"cd")].concat())
        .await;
    assert_eq!(client.frame().await, Some((BINARY, b"abcd".to_vec())));
    // A message in fragments, with a ping between them.
    let parts = [frame(0x02, b"e"), frame(0x89, b"p"), frame(0x80, b"f")].concat();
    for byte in parts {
        client.send(&[byte]).await;
    }
    let mut data = Vec::new();
    while data != b"ef" {
        match client.frame().await.unwrap() {
            (BINARY, part) => data.extend(part),
            pong => assert_eq!(pong, (0x8a, b"p".to_vec())),
        }
    }
    for size in [125, 126, 0xffff, 0x10000] {
        client.send(&frame(BINARY, &vec![b'x'; size])).await;
        let mut back = 0;
        while back < size {
            back += client.frame().await.unwrap().1.len();
        }
    }
    client.send(&frame(BINARY, b"S")).await;
    let (first, payload) = client.frame().await.unwrap();
    assert_eq!((first, payload.len()), (BINARY, 5011));
    client.send(&frame(0x88, &[3, 232])).await;
    assert_eq!(client.closed().await, 1000);
    assert_eq!(given.gone(1).await, [Gone::Closed]);
    given.server.stop(false).await;
}

#[actix::test]
async fn an_empty_pong_may_come_without_a_mask() {
    let given = given(small());
    let mut client = Client::connect(given.http).await;
    let pong = [0x8a, 0];
    client.send(&pong).await;
    client
        .send(&[&pong[..], &frame(BINARY, b"x")].concat())
        .await;
    assert_eq!(client.frame().await, Some((BINARY, b"x".to_vec())));
    // Inside a frame the same bytes are data, and with data in it is no such pong.
    let mut cut = vec![BINARY, 0x82, 0, 0, 0, 0];
    client.send(&cut).await;
    client.send(&pong).await;
    assert_eq!(client.frame().await, Some((BINARY, pong.to_vec())));
    cut = vec![0x8a, 1, b'x'];
    client.send(&cut).await;
    assert_eq!(client.closed().await, 1002);
    given.server.stop(false).await;
}

/// Who says goodbye and goes has said goodbye: the end may be read together with what came before it.
#[actix::test]
async fn what_was_sent_before_the_end_is_taken() {
    let given = given(small());
    for _ in 0..20 {
        let mut client = Client::connect(given.http).await;
        client.send(&frame(BINARY, b"T").repeat(100)).await;
        drop(client);
    }
    assert_eq!(given.gone(20).await, [Gone::Ended; 20]);
    assert_eq!(given.seen.told.lock().unwrap().len(), 2000);
    given.server.stop(false).await;
}

#[actix::test]
async fn w02_w03_w05_what_is_no_good_frame_is_told_so() {
    let given = given(small());
    let fragments = |count: usize| {
        let first = frame(0x02, b"x");
        [first, frame(0x00, b"x").repeat(count)].concat()
    };
    let cases = [
        ("unmasked", vec![BINARY, 1, b'x'], 1002),
        ("reserved bit", frame(0xc2, b"x"), 1002),
        ("reserved opcode", frame(0x83, b"x"), 1002),
        ("continuation of nothing", frame(0x80, b"x"), 1002),
        ("control in fragments", frame(0x09, b"x"), 1002),
        ("long control", frame(0x89, &[0; 126]), 1002),
        ("text", frame(0x81, b"x"), 1003),
        ("text in fragments", frame(0x01, b"x"), 1003),
        (
            "negative length",
            [&[BINARY, 0xff][..], &[0xff; 12]].concat(),
            1009,
        ),
        (
            "announced too long",
            frame(BINARY, &vec![0; 100_001])[..14].to_vec(),
            1009,
        ),
        ("fragments", fragments(1024), 1009),
        ("pings", frame(0x89, b"").repeat(201), 1008),
    ];
    for (number, (name, bytes, code)) in cases.into_iter().enumerate() {
        let mut client = Client::connect(given.http).await;
        client.send(&bytes).await;
        let mut got = client.frame().await;
        while matches!(got, Some((BINARY | 0x8a, _))) {
            got = client.frame().await;
        }
        let expect: u16 = code;
        assert_eq!(got, Some((0x88, expect.to_be_bytes().to_vec())), "{name}");
        drop(client);
        assert_eq!(given.gone(number + 1).await[number], Gone::Closed, "{name}");
    }
    given.server.stop(false).await;
}

#[actix::test]
async fn a_client_that_does_not_close_its_side_is_cut() {
    let given = given(small());
    let mut stream = TcpStream::connect(given.tcp).await.unwrap();
    stream.write_all(b"C").await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "the server's side");
    let closed = std::time::Instant::now();
    assert_eq!(given.transports.open(), 1, "it waits for the client's");
    assert_eq!(given.gone(1).await, [Gone::Closed]);
    let waited = closed.elapsed();
    let most = links::CLOSE_PATIENCE + 3 * links::TICK;
    assert!(
        waited > links::CLOSE_PATIENCE / 2 && waited < most,
        "{waited:?}"
    );
    assert_eq!(given.transports.open(), 0);
    given.server.stop(false).await;
}

#[actix::test]
async fn a_client_that_does_not_read_is_not_read_either() {
    let options = TransportOptions {
        outbox_bytes: 8 << 20,
        ..small()
    };
    let given = given(options);
    let mut stream = TcpStream::connect(given.tcp).await.unwrap();
    // It is echoed, and the echo is not read, until nothing is taken any more.
    let piece = [b'x'; 16 * 1024];
    let mut sent = 0;
    let patience = Duration::from_millis(500);
    while let Ok(wrote) = tokio::time::timeout(patience, stream.write(&piece)).await {
        sent += wrote.unwrap();
        // More than the kernel keeps for both sides.
        assert!(sent < 64 << 20, "all of it is taken");
    }
    let waiting = given.seen.echoed.lock().unwrap().to_owned();
    assert!(
        (links::READ_ON_BYTES..2 * links::READ_ON_BYTES + links::READ_BYTES).contains(&waiting),
        "{waiting} bytes wait"
    );
    // It reads, and everything comes.
    assert_eq!(read(&mut stream, sent).await, vec![b'x'; sent]);
    stream.write_all(b"x").await.unwrap();
    assert_eq!(read(&mut stream, 1).await, b"x");
    given.server.stop(false).await;
}

#[actix::test]
async fn a_silent_websocket_is_pinged_and_then_gone() {
    let given = given(TransportOptions {
        ping_interval: Duration::from_secs(1),
        ..small()
    });
    let mut client = Client::connect(given.http).await;
    let mut deaf = Client::connect(given.http).await;
    for _ in 0..3 {
        assert_eq!(client.frame().await, Some((0x89, Vec::new())));
        client.send(&frame(0x8a, b"")).await;
    }
    assert_eq!(given.gone(1).await, [Gone::Silent]);
    assert_eq!(deaf.frame().await, Some((0x89, Vec::new())));
    assert_eq!(deaf.frame().await, None);
    client.send(&frame(BINARY, b"x")).await;
    assert_eq!(client.frame().await, Some((BINARY, b"x".to_vec())));
    given.server.stop(false).await;
}

/// Connects one of each kind, so that both have been heard.
async fn both(given: &Given) -> (TcpStream, Client) {
    let mut stream = TcpStream::connect(given.tcp).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    read(&mut stream, 1).await;
    let mut client = Client::connect(given.http).await;
    client.send(&frame(BINARY, b"x")).await;
    client.frame().await;
    (stream, client)
}

#[actix::test]
async fn the_end_of_the_process_is_said() {
    let given = given(small());
    let (mut stream, mut client) = both(&given).await;
    let transports = given.transports.clone();
    let drained = actix_rt::spawn(async move { transports.drain(Duration::from_secs(5)).await });
    assert_eq!(read(&mut stream, 3).await, b"bye");
    drop(stream);
    assert_eq!(client.frame().await, Some((BINARY, b"bye".to_vec())));
    assert_eq!(client.closed().await, 1001);
    drop(client);
    drained.await.unwrap();
    assert_eq!(
        (given.transports.open(), given.transports.has_room()),
        (0, false)
    );
    let mut late = TcpStream::connect(given.tcp).await.unwrap();
    assert_eq!(late.read(&mut [0]).await.unwrap_or(0), 0);
    given.server.stop(false).await;
}

#[actix::test]
async fn connections_are_counted_and_refused_beyond_their_number() {
    let given = given(small());
    let (stream, client) = both(&given).await;
    let mut third = TcpStream::connect(given.tcp).await.unwrap();
    third.write_all(b"x").await.unwrap();
    read(&mut third, 1).await;
    assert!(!given.transports.has_room());
    let mut fourth = TcpStream::connect(given.tcp).await.unwrap();
    assert_eq!(fourth.read(&mut [0]).await.unwrap_or(0), 0);
    drop((stream, client));
    assert_eq!(given.gone(2).await.len(), 2);
    let mut fifth = TcpStream::connect(given.tcp).await.unwrap();
    fifth.write_all(b"x").await.unwrap();
    read(&mut fifth, 1).await;
    given.server.stop(false).await;
}

/// What one connection at rest costs, without MQTT. Each is run alone, with `--ignored --nocapture`: memory that one frees
/// the next has for nothing.
#[actix::test]
#[ignore = "a measurement"]
async fn measure_tcp_at_rest() {
    measure("tcp").await;
}

#[actix::test]
#[ignore = "a measurement"]
async fn measure_websockets_at_rest() {
    measure("ws").await;
}

/// The clients are another process, whose memory does not count.
const CLIENTS: &str = r"
import socket, sys
kind, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
head = (b'GET /mqtt HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n'
        b'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n')
blob, clients = b'x' * 60, []
for _ in range(count):
    client = socket.create_connection(('127.0.0.1', port))
    if kind == 'ws':
        client.sendall(head)
        answer = b''
        while not answer.endswith(b'\r\n\r\n'):
            answer += client.recv(1000)
    frame = bytes([0x82, 0x80 + len(blob), 0, 0, 0, 0]) if kind == 'ws' else b''
    client.sendall(frame + blob)
    client.recv(100)
    clients.append(client)
print('ready', flush=True)
sys.stdin.read()
";

async fn measure(kind: &'static str) {
    const COUNT: usize = 9500;
    let given = given(TransportOptions {
        max_connections: 2 * COUNT,
        ..small()
    });
    let address = if kind == "ws" { given.http } else { given.tcp };
    let port = address.port().to_string();
    let mut first = clients([kind, &port, "300"].map(str::to_owned)).await;
    let before = resident_bytes();
    let mut all = clients([kind, &port, &COUNT.to_string()].map(str::to_owned)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let each = (resident_bytes() - before) / COUNT;
    println!("{kind}: {each} bytes for each of {COUNT} connections at rest");
    for clients in [&mut first, &mut all] {
        clients.kill().unwrap();
        clients.wait().unwrap();
    }
    given.server.stop(false).await;
}

/// Starts clients and waits until all are connected.
async fn clients(arguments: [String; 3]) -> std::process::Child {
    let start = move || {
        let mut clients = std::process::Command::new("python3")
            .args(["-c", CLIENTS])
            .args(arguments)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let output = clients.stdout.as_mut().unwrap();
        std::io::Read::read_exact(output, &mut [0; 6]).unwrap();
        clients
    };
    // The server begins on this thread.
    actix_rt::task::spawn_blocking(start).await.unwrap()
}

fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size()
}
