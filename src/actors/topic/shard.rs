//! One worker's share of the topic plane: its connections, what they subscribe to, and the way from a publication to
//! each of them without leaving the thread.

use std::cell::RefCell;
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix::Addr;

use super::actor::TopicActor;
use super::durable::Durable;
use super::fan::{Closing, Delivery, Fan, Link};
use super::forward::Forwarder;
use super::messages::Hand;
use super::subscriber::Subscriber;
use super::ticks::{Tick, Ticks};
use super::trie::Trie;
use crate::config::limits;
use crate::domain::policy::{Access, Action};
use crate::domain::publication::{ClientId, Publication, QoS, Subscription};
use crate::domain::topic::{self, TopicFilter, TopicName};

/// A connection's place in its shard. Not used again by another connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key(u64);

/// Tells shards apart, as long as one has the handle of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Place(usize);

/// How other workers reach a shard. A copy costs a counter: whoever is connected has some.
#[derive(Debug, Clone)]
pub(super) struct ShardHandle(Arc<Way>);

#[derive(Debug)]
struct Way {
    address: Addr<TopicActor>,
    counts: Arc<Counts>,
}

/// What other workers know of a shard.
#[derive(Debug, Default)]
struct Counts {
    /// Subscriptions: publications are not sent to a shard without any.
    subscriptions: AtomicUsize,
    /// Those that begin with `$`: events are not made when nobody wants them.
    reserved: AtomicUsize,
}

/// See the module. Not shared between threads.
pub(super) struct Shard {
    state: RefCell<State>,
    counts: Arc<Counts>,
    /// What is on its way to other shards.
    pub(super) forwarder: Forwarder,
}

struct State {
    last_key: u64,
    subscribers: HashMap<Key, Rc<Subscriber>>,
    filters: Trie<Entry>,
    /// How many of the filters begin with `$`.
    reserved: usize,
    /// When the newest subscription was made.
    newest: Tick,
    /// Who gets publications of a topic, as long as nobody's subscription or rights change.
    targets: HashMap<TopicName, Rc<[Target]>>,
}

/// One subscription in the tree.
#[derive(Debug, Clone, Copy)]
struct Entry {
    key: Key,
    options: Options,
    since: Tick,
}

/// What of a subscription decides how its publications are delivered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options {
    pub(super) qos: QoS,
    pub(super) no_local: bool,
    pub(super) retain_as_published: bool,
    pub(super) id: Option<NonZeroU32>,
}

impl From<&Subscription> for Options {
    fn from(subscription: &Subscription) -> Self {
        Self {
            qos: subscription.qos,
            no_local: subscription.no_local,
            retain_as_published: subscription.retain_as_published,
            id: subscription.id.and_then(NonZeroU32::new),
        }
    }
}

/// All of one connection's subscriptions that match a topic.
struct Target {
    link: Rc<dyn Link>,
    durable: bool,
    /// For publications of others.
    all: Merged,
    /// If one of the subscriptions is `no local`: whose own publications are different, and what is left of the
    /// subscriptions for them.
    own: Option<(ClientId, Option<Merged>)>,
}

/// Several subscriptions of one client to one topic: it gets one copy.
#[derive(Debug, Clone)]
pub(super) struct Merged {
    pub(super) qos: QoS,
    pub(super) retain_as_published: bool,
    pub(super) ids: Rc<[u32]>,
}

impl Merged {
    /// `None` if there are no subscriptions.
    pub(super) fn of(options: impl Iterator<Item = Options>) -> Option<Self> {
        let mut merged: Option<(QoS, bool)> = None;
        let mut ids = Vec::new();
        for options in options {
            let (qos, retain) = merged.unwrap_or_default();
            merged = Some((qos.max(options.qos), retain || options.retain_as_published));
            ids.extend(options.id.map(NonZeroU32::get));
        }
        ids.sort_unstable();
        merged.map(|(qos, retain_as_published)| Self {
            qos,
            retain_as_published,
            ids: ids.into(),
        })
    }
}

impl Target {
    /// Hands it over; `last` is the delivery that the target before got, which this one mostly gets, too.
    fn deliver(&self, fan: &Arc<Fan>, last: &mut Option<Delivery>) {
        let publication = &fan.publication;
        let merged = match &self.own {
            Some((client, own)) if is_from(publication, client) => own.as_ref(),
            _ => Some(&self.all),
        };
        let Some(merged) = merged else { return };
        let qos = merged.qos.min(publication.qos);
        if self.durable && qos != QoS::AtMostOnce {
            return;
        }
        let retain = publication.retain && merged.retain_as_published;
        let is_same = |last: &&mut Delivery| {
            last.qos == qos && last.retain == retain && last.ids == merged.ids
        };
        let delivery = match last.as_mut().filter(is_same) {
            Some(same) => same,
            None => last.insert(Delivery {
                fan: fan.clone(),
                qos,
                retain,
                ids: merged.ids.clone(),
                ordinal: None,
                receipt: None,
            }),
        };
        self.link.deliver(delivery);
    }
}

