//! Which queues have an actor, how one is started, and what happens when it ends.
//!
//! A queue has a *slot* from its first use until its actor ends. The slot carries flags beside the mailbox,
//! so that news reaches the actor even when the mailbox is full: every message it handles makes it look at
//! the flags first. Whoever finds the mailbox closed reads in the slot why: the actor was idle (ask a fresh
//! one), the queue is gone, or nothing, which means that it panicked.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::{Duration, Instant};

use actix::dev::SendError;
use actix::dev::channel::channel;
use actix::{Addr, Context, Recipient};
use dashmap::{DashMap, Entry};
use tokio::sync::{OnceCell, Semaphore, oneshot};

use super::actor::{Loaded, QueueActor};
use super::ask::{Ask, Reply};
use super::herald::Herald;
use super::kind::{Kind, Plain};
use super::moves::Moves;
use crate::actors::panics::Panics;
use crate::actors::session::SessionKind;
use crate::backends::{QueueCatalog, QueueStore};
use crate::config::limits;
use crate::domain::message::QueueSource;
use crate::domain::queue::QueueRecord;
use crate::domain::{AccountId, Clock, QueueError, QueueName, QueueNo, StoreError};
use crate::observe::traces::Traces;

/// Finds the cipher of a session's queue, given the queue's durable counter mark; `None` for an operator's queue.
pub type Sealers =
    Arc<dyn Fn(&QueueRecord, Option<u64>) -> Result<Option<SessionKind>, QueueError> + Send + Sync>;

/// Bounds and places of the queue actors.
#[derive(Debug, Clone)]
pub struct QueuesConfig {
    /// Region in ARNs.
    pub region: String,
    /// Account in ARNs, 12 digits.
    pub account: String,
    /// An actor that was not used for this long is let go.
    pub idle_after: Duration,
    /// Requests waiting for one actor; more are refused as throttled.
    pub mailbox: usize,
    /// Messages in one queue; more are refused as [`QueueError::QueueFull`].
    pub max_messages: usize,
    /// Messages of one queue in flight (WIRE 1.4: 120,000).
    pub max_in_flight: usize,
    /// Long polls waiting on one queue; more are refused as throttled.
    pub max_waiting: usize,
    /// Bytes of message bodies that all actors together keep in memory; others are read when handed out.
    pub cached_body_bytes: usize,
}

/// What all queue actors share.
pub(super) struct Directory {
    pub(super) config: QueuesConfig,
    pub(super) store: Arc<dyn QueueStore>,
    pub(super) catalog: Arc<dyn QueueCatalog>,
    pub(super) sealers: Sealers,
    pub(super) traces: Arc<Traces>,
    pub(super) clock: Clock,
    /// Set once, when the process ends: nobody waits any more.
    pub(super) draining: AtomicBool,
    /// Receives waiting on all queues.
    pub(super) waiting: Arc<AtomicUsize>,
    /// Bytes of bodies in memory of all queues.
    pub(super) cached: AtomicUsize,
    pub(super) moves: Moves,
    pub(super) herald: Herald,
    /// How many broadcasts there were: a session's actor that has counted fewer is behind, even if the herald has not
    /// come to it yet.
    pub(super) broadcasts: AtomicU64,
    pub(super) loads: Semaphore,
    slots: DashMap<QueueNo, Arc<Slot>>,
    panics: Panics<QueueNo>,
}

/// A queue's place in the directory.
pub(super) struct Slot {
    no: QueueNo,
    account: Option<AccountId>,
    flags: AtomicU8,
    mailbox: OnceCell<Recipient<Ask>>,
    ended: OnceLock<Ended>,
}

/// Why an actor ended.
#[derive(Debug, Clone)]
pub(super) enum Ended {
    /// It had nothing to do, so whatever it left unanswered was not begun: ask a fresh one.
    Idle,
    /// What it knew may differ from the disk: a fresh one loads it anew. Begun requests may have been done.
    Stale,
    /// There is nothing to ask any more.
    Refused(QueueError),
}

