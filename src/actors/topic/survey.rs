//! All topics seen from outside, for whoever looks after the server: what is subscribed to, and by whom. Each worker counts
//! its own connections; how much it looks at for one answer is bounded.

use std::collections::{BTreeMap, HashMap};

use super::Topics;
use super::messages::{CountFilters, CountReached, ListSubscribers};
use super::shard::Shard;
use crate::config::limits::console::SURVEYED;
use crate::domain::publication::{ClientId, QoS};
use crate::domain::topic::{TopicFilter, TopicName};

/// What is subscribed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filters {
    /// In order of filter.
    pub listed: Vec<FilterView>,
    /// Whether there are more behind the last.
    pub more: bool,
    /// Whether all subscriptions were looked at; if not, the numbers are too small.
    pub complete: bool,
}

/// A topic filter, and how many subscribe to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterView {
    /// The filter, with `$share/name/` if it is shared.
    pub filter: String,
    /// Connections.
    pub connected: usize,
    /// Sessions without a connection.
    pub away: usize,
}

/// Who subscribes to a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribers {
    /// The first in order of client id.
    pub listed: Vec<SubscriberView>,
    /// How many there are.
    pub total: usize,
    /// Whether all subscriptions were looked at; if not, the numbers are too small.
    pub complete: bool,
}

/// A client that subscribes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriberView {
    /// Its name.
    pub client: ClientId,
    /// At most this.
    pub qos: QoS,
    /// Whether it is connected, or has a session that waits for it.
    pub connected: bool,
}

/// How often each filter is subscribed to.
#[derive(Debug)]
pub(super) struct Tally {
    by_filter: HashMap<String, usize>,
    complete: bool,
}

/// Who subscribes to one filter: the first, and how many in all.
#[derive(Debug)]
pub(super) struct Roll {
    first: BTreeMap<ClientId, QoS>,
    total: usize,
    complete: bool,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            by_filter: HashMap::new(),
            complete: true,
        }
    }
}

impl Default for Roll {
    fn default() -> Self {
        Self {
            first: BTreeMap::new(),
            total: 0,
            complete: true,
        }
    }
}

impl Tally {
    fn add(&mut self, filter: &str) {
        match self.by_filter.get_mut(filter) {
            Some(count) => *count += 1,
            None => drop(self.by_filter.insert(filter.to_owned(), 1)),
        }
    }
}

impl Roll {
    fn add(&mut self, client: &ClientId, qos: QoS, limit: usize) {
        self.total += 1;
        self.first.insert(client.clone(), qos);
        if self.first.len() > limit {
            self.first.pop_last();
        }
    }
}

impl Shard {
    pub(super) fn count_filters(&self, beginning: &str) -> Tally {
        let mut tally = Tally::default();
        tally.complete = self.show(SURVEYED, |_, subscription| {
            let filter = subscription.filter.as_str();
            if filter.starts_with(beginning) {
                tally.add(filter);
            }
        });
        tally
    }

    pub(super) fn list_subscribers(&self, filter: &TopicFilter, limit: usize) -> Roll {
        let mut roll = Roll::default();
        roll.complete = self.show(SURVEYED, |subscriber, subscription| {
            if subscription.filter == *filter {
                roll.add(&subscriber.client, subscription.qos, limit);
            }
        });
        roll
    }
}

impl Topics {
    /// The filters that begin so and come after `after`, at most `limit`.
    pub async fn filters(&self, beginning: &str, after: Option<&str>, limit: usize) -> Filters {
        let mut all: BTreeMap<String, FilterView> = BTreeMap::new();
        let mut complete = true;
        let view = |filter: &str| FilterView {
            filter: filter.to_owned(),
            connected: 0,
            away: 0,
        };
        for shard in self.shards().iter() {
            let beginning = beginning.to_owned();
            // An error: that worker has ended, and its connections with it.
            let counted = shard.address().send(CountFilters { beginning }).await;
            let tally = counted.unwrap_or_default();
            complete &= tally.complete;
            for (filter, count) in tally.by_filter {
                let found = all.entry(filter).or_insert_with_key(|filter| view(filter));
                found.connected += count;
            }
        }
        complete &= self.inner.durables.show_away(SURVEYED, |_, subscription| {
            let filter = subscription.filter.as_str();
            if filter.starts_with(beginning) {
                let found = all.entry(filter.to_owned());
                found.or_insert_with_key(|filter| view(filter)).away += 1;
            }
        });
        let is_next = |found: &FilterView| after.is_none_or(|after| found.filter.as_str() > after);
        let mut listed: Vec<_> = all.into_values().filter(is_next).take(limit + 1).collect();
        let more = listed.len() > limit;
        listed.truncate(limit);
        Filters {
            listed,
            more,
            complete,
        }
    }

    /// Who subscribes to exactly this filter, at most `limit` of them.
    pub async fn subscribers(&self, filter: &TopicFilter, limit: usize) -> Subscribers {
        let mut listed = BTreeMap::new();
        let (mut total, mut complete) = (0, true);
        let mut add = |roll: Roll, connected: bool| {
            total += roll.total;
            complete &= roll.complete;
            let views = roll.first.into_iter().map(|(client, qos)| SubscriberView {
                client,
                qos,
                connected,
            });
            listed.extend(views.map(|view| (view.client.clone(), view)));
        };
        for shard in self.shards().iter() {
            let filter = filter.clone();
            let listed = shard.address().send(ListSubscribers { filter, limit });
            // An error: that worker has ended, and its connections with it.
            add(listed.await.unwrap_or_default(), true);
        }
        let mut roll = Roll::default();
        roll.complete = self
            .inner
            .durables
            .show_away(SURVEYED, |durable, subscription| {
                if subscription.filter == *filter {
                    roll.add(&durable.id, subscription.qos, limit);
                }
            });
        add(roll, false);
        Subscribers {
            listed: listed.into_values().take(limit).collect(),
            total,
            complete,
        }
    }

    /// How many connections, and how many sessions without one, would get what is published to a topic now. Of a group
    /// that shares a subscription nobody is counted.
    pub async fn reached(&self, topic: &TopicName) -> (usize, usize) {
        let mut connected = 0;
        for shard in self.shards().iter() {
            // An error: that worker has ended, and its connections with it.
            let counted = shard.address().send(CountReached(topic.detached())).await;
            connected += counted.unwrap_or_default();
        }
        (connected, self.inner.durables.count_away(topic))
    }

    /// The first connected clients of a principal, in order.
    pub fn clients_of(&self, principal: &str, limit: usize) -> Vec<ClientId> {
        self.inner.clients.of(principal, limit)
    }
}
