//! One connection that speaks MQTT: packets in, what they ask for, packets out.
//!
//! A link does one thing at a time: while it waits for the store (SUBSCRIBE) or for someone to say who the client is
//! (CONNECT), it reads nothing more. Only publications are pipelined; they are acknowledged in order, each when it is
//! on disk where that was promised.

use std::cell::{Cell, RefCell};
use std::num::NonZeroU32;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use crate::actors::topic::{self, About, Attached, Closing, Delivery, Leaving, Topics, WillFate};
use crate::auth::{Authenticator, Principal};
use crate::config::limits;
use crate::domain::{Clock, Timestamp};

use super::codec::{Decoder, Disconnect, Encoder, Packet, ReasonCode, Version, Violation};
use super::profile::{Deviation, Profile};
use super::transport::{Close, Gone, Outbox, Receive, Refused};

mod acks;
mod aliases;
mod connect;
mod publish;
mod send;
mod subscribe;
mod watch;

use acks::Exchanges;
use aliases::Aliases;
use send::Held;

/// Bounds and habits of MQTT connections.
#[derive(Debug, Clone)]
pub struct MqttSettings {
    /// Whose limits hold.
    pub profile: Profile,
    /// Largest packet that is read.
    pub max_packet_bytes: usize,
    /// How long a client may take until its CONNECT is there.
    pub connect_timeout: Duration,
    /// QoS 1 and 2 publications in flight, each way.
    pub max_in_flight: u16,
    /// Publications that wait in memory for a client's acknowledgements.
    pub max_waiting: usize,
    /// Their bytes.
    pub max_waiting_bytes: usize,
    /// Bytes of QoS 0 publications that wait for a client that does not read; beyond it the oldest are dropped.
    pub max_outbound_bytes: usize,
    /// How long a client may read nothing while something waits for it.
    pub slow_consumer_timeout: Duration,
    /// Longest keep alive.
    pub max_keep_alive: Duration,
    /// Topic aliases of a client, each way.
    pub max_topic_aliases: u16,
    /// Bytes of a client id.
    pub max_client_id_bytes: usize,
    /// Longest life of a session after its connection.
    pub max_session_expiry: Duration,
    /// Whether there are shared subscriptions.
    pub shared_subscriptions: bool,
}

/// What all links of the process share.
pub struct Mqtt {
    /// The topic actors.
    pub topics: Topics,
    /// Who may connect.
    pub authenticator: Arc<Authenticator>,
    /// Bounds.
    pub settings: MqttSettings,
    /// Time.
    pub clock: Clock,
}

/// A connection. Its transport drives it.
pub struct Link {
    mqtt: Arc<Mqtt>,
    outbox: Outbox,
    is_websocket: bool,
    me: Weak<Link>,
    phase: RefCell<Phase>,
    /// Bytes that make no whole packet yet, or that wait until the link is not busy.
    input: RefCell<BytesMut>,
    decoder: Cell<Decoder>,
    /// Whether something must be finished before the next packet is looked at.
    busy: Cell<bool>,
    /// Whether packets are being read from `input` right now, further up the stack.
    reading: Cell<bool>,
    /// Whether this client was told what AWS IoT Core would not take.
    linted: Cell<bool>,
    /// Whether somebody was asked whether the principal still is what it was.
    asking: Cell<bool>,
}

// With its counters, one of mimalloc's sizes, as for `Open`.
const _: () = assert!(size_of::<Link>() + 2 * size_of::<usize>() <= 128);

enum Phase {
    /// No CONNECT yet. Here is who was made out before it, from the signature of a WebSocket's URL.
    Waiting(Option<Arc<Principal>>),
    /// CONNECT is being decided.
    Connecting,
    /// Connected.
    Open(Box<Open>),
    /// It is over.
    Closed,
}

/// What a connected link has. There are many that do nothing: what they do not use is boxed, and made when it is used.
struct Open {
    encoder: Encoder,
    attached: Rc<Attached>,
    outgoing: topic::Outgoing,
    principal: Arc<Principal>,
    /// What [`Authenticator::version`] was when the principal was last looked at.
    principal_version: u64,
    /// Since when the client is connected.
    since: Timestamp,
    /// Keep Alive as the client asked for it.
    keep_alive_s: u16,
    /// How long nothing may be heard; `None`: for ever.
    patience_ms: Option<NonZeroU32>,
    aliases: Aliases,
    exchanges: Option<Box<Exchanges>>,
    held: Option<Box<Held>>,
}

