//! Attacks by mass: what many connections together may cost, in memory and in time. Each has a server of its own, whose
//! memory nobody else changes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fanfare::wire::mqtt::codec::{Connect, Packet, ReasonCode};
use serde_json::Value;

use crate::broker::{Broker, Setup};
use crate::client::{Client, V5};
use crate::credentials::{self, Signing};
use crate::websocket::{MQTT, Ws};

/// What was held at most since `before`, in KiB, while something went on.
struct Memory<'a> {
    broker: &'a Broker,
    before: u64,
    most: u64,
}

impl<'a> Memory<'a> {
    /// Begins when the server has settled.
    fn of(broker: &'a Broker) -> Self {
        broker.client(V5, "settles").disconnect();
        std::thread::sleep(Duration::from_millis(200));
        let before = broker.server.resident_kib();
        Self {
            broker,
            before,
            most: before,
        }
    }

    fn look(&mut self) {
        self.most = self.most.max(self.broker.server.resident_kib());
    }

    /// What it came to.
    fn grown_kib(mut self) -> u64 {
        self.look();
        self.most - self.before
    }
}

/// Opens so many connections, several at a time, which say nothing yet.
fn crowd(address: SocketAddr, count: usize) -> Vec<Client> {
    const AT_A_TIME: usize = 16;
    let some = move |first: usize| -> Vec<Client> {
        let numbers = (first..count).step_by(AT_A_TIME);
        numbers.map(|_| Client::open(address, V5)).collect()
    };
    let opening: Vec<_> = (0..AT_A_TIME)
        .map(|first| std::thread::spawn(move || some(first)))
        .collect();
    let opened = opening.into_iter().flat_map(|some| some.join().unwrap());
    opened.collect()
}

#[test]
fn m20_what_is_no_connect_or_too_long_is_not_kept() {
    let broker = Setup::new().start();
    // A CONNECT that says it is 256 MiB long, one that has as much as is read before who it is from is known, and half of
    // one that is short enough.
    let endless = [&[0x10, 0xff, 0xff, 0xff, 0x7f][..], &[0; 64 * 1024]].concat();
    let other = [&[0x30, 0xff, 0xff, 0xff, 0x7f][..], &[0; 64 * 1024]].concat();
    let half = [&[0x10, 0xf8, 0x1f][..], &[0; 2000]].concat();
    let mut memory = Memory::of(&broker);
    let mut all = Vec::new();
    for bytes in [&endless, &other, &half] {
        let mut clients = crowd(broker.mqtt(), 500);
        for client in &mut clients {
            client.raw(bytes);
        }
        memory.look();
        memory.look();
        all.push(clients);
    }
    std::thread::sleep(Duration::from_millis(200));
    let grown = memory.grown_kib();
    println!("M20: {grown} KiB for 1,500 connections");
    // 4 KiB of each that still may become a CONNECT, and what a connection costs. Of the others nothing is kept.
    assert!(grown < 1500 * 8, "{grown} KiB");
    for clients in &mut all[..2] {
        clients.iter_mut().for_each(Client::closed);
    }
}

#[test]
fn m21_ten_thousand_trickled_connects_end_in_time_and_cost_little() {
    const COUNT: usize = 10_000;
    let broker = Setup::new().start();
    let memory = Memory::of(&broker);
    let begun = Instant::now();
    let mut clients = crowd(broker.mqtt(), COUNT);
    let opened = begun.elapsed();
    // On a slow machine the first have been ended by now.
    let open = broker.metric(&["fanfare_mqtt_connections "]);
    let grown = memory.grown_kib() as f64;
    for byte in [0x10, 0x20, 0] {
        for client in &mut clients {
            client.raw(&[byte]);
        }
    }
    clients.iter_mut().for_each(Client::closed);
    let ended = begun.elapsed();
    println!(
        "M21: {grown} KiB with {open} connections; {COUNT} opened in {opened:?}, ended after {ended:?}"
    );
    assert!(
        open > 1000.0 && grown < 8.0 * open,
        "{grown} KiB with {open}"
    );
    // Five seconds for a CONNECT, and what the machine takes for so many.
    assert!(ended < opened + Duration::from_secs(9), "{ended:?}");
    let refused = ["fanfare_mqtt_refused_total", "connect timeout"];
    broker.await_metric(&refused, COUNT as f64);
    broker.client(V5, "after").ping();
}

#[test]
fn w03_fragments_without_end_cost_no_memory() {
    let broker = Setup::new().start();
    let address = broker.server.address;
    let mut memory = Memory::of(&broker);
    let mut all: Vec<Ws> = (0..100)
        .map(|number| {
            let mut ws = Ws::open(address);
            let connect = Connect::new(V5, format!("w03-{number}"));
            assert_eq!(ws.connect(connect), ReasonCode::Success);
            // A PUBLISH of 200,000 bytes begins, and comes by bytes.
            ws.frame(0x02, &[0x30, 0xc0, 0x9a, 0x0c]);
            ws
        })
        .collect();
    for _ in 0..10 {
        for ws in &mut all {
            let fragment = [0x00, 0x81, 0, 0, 0, 0, b'x'];
            ws.raw(&fragment.repeat(100));
        }
        memory.look();
    }
    let grown = memory.grown_kib();
    println!("W3: {grown} KiB for 100 connections with 1,000 fragments");
    assert!(grown < 100 * 64, "{grown} KiB");
    for ws in &mut all {
        ws.raw(&[0x00, 0x81, 0, 0, 0, 0, b'x'].repeat(100));
        assert_eq!(ws.close_code(), Some(1009));
    }
}

/// The URL that a session's keys sign.
fn url(broker: &Broker, session: &Value) -> String {
    let token = session["sessionToken"].as_str();
    let keys = credentials::keys_of(session, token);
    Signing::with(keys).target(&broker.server.address.to_string())
}

/// Of one session: it connects, its keys are renewed, and both old and new are tried meanwhile.
fn renews(broker: &Broker, number: usize) {
    let address = broker.server.address;
    let path = format!("1/s12-{number}/{number}");
    let old = credentials::session(address, &format!("/create/{path}"));
    let mut open = Ws::ask(address, &url(broker, &old), MQTT);
    assert_eq!(open.status(), 101);
    let id = format!("s12-{number}");
    assert_eq!(open.connect(Connect::new(V5, id)), ReasonCode::Success);
    let old = url(broker, &old);
    let race = {
        let old = old.clone();
        std::thread::spawn(move || Ws::ask(address, &old, MQTT).status())
    };
    let new = credentials::session(address, &format!("/renew/{path}"));
    // Whichever was first: the old keys were good, or were not any more. Afterwards they are not.
    let status = race.join().unwrap();
    assert!(matches!(status, 101 | 403), "{status}");
    assert_eq!(Ws::ask(address, &old, MQTT).status(), 403, "the old keys");
    assert_eq!(
        Ws::ask(address, &url(broker, &new), MQTT).status(),
        101,
        "the new keys"
    );
    // Who was connected stays so.
    open.send(V5, Packet::PingReq);
    assert_eq!(open.packets(V5), [Packet::PingResp]);
}

#[test]
fn s12_a_thousand_clients_renew_at_once() {
    const CLIENTS: usize = 1000;
    const AT_A_TIME: usize = 20;
    let broker = Setup::new().start();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for first in 0..AT_A_TIME {
            let broker = &broker;
            scope.spawn(move || {
                for number in (first..CLIENTS).step_by(AT_A_TIME) {
                    renews(broker, number);
                }
            });
        }
    });
    println!("S12: {CLIENTS} clients in {:?}", begun.elapsed());
}
