//! What one connection is still to get with quality of service 1 and 2: from memory, or from the queue of a durable
//! session on disk.

use std::rc::Rc;
use std::sync::Arc;

use super::Topics;
use super::durable::Durable;
use super::fan::{Delivery, Fan};
use super::subscriber::Subscriber;
use super::window::{Again, Overflow, Sending, Window, WindowLimits, is_alive};
use crate::backends::Commit;
use crate::backends::topics::Queued;
use crate::domain::StoreError;
use crate::domain::policy::Action;
use crate::domain::publication::Ordinal;

/// The way out of one connection. It belongs to the link, which sends what [`Outgoing::next_sending`] gives it and reports
/// what the client acknowledges.
pub struct Outgoing {
    topics: Topics,
    subscriber: Rc<Subscriber>,
    limits: WindowLimits,
    /// `None` until there is something: most connections without a durable session get nothing with more than quality of
    /// service 0.
    flow: Option<Box<Flow>>,
}

/// What is on its way.
struct Flow {
    window: Window,
    queue: Option<Queue>,
}

/// Where a connection stands in its session's queue.
struct Queue {
    durable: Arc<Durable>,
    /// The newest message that was taken over into the window; `None` before the first.
    last: Option<Ordinal>,
    /// Whether there may be messages after it that were not.
    behind: bool,
    /// The newest message that was sent in this connection.
    sent: Option<Ordinal>,
    /// What was taken over up to this one may have been sent in an earlier connection.
    sent_before: Option<Ordinal>,
    /// After a restart: how many more may have been.
    unsure: usize,
}

impl Outgoing {
    pub(super) fn new(topics: Topics, subscriber: Rc<Subscriber>, limits: WindowLimits) -> Self {
        let queue = subscriber.durable.clone().map(|durable| {
            let sent_before = durable.state().sent_through;
            Queue {
                durable,
                last: None,
                sent: None,
                behind: true,
                sent_before,
                unsure: limits.in_flight.into(),
            }
        });
        let flow = queue.map(|queue| Flow::new(limits, Some(queue)));
        Self {
            topics,
            subscriber,
            limits,
            flow,
        }
    }

    /// Takes a publication of quality of service 1 or 2 that a shard delivered.
    ///
    /// # Errors
    /// [`Overflow`] if too much waits already: the client is too slow. Never for what is on disk.
    pub fn offer(&mut self, delivery: &Delivery) -> Result<(), Overflow> {
        let limits = self.limits;
        let flow = self.flow.get_or_insert_with(|| Flow::new(limits, None));
        let (Some(queue), Some(ordinal)) = (&mut flow.queue, delivery.ordinal) else {
            return flow.window.push(delivery.clone(), Again::No);
        };
        let is_next = queue.last.is_some_and(|last| ordinal.0 == last.0 + 1);
        if queue.behind || !is_next || flow.window.room() == 0 {
            // It is read from disk when its turn comes.
            queue.behind = true;
            return Ok(());
        }
        if flow.window.push(delivery.clone(), Again::No).is_ok() {
            queue.last = Some(ordinal);
        } else {
            queue.behind = true;
        }
        Ok(())
    }

    /// What to send next; `None` until the client acknowledges something or something new comes.
    ///
    /// # Errors
    /// [`StoreError`] if the queue can not be read.
    pub fn next_sending(&mut self) -> Result<Option<Sending>, StoreError> {
        let Some(flow) = &mut self.flow else {
            return Ok(None);
        };
        loop {
            if flow.window.is_idle() {
                flow.catch_up(&self.topics)?;
            }
            let now = self.topics.now();
            let (access, rights) = (self.subscriber.access(), self.topics.rights());
            let mut dropped = Vec::new();
            let sending = flow.window.next(
                |delivery, again| {
                    let publication = &delivery.fan.publication;
                    (again == Again::Sent || is_alive(delivery, now))
                        && access.allows(Action::Receive, publication.topic.as_str())
                        && rights.stand(publication)
                },
                |delivery| dropped.extend(delivery.ordinal),
            );
            let nothing_dropped = dropped.is_empty();
            flow.forget(&self.topics, dropped);
            if let Some(Sending::Publish { delivery, .. }) = &sending {
                flow.note_sent(&self.topics, delivery);
            }
            if sending.is_some() || nothing_dropped {
                return Ok(sending);
            }
        }
    }

    /// Whether one more could be sent now, and would find room however little may wait.
    pub fn has_room(&self) -> bool {
        let flow = self.flow.as_ref();
        flow.is_none_or(|flow| flow.window.is_idle() && flow.window.room() > 0)
    }

    /// Messages in flight.
    pub fn in_flight(&self) -> usize {
        let flow = self.flow.as_ref();
        flow.map_or(0, |flow| flow.window.in_flight())
    }

