//! A connection's hold on the topics: it publishes, subscribes and leaves by it.

use std::cell::{Cell, Ref, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::deadlines::PendingWill;
use super::durable::Durable;
use super::inbox::Inbox;
use super::order::{LazyOrder, Order};
use super::outgoing::Outgoing;
use super::publish::Publishing;
use super::shard::{Shard, ShardHandle};
use super::subscriber::Subscriber;
use super::{Topics, lifecycle};
use crate::backends::Commit;
use crate::domain::policy::{Access, Action};
use crate::domain::publication::{ClientId, Publication, Will};
use crate::domain::topic::{TopicFilter, TopicName};

/// See the module. Dropping it without [`Attached::detach`] is a connection that ended without goodbye.
pub struct Attached {
    pub(super) topics: Topics,
    pub(super) shard: Rc<Shard>,
    /// The connection, as the shard knows it.
    pub(super) subscriber: Rc<Subscriber>,
    principal: Arc<str>,
    pub(super) session_identifier: Uuid,
    // Boxed, as most have neither.
    seldom: Cell<Option<Box<Seldom>>>,
    /// Readers of session queues, by the filter that asked for them.
    pub(super) inboxes: RefCell<BTreeMap<TopicFilter, Inbox>>,
    /// What it has published and nobody has yet.
    order: LazyOrder,
    is_detached: Cell<bool>,
}

/// What few connections have.
#[derive(Default)]
pub(super) struct Seldom {
    will: Option<Will>,
    /// Rooms that it is a member of.
    pub(super) joined: BTreeSet<TopicName>,
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

// With its counters, one of mimalloc's sizes: there is one for each of many connections that do nothing.
const _: () = assert!(size_of::<Attached>() + 2 * size_of::<usize>() <= 128);

impl Attached {
    pub(super) fn new(
        topics: Topics,
        shard: Rc<Shard>,
        subscriber: Rc<Subscriber>,
        principal: Arc<str>,
        will: Option<Will>,
    ) -> Self {
        let seldom = will.map(|will| {
            Box::new(Seldom {
                will: Some(will),
                joined: BTreeSet::new(),
            })
        });
        Self {
            topics,
            shard,
            subscriber,
            principal,
            session_identifier: Uuid::new_v4(),
            seldom: Cell::new(seldom),
            inboxes: RefCell::default(),
            order: LazyOrder::default(),
            is_detached: Cell::new(false),
        }
    }

    /// How other workers reach the connection's shard.
    pub(super) fn handle(&self) -> ShardHandle {
        self.topics.handle_of(&self.shard)
    }

    /// The session, if it outlives the connection.
    pub(super) fn durable(&self) -> Option<&Arc<Durable>> {
        self.subscriber.durable.as_ref()
    }

    /// The client's name.
    pub fn client(&self) -> &ClientId {
        &self.subscriber.client
    }

    /// To whom the session belongs.
    pub fn principal(&self) -> &Arc<str> {
        &self.principal
    }

    /// Whether the session outlives the connection.
    pub fn is_durable(&self) -> bool {
        self.durable().is_some()
    }

    /// Whether the connection has ended.
    pub(super) fn is_detached(&self) -> bool {
        self.is_detached.get()
    }

    pub(super) fn with_seldom<R>(&self, look: impl FnOnce(&mut Seldom) -> R) -> R {
        let mut seldom = self.seldom.take().unwrap_or_default();
        let result = look(&mut seldom);
        let is_empty = seldom.will.is_none() && seldom.joined.is_empty();
        self.seldom.set((!is_empty).then_some(seldom));
        result
    }

    /// Whether something is published when the connection ends without goodbye.
    pub fn has_will(&self) -> bool {
        self.with_seldom(|seldom| seldom.will.is_some())
    }

    /// Whether the client might connect as it is, with what it may do now.
    pub fn may_stay(&self) -> bool {
        self.access()
            .allows(Action::Connect, self.client().as_str())
    }

    /// What the client may do now.
    pub fn access(&self) -> Ref<'_, Access> {
        self.subscriber.access()
    }

    /// Publishes. With QoS 2, `packet_id` is remembered in the same commit if the session is durable, so that the
    /// message is not published twice, whatever crashes.
    pub fn publish(&self, publication: Publication, packet_id: Option<u16>) -> Publishing {
        if let Some(beside) = self.publish_beside(&publication) {
            return beside;
        }
        let from = self
            .durable()
            .zip(packet_id)
            .map(|(durable, id)| (durable.no, id));
        self.topics
            .publish_here(&self.access(), publication, from, Some(&self.order))
    }

    /// Publications of this connection that wait for the disk, or for those that do.
    pub fn behind(&self) -> usize {
        self.order.behind().map_or(0, Order::len)
    }

    /// QoS 2: PUBREL came for a message of the client. What to wait for before PUBCOMP, if anything.
    pub fn release(&self, packet_id: u16) -> Option<Commit<()>> {
        let durable = self.durable()?;
        Some(self.topics.store().release(durable.no, packet_id))
    }

    /// The connection ends.
    pub fn detach(&self, leaving: Leaving, outgoing: Option<&mut Outgoing>) {
        if self.is_detached.replace(true) {
            return;
        }
        let (id, key, handle) = (self.client(), self.subscriber.key, self.handle());
        if let Some(outgoing) = outgoing {
            outgoing.end();
        }
        self.inboxes.borrow_mut().clear();
        self.lose_rooms();
        let subscriptions = self.subscriber.subscriptions();
        self.shard.detach(key);
        self.topics.inner.clients.leave(id, &handle, key);
        for subscription in subscriptions {
            let filter = &subscription.filter;
            self.topics.end_upstream(filter);
            if filter.group().is_none() {
                continue;
            }
            if self.is_durable() {
                self.topics.inner.groups.unseat(filter, id);
            } else {
                self.topics.inner.groups.leave(filter, id);
            }
        }
        let will = self.with_seldom(|seldom| seldom.will.take());
        let will = will.filter(|_| leaving.will == WillFate::Publish);
        let will = will.map(|will| PendingWill {
            will,
            access: Some(self.access().clone()),
        });
        match self.durable() {
            Some(durable) => self.leave_session(durable, leaving.expiry, will, leaving.reason),
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
        expiry: Option<Option<Duration>>,
        will: Option<PendingWill>,
        why: &'static str,
    ) {
        let record = {
            let mut state = durable.state();
            if state
                .attached
                .as_ref()
                .is_none_or(|(_, key)| *key != self.subscriber.key)
            {
                return;
            }
            state.attached = None;
            state.ended = Some(why);
            state.record.disconnected = Some(self.topics.now());
            if let Some(expiry) = expiry {
                state.record.expiry = expiry;
            }
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