/// There are newer messages.
const WOKEN: u8 = 1;
/// The queue's record was changed.
const EDITED: u8 = 2;
/// The queue was deleted.
const GONE: u8 = 4;

/// News that the flags of a slot carried.
#[derive(Debug, Clone, Copy)]
pub(super) struct News(u8);

impl News {
    pub(super) fn woken(self) -> bool {
        self.0 & WOKEN != 0
    }

    pub(super) fn edited(self) -> bool {
        self.0 & EDITED != 0
    }

    pub(super) fn gone(self) -> bool {
        self.0 & GONE != 0
    }
}

impl Slot {
    /// Takes the news.
    pub(super) fn news(&self) -> News {
        News(self.flags.swap(0, Ordering::AcqRel))
    }

    fn tell(&self, flag: u8) {
        // With the flag up already, a wake-up is in the mailbox, or something else that has not been handled yet.
        if self.flags.fetch_or(flag, Ordering::AcqRel) & flag == 0
            && let Some(mailbox) = self.mailbox.get()
        {
            // Full: what is in the mailbox makes the actor look at the flags as well. Closed: a fresh actor loads all.
            let _ = mailbox.try_send(Ask::Wake);
        }
    }
}

impl Directory {
    pub(super) fn new(
        config: QueuesConfig,
        store: Arc<dyn QueueStore>,
        catalog: Arc<dyn QueueCatalog>,
        sealers: Sealers,
        traces: Arc<Traces>,
        clock: Clock,
    ) -> Arc<Self> {
        Arc::new_cyclic(|directory| Self {
            config,
            store,
            catalog,
            sealers,
            traces,
            clock,
            draining: AtomicBool::new(false),
            waiting: Arc::default(),
            cached: AtomicUsize::new(0),
            moves: Moves::default(),
            herald: Herald::start(directory.clone()),
            broadcasts: AtomicU64::new(0),
            loads: Semaphore::new(limits::PARALLEL_LOADS),
            slots: DashMap::new(),
            panics: Panics::default(),
        })
    }

    /// There are new messages for a queue.
    pub(super) fn wake(&self, queue: QueueNo) {
        let slot = self.slots.get(&queue).map(|slot| slot.clone());
        if let Some(slot) = slot {
            slot.tell(WOKEN);
        }
    }

    /// There is a broadcast to everyone, or to an account: known to all from now on, told to those who wait soon.
    pub(super) fn broadcast(&self, account: Option<AccountId>) {
        self.broadcasts.fetch_add(1, Ordering::AcqRel);
        self.herald.tell(account);
    }

    /// There are new messages for all sessions' queues, or those of an account.
    pub(super) fn wake_sessions(&self, concerns: impl Fn(AccountId) -> bool) {
        self.tell_all(|slot| slot.account.is_some_and(&concerns));
    }

    /// Makes every actor look at [`Directory::draining`].
    pub(super) fn wake_all(&self) {
        self.tell_all(|_| true);
    }

    fn tell_all(&self, concerns: impl Fn(&Slot) -> bool) {
        // Noted first and told afterwards, so that nobody waits long for the map: the committing thread uses it too.
        let slots: Vec<_> = self
            .slots
            .iter()
            .filter(|slot| concerns(slot))
            .map(|slot| slot.clone())
            .collect();
        for slot in slots {
            slot.tell(WOKEN);
        }
    }

    /// The queue's record was changed.
    pub(super) fn edited(&self, queue: QueueNo) {
        let slot = self.slots.get(&queue).map(|slot| slot.clone());
        if let Some(slot) = slot {
            slot.tell(EDITED);
        }
    }

    /// The queue was deleted.
    pub(super) fn gone(&self, queue: QueueNo) {
        if let Some((_, slot)) = self.slots.remove(&queue) {
            slot.tell(GONE);
        }
        self.panics.forget(&queue);
        self.moves.forget(queue);
    }

    /// An actor ends: from now on a fresh one is started for the queue.
    pub(super) fn leave(&self, slot: &Arc<Slot>, why: Ended) {
        // The first reason stays.
        let _ = slot.ended.set(why);
        self.slots
            .remove_if(&slot.no, |_, listed| Arc::ptr_eq(listed, slot));
    }

