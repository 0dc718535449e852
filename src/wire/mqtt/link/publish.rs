//! PUBLISH from the client, and the handshake of QoS 2 that follows.

use crate::actors::topic::{PublishError, Publishing};
use crate::domain::StoreError;
use crate::domain::publication::{Publication, Publisher, QoS};

use super::super::codec::{Ack, Extras, Packet, PacketId, Publish, ReasonCode, Version};
use super::super::profile;
use super::aliases::BadAlias;
use super::connect::{kept_reason, store_reason};
use super::{Link, watch};

impl Link {
    pub(super) fn on_publish(&self, publish: Publish) {
        watch::tally(|tally| tally.received += 1);
        if let Some(deviation) = self.deviates(profile::publish(&publish)) {
            self.end(deviation.reason, deviation.what);
            return;
        }
        let (qos, packet_id) = (publish.qos, publish.packet_id);
        if self.is_over_receive_maximum(qos, packet_id) {
            self.end(
                ReasonCode::ReceiveMaximumExceeded,
                "more publications in flight than were allowed",
            );
            return;
        }
        let is_valid = publish.has_valid_payload();
        let publication = match self.publication(publish) {
            Ok(publication) => publication,
            Err((reason, why)) => {
                self.end(reason, why);
                return;
            }
        };
        if !is_valid {
            let reason = ReasonCode::PayloadFormatInvalid;
            self.refuse_publication(qos, packet_id, reason, "the payload is not UTF-8");
            return;
        }
        match packet_id {
            Some(id) if qos == QoS::ExactlyOnce => self.publish_exactly_once(publication, id),
            packet_id => self.publish(publication, packet_id),
        }
    }

    /// A client of MQTT 5 was told how many may be in flight. One of 3.1.1 was not: it is read more slowly instead. What
    /// was sent before is not one more.
    fn is_over_receive_maximum(&self, qos: QoS, id: Option<PacketId>) -> bool {
        let most = usize::from(self.mqtt.settings.max_in_flight);
        let is_over = |open: &mut super::Open| {
            open.version() == Version::V5
                && open.exchanges.as_ref().is_some_and(|exchanges| {
                    exchanges.unanswered + exchanges.unreleased.len() >= most
                        && !id.is_some_and(|id| exchanges.unreleased.contains(&id.get()))
                })
        };
        qos != QoS::AtMostOnce && self.open(is_over).unwrap_or(false)
    }

    fn publication(&self, mut publish: Publish) -> Result<Publication, (ReasonCode, &'static str)> {
        let now = self.mqtt.clock.now();
        let resolved = self.open(|open| {
            let (name, alias) = (publish.topic.take(), publish.topic_alias);
            let topic = open.aliases.resolve(name, alias);
            let publisher = Publisher {
                client: Some(open.attached.client().clone()),
                principal: open.attached.principal().clone(),
            };
            (topic, publisher)
        });
        let closed = (ReasonCode::UnspecifiedError, "the connection is over");
        let (topic, publisher) = resolved.ok_or(closed)?;
        let topic = topic.map_err(|error| match error {
            BadAlias::TooHigh => (
                ReasonCode::TopicAliasInvalid,
                "the topic alias is above the maximum",
            ),
            BadAlias::Unknown => (ReasonCode::ProtocolError, "the topic alias was not set"),
        })?;
        Ok(publish.into_publication(topic, now, Some(publisher)))
    }

    fn publish(&self, publication: Publication, packet_id: Option<PacketId>) {
        let attached = self.open(|open| open.attached.clone());
        let Some(attached) = attached else { return };
        match attached.publish(publication, None) {
            Publishing::Done(outcome) => self.published(outcome, packet_id),
            Publishing::Waiting(waiting) => {
                let place = packet_id.and_then(|_| self.promise());
                let link = self.me();
                actix::spawn(async move {
                    let outcome = waiting.await;
                    let Some((place, packet_id)) = place.zip(packet_id) else {
                        link.published(outcome, None);
                        return;
                    };
                    match link.answer(outcome, packet_id, false) {
                        Some(packet) => link.acknowledge(place, packet),
                        None => link.give_up(),
                    }
                });
            }
        }
    }

    /// It is known what became of a publication of QoS 0 or 1.
    fn published(&self, outcome: Result<(), PublishError>, packet_id: Option<PacketId>) {
        let Some(packet_id) = packet_id else {
            if let Err(error) = outcome {
                self.log_refusal(&error);
                // There is no answer to QoS 0; who breaks the rules of its policy is disconnected, as by AWS IoT.
                if is_final(&error) {
                    self.end(reason(&error), &error.to_string());
                }
            }
            return;
        };
        let Some(place) = self.promise() else {
            return;
        };
        match self.answer(outcome, packet_id, false) {
            Some(packet) => self.acknowledge(place, packet),
            None => self.give_up(),
        }
    }

    /// The first half of QoS 2: the packet id is remembered, so that the same message is not published again.
    fn publish_exactly_once(&self, publication: Publication, id: PacketId) {
        let begun = self.open(|open| {
            let exchanges = open.exchanges();
            let is_new = exchanges.unreleased.insert(id.get());
            let place = exchanges.acks.promise();
            (open.attached.clone(), place, is_new)
        });
        let Some((attached, place, is_new)) = begun else {
            return;
        };
        if !is_new {
            // It was taken already (4.3.3, method A); the client missed the answer.
            self.acknowledge(place, Packet::PubRec(Ack::success(id)));
            return;
        }
        let publishing = attached.publish(publication, Some(id.get()));
        let link = self.me();
        let finish = move |outcome: Result<(), PublishError>| {
            if outcome.is_err() {
                link.open(|open| open.exchanges().unreleased.remove(&id.get()));
            }
            match link.answer(outcome, id, true) {
                Some(packet) => link.acknowledge(place, packet),
                None => link.give_up(),
            }
        };
        match publishing {
            Publishing::Done(outcome) => finish(outcome),
            Publishing::Waiting(waiting) => {
                actix::spawn(async move { finish(waiting.await) });
            }
        }
    }

