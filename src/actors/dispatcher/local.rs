//! Which dispatcher to ask: the one of this worker, so that a message never changes threads to be routed.

use std::sync::Arc;
use std::thread::ThreadId;

use actix::{Actor as _, Addr, MailboxError};
use dashmap::DashMap;

use super::{Dispatch, DispatchError, Dispatched, Dispatcher, Neighbours};

/// The dispatchers of all workers.
#[derive(Clone)]
pub struct Dispatchers {
    neighbours: Arc<Neighbours>,
    by_thread: Arc<DashMap<ThreadId, Addr<Dispatcher>>>,
}

impl Dispatchers {
    /// None yet; each worker's starts with its first message.
    pub fn new(neighbours: Neighbours) -> Self {
        Self {
            neighbours: Arc::new(neighbours),
            by_thread: Arc::default(),
        }
    }

    /// Asks this worker's dispatcher.
    ///
    /// # Errors
    /// [`DispatchError`], the dispatcher's own or because it can not take more.
    pub async fn dispatch(&self, message: Dispatch) -> Result<Dispatched, DispatchError> {
        match self.here().send(message).await {
            Ok(result) => result,
            Err(MailboxError::Closed | MailboxError::Timeout) => Err(DispatchError::Overloaded),
        }
    }

    /// This worker's dispatcher; a new one if it has none, or if the last one died of a panic.
    fn here(&self) -> Addr<Dispatcher> {
        let thread = std::thread::current().id();
        if let Some(address) = self
            .by_thread
            .get(&thread)
            .filter(|address| address.connected())
        {
            return address.clone();
        }
        let address = Dispatcher::new(self.neighbours.clone()).start();
        if self.by_thread.insert(thread, address.clone()).is_some() {
            metrics::counter!("fanfare_actor_respawns_total", "actor" => "dispatcher").increment(1);
        }
        address
    }
}
