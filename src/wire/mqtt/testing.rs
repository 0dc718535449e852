//! For tests: a server whose links send back what they get, and clients that know every byte.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix_web::dev::ServerHandle;
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::transport::{Close, Gone, Outbox, Receive, Refused, TransportOptions};
use super::transports::Transports;
use crate::auth::testing::{self, FakeRegistry};
use crate::wire::front::{
    Door, Limits, Links, Listener, Origins, ServeOptions, Socket, Start, serve,
};
use crate::wire::{Inbound, Refusal};

/// What the links saw.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) gone: Mutex<Vec<Gone>>,
    pub(super) told: Mutex<Vec<String>>,
    /// The most that ever waited for one client.
    pub(super) pending: Mutex<usize>,
    /// The most that ever waited of what was sent back.
    pub(super) echoed: Mutex<usize>,
}

impl Seen {
    fn tell(&self, what: &str) {
        self.told.lock().unwrap().push(what.to_owned());
    }
}

/// Sends back what it gets, and does some things when told to by a first byte: `C` closes, `W` wakes itself, `A` sets an
/// alarm, `S` sends a long shared piece between two short ones, `F` fills the outbox until it refuses, adds some when it
/// is empty, and closes, `T` tells.
pub(super) struct Echo {
    outbox: Outbox,
    seen: Arc<Seen>,
    filling: u32,
}

impl Echo {
    fn fill(&mut self) {
        let mut number = self.filling;
        let refused = loop {
            let packet = Bytes::from([number.to_be_bytes(); 250].concat());
            // Several for many in a row, and then one that only this client gets.
            let pushed = match number % 5 {
                0 => self.outbox.push(&packet),
                _ => self.outbox.push_shared(&packet),
            };
            if let Err(refused) = pushed {
                break refused;
            }
            number += 1;
        };
        assert_eq!(refused, Refused::Full);
        self.filling = number;
        let mut most = self.seen.pending.lock().unwrap();
        *most = self.outbox.pending_bytes().max(*most);
    }
}

impl Receive for Echo {
    fn receive(&mut self, bytes: &[u8]) {
        match bytes[0] {
            b'C' => self.outbox.close(Close::Done),
            b'W' => (0..3).for_each(|_| self.outbox.wake()),
            b'A' => self
                .outbox
                .set_alarm(Some(Instant::now() + Duration::from_millis(100))),
            b'S' => {
                self.outbox.push(b"before").unwrap();
                self.outbox
                    .push_shared(&Bytes::from(vec![b's'; 5000]))
                    .unwrap();
                self.outbox.push(b"after").unwrap();
            }
            b'F' => self.fill(),
            b'T' => self.seen.tell("told"),
            _ => {
                if self.outbox.push(bytes).is_err() {
                    self.outbox.close(Close::Policy);
                }
                let mut most = self.seen.echoed.lock().unwrap();
                *most = self.outbox.pending_bytes().max(*most);
            }
        }
    }

    fn tick(&mut self, _: Instant) {
        self.seen.tell("tick");
        self.outbox.push(b"tick").unwrap();
    }

    fn woken(&mut self) {
        self.seen.tell("woken");
        self.outbox.push(b"woken").unwrap();
    }

    fn drained(&mut self) {
        self.seen.tell("drained");
        if self.filling == 0 {
            return;
        }
        // The client reads now, so this may or may not fill it once more.
        for number in self.filling..self.filling + 100 {
            self.outbox
                .push(&[number.to_be_bytes(); 250].concat())
                .unwrap();
        }
        self.outbox.close(Close::Done);
    }

    fn drain(&mut self) {
        self.outbox.push(b"bye").unwrap();
        self.outbox.close(Close::GoingAway);
    }

    fn gone(&mut self, why: Gone) {
        assert!(!self.outbox.is_open());
        assert_eq!(self.outbox.push(b"late"), Err(Refused::Gone));
        self.seen.gone.lock().unwrap().push(why);
    }
}

