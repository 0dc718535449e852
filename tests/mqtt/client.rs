//! A client that knows every packet.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use fanfare::domain::publication::{Publication, QoS, RetainHandling, Subscription, Will};
use fanfare::domain::topic::{TopicFilter, TopicName};
use fanfare::wire::mqtt::codec::{
    Ack, ConnAck, Connect, Decoder, Disconnect, Encoder, Packet, PacketId, Publish, ReasonCode,
    Sender, SubAck, Subscribe, Unsubscribe, Version,
};

pub use QoS::{AtLeastOnce as Q1, AtMostOnce as Q0, ExactlyOnce as Q2};
pub use Version::{V5, V311};

/// Both versions, for what holds in each.
pub const BOTH: [Version; 2] = [V311, V5];

/// How long something that must come may take.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long to wait before something is taken not to come.
const QUIET: Duration = Duration::from_millis(150);

/// One connection.
pub struct Client {
    pub stream: TcpStream,
    pub version: Version,
    input: BytesMut,
    /// What came while something else was waited for.
    skipped: VecDeque<Packet>,
    encoder: Encoder,
    next_id: u16,
}

/// What came.
#[derive(Debug)]
enum Came {
    Packet(Packet),
    Closed,
    Nothing,
}

impl Client {
    /// A connection on which nothing was said.
    pub fn open(address: SocketAddr, version: Version) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            version,
            input: BytesMut::new(),
            skipped: VecDeque::new(),
            encoder: Encoder::plain(version),
            next_id: 0,
        }
    }

    /// Connects; the server must accept.
    pub fn connected(address: SocketAddr, connect: Connect) -> (Self, ConnAck) {
        let (client, connack) = Self::tried(address, connect);
        assert_eq!(connack.reason, ReasonCode::Success, "{connack:?}");
        (client, connack)
    }

    /// Connects; the server must answer.
    pub fn tried(address: SocketAddr, connect: Connect) -> (Self, ConnAck) {
        let mut client = Self::open(address, connect.version);
        client.send(Packet::Connect(Box::new(connect)));
        match client.recv() {
            Packet::ConnAck(connack) => (client, *connack),
            other => panic!("{other:?} instead of CONNACK"),
        }
    }

    pub fn send(&mut self, packet: Packet) {
        self.send_together([packet]);
    }

    /// Sends packets in one write, so that the server mostly finds them together.
    pub fn send_together(&mut self, packets: impl IntoIterator<Item = Packet>) {
        let bytes = self.encoded(packets);
        self.raw(&bytes);
    }

    /// Packets as they are sent.
    pub fn encoded(&mut self, packets: impl IntoIterator<Item = Packet>) -> BytesMut {
        let mut bytes = BytesMut::new();
        for packet in packets {
            self.encoder.encode(&packet, &mut bytes).unwrap();
        }
        bytes
    }

    /// Sends bytes as they are. The server may have closed already.
    pub fn raw(&mut self, bytes: &[u8]) {
        let _closed = self.stream.write_all(bytes);
    }

    /// Sends what the connection takes until nothing moves any more; gives the number of bytes back.
    pub fn push(&mut self, bytes: &[u8], patience: Duration) -> usize {
        self.stream.set_write_timeout(Some(patience)).unwrap();
        let mut sent = 0;
        while sent < bytes.len() {
            match self.stream.write(&bytes[sent..]) {
                Ok(taken) => sent += taken,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        self.stream.set_write_timeout(Some(PATIENCE)).unwrap();
        sent
    }

    fn come(&mut self, limit: Duration) -> Came {
        match self.skipped.pop_front() {
            Some(packet) => Came::Packet(packet),
            None => self.come_now(limit),
        }
    }

    /// This packet comes, before or after others, which are kept.
    fn comes(&mut self, expect: &Packet) {
        if let Some(place) = self.skipped.iter().position(|packet| packet == expect) {
            self.skipped.remove(place);
            return;
        }
        loop {
            match self.come_now(PATIENCE) {
                Came::Packet(packet) if packet == *expect => return,
                Came::Packet(packet) => self.skipped.push_back(packet),
                other => panic!("{other:?} instead of {expect:?}"),
            }
        }
    }

    fn come_now(&mut self, limit: Duration) -> Came {
        let until = Instant::now() + limit;
        let decoder = Decoder::connected(Sender::Server, self.version, usize::MAX);
        loop {
            if let Some(packet) = decoder.decode_from(&mut self.input).expect("a good packet") {
                return Came::Packet(packet);
            }
            let Some(left) = until.checked_duration_since(Instant::now()) else {
                return Came::Nothing;
            };
            let left = left.max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(left)).unwrap();
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Came::Closed,
                Ok(read) => self.input.extend_from_slice(&bytes[..read]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Came::Closed,
                Err(_) => {}
            }
        }
    }

    /// The next packet.
    pub fn recv(&mut self) -> Packet {
        match self.come(PATIENCE) {
            Came::Packet(packet) => packet,
            other => panic!("{other:?} instead of a packet"),
        }
    }

    /// The next packet if one comes within this time; `None` also at the end.
    pub fn recv_within(&mut self, limit: Duration) -> Option<Packet> {
        match self.come(limit) {
            Came::Packet(packet) => Some(packet),
            _ => None,
        }
    }

    /// The next packet if one comes within this time.
    ///
    /// # Errors
    /// The server has closed.
    pub fn poll(&mut self, limit: Duration) -> Result<Option<Packet>, ()> {
        match self.come(limit) {
            Came::Packet(packet) => Ok(Some(packet)),
            Came::Nothing => Ok(None),
            Came::Closed => Err(()),
        }
    }

    /// The next packet, a PUBLISH.
    pub fn publish_in(&mut self) -> Publish {
        match self.recv() {
            Packet::Publish(publish) => publish,
            other => panic!("{other:?} instead of PUBLISH"),
        }
    }

    /// The payload of the next packet, a PUBLISH.
    pub fn payload(&mut self) -> String {
        String::from_utf8(self.publish_in().payload.to_vec()).unwrap()
    }

    /// The server says nothing more, and closes.
    pub fn closed(&mut self) {
        match self.come(PATIENCE) {
            Came::Closed => {}
            other => panic!("{other:?} instead of the end"),
        }
    }

    /// The server ends the connection, for this reason if it can say one.
    pub fn ended(&mut self, reason: ReasonCode) {
        if self.version == V5 {
            match self.recv() {
                Packet::Disconnect(disconnect) => assert_eq!(disconnect.reason, reason),
                other => panic!("{other:?} instead of DISCONNECT"),
            }
        }
        self.closed();
    }

    /// Whether the server has closed; packets before that are skipped.
    pub fn is_closed(&mut self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.come(left) {
                Came::Closed => return true,
                Came::Packet(_) => {}
                Came::Nothing => return false,
            }
        }
    }

    /// Nothing comes, but the server still answers.
    pub fn quiet(&mut self) {
        if let Came::Packet(packet) = self.come(QUIET) {
            panic!("{packet:?} instead of nothing");
        }
        self.ping();
    }

    /// PINGREQ and its answer, which is the next packet.
    pub fn ping(&mut self) {
        self.send(Packet::PingReq);
        assert_eq!(self.recv(), Packet::PingResp);
    }

    /// A new packet id.
    pub fn id(&mut self) -> PacketId {
        self.next_id += 1;
        PacketId::new(self.next_id).unwrap()
    }

    /// Subscribes; answers the reason codes.
    pub fn subscribe_all(&mut self, subscriptions: Vec<Subscription>) -> Vec<ReasonCode> {
        let packet_id = self.id();
        self.send(Packet::Subscribe(Subscribe {
            packet_id,
            subscriptions,
            user: Vec::new(),
        }));
        match self.recv() {
            Packet::SubAck(SubAck {
                packet_id: answered,
                reasons,
                ..
            }) if answered == packet_id => reasons,
            other => panic!("{other:?} instead of SUBACK {packet_id:?}"),
        }
    }

    /// Subscribes to one filter, which must be granted.
    pub fn subscribe(&mut self, filter: &str, qos: QoS) {
        let granted = self.subscribe_all(vec![subscription(filter, qos)]);
        assert_eq!(granted, [ReasonCode::from_u8(qos as u8).unwrap()]);
    }

    /// Unsubscribes; answers the reason codes.
    pub fn unsubscribe(&mut self, filters: &[&str]) -> Vec<ReasonCode> {
        let packet_id = self.id();
        self.send(Packet::Unsubscribe(Unsubscribe {
            packet_id,
            filters: filters.iter().map(|text| filter(text)).collect(),
            user: Vec::new(),
        }));
        match self.recv() {
            Packet::UnsubAck(ack) if ack.packet_id == packet_id => ack.reasons,
            other => panic!("{other:?} instead of UNSUBACK"),
        }
    }

    /// Publishes and goes through the whole handshake, which must succeed.
    pub fn publish(&mut self, topic: &str, payload: &str, qos: QoS) {
        self.publish_as(publish(topic, payload, qos));
    }

    /// The same for any PUBLISH; the packet id is filled in.
    pub fn publish_as(&mut self, mut publish: Publish) {
        if publish.qos == Q0 {
            self.send(Packet::Publish(publish));
            return;
        }
        let id = self.id();
        publish.packet_id = Some(id);
        let qos = publish.qos;
        self.send(Packet::Publish(publish));
        if qos == Q1 {
            assert_eq!(bare(self.recv()), Packet::PubAck(Ack::success(id)));
            return;
        }
        assert_eq!(bare(self.recv()), Packet::PubRec(Ack::success(id)));
        self.send(Packet::PubRel(Ack::success(id)));
        assert_eq!(bare(self.recv()), Packet::PubComp(Ack::success(id)));
    }

    /// Publishes, and gets this answer.
    pub fn publish_refused(&mut self, mut publish: Publish, reason: ReasonCode) {
        let id = self.id();
        publish.packet_id = Some(id);
        let qos = publish.qos;
        self.send(Packet::Publish(publish));
        match (qos, self.recv()) {
            (Q1, Packet::PubAck(ack)) | (Q2, Packet::PubRec(ack)) => {
                assert_eq!((ack.packet_id, ack.reason), (id, reason));
            }
            (_, other) => panic!("{other:?} instead of a refusal"),
        }
    }

    /// Takes the next PUBLISH and acknowledges it completely.
    pub fn take(&mut self) -> Publish {
        let publish = self.publish_in();
        let Some(id) = publish.packet_id else {
            return publish;
        };
        if publish.qos == Q1 {
            self.send(Packet::PubAck(Ack::success(id)));
        } else {
            self.send(Packet::PubRec(Ack::success(id)));
            self.comes(&Packet::PubRel(Ack::success(id)));
            self.send(Packet::PubComp(Ack::success(id)));
        }
        publish
    }

    pub fn disconnect(mut self) {
        self.send(Packet::Disconnect(Disconnect::default()));
        self.closed();
    }

    /// Ends without goodbye.
    pub fn vanish(self) {
        drop(self);
    }
}

