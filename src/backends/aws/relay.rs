//! Messages to sessions: found in DynamoDB, sent to their queues at SQS, kept for their users.
//!
//! Both ways are gone at once, and each to its end: history that does not answer holds up no delivery, and the other way
//! round. The sender is told that all is well when both are, or when what a service did not take is on this node's disk
//! ([`spill`](super::spill)); told otherwise, and sending again, it may send some sessions the message twice. A message to
//! many is handed over a part of the sessions at a time.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use futures_util::future::join_all;
use futures_util::stream::{StreamExt as _, iter};
use tokio::sync::oneshot;

use super::Services;
use super::lookup::Which;
use super::outbox::{Outboxes, sealed_bytes};
use super::sessions::Sessions;
use super::spill::{Missed, Spill};
use super::writer::{Keeping, Writer};
use crate::backends::broker::TopicBroker;
use crate::backends::plane::{MessageRelay, Parcel, QueueAddress, RelayError, Relayed, Relaying};
use crate::config::limits;
use crate::domain::history::NewEntry;
use crate::domain::session::Session;
use crate::domain::{StoreError, Target, Timestamp, UserId};

/// Look-ups at a time for a group of messages.
const PARALLEL_LOOKUPS: usize = 16;

/// Sessions of one target that are looked up for a group of messages; a target with more is sent to by itself.
const FEW_SESSIONS: usize = 64;

