//! The dispatcher: turns a target into sessions and users, and hands one shared message to their queues
//! and their history. One per worker; it never waits for a store or a socket itself.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::{Actor, Context, Handler, MailboxError, Message, MessageResult};
use bytes::Bytes;
use futures_util::future::OptionFuture;

use crate::backends::plane::{MessageRelay, Parcel, QueueAddress, RelayError, Relayed, Relaying};
use crate::backends::{Delivery, QueueStore, Recipients, SessionRegistry};
use crate::config::limits;
use crate::domain::history::{Audience, NewEntry};
use crate::domain::ids::unique_id;
use crate::domain::message::NewMessage;
use crate::domain::{
    Clock, MessageId, QueueName, QueueNo, SessionId, StoreError, Target, Timestamp, UserId,
};
use crate::envelope::ascii_json;
use crate::observe::traces::{Followed, Traces, What};

mod followed;
pub mod messages;
pub mod posted;
pub mod records;
pub mod routes;

pub use messages::{
    Address, Addressed, Dispatch, DispatchAll, DispatchError, Dispatched, Dispatching,
};
pub use posted::Posted;
pub use routes::Routes;

use super::history::Historians;
use super::per_worker::PerWorker;
use posted::InvalidMessage;

/// What a dispatcher works with; shared by all of them.
pub struct Neighbours {
    /// Who has which sessions.
    pub routes: Arc<Routes>,
    /// Sessions by id.
    pub registry: Arc<dyn SessionRegistry>,
    /// Where messages wait.
    pub queues: Arc<dyn QueueStore>,
    /// Who keeps history.
    pub history: Historians,
    /// The time.
    pub clock: Clock,
    /// How long history keeps a message.
    pub user_message_ttl: Duration,
    /// The SQS `SenderId` of dispatched messages.
    pub sender: Arc<str>,
    /// Messages that a session's queue may hold.
    pub queue_limit: u64,
    /// Messages that are followed.
    pub traces: Arc<Traces>,
}

/// The actor.
pub struct Dispatcher {
    relay: Arc<dyn MessageRelay>,
    /// Who says where a message goes; `None` if that is known elsewhere only.
    neighbours: Option<Arc<Neighbours>>,
    clock: Clock,
}

impl Actor for Dispatcher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(limits::DISPATCHER_MAILBOX);
    }
}

impl Handler<Dispatch> for Dispatcher {
    type Result = MessageResult<Dispatch>;

    fn handle(&mut self, message: Dispatch, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.dispatch(message))
    }
}

impl Handler<Address> for Dispatcher {
    type Result = Result<Addressed, DispatchError>;

    fn handle(&mut self, Address(posted): Address, _: &mut Self::Context) -> Self::Result {
        match &self.neighbours {
            Some(neighbours) => neighbours.address(&posted),
            None => Err(StoreError::Failed("sessions are looked up elsewhere".into()).into()),
        }
    }
}

/// The dispatchers of all workers.
#[derive(Clone)]
pub struct Dispatchers {
    workers: PerWorker<Dispatcher>,
}

impl Dispatchers {
    /// None yet; each worker's starts with its first message.
    pub fn new(neighbours: Neighbours) -> Self {
        let neighbours = Arc::new(neighbours);
        Self::of(
            neighbours.clone(),
            Some(neighbours.clone()),
            neighbours.clock,
        )
    }

    /// The same for a backend that finds sessions itself. [`Dispatchers::address`] is an error then.
    pub fn relaying(relay: Arc<dyn MessageRelay>, clock: Clock) -> Self {
        Self::of(relay, None, clock)
    }

    fn of(relay: Arc<dyn MessageRelay>, neighbours: Option<Arc<Neighbours>>, clock: Clock) -> Self {
        let make = move || Dispatcher {
            relay: relay.clone(),
            neighbours: neighbours.clone(),
            clock,
        };
        Self {
            workers: PerWorker::new("dispatcher", make),
        }
    }

    /// Asks this worker's dispatcher.
    ///
    /// # Errors
    /// [`DispatchError`], the dispatcher's own or because it can not take more.
    pub async fn dispatch(&self, message: Dispatch) -> Result<Dispatched, DispatchError> {
        self.ask(message).await??.0.await
    }

