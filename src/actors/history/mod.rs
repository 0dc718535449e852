//! History actors: they take what is to be kept and write it in batches, apart from delivery, so that neither
//! can delay the other.
//!
//! One per worker, beside its dispatcher: an entry that changed threads on its way to the store, and again on
//! the way back, would miss the commit that its message is delivered by, and cost more than all the rest of a
//! post. In the embedded store a batch is a group commit, which the store forms itself from what is handed in.

use std::future::Future;
use std::sync::Arc;

use actix::{Actor, Context, Handler, MailboxError, Message, MessageResult};

use crate::actors::per_worker::PerWorker;
use crate::backends::{Commit, HistoryStore};
use crate::config::limits;
use crate::domain::history::{Audience, NewEntry};
use crate::domain::{Seq, StoreError};

/// Keep an entry. The answer is the commit on its way to disk: who asked waits for it together with the
/// delivery's, and is woken once.
#[derive(Debug, Message)]
#[rtype(result = "Commit<Seq>")]
pub struct Append {
    /// Who keeps it.
    pub audience: Audience,
    /// What.
    pub entry: NewEntry,
}

/// The actor.
pub struct Historian {
    store: Arc<dyn HistoryStore>,
}

impl Actor for Historian {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(limits::HISTORIAN_MAILBOX);
    }
}

impl Handler<Append> for Historian {
    type Result = MessageResult<Append>;

    fn handle(
        &mut self,
        Append { audience, entry }: Append,
        _: &mut Self::Context,
    ) -> Self::Result {
        MessageResult(self.store.append(audience, entry))
    }
}

/// The history actors of all workers.
#[derive(Clone)]
pub struct Historians {
    workers: PerWorker<Historian>,
}

impl Historians {
    /// None yet; each worker's starts with its first entry.
    pub fn new(store: Arc<dyn HistoryStore>) -> Self {
        let make = move || Historian {
            store: store.clone(),
        };
        Self {
            workers: PerWorker::new("history", make),
        }
    }

    /// Hands an entry to this worker's actor; the answer comes when it is on disk.
    pub fn append(
        &self,
        audience: Audience,
        entry: NewEntry,
    ) -> impl Future<Output = Result<(), StoreError>> + use<> {
        let asked = self.workers.here().send(Append { audience, entry });
        async move {
            match asked.await {
                Ok(commit) => commit.await.map(drop),
                Err(MailboxError::Closed | MailboxError::Timeout) => Err(StoreError::Overloaded),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use bytes::Bytes;

    use super::*;
    use crate::app::testing::Composed;
    use crate::backends::testing::Brittle;
    use crate::domain::{MessageId, Seq, Timestamp, UserId};

    #[actix::test]
    async fn an_actor_that_panics_costs_one_entry_and_is_replaced() {
        let composed = Composed::new();
        let store = Brittle::before(composed.history());
        let historians = Historians::new(store.clone());
        let append = |id: &str| {
            let entry = NewEntry {
                message_id: MessageId::parse(id).unwrap(),
                created: composed.clock().now(),
                expires: Timestamp(u64::MAX),
                kind: None,
                json: Bytes::from_static(b"{}"),
            };
            historians.append(Audience::Users(vec![UserId(3)]), entry)
        };
        store.appends.store(1, Ordering::SeqCst);
        assert_eq!(append("a").await, Err(StoreError::Overloaded));
        assert_eq!(append("b").await, Ok(()));
        let kept = store.entries(UserId(3), Seq(0), composed.clock().now());
        let kept: Vec<_> = kept.unwrap().into_iter().map(|e| e.message_id).collect();
        assert_eq!(kept, [MessageId::parse("b").unwrap()]);
    }
}
