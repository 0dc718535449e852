//! A room's owner: asks come in by its worker's mailbox, one after the other.

use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::super::Topics;
use super::super::fan::Fan;
use super::super::messages::{Begin, InRoom, Parcel};
use super::super::order::LazyOrder;
use super::super::publish::{PublishError, Publishing};
use super::super::shard::{Key, Shard, ShardHandle};
use super::super::target::is_from;
use super::recovery::{Lost, as_of, epoch, plan};
use super::{Ask, First, Recover, Reply, Room, Who, json};
use crate::backends::rooms::{Append, Head};
use crate::config::limits;
use crate::domain::StoreError;
use crate::domain::publication::{ClientId, ClientNo, Publication, QoS, Subscription};
use crate::domain::room::{Epoch, Mark, Place};
use crate::domain::topic::TopicName;

impl Shard {
    /// Everyone has been sent what was said up to this place.
    pub(in crate::actors::topic) fn room_reached(&self, room: &TopicName, place: Place) {
        if let Some(room) = self.rooms.borrow_mut().get_mut(room) {
            room.reached = Some(place);
        }
    }
}

impl Topics {
    /// Hands something to a room's owner now, or not at all.
    pub(super) fn ask(&self, room: &TopicName, ask: Ask) -> Result<(), PublishError> {
        let (address, message) = self.addressed(room, ask)?;
        let sent = address.try_send(message);
        sent.map_err(|_| PublishError::QuotaExceeded("what waits for the room"))
    }

    /// Hands something to a room's owner that must not be lost: it waits if there is no room in the mailbox.
    pub(in crate::actors::topic) fn tell_room(
        &self,
        room: &TopicName,
        ask: Ask,
    ) -> Result<(), PublishError> {
        let (address, message) = self.addressed(room, ask)?;
        if let Err(actix::dev::SendError::Full(message)) = address.try_send(message) {
            actix::spawn(async move {
                // An error: that worker has ended, and its rooms with it.
                let _ = address.send(message).await;
            });
        }
        Ok(())
    }

    fn addressed(
        &self,
        room: &TopicName,
        ask: Ask,
    ) -> Result<(actix::Addr<super::super::TopicActor>, InRoom), PublishError> {
        // There is at least this worker's shard to own it.
        self.here();
        let owner = self.rooms().owner(room, &self.shards());
        let owner = owner.ok_or(PublishError::QuotaExceeded("rooms"))?;
        let message = InRoom {
            topics: self.clone(),
            room: room.detached(),
            ask,
        };
        Ok((owner.address().clone(), message))
    }

    /// Something is said in a room with history: its owner gives it its place.
    pub(in crate::actors::topic) fn say(
        &self,
        publication: Publication,
        from: Option<(ClientNo, u16)>,
        order: Option<&LazyOrder>,
    ) -> Publishing {
        let (reply, answer) = oneshot::channel();
        let room = publication.topic.clone();
        let say = Ask::Say {
            publication,
            from,
            reply,
        };
        if let Err(error) = self.ask(&room, say) {
            return Publishing::Done(Err(error));
        }
        // What the connection publishes next to other topics comes after, and it is not read without end.
        let promise = order.map(LazyOrder::promise);
        Publishing::Waiting(Box::pin(async move {
            let outcome = answer.await.unwrap_or_else(|_| Err(lost()));
            if let Some(promise) = promise {
                promise.keep(|| ());
            }
            outcome
        }))
    }

    /// Something happens in a room that this worker owns, or owned until a moment ago.
    pub(in crate::actors::topic) fn in_room(&self, shard: &Rc<Shard>, room: TopicName, ask: Ask) {
        match self.rooms().owner(&room, &self.shards()) {
            Some(owner) if owner.is_of(shard) => {}
            // It was forgotten here, and another worker has taken it up since.
            _ => {
                if let Err(error) = self.tell_room(&room, ask) {
                    tracing::warn!(%room, %error, "what happened in a room was given up");
                }
                return;
            }
        }
        if let Err(error) = self.open_room(shard, &room) {
            tracing::warn!(%room, %error, "a room can not be opened");
            return;
        }
        self.happen(shard, &room, ask);
        self.look_after(shard, &room);
    }

    /// The room is in memory from now on.
    fn open_room(&self, shard: &Rc<Shard>, room: &TopicName) -> Result<(), StoreError> {
        if shard.rooms.borrow().contains_key(room) {
            return Ok(());
        }
        let rule = self.rooms().rule(room);
        let rule = rule.ok_or_else(|| StoreError::Failed("it is no room".into()))?;
        let head = match rule.history {
            Some(_) => self.inner.histories.head(room)?,
            None => None,
        };
        let reached = head.map(|head| Place {
            epoch: head.epoch,
            offset: head.last,
        });
        let new = Room::new(rule.clone(), reached, self.now());
        shard.rooms.borrow_mut().insert(room.clone(), new);
        metrics::gauge!("fanfare_rooms").increment(1.0);
        Ok(())
    }

