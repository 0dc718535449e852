//! Reads one shard: records are relayed in their order, and the checkpoint moves when they are where they belong.
//!
//! Records are relayed a read at a time. Those from the first that fails on are relayed again after a pause, so that a
//! session has them in their order in the end, some of them twice; the checkpoint stands at the last before it. What is
//! refused for good is tried a few times, because the refusal need not have to do with the record; then it is given up.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_kinesis::operation::get_records::{GetRecordsError, GetRecordsOutput};
use aws_sdk_kinesis::types::ShardIteratorType;
use aws_smithy_types::DateTime;
use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

use super::room::Room;
use super::rows::{Checkpoint, Lease};
use super::table::LeaseTable;
use crate::backends::aws::Services;
use crate::backends::aws::service::{Pauses, persist, trouble};
use crate::backends::stream::{Record, RecordIntake};
use crate::config::limits;
use crate::domain::{MessageId, StoreError};

/// How long after one read the next may come: a shard allows five in a second, to all who read it.
const PACE: Duration = Duration::from_millis(250);

/// How long records that are being relayed are waited for when the node ends. After it they are relayed again, elsewhere.
pub const GRACE: Duration = Duration::from_secs(5);

/// How reading a shard ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Everything in it is relayed, and there will be no more.
    Finished,
    /// The lease was given back.
    GivenBack,
    /// The lease is another's, or this node can not be sure that it is not.
    Lost,
}

/// What all readers of a node work with.
#[derive(Clone)]
pub struct Desk {
    /// Kinesis, among others.
    pub services: Arc<Services>,
    /// The stream's name.
    pub stream: String,
    /// Where checkpoints are.
    pub table: LeaseTable,
    /// Who takes the records.
    pub intake: Arc<dyn RecordIntake>,
    /// Room for them.
    pub room: Room,
    /// Until when this node may count on its leases.
    pub tenure: watch::Receiver<Instant>,
}

/// Reads one shard.
pub struct Reader {
    desk: Desk,
    lease: Lease,
    stop: watch::Receiver<bool>,
}

/// A record and its sequence number.
struct Read {
    number: String,
    record: Record,
}

impl Reader {
    /// A reader of the shard of a lease that was taken. It gives it back when `stop` says so.
    pub fn new(desk: Desk, lease: Lease, stop: watch::Receiver<bool>) -> Self {
        Self { desk, lease, stop }
    }

    /// Reads until it ends.
    pub async fn run(mut self) -> Ended {
        let ended = match self.read().await {
            Ended::GivenBack => self.give_back().await,
            ended => ended,
        };
        self.show_lag(0);
        tracing::info!(shard = self.lease.shard, ?ended, "a shard is read no more");
        ended
    }

    async fn read(&mut self) -> Ended {
        let mut pauses = Pauses::endless();
        let mut iterator = None;
        loop {
            if self.stopped() {
                return Ended::GivenBack;
            }
            if !self.is_held() {
                return Ended::Lost;
            }
            let due = Instant::now() + PACE;
            match self.next(&mut iterator).await {
                Ok(Some(ended)) => return ended,
                Ok(None) => {
                    pauses = Pauses::endless();
                    self.unless_stopped(tokio::time::sleep_until(due)).await;
                }
                Err(error) => {
                    let shard = &self.lease.shard;
                    tracing::warn!(shard, %error, "a shard can not be read at the moment");
                    self.unless_stopped(pauses.pause()).await;
                }
            }
        }
    }

