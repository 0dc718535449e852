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
    use crate::actors::testing::room;
    use crate::app::testing::Composed;
    use crate::backends::testing::Brittle;
    use crate::domain::{MessageId, Seq, Timestamp, UserId};

    fn append(composed: &Composed, id: &str) -> Append {
        let entry = NewEntry {
            message_id: MessageId::parse(id).unwrap(),
            created: composed.clock().now(),
            expires: Timestamp(u64::MAX),
            kind: None,
            json: Bytes::from_static(b"{}"),
        };
        Append {
            audience: Audience::Users(vec![UserId(3)]),
            entry,
        }
    }

    #[actix::test]
    async fn so_many_entries_wait_in_the_mailbox() {
        let composed = Composed::new();
        let historians = Historians::new(composed.history());
        let one = || append(&composed, "a");
        historians
            .append(one().audience, one().entry)
            .await
            .unwrap();
        let room = room(&historians.workers.here(), one);
        assert!(
            (0..=1).contains(&(room - limits::HISTORIAN_MAILBOX)),
            "{room}"
        );
        // Who finds no room waits for it.
        let waited = historians.append(one().audience, one().entry).await;
        assert_eq!(waited, Ok(()));
    }

    #[actix::test]
    async fn an_actor_that_panics_costs_one_entry_and_is_replaced() {
        let composed = Composed::new();
        let store = Brittle::before(composed.history());
        let historians = Historians::new(store.clone());
        let keep = |id: &str| {
            let Append { audience, entry } = append(&composed, id);
            historians.append(audience, entry)
        };
        store.appends.store(1, Ordering::SeqCst);
        assert_eq!(keep("a").await, Err(StoreError::Overloaded));
        assert_eq!(keep("b").await, Ok(()));
        let kept = store.entries(UserId(3), Seq(0), composed.clock().now());
        let kept: Vec<_> = kept.unwrap().into_iter().map(|e| e.message_id).collect();
        assert_eq!(kept, [MessageId::parse("b").unwrap()]);
    }
}
