//! The actor: what it is made of, how it learns of news, when it ends. What it does for its callers is in
//! `serve.rs` (receives) and `change.rs` (everything else).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::fut::ActorFutureExt as _;
use actix::{Actor, ActorContext as _, AsyncContext as _, Context, Handler, SpawnHandle};
use futures_util::future::Shared;
use uuid::Uuid;

use super::ask::Ask;
use super::dedup::{Attempts, Dedup};
use super::directory::{Directory, Ended, Slot};
use super::kind::Kind;
use super::state::State;
use super::waiters::{Waiter, Waiters};
use crate::backends::{Change, Commit, LoadedQueue};
use crate::config::limits;
use crate::domain::message::QueueSource;
use crate::domain::queue::QueueRecord;
use crate::domain::{QueueError, Seq, StoreError, Timestamp};

/// How long after a purge another is refused.
pub(super) const PURGE_REST: Duration = Duration::from_secs(60);

/// A queue as it was read from disk.
pub(super) struct Loaded {
    pub(super) record: QueueRecord,
    pub(super) source: QueueSource,
    pub(super) queue: LoadedQueue,
    /// Broadcasts that it surely has.
    pub(super) broadcasts: u64,
}

/// A commit that several wait for.
pub(super) type SharedCommit = Shared<Commit<Vec<Seq>>>;

/// One active queue.
///
/// What it knows is what the store has, plus what it has handed to the store. It learns of new messages by asking the
/// store for what is newer than it has seen, its own sends included: there is one way in, and it keeps the order.
pub struct QueueActor<K: Kind> {
    pub(super) directory: Arc<Directory>,
    pub(super) slot: Arc<Slot>,
    pub(super) record: QueueRecord,
    pub(super) source: QueueSource,
    pub(super) kind: K,
    pub(super) state: State,
    pub(super) dedup: Dedup,
    pub(super) attempts: Attempts,
    pub(super) waiters: Waiters,
    /// Messages with a deduplication id that are on their way to disk: their commit, and their place in it.
    pub(super) pending: HashMap<Uuid, (SharedCommit, usize)>,
    /// Messages on their way to disk.
    pub(super) sending: usize,
    /// Commits on their way to disk.
    pub(super) busy: usize,
    /// Of those, moves to the dead-letter queue.
    pub(super) burying: usize,
    /// Whether the store may have something newer.
    pub(super) behind: bool,
    /// Whether something was handed to the store without waiting for the disk.
    pub(super) unsaved: bool,
    pub(super) purged: Option<Timestamp>,
    used: Timestamp,
    broadcasts: u64,
    cached: usize,
    armed: Option<(Timestamp, SpawnHandle)>,
    ended: bool,
}

impl<K: Kind> QueueActor<K> {
    pub(super) fn new(directory: Arc<Directory>, slot: Arc<Slot>, loaded: Loaded, kind: K) -> Self {
        let now = directory.clock.now();
        let Loaded {
            record,
            source,
            mut queue,
            broadcasts,
        } = loaded;
        let remembered = std::mem::take(&mut queue.remembered);
        let mut actor = Self {
            dedup: Dedup::new(record.attributes.dedup_scope, remembered),
            attempts: Attempts::default(),
            waiters: Waiters::new(directory.waiting.clone()),
            state: State::new(record.attributes.fifo, queue, now),
            pending: HashMap::new(),
            sending: 0,
            busy: 0,
            burying: 0,
            behind: false,
            unsaved: false,
            purged: None,
            used: now,
            broadcasts,
            cached: 0,
            armed: None,
            ended: false,
            directory,
            slot,
            record,
            source,
            kind,
        };
        metrics::gauge!("fanfare_queue_active_actors").increment(1.0);
        let all = actor.state.all();
        actor.keep_bodies(&all);
        actor
    }

    pub(super) fn now(&self) -> Timestamp {
        self.directory.clock.now()
    }

