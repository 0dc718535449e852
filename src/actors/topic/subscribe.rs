//! A connection subscribes and unsubscribes.

use std::rc::Rc;
use std::sync::Arc;

use super::attached::Attached;
use super::durable::Durable;
use super::fan::{Delivery, Fan};
use super::groups::Member;
use super::inbox::{self, Inbox};
use super::retained::Kept;
use super::room::{Ask, First, Recover};
use super::shard::{Key, ShardHandle};
use super::target::{Options, is_from};
use super::ticks::Tick;
use super::{Inner, Topics, lifecycle};
use crate::backends::Commit;
use crate::backends::topics::{DurablePublish, Recipient};
use crate::domain::policy::{Access, Action, Decision};
use crate::domain::publication::{ClientId, Publication, QoS, RetainHandling, Subscription};
use crate::domain::room::{SIDE, governing};
use crate::domain::topic::{TopicFilter, TopicName};
use crate::domain::{QueueName, StoreError};

/// A subscription that stands.
#[derive(Debug)]
pub struct Granted {
    /// At most this.
    pub qos: QoS,
    /// Retained messages to send after SUBACK, as fast as the client takes them.
    pub retained: Vec<Delivery>,
}

/// Why a subscription was refused; an older one of the same filter stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeError {
    /// The policy says no.
    #[error("not authorized to subscribe to this filter: {0}")]
    NotAllowed(Decision),
    /// No rule makes that a room that can be subscribed to so.
    #[error("there is no such room, or it does not have that")]
    NotARoom,
    /// Only one room by its name can be recovered.
    #[error("only one topic, without wildcards, can be recovered")]
    NotRecoverable,
    /// Nothing is published there for clients.
    #[error("the topic is reserved")]
    Reserved,
    /// The connection has ended meanwhile.
    #[error("the connection is over")]
    Gone,
    /// The client has as many subscriptions as it may.
    #[error("too many subscriptions")]
    TooMany,
    /// A session's topic can not be shared, and through a broker no topic can.
    #[error("this can not be shared")]
    NotShareable,
    /// What comes back from a broker does not say who published it.
    #[error("whose publication it is, is not known here: there is no `no local`")]
    NoLocal,
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A subscription that was made, and is yet to stand.
struct Added {
    /// `None`: it is not new.
    since: Option<Since>,
    /// When it stands at the broker.
    upstream: Option<Commit<()>>,
}

/// When a new subscription was made: what is published from then on comes to it as it is published.
#[derive(Debug, Clone, Copy)]
struct Since {
    /// As what its worker delivers.
    live: Tick,
    /// As what is in the queue of a durable session.
    queued: Option<Tick>,
}

impl Since {
    /// Whether a retained message comes by itself, so that it would come twice.
    fn brings(self, kept: &Kept, qos: QoS) -> bool {
        match self.queued {
            Some(queued) if qos != QoS::AtMostOnce => kept.routed > queued,
            _ => kept.shown > self.live,
        }
    }
}

/// What the names of the server's own topics start with.
const EVENTS: &str = "$aws/events/";

impl Attached {
    /// Subscribes, each filter by itself, in order. When this answers, the subscriptions of a durable session are on
    /// disk.
    pub async fn subscribe(
        &self,
        subscriptions: Vec<Subscription>,
    ) -> Vec<Result<Granted, SubscribeError>> {
        self.subscribe_since(subscriptions, None).await
    }

