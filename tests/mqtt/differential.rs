//! The same random sequences of two clients' packets against Mosquitto and Fanfare: whatever the clients see must be the
//! same, but for what [`EXPLAINED`] says.
//!
//! `FANFARE_TEST_MQTT_SEED` repeats a run, `FANFARE_TEST_MQTT_SECONDS` (20) sets how long it lasts. Where there is no
//! Mosquitto the test does nothing, except in CI, where that is a failure.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fanfare::domain::publication::{QoS, RetainHandling};
use fanfare::wire::mqtt::codec::{
    Ack, Connect, Disconnect, Packet, PacketId, ReasonCode, Subscribe, Unsubscribe, Version,
};

use crate::broker::Setup;
use crate::client::{Client, Q0, Q1, Q2, V5, V311, filter, publish, subscription, will};

/// What may differ, and how it is made the same before the comparison.
pub const EXPLAINED: &[(&str, &str)] = &[
    (
        "packet ids",
        "either side chooses its own; they are left out",
    ),
    (
        "copies",
        "Mosquitto sends one copy for each subscription that matches, or only the first one's; we send one with the highest \
         QoS and all identifiers (both allowed, MQTT-3.3.4-2 to -5): copies of one message in one step are joined",
    ),
    (
        "order of different topics",
        "nobody promises it: what comes in one step is sorted",
    ),
    (
        "0x10",
        "Mosquitto says that there were no matching subscribers, which is optional: taken for success",
    ),
    (
        "a take-over's will",
        "Mosquitto 2.0 forgets the will of a connection that is taken over if its session goes on; with a delay of 0 it is \
         due when the connection is closed (MQTT-3.1.2-8): such connections have none here",
    ),
    (
        "one's own will",
        "Mosquitto still sends it to the connection that it is the will of, if that subscribes to it and is taken over;          here such a connection is closed first: left out",
    ),
    (
        "options of a subscription that is replaced",
        "Mosquitto 2.0 keeps the first No Local and Retain As Published, against MQTT-3.8.4-3: they never change here",
    ),
    (
        "one's own retained messages",
        "Mosquitto 2.0 sends them in spite of No Local, against MQTT-3.8.3-3: who asks for No Local asks for none here",
    ),
    (
        "DISCONNECT 0x8E",
        "Mosquitto 2.0 closes a connection that is taken over without it, against MQTT-3.1.4-3: left out",
    ),
    (
        "properties of CONNACK",
        "each server has its own bounds: not compared",
    ),
];

/// A number generator whose sequence is known by its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, count: u64) -> u64 {
        (self.next() >> 11) % count
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn of<T: Copy>(&mut self, choice: &[T]) -> T {
        choice[usize::try_from(self.below(choice.len() as u64)).unwrap()]
    }

    fn qos(&mut self) -> QoS {
        self.of(&[Q0, Q1, Q2])
    }
}

/// What a client does. `who` is 0 or 1.
#[derive(Debug, Clone)]
enum Step {
    Connect {
        who: usize,
        clean: bool,
        lasts: bool,
        will: Option<(String, QoS, bool)>,
        /// Whether it leaves unanswered what it gets.
        lazy: bool,
    },
    Subscribe {
        who: usize,
        filter: String,
        qos: QoS,
        no_local: bool,
        as_published: bool,
        handling: RetainHandling,
        id: Option<u32>,
    },
    Unsubscribe {
        who: usize,
        filter: String,
    },
    Publish {
        who: usize,
        topic: String,
        payload: String,
        qos: QoS,
        retain: bool,
    },
    Disconnect {
        who: usize,
        with_will: bool,
        lasts: Option<bool>,
    },
    Vanish {
        who: usize,
    },
}

/// What is known of a client while steps are made.
#[derive(Clone, Copy, Default)]
struct Known {
    connected: bool,
    lasts: bool,
    has_will: bool,
}

struct Script {
    random: Random,
    prefix: String,
    versions: [Version; 2],
    known: [Known; 2],
    count: u32,
}

const TOPICS: [&str; 4] = ["a", "a/b", "a/c", "d"];
const FILTERS: [&str; 8] = ["a", "a/b", "a/+", "a/#", "#", "+", "+/b", "d"];

impl Script {
    fn next(&mut self) -> Step {
        let who = usize::try_from(self.random.below(2)).unwrap();
        if !self.known[who].connected {
            return self.connect(who);
        }
        match self.random.below(20) {
            0..=1 => self.connect(who),
            2..=6 => self.subscribe(who),
            7 => Step::Unsubscribe {
                who,
                filter: self.filter(),
            },
            8..=16 => self.publish(who),
            17..=18 => {
                self.known[who].connected = false;
                Step::Vanish { who }
            }
            _ => self.disconnect(who),
        }
    }