    /// Looks at the flags beside the mailbox; `false` if the actor has ended.
    fn look(&mut self, ctx: &mut Context<Self>) -> bool {
        let news = self.slot.news();
        let broadcasts = self.directory.broadcasts.load(Ordering::Acquire);
        self.behind |=
            news.woken() || (self.source.account.is_some() && self.broadcasts != broadcasts);
        self.broadcasts = broadcasts;
        if news.gone() {
            self.end(Ended::Refused(QueueError::DoesNotExist), ctx);
        } else if news.edited() {
            match self.directory.catalog.get(self.record.no) {
                Ok(Some(record)) => self.record = record,
                Ok(None) => self.end(Ended::Refused(QueueError::DoesNotExist), ctx),
                Err(error) => self.end(Ended::Refused(error.into()), ctx),
            }
        }
        !self.ended
    }

    /// Takes in what the store has that is newer; `false` if the actor has ended.
    pub(super) fn catch_up(&mut self, ctx: &mut Context<Self>) -> bool {
        if self.behind && !self.ended {
            let (now, seen) = (self.now(), self.state.seen());
            match self.directory.store.newer(self.source, seen, now) {
                Ok(newer) => {
                    let seqs: Vec<_> = newer.iter().map(|stored| stored.seq).collect();
                    self.behind = false;
                    if self.state.absorb(newer, now) {
                        self.keep_bodies(&seqs);
                    }
                }
                Err(error) => self.end(Ended::Refused(error.into()), ctx),
            }
        }
        !self.ended
    }

    /// Keeps bodies in memory as far as the budget goes.
    fn keep_bodies(&mut self, seqs: &[Seq]) {
        let budget = self.directory.config.cached_body_bytes;
        for seq in seqs {
            let bytes = self
                .state
                .get(*seq)
                .map_or(0, |entry| entry.message.body.len());
            if bytes == 0 {
                continue;
            }
            let before = self.directory.cached.fetch_add(bytes, Ordering::Relaxed);
            self.cached += bytes;
            if before + bytes > budget {
                self.state.forget_body(*seq);
                self.release(bytes);
            }
        }
    }

    /// Bodies of so many bytes are in memory no more.
    pub(super) fn release(&mut self, bytes: usize) {
        self.cached -= bytes;
        self.directory.cached.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Hands changes to the store; `then` runs when they are on disk or refused.
    pub(super) fn commit(
        &mut self,
        changes: Vec<Change>,
        ctx: &mut Context<Self>,
        then: impl FnOnce(&mut Self, Result<Vec<Seq>, StoreError>, &mut Context<Self>) + 'static,
    ) {
        // If a cursor was lost, what is known here about broadcasts would differ from the disk from then on.
        let moves_cursor = changes
            .iter()
            .any(|change| matches!(change, Change::Cursor(_)));
        let commit = self.directory.store.commit(self.record.no, changes);
        self.await_commit(commit, ctx, move |actor, result, ctx| {
            let lost = moves_cursor && result.is_err();
            then(actor, result, ctx);
            if lost {
                actor.end(Ended::Stale, ctx);
            }
        });
    }

    /// Waits for the disk without holding up the mailbox.
    pub(super) fn await_commit<T: 'static>(
        &mut self,
        commit: impl Future<Output = T> + 'static,
        ctx: &mut Context<Self>,
        then: impl FnOnce(&mut Self, T, &mut Context<Self>) + 'static,
    ) {
        self.busy += 1;
        let done = actix::fut::wrap_future::<_, Self>(commit).map(move |result, actor, ctx| {
            actor.busy -= 1;
            then(actor, result, ctx);
            actor.serve(ctx);
        });
        ctx.spawn(done);
    }

    /// Hands changes to the store that nobody waits for. A moved cursor is watched (see [`QueueActor::commit`]).
    pub(super) fn commit_lazily(&mut self, changes: Vec<Change>, ctx: &mut Context<Self>) {
        if changes.is_empty() {
            return;
        }
        if changes
            .iter()
            .any(|change| matches!(change, Change::Cursor(_)))
        {
            self.commit(changes, ctx, |_, _, _| {});
        } else {
            self.unsaved = true;
            self.directory.store.commit_lazily(self.record.no, changes);
        }
    }

    /// Refuses what would make one more commit when there are too many.
    pub(super) fn check_busy(&self) -> Result<(), QueueError> {
        if self.busy < limits::QUEUE_COMMITS {
            Ok(())
        } else {
            Err(QueueError::Throttled)
        }
    }