/// Takes messages to sessions wherever they are.
#[derive(Debug, Clone)]
pub struct Relay {
    services: Arc<Services>,
    pub(super) sessions: Sessions,
    outboxes: Outboxes,
    pub(super) writer: Writer,
    /// Where what a service does not take in time goes.
    spill: Option<Spill>,
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
            spill: None,
        }
    }

    /// The same, and what a service does not take in time is taken over there.
    #[must_use]
    pub fn spilling(mut self, spill: Spill) -> Self {
        self.spill = Some(spill);
        self
    }

    async fn deliver(self, parcel: Parcel) -> Result<Relayed, RelayError> {
        let mut relayed = Relayed::default();
        let target = &parcel.target;
        match (target.user, target.account, &target.session) {
            (Some(user), ..) => {
                // The user's history has it, with a session or without: it waits for no look-up.
                let kept = self.keep(&parcel, [user].into());
                let sent = self.send_all(&parcel, Which::User(user), false, &mut relayed);
                let sent = sent.await;
                sent.and(self.take_over(&parcel, kept.missed().await).await)?;
            }
            (None, _, Some(_)) => match self.named(target, parcel.now).await {
                Ok(found) => {
                    self.send_part(&parcel, &found, parcel.keep, &mut relayed)
                        .await?;
                }
                Err(error) => self.nobody_found(&parcel, error).await?,
            },
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

    /// Delivers messages so that each session is sent those that are for it in this order. Sessions that several of them
    /// are for are looked up once for a group of messages; a message to many is sent to all of them before the next is
    /// looked at.
    async fn deliver_all(self, mut parcels: Vec<Accepted>) {
        let mut under_way = Vec::new();
        while !parcels.is_empty() {
            let rest = parcels.split_off(parcels.len().min(limits::aws::RELAY_GROUP));
            let found = self.found_for(&parcels).await;
            for (parcel, done) in std::mem::replace(&mut parcels, rest) {
                let Some(found) = found.get(&parcel.target) else {
                    // Nobody may wait for the answer any more.
                    let _ = done.send(self.clone().deliver(parcel).await);
                    continue;
                };
                let sessions = found.as_deref().unwrap_or_default();
                let handed_over = self.hand_over(&parcel, sessions, audience(&parcel, sessions));
                let unknown = found.as_ref().err().cloned();
                let spill = self.spill.clone();
                under_way.push(async move {
                    let (reached, mut missed) = handed_over.await;
                    if let Some(error) = unknown {
                        missed.unknown(error);
                    }
                    let mut relayed = Relayed::default();
                    count(&mut relayed, reached);
                    let outcome = Spill::take(spill.as_ref(), &parcel, missed).await;
                    let _ = done.send(outcome.map(|()| relayed).map_err(RelayError::from));
                });
            }
        }
        join_all(under_way).await;
    }

    /// The sessions of the users and of the sessions that messages are for. Targets with more sessions than are held at a
    /// time are not among them.
    async fn found_for(
        &self,
        parcels: &[Accepted],
    ) -> HashMap<Target, Result<Vec<Session>, StoreError>> {
        let named = parcels
            .iter()
            .map(|(parcel, _)| (&parcel.target, parcel.now));
        let named: HashMap<&Target, Timestamp> = named
            .filter(|(target, _)| target.user.is_some() || target.session.is_some())
            .collect();
        let look_up = |(target, now): (&Target, Timestamp)| {
            let (relay, target) = (self.clone(), target.clone());
            async move { (relay.few(&target, now).await, target) }
        };
        let found = iter(named.into_iter().map(look_up)).buffer_unordered(PARALLEL_LOOKUPS);
        let found = found.filter_map(|(found, target)| {
            std::future::ready(found.transpose().map(|found| (target, found)))
        });
        found.collect().await
    }

    /// The sessions of a user or of an id; `None` if they are many.
    async fn few(
        &self,
        target: &Target,
        now: Timestamp,
    ) -> Result<Option<Vec<Session>>, StoreError> {
        let found = match target.user {
            Some(user) => {
                let part = self.sessions.part(&Which::User(user), None, now).await?;
                if part.next.is_some() {
                    return Ok(None);
                }
                let meant = |session: &Session| is_meant(target, session);
                part.sessions.into_iter().filter(meant).collect()
            }
            None => self.named(target, now).await?,
        };
        Ok(Some(found).filter(|found| found.len() <= FEW_SESSIONS))
    }

    /// Sessions of an id, in one account or in any.
    pub(super) async fn named(
        &self,
        target: &Target,
        now: Timestamp,
    ) -> Result<Vec<Session>, StoreError> {
        let Some(session) = target.session.clone() else {
            return Ok(Vec::new());
        };
        let mut found = match target.account {
            None => self.sessions.by_id(&session).await?,
            Some(account) => {
                let key = crate::domain::SessionKey { account, session };
                let found = self.sessions.read(&key).await?;
                found.into_iter().map(|(session, _)| session).collect()
            }
        };
        found.retain(|session| session.ttl > now);
        Ok(found)
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
            let part = match self.sessions.part(&which, from, parcel.now).await {
                Ok(part) => part,
                Err(error) => return outcome.and(self.nobody_found(parcel, error).await),
            };
            let mut sessions = part.sessions;
            sessions.retain(|session| is_meant(&parcel.target, session));
            // Whoever fails keeps the others from nothing.
            let sent = self.send_part(parcel, &sessions, keep, relayed).await;
            outcome = outcome.and(sent);
            from = part.next;
            if from.is_none() {
                return outcome;
            }
        }
    }

    /// Sends to these sessions, a part of them at a time.
    async fn send_part(
        &self,
        parcel: &Parcel,
        sessions: &[Session],
        keep: bool,
        relayed: &mut Relayed,
    ) -> Result<(), StoreError> {
        let mut outcome = Ok(());
        for sessions in sessions.chunks(self.at_once(parcel)) {
            let mut users = audience(parcel, sessions);
            users.retain(|_| keep);
            let (reached, missed) = self.hand_over(parcel, sessions, users).await;
            count(relayed, reached);
            outcome = outcome.and(self.take_over(parcel, missed).await);
        }
        outcome
    }

    /// To how many sessions at a time a message is sent.
    pub(super) fn at_once(&self, parcel: &Parcel) -> usize {
        at_once(parcel.body.len(), self.services.options.hold_bytes)
    }

    /// Has what a message missed taken over, if it may wait.
    async fn take_over(&self, parcel: &Parcel, missed: Missed) -> Result<(), StoreError> {
        Spill::take(self.spill.as_ref(), parcel, missed).await
    }

    /// The same for a message whose sessions could not be looked up.
    async fn nobody_found(&self, parcel: &Parcel, error: StoreError) -> Result<(), StoreError> {
        let mut missed = Missed::default();
        missed.unknown(error);
        self.take_over(parcel, missed).await
    }

    /// Hands a message over to sessions and to users' history. It is on its way when this returns; what is returned waits
    /// for the queues that it is for, and says whom it missed.
    pub(super) fn hand_over(
        &self,
        parcel: &Parcel,
        sessions: &[Session],
        users: BTreeSet<UserId>,
    ) -> impl Future<Output = (Vec<QueueAddress>, Missed)> + Send + use<> {
        let send = |session: &Session| {
            let sent = answered(self.outboxes.send(session, parcel.body.clone()));
            let queue = QueueAddress {
                name: session.queue_name.clone(),
                url: session.queue_url.clone(),
            };
            let key = session.key.clone();
            async move { (key, queue, sent.await) }
        };
        let sent: Vec<_> = sessions.iter().map(send).collect();
        let kept = self.keep(parcel, users);
        async move {
            let mut queues = Vec::new();
            let mut missed = Missed::default();
            for (key, queue, sent) in join_all(sent).await {
                match sent {
                    Ok(true) => {}
                    // It ended after it was found.
                    Ok(false) => continue,
                    Err(error) => missed.session(key, queue.name.clone(), error),
                }
                queues.push(queue);
            }
            missed.add(kept.missed().await);
            (queues, missed)
        }
    }

    /// Hands a message over to users' history. It is on its way when this returns.
    fn keep(&self, parcel: &Parcel, users: BTreeSet<UserId>) -> Kept {
        let entry = self.entry(parcel);
        let users = users.into_iter().filter(|_| parcel.keep);
        Kept(
            users
                .map(|user| (user, self.writer.put(user, &entry)))
                .collect(),
        )
    }

    /// A message as history keeps it.
    pub(super) fn entry(&self, parcel: &Parcel) -> NewEntry {
        NewEntry {
            message_id: parcel.message_id.clone(),
            created: parcel.now,
            expires: parcel.now.plus(self.services.options.user_message_ttl),
            kind: parcel.kind.clone(),
            json: parcel.text.clone(),
        }
    }
}