    /// Asks a queue's actor, starting it if need be.
    ///
    /// An actor may end while a request is on its way to it. A request that can be repeated is, on a fresh actor; one
    /// that can not (`repeatable` is false) is repeated only if it was surely not begun. An answer that comes while
    /// whoever asked goes away is given to `unread`, with the mailbox it came from.
    pub(super) async fn ask<T>(
        self: &Arc<Self>,
        queue: &QueueRecord,
        repeatable: bool,
        make: impl Fn(Reply<T>) -> Ask,
        unread: impl Fn(T, &Recipient<Ask>),
    ) -> Result<T, QueueError> {
        loop {
            let slot = self.slot(queue);
            let Some(mailbox) = self.mailbox(&slot, queue).await? else {
                continue;
            };
            let (reply, answer) = oneshot::channel();
            let begun = match mailbox.try_send(make(reply)) {
                Ok(()) => {
                    let answer = Unread {
                        answer,
                        unread: |value| unread(value, mailbox),
                    };
                    match answer.await {
                        Ok(answer) => return answer,
                        Err(_) => true,
                    }
                }
                Err(SendError::Full(_)) => return Err(QueueError::Throttled),
                Err(SendError::Closed(_)) => false,
            };
            match slot.ended.get() {
                Some(Ended::Idle) => {}
                Some(Ended::Refused(error)) => return Err(error.clone()),
                Some(Ended::Stale) if repeatable || !begun => {}
                Some(Ended::Stale) => return Err(StoreError::Overloaded.into()),
                None => {
                    self.bury(&slot);
                    if begun && !repeatable {
                        return Err(StoreError::Overloaded.into());
                    }
                }
            }
        }
    }

    fn slot(&self, queue: &QueueRecord) -> Arc<Slot> {
        match self.slots.entry(queue.no) {
            Entry::Occupied(slot) => slot.get().clone(),
            Entry::Vacant(vacant) => {
                let slot = Arc::new(Slot {
                    no: queue.no,
                    account: queue.owner.as_ref().map(|owner| owner.account),
                    flags: AtomicU8::new(0),
                    mailbox: OnceCell::new(),
                    ended: OnceLock::new(),
                });
                vacant.insert(slot.clone());
                slot
            }
        }
    }