    /// The same for a client that wants to know what it missed in a room.
    pub async fn subscribe_since(
        &self,
        subscriptions: Vec<Subscription>,
        recover: Option<Recover>,
    ) -> Vec<Result<Granted, SubscribeError>> {
        if recover.is_some() && subscriptions.len() != 1 {
            let refused = |_| Err(SubscribeError::NotRecoverable);
            return subscriptions.iter().map(refused).collect();
        }
        let added = subscriptions
            .iter()
            .map(|subscription| self.add(subscription, recover));
        let added: Vec<Result<Added, SubscribeError>> = added.collect();
        let mut results: Vec<Result<(), SubscribeError>> = Vec::new();
        let mut since = Vec::new();
        for (subscription, added) in subscriptions.iter().zip(added) {
            since.push(added.as_ref().ok().and_then(|added| added.since));
            results.push(match added {
                Ok(added) => self.stands(subscription, added).await,
                Err(error) => Err(error),
            });
        }
        let stored = self.store_subscriptions().await;
        let mut granted = Vec::new();
        for ((subscription, result), since) in subscriptions.iter().zip(results).zip(since) {
            granted.push(match (result, &stored) {
                (Err(error), _) => Err(error),
                (Ok(()), Err(error)) => {
                    self.remove(&subscription.filter);
                    Err(SubscribeError::Store(error.clone()))
                }
                (Ok(()), Ok(())) => Ok(Granted {
                    qos: self.topics.granted(subscription.qos),
                    retained: self.retained_for(subscription, since).await,
                }),
            });
        }
        let taken = subscriptions.iter().zip(&granted);
        let filters = taken.filter_map(|(subscription, granted)| {
            granted.as_ref().ok().map(|_| &subscription.filter)
        });
        self.announce_filters(filters, true);
        granted
    }

    /// Ends subscriptions; says for each whether there was one. When this answers, that is on disk.
    ///
    /// # Errors
    /// [`StoreError`]: the subscriptions of a durable session may come back after a crash.
    pub async fn unsubscribe(&self, filters: &[TopicFilter]) -> Result<Vec<bool>, StoreError> {
        let removed: Vec<bool> = filters.iter().map(|filter| self.remove(filter)).collect();
        self.store_subscriptions().await?;
        let gone = filters.iter().zip(&removed);
        let gone = gone.filter_map(|(filter, removed)| removed.then_some(filter));
        self.announce_filters(gone, false);
        Ok(removed)
    }

    async fn store_subscriptions(&self) -> Result<(), StoreError> {
        let Some(durable) = self.durable() else {
            return Ok(());
        };
        let record = durable.state().record.clone();
        self.topics.store().save(record).await
    }

    /// Says when the subscription was made, if it is new, and what to wait for until it stands.
    fn add(
        &self,
        subscription: &Subscription,
        recover: Option<Recover>,
    ) -> Result<Added, SubscribeError> {
        let filter = &subscription.filter;
        if self.is_detached() {
            return Err(SubscribeError::Gone);
        }
        let refused = refused(filter).or_else(|| self.topics.refused_upstream(subscription));
        if let Some(refused) = refused {
            return Err(refused);
        }
        let beside = self.topics.beside(&self.access(), filter, recover)?;
        let resource = governing(filter.filter());
        let decision = self.access().decide(Action::Subscribe, resource);
        if !decision.is_allowed() {
            return Err(SubscribeError::NotAllowed(decision));
        }
        let most = self.topics.inner.settings.max_subscriptions;
        if !self.subscriber.has_room(filter, most) {
            metrics::counter!("fanfare_mqtt_refused_total", "reason" => "subscriptions")
                .increment(1);
            return Err(SubscribeError::TooMany);
        }
        if let Some(queue) = inbox::queue_of(filter.filter()) {
            self.read_queue(&queue, subscription)?;
        }
        let Inner {
            durables, ticks, ..
        } = &*self.topics.inner;
        let durable = self.durable();
        let queued = durable.map(|durable| durables.subscribe(durable, subscription, ticks));
        self.join(subscription);
        let look = beside.and_then(|beside| Some((beside.room, beside.first?)));
        let (shard, subscriber) = (&self.shard, &*self.subscriber);
        let live = match look {
            None => shard.subscribe(subscriber, subscription, ticks),
            Some((room, first)) => {
                let made = shard.subscribe_later(subscriber, subscription, ticks);
                self.look(&room, subscription, first)?;
                made
            }
        };
        let upstream = match live {
            Some(_) => self.begin_upstream(subscription)?,
            None => None,
        };
        let since = live.map(|live| Since { live, queued });
        Ok(Added { since, upstream })
    }