    /// Asks this worker's dispatcher where a message goes, which the asker then stores itself.
    ///
    /// # Errors
    /// As [`Dispatchers::dispatch`], but for full queues: those are in the answer.
    pub async fn address(&self, posted: Posted) -> Result<Addressed, DispatchError> {
        self.ask(Address(posted)).await?
    }

    async fn ask<M>(&self, message: M) -> Result<M::Result, DispatchError>
    where
        M: Message + Send + 'static,
        M::Result: Send + 'static,
        Dispatcher: Handler<M>,
        Context<Dispatcher>: ToEnvelope<Dispatcher, M>,
    {
        let asked = self.workers.here().send(message).await;
        asked.map_err(|(MailboxError::Closed | MailboxError::Timeout)| DispatchError::Overloaded)
    }
}

/// A target, resolved.
struct Plan {
    recipients: Recipients,
    /// Who keeps it in history; `None`: nobody.
    audience: Option<Audience>,
    sessions: u64,
    names: Vec<QueueAddress>,
    refused: Vec<SessionId>,
}

/// A session that a plan reaches directly.
struct Found {
    queue: QueueNo,
    name: QueueName,
    session: SessionId,
    retention: Duration,
}

impl Dispatcher {
    /// Makes a message whole and hands it over. What is handed over first is delivered first.
    fn dispatch(&self, message: Dispatch) -> Result<Dispatching, DispatchError> {
        let parcel = self.pack(message)?;
        let (message_id, begun) = (parcel.message_id.clone(), parcel.now);
        let relaying = self.relay.relay(parcel)?;
        Ok(Dispatching::of(message_id, relaying, (self.clock, begun)))
    }

    /// Makes a message whole.
    fn pack(&self, message: Dispatch) -> Result<Parcel, DispatchError> {
        let Dispatch {
            posted,
            fallback_id,
        } = message;
        let now = self.clock.now();
        let message_id = posted.message_id.clone().or(fallback_id);
        let message_id = message_id.unwrap_or_else(|| derive_id(&posted, now));
        let (body, text) = render(&posted, &message_id)?;
        Ok(Parcel {
            target: posted.target,
            message_id,
            kind: posted.kind,
            keep: !posted.sqs_only,
            body,
            text,
            now,
        })
    }
}

impl MessageRelay for Neighbours {
    /// Routes a message and hands it over; the answer comes once it is on disk everywhere.
    fn relay(&self, parcel: Parcel) -> Result<Relaying, RelayError> {
        let (id, length) = (&parcel.message_id, parcel.body.len());
        let followed = self.traces.accept(id, &parcel.target, length, parcel.now);
        let Some(followed) = followed else {
            return self.hand_over(parcel, None);
        };
        let (clock, keep) = (self.clock, parcel.keep);
        let relaying = self.hand_over(parcel, Some(&followed));
        let relaying = relaying.inspect_err(|error| {
            followed.note(clock.now(), What::Refused(error.to_string()));
        })?;
        Ok(Box::pin(async move {
            let relayed = relaying.await;
            followed.note(clock.now(), followed::ending(&relayed, keep));
            relayed
        }))
    }
}

impl Neighbours {
    fn hand_over(
        &self,
        parcel: Parcel,
        followed: Option<&Followed>,
    ) -> Result<Relaying, RelayError> {
        let now = parcel.now;
        let plan = self.resolve(&parcel.target, parcel.keep, now)?;
        if plan.is_refused() {
            return Err(RelayError::QueuesFull);
        }
        let delivery = self.delivery(plan.recipients, parcel.body, now);
        if let (Some(followed), Some(delivery)) = (followed, &delivery) {
            followed.is_in_queues_as(delivery.message.id);
        }
        let delivered = delivery.map(|Delivery { to, message }| self.queues.deliver(to, message));
        let kept = plan.audience.map(|audience| {
            let entry = NewEntry {
                message_id: parcel.message_id,
                created: now,
                expires: now.plus(self.user_message_ttl),
                kind: parcel.kind,
                json: parcel.text,
            };
            self.history.append(audience, entry)
        });
        let done = Relayed {
            sessions: plan.sessions,
            queues: plan.names,
            refused: plan.refused,
        };
        // Both are on their way before either is waited for: neither delays the other. The entry is handed in last and
        // done last, so whoever waits for it first is woken once, and finds the delivery done.
        Ok(Box::pin(async move {
            let kept = OptionFuture::from(kept).await;
            let delivered = OptionFuture::from(delivered).await;
            delivered.transpose()?;
            kept.transpose()?;
            Ok(done)
        }))
    }

