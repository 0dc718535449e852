//! What goes to the client: publications as fast as it takes them, answers at once.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::num::NonZeroU16;

use bytes::{Bytes, BytesMut};

use crate::actors::topic::{Delivery, Received, Sending};
use crate::config::limits::rooms::REPLAYED;
use crate::domain::publication::{Publication, QoS};
use crate::domain::{StoreError, Timestamp};

use super::super::codec::{Ack, Encoder, Packet, PacketId, PublishHead, ReasonCode, Version};
use super::aliases::Aliases;
use super::{Link, Open, Refused, watch};

thread_local! {
    /// Where packets are written before the transport has them; one for all connections of a worker.
    static SCRATCH: RefCell<BytesMut> = RefCell::default();
}

/// Bytes that may wait in the outbox before publications wait here instead. With the largest packet on top, there is always
/// room.
const HIGH_WATER: usize = 128 * 1024;

/// Publications that wait until the client reads: live ones of QoS 0, of which the oldest are dropped when there are too
/// many, and retained ones.
#[derive(Debug, Default)]
pub(super) struct Held {
    live: VecDeque<Delivery>,
    live_bytes: usize,
    retained: VecDeque<Delivery>,
    /// What was asked for of a room's history, and what came live since: none of it may be dropped, and it has an order.
    replay: VecDeque<Delivery>,
}

impl Held {
    fn is_empty(&self) -> bool {
        self.live.is_empty() && self.retained.is_empty() && self.replay.is_empty()
    }

    /// Whether something that comes live has to wait for what was asked for of a room's history. What comes from a session's
    /// queue has an order of its own.
    fn goes_after(&self, delivery: &Delivery) -> bool {
        !self.replay.is_empty() && delivery.ordinal.is_none() && delivery.receipt.is_none()
    }

    /// Keeps a live publication; says how many older ones had to go for it.
    fn push(&mut self, delivery: Delivery, most_bytes: usize) -> u64 {
        self.live_bytes += size(&delivery);
        self.live.push_back(delivery);
        let mut dropped = 0;
        while self.live_bytes > most_bytes {
            let Some(oldest) = self.live.pop_front() else {
                break;
            };
            self.live_bytes -= size(&oldest);
            dropped += 1;
        }
        dropped
    }

    fn pop_live(&mut self) -> Option<Delivery> {
        let delivery = self.live.pop_front()?;
        self.live_bytes -= size(&delivery);
        Some(delivery)
    }
}

impl Open {
    /// What holds nothing has no memory.
    fn forget_held(&mut self) {
        if self.held.as_ref().is_some_and(|held| held.is_empty()) {
            self.held = None;
        }
    }
}

fn size(delivery: &Delivery) -> usize {
    let publication = &delivery.fan.publication;
    publication.topic.as_str().len() + publication.payload.len() + 64
}

/// Which of the shared frames a version reads.
const fn format(version: Version) -> usize {
    match version {
        Version::V311 => 0,
        Version::V5 => 1,
    }
}

impl Link {
    /// Sends a packet that answers something.
    pub(super) fn send(&self, packet: &Packet) {
        if let Some(encoder) = self.open(|open| open.encoder) {
            self.send_with(&encoder, packet);
        }
    }

