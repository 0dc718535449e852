//! What AWS does not take in time, on this node's disk until it does.
//!
//! A message whose patience has ended, or for which no room is left in memory, becomes an [`errand`]: the message, and who
//! does not have it yet. Those that come at a time go into one file of the [`folder`] and share its sync. When it is on disk
//! their senders are answered; if the disk has no room, or they are too many, senders are refused as without this. The
//! [`courier`] takes errands to where they belong.

use std::io;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use self::errand::Errand;
use self::folder::{Folder, Reserved};
use crate::backends::plane::Parcel;
use crate::config::limits::aws::{SPILL_FILE_BYTES, SPILL_FILE_ERRANDS};
use crate::domain::{QueueName, SessionKey, StoreError, UserId};

pub mod courier;
pub mod errand;
pub mod folder;

/// Whom a message did not reach, and why.
#[derive(Debug, Default)]
pub struct Missed {
    /// Whether not all that it is for could be found.
    pub unknown: bool,
    /// Sessions whose queues did not take it.
    pub sessions: Vec<(SessionKey, QueueName)>,
    /// Users whose history did not take it.
    pub users: Vec<UserId>,
    /// Why, the first time, or why for good; `None` if nobody was missed.
    pub error: Option<StoreError>,
}

impl Missed {
    /// Notes that not all could be found, and why.
    pub fn unknown(&mut self, error: StoreError) {
        self.unknown = true;
        self.because(error);
    }

    /// Notes a session that was missed, and why.
    pub fn session(&mut self, key: SessionKey, queue: QueueName, error: StoreError) {
        self.sessions.push((key, queue));
        self.because(error);
    }

    /// Notes a user whose history was missed, and why.
    pub fn user(&mut self, user: UserId, error: StoreError) {
        self.users.push(user);
        self.because(error);
    }

    /// Notes what else was missed.
    pub fn add(&mut self, more: Self) {
        self.unknown |= more.unknown;
        self.sessions.extend(more.sessions);
        self.users.extend(more.users);
        if let Some(error) = more.error {
            self.because(error);
        }
    }

    fn because(&mut self, error: StoreError) {
        if self.error.as_ref().is_none_or(is_temporary) {
            let first = self.error.take().filter(|_| is_temporary(&error));
            self.error = Some(first.unwrap_or(error));
        }
    }
}

/// Whether it may be different soon.
fn is_temporary(error: &StoreError) -> bool {
    match error {
        StoreError::Full(_) | StoreError::Unavailable(_) | StoreError::Overloaded => true,
        StoreError::Failed(_) | StoreError::Corrupt(_) => false,
    }
}

/// Takes messages that AWS does not.
#[derive(Debug, Clone)]
pub struct Spill {
    folder: Arc<Folder>,
    jobs: mpsc::Sender<Job>,
}

/// An errand on its way to disk.
#[derive(Debug)]
struct Job {
    errand: Errand,
    reserved: Reserved,
    done: oneshot::Sender<Result<(), StoreError>>,
}

impl Spill {
    /// Takes messages into this folder, until the last copy is dropped.
    pub fn start(folder: Arc<Folder>) -> Self {
        // Senders wait beyond it, each with a message that it has in memory anyway.
        let (jobs, inbox) = mpsc::channel(SPILL_FILE_ERRANDS);
        tokio::spawn(write(folder.clone(), inbox));
        Self { folder, jobs }
    }

    /// Takes over what a message missed, if it missed anything; on disk when this is answered.
    ///
    /// # Errors
    /// Why it was missed, if that is for good, or if there is no room here, either.
    pub async fn take(
        spill: Option<&Self>,
        parcel: &Parcel,
        mut missed: Missed,
    ) -> Result<(), StoreError> {
        let Some(error) = missed.error.take() else {
            return Ok(());
        };
        let Some(spill) = spill.filter(|_| is_temporary(&error)) else {
            return Err(error);
        };
        match spill.put(Errand::new(parcel, missed)).await {
            Ok(()) => Ok(()),
            Err(refused) => {
                tracing::debug!(%refused, "a message is not kept on disk");
                Err(error)
            }
        }
    }

    async fn put(&self, errand: Errand) -> Result<(), StoreError> {
        let Some(reserved) = self.folder.reserve(errand.bytes()) else {
            metrics::counter!("fanfare_aws_refused_total", "hold" => "spill").increment(1);
            return Err(StoreError::Overloaded);
        };
        let ending = || StoreError::Unavailable("this node is ending".into());
        let (done, answer) = oneshot::channel();
        let job = Job {
            errand,
            reserved,
            done,
        };
        self.jobs.send(job).await.map_err(|_| ending())?;
        answer.await.unwrap_or_else(|_| Err(ending()))
    }
}