    /// Ends the actor. What it has not answered is repeated by `Directory::ask` or refused, as `why` says.
    pub(super) fn end(&mut self, why: Ended, ctx: &mut Context<Self>) {
        if !self.ended {
            self.ended = true;
            self.directory.leave(&self.slot, why);
            while self.waiters.take_any().is_some() {}
            ctx.stop();
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// When the actor may go, if nothing comes in between.
    fn idle_at(&self) -> Timestamp {
        let idle = self.used.plus(self.directory.config.idle_after);
        // These live in memory only.
        let purge = self.purged.map(|at| at.plus(PURGE_REST));
        [purge, self.attempts.until()]
            .into_iter()
            .flatten()
            .fold(idle, Timestamp::max)
    }

    /// Sets the timer to what comes next.
    pub(super) fn arm(&mut self, held_up: bool, ctx: &mut Context<Self>) {
        let idle = self.waiters.is_empty() && self.busy == 0;
        let deadline = self.waiters.next_deadline().filter(|_| !held_up);
        let visible = self
            .state
            .next_visible()
            .filter(|_| !self.waiters.is_empty());
        let idle = idle.then(|| self.idle_at());
        let Some(at) = [deadline, visible, idle].into_iter().flatten().min() else {
            return;
        };
        // A timer that fires too early finds nothing to do and is set anew: cheaper than setting it at each change.
        if let Some((armed, handle)) = self.armed {
            if armed <= at {
                return;
            }
            ctx.cancel_future(handle);
        }
        let wait = at.since(self.now());
        let handle = ctx.run_later(wait, |actor, ctx| {
            actor.armed = None;
            actor.tick(ctx);
        });
        self.armed = Some((at, handle));
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        let idle = self.waiters.is_empty() && self.busy == 0 && self.now() >= self.idle_at();
        if !idle {
            self.serve(ctx);
        } else if self.unsaved {
            // A fresh actor must find on disk what this one knows.
            self.unsaved = false;
            self.commit(Vec::new(), ctx, |_, _, _| {});
        } else {
            self.end(Ended::Idle, ctx);
        }
    }
}

impl<K: Kind> Actor for QueueActor<K> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        // What came while the queue was being loaded.
        if self.look(ctx) {
            self.serve(ctx);
        }
    }
}

impl<K: Kind> Handler<Ask> for QueueActor<K> {
    type Result = ();

    fn handle(&mut self, ask: Ask, ctx: &mut Context<Self>) {
        if self.ended || !self.look(ctx) {
            return;
        }
        if !matches!(ask, Ask::Wake) {
            self.used = self.now();
        }
        // A wake-up that nobody waits for can be followed when somebody asks.
        let lazy = matches!(ask, Ask::Wake) && self.waiters.is_empty();
        if !lazy && !self.catch_up(ctx) {
            return;
        }
        let freed = self.state.advance(self.now());
        self.release(freed);
        match ask {
            Ask::Send(request, reply) => self.send(&request, reply, ctx),
            Ask::Receive {
                request,
                deadline,
                reply,
            } => self.receive(
                Waiter {
                    deadline: deadline.unwrap_or_else(|| self.now()),
                    long: deadline.is_some(),
                    since: self.now(),
                    request,
                    reply,
                },
                ctx,
            ),
            Ask::GiveBack(handles) => self.give_back(&handles, ctx),
            Ask::Delete(request, reply) => self.delete(&request, reply, ctx),
            Ask::ChangeVisibility(request, reply) => self.change_visibility(&request, reply, ctx),
            Ask::Purge(reply) => self.purge(reply, ctx),
            Ask::Counts(reply) => {
                // The asker may have gone away.
                let _ = reply.send(Ok(self.state.counts()));
            }
            Ask::Look(max, reply) => drop(reply.send(self.look_at(max))),
            Ask::MoveOut { max, to, reply } => self.move_out(max, to.as_deref(), reply, ctx),
            Ask::Wake => {}
        }
        self.serve(ctx);
    }
}

impl<K: Kind> Drop for QueueActor<K> {
    fn drop(&mut self) {
        self.release(self.cached);
        metrics::gauge!("fanfare_queue_active_actors").decrement(1.0);
    }
}