    /// Reads once and relays what is there. `None`: there may be more.
    async fn next(&mut self, iterator: &mut Option<String>) -> Result<Option<Ended>, StoreError> {
        let at = match iterator.take() {
            Some(at) => at,
            None => self.iterator().await?,
        };
        let mut taken = self.desk.room.take().await;
        let Some(read) = self.get(&at, iterator).await? else {
            return Ok(None);
        };
        let bytes = |record: &aws_sdk_kinesis::types::Record| record.data.as_ref().len() as u64;
        taken.shrink_to(read.records.iter().map(bytes).sum());
        self.show_lag(read.millis_behind_latest.unwrap_or_default());
        *iterator = read.next_shard_iterator;
        let records: Vec<Read> = read.records.into_iter().map(|it| self.named(it)).collect();
        metrics::counter!("fanfare_stream_records_total").increment(records.len() as u64);
        if let Some(ended) = self.relay(records).await {
            return Ok(Some(ended));
        }
        match iterator {
            Some(_) => Ok(None),
            None if self.advance(Checkpoint::ShardEnd).await => Ok(Some(Ended::Finished)),
            None => Ok(Some(Ended::Lost)),
        }
    }

    /// An iterator from where the shard was read to.
    async fn iterator(&self) -> Result<String, StoreError> {
        let call = self.desk.services.kinesis.get_shard_iterator();
        let call = call
            .stream_name(&self.desk.stream)
            .shard_id(&self.lease.shard);
        let call = match &self.lease.checkpoint {
            Checkpoint::TrimHorizon | Checkpoint::ShardEnd => {
                call.shard_iterator_type(ShardIteratorType::TrimHorizon)
            }
            Checkpoint::AtTimestamp(at) => {
                let millis = i64::try_from(at.millis()).unwrap_or(i64::MAX);
                call.shard_iterator_type(ShardIteratorType::AtTimestamp)
                    .timestamp(DateTime::from_millis(millis))
            }
            Checkpoint::After(number) => call
                .shard_iterator_type(ShardIteratorType::AfterSequenceNumber)
                .starting_sequence_number(number),
        };
        let found = persist("GetShardIterator", once(), || call.clone().send()).await;
        let found = found.map_err(|error| trouble("GetShardIterator", error))?;
        found.shard_iterator.ok_or_else(|| {
            StoreError::Failed("GetShardIterator: Kinesis gave an answer without one".into())
        })
    }

    /// One read; `None` if the iterator is too old, and another is needed. After another failure it is good again.
    async fn get(
        &self,
        at: &str,
        iterator: &mut Option<String>,
    ) -> Result<Option<GetRecordsOutput>, StoreError> {
        let call = self.desk.services.kinesis.get_records();
        let call = call.shard_iterator(at).limit(limits::aws::READ_RECORDS);
        match persist("GetRecords", once(), || call.clone().send()).await {
            Ok(read) => Ok(Some(read)),
            Err(error) => match error.as_service_error() {
                Some(GetRecordsError::ExpiredIteratorException(_)) => Ok(None),
                _ => {
                    *iterator = Some(at.to_owned());
                    Err(trouble("GetRecords", error))
                }
            },
        }
    }

    fn named(&self, record: aws_sdk_kinesis::types::Record) -> Read {
        let number = record.sequence_number;
        let id = format!("{}:{number}", self.lease.shard);
        Read {
            record: Record {
                id: MessageId::parse(&id).expect("a shard and a number are a message id"),
                data: Bytes::from(record.data.into_inner()),
            },
            number,
        }
    }

    /// Relays records until all are where they belong; otherwise, how reading ended.
    async fn relay(&mut self, mut records: Vec<Read>) -> Option<Ended> {
        let mut pauses = Pauses::endless();
        let mut tries = 0;
        while !records.is_empty() {
            if !self.is_held() {
                return Some(Ended::Lost);
            }
            let given = records.iter().map(|read| read.record.clone()).collect();
            let taking = self.desk.intake.take(given);
            let outcomes = tokio::select! {
                outcomes = taking => outcomes,
                () = self.cut_off() => return Some(Ended::GivenBack),
                () = self.lapsed() => return Some(Ended::Lost),
            };
            let mut done = outcomes
                .iter()
                .take_while(|outcome| outcome.is_ok())
                .count();
            let failure = outcomes.into_iter().nth(done).and_then(Result::err);
            if done > 0 {
                (pauses, tries) = (Pauses::endless(), 0);
            }
            if let Some(error) = &failure {
                tries += usize::from(is_for_good(error));
                if tries >= limits::aws::RECORD_TRIES {
                    give_up(&records[done].record, error);
                    (done, tries) = (done + 1, 0);
                }
            }
            let last = records.drain(..done).next_back();
            if let Some(last) = last {
                let to = Checkpoint::After(last.number);
                if !self.advance(to).await {
                    return Some(Ended::Lost);
                }
            }
            if let Some(error) = failure {
                if self.stopped() {
                    return Some(Ended::GivenBack);
                }
                let shard = &self.lease.shard;
                tracing::warn!(shard, %error, "records wait to be relayed");
                self.unless_stopped(pauses.pause()).await;
            }
        }
        None
    }

