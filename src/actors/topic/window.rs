//! What has been sent to a client with quality of service 1 or 2 and not yet acknowledged, and what waits for its turn.
//! Pure: no clock, no store, no wire.

use std::collections::VecDeque;

use super::fan::Delivery;
use crate::domain::Timestamp;
use crate::domain::publication::{Ordinal, QoS};

/// Packet ids of messages from a durable queue are 1 to this, by their place in it, so that they are the same after
/// the client or the server has been away; others' are above.
const DURABLE_IDS: u16 = 32_767;

/// Bounds of a [`Window`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowLimits {
    /// Messages in flight: the lesser of the client's Receive Maximum and the server's own bound.
    pub in_flight: u16,
    /// Messages that may wait in memory.
    pub waiting: usize,
    /// Bytes that may wait in memory.
    pub waiting_bytes: usize,
}

/// More would wait than may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overflow;

/// The window of one connection.
#[derive(Debug)]
pub(super) struct Window {
    limits: WindowLimits,
    in_flight: VecDeque<InFlight>,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    next_id: u16,
}

#[derive(Debug)]
struct InFlight {
    packet_id: u16,
    delivery: Delivery,
    /// QoS 2: PUBREC came, PUBREL was sent.
    released: bool,
}

#[derive(Debug)]
struct Waiting {
    delivery: Delivery,
    again: Again,
}

/// What is known of earlier attempts to send a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// None was made.
    No,
    /// It may have been sent before.
    Duplicate,
    /// It was sent before; that it has expired since does not matter (`[MQTT-4.3.3-7]`).
    Sent,
    /// QoS 2: the client has it, only PUBREL is to be sent.
    Release,
}

/// What is to be sent next.
#[derive(Debug, Clone)]
pub enum Sending {
    /// PUBLISH.
    Publish {
        /// Its packet id.
        packet_id: u16,
        /// Whether it may have been sent before.
        dup: bool,
        /// What and how.
        delivery: Delivery,
    },
    /// PUBREL.
    Release {
        /// Its packet id.
        packet_id: u16,
    },
}

impl Window {
    pub(super) fn new(limits: WindowLimits) -> Self {
        Self {
            limits,
            in_flight: VecDeque::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            next_id: 0,
        }
    }

    /// How many more may be in flight or wait for it, before memory is used for nothing.
    pub(super) fn room(&self) -> usize {
        usize::from(self.limits.in_flight).saturating_sub(self.in_flight.len() + self.waiting.len())
    }

    /// Whether nothing waits.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Messages in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Puts a message at the end of the line.
    pub(super) fn push(&mut self, delivery: Delivery, again: Again) -> Result<(), Overflow> {
        let bytes = size(&delivery);
        // One message always finds room: a client that takes it is not slow.
        if self.waiting.len() >= self.limits.waiting
            || !self.waiting.is_empty() && self.waiting_bytes + bytes > self.limits.waiting_bytes
        {
            return Err(Overflow);
        }
        self.waiting_bytes += bytes;
        self.waiting.push_back(Waiting { delivery, again });
        Ok(())
    }

    /// Takes the next message that may be sent. Those that `wanted` does not want any more are handed to `dropped`.
    pub(super) fn next(
        &mut self,
        mut wanted: impl FnMut(&Delivery, Again) -> bool,
        mut dropped: impl FnMut(Delivery),
    ) -> Option<Sending> {
        while self.in_flight.len() < usize::from(self.limits.in_flight) {
            let first = self.waiting.front()?;
            if first.again != Again::Release && !wanted(&first.delivery, first.again) {
                let waiting = self.take_first();
                dropped(waiting.delivery);
                continue;
            }
            let packet_id = self.packet_id(first.delivery.ordinal)?;
            let Waiting { delivery, again } = self.take_first();
            let released = again == Again::Release;
            self.in_flight.push_back(InFlight {
                packet_id,
                delivery: delivery.clone(),
                released,
            });
            return Some(if released {
                Sending::Release { packet_id }
            } else {
                Sending::Publish {
                    packet_id,
                    dup: again != Again::No,
                    delivery,
                }
            });
        }
        None
    }