struct Server {
    transports: Transports,
    seen: Arc<Seen>,
}

impl Server {
    fn link(&self) -> impl FnOnce(Outbox) -> Echo + use<> {
        let seen = self.seen.clone();
        move |outbox| Echo {
            outbox,
            seen,
            filling: 0,
        }
    }
}

impl Links for Server {
    fn admit(&self, _: Inbound) -> LocalBoxFuture<'static, Result<Start, Refusal>> {
        let (transports, link) = (self.transports.clone(), self.link());
        let start: Start = Box::new(move |socket, first| transports.websocket(socket, first, link));
        Box::pin(std::future::ready(Ok(start)))
    }

    fn accept(&self, socket: Socket) {
        self.transports.tcp(socket, self.link());
    }
}

pub(super) struct Given {
    pub(super) tcp: SocketAddr,
    pub(super) http: SocketAddr,
    pub(super) transports: Transports,
    pub(super) seen: Arc<Seen>,
    pub(super) server: ServerHandle,
}

pub(super) fn given(options: TransportOptions) -> Given {
    let transports = Transports::new(options);
    let seen = Arc::new(Seen::default());
    let links = Server {
        transports: transports.clone(),
        seen: seen.clone(),
    };
    let authenticator = testing::authenticator(&Arc::new(FakeRegistry::default()));
    let door = Door::new(authenticator, Limits::default(), "http");
    let door = door.links("mqtt", "/mqtt", &["mqtt"], Origins::Any, Arc::new(links));
    let listen = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (tcp, http) = (listen(), listen());
    let addresses = [tcp.local_addr().unwrap(), http.local_addr().unwrap()];
    let listeners = vec![Listener::links(tcp), Listener::http(http)];
    let options = ServeOptions {
        workers: 1,
        ..ServeOptions::default()
    };
    let server = serve(listeners, &Arc::new(door), &options).unwrap();
    let handle = server.handle();
    actix_rt::spawn(server);
    Given {
        tcp: addresses[0],
        http: addresses[1],
        transports,
        seen,
        server: handle,
    }
}

impl Given {
    /// Waits until the links have seen so many ends, and says which.
    pub(super) async fn gone(&self, count: usize) -> Vec<Gone> {
        for _ in 0..300 {
            if self.seen.gone.lock().unwrap().len() >= count {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.seen.gone.lock().unwrap().clone()
    }
}

/// A WebSocket client.
pub(super) struct Client(pub(super) TcpStream);

impl Client {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = "GET /mqtt HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.unwrap());
        }
        assert!(answer.starts_with(b"HTTP/1.1 101"));
        Self(stream)
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// The next frame: first byte and payload. `None` at the end.
    pub(super) async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let read = async {
            let first = self.0.read_u8().await.ok()?;
            let length = match self.0.read_u8().await.ok()? {
                126 => u64::from(self.0.read_u16().await.ok()?),
                127 => self.0.read_u64().await.ok()?,
                short => u64::from(short),
            };
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            self.0.read_exact(&mut payload).await.ok()?;
            Some((first, payload))
        };
        let patience = Duration::from_secs(10);
        tokio::time::timeout(patience, read)
            .await
            .expect("a frame in time")
    }

    /// The status code of the closing frame, which must be the last one but for pongs.
    pub(super) async fn closed(&mut self) -> u16 {
        loop {
            match self.frame().await {
                Some((0x88, code)) => {
                    assert_eq!(self.frame().await, None);
                    return u16::from_be_bytes([code[0], code[1]]);
                }
                Some((0x8a, _)) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

/// A client's frame: masked.
pub(super) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..=125 => bytes.push(0x80 | short as u8),
        medium @ 126..=0xffff => {
            bytes.push(0xfe);
            bytes.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            bytes.push(0xff);
            bytes.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    let mask = [1, 2, 3, 4];
    bytes.extend_from_slice(&mask);
    bytes.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    bytes
}
