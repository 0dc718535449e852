//! One actor of a kind on each worker: whoever asks on a worker asks its own, so that nothing changes threads.

use std::fmt;
use std::sync::Arc;
use std::thread::ThreadId;

use actix::{Actor, Addr, Context};
use dashmap::DashMap;

/// The actors of all workers; each starts when it is first asked for.
pub struct PerWorker<A: Actor<Context = Context<A>>> {
    /// What respawns are counted under.
    name: &'static str,
    make: Arc<dyn Fn() -> A + Send + Sync>,
    by_thread: Arc<DashMap<ThreadId, Addr<A>>>,
}

impl<A: Actor<Context = Context<A>>> PerWorker<A> {
    /// None yet. `make` makes one, the first time and after a panic.
    pub fn new(name: &'static str, make: impl Fn() -> A + Send + Sync + 'static) -> Self {
        Self {
            name,
            make: Arc::new(make),
            by_thread: Arc::default(),
        }
    }

    /// This worker's actor; a new one if it has none, or if the last one died of a panic.
    pub fn here(&self) -> Addr<A> {
        let thread = std::thread::current().id();
        if let Some(address) = self
            .by_thread
            .get(&thread)
            .filter(|address| address.connected())
        {
            return address.clone();
        }
        let address = (self.make)().start();
        if self.by_thread.insert(thread, address.clone()).is_some() {
            metrics::counter!("fanfare_actor_respawns_total", "actor" => self.name).increment(1);
        }
        address
    }
}

impl<A: Actor<Context = Context<A>>> Clone for PerWorker<A> {
    fn clone(&self) -> Self {
        Self {
            name: self.name,
            make: self.make.clone(),
            by_thread: self.by_thread.clone(),
        }
    }
}

impl<A: Actor<Context = Context<A>>> fmt::Debug for PerWorker<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerWorker")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