/// Without what explains it.
fn bare(mut packet: Packet) -> Packet {
    match &mut packet {
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            ack.extras = None;
        }
        _ => {}
    }
    packet
}

pub fn topic(text: &str) -> TopicName {
    TopicName::parse(text.to_owned().into()).unwrap()
}

pub fn filter(text: &str) -> TopicFilter {
    TopicFilter::parse(text).unwrap()
}

pub fn subscription(text: &str, qos: QoS) -> Subscription {
    Subscription {
        filter: filter(text),
        qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Always,
        id: None,
    }
}

/// A PUBLISH without packet id.
pub fn publish(name: &str, payload: &str, qos: QoS) -> Publish {
    Publish {
        dup: false,
        qos,
        retain: false,
        packet_id: None,
        topic: (!name.is_empty()).then(|| topic(name)),
        topic_alias: None,
        message_expiry_s: None,
        subscription_ids: Vec::new(),
        properties: None,
        payload: payload.to_owned().into(),
    }
}

/// A retained one.
pub fn retained(name: &str, payload: &str, qos: QoS) -> Publish {
    let mut publish = publish(name, payload, qos);
    publish.retain = true;
    publish
}

pub fn will(name: &str, payload: &str, qos: QoS) -> Will {
    Will {
        publication: Publication {
            topic: topic(name),
            payload: payload.to_owned().into(),
            qos,
            retain: false,
            properties: None,
            expires: None,
            publisher: None,
        },
        delay: Duration::ZERO,
        message_expiry: None,
    }
}

/// A session that outlives its connection.
pub fn persistent(version: Version, id: &str) -> Connect {
    let mut connect = Connect::new(version, id.to_owned());
    connect.clean_start = false;
    connect.session_expiry_s = 3600;
    connect
}

/// The body of what a GET answers.
pub fn http_get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