    /// Routes a message and hands nothing over.
    fn address(&self, posted: &Posted) -> Result<Addressed, DispatchError> {
        let now = self.clock.now();
        let message_id = posted.message_id.clone();
        let message_id = message_id.unwrap_or_else(|| derive_id(posted, now));
        let (body, _) = render(posted, &message_id)?;
        let plan = self.resolve(&posted.target, !posted.sqs_only, now)?;
        Ok(Addressed {
            delivery: self.delivery(plan.recipients, body, now),
            refused: plan.refused,
        })
    }

    /// A message as it is stored; `None` if it is for nobody.
    fn delivery(&self, to: Recipients, body: Bytes, now: Timestamp) -> Option<Delivery> {
        if matches!(&to, Recipients::Queues(queues) if queues.is_empty()) {
            return None;
        }
        let message = NewMessage {
            id: unique_id(),
            body,
            seal: true,
            sent: now,
            expires: now.plus(self.routes.longest_retention()),
            visible_at: now,
            sender: self.sender.clone(),
            attributes: Arc::new([]),
            group: None,
            dedup: None,
            trace_header: None,
            dead_letter_source: None,
        };
        Some(Delivery { to, message })
    }

    fn resolve(&self, target: &Target, keep: bool, now: Timestamp) -> Result<Plan, StoreError> {
        let mut plan = match target {
            Target {
                account: None,
                user: None,
                session: None,
            } => Plan {
                recipients: Recipients::Everyone,
                audience: Some(Audience::Everyone),
                sessions: self.routes.sessions(),
                names: self.first_names(None)?,
                refused: Vec::new(),
            },
            Target {
                account: Some(account),
                user: None,
                session: None,
            } => Plan {
                recipients: Recipients::Account(*account),
                audience: Some(Audience::Account(*account)),
                sessions: self.routes.sessions_of_account(*account),
                names: self.first_names(Some(*account))?,
                refused: Vec::new(),
            },
            _ => self.resolve_directly(target, now)?,
        };
        if !keep {
            plan.audience = None;
        }
        if plan.sessions == 0 {
            // A broadcast to nobody is no row in a log that nobody will read.
            plan.recipients = Recipients::Queues(Vec::new());
            plan.audience = plan
                .audience
                .filter(|audience| matches!(audience, Audience::Users(_)));
        }
        Ok(plan)
    }

    /// Queues of the first sessions a broadcast reaches.
    fn first_names(
        &self,
        account: Option<crate::domain::AccountId>,
    ) -> Result<Vec<QueueAddress>, StoreError> {
        let sessions = self
            .registry
            .list(account, None, limits::ANSWERED_QUEUE_URLS)?;
        Ok(sessions
            .into_iter()
            .map(|session| here(session.queue_name))
            .collect())
    }

    /// A user's sessions, or a session.
    fn resolve_directly(&self, target: &Target, now: Timestamp) -> Result<Plan, StoreError> {
        let (found, users) = match target.user {
            Some(user) => (self.sessions_of_user(target, user), vec![user]),
            None => self.sessions_by_id(target, now)?,
        };
        let mut plan = Plan {
            recipients: Recipients::Queues(Vec::new()),
            audience: (!users.is_empty()).then_some(Audience::Users(users)),
            sessions: found.len() as u64,
            names: Vec::new(),
            refused: Vec::new(),
        };
        let mut queues = Vec::with_capacity(found.len());
        for found in found {
            if self.queues.is_full(found.queue, self.queue_limit, now)? {
                plan.refused.push(found.session);
                continue;
            }
            if plan.names.len() < limits::ANSWERED_QUEUE_URLS {
                plan.names.push(here(found.name));
            }
            queues.push((found.queue, now.plus(found.retention)));
        }
        plan.sessions = queues.len() as u64;
        plan.recipients = Recipients::Queues(queues);
        Ok(plan)
    }

