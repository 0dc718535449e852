//! Connections that become another protocol's.

use std::io::IoSlice;
use std::rc::Rc;
use std::sync::Mutex;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::sockets::{eventually, start, talk};
use super::*;

/// Sends back what it reads.
#[derive(Default)]
pub(super) struct Echo {
    admitted: Mutex<Vec<(String, bool)>>,
    ended: Arc<AtomicUsize>,
}

impl Links for Echo {
    fn admit(&self, inbound: Inbound) -> LocalBoxFuture<'static, Result<Start, Refusal>> {
        let seen = (inbound.raw_query.clone(), inbound.peer.is_some());
        self.admitted.lock().unwrap().push(seen);
        let ended = self.ended.clone();
        Box::pin(async move {
            if inbound.raw_query == "deny" {
                return Err(Refusal::AccessDenied);
            }
            Ok(Box::new(|socket, first| echo(socket, first, ended)) as Start)
        })
    }

    fn accept(&self, socket: Socket) {
        echo(socket, Bytes::from_static(b"hello"), self.ended.clone());
    }
}

fn echo(socket: Socket, first: Bytes, ended: Arc<AtomicUsize>) {
    let socket = Rc::new(socket);
    actix_rt::spawn(async move {
        let write = async |mut bytes: &[u8]| {
            while !bytes.is_empty() {
                std::future::poll_fn(|cx| socket.poll_writable(cx))
                    .await
                    .unwrap();
                let written = socket.try_write(&[IoSlice::new(bytes)]);
                bytes = &bytes[written.unwrap_or(0)..];
            }
        };
        write(&first).await;
        let mut scratch = [0; 100];
        loop {
            let read = std::future::poll_fn(|cx| socket.poll_read(cx, &mut scratch)).await;
            match read {
                Ok(0) | Err(_) => break,
                Ok(read) => write(&scratch[..read]).await,
            }
        }
        ended.fetch_add(1, Ordering::SeqCst);
    });
}

pub(super) fn with_links(origins: Origins) -> (Given, Arc<Echo>) {
    let echo = Arc::new(Echo::default());
    let mut given = given();
    let door = Arc::into_inner(given.door).unwrap();
    let links = door.links(
        "mqtt",
        "/mqtt",
        &["mqtt", "mqttv3.1"],
        origins,
        echo.clone(),
    );
    given.door = Arc::new(links);
    (given, echo)
}

/// The head of an upgrade, with these headers beside the necessary ones.
pub(super) fn head(target: &str, headers: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{headers}\r\n"
    )
}

#[actix::test]
async fn an_upgrade_gives_the_socket_away_with_every_byte() {
    let (given, echoes) = with_links(Origins::Any);
    let (address, handle) = start(&given);
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = head(
        "/mqtt?a=%20b",
        "Sec-WebSocket-Protocol: x, mqttv3.1, mqtt\r\n",
    );
    stream
        .write_all(format!("{head}early").as_bytes())
        .await
        .unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"early") {
        assert!(
            stream.read_buf(&mut answer).await.unwrap() > 0,
            "{answer:?}"
        );
    }
    let text = String::from_utf8_lossy(&answer).to_lowercase();
    assert!(text.starts_with("http/1.1 101"), "{text}");
    for part in [
        "\r\nsec-websocket-protocol: mqttv3.1\r\n",
        "\r\nupgrade: websocket\r\n",
        "\r\nconnection: upgrade\r\n",
        // The example of RFC 6455's algorithm for this key, computed with Python's hashlib.
        "\r\nsec-websocket-accept: icx+yqv66kxgm0fcwalwlflwtai=\r\n",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("extensions"), "W4: {text}");
    stream.write_all(b"late").await.unwrap();
    let mut late = [0; 4];
    stream.read_exact(&mut late).await.unwrap();
    assert_eq!(&late, b"late");
    assert_eq!(
        *echoes.admitted.lock().unwrap(),
        [("a=%20b".to_owned(), true)]
    );
    // The server does not wait for it, and it does not end with the server's other connections.
    let stopped = tokio::time::timeout(Duration::from_millis(500), handle.stop(true));
    assert!(stopped.await.is_ok(), "not a connection of the server's");
    drop(stream);
}