    pub(super) fn send_with(&self, encoder: &Encoder, packet: &Packet) {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.clear();
            // An answer that is too large for the client is not sent (`[MQTT-3.1.2-25]`).
            if encoder.encode(packet, scratch).is_ok()
                && self.outbox.push(scratch) == Err(Refused::Full)
            {
                // Not even answers are read: nothing can be said to such a client.
                metrics::counter!("fanfare_mqtt_dropped_total", "reason" => "slow consumer")
                    .increment(1);
                self.outbox.cut();
            }
        });
    }

    /// Whether publications may be written now. If not, [`Link::pump`] is called when they may.
    fn may_write(&self) -> bool {
        if self.outbox.is_blocked() {
            return false;
        }
        let may = self.outbox.pending_bytes() < HIGH_WATER;
        if !may {
            self.outbox.wake();
        }
        may
    }

    /// The topics have something for the client.
    pub(super) fn on_delivery(&self, delivery: &Delivery) {
        if delivery.qos == QoS::AtMostOnce {
            self.deliver_at_most_once(delivery);
            return;
        }
        let goes_after = |open: &Open| open.held.as_ref().is_some_and(|h| h.goes_after(delivery));
        let offered = self.open(|open| match goes_after(open) {
            true => None,
            false => Some(open.outgoing.offer(delivery)),
        });
        match offered {
            Some(Some(Ok(()))) => self.pump(),
            Some(Some(Err(_))) => self.overflow("too many publications wait for acknowledgements"),
            Some(None) => self.on_replay(vec![delivery.clone()]),
            None => {}
        }
    }

    fn deliver_at_most_once(&self, delivery: &Delivery) {
        let most = self.mqtt.settings.max_outbound_bytes;
        let goes_after = self.open(|open| {
            if open.held.is_some() || !self.may_write() {
                let held = open.held.get_or_insert_default();
                if held.goes_after(delivery) {
                    return true;
                }
                let dropped = held.push(delivery.clone(), most);
                open.forget_held();
                watch::tally(|tally| tally.dropped += dropped);
                return false;
            }
            self.write(open, delivery, None, false);
            false
        });
        if goes_after == Some(true) {
            self.on_replay(vec![delivery.clone()]);
        }
    }

    /// Retained messages are sent as the client takes them: there may be many.
    /// Who asks for more before it has taken what it asked for gets nothing any more: memory must not grow with that.
    pub(super) fn keep_for_later(&self, retained: impl Iterator<Item = Delivery>) {
        let most = self.mqtt.settings.max_waiting;
        let mut retained = retained.peekable();
        if retained.peek().is_none() {
            return;
        }
        let is_too_much = self.open(|open| {
            let held = open.held.get_or_insert_default();
            let before = held.retained.len();
            held.retained.extend(retained);
            before > most
        });
        if is_too_much == Some(true) {
            self.overflow("too many retained messages wait for the client");
        }
    }

    /// The topics have something that the client asked for at once. It is sent as the client takes it, and what comes live
    /// goes after it.
    pub(super) fn on_replay(&self, deliveries: Vec<Delivery>) {
        let most = self.mqtt.settings.max_waiting + REPLAYED as usize + 1;
        let is_too_much = self.open(|open| {
            let held = open.held.get_or_insert_default();
            held.replay.extend(deliveries);
            held.replay.len() > most
        });
        match is_too_much {
            Some(true) => self.overflow("too many publications wait for the client"),
            Some(false) => self.pump(),
            None => {}
        }
    }

    /// More would wait than may.
    fn overflow(&self, why: &str) {
        metrics::counter!("fanfare_mqtt_dropped_total", "reason" => "slow consumer").increment(1);
        self.end(ReasonCode::QuotaExceeded, why);
    }

    /// Sends what waits, as far as the client takes it.
    pub(super) fn pump(&self) {
        let result = self.open(|open| {
            // What was retained is older than what came since.
            self.pump_kept(open, |held| &mut held.retained)?;
            self.pump_kept(open, |held| &mut held.replay)?;
            while self.may_write() {
                let Some(delivery) = open.held.as_mut().and_then(|held| held.pop_live()) else {
                    break;
                };
                self.write_alive(open, &delivery);
            }
            open.forget_held();
            while self.may_write() {
                match open.outgoing.next_sending()? {
                    Some(sending) => self.write_sending(open, &sending),
                    None => break,
                }
            }
            Ok(())
        });
        if let Some(Err(error)) = result {
            self.failed(&error);
        }
    }

    /// Sends what was kept for the client before it came, as far as it takes it.
    fn pump_kept(
        &self,
        open: &mut Open,
        kept: fn(&mut Held) -> &mut VecDeque<Delivery>,
    ) -> Result<(), StoreError> {
        while self.may_write() {
            let Some(retained) = open.held.as_mut().map(|held| kept(held)) else {
                break;
            };
            let Some(first) = retained.front() else {
                break;
            };
            if first.qos != QoS::AtMostOnce && !open.outgoing.has_room() {
                break;
            }
            let delivery = retained.pop_front().expect("looked at before");
            if delivery.qos == QoS::AtMostOnce {
                self.write_alive(open, &delivery);
            } else {
                // There is room: it was just looked at.
                let _ = open.outgoing.offer(&delivery);
                if let Some(sending) = open.outgoing.next_sending()? {
                    self.write_sending(open, &sending);
                }
            }
        }
        Ok(())
    }

    /// Writes a publication of QoS 0 that had to wait, unless it has expired meanwhile (`[MQTT-3.3.2-5]`).
    fn write_alive(&self, open: &mut Open, delivery: &Delivery) {
        let expires = delivery.fan.publication.expires;
        if expires.is_none_or(|expires| expires > self.mqtt.clock.now()) {
            self.write(open, delivery, None, false);
        }
    }

    fn write_sending(&self, open: &mut Open, sending: &Sending) {
        match sending {
            Sending::Publish {
                packet_id,
                dup,
                delivery,
            } => {
                let written = self.write(open, delivery, PacketId::new(*packet_id), *dup);
                if !written {
                    // Too large for the client: as if it had been delivered (`[MQTT-3.1.2-25]`).
                    let _ =
                        open.outgoing.acknowledged(*packet_id) || open.outgoing.refused(*packet_id);
                }
            }
            Sending::Release { packet_id } => {
                let id = PacketId::new(*packet_id).expect("packet ids begin at 1");
                self.send_with(&open.encoder, &Packet::PubRel(Ack::success(id)));
            }
        }
    }

    /// Writes a publication; `false` if it is larger than the client takes.
    fn write(
        &self,
        open: &mut Open,
        delivery: &Delivery,
        packet_id: Option<PacketId>,
        dup: bool,
    ) -> bool {
        let clock = self.mqtt.clock;
        let publication = &delivery.fan.publication;
        let is_plain = delivery.qos == QoS::AtMostOnce
            && !delivery.retain
            && delivery.ids.is_empty()
            // The rest of its time is different whenever it is sent (`[MQTT-3.3.2-6]`).
            && publication.expires.is_none()
            && !open.aliases.are_sent();
        if is_plain {
            let version = open.version();
            let encode = |publication: &Publication| frame(publication, clock.now(), version);
            let frame = delivery.fan.frame(format(version), encode);
            if frame.is_empty() || frame.len() > open.encoder.max_bytes {
                return false;
            }
            // There is room, or the connection is over.
            let _ = self.outbox.push_shared(frame);
            watch::tally(|tally| tally.sent += 1);
            return true;
        }
        let mut head = PublishHead::new(publication, clock.now());
        head.dup = dup;
        head.qos = delivery.qos;
        head.retain = delivery.retain;
        head.packet_id = packet_id;
        let version = open.version();
        if version == Version::V5 {
            head.subscription_ids = &delivery.ids;
            (head.topic, head.topic_alias) = alias(&mut open.aliases, publication);
        }
        let tells_alias = head.topic_alias.is_some() && !head.topic.is_empty();
        let written = SCRATCH.with_borrow_mut(|scratch| {
            scratch.clear();
            let payload = &publication.payload;
            let encoded = head.encode_head(version, payload.len(), scratch);
            if encoded.is_err() || scratch.len() + payload.len() > open.encoder.max_bytes {
                return false;
            }
            let _ = self.outbox.push(scratch);
            let _ = self.outbox.push_shared(payload);
            watch::tally(|tally| tally.sent += 1);
            true
        });
        if !written && tells_alias {
            open.aliases.forget(&publication.topic);
        }
        written
    }

    pub(super) fn on_puback(&self, ack: &Ack) {
        // Whatever the reason code says: the client has answered, and is not asked again.
        self.open(|open| open.outgoing.acknowledged(ack.packet_id.get()));
        self.pump();
    }

    pub(super) fn on_pubrec(&self, ack: &Ack) {
        let id = ack.packet_id;
        if ack.reason.is_error() {
            self.open(|open| open.outgoing.refused(id.get()));
            self.pump();
            return;
        }
        let release = move |reason| Packet::PubRel(Ack::new(id, reason));
        let received = self.open(|open| {
            let received = open.outgoing.received(id.get());
            (received, open.exchanges().releases.promise())
        });
        let Some((received, place)) = received else {
            return;
        };
        match received {
            Some(Received::Now) => self.release(place, release(ReasonCode::Success)),
            Some(Received::Stored(stored)) => {
                let link = self.me();
                actix::spawn(async move {
                    match stored.await {
                        Ok(()) => link.release(place, release(ReasonCode::Success)),
                        Err(error) => link.failed(&error),
                    }
                });
            }
            None => self.release(place, release(ReasonCode::PacketIdentifierNotFound)),
        }
    }

    /// PUBREL may be sent, after those that are due before it.
    fn release(&self, place: super::acks::Place, packet: Packet) {
        let ready = self.open(|open| {
            let releases = &mut open.exchanges().releases;
            releases.ready(place, packet);
            std::iter::from_fn(|| releases.next()).collect::<Vec<_>>()
        });
        for packet in ready.into_iter().flatten() {
            self.send(&packet);
        }
    }

    pub(super) fn on_pubcomp(&self, ack: &Ack) {
        self.open(|open| open.outgoing.completed(ack.packet_id.get()));
        self.pump();
    }
}

/// A whole packet of QoS 0; empty if it is larger than MQTT allows.
fn frame(publication: &Publication, now: Timestamp, version: Version) -> Bytes {
    let head = PublishHead::new(publication, now);
    head.encode(version, &publication.payload)
        .unwrap_or_default()
}

/// The topic as it is sent, and its alias.
fn alias<'a>(aliases: &mut Aliases, publication: &'a Publication) -> (&'a str, Option<NonZeroU16>) {
    let topic = publication.topic.as_str();
    match aliases.of(&publication.topic) {
        Some((alias, true)) => ("", Some(alias)),
        Some((alias, false)) => (topic, Some(alias)),
        None => (topic, None),
    }
}
