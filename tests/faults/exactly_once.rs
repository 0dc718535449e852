//! Case: SIGKILL under a load of QoS 2 between durable sessions. Both sides keep their state as the specification asks (4.3.3),
//! so each publication must arrive exactly once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fanfare::wire::mqtt::codec::{Ack, Packet, PacketId, Publish, ReasonCode};
use tempfile::tempdir;

use super::mqtt::ANYONE;
use super::mqtt_client::{Client, Q2, V5, persistent, publish};
use super::server::{Launch, Server};
use super::setting::{millis, number_from, seed};

/// Every so many kills all that was acknowledged has to be with every subscriber.
const THOROUGH: u64 = 10;

const PUBLISHERS: usize = 4;

/// The last one is away while there is load.
const SUBSCRIBERS: usize = 3;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A publishing client: what it knows outlives its connections.
struct Publisher {
    number: usize,
    published: u64,
    exchange: Option<Exchange>,
    /// Payloads for which PUBREC came.
    acknowledged: Arc<Mutex<BTreeSet<String>>>,
}

/// A publication on its way.
struct Exchange {
    packet: Publish,
    received: bool,
}

impl Publisher {
    fn id(&self) -> String {
        format!("publisher-{}", self.number)
    }

    /// Publishes one message after the other until the server is gone.
    fn run(mut self, mut client: Client) -> Self {
        if let Some(exchange) = &mut self.exchange {
            // As it was: either the publication with its packet id, or that it may be released.
            exchange.packet.dup = true;
            let id = exchange.packet.packet_id.expect("QoS 2 has one");
            client.send(match exchange.received {
                true => Packet::PubRel(Ack::success(id)),
                false => Packet::Publish(exchange.packet.clone()),
            });
        }
        loop {
            if self.exchange.is_none() {
                self.begin(&mut client);
            }
            match client.poll(PATIENCE) {
                Err(()) => return self,
                Ok(None) => panic!("{} gets no answer", self.id()),
                Ok(Some(packet)) => self.answer(&mut client, packet),
            }
        }
    }

    fn begin(&mut self, client: &mut Client) {
        self.published += 1;
        let payload = format!("{}-{}", self.number, self.published);
        let mut packet = publish(&format!("twice/{}", self.number), &payload, Q2);
        packet.packet_id = PacketId::new((self.published % 60_000) as u16 + 1);
        client.send(Packet::Publish(packet.clone()));
        self.exchange = Some(Exchange {
            packet,
            received: false,
        });
    }

    fn answer(&mut self, client: &mut Client, packet: Packet) {
        let exchange = self.exchange.as_mut().expect("one is on its way");
        match packet {
            Packet::PubRec(ack) if ack.reason == ReasonCode::Success => {
                exchange.received = true;
                let payload = exchange.packet.payload.to_vec();
                let payload = String::from_utf8(payload).expect("a text");
                lock(&self.acknowledged).insert(payload);
                client.send(Packet::PubRel(Ack::success(ack.packet_id)));
            }
            Packet::PubComp(_) => self.exchange = None,
            other => panic!("{other:?}"),
        }
    }
}

/// A subscribing client: what it knows outlives its connections.
#[derive(Default)]
struct Subscriber {
    /// How often each payload came.
    seen: BTreeMap<String, u32>,
    /// Received and not yet released: what comes with these ids is the same message.
    unreleased: BTreeSet<PacketId>,
}