    /// The actor's mailbox; `None` if the slot was given up meanwhile.
    async fn mailbox<'a>(
        self: &Arc<Self>,
        slot: &'a Arc<Slot>,
        queue: &QueueRecord,
    ) -> Result<Option<&'a Recipient<Ask>>, QueueError> {
        if let Some(mailbox) = slot.mailbox.get() {
            return Ok(Some(mailbox));
        }
        let start = || async {
            if slot.ended.get().is_some() {
                return Err(None);
            }
            // Whoever loads may go away meanwhile: then the slot must not stay, for nobody would wake its waiters.
            let mut guard = Unstarted {
                directory: self,
                slot,
                why: Some(Ended::Idle),
            };
            let mailbox = self.start(slot, queue).await;
            guard.why = match &mailbox {
                Ok(_) => None,
                Err(error) => Some(Ended::Refused(error.clone())),
            };
            mailbox.map_err(Some)
        };
        match slot.mailbox.get_or_try_init(start).await {
            Ok(mailbox) => Ok(Some(mailbox)),
            Err(None) => Ok(None),
            Err(Some(error)) => Err(error),
        }
    }

    async fn start(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        queue: &QueueRecord,
    ) -> Result<Recipient<Ask>, QueueError> {
        self.check_panics(slot.no)?;
        let _permit = self.loads.acquire().await;
        let (directory, no) = (self.clone(), queue.no);
        let loaded = tokio::task::spawn_blocking(move || directory.load(no))
            .await
            .map_err(|error| StoreError::Failed(format!("loading a queue: {error}")))??;
        Ok(match loaded {
            (loaded, None) => self.run(slot, loaded, Plain).recipient(),
            (loaded, Some(session)) => self.run(slot, loaded, session).recipient(),
        })
    }

    /// Reads a queue from disk.
    fn load(&self, no: QueueNo) -> Result<(Loaded, Option<SessionKind>), QueueError> {
        let broadcasts = self.broadcasts.load(Ordering::Acquire);
        let record = self.catalog.get(no)?.ok_or(QueueError::DoesNotExist)?;
        let source = QueueSource {
            queue: no,
            account: record.owner.as_ref().map(|owner| owner.account),
        };
        let queue = self.store.load(source, self.clock.now())?;
        let kind = (self.sealers)(&record, queue.lease)?;
        let loaded = Loaded {
            record,
            source,
            queue,
            broadcasts,
        };
        Ok((loaded, kind))
    }

    /// Starts an actor on this thread: that of the worker whose request needs it first. A client keeps its connection,
    /// so its polls, its deletes and the actor that serves them mostly share a thread, and a message is not handed from
    /// one to another on its last steps.
    fn run<K: Kind>(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        loaded: Loaded,
        kind: K,
    ) -> Addr<QueueActor<K>> {
        // As `Actor::start`, which gives no say in the mailbox's size until the actor runs.
        let (sender, receiver) = channel(self.config.mailbox);
        let actor = QueueActor::new(self.clone(), slot.clone(), loaded, kind);
        actix_rt::spawn(Context::with_receiver(receiver).into_future(actor));
        Addr::new(sender)
    }

    /// An actor was found dead without a reason: it panicked.
    fn bury(&self, slot: &Arc<Slot>) {
        let removed = self
            .slots
            .remove_if(&slot.no, |_, listed| Arc::ptr_eq(listed, slot));
        if removed.is_some() {
            metrics::counter!("fanfare_queue_panics_total").increment(1);
            tracing::error!(queue = slot.no.0, "a queue actor panicked");
            self.panics.note(slot.no, Instant::now());
        }
    }

    /// Refuses to start a queue that panics again and again.
    fn check_panics(&self, no: QueueNo) -> Result<(), QueueError> {
        let panics = self.panics.lately(no, Instant::now());
        if panics >= limits::PANICS {
            let reason = format!("queue {} fails again and again", no.0);
            return Err(StoreError::Failed(reason).into());
        }
        if panics > 0 {
            metrics::counter!("fanfare_queue_respawns_total").increment(1);
        }
        Ok(())
    }

    /// ARN of a queue.
    pub(super) fn arn(&self, name: &QueueName) -> String {
        let QueuesConfig {
            region, account, ..
        } = &self.config;
        format!("arn:aws:sqs:{region}:{account}:{}", name.as_str())
    }

    /// The queue of an ARN, if it is one of ours and exists.
    pub(super) fn by_arn(&self, arn: &str) -> Result<Option<QueueRecord>, StoreError> {
        let name = arn
            .rsplit_once(':')
            .and_then(|(_, name)| QueueName::parse(name).ok())
            .filter(|name| self.arn(name) == arn);
        match name {
            Some(name) => self.catalog.find(&name),
            None => Ok(None),
        }
    }
}

/// Gives a slot up whose actor did not come to be.
struct Unstarted<'a> {
    directory: &'a Directory,
    slot: &'a Arc<Slot>,
    why: Option<Ended>,
}

impl Drop for Unstarted<'_> {
    fn drop(&mut self) {
        if let Some(why) = self.why.take() {
            self.directory.leave(self.slot, why);
        }
    }
}

type Answer<T> = Result<T, QueueError>;

/// An answer that is awaited, and what happens to it if it comes in the moment in which nobody awaits it any more.
struct Unread<T, F: Fn(T)> {
    answer: oneshot::Receiver<Answer<T>>,
    unread: F,
}

impl<T, F: Fn(T) + Unpin> Future for Unread<T, F> {
    type Output = Result<Answer<T>, oneshot::error::RecvError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer).poll(cx)
    }
}

impl<T, F: Fn(T)> Drop for Unread<T, F> {
    fn drop(&mut self) {
        self.answer.close();
        if let Ok(Ok(value)) = self.answer.try_recv() {
            (self.unread)(value);
        }
    }
}
