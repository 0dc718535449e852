//! Case: SIGKILL under a load of QoS 1 with persistent subscribers, driven by rumqttc.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use tempfile::tempdir;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep, timeout};

use super::server::{Launch, Server};
use super::setting::{becomes, block_on, millis, number_from, seed};

pub const ANYONE: &str = r#"{"Statement":{"Effect":"Allow","Action":"iot:*","Resource":"*"}}"#;

/// Every so many kills all that was acknowledged has to be with every subscriber.
const THOROUGH: u64 = 10;

const PUBLISHERS: usize = 4;

/// The last one is away while there is load.
const SUBSCRIBERS: usize = 3;

type Payloads = Rc<RefCell<BTreeSet<String>>>;

/// What was promised to publishers, and what subscribers have seen.
#[derive(Default)]
struct Books {
    acknowledged: Payloads,
    seen: [Payloads; SUBSCRIBERS],
    next: Rc<Cell<u64>>,
}

fn client(address: SocketAddr, id: String, clean: bool) -> (AsyncClient, EventLoop) {
    let mut options = MqttOptions::new(id, address.ip().to_string(), address.port());
    options.set_clean_session(clean).set_manual_acks(true);
    AsyncClient::new(options, 1000)
}

/// Publishes one message after the other, until the server is gone.
async fn publish(address: SocketAddr, number: usize, next: Rc<Cell<u64>>, acknowledged: Payloads) {
    let (client, mut events) = client(address, format!("publisher-{number}"), true);
    let mut current = None;
    while let Ok(event) = events.poll().await {
        match event {
            Event::Incoming(Packet::ConnAck(_)) => {}
            Event::Incoming(Packet::PubAck(_)) => {
                acknowledged.borrow_mut().extend(current.take());
            }
            _ => continue,
        }
        let payload = next.replace(next.get() + 1).to_string();
        let topic = format!("crash/{number}");
        let sent = client.try_publish(topic, QoS::AtLeastOnce, false, payload.clone());
        sent.expect("there is room for one");
        current = Some(payload);
    }
}

/// Acknowledges what it has noted, until the server is gone.
async fn receive(address: SocketAddr, number: usize, subscribed: Rc<Cell<usize>>, seen: Payloads) {
    let (client, mut events) = client(address, format!("subscriber-{number}"), false);
    while let Ok(event) = events.poll().await {
        match event {
            Event::Incoming(Packet::ConnAck(connack)) if !connack.session_present => {
                let asked = client.try_subscribe("crash/#", QoS::AtLeastOnce);
                asked.expect("there is room for one");
            }
            Event::Incoming(Packet::ConnAck(_) | Packet::SubAck(_)) => {
                subscribed.set(subscribed.get() + 1);
            }
            Event::Incoming(Packet::Publish(publish)) => {
                let text = String::from_utf8(publish.payload.to_vec());
                seen.borrow_mut().insert(text.expect("a number"));
                client.try_ack(&publish).expect("there is room for one");
            }
            _ => {}
        }
    }
}

impl Books {
    /// Connects the first so many subscribers, and waits until they are subscribed.
    async fn subscribers(&self, server: &Server, count: usize) -> Vec<JoinHandle<()>> {
        let subscribed = Rc::new(Cell::new(0));
        let tasks = (0..count).map(|number| {
            let seen = Rc::clone(&self.seen[number]);
            spawn_local(receive(
                server.mqtt.expect("MQTT is served"),
                number,
                Rc::clone(&subscribed),
                seen,
            ))
        });
        let tasks = tasks.collect();
        let all = becomes(Duration::from_secs(10), || async {
            subscribed.get() == count
        })
        .await;
        assert!(all, "{} of {count} are subscribed", subscribed.get());
        tasks
    }

    fn publishers(&self, server: &Server) -> Vec<JoinHandle<()>> {
        let publishers = (0..PUBLISHERS).map(|number| {
            let (next, acknowledged) = (Rc::clone(&self.next), Rc::clone(&self.acknowledged));
            spawn_local(publish(
                server.mqtt.expect("MQTT is served"),
                number,
                next,
                acknowledged,
            ))
        });
        publishers.collect()
    }

    /// What was acknowledged and did not reach a subscriber.
    fn lost(&self) -> Vec<(usize, String)> {
        let acknowledged = self.acknowledged.borrow();
        let seen = self.seen.iter().enumerate();
        let lost = seen.flat_map(|(number, seen)| {
            let seen = seen.borrow();
            let lost = acknowledged.difference(&seen).cloned();
            lost.map(|text| (number, text)).collect::<Vec<_>>()
        });
        lost.collect()
    }

    async fn check(&self, server: &Server, round: u64) -> Vec<JoinHandle<()>> {
        let tasks = self.subscribers(server, SUBSCRIBERS).await;
        becomes(Duration::from_secs(30), || async { self.lost().is_empty() }).await;
        let lost = self.lost();
        assert!(lost.is_empty(), "after kill {round}: {lost:?} were lost");
        tasks
    }
}

async fn end(tasks: Vec<JoinHandle<()>>) {
    for task in tasks {
        let ended = timeout(Duration::from_secs(10), task).await;
        ended.expect("it sees the end").expect("it does not panic");
    }
}

#[test]
fn a_hundred_kills_lose_no_acknowledged_publication() {
    let mut seed = seed("mqtt kills");
    let rounds = number_from("FANFARE_CRASH_ROUNDS", 100);
    let folder = tempdir().unwrap();
    let launch = Launch::on(&folder.path().join("data"));
    let launch = launch.env("FANFARE_GUESTS_ANONYMOUS_POLICY", ANYONE);
    block_on(async {
        let begun = Instant::now();
        let books = Books::default();
        let server = launch.start();
        let tasks = books.subscribers(&server, SUBSCRIBERS).await;
        server.kill();
        end(tasks).await;
        for round in 0..rounds {
            let server = launch.start();
            let mut tasks = books.subscribers(&server, SUBSCRIBERS - 1).await;
            tasks.extend(books.publishers(&server));
            sleep(millis(50 + seed.below(350))).await;
            server.kill();
            end(tasks).await;
            if round % THOROUGH == THOROUGH - 1 || round == rounds - 1 {
                let server = launch.start();
                let tasks = books.check(&server, round).await;
                server.kill();
                end(tasks).await;
            }
        }
        let acknowledged = books.acknowledged.borrow().len();
        let published = books.next.get();
        println!(
            "mqtt kills: {rounds} in {:?}, {acknowledged} of {published} publications acknowledged, none lost to \
             {SUBSCRIBERS} subscribers",
            begun.elapsed()
        );
        assert!(acknowledged as u64 >= 5 * rounds, "next to no load");
    });
}