/// Answers what comes until the server is gone.
fn receive(state: &Mutex<Subscriber>, mut client: Client) {
    loop {
        let packet = match client.poll(Duration::from_secs(1)) {
            Err(()) => return,
            Ok(None) => continue,
            Ok(Some(packet)) => packet,
        };
        let mut state = lock(state);
        match packet {
            Packet::Publish(publish) => {
                let id = publish.packet_id.expect("QoS 2 has one");
                if state.unreleased.insert(id) {
                    let payload = String::from_utf8(publish.payload.to_vec()).expect("a text");
                    *state.seen.entry(payload).or_default() += 1;
                } else {
                    assert!(publish.dup, "{id:?} is in use");
                }
                client.send(Packet::PubRec(Ack::success(id)));
            }
            Packet::PubRel(ack) => {
                state.unreleased.remove(&ack.packet_id);
                client.send(Packet::PubComp(Ack::success(ack.packet_id)));
            }
            other => panic!("{other:?}"),
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().expect("nobody panics while holding it")
}

/// The clients, and what they know.
struct Books {
    publishers: Vec<Publisher>,
    subscribers: [Arc<Mutex<Subscriber>>; SUBSCRIBERS],
    acknowledged: Arc<Mutex<BTreeSet<String>>>,
}

impl Books {
    fn new() -> Self {
        let acknowledged = Arc::<Mutex<_>>::default();
        let publisher = |number| Publisher {
            number,
            published: 0,
            exchange: None,
            acknowledged: Arc::clone(&acknowledged),
        };
        Self {
            publishers: (0..PUBLISHERS).map(publisher).collect(),
            subscribers: Default::default(),
            acknowledged,
        }
    }

    fn subscribe(&self, server: &Server, count: usize, present: bool) -> Vec<JoinHandle<()>> {
        let states = self.subscribers.iter().enumerate().take(count);
        let tasks = states.map(|(number, state)| {
            let id = format!("subscriber-{number}");
            let mut client = connect(address(server), &id, present);
            if !present {
                client.subscribe("twice/#", Q2);
            }
            let state = Arc::clone(state);
            thread::spawn(move || receive(&state, client))
        });
        tasks.collect()
    }

    /// Publishes until the server, which is killed after a while, is gone.
    fn load(&mut self, server: Server, present: bool, duration: Duration) {
        let clients: Vec<_> = self
            .publishers
            .iter()
            .map(|publisher| connect(address(&server), &publisher.id(), present))
            .collect();
        let publishers = self.publishers.drain(..).zip(clients);
        let tasks: Vec<_> = publishers
            .map(|(publisher, client)| thread::spawn(move || publisher.run(client)))
            .collect();
        thread::sleep(duration);
        server.kill();
        let ended = tasks.into_iter().map(|task| task.join().expect("it ends"));
        self.publishers.extend(ended);
    }

    /// What a subscriber has too often, or not at all.
    fn wrong(&self) -> Vec<String> {
        let acknowledged = lock(&self.acknowledged);
        let mut wrong = Vec::new();
        for (number, state) in self.subscribers.iter().enumerate() {
            let seen = &lock(state).seen;
            let lost = acknowledged.iter().filter(|text| !seen.contains_key(*text));
            wrong.extend(lost.map(|text| format!("{text} did not reach {number}")));
            let often = seen.iter().filter(|(_, count)| **count > 1);
            wrong.extend(often.map(|(text, count)| format!("{text} reached {number} × {count}")));
        }
        wrong
    }

    fn check(&self, server: Server, round: u64) {
        let tasks = self.subscribe(&server, SUBSCRIBERS, true);
        let begun = Instant::now();
        while !self.wrong().is_empty() && begun.elapsed() < Duration::from_secs(30) {
            thread::sleep(millis(50));
        }
        // Time for what comes once too often.
        thread::sleep(millis(200));
        let wrong = self.wrong();
        assert!(wrong.is_empty(), "after kill {round}: {wrong:#?}");
        server.kill();
        end(tasks);
    }
}

fn address(server: &Server) -> SocketAddr {
    server.mqtt.expect("MQTT is served")
}

fn connect(address: SocketAddr, id: &str, present: bool) -> Client {
    let (client, connack) = Client::connected(address, persistent(V5, id));
    assert_eq!(connack.session_present, present, "{id}");
    client
}

fn end(tasks: Vec<JoinHandle<()>>) {
    for task in tasks {
        task.join().expect("it does not panic");
    }
}

#[test]
fn a_hundred_kills_bring_each_publication_of_qos_2_once() {
    let mut seed = seed("mqtt exactly once");
    let rounds = number_from("FANFARE_CRASH_ROUNDS", 100);
    let folder = tempdir().unwrap();
    let launch = Launch::on(&folder.path().join("data"));
    let launch = launch.env("FANFARE_GUESTS_ANONYMOUS_POLICY", ANYONE);
    let begun = Instant::now();
    let mut books = Books::new();
    let server = launch.start();
    let tasks = books.subscribe(&server, SUBSCRIBERS, false);
    server.kill();
    end(tasks);
    for round in 0..rounds {
        let server = launch.start();
        let tasks = books.subscribe(&server, SUBSCRIBERS - 1, true);
        books.load(server, round > 0, millis(50 + seed.below(350)));
        end(tasks);
        if round % THOROUGH == THOROUGH - 1 || round == rounds - 1 {
            books.check(launch.start(), round);
        }
    }
    let acknowledged = lock(&books.acknowledged).len();
    println!(
        "mqtt exactly once: {rounds} kills in {:?}, {acknowledged} publications, each once with {SUBSCRIBERS} subscribers",
        begun.elapsed()
    );
    assert!(acknowledged as u64 >= 5 * rounds, "next to no load");
}
