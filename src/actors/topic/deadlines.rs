//! What happens some time after a connection has ended: a delayed will, and the end of the session.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::Topics;
use super::durable::Durable;
use super::publish::{decide, is_reserved};
use crate::backends::Commit;
use crate::domain::Timestamp;
use crate::domain::policy::Access;
use crate::domain::publication::{ClientId, ClientRecord, Will};

/// A will that waits for its time.
#[derive(Debug)]
pub(super) struct PendingWill {
    pub(super) will: Will,
    /// What its client may do; `None` if it has not connected since the start.
    pub(super) access: Option<Access>,
}

/// The deadlines of clients that are away.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    pending: Mutex<Pending>,
}

#[derive(Debug, Default)]
struct Pending {
    by_client: HashMap<ClientId, Awaited>,
    order: BTreeSet<(Timestamp, ClientId)>,
}

#[derive(Debug, Default)]
struct Awaited {
    will: Option<(Timestamp, PendingWill)>,
    ends: Option<Timestamp>,
}

impl Awaited {
    fn next(&self) -> Option<Timestamp> {
        let will = self.will.as_ref().map(|(at, _)| *at);
        will.into_iter().chain(self.ends).min()
    }
}

/// What is due for one client.
#[derive(Debug)]
struct Due {
    client: ClientId,
    will: Option<PendingWill>,
    ends: bool,
}

impl Deadlines {
    /// Waits for these, and for nothing else, for this client.
    fn set(
        &self,
        client: ClientId,
        will: Option<(Timestamp, PendingWill)>,
        ends: Option<Timestamp>,
    ) {
        let mut pending = self.pending.lock().expect("nobody panics while holding it");
        pending.remove(&client);
        let awaited = Awaited { will, ends };
        if let Some(at) = awaited.next() {
            pending.order.insert((at, client.clone()));
            pending.by_client.insert(client, awaited);
        }
    }

    /// The client is back: nothing is awaited. Answers the will that was.
    pub(super) fn cancel(&self, client: &ClientId) -> Option<PendingWill> {
        let mut pending = self.pending.lock().expect("nobody panics while holding it");
        let awaited = pending.remove(client)?;
        awaited.will.map(|(_, will)| will)
    }

    fn due(&self, now: Timestamp) -> Vec<Due> {
        let mut pending = self.pending.lock().expect("nobody panics while holding it");
        let mut due = Vec::new();
        while let Some((at, client)) = pending.order.first().cloned()
            && at <= now
        {
            let awaited = pending.remove(&client).expect("it is in both");
            let ends = awaited.ends.is_some_and(|ends| ends <= now);
            let (will, later) = match awaited.will {
                Some((at, will)) if ends || at <= now => (Some(will), None),
                later => (None, later),
            };
            let left = Awaited {
                will: later,
                ends: awaited.ends.filter(|_| !ends),
            };
            if let Some(at) = left.next() {
                pending.order.insert((at, client.clone()));
                pending.by_client.insert(client.clone(), left);
            }
            due.push(Due { client, will, ends });
        }
        due
    }
}

impl Pending {
    fn remove(&mut self, client: &ClientId) -> Option<Awaited> {
        let awaited = self.by_client.remove(client)?;
        let at = awaited
            .next()
            .expect("nothing is kept that waits for nothing");
        self.order.remove(&(at, client.clone()));
        Some(awaited)
    }
}

/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(250);

/// How often expired retained messages are looked for.
const FORGET: u32 = 240;

impl Topics {
    /// Publishes delayed wills and ends sessions when their time has come, as long as the caller's event loop runs.
    pub fn keep_time(&self) {
        let topics = self.clone();
        actix::spawn(async move {
            let mut ticks = 0_u32;
            loop {
                tokio::time::sleep(TICK).await;
                topics.tick();
                ticks = ticks.wrapping_add(1);
                if ticks.is_multiple_of(FORGET) {
                    topics.inner.retained.forget_expired(topics.now());
                }
            }
        });
    }

