//! Message move tasks: dead letters on their way back (WIRE 1.5).
//!
//! A task asks its source's actor for one small step after the other, so that neither the actor nor the store is
//! held up, and rests in between so as not to exceed its rate. It ends when nothing visible is left.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use super::ask::Ask;
use super::directory::Directory;
use super::messages::{MoveStatus, MoveTask};
use super::queues::Queues;
use crate::config::limits;
use crate::domain::queue::QueueRecord;
use crate::domain::{QueueError, QueueNo, StoreError, Timestamp};

/// Steps a second of a task that is not slower than that.
const STEPS_A_SECOND: u32 = 10;

/// A task, shared between its run and those who ask about it.
struct Task {
    id: Uuid,
    source: QueueRecord,
    destination: Option<Arc<QueueRecord>>,
    max_per_second: Option<u32>,
    to_move: u64,
    started: Timestamp,
    moved: AtomicU64,
    stage: Mutex<(MoveStatus, Option<String>)>,
}

/// The tasks of this process, newest first per source.
#[derive(Default)]
pub(super) struct Moves {
    tasks: Mutex<HashMap<QueueNo, VecDeque<Arc<Task>>>>,
}

/// Nothing that holds these locks can panic halfway through a change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Task {
    fn handle(&self) -> String {
        let mut bytes = self.source.no.0.to_be_bytes().to_vec();
        bytes.extend(self.id.as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn status(&self) -> MoveStatus {
        lock(&self.stage).0
    }

    fn is_active(&self) -> bool {
        matches!(self.status(), MoveStatus::Running | MoveStatus::Cancelling)
    }

    fn describe(&self, directory: &Directory) -> MoveTask {
        let (status, failure) = lock(&self.stage).clone();
        let destination = self.destination.as_ref();
        MoveTask {
            handle: self.handle(),
            status,
            source_arn: directory.arn(&self.source.name),
            destination_arn: destination.map(|queue| directory.arn(&queue.name)),
            max_per_second: self.max_per_second,
            moved: self.moved.load(Ordering::Relaxed),
            to_move: self.to_move,
            failure,
            started: self.started,
        }
    }

    /// How many messages a step moves, and the rest after it.
    fn pace(&self) -> (usize, Duration) {
        pace(self.max_per_second)
    }
}

fn pace(max_per_second: Option<u32>) -> (usize, Duration) {
    let rate = max_per_second
        .unwrap_or(limits::MOVE_TASK_RATE)
        .clamp(1, limits::MOVE_TASK_RATE);
    let steps = rate.min(STEPS_A_SECOND);
    ((rate / steps) as usize, Duration::from_secs(1) / steps)
}

impl Moves {
    fn add(&self, task: Arc<Task>) -> Result<(), QueueError> {
        let mut tasks = lock(&self.tasks);
        let tasks = tasks.entry(task.source.no).or_default();
        if tasks.iter().any(|task| task.is_active()) {
            let text = "There is already a task running. Only one active task is allowed for a source queue arn at a \
                        given time.";
            return Err(QueueError::InvalidParameter(text.into()));
        }
        tasks.push_front(task);
        tasks.truncate(limits::KEPT_MOVE_TASKS);
        Ok(())
    }

    pub(super) fn cancel(&self, handle: &str) -> Result<u64, QueueError> {
        let unknown = || QueueError::ResourceNotFound("Task does not exist.".into());
        let task = lock(&self.tasks)
            .values()
            .flatten()
            .find(|task| task.handle() == handle)
            .cloned()
            .ok_or_else(unknown)?;
        let mut stage = lock(&task.stage);
        if stage.0 != MoveStatus::Running {
            let text = "Only active tasks can be cancelled.";
            return Err(QueueError::UnsupportedOperation(text.into()));
        }
        stage.0 = MoveStatus::Cancelling;
        Ok(task.moved.load(Ordering::Relaxed))
    }

    pub(super) fn list(
        &self,
        directory: &Directory,
        source: &QueueRecord,
        max: usize,
    ) -> Vec<MoveTask> {
        let tasks = lock(&self.tasks);
        let tasks = tasks.get(&source.no).into_iter().flatten();
        tasks
            .take(max)
            .map(|task| task.describe(directory))
            .collect()
    }

    /// The queue is gone.
    pub(super) fn forget(&self, source: QueueNo) {
        lock(&self.tasks).remove(&source);
    }
}

/// Starts a task ([`Queues::start_move`]).
pub(super) async fn start(
    queues: &Queues,
    source: &QueueRecord,
    destination_arn: Option<String>,
    max_per_second: Option<u32>,
) -> Result<MoveTask, QueueError> {
    let directory = &queues.directory;
    if queues
        .dead_letter_sources(source, None, 1)
        .await?
        .is_empty()
    {
        let text = "Source queue must be configured as a Dead Letter Queue.";
        return Err(QueueError::InvalidParameter(text.into()));
    }
    let destination = match &destination_arn {
        None => None,
        Some(arn) => Some(Arc::new(destination(directory, source, arn)?)),
    };
    let task = Arc::new(Task {
        id: Uuid::new_v4(),
        source: source.clone(),
        destination,
        max_per_second,
        to_move: queues.counts(source).await?.visible,
        started: directory.clock.now(),
        moved: AtomicU64::new(0),
        stage: Mutex::new((MoveStatus::Running, None)),
    });
    directory.moves.add(task.clone())?;
    let description = task.describe(directory);
    actix_rt::spawn(run(directory.clone(), task));
    Ok(description)
}

fn destination(
    directory: &Directory,
    source: &QueueRecord,
    arn: &str,
) -> Result<QueueRecord, QueueError> {
    let queue = directory.by_arn(arn)?.ok_or_else(|| {
        let text =
            "The resource that you specified for the DestinationArn parameter doesn't exist.";
        QueueError::ResourceNotFound(text.into())
    })?;
    if queue.no == source.no || queue.attributes.fifo != source.attributes.fifo {
        let text = "The destination must be another queue of the same type as the source.";
        return Err(QueueError::InvalidParameter(text.into()));
    }
    Ok(queue)
}

async fn run(directory: Arc<Directory>, task: Arc<Task>) {
    let (max, rest) = task.pace();
    let (status, failure) = loop {
        if directory.draining.load(Ordering::Acquire) || task.status() == MoveStatus::Cancelling {
            break (MoveStatus::Cancelled, None);
        }
        let make = |reply| Ask::MoveOut {
            max,
            to: task.destination.clone(),
            reply,
        };
        match directory.ask(&task.source, true, make, |_, _| {}).await {
            Ok(0) => break (MoveStatus::Completed, None),
            Ok(moved) => {
                task.moved.fetch_add(moved as u64, Ordering::Relaxed);
            }
            // Busy, not broken.
            Err(QueueError::Throttled | QueueError::Store(StoreError::Overloaded)) => {}
            Err(error) => break (MoveStatus::Failed, Some(error.to_string())),
        }
        tokio::time::sleep(rest).await;
    };
    *lock(&task.stage) = (status, failure);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_task_is_faster_than_it_may_be() {
        let check = |asked: Option<u32>, at_most: u32| {
            let (step, rest) = pace(asked);
            let a_second = step as f64 / rest.as_secs_f64();
            assert!(
                a_second <= f64::from(at_most) * 1.001,
                "{asked:?} {a_second}"
            );
            assert!(a_second * 2.0 > f64::from(at_most), "{asked:?} {a_second}");
        };
        check(None, limits::MOVE_TASK_RATE);
        check(Some(u32::MAX), limits::MOVE_TASK_RATE);
        for asked in [1, 9, 10, 19, 499, 500] {
            check(Some(asked), asked);
        }
    }
}
