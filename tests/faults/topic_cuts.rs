//! Case: power cuts while a client publishes to a durable session and sets retained messages. What was acknowledged before
//! the cut is there after it, and what was not finished can be finished: QoS 2 arrives once.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use fanfare::wire::mqtt::codec::{Ack, Packet, PacketId, Publish};
use powercut::{Image, Replay};
use tempfile::tempdir;

use super::cuts::{choose_cuts, choose_survival};
use super::ledger::Moment;
use super::mqtt::ANYONE;
use super::mqtt_client::{Client, Q1, Q2, V5, persistent, publish, retained};
use super::power::Recorder;
use super::server::{Launch, Server};
use super::setting::{assert_kept, number_from, seed};

/// Publications in one run.
const PUBLICATIONS: u16 = 90;

/// Topics with a retained message.
const KEPT: u16 = 3;

/// A publication, and when its publisher knew what.
struct Sent {
    packet: Publish,
    begun: Moment,
    /// PUBACK or PUBREC came.
    acknowledged: Moment,
    /// PUBACK or PUBCOMP came.
    finished: Moment,
}

impl Sent {
    fn payload(&self) -> String {
        text(&self.packet)
    }
}

fn text(packet: &Publish) -> String {
    String::from_utf8(packet.payload.to_vec()).expect("a text")
}

/// The number-th publication: every third is retained, and some of those remove what is.
fn nth(number: u16) -> Publish {
    let mut packet = match number % 3 {
        0 => {
            let topic = format!("cut/kept/{}", number / 3 % KEPT);
            let removes = number.is_multiple_of(5);
            let payload = if removes {
                String::new()
            } else {
                number.to_string()
            };
            retained(&topic, &payload, Q1)
        }
        _ => publish("cut/two", &number.to_string(), Q2),
    };
    packet.packet_id = PacketId::new(number + 1);
    packet
}

fn connect(server: &Server, id: &str, present: bool) -> Client {
    let address = server.mqtt.expect("MQTT is served");
    let (client, connack) = Client::connected(address, persistent(V5, id));
    assert_eq!(connack.session_present, present, "the session of {id}");
    client
}

/// Publishes everything, one after the other.
fn load(client: &mut Client, clock: &impl Fn() -> Moment) -> Vec<Sent> {
    let send = |number| {
        let (packet, begun) = (nth(number), clock());
        let id = packet.packet_id.expect("it has one");
        client.send(Packet::Publish(packet.clone()));
        let answer = client.recv();
        let acknowledged = clock();
        let mut finished = acknowledged;
        match answer {
            Packet::PubAck(_) => assert_eq!(packet.qos, Q1),
            Packet::PubRec(_) => {
                client.send(Packet::PubRel(Ack::success(id)));
                assert_eq!(client.recv(), Packet::PubComp(Ack::success(id)));
                finished = clock();
            }
            other => panic!("{other:?}"),
        }
        Sent {
            packet,
            begun,
            acknowledged,
            finished,
        }
    };
    (0..PUBLICATIONS).map(send).collect()
}

/// What the publisher does when the power is back: it finishes what it had begun. Gives that publication's number back.
fn finish(server: &Server, sent: &[Sent], cut: Moment) {
    let mut client = connect(server, "writer", true);
    let Some(last) = sent.iter().rfind(|sent| sent.begun <= cut) else {
        return;
    };
    let id = last.packet.packet_id.expect("it has one");
    if last.finished <= cut {
        return;
    }
    if last.acknowledged > cut {
        let mut again = last.packet.clone();
        again.dup = true;
        client.send(Packet::Publish(again));
        match client.recv() {
            Packet::PubAck(_) => return,
            Packet::PubRec(_) => {}
            other => panic!("{other:?}"),
        }
    }
    client.send(Packet::PubRel(Ack::success(id)));
    // Whether it was known is not asked: it may have been released just before the cut.
    match client.recv() {
        Packet::PubComp(ack) => assert_eq!(ack.packet_id, id),
        other => panic!("{other:?}"),
    }
}

/// What comes to the durable session, in order.
fn drain(server: &Server, expect: usize) -> Vec<String> {
    let mut client = connect(server, "reader", true);
    let (mut got, begun) = (Vec::new(), Instant::now());
    loop {
        match client.recv_within(Duration::from_millis(200)) {
            Some(Packet::Publish(packet)) => {
                let id = packet.packet_id.expect("it has one");
                if packet.qos == Q2 {
                    client.send(Packet::PubRec(Ack::success(id)));
                } else {
                    client.send(Packet::PubAck(Ack::success(id)));
                }
                got.push(text(&packet));
            }
            Some(Packet::PubRel(ack)) => {
                client.send(Packet::PubComp(Ack::success(ack.packet_id)));
            }
            Some(other) => panic!("{other:?}"),
            None if got.len() >= expect || begun.elapsed() > Duration::from_secs(5) => return got,
            None => {}
        }
    }
}