// An allocator rounds up to a size of its own, and this is one of mimalloc's. Who has something to add here finds room in
// what is boxed, or asks whether every connection shall pay for it.
const _: () = assert!(size_of::<Open>() <= 128);

impl Open {
    fn version(&self) -> Version {
        self.encoder.version
    }

    fn exchanges(&mut self) -> &mut Exchanges {
        self.exchanges.get_or_insert_default()
    }
}

impl Link {
    /// A link on a connection. `admitted`: who was made out already.
    pub fn new(
        mqtt: Arc<Mqtt>,
        outbox: Outbox,
        is_websocket: bool,
        admitted: Option<Arc<Principal>>,
    ) -> Rc<Self> {
        let first = if admitted.is_some() {
            mqtt.settings.max_packet_bytes
        } else {
            limits::mqtt::PRE_AUTH_BYTES
        };
        outbox.set_alarm(Some(Instant::now() + mqtt.settings.connect_timeout));
        let link = Rc::new_cyclic(|me| Self {
            outbox,
            is_websocket,
            me: me.clone(),
            phase: RefCell::new(Phase::Waiting(admitted)),
            input: RefCell::default(),
            decoder: Cell::new(Decoder::awaiting_connect(first)),
            busy: Cell::new(false),
            reading: Cell::new(false),
            linted: Cell::new(false),
            asking: Cell::new(false),
            mqtt,
        });
        watch::watch(&link);
        link
    }

    fn me(&self) -> Rc<Self> {
        self.me.upgrade().expect("called on a link that is there")
    }

    /// Looks at the packets that are there, until one must be waited for.
    fn read(&self) {
        if self.reading.replace(true) {
            return;
        }
        while !self.busy.get() && self.outbox.is_heard() {
            let next = self.decoder.get().decode_from(&mut self.input.borrow_mut());
            match next {
                Ok(Some(packet)) => self.handle(packet),
                Ok(None) => break,
                Err(violation) => self.violated(violation),
            }
        }
        self.reading.set(false);
        self.pace();
        let mut input = self.input.borrow_mut();
        if input.is_empty() {
            // An idle connection keeps no buffer.
            *input = BytesMut::new();
        }
    }