    fn take_first(&mut self) -> Waiting {
        let waiting = self.waiting.pop_front().expect("looked at before");
        self.waiting_bytes -= size(&waiting.delivery);
        waiting
    }

    /// A packet id that is not in use; `None` if the one that belongs to the place in the queue still is.
    fn packet_id(&mut self, ordinal: Option<Ordinal>) -> Option<u16> {
        if let Some(Ordinal(ordinal)) = ordinal {
            let id = u16::try_from(ordinal % u64::from(DURABLE_IDS)).expect("below it") + 1;
            return (!self.uses(id)).then_some(id);
        }
        // There are more ids than messages in flight: one is free.
        loop {
            let id = DURABLE_IDS + 1 + self.next_id;
            self.next_id = (self.next_id + 1) % (u16::MAX - DURABLE_IDS);
            if !self.uses(id) {
                return Some(id);
            }
        }
    }

    fn uses(&self, id: u16) -> bool {
        self.in_flight.iter().any(|sent| sent.packet_id == id)
    }

    fn take(&mut self, is_it: impl Fn(&InFlight) -> bool) -> Option<Delivery> {
        let place = self.in_flight.iter().position(is_it)?;
        let sent = self.in_flight.remove(place).expect("just found");
        Some(sent.delivery)
    }

    /// PUBACK: the message is done. `None` if none of QoS 1 has this id.
    pub(super) fn acknowledged(&mut self, packet_id: u16) -> Option<Delivery> {
        self.take(|sent| sent.packet_id == packet_id && sent.delivery.qos == QoS::AtLeastOnce)
    }

    /// PUBREC without an error: the client has the message, PUBREL is next. `None` if none of QoS 2 has this id.
    pub(super) fn received(&mut self, packet_id: u16) -> Option<&Delivery> {
        let sent = self
            .in_flight
            .iter_mut()
            .find(|sent| sent.packet_id == packet_id && sent.delivery.qos == QoS::ExactlyOnce)?;
        sent.released = true;
        Some(&sent.delivery)
    }

    /// PUBREC with an error: the client does not want the message, and that is the end of it.
    pub(super) fn refused(&mut self, packet_id: u16) -> Option<Delivery> {
        self.take(|sent| {
            sent.packet_id == packet_id && !sent.released && sent.delivery.qos == QoS::ExactlyOnce
        })
    }

    /// PUBCOMP: the message is done. `None` if none that was released has this id.
    pub(super) fn completed(&mut self, packet_id: u16) -> Option<Delivery> {
        self.take(|sent| sent.packet_id == packet_id && sent.released)
    }
}

fn size(delivery: &Delivery) -> usize {
    let publication = &delivery.fan.publication;
    publication.topic.as_str().len() + publication.payload.len() + 64
}

