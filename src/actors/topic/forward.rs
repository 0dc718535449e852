//! The way from one worker's shard to the others: in the order of publication, and bounded when the other worker does not
//! keep up.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use actix::dev::SendError;

use super::fan::Fan;
use super::messages::Parcel;
use super::shard::{Place, Shard, ShardHandle};
use crate::config::limits;

/// What is on its way to other shards.
#[derive(Default)]
pub(super) struct Forwarder {
    /// Publications for all of them, sent together at the end of the current turn of the event loop.
    outgoing: RefCell<Vec<Arc<Fan>>>,
    /// What waits for room in a shard's mailbox. As long as there is an entry, what is newer waits behind it: otherwise a
    /// publication could overtake an earlier one of the same publisher (`[MQTT-4.6.0-6]`).
    backlogs: RefCell<HashMap<Place, Backlog>>,
}

#[derive(Default)]
struct Backlog {
    parcels: VecDeque<Parcel>,
    bytes: usize,
}

impl Backlog {
    /// Puts a parcel at the end, as far as there is room. What a durable session has on disk always finds some: it is
    /// bounded by the session's queue, and the session must hear of it.
    fn push(&mut self, parcel: Parcel) {
        let (parcel, unpromised) = parcel.promised();
        count_dropped("worker mailbox full", unpromised);
        let Some(parcel) = parcel else { return };
        let is_full = self.bytes + parcel.bytes() > limits::FORWARD_BACKLOG_BYTES;
        if is_full && !parcel.must_arrive() {
            count_dropped("worker backlog full", parcel.len());
            return;
        }
        let parcel = if is_full { parcel.lightened() } else { parcel };
        self.bytes += parcel.bytes();
        self.parcels.push_back(parcel);
    }

    fn pop(&mut self) -> Option<Parcel> {
        let parcel = self.parcels.pop_front()?;
        self.bytes -= parcel.bytes();
        Some(parcel)
    }
}

fn count_dropped(reason: &'static str, count: usize) {
    if count > 0 {
        metrics::counter!("fanfare_mqtt_dropped_total", "reason" => reason).increment(count as u64);
    }
}

impl Shard {
    /// Hands a publication to the other shards, at the end of this turn of the event loop: those of one turn travel
    /// together.
    pub(super) fn forward(self: &Rc<Self>, fan: Arc<Fan>, others: &Arc<[ShardHandle]>) {
        let first = {
            let mut outgoing = self.forwarder.outgoing.borrow_mut();
            outgoing.push(fan);
            outgoing.len() == 1
        };
        if first {
            let (shard, others) = (self.clone(), others.clone());
            actix::spawn(async move {
                tokio::task::yield_now().await;
                shard.send_outgoing(&others);
            });
        }
    }

    pub(super) fn send_outgoing(self: &Rc<Self>, shards: &[ShardHandle]) {
        let fans = self.forwarder.outgoing.take();
        for other in shards.iter().filter(|other| !other.is_of(self)) {
            if other.has_subscriptions() {
                for some in fans.chunks(limits::FAN_OUT_BATCH) {
                    self.post(other, Parcel::FanOut(some.to_vec()));
                }
            }
        }
    }

    /// Sends something to another shard, after all that was sent there before. If its mailbox is full, what promises
    /// nothing is dropped and counted, and the rest waits.
    pub(super) fn post(self: &Rc<Self>, to: &ShardHandle, parcel: Parcel) {
        let mut backlogs = self.forwarder.backlogs.borrow_mut();
        if let Some(backlog) = backlogs.get_mut(&to.place()) {
            backlog.push(parcel);
            return;
        }
        let parcel = match to.address().try_send(parcel) {
            // Closed: the shard has ended with its thread, and its connections with it.
            Ok(()) | Err(SendError::Closed(_)) => return,
            Err(SendError::Full(parcel)) => parcel,
        };
        backlogs.entry(to.place()).or_default().push(parcel);
        let (shard, to) = (self.clone(), to.clone());
        actix::spawn(async move { shard.work_off(&to).await });
    }

    /// Sends what waits for a shard, until nothing does.
    async fn work_off(&self, to: &ShardHandle) {
        let address = to.address().clone();
        loop {
            let next = {
                let mut backlogs = self.forwarder.backlogs.borrow_mut();
                let next = backlogs.get_mut(&to.place()).and_then(Backlog::pop);
                if next.is_none() {
                    backlogs.remove(&to.place());
                }
                next
            };
            let Some(parcel) = next else { return };
            // An error: that worker has ended, and its connections with it.
            let _ = address.send(parcel).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::messages::Begin;
    use super::super::shard::Key;
    use super::super::testing::{publication, subscription};
    use super::*;
    use crate::domain::publication::QoS;

    fn parcel(qos: QoS, bytes: usize) -> Parcel {
        let mut publication = publication("t", &"x".repeat(bytes));
        publication.qos = qos;
        Parcel::FanOut(vec![Fan::new(Arc::new(publication))])
    }

    #[test]
    fn what_waits_for_another_worker_is_bounded() {
        let mut backlog = Backlog::default();
        backlog.push(parcel(QoS::AtMostOnce, 1));
        assert!(backlog.parcels.is_empty(), "nothing was promised of it");
        let part = limits::FORWARD_BACKLOG_BYTES / 4;
        for _ in 0..4 {
            backlog.push(parcel(QoS::AtLeastOnce, part));
        }
        assert_eq!(
            backlog.parcels.len(),
            3,
            "with its own size a fourth is too much"
        );
        assert!(backlog.pop().is_some());
        backlog.push(parcel(QoS::ExactlyOnce, part));
        assert_eq!(backlog.parcels.len(), 3);
        while backlog.pop().is_some() {}
        assert_eq!(backlog.bytes, 0);
    }

    #[test]
    fn whoever_recovers_is_told_to_come_again_when_there_is_no_room() {
        let fan = |bytes| Fan::new(Arc::new(publication("t", &"x".repeat(bytes))));
        let begin = |bytes: usize| {
            Parcel::Begin(Begin {
                to: Key::default(),
                subscription: subscription("t", QoS::AtMostOnce),
                first: vec![fan(bytes), fan(bytes)],
                busy: Some(fan(1)),
            })
        };
        let mut backlog = Backlog::default();
        backlog.push(begin(10));
        backlog.push(begin(limits::FORWARD_BACKLOG_BYTES));
        let lengths: Vec<_> = backlog.parcels.iter().map(Parcel::len).collect();
        assert_eq!(lengths, [2, 1]);
        while backlog.pop().is_some() {}
        assert_eq!(backlog.bytes, 0);
    }
}