    fn happen(&self, shard: &Rc<Shard>, name: &TopicName, ask: Ask) {
        let (now, wall) = (self.now(), self.inner.clock.wall());
        let mut rooms = shard.rooms.borrow_mut();
        let room = rooms.get_mut(name).expect("it was just opened");
        room.used = now;
        match ask {
            Ask::Say {
                publication,
                from,
                reply,
            } => {
                let order = room.order.clone();
                drop(rooms);
                self.take_down(publication, from, &order, reply);
            }
            Ask::Join { who, data, reply } => answer(Some(reply), room.join(&who, data, wall)),
            Ask::Leave { who, reason, reply } => {
                room.leave(&who, reason);
                answer(reply, Ok(()));
            }
            Ask::Lose(who) => room.lose(&who, now),
            Ask::Set {
                who,
                key,
                publication,
                reply,
            } => {
                let set = room.set(&who, &key, &publication.payload);
                drop(rooms);
                if set.is_ok() {
                    self.spread_from(shard, Arc::new(publication));
                }
                answer(Some(reply), set);
            }
            Ask::Sit {
                take,
                member,
                principal,
                anyone,
                reply,
            } => {
                // An error: whoever asked has gone; a seat that it took is free again in time.
                let _ = reply.send(room.sit(take, &member, &principal, anyone, now));
            }
            Ask::Look {
                to,
                client,
                subscription,
                first,
            } => {
                let fans = self.first(name, room, &client, &subscription, &first);
                drop(rooms);
                self.begin_looking(shard, name, to, subscription, fans);
            }
            Ask::Count(reply) => drop(reply.send(room.count())),
        }
    }

    /// What was said goes to disk and then to everyone, in order.
    fn take_down(
        &self,
        publication: Publication,
        from: Option<(ClientNo, u16)>,
        order: &LazyOrder,
        reply: Reply<()>,
    ) {
        let Some(keep) = self.rooms().keep(&publication.topic) else {
            return answer(
                Some(reply),
                Err(PublishError::NotARoom("it has no history")),
            );
        };
        let append = Append {
            keep,
            now: self.now(),
            at: self.inner.clock.wall(),
            epoch: fresh_epoch(),
            most: limits::rooms::HISTORIES,
        };
        metrics::counter!("fanfare_room_publications_total").increment(1);
        match self.route_here(publication, from, Some(order), Some(append)) {
            Publishing::Done(outcome) => answer(Some(reply), outcome),
            Publishing::Waiting(waiting) => {
                actix::spawn(async move { answer(Some(reply), waiting.await) });
            }
        }
    }

    /// What somebody who begins to look on is sent before everything live.
    fn first(
        &self,
        name: &TopicName,
        room: &Room,
        client: &ClientId,
        subscription: &Subscription,
        first: &First,
    ) -> Vec<Publication> {
        match first {
            First::Members => {
                let told = room.presence.as_ref().map(super::Presence::snapshot);
                let told = told.map(|told| json::told(&told)).unwrap_or_default();
                told.into_iter()
                    .map(|part| json::beside("presence", name, part))
                    .collect()
            }
            First::Values(key) => json::values(room.values.all(key.as_deref()))
                .into_iter()
                .map(|part| json::beside("states", name, part))
                .collect(),
            First::Said(recover) => {
                let said = self.missed(name, room, recover);
                let (lost, head, missed) = said.unwrap_or_else(|error| {
                    tracing::warn!(room = %name, %error, "a history can not be read");
                    (Some(Lost::Busy), None, Vec::new())
                });
                let not_own = |publication: &Publication| {
                    !(subscription.no_local && is_from(publication, client))
                };
                let missed: Vec<_> = missed.into_iter().filter(not_own).collect();
                let word = if lost.is_none() { "true" } else { "false" };
                metrics::counter!("fanfare_room_recoveries_total", "recovered" => word)
                    .increment(1);
                let head = head.map(|head| (head.epoch, head.last));
                let answer = json::recovery(lost, missed.len(), head);
                let answer = json::beside("recovery", name, answer);
                std::iter::once(answer).chain(missed).collect()
            }
        }
    }

    #[expect(clippy::type_complexity, reason = "only its caller takes it apart")]
    fn missed(
        &self,
        name: &TopicName,
        room: &Room,
        recover: &Recover,
    ) -> Result<(Option<Lost>, Option<Head>, Vec<Publication>), StoreError> {
        if room.rule.history.is_none() {
            return Ok((Some(Lost::NoHistory), None, Vec::new()));
        }
        let head = as_of(self.inner.histories.head(name)?, room.reached);
        let plan = plan(recover, head);
        let Some(epoch) = epoch(head).filter(|_| plan.from <= plan.to) else {
            return Ok((plan.lost, head, Vec::new()));
        };
        let limit = usize::try_from(plan.to - plan.from + 1).unwrap_or(usize::MAX);
        let said = self
            .inner
            .histories
            .said(name, plan.from, limit, self.now())?;
        // What has expired in the meantime is missing at the front.
        let first = said.first().map(|said| said.offset);
        let lost = plan
            .lost
            .or((first != Some(plan.from)).then_some(Lost::TooOld));
        let said = said.into_iter().filter(|said| said.offset <= plan.to);
        let said = said.map(|said| {
            let place = Place {
                epoch,
                offset: said.offset,
            };
            let mut publication = said.publication;
            // How long it is kept is the room's to say.
            publication.expires = None;
            publication.marked(Some(Mark { place, at: said.at }))
        });
        let wanted = usize::try_from(recover.last).unwrap_or(usize::MAX);
        let mut said: Vec<_> = said.collect();
        if lost.is_some() && said.len() > wanted {
            said.drain(..said.len() - wanted);
        }
        Ok((lost, head, said))
    }

