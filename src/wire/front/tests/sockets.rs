//! What only a real connection shows: broken framing, slow clients, clients that go away, HTTP/2.

use std::net::{SocketAddr, TcpListener};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

pub(super) fn start(given: &Given) -> (SocketAddr, actix_web::dev::ServerHandle) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let options = ServeOptions {
        workers: 1,
        head_patience: Duration::from_millis(500),
        shutdown_patience: Duration::from_secs(1),
        ..ServeOptions::default()
    };
    let server = serve(vec![Listener::http(listener)], &given.door, &options).unwrap();
    let handle = server.handle();
    actix_rt::spawn(server);
    (address, handle)
}

/// Sends bytes, returns everything that comes until the server closes or is silent for long.
pub(super) async fn talk(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(Duration::from_secs(2), read).await;
    String::from_utf8_lossy(&answer).into_owned()
}

pub(super) async fn eventually(what: impl Fn() -> bool) -> bool {
    for _ in 0..200 {
        if what() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

#[actix::test]
async fn h01_ambiguous_framing_is_refused_and_the_connection_closed() {
    let given = given();
    let (address, handle) = start(&given);
    let heads = [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 5, 5\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Content-Length: 99999999999999999999999\r\n",
        "Host: two\r\n",
    ];
    for head in heads {
        // The second request is what a smuggler hides behind the first.
        let text = format!(
            "POST /public HTTP/1.1\r\nHost: h\r\n{head}\r\nhelloGET /public HTTP/1.1\r\nHost: h\r\n\r\n"
        );
        let answer = talk(address, text.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{head:?} {answer:?}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{head:?} {answer:?}");
    }
    let chunk = "POST /public HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nx";
    let answer = talk(address, chunk.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer:?}");
    assert_eq!(given.ran(), 0);
    handle.stop(false).await;
}

#[actix::test]
async fn beyond_the_limit_connections_wait_in_the_backlog() {
    let given = given();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let options = ServeOptions {
        workers: 1,
        connections_per_worker: 2,
        shutdown_patience: Duration::from_secs(1),
        ..ServeOptions::default()
    };
    let server = serve(vec![Listener::http(listener)], &given.door, &options).unwrap();
    let handle = server.handle();
    actix_rt::spawn(server);
    let ask = async || {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = b"GET /public HTTP/1.1\r\nHost: h\r\n\r\n";
        stream.write_all(request).await.unwrap();
        stream
    };
    let answered = async |stream: &mut TcpStream, within: u64| {
        let mut head = [0; 12];
        let read = stream.read_exact(&mut head);
        let read = tokio::time::timeout(Duration::from_millis(within), read).await;
        read.is_ok() && head.starts_with(b"HTTP/1.1")
    };
    let (mut first, mut second) = (ask().await, ask().await);
    assert!(answered(&mut first, 5_000).await && answered(&mut second, 5_000).await);
    let mut third = ask().await;
    assert!(!answered(&mut third, 500).await, "there is no room for it");
    drop(first);
    assert!(answered(&mut third, 5_000).await, "now there is");
    handle.stop(false).await;
}

#[actix::test]
async fn h02_slow_heads_and_bodies_end() {
    let given = given();
    let (address, handle) = start(&given);
    for (text, expect) in [
        ("GET /public HTTP/1.1\r\nHost:", "HTTP/1.1 408"),
        (
            "POST /public HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhe",
            "HTTP/1.1 408",
        ),
    ] {
        let answer = talk(address, text.as_bytes()).await;
        assert!(answer.starts_with(expect), "{text:?} {answer:?}");
    }
    handle.stop(false).await;
}

#[actix::test]
async fn h03_large_heads_are_refused_while_they_are_read() {
    let given = given();
    let (address, handle) = start(&given);
    let huge = format!(
        "GET /public HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n",
        "x".repeat(1 << 20)
    );
    let mut many = String::from("GET /public HTTP/1.1\r\nHost: h\r\n");
    (0..200).for_each(|n| many.push_str(&format!("X-{n}: v\r\n")));
    many.push_str("\r\n");
    for text in [huge, many] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The server may hang up before it has read everything.
        let _ = stream.write_all(text.as_bytes()).await;
        let mut start = [0; 12];
        let _ = stream.read_exact(&mut start).await;
        assert_eq!(String::from_utf8_lossy(&start), "HTTP/1.1 431");
    }
    assert_eq!(given.ran(), 0);
    handle.stop(false).await;
}

#[actix::test]
async fn answers_have_a_date_and_keep_the_connection() {
    let given = given();
    let (address, handle) = start(&given);
    let one = "GET /public HTTP/1.1\r\nHost: h\r\n\r\n";
    let last = "HEAD /public HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    let answer = talk(address, format!("{one}{one}{last}").as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3, "{answer}");
    assert_eq!(answer.to_lowercase().matches("\r\ndate: ").count(), 3);
    assert!(answer.ends_with("\r\n\r\n"), "HEAD has no body: {answer:?}");
    handle.stop(false).await;
}

#[actix::test]
async fn a_client_that_goes_away_ends_its_long_poll() {
    let given = given();
    let (address, handle) = start(&given);
    for half in [false, true] {
        let before = (given.ran(), given.dropped());
        let mut stream = TcpStream::connect(address).await.unwrap();
        let text = "GET /waits HTTP/1.1\r\nHost: h\r\n\r\n";
        stream.write_all(text.as_bytes()).await.unwrap();
        assert!(eventually(|| given.ran() == before.0 + 1).await);
        assert_eq!(given.dropped(), before.1);
        let kept = if half {
            stream.shutdown().await.unwrap();
            Some(stream)
        } else {
            drop(stream);
            None
        };
        assert!(
            eventually(|| given.dropped() == before.1 + 1).await,
            "{half}"
        );
        drop(kept);
    }
    handle.stop(false).await;
}

fn http2() -> reqwest::Client {
    reqwest::Client::builder()
        .http2_prior_knowledge()
        .build()
        .unwrap()
}

#[actix::test]
async fn http2_by_prior_knowledge_shares_the_port() {
    let given = given();
    let (address, handle) = start(&given);
    let client = http2();
    let url = format!("http://{address}/operator/x");
    let send = async |host: Option<&str>| {
        let signed_host = address.to_string();
        let (operator, line) = (testing::operator(), ("GET", "/operator/x"));
        let headers = testing::signed_for(&signed_host, &operator, "execute-api", line, &[], b"");
        let mut request = client.get(&url);
        for (name, value) in headers.iter().filter(|(name, _)| name != "host") {
            request = request.header(name, value);
        }
        if let Some(host) = host {
            request = request.header("host", host);
        }
        request.send().await.unwrap()
    };
    // What was signed as `host` arrives as `:authority` alone, or as both.
    let answer = send(None).await;
    assert_eq!(answer.version(), reqwest::Version::HTTP_2);
    assert_eq!(answer.status(), 200);
    assert_eq!(send(Some(&address.to_string())).await.status(), 200);
    // Two hosts: whichever one believes, somebody else believes the other.
    assert_eq!(send(Some("other.test")).await.status(), 400);
    let answer = client.get(format!("http://{address}/public")).send().await;
    let answer = answer.unwrap();
    assert!(answer.headers().contains_key("date"));
    assert_eq!(answer.text().await.unwrap(), format!("{address} 0 "));
    handle.stop(false).await;
}

#[actix::test]
async fn an_http2_client_that_goes_away_ends_its_long_poll() {
    let given = given();
    let (address, handle) = start(&given);
    let client = http2();
    let url = format!("http://{address}/waits");
    // First a stream that is reset on a connection that lives on, then the connection itself.
    let poll = tokio::time::timeout(Duration::from_millis(300), client.get(&url).send());
    assert!(poll.await.is_err(), "it waits");
    assert!(eventually(|| given.dropped() == 1).await, "reset");
    let answer = client.get(format!("http://{address}/public")).send().await;
    assert_eq!(answer.unwrap().status(), 200);
    let other = http2();
    let poll = tokio::time::timeout(Duration::from_millis(300), other.post(&url).send());
    let _ = poll.await;
    drop(other);
    drop(client);
    assert!(
        eventually(|| given.dropped() == given.ran() - 1).await,
        "closed"
    );
    handle.stop(false).await;
}
