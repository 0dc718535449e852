//! The user actor: one per user whose history is being looked at. It knows which entries there are and
//! which are read, counts exactly, and makes receipts. Loaded on use, let go when idle: everything it
//! knows is on disk.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorContext as _, Addr, AsyncContext as _, AtomicResponse, Context, Handler,
    WrapFuture as _,
};
use tokio::time::Instant;

use super::dispatcher::{Addressed, DispatchError, Dispatchers, Posted};
use crate::backends::{HistoryStore, Receipt};
use crate::config::limits;
use crate::domain::history::{Page, Receipts, Unread};
use crate::domain::{Clock, MessageId, Seq, StoreError, Timestamp, UserId};
use crate::observe::traces::{Traces, What};

pub mod directory;
pub mod messages;
pub mod state;

pub use crate::backends::plane::UserHistory;
pub use directory::Users;
use messages::{CountUnread, GetPage, IdleTick, KeepPromise, SetRead, SetReadLater};
use state::HistoryState;

/// The actor.
pub struct User {
    core: Rc<Core>,
    idle_after: Duration,
    last_used: Instant,
    leave: Option<Leave>,
    _counted: Counted,
}

/// Takes an actor that lets itself go, and no other, out of the list of active ones.
pub type Leave = Box<dyn FnOnce(&Addr<User>)>;

/// An active actor in the metrics, also if it ends by a panic.
struct Counted;

impl Counted {
    fn new() -> Self {
        metrics::gauge!("fanfare_actors", "actor" => "user").increment(1);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::gauge!("fanfare_actors", "actor" => "user").decrement(1);
    }
}

/// What an operation works with while it waits for the store. Operations run one after the other.
struct Core {
    user: UserId,
    store: Arc<dyn HistoryStore>,
    dispatchers: Dispatchers,
    clock: Clock,
    traces: Arc<Traces>,
    state: RefCell<HistoryState>,
}

impl User {
    /// The actor of a user; `leave` is called when it lets itself go.
    pub fn new(
        user: UserId,
        store: Arc<dyn HistoryStore>,
        dispatchers: Dispatchers,
        clock: Clock,
        idle_after: Duration,
        traces: Arc<Traces>,
        leave: Leave,
    ) -> Self {
        let core = Core {
            user,
            store,
            dispatchers,
            clock,
            traces,
            state: RefCell::default(),
        };
        Self {
            core: Rc::new(core),
            idle_after,
            last_used: Instant::now(),
            leave: Some(leave),
            _counted: Counted::new(),
        }
    }

    /// Runs an operation alone: the next message waits until it is done.
    fn alone<T: 'static, F>(
        &mut self,
        operation: impl FnOnce(Rc<Core>) -> F,
    ) -> AtomicResponse<Self, T>
    where
        F: Future<Output = T> + 'static,
    {
        self.last_used = Instant::now();
        AtomicResponse::new(Box::pin(operation(self.core.clone()).into_actor(self)))
    }
}

impl Actor for User {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(limits::USER_MAILBOX);
        ctx.run_interval(self.idle_after, |_, ctx| {
            // A full mailbox means that it is not idle.
            let _ = ctx.address().try_send(IdleTick);
        });
    }
}

impl Handler<IdleTick> for User {
    type Result = ();

    fn handle(&mut self, _: IdleTick, ctx: &mut Self::Context) {
        if self.last_used.elapsed() >= self.idle_after {
            // First off the list, so that nobody takes it for one that panicked.
            if let Some(leave) = self.leave.take() {
                leave(&ctx.address());
            }
            ctx.stop();
        }
    }
}

impl Handler<GetPage> for User {
    type Result = AtomicResponse<Self, Result<Page, StoreError>>;

    fn handle(&mut self, GetPage(query): GetPage, _: &mut Self::Context) -> Self::Result {
        self.alone(|core| async move {
            core.catch_up().await?;
            let (entries, more) = core.state.borrow().page(&query);
            let next = entries
                .last()
                .filter(|_| more)
                .map(|entry| (entry.created, entry.seq));
            let mut texts = Vec::with_capacity(entries.len());
            for entry in entries {
                // An entry whose text is gone expired a moment ago.
                if let Some(text) = core.store.text(core.user, entry.seq, entry.origin)? {
                    texts.push((entry, text));
                }
            }
            Ok(Page {
                entries: texts,
                next,
            })
        })
    }
}

impl Handler<CountUnread> for User {
    type Result = AtomicResponse<Self, Result<usize, StoreError>>;

    fn handle(&mut self, _: CountUnread, _: &mut Self::Context) -> Self::Result {
        self.alone(|core| async move {
            core.catch_up().await?;
            Ok(core.state.borrow().unread())
        })
    }
}

impl Handler<SetRead> for User {
    type Result = AtomicResponse<Self, Result<Vec<MessageId>, StoreError>>;

