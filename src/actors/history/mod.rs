//! History actors, sharded by user: they take what is to be kept and write it in batches, apart from
//! delivery, so that neither can delay the other.
//!
//! In the embedded store a batch is a group commit, which the store forms itself from what is handed in.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use actix::{
    Actor, Addr, Arbiter, ArbiterHandle, Context, Handler, MailboxError, Message, ResponseFuture,
};

use crate::backends::HistoryStore;
use crate::config::limits;
use crate::domain::StoreError;
use crate::domain::history::{Audience, NewEntry};

/// Keep an entry.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), StoreError>")]
pub struct Append {
    /// Who keeps it.
    pub audience: Audience,
    /// What.
    pub entry: NewEntry,
}

/// The actor: one shard of the users.
pub struct Historian {
    store: Arc<dyn HistoryStore>,
}

impl Actor for Historian {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(limits::HISTORIAN_MAILBOX);
    }
}

impl Handler<Append> for Historian {
    type Result = ResponseFuture<Result<(), StoreError>>;

    fn handle(
        &mut self,
        Append { audience, entry }: Append,
        _: &mut Self::Context,
    ) -> Self::Result {
        let kept = self.store.append(audience, entry);
        Box::pin(async move { kept.await.map(drop) })
    }
}

/// All shards.
#[derive(Clone)]
pub struct Historians {
    store: Arc<dyn HistoryStore>,
    shards: Arc<[Shard]>,
}

struct Shard {
    arbiter: ArbiterHandle,
    address: Mutex<Addr<Historian>>,
}

impl Historians {
    /// One shard on each arbiter.
    pub fn start(store: &Arc<dyn HistoryStore>, arbiters: &[ArbiterHandle]) -> Self {
        let shards = arbiters.iter().map(|arbiter| Shard {
            arbiter: arbiter.clone(),
            address: Mutex::new(spawn(store, arbiter)),
        });
        Self {
            store: store.clone(),
            shards: shards.collect(),
        }
    }

    /// Hands an entry to its shard; the answer comes when it is on disk.
    pub fn append(
        &self,
        audience: Audience,
        entry: NewEntry,
    ) -> impl Future<Output = Result<(), StoreError>> + use<> {
        let shard = match &audience {
            Audience::Users(users) => users.first().map_or(0, |user| user.0 as u64),
            Audience::Account(account) => account.0 as u64,
            Audience::Everyone => 0,
        };
        let asked = self.shard(shard).send(Append { audience, entry });
        async move {
            match asked.await {
                Ok(result) => result,
                Err(MailboxError::Closed | MailboxError::Timeout) => Err(StoreError::Overloaded),
            }
        }
    }

    /// The shard's actor; a new one if the last one died of a panic.
    fn shard(&self, number: u64) -> Addr<Historian> {
        let shard = &self.shards[(number % self.shards.len() as u64) as usize];
        let mut address = shard.address.lock().unwrap_or_else(PoisonError::into_inner);
        if !address.connected() {
            metrics::counter!("fanfare_actor_respawns_total", "actor" => "history").increment(1);
            *address = spawn(&self.store, &shard.arbiter);
        }
        address.clone()
    }
}

fn spawn(store: &Arc<dyn HistoryStore>, arbiter: &ArbiterHandle) -> Addr<Historian> {
    let store = store.clone();
    Historian::start_in_arbiter(arbiter, move |_| Historian { store })
}

/// Arbiters that actors are spread over.
pub fn handles(arbiters: &[Arbiter]) -> Vec<ArbiterHandle> {
    arbiters.iter().map(Arbiter::handle).collect()
}
