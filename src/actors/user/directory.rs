//! The users' actors: found, started when needed, started anew after a panic.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::dev::ToEnvelope;
use actix::{Actor as _, Addr, ArbiterHandle, Handler, MailboxError, Message};
use dashmap::DashMap;
use tokio::sync::oneshot;

use super::messages::{CountUnread, GetPage, KeepPromise, SetRead, SetReadLater};
use super::{Leave, User};
use crate::actors::dispatcher::Dispatchers;
use crate::actors::panics::Panics;
use crate::backends::HistoryStore;
use crate::backends::plane::{Reply, UserHistory};
use crate::config::limits;
use crate::domain::history::{Page, Query, Receipts, Unread};
use crate::domain::{Clock, MessageId, Seq, StoreError, UserId};
use crate::observe::traces::Traces;

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
    traces: Arc<Traces>,
    active: DashMap<UserId, Addr<User>>,
    panics: Panics<UserId>,
}

impl Users {
    /// None is active yet. `traces` are told what is read.
    pub fn new(
        store: Arc<dyn HistoryStore>,
        dispatchers: Dispatchers,
        clock: Clock,
        idle_after: Duration,
        arbiters: Vec<ArbiterHandle>,
        traces: Arc<Traces>,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                store,
                dispatchers,
                clock,
                idle_after,
                arbiters,
                traces,
                active: DashMap::new(),
                panics: Panics::default(),
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
        let (users, (told, answer)) = (self.clone(), oneshot::channel());
        // A task of its own: whoever asked may go away when the promise is on disk, and it is kept all the same.
        actix::spawn(async move {
            let promised = users.ask(user, || SetReadLater(which.clone())).await;
            let promise = promised.as_ref().ok().copied();
            // Nobody may wait for the answer any more.
            let _ = told.send(promised.map(drop));
            if let Some(promise) = promise {
                users.keep(promise, Receipts { user, which }).await;
            }
        });
        // The task ends early only when the worker does.
        answer.await.unwrap_or(Err(StoreError::Overloaded))
    }

    /// Goes on with what was promised before the last stop.
    ///
    /// # Errors
    /// [`StoreError`] if the promises can not be read.
    pub fn keep_promises(&self) -> Result<(), StoreError> {
        for (promise, receipts) in self.inner.store.promised()? {
            let users = self.clone();
            actix::spawn(async move { users.keep(promise, receipts).await });
        }
        Ok(())
    }

    /// Has a promise kept, whatever becomes of the actors that do it. Should the process end first, the promise is on
    /// disk and kept at the next start.
    async fn keep(&self, promise: Seq, receipts: Receipts) {
        let mut pause = Duration::from_millis(100);
        loop {
            let keep = KeepPromise {
                promise,
                receipts: receipts.clone(),
            };
            let kept = match self.actor(receipts.user) {
                Ok(actor) => actor.send(keep).await.is_ok(),
                Err(_) => false,
            };
            if kept {
                return;
            }
            tracing::warn!(user = receipts.user.0, "promised receipts wait");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(10));
        }
    }

    async fn ask<M, T>(&self, user: UserId, message: impl Fn() -> M) -> Result<T, StoreError>
    where
        M: Message<Result = Result<T, StoreError>> + Send + 'static,
        T: Send + 'static,
        User: Handler<M>,
        <User as actix::Actor>::Context: ToEnvelope<User, M>,
    {
        for _ in 0..TRIES {
            match self.actor(user)?.send(message()).await {
                Ok(result) => return result,
                Err(MailboxError::Closed | MailboxError::Timeout) => {}
            }
        }
        Err(StoreError::Overloaded)
    }

    /// The user's actor. One that let itself go is no longer listed: one that is listed but gone has panicked.
    fn actor(&self, user: UserId) -> Result<Addr<User>, StoreError> {
        let Inner { active, panics, .. } = &*self.inner;
        let vacant = match active.entry(user) {
            dashmap::Entry::Occupied(listed) if listed.get().connected() => {
                return Ok(listed.get().clone());
            }
            dashmap::Entry::Occupied(dead) => {
                tracing::error!(user = user.0, "a user's actor panicked");
                panics.note(user, Instant::now());
                dead.remove();
                return self.actor(user);
            }
            dashmap::Entry::Vacant(vacant) => vacant,
        };
        let lately = panics.lately(user, Instant::now());
        if lately >= limits::PANICS {
            let reason = format!("the history of user {user} fails again and again");
            return Err(StoreError::Failed(reason));
        }
        if lately > 0 {
            metrics::counter!("fanfare_actor_respawns_total", "actor" => "user").increment(1);
        }
        Ok(vacant.insert(self.start(user)).clone())
    }

    fn start(&self, user: UserId) -> Addr<User> {
        let inner = self.inner.clone();
        let arbiter = (user.0 as u64 % inner.arbiters.len() as u64) as usize;
        User::start_in_arbiter(&self.inner.arbiters[arbiter].clone(), move |_| {
            let (store, dispatchers) = (inner.store.clone(), inner.dispatchers.clone());
            let (clock, idle_after) = (inner.clock, inner.idle_after);
            let traces = inner.traces.clone();
            let leave: Leave = Box::new(move |own| {
                drop(inner.active.remove_if(&user, |_, listed| listed == own));
            });
            User::new(user, store, dispatchers, clock, idle_after, traces, leave)
        })
    }
}

impl UserHistory for Users {
    fn page(&self, user: UserId, query: Query) -> Reply<Page> {
        let users = self.clone();
        Box::pin(async move { Self::page(&users, user, query).await })
    }

    fn unread(&self, user: UserId) -> Reply<usize> {
        let users = self.clone();
        Box::pin(async move { Self::unread(&users, user).await })
    }

    fn set_read(&self, user: UserId, which: Unread) -> Reply<Vec<MessageId>> {
        let users = self.clone();
        Box::pin(async move { Self::set_read(&users, user, which).await })
    }

    fn set_read_later(&self, user: UserId, which: Unread) -> Reply<()> {
        let users = self.clone();
        Box::pin(async move { Self::set_read_later(&users, user, which).await })
    }
}