    /// PUBREL: the packet id may be used again.
    pub(super) fn on_pubrel(&self, ack: &Ack) {
        let id = ack.packet_id;
        let released = self.open(|open| {
            let exchanges = open.exchanges();
            let known = exchanges.unreleased.remove(&id.get());
            exchanges.unanswered += 1;
            let place = exchanges.acks.promise();
            let stored = known.then(|| open.attached.release(id.get())).flatten();
            (known, stored, place)
        });
        let Some((known, stored, place)) = released else {
            return;
        };
        let reason = if known {
            ReasonCode::Success
        } else {
            ReasonCode::PacketIdentifierNotFound
        };
        let complete = Packet::PubComp(Ack::new(id, reason));
        let Some(stored) = stored else {
            self.acknowledge(place, complete);
            return;
        };
        let link = self.me();
        actix::spawn(async move {
            match stored.await {
                Ok(()) => link.acknowledge(place, complete),
                Err(error) => link.failed(&error),
            }
        });
    }

    /// What to answer to a publication of QoS 1 or 2; `None` if a client of 3.1.1 can not be told, and is disconnected.
    fn answer(
        &self,
        outcome: Result<(), PublishError>,
        packet_id: PacketId,
        exactly_once: bool,
    ) -> Option<Packet> {
        let version = self.open(|open| open.version()).unwrap_or(Version::V5);
        let mut ack = Ack::success(packet_id);
        if let Err(error) = &outcome {
            self.log_refusal(error);
            if version == Version::V311 {
                return None;
            }
            ack.reason = reason(error);
            ack.extras = Extras::reason(error.to_string());
        }
        Some(if exactly_once {
            Packet::PubRec(ack)
        } else {
            Packet::PubAck(ack)
        })
    }

    /// A publication is refused before it was looked at.
    fn refuse_publication(
        &self,
        qos: QoS,
        packet_id: Option<PacketId>,
        reason: ReasonCode,
        why: &str,
    ) {
        let Some(id) = packet_id else {
            self.end(reason, why);
            return;
        };
        let mut ack = Ack::new(id, reason);
        ack.extras = Extras::reason(why);
        let (place, packet) = if qos == QoS::ExactlyOnce {
            let place = self.open(|open| open.exchanges().acks.promise());
            (place, Packet::PubRec(ack))
        } else {
            (self.promise(), Packet::PubAck(ack))
        };
        if let Some(place) = place {
            self.acknowledge(place, packet);
        }
    }

    /// Keeps a place for the answer to a publication of QoS 1.
    fn promise(&self) -> Option<super::acks::Place> {
        self.open(|open| {
            let exchanges = open.exchanges();
            exchanges.unanswered += 1;
            exchanges.acks.promise()
        })
    }

    /// An acknowledgement may be sent, after those that are due before it.
    fn acknowledge(&self, place: super::acks::Place, packet: Packet) {
        let ready = self.open(|open| {
            let exchanges = open.exchanges();
            exchanges.acks.ready(place, packet);
            let ready: Vec<_> = std::iter::from_fn(|| exchanges.acks.next()).collect();
            let last = ready.iter().filter(|packet| is_last(packet));
            exchanges.unanswered -= last.count();
            ready
        });
        for packet in ready.into_iter().flatten() {
            self.send(&packet);
        }
        // The client may have been held back for too many of them.
        self.pace();
    }

    /// The publication was refused, and MQTT 3.1.1 has no way to say so: the client finds out by the missing
    /// acknowledgement (3.3.5, `[MQTT-3.3.5-2]`).
    fn give_up(&self) {
        self.end(ReasonCode::UnspecifiedError, "a publication was refused");
    }

    pub(super) fn failed(&self, error: &StoreError) {
        tracing::warn!(%error, "a connection ends with the store's trouble");
        self.end(store_reason(error), "the store is in trouble");
    }

    fn log_refusal(&self, error: &PublishError) {
        metrics::counter!("fanfare_mqtt_refused_total", "reason" => "publish").increment(1);
        let client = self.open(|open| open.attached.client().clone());
        tracing::info!(?client, %error, "a publication was refused");
    }
}

/// Whether an answer ends what it belongs to. A PUBREC's publication is among those not released instead.
fn is_last(packet: &Packet) -> bool {
    matches!(packet, Packet::PubAck(_) | Packet::PubComp(_))
}

/// Whether the same can never be published by this client: its policy or the topic says no.
fn is_final(error: &PublishError) -> bool {
    matches!(
        error,
        PublishError::NotAllowed(_) | PublishError::Reserved | PublishError::NotARoom(_)
    )
}

fn reason(error: &PublishError) -> ReasonCode {
    match error {
        PublishError::NotARoom(_) => ReasonCode::TopicNameInvalid,
        PublishError::Malformed(_) => ReasonCode::PayloadFormatInvalid,
        PublishError::NotNow(_) => ReasonCode::ImplementationSpecificError,
        PublishError::NotAllowed(_) => ReasonCode::NotAuthorized,
        PublishError::Reserved => ReasonCode::TopicNameInvalid,
        PublishError::QuotaExceeded(_) => ReasonCode::QuotaExceeded,
        PublishError::Store(error) => kept_reason(error),
    }
}
