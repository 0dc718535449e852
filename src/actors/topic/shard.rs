//! One worker's share of the topic plane: its connections, what they subscribe to, and the way from a publication to
//! each of them without leaving the thread.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix::Addr;

use super::actor::TopicActor;
use super::durable::Durable;
use super::fan::{Closing, Delivery, Fan, Link};
use super::forward::Forwarder;
use super::messages::{Begin, Hand};
use super::room::Room;
use super::subscriber::Subscriber;
use super::target::{Merged, Options, Target};
use super::ticks::{Tick, Ticks};
use super::trie::Trie;
use crate::config::limits;
use crate::domain::policy::{Access, Action};
use crate::domain::publication::{ClientId, Subscription};
use crate::domain::room::{SIDE, governing};
use crate::domain::topic::{self, TopicFilter, TopicName};

/// A connection's place in its shard. Not used again by another connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
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
    /// Rooms that this worker owns.
    pub(super) rooms: RefCell<HashMap<TopicName, Room>>,
}

struct State {
    last_key: u64,
    subscribers: HashMap<Key, Rc<Subscriber>>,
    filters: Trie<Entry>,
    /// How many of the filters begin with `$`.
    reserved: usize,
    /// Subscriptions that are to begin, with when they were asked for.
    waiting: HashMap<(Key, TopicFilter), Tick>,
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

/// Whether it asks for what the server tells of itself. Topics beside rooms are something else.
fn is_reserved(filter: &TopicFilter) -> bool {
    let text = filter.filter();
    text.starts_with('$') && !text.starts_with(SIDE)
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
            rooms: RefCell::default(),
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
        let more = state.filters.len() + state.waiting.len() + 1;
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
            state.insert_entry(key, subscription, since);
        }
        self.count(&state);
        is_new.then_some(made)
    }

    /// Notes a subscription that [`Shard::begin`] will begin; until then nothing is delivered for it. Says when it was made,
    /// if it is new.
    pub(super) fn subscribe_later(
        &self,
        subscriber: &Subscriber,
        subscription: &Subscription,
        ticks: &Ticks,
    ) -> Option<Tick> {
        let mut state = self.state.borrow_mut();
        let (key, filter) = (subscriber.key, &subscription.filter);
        if !state.subscribers.contains_key(&key) {
            return None;
        }
        let is_new = subscriber.add(subscription);
        if !is_new {
            state.remove_entry(filter, key);
        }
        let made = ticks.next();
        state.waiting.insert((key, filter.clone()), made);
        // From now on other workers must send what is published.
        self.count(&state);
        is_new.then_some(made)
    }

    /// A subscription begins, if it is still as it was asked for, with what comes before everything live.
    pub(super) fn begin(&self, begin: Begin) {
        let Begin {
            to,
            subscription,
            first,
            ..
        } = begin;
        let filter = &subscription.filter;
        let link = {
            let mut state = self.state.borrow_mut();
            let asked = state.waiting.get(&(to, filter.clone())).copied();
            // It was asked for twice, and begins twice.
            let Some(since) = asked.or_else(|| state.since(filter, to)) else {
                return;
            };
            let Some(subscriber) = state.subscribers.get(&to).cloned() else {
                return;
            };
            if !subscriber.subscriptions().contains(&subscription) {
                return;
            }
            let resource = governing(filter.filter());
            let may = subscriber.access().allows(Action::Receive, resource);
            state.remove_entry(filter, to);
            state.insert_entry(to, &subscription, since);
            self.count(&state);
            may.then(|| subscriber.link.clone())
        };
        let Some(link) = link else { return };
        let delivery = |fan: Arc<Fan>| {
            let matches = filter.matches(&fan.publication.topic);
            Delivery {
                qos: subscription.qos.min(fan.publication.qos),
                fan,
                retain: false,
                ids: subscription.id.filter(|_| matches).into_iter().collect(),
                ordinal: None,
                receipt: None,
            }
        };
        link.replay(first.into_iter().map(delivery).collect());
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
        let all = state.filters.len() + state.waiting.len();
        subscriptions.store(all, Ordering::Relaxed);
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

    /// How many connections would get what is published to a topic now.
    pub(super) fn count_reached(&self, topic: &TopicName) -> usize {
        self.state.borrow().find_targets(topic, Tick::END).len()
    }

    /// Shows each subscription of each connection, at most `most` of them; `false` if there are more.
    pub(super) fn show(
        &self,
        most: usize,
        mut each: impl FnMut(&Subscriber, &Subscription),
    ) -> bool {
        let mut left = most;
        for subscriber in self.state.borrow().subscribers.values() {
            for subscription in subscriber.listed().iter() {
                let Some(less) = left.checked_sub(1) else {
                    return false;
                };
                left = less;
                each(subscriber, subscription);
            }
        }
        true
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
            waiting: HashMap::new(),
            newest: Tick::default(),
            targets: HashMap::new(),
        }
    }

    fn insert_entry(&mut self, key: Key, subscription: &Subscription, since: Tick) {
        let filter = &subscription.filter;
        let entry = Entry {
            key,
            options: Options::from(subscription),
            since,
        };
        self.filters.insert(filter, entry);
        self.newest = self.newest.max(since);
        self.reserved += usize::from(is_reserved(filter));
        self.forget_targets(filter);
    }

    fn remove_entry(&mut self, filter: &TopicFilter, key: Key) {
        if !self.waiting.is_empty() {
            self.waiting.remove(&(key, filter.clone()));
        }
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
        let resource = governing(topic.as_str());
        if !subscriber.access().allows(Action::Receive, resource) {
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
