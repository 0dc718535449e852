//! Publications on their way to the broker, in order: those that wait, and those that were sent and are not acknowledged.
//! Pure: the [link](super::outbound) sends what this says.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::backends::aws::outbox::Held;
use crate::domain::StoreError;
use crate::domain::publication::{Publication, QoS};

/// A publication, and who waits for it.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) publication: Arc<Publication>,
    /// When patience ends.
    pub(super) until: Instant,
    /// Told once whether the broker has it; nobody is when that was said, or there was nothing to promise.
    pub(super) done: Option<oneshot::Sender<Result<(), StoreError>>>,
    /// Bytes that wait.
    pub(super) held: Option<Held>,
}

impl Letter {
    fn answer(&mut self, outcome: Result<(), StoreError>) {
        if let Some(done) = self.done.take() {
            // Whoever asked may have gone.
            let _ = done.send(outcome);
        }
    }
}

/// A place in the order of what takes a packet id on one connection.
type Place = u64;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Letters {
    waiting: VecDeque<Letter>,
    /// By place; `None`: something else that takes a packet id.
    sent: BTreeMap<Place, Option<Letter>>,
    /// Places whose packet id rumqttc has not said yet.
    unnamed: VecDeque<Place>,
    named: HashMap<u16, Place>,
    issued: Place,
    /// Packet ids that rumqttc goes through.
    ids: u64,
}

impl Letters {
    /// Puts one at the end.
    pub(super) fn push(&mut self, letter: Letter) {
        self.waiting.push_back(letter);
    }

    /// There is a new connection, which begins with the first packet id. What was sent on the last one and not
    /// acknowledged goes again, before everything else.
    pub(super) fn begin(&mut self, packet_ids: u16) {
        self.unnamed.clear();
        self.named.clear();
        let again = std::mem::take(&mut self.sent).into_values().flatten();
        let again: Vec<Letter> = again.filter(|letter| letter.done.is_some()).collect();
        for letter in again.into_iter().rev() {
            self.waiting.push_front(letter);
        }
        self.issued = 0;
        self.ids = packet_ids.into();
    }

    /// Whether another packet id may be taken. rumqttc gives them in turn, whether they are free or not: none may be
    /// taken as long as the one that it took a whole turn ago is not answered.
    pub(super) fn has_room(&self) -> bool {
        let oldest = self.sent.first_key_value().map(|(place, _)| *place);
        oldest.is_none_or(|oldest| self.issued - oldest < self.ids)
    }

    /// Something else takes a packet id; [`Letters::give_back`] when it is answered.
    pub(super) fn take_place(&mut self) -> Place {
        let place = self.issued;
        self.issued += 1;
        self.sent.insert(place, None);
        place
    }

    /// What took a packet id is answered.
    pub(super) fn give_back(&mut self, place: Place) {
        self.sent.remove(&place);
    }

    /// The next to be sent, if there is one and room for it.
    pub(super) fn next(&mut self) -> Option<Arc<Publication>> {
        let is_promised = self.waiting.front()?.publication.qos != QoS::AtMostOnce;
        if is_promised && !self.has_room() {
            return None;
        }
        let mut letter = self.waiting.pop_front()?;
        let publication = letter.publication.clone();
        if is_promised {
            let place = self.take_place();
            self.unnamed.push_back(place);
            self.sent.insert(place, Some(letter));
        } else {
            letter.answer(Ok(()));
        }
        Some(publication)
    }

    /// rumqttc has sent the next one under this packet id.
    pub(super) fn named(&mut self, id: u16) {
        if let Some(place) = self.unnamed.pop_front() {
            self.named.insert(id, place);
        }
    }

    /// The broker has answered for this packet id.
    pub(super) fn acknowledged(&mut self, id: u16, outcome: Result<(), String>) {
        let place = self.named.remove(&id);
        let letter = place.and_then(|place| self.sent.remove(&place)).flatten();
        if let Some(mut letter) = letter {
            let refused = |why| StoreError::Failed(format!("the broker refused: {why}"));
            letter.answer(outcome.map_err(refused));
        }
    }

    /// The first that waits can not be sent at all.
    pub(super) fn refuse_next(&mut self, error: StoreError) {
        if let Some(mut letter) = self.waiting.pop_front() {
            letter.answer(Err(error));
        }
    }

    /// The first that waits.
    pub(super) fn first(&self) -> Option<&Arc<Publication>> {
        self.waiting.front().map(|letter| &letter.publication)
    }

    /// Whether nobody waits for anything.
    pub(super) fn is_idle(&self) -> bool {
        let sent = self.sent.values().flatten();
        self.waiting.is_empty() && sent.filter(|letter| letter.done.is_some()).count() == 0
    }

    /// Lets those go whose patience has ended. One that was sent keeps its packet id, which the broker may still answer.
    pub(super) fn give_up(&mut self, now: Instant) {
        let over = |letter: &Letter| letter.until <= now;
        let sent = self.sent.values_mut().flatten();
        for letter in sent.filter(|letter| over(letter)) {
            letter.answer(Err(too_late()));
            letter.held = None;
        }
        // They are in order of their patience, as all have the same.
        while self.waiting.front().is_some_and(over) {
            if self.waiting[0].publication.qos == QoS::AtMostOnce {
                metrics::counter!("fanfare_mqtt_dropped_total", "reason" => "broker away")
                    .increment(1);
            }
            self.refuse_next(too_late());
        }
    }
}

