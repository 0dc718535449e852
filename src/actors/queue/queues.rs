//! What the wires see of the queues.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::ask::Ask;
use super::directory::{Directory, QueuesConfig, Sealers};
use super::messages::{
    ChangeVisibility, Delete, MoveTask, PerEntry, QueueView, Receive, Received, Send, Sent,
};
use crate::backends::{QueueCatalog, QueueStore, Touched};
use crate::domain::queue::{QueueCounts, QueueRecord};
use crate::domain::{Clock, QueueError};
use crate::observe::traces::Traces;

/// All queues of this process. Cheap to clone.
///
/// Methods that take a record look it up by its number: an older copy does no harm, and that of a queue deleted
/// meanwhile is answered with [`QueueError::DoesNotExist`]. Besides the errors named, each may answer
/// [`QueueError::Throttled`] when too much is waiting for the queue and [`QueueError::Store`].
#[derive(Clone)]
pub struct Queues {
    pub(super) directory: Arc<Directory>,
}

/// How long [`Queues::drain`] waits for the last answers.
const DRAIN: Duration = Duration::from_secs(5);

impl Queues {
    /// The queues of this store. `sealers` makes the ciphers of sessions' queues
    /// ([`sealers`](crate::actors::session::sealers)); `traces` are told what becomes of messages that are followed.
    pub fn new(
        config: QueuesConfig,
        store: Arc<dyn QueueStore>,
        catalog: Arc<dyn QueueCatalog>,
        sealers: Sealers,
        traces: Arc<Traces>,
        clock: Clock,
    ) -> Self {
        Self {
            directory: Directory::new(config, store, catalog, sealers, traces, clock),
        }
    }

    /// Stores messages. Each entry is accepted or refused by itself; when this answers, what was accepted is on disk.
    ///
    /// # Errors
    /// [`QueueError::DoesNotExist`]; per entry [`QueueError::QueueFull`] and what FIFO asks for
    /// ([`QueueError::MissingParameter`], [`QueueError::InvalidParameter`]).
    pub async fn send(
        &self,
        queue: &QueueRecord,
        send: Send,
    ) -> Result<PerEntry<Sent>, QueueError> {
        let send = Arc::new(send);
        let make = |reply| Ask::Send(send.clone(), reply);
        self.directory.ask(queue, false, make, |_, _| {}).await
    }

    /// Hands out messages; waits for a first one if asked to. Dropping the future cancels: nothing is handed out, or
    /// what just was is taken back.
    ///
    /// # Errors
    /// [`QueueError::DoesNotExist`], also if the queue is deleted meanwhile; [`QueueError::OverLimit`] for a short poll
    /// with too many messages in flight.
    pub async fn receive(
        &self,
        queue: &QueueRecord,
        receive: Receive,
    ) -> Result<Vec<Received>, QueueError> {
        let wait = receive.wait.unwrap_or(queue.attributes.receive_wait);
        let deadline = (!wait.is_zero()).then(|| self.directory.clock.now().plus(wait));
        let request = Arc::new(receive);
        let make = |reply| Ask::Receive {
            request: request.clone(),
            deadline,
            reply,
        };
        let give_back = |unread: Vec<Received>, mailbox: &actix::Recipient<Ask>| {
            let handles: Vec<_> = unread.into_iter().map(|message| message.handle).collect();
            if !handles.is_empty() {
                // If the mailbox is full the visibility timeout gives them back.
                let _ = mailbox.try_send(Ask::GiveBack(handles));
            }
        };
        self.directory.ask(queue, true, make, give_back).await
    }

    /// Deletes messages; when this answers, they are gone from disk.
    ///
    /// # Errors
    /// [`QueueError::DoesNotExist`]; per entry [`QueueError::ReceiptHandleIsInvalid`] and, on FIFO,
    /// [`QueueError::ReceiptHandleExpired`].
    pub async fn delete(
        &self,
        queue: &QueueRecord,
        delete: Delete,
    ) -> Result<PerEntry<()>, QueueError> {
        let delete = Arc::new(delete);
        let make = |reply| Ask::Delete(delete.clone(), reply);
        self.directory.ask(queue, true, make, |_, _| {}).await
    }

