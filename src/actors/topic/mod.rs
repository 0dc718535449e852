//! The topic plane: connections publish to topics, and each publication finds its way to those that subscribe.
//!
//! Each worker has a [`TopicActor`] with a [shard]: the connections of that worker and their subscriptions. A
//! publication goes to the connections of its own worker without leaving the thread, and to each other worker as one
//! message, however many subscribers there are. What promises more than "at most once" to a session that outlives its
//! connection goes through that session's queue on disk ([`durable`]), and is acknowledged when it is there.
//!
//! Who may do what is decided here, not by whoever calls: [`Topics::connect`], [`Attached::publish`],
//! [`Attached::subscribe`] and every delivery ask the [`Access`](crate::domain::policy::Access) of the connection.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use actix::Actor as _;

use crate::actors::queue::Queues;
use crate::backends::QueueCatalog;
use crate::backends::broker::TopicBroker;
use crate::backends::rooms::RoomStore;
use crate::backends::topics::TopicStore;
use crate::domain::publication::{Ordinal, Publication};
use crate::domain::room::RoomRule;
use crate::domain::topic::Hash;
use crate::domain::{Clock, StoreError, Timestamp};

mod actor;
mod attached;
mod clients;
mod connect;
mod deadlines;
#[cfg(test)]
mod double;
mod durable;
mod fan;
mod forward;
mod groups;
mod inbox;
mod lifecycle;
mod messages;
mod order;
mod outgoing;
mod publish;
mod remote;
mod retained;
mod room;
mod shard;
mod subscribe;
mod subscriber;
mod survey;
mod target;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod ticks;
mod trie;
mod upstream;
mod window;

pub use actor::TopicActor;
pub use attached::{Attached, Leaving, WillFate};
pub use connect::{Connect, ConnectError, Connected};
pub use fan::{About, Closing, Delivery, FORMATS, Fan, Link, Receipt};
pub use inbox::QueueReceipt;
pub use outgoing::{Outgoing, Received};
pub use publish::{PublishError, Publishing};
pub use remote::{ClientView, Confirmation, Direct, RemoteError};
pub use retained::RetainedLimits;
pub use room::{HistoryPage, Recover, RoomError, SeatAnswer};
pub use subscribe::{Granted, SubscribeError};
pub use survey::{FilterView, Filters, SubscriberView, Subscribers};
pub use window::{Overflow, Sending, WindowLimits};

use clients::Clients;
use deadlines::Deadlines;
use durable::Durables;
use groups::Groups;
use retained::RetainedTable;
use room::Rooms;
use shard::{Shard, ShardHandle};
use ticks::Ticks;

/// Bounds of the topic plane.
#[derive(Debug, Clone)]
pub struct TopicSettings {
    /// Messages that wait in one durable session's queue; more are not stored for it.
    pub queue_limit: u64,
    /// Durable sessions; beyond it a client that asks for one is refused.
    pub max_durable_sessions: usize,
    /// Subscriptions of one client.
    pub max_subscriptions: usize,
    /// Retained messages.
    pub retained: RetainedLimits,
    /// What `#` matches.
    pub hash: Hash,
    /// Whether connections and subscriptions are announced on `$aws/events/…`.
    pub lifecycle_events: bool,
    /// Which topics are rooms; the first rule that matches counts.
    pub rooms: Vec<RoomRule>,
}

/// Whether what a publication's publisher was once allowed still is. Asked before something that was kept is delivered.
pub trait StandingRights: Send + Sync + 'static {
    /// `false` if the right to publish it was taken away since.
    fn stand(&self, publication: &Publication) -> bool;
}

/// All topics of this process. Cheap to clone.
#[derive(Clone)]
pub struct Topics {
    inner: Arc<Inner>,
}

struct Inner {
    /// Tells the threads' shards of several instances apart.
    id: u64,
    store: Arc<dyn TopicStore>,
    rights: Arc<dyn StandingRights>,
    inboxes: Option<SessionQueues>,
    broker: Option<Arc<dyn TopicBroker>>,
    settings: TopicSettings,
    clock: Clock,
    shards: RwLock<Arc<[ShardHandle]>>,
    clients: Clients,
    durables: Durables,
    groups: Groups,
    retained: RetainedTable,
    ticks: Ticks,
    deadlines: Deadlines,
    histories: Arc<dyn RoomStore>,
    rooms: Rooms,
}

thread_local! {
    /// This thread's shard of each instance.
    static SHARDS: RefCell<HashMap<u64, Weak<Shard>>> = RefCell::default();
}