/// What whoever waited too long is told.
pub(super) fn too_late() -> StoreError {
    StoreError::Unavailable("the broker of the topics did not answer in time".into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytestring::ByteString;

    use super::*;
    use crate::config::limits;
    use crate::domain::topic::TopicName;

    type Answer = oneshot::Receiver<Result<(), StoreError>>;

    fn push(letters: &mut Letters, payload: &'static str, qos: QoS) -> Answer {
        let (done, answer) = oneshot::channel();
        letters.push(Letter {
            publication: Arc::new(Publication {
                topic: TopicName::parse(ByteString::from("t")).unwrap(),
                payload: payload.into(),
                qos,
                retain: false,
                properties: None,
                expires: None,
                publisher: None,
            }),
            until: Instant::now() + Duration::from_secs(10),
            done: Some(done),
            held: None,
        });
        answer
    }

    fn next(letters: &mut Letters) -> Option<String> {
        let publication = letters.next()?;
        Some(String::from_utf8(publication.payload.to_vec()).unwrap())
    }

    #[test]
    fn no_packet_id_is_taken_again_before_it_is_answered() {
        let mut letters = Letters::default();
        letters.begin(3);
        let mut answers: Vec<_> = ["a", "b", "c", "d", "e"]
            .map(|payload| push(&mut letters, payload, QoS::AtLeastOnce))
            .into();
        for (id, payload) in [(1, "a"), (2, "b"), (3, "c")] {
            assert_eq!(next(&mut letters).as_deref(), Some(payload));
            letters.named(id);
        }
        assert_eq!(next(&mut letters), None, "three are out");
        letters.acknowledged(2, Ok(()));
        letters.acknowledged(3, Err("QuotaExceeded".into()));
        assert_eq!(
            next(&mut letters),
            None,
            "the next packet id would be the first one's"
        );
        assert_eq!(answers[1].try_recv().unwrap(), Ok(()));
        assert!(matches!(
            answers[2].try_recv().unwrap(),
            Err(StoreError::Failed(_))
        ));
        letters.acknowledged(1, Ok(()));
        let place = letters.take_place();
        assert_eq!(next(&mut letters).as_deref(), Some("d"));
        assert_eq!(next(&mut letters).as_deref(), Some("e"));
        assert!(!letters.has_room());
        letters.give_back(place);
        assert!(letters.has_room());
    }

    #[test]
    fn so_many_are_out_at_a_time() {
        let mut letters = Letters::default();
        letters.begin(limits::broker::PACKET_IDS);
        let _answers: Vec<_> = (0..=limits::broker::PACKET_IDS)
            .map(|_| push(&mut letters, "x", QoS::AtLeastOnce))
            .collect();
        let sent = std::iter::from_fn(|| letters.next()).count();
        assert_eq!(sent, usize::from(limits::broker::PACKET_IDS));
    }

    #[test]
    fn what_was_not_acknowledged_goes_again_first_and_in_order() {
        let mut letters = Letters::default();
        letters.begin(100);
        let mut first = push(&mut letters, "1", QoS::AtLeastOnce);
        let second = push(&mut letters, "2", QoS::AtLeastOnce);
        let third = push(&mut letters, "3", QoS::AtLeastOnce);
        let mut unpromised = push(&mut letters, "0", QoS::AtMostOnce);
        let _late = push(&mut letters, "4", QoS::AtLeastOnce);
        for _ in 0..4 {
            next(&mut letters).unwrap();
        }
        assert_eq!(unpromised.try_recv().unwrap(), Ok(()), "it is on its way");
        letters.named(1);
        letters.named(2);
        letters.acknowledged(1, Ok(()));
        assert_eq!(first.try_recv().unwrap(), Ok(()));
        letters.begin(100);
        let again: Vec<_> = std::iter::from_fn(|| next(&mut letters)).collect();
        assert_eq!(again, ["2", "3", "4"]);
        // Answers are for this connection's packet ids.
        letters.named(1);
        letters.acknowledged(2, Ok(()));
        drop((second, third));
        letters.acknowledged(1, Ok(()));
    }

    #[test]
    fn whose_patience_ends_is_told_and_not_sent_again() {
        let mut letters = Letters::default();
        letters.begin(10);
        let mut sent = push(&mut letters, "sent", QoS::AtLeastOnce);
        next(&mut letters).unwrap();
        let mut waiting = push(&mut letters, "waiting", QoS::AtLeastOnce);
        letters.give_up(Instant::now());
        assert!(sent.try_recv().is_err() && waiting.try_recv().is_err());
        letters.give_up(Instant::now() + Duration::from_secs(10));
        for answer in [&mut sent, &mut waiting] {
            assert_eq!(answer.try_recv().unwrap(), Err(too_late()));
        }
        letters.begin(10);
        assert_eq!(next(&mut letters), None);
    }
}