    /// Prolongs or ends the invisibility of messages in flight.
    ///
    /// # Errors
    /// [`QueueError::DoesNotExist`]; per entry [`QueueError::ReceiptHandleIsInvalid`],
    /// [`QueueError::MessageNotInflight`], [`QueueError::InvalidParameter`] and, on FIFO,
    /// [`QueueError::ReceiptHandleExpired`].
    pub async fn change_visibility(
        &self,
        queue: &QueueRecord,
        change: ChangeVisibility,
    ) -> Result<PerEntry<()>, QueueError> {
        let change = Arc::new(change);
        let make = |reply| Ask::ChangeVisibility(change.clone(), reply);
        self.directory.ask(queue, true, make, |_, _| {}).await
    }

    /// Deletes all messages that are there now.
    ///
    /// # Errors
    /// [`QueueError::DoesNotExist`]; [`QueueError::PurgeInProgress`] within 60 s of another.
    pub async fn purge(&self, queue: &QueueRecord) -> Result<(), QueueError> {
        self.directory
            .ask(queue, true, Ask::Purge, |(), _| {})
            .await
    }

    /// How many messages there are; exact.
    ///
    /// # Errors
    /// [`QueueError::DoesNotExist`].
    pub async fn counts(&self, queue: &QueueRecord) -> Result<QueueCounts, QueueError> {
        self.directory
            .ask(queue, true, Ask::Counts, |_, _| {})
            .await
    }

    /// What there is, with the first `max` messages. Changes nothing.
    ///
    /// # Errors
    /// [`QueueError::DoesNotExist`].
    pub async fn look(&self, queue: &QueueRecord, max: usize) -> Result<QueueView, QueueError> {
        let make = |reply| Ask::Look(max, reply);
        self.directory.ask(queue, true, make, |_, _| {}).await
    }

    /// Starts to move the messages of a dead-letter queue to `destination_arn`, or each back to where it came from.
    /// Tasks live in memory: one that the end of the process interrupts is not listed afterwards; what it had moved
    /// stays moved, the rest stays where it was.
    ///
    /// # Errors
    /// [`QueueError::InvalidParameter`] if the source is no dead-letter queue or has a task already;
    /// [`QueueError::ResourceNotFound`] if there is no such destination.
    pub async fn start_move(
        &self,
        source: &QueueRecord,
        destination_arn: Option<String>,
        max_per_second: Option<u32>,
    ) -> Result<MoveTask, QueueError> {
        super::moves::start(self, source, destination_arn, max_per_second).await
    }

    /// Ends a move task after the step it is at; answers how many messages it has moved.
    ///
    /// # Errors
    /// [`QueueError::ResourceNotFound`] if there is no such task; [`QueueError::UnsupportedOperation`] if it has ended.
    #[expect(
        clippy::unused_async,
        reason = "another backend has to ask over the network"
    )]
    pub async fn cancel_move(&self, task_handle: &str) -> Result<u64, QueueError> {
        self.directory.moves.cancel(task_handle)
    }

    /// The newest move tasks of a source, newest first.
    ///
    /// # Errors
    /// None at present.
    #[expect(
        clippy::unused_async,
        reason = "another backend has to ask over the network"
    )]
    pub async fn list_moves(
        &self,
        source: &QueueRecord,
        max: usize,
    ) -> Result<Vec<MoveTask>, QueueError> {
        Ok(self.directory.moves.list(&self.directory, source, max))
    }

    /// There is something new in the store. Returns at once: called on the store's committing thread.
    pub fn touched(&self, touched: &Touched) {
        match touched {
            Touched::Queue(queue) => self.directory.wake(*queue),
            Touched::Everyone => self.directory.broadcast(None),
            Touched::Account(account) => self.directory.broadcast(Some(*account)),
            Touched::Opened {
                before: Some(before),
                session,
            } if before.retention != session.retention => {
                self.directory.edited(session.queue);
            }
            Touched::Opened { .. } => {}
            Touched::Closed(session) => self.directory.gone(session.queue),
        }
    }

    /// For the end of the process: answers all waiting receives with what is there, mostly nothing, and lets none wait
    /// from now on. Returns when all are answered, or after 5 s.
    pub async fn drain(&self) {
        self.directory.draining.store(true, Ordering::Release);
        self.directory.wake_all();
        let until = tokio::time::Instant::now() + DRAIN;
        while self.directory.waiting.load(Ordering::Relaxed) > 0
            && tokio::time::Instant::now() < until
        {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}