/// What was promised before the cut and does not hold after it.
fn check(server: &Server, sent: &[Sent], cut: Moment) -> Vec<String> {
    let kept = kept(server);
    finish(server, sent, cut);
    // Everything that was begun is finished by now, and there exactly once, in order; of QoS 1 the last may come twice.
    let expect: Vec<_> = sent.iter().filter(|sent| sent.begun <= cut).collect();
    let mut got = drain(server, expect.len());
    if let Some(last) = expect.last().filter(|last| last.packet.qos == Q1) {
        let twice = got.len() == expect.len() + 1 && got.last() == Some(&last.payload());
        got.truncate(got.len() - usize::from(twice));
    }
    let wanted: Vec<_> = expect.iter().map(|sent| sent.payload()).collect();
    let mut broken = Vec::new();
    if got != wanted {
        broken.push(format!("the session got {got:?} instead of {wanted:?}"));
    }
    for topic in 0..KEPT {
        let topic = format!("cut/kept/{topic}");
        let is_it = |sent: &&Sent| {
            sent.packet
                .topic
                .as_ref()
                .is_some_and(|name| name.as_str() == topic)
        };
        let all: Vec<_> = sent
            .iter()
            .filter(is_it)
            .filter(|sent| sent.begun <= cut)
            .collect();
        let sure = all.iter().rposition(|sent| sent.acknowledged <= cut);
        let found = kept.get(&topic).cloned().unwrap_or_default();
        // The last that was acknowledged, or one that was on its way.
        let from = sure.unwrap_or_default();
        let may = all[from..].iter().map(|sent| sent.payload());
        let nothing_yet = sure.is_none() && found.is_empty();
        if !nothing_yet && !may.clone().any(|payload| payload == found) {
            let may: Vec<_> = may.collect();
            broken.push(format!("{topic} has {found:?} instead of one of {may:?}"));
        }
    }
    broken
}

/// The retained messages.
fn kept(server: &Server) -> BTreeMap<String, String> {
    let address = server.mqtt.expect("MQTT is served");
    let connect = fanfare::wire::mqtt::codec::Connect::new(V5, "looker");
    let (mut client, _) = Client::connected(address, connect);
    client.subscribe("cut/kept/+", Q1);
    let mut kept = BTreeMap::new();
    while let Some(packet) = client.recv_within(Duration::from_millis(200)) {
        match packet {
            Packet::Publish(packet) => {
                let topic = packet.topic.as_ref().expect("it is named").to_string();
                client.send(Packet::PubAck(Ack::success(
                    packet.packet_id.expect("QoS 1"),
                )));
                kept.insert(topic, text(&packet));
            }
            other => panic!("{other:?}"),
        }
    }
    client.disconnect();
    kept
}

fn on_disk(image: &Image, disk: &Path, check: impl FnOnce(&Server) -> Vec<String>) -> Vec<String> {
    image.write_to(disk).expect("the disk can be written");
    let launch = Launch::on(disk).env("FANFARE_GUESTS_ANONYMOUS_POLICY", ANYONE);
    let server = launch.start();
    let broken = check(&server);
    server.kill();
    std::fs::remove_dir_all(disk).expect("the disk can be removed");
    broken
}

#[test]
fn power_cuts_lose_no_publication_and_no_retained_message() {
    let mut seed = seed("topic power cuts");
    let cuts = number_from("FANFARE_POWER_CUTS", 30);
    let folder = tempdir().unwrap();
    let recorder = Recorder::below(folder.path(), Image::default());
    let launch = recorder
        .launch()
        .env("FANFARE_GUESTS_ANONYMOUS_POLICY", ANYONE);
    let server = launch.start();
    let mut reader = connect(&server, "reader", false);
    reader.subscribe("cut/#", Q2);
    reader.disconnect();
    let mut writer = connect(&server, "writer", false);
    let clock = recorder.clock();
    let first = clock();
    let sent = load(&mut writer, &clock);
    let ended = server.terminate(Duration::from_secs(25));
    assert!(ended.status.success(), "{ended:?}");

    let recording = recorder.recording();
    recording
        .check_complete(&recorder.data)
        .expect("the recorder sees every write");
    let mut replay = Replay::new(&recording);
    for cut in choose_cuts(&recording, first, cuts, &mut seed) {
        replay.advance_to(cut);
        let survival = choose_survival(&mut seed);
        let image = replay.image(survival);
        let disk = folder.path().join("disk");
        let broken = on_disk(&image, &disk, |server| check(server, &sent, cut));
        assert_kept(&broken, &format!("cut {cut}, {survival:?}"));
    }
    println!("topic power cuts: {cuts}, {PUBLICATIONS} publications, none lost");
}
