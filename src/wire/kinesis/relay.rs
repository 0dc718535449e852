//! Records on their way to the dispatcher: each is a message, posted in the order of its shard.

use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::LocalBoxFuture;

use super::{Ingest, IngestError, IngestRecord, SequenceNumber};
use crate::actors::dispatcher::Dispatchers;
use crate::actors::dispatcher::records::Record;
use crate::domain::{Clock, MessageId, StoreError};

/// Relays records as messages.
pub struct Relay {
    dispatchers: Dispatchers,
    clock: Clock,
    /// The newest sequence number. They follow the clock, so that they rise over restarts too.
    newest: AtomicU64,
}

impl Relay {
    /// A relay to the dispatchers.
    pub fn new(dispatchers: Dispatchers, clock: Clock) -> Self {
        Self {
            dispatchers,
            clock,
            newest: AtomicU64::new(0),
        }
    }

    fn next(&self) -> SequenceNumber {
        let now = self.clock.now().micros();
        let next = |newest: u64| Some(now.max(newest + 1));
        let before = self
            .newest
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        SequenceNumber(now.max(before.unwrap_or_default() + 1))
    }
}

impl Ingest for Relay {
    fn put(
        &self,
        records: Vec<IngestRecord>,
    ) -> LocalBoxFuture<'static, Vec<Result<SequenceNumber, IngestError>>> {
        let numbers: Vec<SequenceNumber> = records.iter().map(|_| self.next()).collect();
        let named = |(record, number): (IngestRecord, &SequenceNumber)| {
            let id = format!("{}:{}", record.shard.id(), number.text());
            Record {
                id: MessageId::parse(&id).expect("a shard and a number are a message id"),
                data: record.data,
            }
        };
        let records = records.into_iter().zip(&numbers).map(named).collect();
        let dispatchers = self.dispatchers.clone();
        Box::pin(async move {
            let outcomes = dispatchers.take_records(records).await;
            let answer = |(outcome, number): (Result<(), StoreError>, SequenceNumber)| {
                outcome.map(|()| number).map_err(told)
            };
            outcomes.into_iter().zip(numbers).map(answer).collect()
        })
    }
}

/// What the producer is told of a record that was not taken.
fn told(error: StoreError) -> IngestError {
    match error {
        StoreError::Overloaded | StoreError::Full(_) | StoreError::Unavailable(_) => {
            IngestError::Throttled
        }
        StoreError::Failed(_) | StoreError::Corrupt(_) => IngestError::Failed,
    }
}