    /// Waits until a subscription stands at the broker, if there is one.
    async fn stands(
        &self,
        subscription: &Subscription,
        added: Added,
    ) -> Result<(), SubscribeError> {
        let Some(upstream) = added.upstream else {
            return Ok(());
        };
        upstream.await.map_err(|error| {
            self.remove(&subscription.filter);
            SubscribeError::Store(error)
        })
    }

    /// The room's owner begins the subscription.
    fn look(
        &self,
        room: &TopicName,
        subscription: &Subscription,
        first: First,
    ) -> Result<(), SubscribeError> {
        let (handle, key) = (self.handle(), self.subscriber.key);
        if !self.topics.is_room(room) {
            self.topics
                .begin_without_room(&handle, key, subscription, room);
            return Ok(());
        }
        let look = Ask::Look {
            to: (handle, key),
            client: self.client().clone(),
            subscription: subscription.clone(),
            first,
        };
        let told = self.topics.tell_room(room, look);
        told.map_err(|_| {
            self.remove(&subscription.filter);
            SubscribeError::TooMany
        })
    }

    fn join(&self, subscription: &Subscription) {
        let seat = (self.handle(), self.subscriber.key, self.access().clone());
        let (id, durable) = (self.client(), self.durable().cloned());
        self.topics
            .join_group(subscription, id, Some(seat), durable);
    }

    /// `true` if there was a subscription.
    fn remove(&self, filter: &TopicFilter) -> bool {
        self.inboxes.borrow_mut().remove(filter);
        if let Some(durable) = self.durable() {
            self.topics.inner.durables.unsubscribe(durable, filter);
        }
        if filter.group().is_some() {
            self.topics.inner.groups.leave(filter, self.client());
        }
        let removed = self.shard.unsubscribe(&self.subscriber, filter);
        if removed {
            self.topics.end_upstream(filter);
        }
        removed
    }

    /// From now on the connection reads the queue of a session.
    fn read_queue(&self, name: &QueueName, asked: &Subscription) -> Result<(), SubscribeError> {
        if self.inboxes.borrow().contains_key(&asked.filter) {
            return Ok(());
        }
        let Some(inboxes) = &self.topics.inner.inboxes else {
            return Ok(());
        };
        let Some(queue) = inboxes.catalog.find(name)? else {
            return Err(SubscribeError::Reserved);
        };
        let inbox = Inbox::start(
            inboxes.queues.clone(),
            queue,
            asked.filter.filter().into(),
            asked.qos,
            asked.id,
            self.subscriber.link.clone(),
        );
        self.inboxes
            .borrow_mut()
            .insert(asked.filter.clone(), inbox);
        Ok(())
    }

    /// The subscriptions that an earlier connection left. Those that the client may not have any more end.
    pub(super) fn take_up_subscriptions(&self) {
        let Some(durable) = self.durable() else {
            return;
        };
        let subscriptions = durable.state().record.subscriptions.clone();
        for subscription in subscriptions {
            if let Err(error) = self.add(&subscription, None) {
                tracing::debug!(client = ?self.client(), %error, "a subscription was not taken up");
                self.remove(&subscription.filter);
            }
        }
    }

    /// What the client may do has changed: subscriptions that it may not have any more end.
    pub fn set_access(&self, access: Access) {
        self.shard.set_access(&self.subscriber, access.clone());
        if let Some(durable) = self.durable() {
            durable.state().access = Some(access.clone());
        }
        self.leave_forbidden_rooms();
        let mut ended = false;
        for subscription in self.subscriber.subscriptions() {
            let filter = &subscription.filter;
            if access.allows(Action::Subscribe, governing(filter.filter())) {
                self.join(&subscription);
            } else {
                ended |= self.remove(filter);
            }
        }
        if ended && let Some(durable) = self.durable() {
            self.topics.save(durable.state().record.clone());
        }
    }

