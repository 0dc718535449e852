//! Messages to sessions: found in DynamoDB, sent to their queues at SQS, kept for their users.
//!
//! Both ways are gone at once, and each to its end: history that does not answer holds up no delivery, and the other way
//! round. The sender is told that all is well when both are; told otherwise, and sending again, it may send some sessions
//! the message twice. A message to many is handed over a part of the sessions at a time.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::oneshot;

use super::Services;
use super::lookup::Which;
use super::outbox::Outboxes;
use super::sessions::Sessions;
use super::writer::Writer;
use crate::backends::broker::TopicBroker;
use crate::backends::plane::{MessageRelay, Parcel, QueueAddress, RelayError, Relayed, Relaying};
use crate::config::limits;
use crate::domain::history::NewEntry;
use crate::domain::session::Session;
use crate::domain::{StoreError, Target, UserId};

/// Takes messages to sessions wherever they are.
#[derive(Debug, Clone)]
pub struct Relay {
    services: Arc<Services>,
    sessions: Sessions,
    outboxes: Outboxes,
    writer: Writer,
}

impl Relay {
    /// A relay to the sessions; those whose client subscribes get their messages through the broker.
    pub fn new(
        services: Arc<Services>,
        sessions: Sessions,
        broker: Option<Arc<dyn TopicBroker>>,
    ) -> Self {
        Self {
            outboxes: Outboxes::new(services.clone(), broker),
            writer: Writer::start(services.clone()),
            services,
            sessions,
        }
    }

    async fn deliver(self, parcel: Parcel) -> Result<Relayed, RelayError> {
        let mut relayed = Relayed::default();
        let target = &parcel.target;
        match (target.user, target.account, &target.session) {
            (Some(user), ..) => {
                // The user's history has it, with a session or without: it waits for no look-up.
                let kept = self.keep(&parcel, [user].into());
                let sent = self.send_all(&parcel, Which::User(user), false, &mut relayed);
                let (kept, sent) = futures_util::join!(kept, sent);
                sent.and(kept)?;
            }
            (None, _, Some(_)) => {
                let found = self.named(target).await?;
                let now = parcel.now;
                let found: Vec<Session> = found.into_iter().filter(|s| s.ttl > now).collect();
                self.send_part(&parcel, found, parcel.keep, &mut relayed)
                    .await?;
            }
            (None, Some(account), None) => {
                let which = Which::Account(account);
                self.send_all(&parcel, which, parcel.keep, &mut relayed)
                    .await?;
            }
            (None, None, None) => {
                let which = Which::Everyone;
                self.send_all(&parcel, which, parcel.keep, &mut relayed)
                    .await?;
            }
        }
        Ok(relayed)
    }

    /// Sessions of an id, in one account or in any.
    async fn named(&self, target: &Target) -> Result<Vec<Session>, StoreError> {
        let Some(session) = target.session.clone() else {
            return Ok(Vec::new());
        };
        let Some(account) = target.account else {
            return self.sessions.by_id(&session).await;
        };
        let key = crate::domain::SessionKey { account, session };
        let found = self.sessions.read(&key).await?;
        Ok(found.into_iter().map(|(session, _)| session).collect())
    }

    /// Sends to all these sessions that the target means.
    async fn send_all(
        &self,
        parcel: &Parcel,
        which: Which,
        keep: bool,
        relayed: &mut Relayed,
    ) -> Result<(), StoreError> {
        let mut from = None;
        let mut outcome = Ok(());
        loop {
            let part = self.sessions.part(&which, from, parcel.now).await?;
            let mut sessions = part.sessions;
            sessions.retain(|session| is_meant(&parcel.target, session));
            // Whoever fails keeps the others from nothing.
            let sent = self.send_part(parcel, sessions, keep, relayed).await;
            outcome = outcome.and(sent);
            from = part.next;
            if from.is_none() {
                return outcome;
            }
        }
    }

    async fn send_part(
        &self,
        parcel: &Parcel,
        sessions: Vec<Session>,
        keep: bool,
        relayed: &mut Relayed,
    ) -> Result<(), StoreError> {
        let users = sessions.iter().filter_map(|session| session.user);
        let users: BTreeSet<UserId> = users.filter(|_| keep).collect();
        let send = |session: &Session| self.outboxes.send(session, parcel.body.clone());
        let sent: Vec<_> = sessions.iter().map(send).collect();
        let (kept, sent) = futures_util::join!(
            self.keep(parcel, users),
            join_all(sent.into_iter().map(answered))
        );
        let mut outcome = kept;
        for (session, sent) in sessions.into_iter().zip(sent) {
            match sent {
                Ok(true) => {
                    relayed.sessions += 1;
                    if relayed.queues.len() < limits::ANSWERED_QUEUE_URLS {
                        relayed.queues.push(QueueAddress {
                            name: session.queue_name,
                            url: session.queue_url,
                        });
                    }
                }
                // It ended after it was found.
                Ok(false) => {}
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome
    }

    async fn keep(&self, parcel: &Parcel, users: BTreeSet<UserId>) -> Result<(), StoreError> {
        if !parcel.keep {
            return Ok(());
        }
        let entry = NewEntry {
            message_id: parcel.message_id.clone(),
            created: parcel.now,
            expires: parcel.now.plus(self.services.options.user_message_ttl),
            kind: parcel.kind.clone(),
            json: parcel.text.clone(),
        };
        let rows: Vec<_> = users
            .iter()
            .map(|user| self.writer.put(*user, &entry))
            .collect();
        let mut outcome = Ok(());
        for kept in join_all(rows.into_iter().map(answered)).await {
            outcome = outcome.and(kept);
        }
        outcome
    }
}

/// The answer to something that was handed over, if it was.
async fn answered<T>(
    handed_over: Result<oneshot::Receiver<Result<T, StoreError>>, StoreError>,
) -> Result<T, StoreError> {
    let ending = || StoreError::Unavailable("this node is ending".into());
    handed_over?.await.unwrap_or_else(|_| Err(ending()))
}

fn is_meant(target: &Target, session: &Session) -> bool {
    let (account, id) = (session.key.account, &session.key.session);
    target.account.is_none_or(|wanted| wanted == account)
        && target.session.as_ref().is_none_or(|wanted| wanted == id)
}

impl MessageRelay for Relay {
    fn relay(&self, parcel: Parcel) -> Result<Relaying, RelayError> {
        let most = limits::aws::HISTORY_TEXT_BYTES;
        if parcel.keep && parcel.text.len() > most {
            let length = parcel.text.len();
            return Err(RelayError::TooLong { length, most });
        }
        // A task of its own: what has begun goes to its end, whether or not anybody waits for it.
        let delivered = tokio::spawn(self.clone().deliver(parcel));
        Ok(Box::pin(async move {
            let ending = || StoreError::Unavailable("this node is ending".into());
            delivered.await.unwrap_or_else(|_| Err(ending().into()))
        }))
    }
}