/// Whether it asks for topics of the server.
fn is_reserved(filter: &TopicFilter) -> bool {
    filter.filter().starts_with('$')
}

/// Whether a client published it itself.
pub(super) fn is_from(publication: &Publication, client: &ClientId) -> bool {
    let publisher = publication.publisher.as_ref();
    publisher.is_some_and(|publisher| publisher.client.as_ref() == Some(client))
}

impl ShardHandle {
    /// Whether the other is the same shard.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The shard's mailbox.
    pub(super) fn address(&self) -> &Addr<TopicActor> {
        &self.0.address
    }

    /// Whether it is this shard.
    pub(super) fn is_of(&self, shard: &Shard) -> bool {
        Arc::ptr_eq(&self.0.counts, &shard.counts)
    }

    /// Whether somebody there subscribes to the server's own topics.
    pub(super) fn wants_events(&self) -> bool {
        self.0.counts.reserved.load(Ordering::Relaxed) > 0
    }

    /// What tells it from other shards.
    pub(super) fn place(&self) -> Place {
        Place(Arc::as_ptr(&self.0) as usize)
    }

    /// Whether somebody there subscribes to anything.
    pub(super) fn has_subscriptions(&self) -> bool {
        self.0.counts.subscriptions.load(Ordering::Relaxed) > 0
    }
}

impl Shard {
    pub(super) fn new(hash: topic::Hash) -> Self {
        Self {
            state: RefCell::new(State::new(hash)),
            counts: Arc::default(),
            forwarder: Forwarder::default(),
        }
    }

    pub(super) fn handle(&self, address: Addr<TopicActor>) -> ShardHandle {
        ShardHandle(Arc::new(Way {
            address,
            counts: self.counts.clone(),
        }))
    }

    pub(super) fn attach(
        &self,
        client: ClientId,
        link: Rc<dyn Link>,
        access: Access,
        durable: Option<Arc<Durable>>,
    ) -> Rc<Subscriber> {
        let mut state = self.state.borrow_mut();
        state.last_key += 1;
        let key = Key(state.last_key);
        let subscriber = Rc::new(Subscriber::new(key, client, link, access, durable));
        state.subscribers.insert(key, subscriber.clone());
        subscriber
    }

    /// The connection is gone: it gets nothing any more. `false` if it was gone already.
    pub(super) fn detach(&self, key: Key) -> bool {
        let mut state = self.state.borrow_mut();
        let Some(subscriber) = state.subscribers.remove(&key) else {
            return false;
        };
        // There may be somebody who still holds it: it subscribes to nothing from now on.
        for subscription in subscriber.take() {
            if subscription.filter.group().is_none() {
                state.remove_entry(&subscription.filter, key);
            }
        }
        self.count(&state);
        true
    }

    /// Ends a connection from outside.
    pub(super) fn end(&self, key: Key, why: Closing) {
        if let Some(subscriber) = self.subscriber(key) {
            subscriber.link.close(why);
        }
    }

    /// A connection, if it is there.
    pub(super) fn subscriber(&self, key: Key) -> Option<Rc<Subscriber>> {
        self.state.borrow().subscribers.get(&key).cloned()
    }

    /// Adds a subscription, or replaces the one of the same filter. Says when it was made, if it is new.
    pub(super) fn subscribe(
        &self,
        subscriber: &Subscriber,
        subscription: &Subscription,
        ticks: &Ticks,
    ) -> Option<Tick> {
        let mut state = self.state.borrow_mut();
        let key = subscriber.key;
        if !state.subscribers.contains_key(&key) {
            return None;
        }
        // Whoever publishes after the subscription was made must see that there is one.
        let more = state.filters.len() + 1;
        self.counts.subscriptions.store(more, Ordering::Relaxed);
        let made = ticks.next();
        let filter = &subscription.filter;
        let is_new = subscriber.add(subscription);
        if filter.group().is_none() {
            let mut since = made;
            if !is_new {
                // What was published before this is still on its way to it (`[MQTT-3.8.4-4]`).
                since = state.since(filter, key).unwrap_or(made);
                state.remove_entry(filter, key);
            }
            let entry = Entry {
                key,
                options: Options::from(subscription),
                since,
            };
            state.filters.insert(filter, entry);
            state.newest = state.newest.max(since);
            state.reserved += usize::from(is_reserved(filter));
            state.forget_targets(filter);
        }
        self.count(&state);
        is_new.then_some(made)
    }

