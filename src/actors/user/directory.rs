//! The users' actors: found, started when needed, started anew after a panic.

use std::sync::Arc;
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::{Actor as _, Addr, ArbiterHandle, Handler, MailboxError, Message};
use dashmap::DashMap;

use super::User;
use super::messages::{CountUnread, GetPage, KeepPromise, Page, SetRead, SetReadLater};
use super::state::Query;
use crate::actors::dispatcher::Dispatchers;
use crate::backends::HistoryStore;
use crate::domain::history::Unread;
use crate::domain::{Clock, MessageId, StoreError, UserId};

/// How often an operation is tried on a fresh actor when the one it went to was just letting itself go.
const TRIES: usize = 3;

/// All users' actors.
#[derive(Clone)]
pub struct Users {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn HistoryStore>,
    dispatchers: Dispatchers,
    clock: Clock,
    idle_after: Duration,
    arbiters: Vec<ArbiterHandle>,
    active: DashMap<UserId, Addr<User>>,
}

impl Users {
    /// None is active yet.
    pub fn new(
        store: Arc<dyn HistoryStore>,
        dispatchers: Dispatchers,
        clock: Clock,
        idle_after: Duration,
        arbiters: Vec<ArbiterHandle>,
    ) -> Self {
        let active = DashMap::new();
        Self {
            inner: Arc::new(Inner {
                store,
                dispatchers,
                clock,
                idle_after,
                arbiters,
                active,
            }),
        }
    }

    /// Entries of a user's history, newest first.
    ///
    /// # Errors
    /// [`StoreError`], the store's own or because the actor can not take more.
    pub async fn page(&self, user: UserId, query: Query) -> Result<Page, StoreError> {
        self.ask(user, || GetPage(query.clone())).await
    }

    /// How many entries a user has not read.
    ///
    /// # Errors
    /// As [`Users::page`].
    pub async fn unread(&self, user: UserId) -> Result<usize, StoreError> {
        self.ask(user, || CountUnread).await
    }

    /// Makes receipts; resolves to the ids that changed.
    ///
    /// # Errors
    /// As [`Users::page`].
    pub async fn set_read(
        &self,
        user: UserId,
        which: Unread,
    ) -> Result<Vec<MessageId>, StoreError> {
        self.ask(user, || SetRead(which.clone())).await
    }

    /// Promises receipts; resolves when the promise is on disk.
    ///
    /// # Errors
    /// As [`Users::page`].
    pub async fn set_read_later(&self, user: UserId, which: Unread) -> Result<(), StoreError> {
        self.ask(user, || SetReadLater(which.clone())).await
    }

    /// Goes on with what was promised before the last stop.
    ///
    /// # Errors
    /// [`StoreError`] if the promises can not be read.
    pub fn keep_promises(&self) -> Result<(), StoreError> {
        for (promise, receipts) in self.inner.store.promised()? {
            let address = self.actor(receipts.user);
            actix::spawn(async move { address.send(KeepPromise { promise, receipts }).await });
        }
        Ok(())
    }

    async fn ask<M, T>(&self, user: UserId, message: impl Fn() -> M) -> Result<T, StoreError>
    where
        M: Message<Result = Result<T, StoreError>> + Send + 'static,
        T: Send + 'static,
        User: Handler<M>,
        <User as actix::Actor>::Context: ToEnvelope<User, M>,
    {
        for _ in 0..TRIES {
            match self.actor(user).send(message()).await {
                Ok(result) => return result,
                Err(MailboxError::Closed | MailboxError::Timeout) => {}
            }
        }
        Err(StoreError::Overloaded)
    }

    /// The user's actor. One that is still listed but gone has died of a panic.
    fn actor(&self, user: UserId) -> Addr<User> {
        match self.inner.active.entry(user) {
            dashmap::Entry::Occupied(entry) if entry.get().connected() => entry.get().clone(),
            dashmap::Entry::Occupied(mut entry) => {
                metrics::counter!("fanfare_actor_respawns_total", "actor" => "user").increment(1);
                let address = self.start(user);
                entry.insert(address.clone());
                address
            }
            dashmap::Entry::Vacant(entry) => entry.insert(self.start(user)).clone(),
        }
    }

    fn start(&self, user: UserId) -> Addr<User> {
        let inner = self.inner.clone();
        let arbiter = (user.0 as u64 % inner.arbiters.len() as u64) as usize;
        User::start_in_arbiter(&self.inner.arbiters[arbiter].clone(), move |_| {
            let (store, dispatchers) = (inner.store.clone(), inner.dispatchers.clone());
            let (clock, idle_after) = (inner.clock, inner.idle_after);
            // A newer actor of the same user may have taken the place: only one that is gone is taken out.
            let forget = move || {
                drop(
                    inner
                        .active
                        .remove_if(&user, |_, address| !address.connected()),
                )
            };
            User::new(
                user,
                store,
                dispatchers,
                clock,
                idle_after,
                Box::new(forget),
            )
        })
    }
}