    fn connect(&mut self, who: usize) -> Step {
        let is_v5 = self.versions[who] == V5;
        let clean = self.random.one_in(3);
        // 3.1.1 has one flag for both.
        let lasts = if is_v5 {
            !self.random.one_in(4)
        } else {
            !clean
        };
        let will = self
            .random
            .one_in(3)
            .then(|| (self.topic(), self.random.qos(), self.random.one_in(3)));
        let before = self.known[who];
        if before.connected && before.has_will && before.lasts && !clean {
            // See EXPLAINED.
            return self.publish(who);
        }
        self.known[who] = Known {
            connected: true,
            lasts,
            has_will: will.is_some(),
        };
        Step::Connect {
            who,
            clean,
            lasts,
            will,
            lazy: self.random.one_in(3),
        }
    }

    fn subscribe(&mut self, who: usize) -> Step {
        let is_v5 = self.versions[who] == V5;
        let handling = [
            RetainHandling::Always,
            RetainHandling::New,
            RetainHandling::Never,
        ];
        let filter = self.filter();
        // The same for this filter whenever it is asked for, see EXPLAINED.
        let options = filter.bytes().map(usize::from).sum::<usize>() + who;
        let no_local = is_v5 && options.is_multiple_of(4);
        Step::Subscribe {
            who,
            filter,
            qos: self.random.qos(),
            no_local,
            as_published: is_v5 && options.is_multiple_of(3),
            handling: match (is_v5, no_local) {
                (false, _) => RetainHandling::Always,
                (true, true) => RetainHandling::Never,
                (true, false) => self.random.of(&handling),
            },
            id: (is_v5 && self.random.one_in(3)).then(|| 1 + self.random.below(9) as u32),
        }
    }

    fn publish(&mut self, who: usize) -> Step {
        self.count += 1;
        let retain = self.random.one_in(4);
        let payload = if retain && self.random.one_in(3) {
            String::new()
        } else {
            format!("{}", self.count)
        };
        Step::Publish {
            who,
            topic: self.topic(),
            payload,
            qos: self.random.qos(),
            retain,
        }
    }

    fn disconnect(&mut self, who: usize) -> Step {
        let is_v5 = self.versions[who] == V5;
        let known = &mut self.known[who];
        known.connected = false;
        Step::Disconnect {
            who,
            with_will: is_v5 && self.random.one_in(2),
            lasts: (is_v5 && known.lasts && self.random.one_in(3)).then(|| self.random.one_in(2)),
        }
    }

    fn topic(&mut self) -> String {
        format!("{}/{}", self.prefix, self.random.of(&TOPICS))
    }

    fn filter(&mut self) -> String {
        format!("{}/{}", self.prefix, self.random.of(&FILTERS))
    }
}

/// A message that a client got: how often it was sent with which flags does not matter beyond this.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Got {
    qos: QoS,
    retain: bool,
    dup: bool,
    ids: Vec<u32>,
}

/// What a client saw in one step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Seen {
    answers: Vec<String>,
    messages: BTreeMap<(String, String), Got>,
}

/// One server with its two clients.
struct Side {
    address: SocketAddr,
    prefix: String,
    versions: [Version; 2],
    clients: [Option<Client>; 2],
    lazy: [bool; 2],
    seen: [Seen; 2],
}

