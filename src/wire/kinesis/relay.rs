//! Records on their way to the dispatcher: each is a message, posted in the order of its shard.

use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::{LocalBoxFuture, join_all};

use super::{Ingest, IngestError, IngestRecord, SequenceNumber};
use crate::actors::dispatcher::{Dispatch, DispatchError, Dispatchers, Posted};
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
        // The dispatcher hands messages over in the order in which it is asked, and this asks in order: join_all
        // polls its futures for the first time one after the other.
        let asked: Vec<_> = records
            .into_iter()
            .map(|record| {
                let number = self.next();
                let id = format!("{}:{}", record.shard.id(), number.text());
                let dispatch = Posted::parse(&record.data).map(|posted| Dispatch {
                    posted,
                    fallback_id: Some(
                        MessageId::parse(&id).expect("a shard and a number are a message id"),
                    ),
                });
                let dispatchers = self.dispatchers.clone();
                async move {
                    let dispatched = match dispatch {
                        Ok(dispatch) => dispatchers.dispatch(dispatch).await.map(drop),
                        Err(invalid) => Err(invalid.into()),
                    };
                    outcome(dispatched, &id).map(|()| number)
                }
            })
            .collect();
        Box::pin(join_all(asked))
    }
}

/// What the producer is told. A record that is no message never can be one: it is counted, logged and skipped.
fn outcome(dispatched: Result<(), DispatchError>, id: &str) -> Result<(), IngestError> {
    match dispatched {
        Ok(()) => Ok(()),
        Err(DispatchError::Invalid(error)) => {
            tracing::warn!(record = id, %error, "a stream record is no message and is skipped");
            metrics::counter!("fanfare_stream_records_skipped_total").increment(1);
            Ok(())
        }
        Err(
            DispatchError::QueuesFull
            | DispatchError::Overloaded
            | DispatchError::Store(
                StoreError::Overloaded | StoreError::Full(_) | StoreError::Unavailable(_),
            ),
        ) => Err(IngestError::Throttled),
        Err(DispatchError::Store(StoreError::Failed(_) | StoreError::Corrupt(_))) => {
            Err(IngestError::Failed)
        }
    }
}