#[actix::test]
async fn upgrades_are_decided_before_the_101() {
    let (given, echoes) = with_links(Origins::of("https://a.example https://b.example"));
    let (address, handle) = start(&given);
    let huge = format!("X: {}\r\n", "x".repeat(20_000));
    let long = format!("/mqtt?{}", "q".repeat(9000));
    let cases = [
        ("/mqtt?deny", "", "403"),
        (
            "/mqtt",
            "Origin: https://B.example\r\nCookie: a=b\r\n",
            "101",
        ),
        ("/mqtt", "Origin: https://c.example\r\n", "403"),
        ("/mqtt", "Origin: null\r\nCookie: a=b\r\n", "403"),
        ("/mqtt", "Cookie: a=b\r\n", "403"),
        ("/mqtt", "Sec-WebSocket-Protocol: chat\r\n", "101"),
        ("/mqtt", &huge, "431"),
        (&long, "", "414"),
        ("/mqtt/", "", "404"),
        ("/public", "", "200"),
        ("/operator", "", "403"),
    ];
    for (target, headers, status) in cases {
        let answer = talk(address, head(target, headers).as_bytes()).await;
        assert_eq!(&answer[9..12], status, "{target} {headers} {answer}");
        assert!(!answer.contains("websocket-protocol"), "{answer}");
        let refused =
            answer.contains("x-amzn-requestid") && answer.contains("access-control-allow");
        assert_eq!(refused, status != "101", "{answer}");
    }
    assert_eq!(echoes.admitted.lock().unwrap().len(), 3);
    assert!(eventually(|| echoes.ended.load(Ordering::SeqCst) == 2).await);
    handle.stop(false).await;
}

#[actix::test]
async fn w06_what_is_no_handshake_is_told_so() {
    let (given, _) = with_links(Origins::Any);
    let (address, handle) = start(&given);
    let whole = head("/mqtt", "");
    let plain = "GET /mqtt HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".to_owned();
    let huge = head("/mqtt", &format!("X: {}\r\n", "x".repeat(1 << 20)));
    let cases = [
        (plain.clone(), "426"),
        (plain.replace("GET", "POST"), "426"),
        (whole.replace("GET", "POST"), "400"),
        (whole.replace("Version: 13", "Version: 8"), "426"),
        (
            whole.replace("Connection: Upgrade", "Connection: close"),
            "400",
        ),
        (whole.replace("AAAA==", "AAAA"), "400"),
        (huge, "431"),
    ];
    for (text, status) in cases {
        let answer = talk(address, text.as_bytes()).await;
        let shown = &text[..text.len().min(200)];
        assert_eq!(answer.get(9..12), Some(status), "{shown} {answer}");
        if status == "426" {
            assert!(answer.contains("upgrade: websocket\r\n"), "{answer}");
        }
    }
    handle.stop(false).await;
}

#[actix::test]
async fn m26_without_a_wire_for_them_there_is_no_path() {
    let given = given();
    let (address, handle) = start(&given);
    let plain = "GET /mqtt HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    for text in [head("/mqtt", ""), plain.to_owned()] {
        let answer = talk(address, text.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    }
    handle.stop(false).await;
}

#[actix::test]
async fn a_listener_may_be_for_links_alone() {
    let (given, echoes) = with_links(Origins::Any);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let options = ServeOptions {
        workers: 1,
        // They do not count as HTTP connections.
        connections_per_worker: 1,
        ..ServeOptions::default()
    };
    let server = serve(vec![Listener::links(listener)], &given.door, &options).unwrap();
    let handle = server.handle();
    actix_rt::spawn(server);
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut hello = [0; 5];
        stream.read_exact(&mut hello).await.unwrap();
        assert_eq!(&hello, b"hello");
        streams.push(stream);
    }
    drop(streams);
    assert!(eventually(|| echoes.ended.load(Ordering::SeqCst) == 3).await);
    handle.stop(true).await;
}