impl Side {
    fn make(&mut self, step: &Step) {
        match step.clone() {
            Step::Connect {
                who,
                clean,
                lasts,
                will: message,
                lazy,
            } => {
                let version = self.versions[who];
                let mut connect = Connect::new(version, format!("{}{who}", self.prefix));
                connect.clean_start = clean;
                connect.session_expiry_s = if lasts { 1000 } else { 0 };
                connect.will = message.map(|(topic, qos, retain)| {
                    let mut message = will(&topic, "will", qos);
                    message.publication.retain = retain;
                    message
                });
                let mut client = Client::open(self.address, version);
                client.send(Packet::Connect(Box::new(connect)));
                let answer = client.recv();
                // What the old connection saw is seen before the new one takes its place.
                self.look(who);
                let own = &mut self.seen[who].messages;
                own.retain(|(_, payload), _| payload != "will");
                self.lazy[who] = lazy;
                self.clients[who] = Some(client);
                self.take(who, answer);
            }
            Step::Subscribe {
                who,
                filter,
                qos,
                no_local,
                as_published,
                handling,
                id,
            } => {
                let mut asked = subscription(&filter, qos);
                (asked.no_local, asked.retain_as_published) = (no_local, as_published);
                (asked.retain_handling, asked.id) = (handling, id);
                self.send(who, |packet_id| {
                    Packet::Subscribe(Subscribe {
                        packet_id,
                        subscriptions: vec![asked],
                        user: Vec::new(),
                    })
                });
            }
            Step::Unsubscribe { who, filter: text } => self.send(who, |packet_id| {
                Packet::Unsubscribe(Unsubscribe {
                    packet_id,
                    filters: vec![filter(&text)],
                    user: Vec::new(),
                })
            }),
            Step::Publish {
                who,
                topic,
                payload,
                qos,
                retain,
            } => self.send(who, |packet_id| {
                let mut packet = publish(&topic, &payload, qos);
                packet.retain = retain;
                packet.packet_id = (qos != Q0).then_some(packet_id);
                Packet::Publish(packet)
            }),
            Step::Disconnect {
                who,
                with_will,
                lasts,
            } => {
                let reason = if with_will {
                    ReasonCode::DisconnectWithWill
                } else {
                    ReasonCode::Success
                };
                let mut packet = Disconnect::new(reason);
                packet.session_expiry_s = lasts.map(|lasts| if lasts { 500 } else { 0 });
                self.send(who, |_| Packet::Disconnect(packet));
            }
            Step::Vanish { who } => self.clients[who] = None,
        }
    }

    fn send(&mut self, who: usize, packet: impl FnOnce(PacketId) -> Packet) {
        if let Some(client) = &mut self.clients[who] {
            let id = client.id();
            client.send(packet(id));
        }
    }

    /// Looks at what has come.
    fn look(&mut self, who: usize) {
        while let Some(client) = &mut self.clients[who] {
            match client.poll(Duration::from_millis(2)) {
                Ok(Some(packet)) => self.take(who, packet),
                Ok(None) => return,
                Err(_closed) => {
                    self.clients[who] = None;
                    self.seen[who].answers.push("closed".to_owned());
                }
            }
        }
    }

    fn take(&mut self, who: usize, packet: Packet) {
        let lazy = self.lazy[who];
        let Some(client) = &mut self.clients[who] else {
            return;
        };
        let reply = match packet {
            Packet::Disconnect(end) if end.reason == ReasonCode::SessionTakenOver => None,
            Packet::Publish(got) => {
                let reply = got.packet_id.filter(|_| !lazy).map(|id| match got.qos {
                    Q1 => Packet::PubAck(Ack::success(id)),
                    _ => Packet::PubRec(Ack::success(id)),
                });
                let name = got
                    .topic
                    .expect("no aliases were asked for")
                    .as_str()
                    .to_owned();
                let payload = String::from_utf8(got.payload.to_vec()).unwrap();
                let joined = self.seen[who]
                    .messages
                    .entry((name, payload))
                    .or_insert(Got {
                        qos: got.qos,
                        retain: got.retain,
                        dup: got.dup,
                        ids: Vec::new(),
                    });
                joined.qos = joined.qos.max(got.qos);
                joined.retain |= got.retain;
                joined.dup |= got.dup;
                joined.ids.extend(got.subscription_ids);
                joined.ids.sort_unstable();
                joined.ids.dedup();
                reply
            }
            Packet::PubRel(ack) => Some(Packet::PubComp(Ack::success(ack.packet_id))),
            Packet::PubRec(ack) => {
                self.seen[who]
                    .answers
                    .push(format!("PUBREC {:?}", ack.reason.is_error()));
                Some(Packet::PubRel(Ack::success(ack.packet_id)))
            }
            other => {
                self.seen[who].answers.push(shown(&other));
                None
            }
        };
        if let Some(reply) = reply {
            client.send(reply);
        }
    }

    fn look_at_both(&mut self) {
        self.look(0);
        self.look(1);
    }
}

fn shown(packet: &Packet) -> String {
    match packet {
        Packet::ConnAck(connack) => {
            format!("CONNACK {:?} {}", connack.reason, connack.session_present)
        }
        Packet::PubAck(ack) => format!("PUBACK {:?}", ack.reason.is_error()),
        Packet::PubComp(ack) => format!("PUBCOMP {:?}", ack.reason),
        Packet::SubAck(ack) => format!("SUBACK {:?}", ack.reasons),
        Packet::UnsubAck(ack) => format!("UNSUBACK {:?}", ack.reasons),
        Packet::Disconnect(disconnect) => format!("DISCONNECT {:?}", disconnect.reason),
        other => format!("{other:?}"),
    }
}

