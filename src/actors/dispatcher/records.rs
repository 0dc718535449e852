//! Records of a stream, each of which is a message, or nothing: whether they were put here or were read elsewhere.

use actix::{Handler, MessageResult};
use futures_util::future::{LocalBoxFuture, join_all};

use super::posted::InvalidMessage;
use super::{
    Dispatch, DispatchAll, DispatchError, Dispatched, Dispatcher, Dispatchers, Dispatching, Posted,
};
use crate::backends::stream::RecordIntake;
use crate::domain::{MessageId, StoreError, Timestamp};

pub use crate::backends::stream::Record;

impl Handler<DispatchAll> for Dispatcher {
    type Result = MessageResult<DispatchAll>;

    fn handle(
        &mut self,
        DispatchAll(messages): DispatchAll,
        _: &mut Self::Context,
    ) -> Self::Result {
        MessageResult(self.dispatch_all(messages))
    }
}

impl Dispatcher {
    /// Makes messages whole and hands them over in their order.
    fn dispatch_all(&self, messages: Vec<Dispatch>) -> Vec<Result<Dispatching, DispatchError>> {
        let (mut ids, mut parcels) = (Vec::with_capacity(messages.len()), Vec::new());
        for message in messages {
            ids.push(self.pack(message).map(|parcel| {
                let id = (parcel.message_id.clone(), parcel.now);
                parcels.push(parcel);
                id
            }));
        }
        let mut relayed = self.relay.relay_all(parcels).into_iter();
        let under_way = |id: Result<(MessageId, Timestamp), DispatchError>| {
            let (id, begun) = id?;
            let relaying = relayed.next().expect("one for each parcel")?;
            Ok(Dispatching::of(id, relaying, (self.clock, begun)))
        };
        ids.into_iter().map(under_way).collect()
    }
}

impl Dispatchers {
    /// Asks this worker's dispatcher to hand over messages in this order, and waits for all of them: one answer for each,
    /// in the same order.
    ///
    /// # Errors
    /// [`DispatchError`], if the dispatcher can not take more.
    async fn dispatch_all(
        &self,
        messages: Vec<Dispatch>,
    ) -> Result<Vec<Result<Dispatched, DispatchError>>, DispatchError> {
        let under_way = self.ask(DispatchAll(messages)).await?;
        let done = under_way.into_iter().map(|dispatching| async {
            match dispatching {
                Ok(dispatching) => dispatching.0.await,
                Err(error) => Err(error),
            }
        });
        Ok(join_all(done).await)
    }

    /// Hands records over as messages, in this order, and waits for all of them. The answer has one entry for each, in the
    /// same order; a record that is no message is counted, logged and skipped, which is `Ok`.
    pub async fn take_records(&self, records: Vec<Record>) -> Vec<Result<(), StoreError>> {
        let mut fates = Vec::with_capacity(records.len());
        let mut messages = Vec::new();
        for Record { id, data } in records {
            let posted = Posted::parse(&data);
            fates.push((id.clone(), posted.as_ref().err().cloned()));
            messages.extend(posted.ok().map(|posted| Dispatch {
                posted,
                fallback_id: Some(id),
            }));
        }
        let mut dispatched = match self.dispatch_all(messages).await {
            Ok(dispatched) => dispatched.into_iter(),
            Err(error) => return fates.iter().map(|_| Err(trouble(error.clone()))).collect(),
        };
        let outcome = |(id, invalid): (_, Option<InvalidMessage>)| {
            let outcome = match invalid {
                Some(invalid) => Err(invalid.into()),
                None => dispatched.next().expect("one for each message"),
            };
            match outcome {
                Ok(_) => Ok(()),
                Err(DispatchError::Invalid(invalid)) => {
                    skip(&id, &invalid);
                    Ok(())
                }
                Err(error) => Err(trouble(error)),
            }
        };
        fates.into_iter().map(outcome).collect()
    }
}

/// A record that is no message never can be one. The log says which it is, and nothing of what is in it.
fn skip(id: &MessageId, invalid: &InvalidMessage) {
    let what = match invalid {
        InvalidMessage::NotAnObject(_) => "no JSON object that can be a message",
        InvalidMessage::Field { field, .. } => field,
        InvalidMessage::TooLong { .. } => "too long",
    };
    tracing::warn!(
        record = id.as_str(),
        what,
        "a stream record is no message and is skipped"
    );
    metrics::counter!("fanfare_stream_records_skipped_total").increment(1);
}

fn trouble(error: DispatchError) -> StoreError {
    match error {
        DispatchError::Store(error) => error,
        // What is invalid is skipped before.
        DispatchError::QueuesFull | DispatchError::Overloaded | DispatchError::Invalid(_) => {
            StoreError::Overloaded
        }
    }
}

impl RecordIntake for Dispatchers {
    fn take(&self, records: Vec<Record>) -> LocalBoxFuture<'static, Vec<Result<(), StoreError>>> {
        let dispatchers = self.clone();
        Box::pin(async move { dispatchers.take_records(records).await })
    }
}