    /// A subscription to a topic that is no room begins: there is nothing to recover.
    pub(in crate::actors::topic) fn begin_without_room(
        &self,
        handle: &ShardHandle,
        key: Key,
        subscription: &Subscription,
        topic: &TopicName,
    ) {
        let none = json::recovery(Some(Lost::NoHistory), 0, None);
        let begin = Begin {
            to: key,
            subscription: subscription.clone(),
            first: vec![Fan::new(Arc::new(json::beside("recovery", topic, none)))],
            busy: None,
        };
        let address = handle.address().clone();
        // After SUBACK.
        actix::spawn(async move {
            // An error: this worker ends, and its connections with it.
            let _ = address.send(Parcel::Begin(begin)).await;
        });
    }

    /// A subscription begins on its connection's worker, after everything that this one has sent there.
    fn begin_looking(
        &self,
        shard: &Rc<Shard>,
        name: &TopicName,
        (handle, key): (ShardHandle, Key),
        subscription: Subscription,
        first: Vec<Publication>,
    ) {
        let fan = |publication| Fan::new(Arc::new(publication));
        let is_said = subscription.filter.filter() == name.as_str();
        let busy = is_said.then(|| json::recovery(Some(Lost::Busy), 0, None));
        let begin = Begin {
            to: key,
            first: first.into_iter().map(fan).collect(),
            busy: busy.map(|busy| fan(json::beside("recovery", name, busy))),
            subscription,
        };
        if handle.is_of(shard) {
            shard.begin(begin);
            return;
        }
        shard.send_outgoing(&self.shards());
        shard.post(&handle, Parcel::Begin(begin));
    }

    /// Tells what is to be told of the room, and wakes up when there is more; forgets it when there never will be.
    fn look_after(&self, shard: &Rc<Shard>, name: &TopicName) {
        let now = self.now();
        let told = {
            let mut rooms = shard.rooms.borrow_mut();
            let Some(room) = rooms.get_mut(name) else {
                return;
            };
            room.pass(now);
            let told = room.presence.as_mut().and_then(|some| some.tell(now));
            let is_over = now >= room.used.plus(limits::rooms::IDLE);
            if told.is_none() && is_over && room.is_idle() {
                rooms.remove(name);
                self.rooms().disown(name, shard);
                metrics::gauge!("fanfare_rooms").decrement(1.0);
                return;
            }
            told
        };
        for part in told.iter().flat_map(json::told) {
            let publication = json::beside("presence", name, part);
            self.spread_from(shard, Arc::new(publication));
        }
        self.set_alarm(shard, name);
    }

    /// Looks at the room again when something is due.
    fn set_alarm(&self, shard: &Rc<Shard>, name: &TopicName) {
        let now = self.now();
        let mut rooms = shard.rooms.borrow_mut();
        let Some(room) = rooms.get_mut(name) else {
            return;
        };
        let due = room.due(now);
        if room.alarm.is_some_and(|alarm| alarm <= due) {
            return;
        }
        room.alarm = Some(due);
        let (inner, shard, name) = (
            Arc::downgrade(&self.inner),
            Rc::downgrade(shard),
            name.clone(),
        );
        actix::spawn(async move {
            tokio::time::sleep(due.since(now)).await;
            let (Some(inner), Some(shard)) = (inner.upgrade(), shard.upgrade()) else {
                return;
            };
            if let Some(room) = shard.rooms.borrow_mut().get_mut(&name)
                && room.alarm == Some(due)
            {
                room.alarm = None;
            }
            Topics { inner }.look_after(&shard, &name);
        });
    }
}

/// Tells whoever asked, who may have gone.
fn answer(reply: Option<Reply<()>>, outcome: Result<(), PublishError>) {
    if let Some(reply) = reply {
        let _ = reply.send(outcome);
    }
}

/// What an asker makes of an owner that did not answer.
pub(super) fn lost() -> PublishError {
    PublishError::Store(StoreError::Failed("the room could not be asked".into()))
}

/// Nobody has seen an offset of this epoch.
fn fresh_epoch() -> Epoch {
    Epoch(uuid::Uuid::new_v4().as_u64_pair().0)
}

impl Who {
    /// The publication is this client's, and of quality of service 0, whatever it was sent with.
    pub(super) fn ephemeral(mut publication: Publication) -> Publication {
        publication.qos = QoS::AtMostOnce;
        publication.marked(None)
    }
}
