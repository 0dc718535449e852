//! Client sessions that outlive their connection: who they are, what they subscribe to, and which of them a publication
//! is for, whether they are connected or not.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use dashmap::DashMap;

use super::shard::{Key, ShardHandle};
use super::target::{Merged, Options, is_from};
use super::ticks::{Tick, Ticks};
use super::trie::Trie;
use crate::backends::topics::Recipient;
use crate::domain::Timestamp;
use crate::domain::policy::{Access, Action};
use crate::domain::publication::{
    ClientId, ClientNo, ClientRecord, Ordinal, Publication, QoS, Subscription,
};
use crate::domain::topic::{Hash, TopicFilter, TopicName};

/// A session with a queue on disk.
#[derive(Debug)]
pub(super) struct Durable {
    pub(super) no: ClientNo,
    pub(super) id: ClientId,
    /// The principal that it belongs to.
    pub(super) owner: Arc<str>,
    state: Mutex<DurableState>,
}

/// What changes of a durable session.
#[derive(Debug)]
pub(super) struct DurableState {
    /// As it is on disk, or on its way there.
    pub(super) record: ClientRecord,
    /// What its client may do, as of its last connection; `None` if there was none since the start.
    pub(super) access: Option<Access>,
    /// Where its client is connected.
    pub(super) attached: Option<(ShardHandle, Key)>,
    /// Messages up to this one may have been sent to the client before.
    pub(super) sent_through: Option<Ordinal>,
    /// Why the last connection ended, in a word; `None` if none has since the start.
    pub(super) ended: Option<&'static str>,
    /// Whether it is gone: nothing may be stored for it any more.
    pub(super) closed: bool,
}

impl DurableState {
    /// When the session ends, if its client does not come back.
    pub(super) fn ends(&self) -> Option<Timestamp> {
        let (gone, expiry) = self.record.disconnected.zip(self.record.expiry)?;
        Some(gone.plus(expiry))
    }
}

impl Durable {
    pub(super) fn state(&self) -> MutexGuard<'_, DurableState> {
        self.state.lock().expect("nobody panics while holding it")
    }
}

/// All durable sessions.
#[derive(Debug)]
pub(super) struct Durables {
    by_id: DashMap<ClientId, Arc<Durable>>,
    filters: RwLock<Trie<Entry>>,
    /// Number of entries in `filters`, so that a publication that is for nobody here takes no lock.
    subscriptions: AtomicUsize,
}

#[derive(Debug)]
struct Entry {
    durable: Arc<Durable>,
    options: Options,
}

impl Durables {
    pub(super) fn new(hash: Hash) -> Self {
        Self {
            by_id: DashMap::default(),
            filters: RwLock::new(Trie::new(hash)),
            subscriptions: AtomicUsize::default(),
        }
    }

