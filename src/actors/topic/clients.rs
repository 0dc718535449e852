//! Which client ids are connected, where, and whose they are.

use std::sync::Arc;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::shard::{Key, ShardHandle};
use crate::domain::publication::ClientId;

/// A connected client.
#[derive(Debug, Clone)]
pub(super) struct Seat {
    pub(super) shard: ShardHandle,
    pub(super) key: Key,
    /// The principal that connected; another's connection with this client id is refused.
    pub(super) owner: Arc<str>,
}

/// The clients of all workers.
#[derive(Debug, Default)]
pub(super) struct Clients {
    seats: DashMap<ClientId, Seat>,
    turns: DashMap<ClientId, Arc<Mutex<()>>>,
}

/// The right to change who has a client id. Nobody else has it at the same time.
pub(super) struct Turn<'a> {
    clients: &'a Clients,
    id: ClientId,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Clients {
    /// Waits until nobody else changes who has this client id.
    pub(super) async fn turn(&self, id: &ClientId) -> Turn<'_> {
        let lock = self.turns.entry(id.clone()).or_default().clone();
        Turn {
            clients: self,
            id: id.clone(),
            guard: Some(lock.lock_owned().await),
        }
    }

    pub(super) fn get(&self, id: &ClientId) -> Option<Seat> {
        self.seats.get(id).map(|seat| seat.clone())
    }

    /// The first of those that belong to a principal, in order.
    pub(super) fn of(&self, owner: &str, limit: usize) -> Vec<ClientId> {
        let own = self.seats.iter().filter(|seat| &*seat.owner == owner);
        let mut own: Vec<_> = own.map(|seat| seat.key().clone()).collect();
        own.sort_unstable();
        own.truncate(limit);
        own
    }

    /// How many are connected.
    pub(super) fn len(&self) -> usize {
        self.seats.len()
    }

    pub(super) fn sit(&self, id: ClientId, seat: Seat) {
        self.seats.insert(id, seat);
    }

    /// The connection is gone; another's that has the client id by now stays.
    pub(super) fn leave(&self, id: &ClientId, shard: &ShardHandle, key: Key) {
        self.seats
            .remove_if(id, |_, seat| seat.key == key && seat.shard.is(shard));
    }
}

impl Drop for Turn<'_> {
    /// Lets the next one in, and forgets the lock when nobody waits for it.
    fn drop(&mut self) {
        self.guard = None;
        if let Entry::Occupied(entry) = self.clients.turns.entry(self.id.clone())
            && Arc::strong_count(entry.get()) == 1
        {
            entry.remove();
        }
    }
}
