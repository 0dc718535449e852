//! Listeners in TLS.

use std::path::Path;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::upgrades::{head, with_links};
use super::*;

/// A new pair in the folder's files; returns the certificate.
fn write_pair(dir: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

fn load(dir: &Path) -> Arc<Certificate> {
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| dir.join(name));
    Certificate::load(CertificateFiles { cert, key }).unwrap()
}

struct Encrypted {
    https: std::net::SocketAddr,
    links: std::net::SocketAddr,
    server: actix_web::dev::ServerHandle,
    _given: Given,
}

fn start(certificate: &Arc<Certificate>) -> Encrypted {
    let (given, _) = with_links(Origins::Any);
    let listen = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (https, links) = (listen(), listen());
    let addresses = [https.local_addr().unwrap(), links.local_addr().unwrap()];
    let listeners = vec![
        Listener::http(https).tls(certificate.for_http()),
        Listener::links(links).tls(certificate.for_mqtt()),
    ];
    let options = ServeOptions {
        workers: 1,
        handshake_patience: Duration::from_millis(500),
        ..ServeOptions::default()
    };
    let server = serve(listeners, &given.door, &options).unwrap();
    let handle = server.handle();
    actix_rt::spawn(server);
    Encrypted {
        https: addresses[0],
        links: addresses[1],
        server: handle,
        _given: given,
    }
}

async fn connect(
    address: std::net::SocketAddr,
    root: &CertificateDer<'static>,
    names: &[&[u8]],
    version: &'static SupportedProtocolVersion,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = names.iter().map(|name| name.to_vec()).collect();
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

async fn read_until(stream: &mut (impl AsyncRead + Unpin), end: &[u8]) -> String {
    let mut got = Vec::new();
    let read =
        async { while !got.ends_with(end) && stream.read_buf(&mut got).await.unwrap_or(0) > 0 {} };
    let _ = tokio::time::timeout(Duration::from_secs(5), read).await;
    String::from_utf8_lossy(&got).into_owned()
}

#[actix::test]
async fn https_speaks_both_versions_of_http_and_of_tls() {
    let dir = tempfile::tempdir().unwrap();
    let root = write_pair(dir.path());
    let given = start(&load(dir.path()));
    for version in [&version::TLS12, &version::TLS13] {
        let mut stream = connect(given.https, &root, &[b"http/1.1"], version)
            .await
            .unwrap();
        let request = "GET /public HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = read_until(&mut stream, b"h 0 ").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let mut stream = connect(given.https, &root, &[b"h2", b"http/1.1"], version)
            .await
            .unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        stream.write_all(preface).await.unwrap();
        let mut frame = [0; 9];
        stream.read_exact(&mut frame).await.unwrap();
        assert_eq!(frame[3], 4, "its settings");
    }
    given.server.stop(false).await;
}

#[actix::test]
async fn links_are_taken_in_tls_too() {
    let dir = tempfile::tempdir().unwrap();
    let root = write_pair(dir.path());
    let given = start(&load(dir.path()));
    // More than one record, and more than the socket takes at once.
    let long: Vec<u8> = (0..400_000u32).map(|n| (n % 251) as u8).collect();
    for version in [&version::TLS12, &version::TLS13] {
        let mut stream = connect(given.links, &root, &[b"x-amzn-mqtt-ca"], version)
            .await
            .unwrap();
        assert_eq!(
            stream.get_ref().1.alpn_protocol(),
            Some(&b"x-amzn-mqtt-ca"[..])
        );
        assert_eq!(read_until(&mut stream, b"hello").await, "hello");
        stream.write_all(b"ping").await.unwrap();
        assert_eq!(read_until(&mut stream, b"ping").await, "ping");

        let mut stream = connect(given.https, &root, &[b"http/1.1"], version)
            .await
            .unwrap();
        stream
            .write_all(format!("{}early", head("/mqtt", "")).as_bytes())
            .await
            .unwrap();
        let answer = read_until(&mut stream, b"early").await;
        assert!(
            answer.starts_with("HTTP/1.1 101") && answer.ends_with("early"),
            "{answer}"
        );
        let (mut reading, mut writing) = tokio::io::split(stream);
        let sent = long.clone();
        actix_rt::spawn(async move {
            writing.write_all(&sent).await.unwrap();
            // Held until the other half has read everything.
            std::future::pending::<()>().await;
            drop(writing);
        });
        let mut back = vec![0; long.len()];
        let read = reading.read_exact(&mut back);
        tokio::time::timeout(Duration::from_secs(10), read)
            .await
            .unwrap()
            .unwrap();
        assert!(back == long);
    }
    given.server.stop(false).await;
}

#[actix::test]
async fn m19_a_new_certificate_is_used_and_a_broken_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let first = write_pair(dir.path());
    let certificate = load(dir.path());
    let given = start(&certificate);
    let works = async |root: &CertificateDer<'static>| {
        connect(given.https, root, &[], &version::TLS13)
            .await
            .is_ok()
    };
    assert!(works(&first).await);
    assert!(!certificate.look(), "nothing has changed");
    let second = write_pair(dir.path());
    assert!(!works(&second).await, "not looked at yet");
    assert!(certificate.look());
    assert!(works(&second).await && !works(&first).await);
    // Not a certificate, not there, not a pair.
    std::fs::write(dir.path().join("cert.pem"), "rubbish").unwrap();
    assert!(!certificate.look());
    std::fs::remove_file(dir.path().join("key.pem")).unwrap();
    assert!(!certificate.look());
    let other = tempfile::tempdir().unwrap();
    write_pair(other.path());
    write_pair(dir.path());
    std::fs::copy(other.path().join("key.pem"), dir.path().join("key.pem")).unwrap();
    assert!(!certificate.look());
    assert!(works(&second).await, "the last good one");
    let third = write_pair(dir.path());
    assert!(certificate.look() && works(&third).await);
    given.server.stop(false).await;
}

#[actix::test]
async fn handshakes_end_in_time() {
    let dir = tempfile::tempdir().unwrap();
    write_pair(dir.path());
    let given = start(&load(dir.path()));
    for address in [given.https, given.links] {
        for bytes in [&b""[..], b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n"] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            let mut rest = Vec::new();
            let read = stream.read_to_end(&mut rest);
            let ended = tokio::time::timeout(Duration::from_secs(3), read).await;
            assert!(ended.is_ok(), "{bytes:?}");
        }
    }
    given.server.stop(false).await;
}