    pub(in crate::actors::topic) fn tick(&self) {
        for due in self.inner.deadlines.due(self.now()) {
            if let Some(will) = due.will {
                self.publish_will(will);
                self.forget_will(&due.client);
            }
            if due.ends
                && let Some(durable) = self.inner.durables.get(&due.client)
                && durable.state().attached.is_none()
            {
                self.end_session(&durable);
            }
        }
    }

    /// The connection of a durable session is gone.
    pub(in crate::actors::topic) fn leave(
        &self,
        durable: &Arc<Durable>,
        record: ClientRecord,
        will: Option<PendingWill>,
    ) {
        if record.expiry == Some(Duration::ZERO) {
            will.into_iter().for_each(|will| self.publish_will(will));
            self.end_session(durable);
            return;
        }
        let now = self.now();
        let (due, later) = match will {
            Some(will) if will.will.delay.is_zero() => (Some(will), None),
            later => (None, later),
        };
        let mut record = record;
        if let Some(will) = due {
            record.will = None;
            durable.state().record.will = None;
            self.publish_will(will);
        }
        let ends = durable.state().ends();
        let later = later.map(|will| (now.plus(will.will.delay), will));
        self.inner.deadlines.set(record.id.clone(), later, ends);
        self.save(record);
    }

    /// What a session that was there at the start waits for.
    pub(in crate::actors::topic) fn await_end(&self, durable: &Durable, record: &ClientRecord) {
        let ends = durable.state().ends();
        let gone = record.disconnected.unwrap_or(self.now());
        let will = record.will.clone().map(|will| {
            let at = gone.plus(will.delay);
            (at, PendingWill { will, access: None })
        });
        self.inner.deadlines.set(record.id.clone(), will, ends);
    }

    /// A session's time is over.
    pub(in crate::actors::topic) fn end_session(&self, durable: &Arc<Durable>) {
        let closed = self.close_session(durable);
        actix::spawn(async move {
            if let Err(error) = closed.await {
                tracing::warn!(%error, "a session that has ended is still in the store");
            }
        });
    }

    /// A session is gone with its subscriptions and its queue; what to wait for until it is gone from the disk.
    pub(in crate::actors::topic) fn close_session(&self, durable: &Arc<Durable>) -> Commit<()> {
        let will = self.inner.deadlines.cancel(&durable.id);
        let shared: Vec<_> = {
            let state = durable.state();
            let subscriptions = state.record.subscriptions.iter();
            let shared = subscriptions.filter(|subscription| subscription.filter.group().is_some());
            shared
                .map(|subscription| subscription.filter.clone())
                .collect()
        };
        for filter in &shared {
            self.inner.groups.leave(filter, &durable.id);
        }
        self.inner.durables.remove(durable);
        will.into_iter().for_each(|will| self.publish_will(will));
        self.store().close(durable.no)
    }

    fn forget_will(&self, client: &ClientId) {
        let Some(durable) = self.inner.durables.get(client) else {
            return;
        };
        let record = {
            let mut state = durable.state();
            state.record.will = None;
            state.record.clone()
        };
        self.save(record);
    }

    /// Publishes a will, if its client still may.
    pub(in crate::actors::topic) fn publish_will(&self, PendingWill { will, access }: PendingWill) {
        let mut publication = will.publication;
        publication.expires = will.message_expiry.map(|expiry| self.now().plus(expiry));
        let may = access.is_none_or(|access| decide(&access, &publication).is_allowed());
        if !may || is_reserved(&publication.topic) || !self.rights().stand(&publication) {
            metrics::counter!("fanfare_mqtt_refused_total", "reason" => "will").increment(1);
            tracing::info!(topic = %publication.topic, "a will was not published: its client may not do that any more");
            return;
        }
        let published = self.route(publication, None, None);
        actix::spawn(async move {
            if let Err(error) = published.outcome().await {
                tracing::warn!(%error, "a will was not published");
            }
        });
    }

    /// Stores a session's record; a failure only means that an older one is found after a restart.
    pub(in crate::actors::topic) fn save(&self, record: ClientRecord) {
        let saved = self.store().save(record);
        actix::spawn(async move {
            if let Err(error) = saved.await {
                tracing::warn!(%error, "a client session was not stored");
            }
        });
    }
}