    /// Moves the checkpoint; `false` if the lease is lost.
    async fn advance(&mut self, to: Checkpoint) -> bool {
        let mut pauses = Pauses::endless();
        loop {
            match self.desk.table.advance(&self.lease, &to).await {
                Ok(held) => {
                    self.lease.checkpoint = to;
                    return held;
                }
                Err(error) => {
                    let shard = &self.lease.shard;
                    tracing::warn!(shard, %error, "a checkpoint can not be moved at the moment");
                }
            }
            if !self.is_held() {
                return false;
            }
            pauses.pause().await;
        }
    }

    async fn give_back(&self) -> Ended {
        match self.desk.table.give_back(&self.lease).await {
            Ok(true) => Ended::GivenBack,
            Ok(false) => Ended::Lost,
            Err(error) => {
                let shard = &self.lease.shard;
                tracing::warn!(shard, %error, "a lease is not given back: others wait until it ends");
                Ended::Lost
            }
        }
    }

    /// Whether nobody else can have the lease yet.
    fn is_held(&self) -> bool {
        Instant::now() < *self.desk.tenure.borrow()
    }

    fn stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Waits, but not after it is told to stop.
    async fn unless_stopped<T>(&self, waiting: impl Future<Output = T>) {
        let mut stop = self.stop.clone();
        tokio::select! {
            _ = waiting => {}
            _ = stop.wait_for(|stopped| *stopped) => {}
        }
    }

    /// Waits until it was told to stop, and a while longer.
    async fn cut_off(&self) {
        let mut stop = self.stop.clone();
        // Whoever is gone can not say anything else any more.
        let _ = stop.wait_for(|stopped| *stopped).await;
        tokio::time::sleep(GRACE).await;
    }

    /// Waits until this node can not count on its leases any more.
    async fn lapsed(&self) {
        while self.is_held() {
            let until = *self.desk.tenure.borrow();
            tokio::time::sleep_until(until).await;
        }
    }

    fn show_lag(&self, millis: i64) {
        let shard = self.lease.shard.clone();
        metrics::gauge!("fanfare_stream_behind_seconds", "shard" => shard).set(millis as f64 / 1e3);
    }
}

/// One try: whoever reads pauses itself.
fn once() -> Pauses {
    Pauses::until(Instant::now())
}

/// Whether trying again can only help if somebody changes something.
fn is_for_good(error: &StoreError) -> bool {
    match error {
        StoreError::Failed(_) | StoreError::Corrupt(_) => true,
        StoreError::Full(_) | StoreError::Unavailable(_) | StoreError::Overloaded => false,
    }
}

fn give_up(record: &Record, error: &StoreError) {
    let record = record.id.as_str();
    tracing::error!(record, %error, "a record is given up: its message is not everywhere that it should be");
    metrics::counter!("fanfare_stream_records_given_up_total").increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_help_itself_is_never_given_up() {
        for (error, expected) in [
            (StoreError::Failed("denied".into()), true),
            (StoreError::Corrupt("a row".into()), true),
            (StoreError::Full("a queue".into()), false),
            (StoreError::Unavailable("throttled".into()), false),
            (StoreError::Overloaded, false),
        ] {
            assert_eq!(is_for_good(&error), expected, "{error}");
        }
    }
}