    fn sessions_of_user(&self, target: &Target, user: UserId) -> Vec<Found> {
        let wanted = |session: &routes::UserSession| {
            target
                .account
                .is_none_or(|account| account == session.account)
                && target
                    .session
                    .as_ref()
                    .is_none_or(|id| *id == session.session)
        };
        let sessions = self
            .routes
            .sessions_of_user(user)
            .into_iter()
            .filter(wanted);
        sessions
            .map(|session| Found {
                queue: session.queue,
                name: session.name,
                session: session.session,
                retention: session.retention,
            })
            .collect()
    }

    /// Sessions of an id, in one account or in any, and their users.
    fn sessions_by_id(
        &self,
        target: &Target,
        now: Timestamp,
    ) -> Result<(Vec<Found>, Vec<UserId>), StoreError> {
        let Some(id) = &target.session else {
            return Ok((Vec::new(), Vec::new()));
        };
        let mut sessions = self.registry.by_id(id)?;
        sessions.retain(|session| {
            session.ttl > now
                && target
                    .account
                    .is_none_or(|account| account == session.key.account)
        });
        let mut users: Vec<UserId> = sessions.iter().filter_map(|session| session.user).collect();
        users.sort_unstable();
        users.dedup();
        let found = sessions.into_iter().map(|session| Found {
            queue: session.queue,
            name: session.queue_name,
            session: session.key.session,
            retention: session.retention,
        });
        Ok((found.collect(), users))
    }
}

impl Plan {
    /// Whether it is for somebody and reaches nobody, because every queue is full.
    fn is_refused(&self) -> bool {
        self.sessions == 0 && !self.refused.is_empty()
    }
}

/// A queue at this server.
fn here(name: QueueName) -> QueueAddress {
    QueueAddress { name, url: None }
}

/// A message as queues hold it, and as history does.
fn render(posted: &Posted, message_id: &MessageId) -> Result<(Bytes, Bytes), InvalidMessage> {
    let json = posted.to_json(message_id);
    let (body, text) = match ascii_json(&json) {
        Cow::Owned(ascii) => (Bytes::from(ascii), Bytes::from(json)),
        Cow::Borrowed(_) => {
            let text = Bytes::from(json);
            (text.clone(), text)
        }
    };
    if body.len() > limits::MESSAGE_BYTES {
        return Err(InvalidMessage::TooLong {
            length: body.len(),
            most: limits::MESSAGE_BYTES,
        });
    }
    Ok((body, text))
}

/// An id from time and content.
fn derive_id(posted: &Posted, now: Timestamp) -> MessageId {
    let digest = posted.digest();
    let id = format!("{:x}-{}", now.micros(), hex::encode(&digest[..8]));
    MessageId::parse(&id).expect("hexadecimal digits and a dash are a message id")
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::actors::testing::room;
    use crate::app::testing::Composed;
    use crate::auth::testing::FakeRegistry;

    #[actix::test]
    async fn so_many_messages_wait_in_the_mailbox() {
        let composed = Composed::new();
        let dispatchers = composed.dispatchers();
        let post = || Dispatch {
            posted: Posted::parse(b"{}").unwrap(),
            fallback_id: None,
        };
        dispatchers.dispatch(post()).await.unwrap();
        let room = room(&dispatchers.workers.here(), post);
        assert!(
            (0..=1).contains(&(room - limits::DISPATCHER_MAILBOX)),
            "{room}"
        );
        // Who finds no room waits for it.
        assert!(dispatchers.dispatch(post()).await.is_ok());
    }

    #[actix::test]
    async fn an_actor_that_panics_costs_one_message_and_is_replaced() {
        let composed = Composed::new();
        let registry = Arc::new(FakeRegistry::default());
        let dispatchers = Dispatchers::new(composed.neighbours(registry.clone()));
        let dispatch = async || {
            let posted = Posted::parse(b"{}").unwrap();
            let message = Dispatch {
                posted,
                fallback_id: None,
            };
            dispatchers.dispatch(message).await.map(drop)
        };
        assert_eq!(dispatch().await, Ok(()));
        // Who looks up a session now panics.
        let poison = AssertUnwindSafe(|| {
            let _held = registry.failure.lock().unwrap();
            panic!("on purpose");
        });
        assert!(catch_unwind(poison).is_err());
        assert_eq!(dispatch().await, Err(DispatchError::Overloaded));
        registry.failure.clear_poison();
        assert_eq!(dispatch().await, Ok(()));
    }
}