    /// Removes a subscription; `false` if there was none.
    pub(super) fn unsubscribe(&self, subscriber: &Subscriber, filter: &TopicFilter) -> bool {
        let mut state = self.state.borrow_mut();
        let removed = subscriber.remove(filter);
        if removed && filter.group().is_none() {
            state.remove_entry(filter, subscriber.key);
        }
        self.count(&state);
        removed
    }

    /// What the connection may do has changed.
    pub(super) fn set_access(&self, subscriber: &Subscriber, access: Access) {
        subscriber.set_access(access);
        self.state.borrow_mut().targets.clear();
    }

    fn count(&self, state: &State) {
        let Counts {
            subscriptions,
            reserved,
        } = &*self.counts;
        subscriptions.store(state.filters.len(), Ordering::Relaxed);
        reserved.store(state.reserved, Ordering::Relaxed);
    }

    /// Hands a publication to every connection of this worker that subscribes to its topic and may receive it. Whoever
    /// subscribed after it became its topic's retained message has it as that.
    pub(super) fn fan_out(&self, fan: &Arc<Fan>) {
        let topic = &fan.publication.topic;
        let mut state = self.state.borrow_mut();
        let targets = match fan.retained {
            Some(retained) if state.newest > retained => state.find_targets(topic, retained),
            _ => state.targets(topic),
        };
        drop(state);
        let mut last = None;
        for target in targets.iter() {
            target.deliver(fan, &mut last);
        }
    }

    /// Hands a publication to one connection.
    pub(super) fn hand(&self, hand: Hand) {
        if let Some(subscriber) = self.subscriber(hand.to) {
            subscriber.link.deliver(&Delivery {
                fan: hand.fan,
                qos: hand.qos,
                retain: hand.retain,
                ids: hand.ids.into(),
                ordinal: hand.ordinal,
                receipt: None,
            });
        }
    }
}

impl State {
    fn new(hash: topic::Hash) -> Self {
        Self {
            last_key: 0,
            subscribers: HashMap::new(),
            filters: Trie::new(hash),
            reserved: 0,
            newest: Tick::default(),
            targets: HashMap::new(),
        }
    }

    fn remove_entry(&mut self, filter: &TopicFilter, key: Key) {
        let removed = self.filters.remove(filter, |entry| entry.key == key);
        if is_reserved(filter) {
            self.reserved -= removed;
        }
        self.forget_targets(filter);
    }

    /// A subscription of this filter came or went.
    fn forget_targets(&mut self, filter: &TopicFilter) {
        if filter.is_wild() {
            self.targets.clear();
        } else {
            self.targets.remove(filter.filter());
        }
    }

    fn targets(&mut self, topic: &TopicName) -> Rc<[Target]> {
        if let Some(known) = self.targets.get(topic) {
            return known.clone();
        }
        let targets = self.find_targets(topic, Tick::END);
        // Topics that nobody subscribes to are not remembered: whoever publishes can think up any number of them.
        if !targets.is_empty() {
            if self.targets.len() >= limits::CACHED_TOPICS {
                self.targets.clear();
            }
            self.targets.insert(topic.detached(), targets.clone());
        }
        targets
    }

    /// Who subscribed before a certain moment.
    fn find_targets(&self, topic: &TopicName, before: Tick) -> Rc<[Target]> {
        let mut matched: Vec<Entry> = Vec::new();
        self.filters.matching(topic, &mut |entry| {
            if entry.since < before {
                matched.push(*entry);
            }
        });
        matched.sort_by_key(|entry| entry.key.0);
        matched
            .chunk_by(|one, other| one.key == other.key)
            .filter_map(|entries| self.target(topic, entries))
            .collect()
    }

    /// When a connection's subscription was made.
    fn since(&self, filter: &TopicFilter, key: Key) -> Option<Tick> {
        let entry = self.filters.find(filter, |entry| entry.key == key)?;
        Some(entry.since)
    }

    fn target(&self, topic: &TopicName, entries: &[Entry]) -> Option<Target> {
        let subscriber = self.subscribers.get(&entries.first()?.key)?;
        if !subscriber.access().allows(Action::Receive, topic.as_str()) {
            return None;
        }
        let options = || entries.iter().map(|entry| entry.options);
        let own = options().any(|options| options.no_local).then(|| {
            let left = options().filter(|options| !options.no_local);
            (subscriber.client.clone(), Merged::of(left))
        });
        Some(Target {
            link: subscriber.link.clone(),
            durable: subscriber.durable.is_some(),
            all: Merged::of(options())?,
            own,
        })
    }
}