/// Where Debian puts it.
const DEBIANS: &str = "/usr/sbin/mosquitto";

/// Mosquitto on a port of its own.
struct Mosquitto {
    process: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Mosquitto {
    fn start() -> Option<Self> {
        // `cargo xtask test` says where it is, and then it must be there.
        let binary = std::env::var_os("FANFARE_TEST_MOSQUITTO").map(PathBuf::from);
        let binary = binary.or_else(|| Some(PathBuf::from(DEBIANS)).filter(|path| path.exists()));
        let Some(binary) = binary else {
            assert!(
                std::env::var_os("CI").is_none(),
                "there is no Mosquitto: apt-get install mosquitto"
            );
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let config = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nsys_interval 0\n\
             max_inflight_messages 0\nmax_queued_messages 0\nallow_duplicate_messages true\nset_tcp_nodelay true\n"
        );
        let path = folder.path().join("mosquitto.conf");
        std::fs::write(&path, config).unwrap();
        let process = Command::new(binary)
            .arg("-c")
            .arg(path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let since = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(
                since.elapsed() < Duration::from_secs(10),
                "Mosquitto does not start"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(Self {
            process,
            address,
            _folder: folder,
        })
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _status = self.process.wait();
    }
}

/// Runs one sequence; answers the first difference.
fn differ(number: u64, seed: u64, servers: [SocketAddr; 2]) -> Option<String> {
    let mut random = Random(seed);
    (0..10).for_each(|_| _ = random.next());
    let versions = [random.of(&[V311, V5]), random.of(&[V311, V5])];
    let prefix = format!("s{number}");
    let mut script = Script {
        random,
        prefix: prefix.clone(),
        versions,
        known: [Known::default(); 2],
        count: 0,
    };
    let mut sides = servers.map(|address| Side {
        address,
        prefix: prefix.clone(),
        versions,
        clients: [None, None],
        lazy: [false; 2],
        seen: Default::default(),
    });
    let mut history = Vec::new();
    for _ in 0..30 {
        let step = script.next();
        history.push(format!("{step:?}"));
        sides.iter_mut().for_each(|side| side.make(&step));
        let since = Instant::now();
        loop {
            sides.iter_mut().for_each(Side::look_at_both);
            let [one, other] = &sides;
            let settled = since.elapsed() > Duration::from_millis(30);
            if settled && one.seen == other.seen {
                break;
            }
            if since.elapsed() > Duration::from_secs(10) {
                return Some(format!(
                    "versions {versions:?}\n{}\nMosquitto {:#?}\nFanfare {:#?}",
                    history.join("\n"),
                    one.seen,
                    other.seen
                ));
            }
        }
        sides
            .iter_mut()
            .for_each(|side| side.seen = Default::default());
    }
    None
}

#[test]
fn clients_see_the_same_as_with_mosquitto() {
    let Some(mosquitto) = Mosquitto::start() else {
        return;
    };
    let broker = Setup::new().mqtt("max_in_flight", 1000).start();
    let number = |name: &str, default: u64| {
        let text = std::env::var(name).ok();
        text.map_or(default, |text| text.parse().expect("a number"))
    };
    let seed = number("FANFARE_TEST_MQTT_SEED", 20_261_121);
    let limit = Duration::from_secs(number("FANFARE_TEST_MQTT_SECONDS", 20));
    let since = Instant::now();
    let mut found = Vec::new();
    let mut sequences = 0;
    while since.elapsed() < limit {
        let own = seed.wrapping_add(sequences * 0x9e37_79b9).max(1);
        let servers = [mosquitto.address, broker.mqtt()];
        if let Some(difference) = differ(sequences, own, servers) {
            found.push(format!("sequence {sequences}, {difference}"));
            if found.len() >= 5 {
                break;
            }
        }
        sequences += 1;
    }
    println!("{sequences} sequences from seed {seed}");
    assert!(found.is_empty(), "{}", found.join("\n\n"));
    assert!(sequences >= 3, "too few to mean anything: {sequences}");
}

#[test]
fn every_explanation_says_what_and_why() {
    assert!(
        EXPLAINED
            .iter()
            .all(|(what, why)| !what.is_empty() && why.len() > 20)
    );
}