/// Whether a message is still worth sending.
pub(super) fn is_alive(delivery: &Delivery, now: Timestamp) -> bool {
    let expires = delivery.fan.publication.expires;
    expires.is_none_or(|expires| expires > now)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::fan::Fan;
    use super::super::testing::publication;
    use super::*;

    const LIMITS: WindowLimits = WindowLimits {
        in_flight: 2,
        waiting: 4,
        waiting_bytes: 300,
    };

    fn delivery(payload: &str, qos: QoS, ordinal: Option<u64>) -> Delivery {
        Delivery {
            fan: Fan::new(Arc::new(publication("t", payload))),
            qos,
            retain: false,
            ids: [].into(),
            ordinal: ordinal.map(Ordinal),
            receipt: None,
        }
    }

    fn live(payload: &str) -> Delivery {
        delivery(payload, QoS::AtLeastOnce, None)
    }

    fn next(window: &mut Window) -> Option<(u16, bool, String)> {
        match window.next(|_, _| true, |_| unreachable!())? {
            Sending::Publish {
                packet_id,
                dup,
                delivery,
            } => {
                let payload = delivery.fan.publication.payload.to_vec();
                Some((packet_id, dup, String::from_utf8(payload).unwrap()))
            }
            Sending::Release { packet_id } => Some((packet_id, false, "release".to_owned())),
        }
    }

    #[test]
    fn no_more_are_in_flight_than_the_client_takes() {
        let mut window = Window::new(LIMITS);
        for payload in ["1", "2", "3"] {
            window.push(live(payload), Again::No).unwrap();
        }
        let (first, _, _) = next(&mut window).unwrap();
        let (second, _, _) = next(&mut window).unwrap();
        assert_ne!(first, second);
        assert_eq!(next(&mut window), None);
        assert!(window.acknowledged(9).is_none());
        assert!(window.acknowledged(second).is_some());
        assert!(window.acknowledged(second).is_none());
        assert_eq!(next(&mut window).unwrap().2, "3");
        assert_eq!(window.in_flight(), 2);
    }

    #[test]
    fn what_waits_is_bounded_by_number_and_bytes() {
        let mut window = Window::new(LIMITS);
        for payload in ["1", "2", "3", "4"] {
            window.push(live(payload), Again::No).unwrap();
        }
        assert_eq!(window.push(live("5"), Again::No), Err(Overflow));
        let mut window = Window::new(LIMITS);
        window.push(live(&"x".repeat(1000)), Again::No).unwrap();
        assert_eq!(window.push(live("2"), Again::No), Err(Overflow), "bytes");
        next(&mut window).unwrap();
        window.push(live("2"), Again::No).unwrap();
    }

    #[test]
    fn exactly_once_has_two_steps() {
        let mut window = Window::new(LIMITS);
        let two = delivery("2", QoS::ExactlyOnce, None);
        window.push(two.clone(), Again::No).unwrap();
        window.push(two, Again::No).unwrap();
        let (first, _, _) = next(&mut window).unwrap();
        let (second, _, _) = next(&mut window).unwrap();
        assert!(window.acknowledged(first).is_none(), "PUBACK is for QoS 1");
        assert!(window.completed(first).is_none(), "PUBREC comes first");
        assert!(window.received(first).is_some());
        assert!(window.received(first).is_some(), "PUBREC may come again");
        assert!(window.refused(first).is_none(), "it was received already");
        assert!(window.completed(first).is_some());
        assert!(window.received(first).is_none());
        assert!(window.refused(second).is_some());
        assert_eq!(window.in_flight(), 0);
    }

    #[test]
    fn a_place_in_the_queue_keeps_its_packet_id() {
        let mut window = Window::new(LIMITS);
        let durable = |ordinal| delivery("d", QoS::ExactlyOnce, Some(ordinal));
        window.push(durable(4), Again::Duplicate).unwrap();
        window.push(durable(4 + 32_767), Again::No).unwrap();
        assert_eq!(next(&mut window).unwrap(), (5, true, "d".to_owned()));
        assert_eq!(next(&mut window), None, "its id is in use");
        window.received(5).unwrap();
        window.completed(5).unwrap();
        assert_eq!(next(&mut window).unwrap().0, 5);
        let mut window = Window::new(LIMITS);
        window.push(durable(4), Again::Release).unwrap();
        assert_eq!(next(&mut window).unwrap(), (5, false, "release".to_owned()));
        assert!(window.completed(5).is_some());
    }

    #[test]
    fn live_ids_are_apart_from_durable_ones_and_not_in_use() {
        let mut window = Window::new(LIMITS);
        window.push(live("0"), Again::No).unwrap();
        let (kept, _, _) = next(&mut window).unwrap();
        for _ in 0..40_000 {
            window.push(live("x"), Again::No).unwrap();
            let (id, _, _) = next(&mut window).unwrap();
            assert!(id > DURABLE_IDS && id != kept);
            window.acknowledged(id).unwrap();
        }
    }

    #[test]
    fn what_is_not_wanted_any_more_is_dropped() {
        let mut window = Window::new(LIMITS);
        window.push(live("old"), Again::No).unwrap();
        window.push(live("new"), Again::No).unwrap();
        let mut dropped = 0;
        let wanted = |delivery: &Delivery, _| &delivery.fan.publication.payload[..] == b"new";
        assert!(window.next(wanted, |_| dropped += 1).is_some());
        assert_eq!(dropped, 1);
        assert_eq!((window.in_flight(), window.is_idle()), (1, true));
    }
}
