//! What the two clients see of one server.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use fanfare::domain::publication::QoS;
use fanfare::wire::mqtt::codec::{
    Ack, Connect, Disconnect, Packet, PacketId, ReasonCode, Subscribe, Unsubscribe, Version,
};

use super::script::Step;
use crate::client::{Client, Q0, Q1, filter, publish, subscription, will};

/// A message that a client got: how often it was sent with which flags does not matter beyond this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    qos: QoS,
    retain: bool,
    dup: bool,
    ids: Vec<u32>,
}

/// What a client saw in one step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    answers: Vec<String>,
    messages: BTreeMap<(String, String), Got>,
}

/// One server with its two clients.
pub struct Side {
    address: SocketAddr,
    prefix: String,
    versions: [Version; 2],
    clients: [Option<Client>; 2],
    lazy: [bool; 2],
    pub seen: [Seen; 2],
}

impl Side {
    pub fn new(address: SocketAddr, prefix: &str, versions: [Version; 2]) -> Self {
        Self {
            address,
            prefix: prefix.to_owned(),
            versions,
            clients: [None, None],
            lazy: [false; 2],
            seen: Default::default(),
        }
    }

    pub fn make(&mut self, step: &Step) {
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

    pub fn look_at_both(&mut self) {
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