    fn handle(&self, packet: Packet) {
        match packet {
            Packet::Connect(connect) => self.on_connect(*connect),
            Packet::Publish(publish) => self.on_publish(publish),
            Packet::PubAck(ack) => self.on_puback(&ack),
            Packet::PubRec(ack) => self.on_pubrec(&ack),
            Packet::PubRel(ack) => self.on_pubrel(&ack),
            Packet::PubComp(ack) => self.on_pubcomp(&ack),
            Packet::Subscribe(subscribe) => self.on_subscribe(subscribe),
            Packet::Unsubscribe(unsubscribe) => self.on_unsubscribe(unsubscribe),
            Packet::PingReq => self.send(&Packet::PingResp),
            Packet::Disconnect(disconnect) => self.on_disconnect(&disconnect),
            Packet::Auth(_) => self.end(
                ReasonCode::ProtocolError,
                "AUTH without an authentication method",
            ),
            // The decoder knows what a client may send.
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                self.end(ReasonCode::ProtocolError, "only a server sends this packet");
            }
        }
    }

    /// What was being waited for is done: on with the next packet.
    fn unbusy(&self) {
        self.busy.set(false);
        self.read();
    }

    /// Stops the socket's bytes while nothing is done with them: what is held here is then no more than one read.
    fn pace(&self) {
        let most = usize::from(self.mqtt.settings.max_in_flight);
        let is_full = self.open(|open| {
            let exchanges = open.exchanges.as_ref();
            exchanges.is_some_and(|exchanges| exchanges.acks.len() >= most)
                || open.attached.behind() >= limits::PUBLICATIONS_BEHIND
        });
        let is_full = is_full.unwrap_or(false);
        self.outbox.pause(self.busy.get() || is_full);
    }

    /// The client says goodbye.
    fn on_disconnect(&self, disconnect: &Disconnect) {
        let expiry = disconnect.session_expiry_s.map(connect::expiry);
        let is_v5 = self
            .open(|open| open.version() == Version::V5)
            .unwrap_or(false);
        if is_v5 && expiry.is_some_and(|new| new != Some(Duration::ZERO)) && self.is_clean() {
            // [MQTT-3.14.2-2] is about the server; 3.14.2.2.2 forbids it to the client.
            self.end(
                ReasonCode::ProtocolError,
                "a session that ends with its connection can not be prolonged",
            );
            return;
        }
        // Only a normal disconnection takes the will back (`[MQTT-3.14.4-3]`); 3.1.1 knows no other.
        let will = if disconnect.reason == ReasonCode::Success {
            WillFate::Discard
        } else {
            WillFate::Publish
        };
        let expiry = expiry.map(|expiry| self.mqtt.bounded(expiry));
        let leaving = Leaving {
            will,
            expiry,
            by_client: true,
            reason: "CLIENT_INITIATED_DISCONNECT",
        };
        self.leave(leaving);
        self.outbox.close(Close::Done);
    }

    fn is_clean(&self) -> bool {
        self.open(|open| !open.attached.is_durable())
            .unwrap_or(true)
    }

    /// A packet broke a rule.
    fn violated(&self, violation: Violation) {
        metrics::counter!("fanfare_mqtt_violations_total").increment(1);
        tracing::debug!(peer = ?self.outbox.peer(), %violation, statement = violation.statement(), "the connection ends");
        let reason = violation.reason();
        if !matches!(*self.phase.borrow(), Phase::Open(_)) {
            // Who can not be talked to gets no answer: before CONNECT the version is not known.
            if let Some(version) = violation
                .version
                .filter(|version| may_say(*version, reason))
            {
                self.refuse(Encoder::plain(version), reason, &violation.to_string());
            } else {
                self.leave(Leaving::lost("PROTOCOL_ERROR"));
                self.outbox.close(Close::Protocol);
            }
            return;
        }
        self.end(reason, &violation.to_string());
    }

    /// Ends the connection for a reason that a client of MQTT 5 is told.
    fn end(&self, reason: ReasonCode, why: &str) {
        self.end_with(reason, why, WillFate::Publish);
    }

    fn end_with(&self, reason: ReasonCode, why: &str, will: WillFate) {
        self.say_goodbye(reason, why);
        self.leave(Leaving {
            will,
            ..Leaving::lost(disconnect_reason(reason))
        });
        self.outbox.close(close(reason));
    }

    fn say_goodbye(&self, reason: ReasonCode, why: &str) {
        metrics::counter!("fanfare_mqtt_disconnects_total", "reason" => disconnect_reason(reason))
            .increment(1);
        tracing::debug!(peer = ?self.outbox.peer(), ?reason, why, "a connection is ended");
        let is_v5 = self
            .open(|open| open.version() == Version::V5)
            .unwrap_or(false);
        if is_v5 {
            let mut disconnect = Disconnect::new(reason);
            disconnect.extras = super::codec::Extras::reason(why);
            self.send(&Packet::Disconnect(disconnect));
        }
    }

    /// Lets go of the topics. The transport is still to be closed.
    fn leave(&self, leaving: Leaving) {
        let phase = self.phase.replace(Phase::Closed);
        if matches!(phase, Phase::Closed) {
            return;
        }
        // Nothing of it is looked at any more, and the client may take its time to go.
        drop(self.input.take());
        if let Phase::Open(mut open) = phase {
            open.attached.detach(leaving, Some(&mut open.outgoing));
        }
    }

    fn is_closed(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Closed)
    }

    /// Does something with a connected link; `None` if it is not, or not any more.
    fn open<T>(&self, work: impl FnOnce(&mut Open) -> T) -> Option<T> {
        match &mut *self.phase.borrow_mut() {
            Phase::Open(open) => Some(work(open)),
            _ => None,
        }
    }

    /// Tells the log, once for each client, what AWS IoT Core would not take; with its profile, that is an error.
    fn deviates(&self, checked: Result<(), Deviation>) -> Option<Deviation> {
        let deviation = checked.err()?;
        if self.mqtt.settings.profile == Profile::Aws {
            return Some(deviation);
        }
        if !self.linted.replace(true) {
            let client = self.open(|open| open.attached.client().clone());
            tracing::info!(
                ?client,
                what = deviation.what,
                "AWS IoT Core would not take this"
            );
        }
        None
    }
}