    /// PUBACK. `false` if no message of QoS 1 with this packet id is in flight.
    pub fn acknowledged(&mut self, packet_id: u16) -> bool {
        self.done(|window| window.acknowledged(packet_id))
    }

    /// PUBREC without an error: what to wait for before PUBREL is sent. `None` if no message of QoS 2 with this
    /// packet id is in flight.
    pub fn received(&mut self, packet_id: u16) -> Option<Received> {
        let flow = self.flow.as_mut()?;
        let ordinal = flow.window.received(packet_id)?.ordinal;
        Some(match (&flow.queue, ordinal) {
            (Some(queue), Some(ordinal)) => {
                Received::Stored(self.topics.store().received(queue.durable.no, ordinal))
            }
            _ => Received::Now,
        })
    }

    /// PUBREC with an error: the client does not want the message. `false` if there is none.
    pub fn refused(&mut self, packet_id: u16) -> bool {
        self.done(|window| window.refused(packet_id))
    }

    /// PUBCOMP. `false` if no released message with this packet id is in flight.
    pub fn completed(&mut self, packet_id: u16) -> bool {
        self.done(|window| window.completed(packet_id))
    }

    fn done(&mut self, take: impl FnOnce(&mut Window) -> Option<Delivery>) -> bool {
        let Some(flow) = &mut self.flow else {
            return false;
        };
        let Some(done) = take(&mut flow.window) else {
            return false;
        };
        if let Some(receipt) = &done.receipt {
            receipt.arrived();
        }
        flow.forget(&self.topics, done.ordinal.into_iter().collect());
        true
    }

    /// The connection ends: what was sent is sent again, as a duplicate, in the next one.
    pub(super) fn end(&mut self) {
        let queue = self.flow.as_ref().and_then(|flow| flow.queue.as_ref());
        if let Some(queue) = queue
            && queue.last.is_some()
        {
            queue.durable.state().sent_through = queue.sent.max(queue.sent_before);
        }
    }
}

impl Flow {
    fn new(limits: WindowLimits, queue: Option<Queue>) -> Box<Self> {
        Box::new(Self {
            window: Window::new(limits),
            queue,
        })
    }

    /// What was sent comes again if the client goes away, and must not expire before.
    fn note_sent(&mut self, topics: &Topics, delivery: &Delivery) {
        let (Some(queue), Some(ordinal)) = (&mut self.queue, delivery.ordinal) else {
            return;
        };
        queue.sent = Some(ordinal);
        if delivery.fan.publication.expires.is_some() {
            topics.store().sent(queue.durable.no, ordinal);
        }
    }

    /// Takes over what the queue has after the newest that was, as far as there is room.
    fn catch_up(&mut self, topics: &Topics) -> Result<(), StoreError> {
        let Some(queue) = &mut self.queue else {
            return Ok(());
        };
        let room = self.window.room();
        if !queue.behind || room == 0 {
            return Ok(());
        }
        let (no, now) = (queue.durable.no, topics.now());
        let found = topics.store().queued(no, queue.last, room, now)?;
        queue.behind = found.len() == room;
        for queued in found {
            let again = match queue.sent_before {
                _ if queued.received => Again::Release,
                _ if queued.sent => Again::Sent,
                Some(sent) if queued.ordinal <= sent => Again::Duplicate,
                _ => Again::No,
            };
            let (ordinal, is_received) = (queued.ordinal, queued.received);
            if self.window.push(delivery(queued), again).is_err() {
                queue.behind = true;
                break;
            }
            queue.last = Some(ordinal);
            queue.unsure = queue.unsure.saturating_sub(usize::from(!is_received));
        }
        // After a restart it is not known what was sent; no more than the window can have been, besides what the client
        // has said it has: that may only not have left the queue in time.
        if queue.sent_before == Some(Ordinal(u64::MAX)) && (queue.unsure == 0 || !queue.behind) {
            queue.sent_before = queue.last;
        }
        Ok(())
    }

    fn forget(&self, topics: &Topics, done: Vec<Ordinal>) {
        if let Some(queue) = &self.queue
            && !done.is_empty()
        {
            topics.store().done(queue.durable.no, done);
        }
    }
}

/// See [`Outgoing::received`].
pub enum Received {
    /// PUBREL may be sent at once.
    Now,
    /// PUBREL may be sent when this is on disk.
    Stored(Commit<()>),
}

fn delivery(queued: Queued) -> Delivery {
    Delivery {
        fan: Fan::new(queued.publication),
        qos: queued.qos,
        retain: queued.retain,
        ids: queued.ids.into(),
        ordinal: Some(queued.ordinal),
        receipt: None,
    }
}
