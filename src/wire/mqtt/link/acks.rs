//! Acknowledgements in the order in which what they answer was received (`[MQTT-4.6.0-2]`), each as soon as it may be sent.

use std::collections::VecDeque;

use super::super::codec::Packet;

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