    pub(super) fn get(&self, id: &ClientId) -> Option<Arc<Durable>> {
        self.by_id.get(id).map(|found| found.clone())
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Shows each subscription of each session without a connection, at most `most` of them; `false` if there are more.
    pub(super) fn show_away(
        &self,
        most: usize,
        mut each: impl FnMut(&Durable, &Subscription),
    ) -> bool {
        let mut left = most;
        for durable in &self.by_id {
            let state = durable.state();
            if state.attached.is_some() {
                continue;
            }
            for subscription in &state.record.subscriptions {
                let Some(less) = left.checked_sub(1) else {
                    return false;
                };
                left = less;
                each(&durable, subscription);
            }
        }
        true
    }

    /// How many sessions without a connection subscribe to a topic.
    pub(super) fn count_away(&self, topic: &TopicName) -> usize {
        let filters = self.filters.read().expect("nobody panics while holding it");
        let mut away = HashSet::new();
        filters.matching(topic, &mut |entry: &Entry| {
            if entry.durable.state().attached.is_none() {
                away.insert(entry.durable.no);
            }
        });
        away.len()
    }

    /// Takes in a session that the store has. Replaces one of the same client id.
    pub(super) fn add(
        &self,
        record: ClientRecord,
        access: Option<Access>,
        sent_through: Option<Ordinal>,
    ) -> Arc<Durable> {
        let durable = Arc::new(Durable {
            no: record.no,
            id: record.id.clone(),
            owner: record.owner.clone(),
            state: Mutex::new(DurableState {
                record: record.clone(),
                access,
                attached: None,
                sent_through,
                ended: None,
                closed: false,
            }),
        });
        if let Some(old) = self.by_id.insert(record.id.clone(), durable.clone()) {
            self.forget(&old);
        }
        for subscription in &record.subscriptions {
            self.insert(&durable, subscription, || ());
        }
        self.show();
        durable
    }

    /// Removes a session. Nothing finds it from now on.
    pub(super) fn remove(&self, durable: &Arc<Durable>) {
        self.by_id
            .remove_if(&durable.id, |_, found| Arc::ptr_eq(found, durable));
        self.forget(durable);
        self.show();
    }

    fn forget(&self, durable: &Arc<Durable>) {
        let subscriptions = {
            let mut state = durable.state();
            state.closed = true;
            std::mem::take(&mut state.record.subscriptions)
        };
        for subscription in &subscriptions {
            self.delete(durable, &subscription.filter);
        }
    }

    /// Adds a subscription, or replaces the one of the same filter, in the record too. Says when it was made.
    pub(super) fn subscribe(
        &self,
        durable: &Arc<Durable>,
        subscription: &Subscription,
        ticks: &Ticks,
    ) -> Tick {
        {
            let mut state = durable.state();
            let subscriptions = &mut state.record.subscriptions;
            let old = subscriptions
                .iter_mut()
                .find(|old| old.filter == subscription.filter);
            match old {
                Some(old) => *old = subscription.clone(),
                None => subscriptions.push(subscription.clone()),
            }
        }
        self.insert(durable, subscription, || ticks.next())
    }

    /// Removes a subscription, from the record too; `false` if there was none.
    pub(super) fn unsubscribe(&self, durable: &Arc<Durable>, filter: &TopicFilter) -> bool {
        let removed = {
            let mut state = durable.state();
            let subscriptions = &mut state.record.subscriptions;
            let before = subscriptions.len();
            subscriptions.retain(|old| old.filter != *filter);
            subscriptions.len() < before
        };
        self.delete(durable, filter);
        removed
    }

    /// `meanwhile` is done while nobody looks for sessions.
    fn insert<T>(
        &self,
        durable: &Arc<Durable>,
        subscription: &Subscription,
        meanwhile: impl FnOnce() -> T,
    ) -> T {
        if subscription.filter.group().is_some() {
            return meanwhile();
        }
        let entry = Entry {
            durable: durable.clone(),
            options: Options::from(subscription),
        };
        let mut filters = self
            .filters
            .write()
            .expect("nobody panics while holding it");
        // In one step with what it replaces: nothing is lost between them (`[MQTT-3.8.4-4]`).
        filters.remove(&subscription.filter, |old| {
            Arc::ptr_eq(&old.durable, durable)
        });
        filters.insert(&subscription.filter, entry);
        self.subscriptions.store(filters.len(), Ordering::Release);
        meanwhile()
    }

    fn delete(&self, durable: &Arc<Durable>, filter: &TopicFilter) {
        if filter.group().is_some() {
            return;
        }
        let mut filters = self
            .filters
            .write()
            .expect("nobody panics while holding it");
        filters.remove(filter, |entry| Arc::ptr_eq(&entry.durable, durable));
        self.subscriptions.store(filters.len(), Ordering::Release);
    }

    /// Into whose queues a publication goes. For one that is to be retained: those of all who subscribed before the
    /// moment that comes with the answer, and of nobody else.
    pub(super) fn recipients(
        &self,
        publication: &Publication,
        limit: u64,
        ticks: &Ticks,
    ) -> (Vec<(Arc<Durable>, Recipient)>, Tick) {
        let is_for_nobody = !publication.retain && self.subscriptions.load(Ordering::Acquire) == 0;
        if publication.qos == QoS::AtMostOnce || is_for_nobody {
            return (Vec::new(), Tick::default());
        }
        let mut routed = Tick::default();
        let mut matched: HashMap<ClientNo, (Arc<Durable>, Vec<Options>)> = HashMap::new();
        {
            let filters = self.filters.read().expect("nobody panics while holding it");
            if publication.retain {
                routed = ticks.next();
            }
            filters.matching(&publication.topic, &mut |entry: &Entry| {
                let is_own = entry.options.no_local && is_from(publication, &entry.durable.id);
                if !is_own {
                    matched
                        .entry(entry.durable.no)
                        .or_insert_with(|| (entry.durable.clone(), Vec::new()))
                        .1
                        .push(entry.options);
                }
            });
        }
        let recipients = matched
            .into_values()
            .filter_map(|(durable, options)| {
                let merged = Merged::of(options.into_iter())?;
                let recipient = recipient(&durable, publication, &merged, limit)?;
                Some((durable, recipient))
            })
            .collect();
        (recipients, routed)
    }

    fn show(&self) {
        metrics::gauge!("fanfare_mqtt_durable_sessions").set(self.by_id.len() as f64);
    }
}

/// What is to be stored for a session; nothing if it wants quality of service 0, or may not receive it.
pub(super) fn recipient(
    durable: &Durable,
    publication: &Publication,
    merged: &Merged,
    limit: u64,
) -> Option<Recipient> {
    let qos = merged.qos.min(publication.qos);
    if qos == QoS::AtMostOnce {
        return None;
    }
    let state = durable.state();
    let access = state.access.as_ref();
    let may =
        access.is_none_or(|access| access.allows(Action::Receive, publication.topic.as_str()));
    (may && !state.closed).then(|| Recipient {
        client: durable.no,
        qos,
        retain: publication.retain && merged.retain_as_published,
        ids: merged.ids.to_vec(),
        limit,
    })
}
