//! A connection's hold on the topics: it publishes, subscribes and leaves by it.

use std::cell::{Cell, Ref, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::deadlines::PendingWill;
use super::durable::Durable;
use super::fan::Link;
use super::inbox::Inbox;
use super::order::Order;
use super::outgoing::Outgoing;
use super::publish::Publishing;
use super::shard::{Key, Shard, ShardHandle};
use super::{Topics, lifecycle};
use crate::backends::Commit;
use crate::domain::policy::{Access, Action};
use crate::domain::publication::{ClientId, Publication, Will};
use crate::domain::topic::{TopicFilter, TopicName};

/// See the module. Dropping it without [`Attached::detach`] is a connection that ended without goodbye.
pub struct Attached {
    pub(super) topics: Topics,
    pub(super) seating: Seating,
    pub(super) access: RefCell<Access>,
    /// As in [`Connect`](super::Connect); DISCONNECT may change it.
    expiry: Cell<Option<Duration>>,
    will: RefCell<Option<Will>>,
    /// Readers of session queues, by the filter that asked for them.
    pub(super) inboxes: RefCell<HashMap<TopicFilter, Inbox>>,
    /// Rooms that it is a member of.
    pub(super) joined: RefCell<BTreeSet<TopicName>>,
    /// What it has published and nobody has yet.
    order: Rc<Order>,
    is_detached: Cell<bool>,
}

/// Where a connection is.
pub(super) struct Seating {
    pub(super) shard: Rc<Shard>,
    pub(super) handle: ShardHandle,
    pub(super) key: Key,
    pub(super) id: ClientId,
    pub(super) principal: Arc<str>,
    pub(super) durable: Option<Arc<Durable>>,
    pub(super) link: Rc<dyn Link>,
    pub(super) source: Option<IpAddr>,
    pub(super) session_identifier: Uuid,
}

/// How a connection ends.
#[derive(Debug, Clone, Copy)]
pub struct Leaving {
    /// What becomes of the will.
    pub will: WillFate,
    /// A new Session Expiry Interval, as in [`Connect::expiry`](super::Connect::expiry).
    pub expiry: Option<Option<Duration>>,
    /// Whether the client said goodbye.
    pub by_client: bool,
    /// Why, in a word, as AWS IoT names it in its lifecycle events.
    pub reason: &'static str,
}

/// What becomes of a will.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WillFate {
    /// It is published, after its delay.
    Publish,
    /// It is not: the client said goodbye, or may not publish any more.
    Discard,
}

impl Leaving {
    /// A connection that ends without goodbye: the will is published.
    pub const fn lost(reason: &'static str) -> Self {
        Self {
            will: WillFate::Publish,
            expiry: None,
            by_client: false,
            reason,
        }
    }
}

impl Attached {
    pub(super) fn new(
        topics: Topics,
        seating: Seating,
        access: Access,
        expiry: Option<Duration>,
        will: Option<Will>,
    ) -> Self {
        Self {
            topics,
            seating,
            access: RefCell::new(access),
            expiry: Cell::new(expiry),
            will: RefCell::new(will),
            inboxes: RefCell::default(),
            joined: RefCell::default(),
            order: Rc::default(),
            is_detached: Cell::new(false),
        }
    }

    /// The client's name.
    pub fn client(&self) -> &ClientId {
        &self.seating.id
    }

    /// To whom the session belongs.
    pub fn principal(&self) -> &Arc<str> {
        &self.seating.principal
    }

    /// Whether the session outlives the connection.
    pub fn is_durable(&self) -> bool {
        self.seating.durable.is_some()
    }

    /// Whether something is published when the connection ends without goodbye.
    pub fn has_will(&self) -> bool {
        self.will.borrow().is_some()
    }

    /// Whether the client might connect as it is, with what it may do now.
    pub fn may_stay(&self) -> bool {
        self.access()
            .allows(Action::Connect, self.seating.id.as_str())
    }

    /// What the client may do now.
    pub fn access(&self) -> Ref<'_, Access> {
        self.access.borrow()
    }

    /// Publishes. With QoS 2, `packet_id` is remembered in the same commit if the session is durable, so that the
    /// message is not published twice, whatever crashes.
    pub fn publish(&self, publication: Publication, packet_id: Option<u16>) -> Publishing {
        if let Some(beside) = self.publish_beside(&publication) {
            return beside;
        }
        let durable = self.seating.durable.as_ref();
        let from = durable.zip(packet_id).map(|(durable, id)| (durable.no, id));
        self.topics
            .publish_here(&self.access(), publication, from, Some(&self.order))
    }

    /// Publications of this connection that wait for the disk, or for those that do.
    pub fn behind(&self) -> usize {
        self.order.len()
    }

    /// QoS 2: PUBREL came for a message of the client. What to wait for before PUBCOMP, if anything.
    pub fn release(&self, packet_id: u16) -> Option<Commit<()>> {
        let durable = self.seating.durable.as_ref()?;
        Some(self.topics.store().release(durable.no, packet_id))
    }

    /// The connection ends.
    pub fn detach(&self, leaving: Leaving, outgoing: Option<&mut Outgoing>) {
        if self.is_detached.replace(true) {
            return;
        }
        let Seating {
            shard,
            handle,
            key,
            id,
            durable,
            ..
        } = &self.seating;
        if let Some(outgoing) = outgoing {
            outgoing.end();
        }
        self.inboxes.borrow_mut().clear();
        self.lose_rooms();
        let subscriptions = shard.subscriptions(*key);
        shard.detach(*key);
        self.topics.inner.clients.leave(id, handle, *key);
        for subscription in subscriptions {
            let filter = &subscription.filter;
            if filter.group().is_none() {
                continue;
            }
            if durable.is_some() {
                self.topics.inner.groups.unseat(filter, id);
            } else {
                self.topics.inner.groups.leave(filter, id);
            }
        }
        let will = self.will.take();
        let will = will.filter(|_| leaving.will == WillFate::Publish);
        let will = will.map(|will| PendingWill {
            will,
            access: Some(self.access().clone()),
        });
        let expiry = leaving.expiry.unwrap_or(self.expiry.get());
        match durable {
            Some(durable) => self.leave_session(durable, expiry, will, leaving.reason),
            // Without a session to outlive the connection the will waits for nothing.
            None => will
                .into_iter()
                .for_each(|will| self.topics.publish_will(will)),
        }
        self.topics
            .announce(self, lifecycle::Event::Disconnected(leaving));
    }

    fn leave_session(
        &self,
        durable: &Arc<Durable>,
        expiry: Option<Duration>,
        will: Option<PendingWill>,
        why: &'static str,
    ) {
        let record = {
            let mut state = durable.state();
            if state
                .attached
                .as_ref()
                .is_none_or(|(_, key)| *key != self.seating.key)
            {
                return;
            }
            state.attached = None;
            state.ended = Some(why);
            state.record.disconnected = Some(self.topics.now());
            state.record.expiry = expiry;
            state.record.will = will.as_ref().map(|will| will.will.clone());
            state.record.clone()
        };
        self.topics.leave(durable, record, will);
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.detach(Leaving::lost("CONNECTION_LOST"), None);
    }
}