impl topic::Link for Link {
    fn deliver(&self, delivery: &Delivery) {
        self.on_delivery(delivery);
    }

    fn replay(&self, deliveries: Vec<Delivery>) {
        self.on_replay(deliveries);
    }

    fn close(&self, why: Closing) {
        match why {
            Closing::TakenOver => self.end(
                ReasonCode::SessionTakenOver,
                "another connection has the client id now",
            ),
            Closing::Administrative(will) => {
                self.say_goodbye(ReasonCode::AdministrativeAction, "ended over HTTP");
                self.leave(Leaving {
                    will,
                    ..Leaving::lost("API_INITIATED_DISCONNECT")
                });
                self.outbox.close(close(ReasonCode::AdministrativeAction));
            }
        }
    }

    fn about(&self) -> Option<About> {
        self.open(|open| About {
            peer: self.outbox.peer(),
            local: self.outbox.local(),
            keep_alive_s: open.keep_alive_s,
            since: open.since,
        })
    }
}

/// The transport's hold on a link.
pub struct Reader(pub Rc<Link>);

impl Receive for Reader {
    fn receive(&mut self, bytes: &[u8]) {
        self.0.input.borrow_mut().extend_from_slice(bytes);
        self.0.read();
    }

    /// The only thing that there is an alarm for.
    fn tick(&mut self, _: Instant) {
        self.0.connect_timed_out();
    }

    fn woken(&mut self) {
        self.0.pump();
    }

    fn drained(&mut self) {
        self.0.pump();
    }

    fn drain(&mut self) {
        self.0
            .end(ReasonCode::ServerShuttingDown, "the server is about to end");
    }

    fn gone(&mut self, why: Gone) {
        let reason = match why {
            Gone::Ended | Gone::Closed => "CONNECTION_LOST",
            Gone::Broken => "CLIENT_ERROR",
            Gone::Silent => "MQTT_KEEP_ALIVE_TIMEOUT",
        };
        self.0.leave(Leaving::lost(reason));
    }
}

/// Whether a client that is not connected can be told why. One of 3.1.1 whose CONNECT is no good gets no CONNACK
/// (`[MQTT-3.1.4-1]`), except for the two reasons that have a return code.
fn may_say(version: Version, reason: ReasonCode) -> bool {
    version == Version::V5
        || matches!(
            reason,
            ReasonCode::UnsupportedProtocolVersion | ReasonCode::ClientIdentifierNotValid
        )
}

/// As AWS IoT names it in its lifecycle events.
fn disconnect_reason(reason: ReasonCode) -> &'static str {
    match reason {
        ReasonCode::SessionTakenOver => "DUPLICATE_CLIENTID",
        ReasonCode::KeepAliveTimeout => "MQTT_KEEP_ALIVE_TIMEOUT",
        ReasonCode::NotAuthorized => "FORBIDDEN_ACCESS",
        ReasonCode::QuotaExceeded | ReasonCode::MessageRateTooHigh => "THROTTLED",
        ReasonCode::ServerShuttingDown | ReasonCode::AdministrativeAction => {
            "SERVER_INITIATED_DISCONNECT"
        }
        ReasonCode::UnspecifiedError | ReasonCode::ServerUnavailable => "SERVER_ERROR",
        _ => "CLIENT_ERROR",
    }
}

fn close(reason: ReasonCode) -> Close {
    match reason {
        ReasonCode::ServerShuttingDown | ReasonCode::ServerUnavailable => Close::GoingAway,
        ReasonCode::MalformedPacket | ReasonCode::ProtocolError => Close::Protocol,
        ReasonCode::PacketTooLarge => Close::TooBig,
        ReasonCode::UnspecifiedError => Close::Failed,
        ReasonCode::Success => Close::Done,
        _ => Close::Policy,
    }
}