    /// Retained messages for a subscription. What promises something to a durable session is in its queue first.
    async fn retained_for(
        &self,
        subscription: &Subscription,
        since: Option<Since>,
    ) -> Vec<Delivery> {
        let wanted = match subscription.retain_handling {
            RetainHandling::Always => true,
            RetainHandling::New => since.is_some(),
            RetainHandling::Never => false,
        };
        if !wanted || subscription.filter.group().is_some() {
            return Vec::new();
        }
        if self.fetch_retained(subscription) {
            return Vec::new();
        }
        if let Some(queued) = since.and_then(|since| since.queued) {
            // What was routed before is not in the queue, and must not be missed because it is not shown yet.
            let table = &self.topics.inner.retained;
            table.settled(&subscription.filter, queued).await;
        }
        let now = self.topics.now();
        let mut found = self.topics.kept_for(subscription, now);
        {
            let access = self.access();
            let rights = self.topics.rights();
            found.retain(|kept| {
                let publication = &kept.publication;
                let qos = subscription.qos.min(publication.qos);
                since.is_none_or(|since| !since.brings(kept, qos))
                    && access.allows(Action::Receive, publication.topic.as_str())
                    && rights.stand(publication)
                    && !(subscription.no_local && is_from(publication, self.client()))
            });
        }
        let mut deliveries = Vec::new();
        for Kept { publication, .. } in found {
            let qos = subscription.qos.min(publication.qos);
            match self.durable() {
                Some(durable) if qos != QoS::AtMostOnce => {
                    self.queue_retained(durable, publication, qos, subscription.id)
                        .await;
                }
                _ => deliveries.push(Delivery {
                    fan: Fan::new(publication),
                    qos,
                    retain: true,
                    ids: subscription.id.into_iter().collect::<Rc<[u32]>>(),
                    ordinal: None,
                    receipt: None,
                }),
            }
        }
        deliveries
    }

    async fn queue_retained(
        &self,
        durable: &Arc<Durable>,
        publication: Arc<Publication>,
        qos: QoS,
        id: Option<u32>,
    ) {
        let recipient = Recipient {
            client: durable.no,
            qos,
            retain: true,
            ids: id.into_iter().collect(),
            limit: self.topics.inner.settings.queue_limit,
        };
        let publish = DurablePublish {
            publication: publication.clone(),
            to: vec![recipient.clone()],
            retain: None,
            from: None,
            history: None,
        };
        match self.topics.store().publish(publish).await {
            Ok(placed) => {
                if let Some(Some(ordinal)) = placed.places.first() {
                    let fan = Fan::new(publication);
                    self.topics
                        .tell(&self.shard, durable, &recipient, &fan, *ordinal);
                }
            }
            Err(error) => tracing::warn!(%error, "a retained message was not queued"),
        }
    }

    fn announce_filters<'a>(&self, filters: impl Iterator<Item = &'a TopicFilter>, on: bool) {
        let filters: Vec<&str> = filters.map(TopicFilter::as_str).collect();
        if filters.is_empty() {
            return;
        }
        let event = if on {
            lifecycle::Event::Subscribed(filters)
        } else {
            lifecycle::Event::Unsubscribed(filters)
        };
        self.topics.announce(self, event);
    }
}

impl Topics {
    /// Retained messages that a subscription matches.
    fn kept_for(&self, subscription: &Subscription, now: crate::domain::Timestamp) -> Vec<Kept> {
        self.inner.retained.matching(&subscription.filter, now)
    }

    /// Makes a client a member of the group, if it is a shared subscription.
    pub(super) fn join_group(
        &self,
        subscription: &Subscription,
        client: &ClientId,
        seat: Option<(ShardHandle, Key, Access)>,
        durable: Option<Arc<Durable>>,
    ) {
        if subscription.filter.group().is_none() {
            return;
        }
        let member = Member {
            client: client.clone(),
            options: Options::from(subscription),
            seat,
            durable,
        };
        self.inner.groups.join(&subscription.filter, member);
    }
}

/// Filters that nobody may have, whatever the policy says.
fn refused(filter: &TopicFilter) -> Option<SubscribeError> {
    let text = filter.filter();
    if text.starts_with('$') && !text.starts_with(EVENTS) && !text.starts_with(SIDE) {
        return Some(SubscribeError::Reserved);
    }
    if inbox::is_session_topic(text) && filter.group().is_some() {
        return Some(SubscribeError::NotShareable);
    }
    None
}