/// A message on its way to users' history.
struct Kept(Vec<(UserId, Result<Keeping, StoreError>)>);

impl Kept {
    /// Waits until it is in all of them but those that are returned. Whoever calls this waits for nothing else any more.
    async fn missed(self) -> Missed {
        for keeping in self.0.iter().flat_map(|(_, keeping)| keeping) {
            keeping.hurry();
        }
        let done = |(user, keeping): (UserId, Result<Keeping, StoreError>)| async move {
            let kept = match keeping {
                Ok(keeping) => keeping.done().await,
                Err(error) => Err(error),
            };
            (user, kept)
        };
        let mut missed = Missed::default();
        for (user, kept) in join_all(self.0.into_iter().map(done)).await {
            if let Err(error) = kept {
                missed.user(user, error);
            }
        }
        missed
    }
}

/// A message, and who waits for what becomes of it.
type Accepted = (Parcel, oneshot::Sender<Result<Relayed, RelayError>>);

/// Whose history keeps a message that these sessions are sent.
pub(super) fn audience(parcel: &Parcel, sessions: &[Session]) -> BTreeSet<UserId> {
    match parcel.target.user {
        Some(user) => [user].into(),
        None => sessions.iter().filter_map(|session| session.user).collect(),
    }
}

/// Counts queues that a message is in.
fn count(relayed: &mut Relayed, reached: Vec<QueueAddress>) {
    relayed.sessions += reached.len() as u64;
    let room = limits::ANSWERED_QUEUE_URLS - relayed.queues.len();
    relayed.queues.extend(reached.into_iter().take(room));
}

/// The answer to something that was handed over, if it was.
async fn answered<T>(
    handed_over: Result<oneshot::Receiver<Result<T, StoreError>>, StoreError>,
) -> Result<T, StoreError> {
    handed_over?.await.unwrap_or_else(|_| Err(ending()))
}

pub(super) fn is_meant(target: &Target, session: &Session) -> bool {
    let (account, id) = (session.key.account, &session.key.session);
    target.account.is_none_or(|wanted| wanted == account)
        && target.session.as_ref().is_none_or(|wanted| wanted == id)
}

/// Whether history can keep it, if it is to.
fn check_length(parcel: &Parcel) -> Result<(), RelayError> {
    let (length, most) = (parcel.text.len(), limits::aws::HISTORY_TEXT_BYTES);
    match parcel.keep && length > most {
        true => Err(RelayError::TooLong { length, most }),
        false => Ok(()),
    }
}

/// To how many sessions at a time a message of this length is sent: so that it does not fill what may wait.
fn at_once(length: usize, hold_bytes: u64) -> usize {
    let room = usize::try_from(hold_bytes / 4).unwrap_or(usize::MAX);
    (room / sealed_bytes(length)).clamp(1, limits::aws::SEND_PART)
}

fn ending() -> StoreError {
    StoreError::Unavailable("this node is ending".into())
}

impl MessageRelay for Relay {
    fn relay(&self, parcel: Parcel) -> Result<Relaying, RelayError> {
        check_length(&parcel)?;
        // A task of its own: what has begun goes to its end, whether or not anybody waits for it.
        let delivered = tokio::spawn(self.clone().deliver(parcel));
        Ok(Box::pin(async move {
            delivered.await.unwrap_or_else(|_| Err(ending().into()))
        }))
    }

    fn relay_all(&self, parcels: Vec<Parcel>) -> Vec<Result<Relaying, RelayError>> {
        let mut accepted = Vec::with_capacity(parcels.len());
        let accept = |parcel: Parcel| {
            check_length(&parcel)?;
            let (done, answer) = oneshot::channel();
            accepted.push((parcel, done));
            let relaying = async move { answer.await.unwrap_or_else(|_| Err(ending().into())) };
            Ok(Box::pin(relaying) as Relaying)
        };
        let relaying = parcels.into_iter().map(accept).collect();
        tokio::spawn(self.clone().deliver_all(accepted));
        relaying
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_sent_to_so_many_sessions_at_a_time() {
        assert_eq!(at_once(100, 64 << 20), limits::aws::SEND_PART);
        assert_eq!(at_once(1_000, 4 << 20), (1 << 20) / sealed_bytes(1_000));
        assert_eq!(at_once(1 << 20, 2 << 20), 1);
    }
}
