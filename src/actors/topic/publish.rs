//! A publication finds its way: to the queues of durable sessions, to one member of each group, to its topic's retained
//! message, and to every connection that subscribes.

use std::iter::once;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::future::LocalBoxFuture;

use super::durable::{Durable, recipient};
use super::fan::Fan;
use super::groups::Member;
use super::inbox;
use super::messages::{Hand, Parcel};
use super::order::{LazyOrder, Promise};
use super::retained::Turn;
use super::shard::{Key, Shard, ShardHandle};
use super::target::Merged;
use super::{Inner, RetainedTable, Topics, upstream};
use crate::backends::rooms::Append;
use crate::backends::topics::{DurablePublish, Placed, Recipient};
use crate::domain::policy::{Access, Action, Decision};
use crate::domain::publication::{ClientNo, Ordinal, Publication, QoS};
use crate::domain::topic::TopicName;
use crate::domain::{Seq, StoreError, Timestamp};

/// Why a publication was refused. It reached nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The policy says no.
    #[error("not authorized to publish to this topic: {0}")]
    NotAllowed(Decision),
    /// Only the server publishes there.
    #[error("the topic is reserved")]
    Reserved,
    /// No rule makes that a room, or not one that has this.
    #[error("there is no such room: {0}")]
    NotARoom(&'static str),
    /// What was published is not what is taken there.
    #[error("the payload is not valid: {0}")]
    Malformed(&'static str),
    /// It would be taken at another time, or from another client.
    #[error("not now: {0}")]
    NotNow(&'static str),
    /// There is no room: every queue that it is for is full, or there are too many retained messages.
    #[error("the quota is exceeded: {0}")]
    QuotaExceeded(&'static str),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What becomes of a publication. Until it is known nothing may be acknowledged.
pub enum Publishing {
    /// Known at once.
    Done(Result<(), PublishError>),
    /// Known when it is on disk. Dropping this does not take it back.
    Waiting(LocalBoxFuture<'static, Result<(), PublishError>>),
}

impl Publishing {
    /// Waits until it is known.
    ///
    /// # Errors
    /// [`PublishError`]: it reached nobody.
    pub async fn outcome(self) -> Result<(), PublishError> {
        match self {
            Self::Done(outcome) => outcome,
            Self::Waiting(waiting) => waiting.await,
        }
    }
}

/// Where a publication goes besides those that simply subscribe.
struct Route {
    recipients: Vec<(Arc<Durable>, Recipient)>,
    handed: Vec<(ShardHandle, Key, QoS, Merged)>,
    /// If it is to be retained: its turn to be.
    turn: Option<Rc<Turn>>,
}

impl Topics {
    /// Publishes for someone who is not connected, such as an HTTP client.
    pub fn publish(&self, access: &Access, publication: Publication) -> Publishing {
        match self.publish_here(access, publication, None, None) {
            Publishing::Waiting(waiting) => {
                // Whoever asked may go away; what is on disk must reach those who subscribe all the same.
                let published = actix::spawn(waiting);
                let waiting = async { published.await.expect("nobody aborts it") };
                Publishing::Waiting(Box::pin(waiting))
            }
            done => done,
        }
    }

    pub(in crate::actors::topic) fn publish_here(
        &self,
        access: &Access,
        publication: Publication,
        from: Option<(ClientNo, u16)>,
        order: Option<&LazyOrder>,
    ) -> Publishing {
        if is_reserved(&publication.topic) {
            return Publishing::Done(Err(PublishError::Reserved));
        }
        let decision = decide(access, &publication);
        if !decision.is_allowed() {
            return Publishing::Done(Err(PublishError::NotAllowed(decision)));
        }
        self.route(publication, from, order)
    }

    /// Publishes without asking whether that is allowed, after what comes before it in `order`.
    pub(in crate::actors::topic) fn route(
        &self,
        publication: Publication,
        from: Option<(ClientNo, u16)>,
        order: Option<&LazyOrder>,
    ) -> Publishing {
        if let Some(broker) = &self.inner.broker {
            return upstream::publish(&**broker, publication);
        }
        if self.rooms().keeps_history(&publication.topic) {
            return self.say(publication, from, order);
        }
        self.route_here(publication, from, order, None)
    }

    /// The same on the worker that decides about the order: a room's owner if it has a history, else the publisher's.
    pub(in crate::actors::topic) fn route_here(
        &self,
        publication: Publication,
        from: Option<(ClientNo, u16)>,
        order: Option<&LazyOrder>,
        history: Option<Append>,
    ) -> Publishing {
        let shard = self.here();
        let publication = Arc::new(if publication.retain {
            detached(publication)
        } else {
            publication
        });
        if publication.retain && self.inner.retained.room(&publication).is_err() {
            let error = PublishError::QuotaExceeded("retained messages");
            return Publishing::Done(Err(error));
        }
        let route = self.find_route(&publication);
        let is_promised = publication.qos != QoS::AtMostOnce;
        let must_wait = from.is_some()
            || history.is_some()
            || is_promised && (publication.retain || !route.recipients.is_empty());
        if !must_wait {
            self.publish_unpromised(shard, publication, route, order);
            return Publishing::Done(Ok(()));
        }
        let stored = self.store().publish(DurablePublish {
            publication: publication.clone(),
            to: route
                .recipients
                .iter()
                .map(|(_, recipient)| recipient.clone())
                .collect(),
            retain: route.turn.as_ref().map(|turn| turn.at),
            from,
            history,
        });
        let (topics, promise) = (self.clone(), order.map(LazyOrder::promise));
        Publishing::Waiting(Box::pin(async move {
            let placed = stored.await;
            let retained = placed.as_ref().ok().and_then(|placed| placed.retained);
            let mark = placed.as_ref().ok().and_then(|placed| placed.mark);
            let publication = match mark {
                Some(mark) => Arc::new((*publication).clone().marked(Some(mark))),
                None => publication,
            };
            topics.settle(route.turn.as_ref(), &publication, retained);
            topics.placed(shard, publication, route, &placed?, promise)
        }))
    }

    /// Nothing was promised, so that nothing is waited for but what the publisher published before.
    fn publish_unpromised(
        &self,
        shard: Rc<Shard>,
        publication: Arc<Publication>,
        route: Route,
        order: Option<&LazyOrder>,
    ) {
        if let Some(turn) = &route.turn {
            self.store_unpromised(turn.clone(), publication.clone());
        }
        let Some(order) = order.and_then(LazyOrder::behind) else {
            self.reach(&shard, publication, route);
            return;
        };
        let topics = self.clone();
        order.then(move || topics.reach(&shard, publication, route));
    }

    /// A publication is its topic's retained message if it says so, and goes to whoever subscribes.
    fn reach(&self, shard: &Rc<Shard>, publication: Arc<Publication>, route: Route) {
        let (table, ticks) = (&self.inner.retained, &self.inner.ticks);
        let retained = route
            .turn
            .map(|turn| table.show(&turn, &publication, ticks));
        self.spread(shard, Fan::of(publication, retained), route.handed);
    }

    /// The store has, or has not, retained a publication.
    fn settle(&self, turn: Option<&Rc<Turn>>, publication: &Arc<Publication>, stored: Option<Seq>) {
        if let Some(turn) = turn {
            let (table, ticks) = (&self.inner.retained, &self.inner.ticks);
            table.settle(turn, publication, stored, ticks);
        }
    }

    /// What was published is on disk: those who are connected get it.
    fn placed(
        &self,
        shard: Rc<Shard>,
        publication: Arc<Publication>,
        route: Route,
        placed: &Placed,
        promise: Option<Promise>,
    ) -> Result<(), PublishError> {
        if placed.repeated {
            // The publisher has asked before, and did not get the answer.
            return Ok(());
        }
        let full = placed.places.iter().filter(|place| place.is_none()).count();
        if full > 0 {
            metrics::counter!("fanfare_mqtt_dropped_total", "reason" => "session queue full")
                .increment(full as u64);
            if full == placed.places.len() && placed.mark.is_none() {
                return Err(PublishError::QuotaExceeded(
                    "messages in the session's queue",
                ));
            }
        }
        let fan = Fan::new(publication.clone());
        for ((durable, recipient), place) in route.recipients.iter().zip(&placed.places) {
            if let Some(ordinal) = place {
                self.tell(&shard, durable, recipient, &fan, *ordinal);
            }
        }
        let (topics, mark) = (self.clone(), placed.mark);
        let reach = move || {
            if let Some(mark) = mark {
                shard.room_reached(&publication.topic, mark.place);
            }
            topics.reach(&shard, publication, route);
        };
        match promise {
            Some(promise) => promise.keep(reach),
            None => reach(),
        }
        Ok(())
    }

    /// Tells a durable session's connection, if there is one, of the newest message in its queue.
    pub(in crate::actors::topic) fn tell(
        &self,
        shard: &Rc<Shard>,
        durable: &Durable,
        recipient: &Recipient,
        fan: &Arc<Fan>,
        ordinal: Ordinal,
    ) {
        let Some((handle, key)) = durable.state().attached.clone() else {
            return;
        };
        let hand = Hand {
            to: key,
            fan: fan.clone(),
            qos: recipient.qos,
            retain: recipient.retain,
            ids: recipient.ids.clone(),
            ordinal: Some(ordinal),
        };
        self.hand(shard, &handle, hand);
    }

    fn hand(&self, shard: &Rc<Shard>, handle: &ShardHandle, hand: Hand) {
        if handle.is_of(shard) {
            shard.hand(hand);
            return;
        }
        shard.post(handle, Parcel::Hand(hand));
    }

    fn find_route(&self, publication: &Publication) -> Route {
        let Inner {
            durables,
            retained,
            ticks,
            settings,
            ..
        } = &*self.inner;
        let limit = settings.queue_limit;
        let turn = publication
            .retain
            .then(|| retained.begin(&publication.topic, self.now(), ticks));
        let (mut recipients, routed) = durables.recipients(publication, limit, ticks);
        let turn = turn.map(|turn| Rc::new(turn.routed(routed)));
        let mut handed = Vec::new();
        for member in self.inner.groups.pick(publication) {
            let Member {
                options,
                seat,
                durable,
                ..
            } = member;
            let merged = Merged::of(once(options)).expect("there is one");
            let stored = durable.and_then(|durable| {
                let recipient = recipient(&durable, publication, &merged, limit)?;
                Some((durable, recipient))
            });
            match (stored, seat) {
                (Some(stored), _) => recipients.push(stored),
                (None, Some((shard, key, _))) => {
                    handed.push((shard, key, merged.qos.min(publication.qos), merged));
                }
                (None, None) => {}
            }
        }
        Route {
            recipients,
            handed,
            turn,
        }
    }

    /// A retained message of which nothing was promised: it reaches the disk soon.
    fn store_unpromised(&self, turn: Rc<Turn>, publication: Arc<Publication>) {
        let stored = self.store().publish(DurablePublish {
            publication: publication.clone(),
            to: Vec::new(),
            retain: Some(turn.at),
            from: None,
            history: None,
        });
        let topics = self.clone();
        actix::spawn(async move {
            let stored = stored.await;
            let retained = stored.as_ref().ok().and_then(|placed| placed.retained);
            topics.settle(Some(&turn), &publication, retained);
            if let Err(error) = stored {
                tracing::warn!(%error, "a retained message of quality of service 0 was not stored");
            }
        });
    }

    /// To all connections that subscribe, and to those of groups whose turn it is.
    fn spread(
        &self,
        shard: &Rc<Shard>,
        fan: Arc<Fan>,
        handed: Vec<(ShardHandle, Key, QoS, Merged)>,
    ) {
        shard.fan_out(&fan);
        for (handle, key, qos, merged) in handed {
            let hand = Hand {
                to: key,
                fan: fan.clone(),
                qos,
                retain: fan.publication.retain && merged.retain_as_published,
                ids: merged.ids.to_vec(),
                ordinal: None,
            };
            self.hand(shard, &handle, hand);
        }
        let shards = self.shards();
        if shards.len() > 1 {
            shard.forward(fan, &shards);
        }
    }

    /// To all connections that subscribe; nothing is kept.
    pub(in crate::actors::topic) fn spread_unasked(&self, publication: Arc<Publication>) {
        self.spread_from(&self.here(), publication);
    }

    /// The same, from a worker's shard that is known.
    pub(in crate::actors::topic) fn spread_from(
        &self,
        shard: &Rc<Shard>,
        publication: Arc<Publication>,
    ) {
        self.spread(shard, Fan::new(publication), Vec::new());
    }

    /// The retained message of a topic, and since when it is that.
    pub fn retained(&self, topic: &TopicName) -> Option<(Arc<Publication>, Timestamp)> {
        let kept = self.kept().get(topic.as_str(), self.now())?;
        Some((kept.publication, kept.at))
    }

    /// Retained messages of topics after `after`, in order of topic, at most `limit`.
    pub fn retained_page(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Vec<(Arc<Publication>, Timestamp)> {
        let page = self.kept().page(after, limit, self.now());
        page.into_iter()
            .map(|kept| (kept.publication, kept.at))
            .collect()
    }

    fn kept(&self) -> &RetainedTable {
        &self.inner.retained
    }
}

/// Whether only the server publishes to a topic.
pub(super) fn is_reserved(topic: &TopicName) -> bool {
    topic.is_reserved() || inbox::is_session_topic(topic.as_str())
}

/// Whether someone may publish this.
pub(super) fn decide(access: &Access, publication: &Publication) -> Decision {
    let topic = publication.topic.as_str();
    let decision = access.decide(Action::Publish, topic);
    if decision.is_allowed() && publication.retain {
        return access.decide(Action::RetainPublish, topic);
    }
    decision
}

/// The same in memory of its own: what is kept for long must not keep all that was read with it.
fn detached(mut publication: Publication) -> Publication {
    publication.topic = publication.topic.detached();
    publication.payload = bytes::Bytes::copy_from_slice(&publication.payload);
    publication
}
