//! Acknowledgements in the order in which what they answer was received (`[MQTT-4.6.0-2]`), each as soon as it may be sent.

use std::collections::{HashSet, VecDeque};

use super::super::codec::Packet;

/// What is not done yet of the client's publications with QoS 1 and 2, and of its answers to those of QoS 2 that it gets.
#[derive(Debug, Default)]
pub(super) struct Exchanges {
    pub(super) acks: Acks,
    /// PUBREL in the order of the PUBRECs that they answer (`[MQTT-4.6.0-4]`).
    pub(super) releases: Acks,
    /// Publications of QoS 1 that were not answered, and of QoS 2 whose last answer is on its way: with `unreleased`, what
    /// counts against the Receive Maximum.
    pub(super) unanswered: usize,
    /// QoS 2 from the client: packet ids that were not released yet.
    pub(super) unreleased: HashSet<u16>,
}

/// The place of an acknowledgement that is still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(u64);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Acks {
    /// The place of the first.
    first: u64,
    waiting: VecDeque<Option<Packet>>,
}

impl Acks {
    /// Acknowledgements that are still to be sent.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Keeps a place for an acknowledgement.
    pub(super) fn promise(&mut self) -> Place {
        self.waiting.push_back(None);
        Place(self.first + self.waiting.len() as u64 - 1)
    }

    /// The acknowledgement of a place may be sent now.
    pub(super) fn ready(&mut self, Place(place): Place, packet: Packet) {
        let index = usize::try_from(place - self.first).expect("as many as are in memory");
        self.waiting[index] = Some(packet);
    }

    /// The next that may be sent, with all before it sent.
    pub(super) fn next(&mut self) -> Option<Packet> {
        let packet = self.waiting.front_mut()?.take()?;
        self.waiting.pop_front();
        self.first += 1;
        Some(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::codec::{Ack, PacketId};
    use super::*;

    fn ack(id: u16) -> Packet {
        Packet::PubAck(Ack::success(PacketId::new(id).unwrap()))
    }

    #[test]
    fn they_leave_in_order() {
        let mut acks = Acks::default();
        let (one, two, three) = (acks.promise(), acks.promise(), acks.promise());
        acks.ready(two, ack(2));
        assert_eq!(acks.next(), None);
        acks.ready(one, ack(1));
        assert_eq!(acks.next(), Some(ack(1)));
        assert_eq!(acks.next(), Some(ack(2)));
        assert_eq!(acks.next(), None);
        let four = acks.promise();
        acks.ready(four, ack(4));
        acks.ready(three, ack(3));
        assert_eq!(acks.next(), Some(ack(3)));
        assert_eq!(acks.next(), Some(ack(4)));
        assert_eq!(acks.len(), 0);
    }
}