    fn handle(&mut self, SetRead(which): SetRead, _: &mut Self::Context) -> Self::Result {
        self.alone(|core| async move { core.set_read(&which, None).await })
    }
}

impl Handler<SetReadLater> for User {
    type Result = AtomicResponse<Self, Result<Seq, StoreError>>;

    fn handle(&mut self, SetReadLater(which): SetReadLater, _: &mut Self::Context) -> Self::Result {
        self.alone(|core| async move {
            let user = core.user;
            core.store.promise(Receipts { user, which }).await
        })
    }
}

impl Handler<KeepPromise> for User {
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, message: KeepPromise, _: &mut Self::Context) -> Self::Result {
        self.alone(|core| async move {
            let KeepPromise { promise, receipts } = message;
            let mut pause = Duration::from_millis(100);
            while let Err(error) = core.set_read(&receipts.which, Some(promise)).await {
                tracing::warn!(user = core.user.0, %error, "promised receipts wait");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(10));
            }
        })
    }
}

impl Core {
    /// Learns what the store has got since the last time.
    async fn catch_up(&self) -> Result<(), StoreError> {
        let (now, newest) = (self.clock.now(), self.state.borrow().newest());
        let entries = if newest == Seq(0) {
            // The first time it may be a whole day's history: not on the event loop.
            let (store, user) = (self.store.clone(), self.user);
            let read = tokio::task::spawn_blocking(move || store.entries(user, Seq(0), now));
            read.await
                .map_err(|error| StoreError::Failed(error.to_string()))??
        } else {
            self.store.entries(self.user, newest, now)?
        };
        let replaced = {
            let mut state = self.state.borrow_mut();
            let replaced = state.learn(entries);
            state.expire(now);
            replaced
        };
        if !replaced.is_empty() {
            self.store.forget(self.user, replaced).await?;
        }
        Ok(())
    }

    /// Makes receipts, in batches. Each batch is one commit: its marks, the message that tells all the user's
    /// sessions of them, and with the last the end of the promise that asked for them.
    async fn set_read(
        &self,
        which: &Unread,
        promise: Option<Seq>,
    ) -> Result<Vec<MessageId>, StoreError> {
        self.catch_up().await?;
        let chosen = self.state.borrow().unread_of(which);
        let mut batches = chosen.chunks(limits::RECEIPT_BATCH).peekable();
        let mut receipted = Vec::with_capacity(chosen.len());
        while let Some(batch) = batches.next() {
            let ids: Vec<MessageId> = batch.iter().map(|(id, _)| id.clone()).collect();
            let Addressed { delivery, refused } = self.address_notice(&ids).await?;
            let told = u64::from(delivery.is_some());
            let receipt = Receipt {
                marks: batch.iter().map(|(_, mark)| *mark).collect(),
                notice: delivery,
                keeps: promise.filter(|_| batches.peek().is_none()),
            };
            self.store.mark_read(self.user, receipt).await?;
            self.state.borrow_mut().mark_read(&ids);
            self.show_read(&ids);
            metrics::counter!("fanfare_messages_dispatched_total").increment(told);
            // Like every message, it is not for a full queue, and receipts do not wait until somebody empties one.
            metrics::counter!("fanfare_receipt_messages_refused_total")
                .increment(refused.len() as u64);
            receipted.extend(ids);
        }
        if chosen.is_empty() && promise.is_some() {
            let receipt = Receipt {
                keeps: promise,
                ..Receipt::default()
            };
            self.store.mark_read(self.user, receipt).await?;
        }
        metrics::counter!("fanfare_receipts_total").increment(receipted.len() as u64);
        Ok(receipted)
    }

    /// The user has read these messages.
    fn show_read(&self, ids: &[MessageId]) {
        let now = self.clock.now();
        if self.traces.is_noting(now) {
            for id in ids {
                self.traces.note(id, now, What::Read { user: self.user });
            }
        }
    }

    /// The receipt message for these entries, and the queues it goes to.
    async fn address_notice(&self, ids: &[MessageId]) -> Result<Addressed, StoreError> {
        let notice = serde_json::json!({
            "_type": "message-read-receipt",
            "userId": self.user.0,
            "messages-receipted": ids.iter().map(MessageId::as_str).collect::<Vec<_>>(),
            "_sqs_only": 1,
        })
        .to_string();
        let posted = Posted::parse(notice.as_bytes()).expect("a receipt is a JSON object");
        self.dispatchers
            .address(posted)
            .await
            .map_err(|error| match error {
                DispatchError::Store(error) => error,
                DispatchError::Overloaded => StoreError::Overloaded,
                DispatchError::Invalid(_) | DispatchError::QueuesFull => {
                    StoreError::Failed(error.to_string())
                }
            })
    }
}

/// Cuts fractions of a second, as the prior art does for `asof`.
pub fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_secs(at.secs())
}

#[cfg(test)]
mod tests;