/// Writes errands, those that are there at a time into one file. While one is written, others gather for the next.
async fn write(folder: Arc<Folder>, mut inbox: mpsc::Receiver<Job>) {
    while let Some(first) = inbox.recv().await {
        let mut bytes = first.errand.bytes();
        let mut batch = vec![first];
        while batch.len() < SPILL_FILE_ERRANDS
            && bytes < SPILL_FILE_BYTES
            && let Ok(next) = inbox.try_recv()
        {
            bytes += next.errand.bytes();
            batch.push(next);
        }
        let (mut errands, mut reserved, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
        for job in batch {
            errands.push(job.errand);
            reserved.push(job.reserved);
            waiting.push(job.done);
        }
        let folder = folder.clone();
        let written = blocking(move || folder.add(&errands, reserved)).await;
        let outcome = match written {
            Ok(()) => {
                metrics::counter!("fanfare_aws_spilled_total").increment(waiting.len() as u64);
                Ok(())
            }
            Err(error) => {
                metrics::counter!("fanfare_aws_spill_failures_total").increment(1);
                tracing::error!(%error, "messages that wait for AWS can not be kept on disk");
                Err(StoreError::Full(error.to_string()))
            }
        };
        for done in waiting {
            // Nobody may wait for the answer any more.
            let _ = done.send(outcome.clone());
        }
    }
}

/// Does what waits for the disk where nothing else waits for it.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|ended| Err(io::Error::other(ended)))
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::errand::tests::errand;
    use super::*;

    fn missed(error: StoreError) -> Missed {
        let mut missed = Missed::default();
        missed.user(UserId(1), error);
        missed
    }

    fn unavailable() -> StoreError {
        StoreError::Unavailable("late".into())
    }

    #[actix::test]
    async fn errands_that_come_at_a_time_share_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path().into(), 1 << 30).unwrap();
        let spill = Spill::start(folder.clone());
        let ids: Vec<String> = (0..3 * SPILL_FILE_ERRANDS)
            .map(|at| at.to_string())
            .collect();
        let put = |id: &String| spill.put(errand(id));
        assert!(
            join_all(ids.iter().map(put))
                .await
                .iter()
                .all(Result::is_ok)
        );
        let (mut number, mut sizes, mut found) = (None, Vec::new(), Vec::new());
        while found.len() < ids.len() {
            let next = folder.next(number).await;
            let errands = folder.read(next).unwrap();
            sizes.push(errands.len());
            let id = |errand: &Errand| errand.parcel.message_id.as_str().to_owned();
            found.extend(errands.iter().map(id));
            number = Some(next);
        }
        assert_eq!(found, ids, "in the order in which they came");
        assert!(sizes.len() < 10, "{sizes:?}");
        assert!(
            sizes.iter().all(|size| *size <= SPILL_FILE_ERRANDS),
            "{sizes:?}"
        );
    }

    #[actix::test]
    async fn a_file_ends_when_it_has_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path().into(), 1 << 30).unwrap();
        let spill = Spill::start(folder.clone());
        let mut long = errand("a");
        long.parcel.body = vec![b'x'; SPILL_FILE_BYTES].into();
        let put = |_| spill.put(long.clone());
        assert!(join_all((0..4).map(put)).await.iter().all(Result::is_ok));
        for number in 0..4 {
            assert_eq!(folder.read(number).unwrap().len(), 1);
        }
    }

    #[actix::test]
    async fn only_what_may_pass_is_taken_over_and_only_where_there_is_room() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path().into(), 4096).unwrap();
        let spill = Spill::start(folder.clone());
        let parcel = errand("a").parcel;
        let take = async |missed| Spill::take(Some(&spill), &parcel, missed).await;
        let for_good = StoreError::Failed("no".into());
        assert_eq!(take(missed(for_good.clone())).await, Err(for_good));
        assert_eq!(take(Missed::default()).await, Ok(()));
        assert_eq!(take(missed(unavailable())).await, Ok(()));
        for error in [unavailable(), StoreError::Overloaded] {
            assert_eq!(
                take(missed(error.clone())).await,
                Err(error),
                "as without it"
            );
        }
        folder.keep(0, &[]).unwrap();
        assert_eq!(take(missed(StoreError::Overloaded)).await, Ok(()));
        let without = Spill::take(None, &parcel, missed(unavailable())).await;
        assert_eq!(without, Err(unavailable()));
    }

    #[test]
    fn what_is_for_good_outweighs_what_may_pass() {
        let check = |errors: &[StoreError], expect: &StoreError| {
            let mut missed = Missed::default();
            for error in errors {
                let mut more = Missed::default();
                more.user(UserId(1), error.clone());
                missed.add(more);
            }
            assert_eq!(missed.users.len(), errors.len());
            assert_eq!(missed.error.as_ref(), Some(expect));
        };
        let (late, for_good) = (unavailable(), StoreError::Failed("no".into()));
        check(
            &[StoreError::Overloaded, late.clone()],
            &StoreError::Overloaded,
        );
        check(&[late.clone(), for_good.clone()], &for_good);
        check(&[for_good.clone(), late], &for_good);
    }
}