/// What [`Topics`] works with.
pub struct TopicParts {
    /// Where sessions and retained messages are kept.
    pub store: Arc<dyn TopicStore>,
    /// Where rooms' histories are read.
    pub histories: Arc<dyn RoomStore>,
    /// Whether publishers' rights still stand.
    pub rights: Arc<dyn StandingRights>,
    /// Whose messages are read by the sessions' topics; `None`: these are topics like others.
    pub inboxes: Option<SessionQueues>,
    /// Where what is published goes, and comes back from; `None`: nowhere, it stays in this process.
    pub broker: Option<Arc<dyn TopicBroker>>,
    /// Time.
    pub clock: Clock,
}

/// The sessions' queues, for their topics.
#[derive(Clone)]
pub struct SessionQueues {
    /// The queues.
    pub queues: Queues,
    /// Their names.
    pub catalog: Arc<dyn QueueCatalog>,
}

impl Topics {
    /// Reads what the store has. Call [`Topics::keep_time`] once inside an actix system.
    ///
    /// # Errors
    /// [`StoreError`] if the store can not be read.
    pub fn open(parts: TopicParts, settings: TopicSettings) -> Result<Self, StoreError> {
        static IDS: AtomicU64 = AtomicU64::new(0);
        let topics = Self {
            inner: Arc::new(Inner {
                id: IDS.fetch_add(1, Ordering::Relaxed),
                store: parts.store,
                rights: parts.rights,
                inboxes: parts.inboxes,
                broker: parts.broker,
                clock: parts.clock,
                shards: RwLock::new(Arc::new([])),
                clients: Clients::default(),
                durables: Durables::new(settings.hash),
                groups: Groups::new(settings.hash),
                retained: RetainedTable::new(settings.retained, settings.hash),
                ticks: Ticks::default(),
                deadlines: Deadlines::default(),
                histories: parts.histories,
                rooms: Rooms::new(&settings.rooms),
                settings,
            }),
        };
        topics.recover()?;
        Ok(topics)
    }

    /// Takes in what was there when the last process ended.
    fn recover(&self) -> Result<(), StoreError> {
        let now = self.now();
        self.store().retained(now, &mut |publication, at| {
            self.inner.retained.load(publication, at);
        })?;
        let mut records = Vec::new();
        self.store().clients(&mut |record| records.push(record))?;
        for mut record in records {
            // Whoever was connected is not any more.
            let was_connected = record.disconnected.is_none();
            record.disconnected.get_or_insert(now);
            let sent = Some(Ordinal(u64::MAX));
            let durable = self.inner.durables.add(record.clone(), None, sent);
            for subscription in &record.subscriptions {
                self.join_group(subscription, &durable.id, None, Some(durable.clone()));
            }
            self.await_end(&durable, &record);
            if was_connected {
                self.save(record);
            }
        }
        Ok(())
    }

    pub(in crate::actors::topic) fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    pub(in crate::actors::topic) fn store(&self) -> &dyn TopicStore {
        &*self.inner.store
    }

    pub(in crate::actors::topic) fn rooms(&self) -> &Rooms {
        &self.inner.rooms
    }

    pub(in crate::actors::topic) fn rights(&self) -> &dyn StandingRights {
        &*self.inner.rights
    }

    /// Connected clients.
    pub fn connections(&self) -> usize {
        self.inner.clients.len()
    }

    /// This worker's shard; a new one with its actor if it has none yet.
    fn here(&self) -> Rc<Shard> {
        let id = self.inner.id;
        let known = SHARDS.with_borrow(|shards| shards.get(&id).and_then(Weak::upgrade));
        if let Some(known) = known {
            return known;
        }
        let shard = Rc::new(Shard::new(self.inner.settings.hash));
        let address = TopicActor::new(shard.clone()).start();
        SHARDS.with_borrow_mut(|shards| shards.insert(id, Rc::downgrade(&shard)));
        let mut shards = self
            .inner
            .shards
            .write()
            .expect("nobody panics while holding it");
        let handle = shard.handle(address);
        *shards = shards.iter().cloned().chain([handle]).collect();
        shard
    }

    /// How this worker's shard is reached.
    fn handle_of(&self, shard: &Shard) -> ShardHandle {
        let shards = self.shards();
        let handle = shards.iter().find(|handle| handle.is_of(shard));
        handle.expect("a shard is listed when it is made").clone()
    }

    fn shards(&self) -> Arc<[ShardHandle]> {
        let shards = self
            .inner
            .shards
            .read()
            .expect("nobody panics while holding it");
        shards.clone()
    }
}
