//! Rooms: topics with numbered history, members, values and seats (`client/PROTOCOL.md`).
//!
//! Each room has one owner, the worker that its first use chose. Everything that has an order goes through the owner's
//! mailbox ([`owner`]): what is said gets its place there and starts its way to everyone from there, so that every worker
//! sees it in the same order; and whoever subscribes is put into that stream at a known point ([`Begin`](super::messages::Begin)),
//! with what came before. What a room is at a moment is pure ([`presence`], [`values`], [`seats`], [`recovery`]).

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::rc::Rc;
use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::order::LazyOrder;
use super::publish::PublishError;
use super::shard::{Key, Shard, ShardHandle};
use crate::config::limits;
use crate::domain::Timestamp;
use crate::domain::publication::{ClientId, ClientNo, Publication, Subscription};
use crate::domain::room::{Keep, NAME_BYTES, Place, RoomRule};
use crate::domain::topic::{LEVELS, TopicName};

mod history;
mod json;
mod owner;
mod presence;
mod recovery;
mod seats;
mod side;
#[cfg(test)]
pub(super) mod tests;
mod values;

pub use history::HistoryPage;
pub use recovery::Recover;
pub use side::{RoomError, SeatAnswer};

use presence::{Presence, Reason};
use seats::{NoSeat, Seats};
use values::Values;

/// Which topics are rooms, and who owns those that are in use.
pub(super) struct Rooms {
    rules: Vec<Arc<RoomRule>>,
    /// Whether any rule keeps history: if not, no publication is looked at.
    any_history: bool,
    owners: DashMap<TopicName, ShardHandle>,
}

impl Rooms {
    pub(super) fn new(rules: &[RoomRule]) -> Self {
        Self {
            rules: rules.iter().cloned().map(Arc::new).collect(),
            any_history: rules.iter().any(|rule| rule.history.is_some()),
            owners: DashMap::new(),
        }
    }

    /// The rule that makes a topic a room, if one does.
    fn rule(&self, topic: &TopicName) -> Option<&Arc<RoomRule>> {
        let mut rules = self.rules.iter();
        let rule = rules.find(|rule| rule.filter.matches(topic))?;
        can_be_room(topic).then_some(rule)
    }

    /// What is kept of what is published to a topic. Asked once for each publication, not for each delivery; most topics differ from
    /// a rule's filter in the first level, and then that is all that is looked at.
    fn keep(&self, topic: &TopicName) -> Option<Keep> {
        if !self.any_history {
            return None;
        }
        self.rule(topic)?.history
    }

    /// Whether what is published to a topic gets a place in a history.
    pub(super) fn keeps_history(&self, topic: &TopicName) -> bool {
        self.keep(topic).is_some()
    }

    /// Who owns a room; one of `shards` if nobody does yet. `None`: there are too many.
    fn owner(&self, room: &TopicName, shards: &[ShardHandle]) -> Option<ShardHandle> {
        if let Some(owner) = self.owners.get(room) {
            return Some(owner.clone());
        }
        if self.owners.len() >= limits::rooms::OPEN {
            return None;
        }
        let mut hasher = DefaultHasher::new();
        room.hash(&mut hasher);
        let choice = hasher.finish() as usize % shards.len().max(1);
        let first = shards.get(choice)?.clone();
        let owner = self.owners.entry(room.detached()).or_insert(first);
        Some(owner.clone())
    }

    /// A shard owns a room no more.
    fn disown(&self, room: &TopicName, shard: &Shard) {
        self.owners.remove_if(room, |_, owner| owner.is_of(shard));
    }
}

/// Whether the topics beside it would be topics, too: they have a few levels more.
fn can_be_room(topic: &TopicName) -> bool {
    topic.as_str().len() <= NAME_BYTES && topic.levels().count() + 3 <= LEVELS
}

/// Tells an asker how it ended. The owner that drops it has failed.
type Reply<T> = oneshot::Sender<Result<T, PublishError>>;

/// What happens in a room.
pub(super) enum Ask {
    /// Something is said.
    Say {
        publication: Publication,
        from: Option<(ClientNo, u16)>,
        reply: Reply<()>,
    },
    /// A client joins, or has other data.
    Join {
        who: Who,
        data: Arc<str>,
        reply: Reply<()>,
    },
    /// A client says that it leaves, or must.
    Leave {
        who: Who,
        reason: Reason,
        reply: Option<Reply<()>>,
    },
    /// A connection has ended.
    Lose(Who),
    /// A member has a new value.
    Set {
        who: Who,
        key: Box<str>,
        publication: Publication,
        reply: Reply<()>,
    },
    /// A seat is taken or given back.
    Sit {
        take: bool,
        member: ClientId,
        principal: Arc<str>,
        /// Whether the principal acts for everybody.
        anyone: bool,
        reply: oneshot::Sender<Result<SeatAnswer, RoomError>>,
    },
    /// A connection subscribes and wants to know what was before.
    Look {
        to: (ShardHandle, Key),
        client: ClientId,
        subscription: Subscription,
        first: First,
    },
    /// Somebody asks how many are there.
    Count(oneshot::Sender<Counted>),
}

/// A connection, as a room knows it.
#[derive(Debug, Clone)]
pub(super) struct Who {
    pub(super) id: ClientId,
    pub(super) connection: Uuid,
    pub(super) principal: Arc<str>,
}

/// What comes before what is live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum First {
    /// Who is there.
    Members,
    /// Members' values: of a key, or all.
    Values(Option<Box<str>>),
    /// What was said.
    Said(Recover),
}

/// How many there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) members: usize,
    pub(super) places: usize,
    pub(super) taken: usize,
}

/// A room in use, on its owner's worker.
pub(super) struct Room {
    rule: Arc<RoomRule>,
    presence: Option<Presence>,
    values: Values,
    seats: Option<Seats>,
    /// What was said and is on its way to the disk.
    order: Rc<LazyOrder>,
    /// The newest that everyone was sent.
    reached: Option<Place>,
    /// When something last happened.
    used: Timestamp,
    /// When it is next looked at by itself.
    alarm: Option<Timestamp>,
}

impl Room {
    fn new(rule: Arc<RoomRule>, reached: Option<Place>, now: Timestamp) -> Self {
        Self {
            presence: rule.presence.map(Presence::new),
            values: Values::default(),
            seats: rule.seats.map(Seats::new),
            order: Rc::default(),
            reached,
            used: now,
            alarm: None,
            rule,
        }
    }

    /// Whether it can be forgotten.
    fn is_idle(&self) -> bool {
        self.presence.as_ref().is_none_or(Presence::is_over)
            && self.values.is_empty()
            && self.seats.as_ref().is_none_or(|seats| seats.taken() == 0)
            && self.order.behind().is_none()
    }

    /// When there is something to do.
    fn due(&self, now: Timestamp) -> Timestamp {
        let presence = self.presence.as_ref().and_then(|some| some.due(now));
        let seats = self.seats.as_ref().and_then(Seats::due);
        let idle = self.used.plus(limits::rooms::IDLE);
        let next = presence.into_iter().chain(seats).min();
        // A room that is never idle is looked at now and then, which costs nothing.
        next.unwrap_or_else(|| idle.max(now.plus(limits::rooms::COUNTS_PAUSE)))
    }

    /// What time does: members and seats whose time is over go.
    fn pass(&mut self, now: Timestamp) {
        let gone = self.presence.as_mut().map(|some| some.expire(now));
        for member in gone.into_iter().flatten() {
            self.values.forget(&member);
            metrics::gauge!("fanfare_room_members").decrement(1.0);
        }
        let free = self.seats.as_mut().map(|seats| seats.expire(now));
        for member in free.into_iter().flatten() {
            self.show_seat(&member);
        }
    }

    fn join(&mut self, who: &Who, data: Arc<str>, wall: Timestamp) -> Result<(), PublishError> {
        let none = PublishError::NotARoom("nobody can join it");
        let presence = self.presence.as_mut().ok_or(none)?;
        let is_new = presence.get(&who.id).is_none();
        presence
            .join(&who.id, who.connection, who.principal.clone(), data, wall)
            .map_err(|_| PublishError::QuotaExceeded("members of the room"))?;
        if is_new {
            metrics::gauge!("fanfare_room_members").increment(1.0);
        }
        if let Some(seats) = &mut self.seats {
            seats.joined(&who.id, &who.principal);
        }
        self.show_seat(&who.id);
        Ok(())
    }

    fn leave(&mut self, who: &Who, reason: Reason) {
        let Some(presence) = &mut self.presence else {
            return;
        };
        // What an earlier connection of this client id says is about itself.
        let is_its = |connection| connection == who.connection || reason == Reason::Left;
        let member = presence.get(&who.id);
        if member.is_none_or(|member| !is_its(member.connection)) {
            return;
        }
        presence.leave(&who.id, reason);
        metrics::gauge!("fanfare_room_members").decrement(1.0);
        self.values.forget(&who.id);
        if let Some(seats) = &mut self.seats {
            // Somebody else's seat stays where it is.
            let _ = seats.free(&who.id, &who.principal, false);
        }
    }

    fn lose(&mut self, who: &Who, now: Timestamp) {
        let presence = self.presence.as_mut();
        let is_lost = presence.is_some_and(|some| some.lose(&who.id, who.connection, now));
        if let (true, Some(seats)) = (is_lost, &mut self.seats) {
            seats.lost(&who.id, now);
        }
    }

    /// A member's value is replaced.
    fn set(&mut self, who: &Who, key: &str, value: &[u8]) -> Result<(), PublishError> {
        if !self.rule.last_value {
            return Err(PublishError::NotARoom("it keeps no values"));
        }
        let presence = self.presence.as_ref();
        let member = presence.and_then(|presence| presence.get(&who.id));
        if member.is_none_or(|member| member.connection != who.connection) {
            return Err(PublishError::NotNow("join the room first"));
        }
        let set = self.values.set(&who.id, key, value);
        set.map_err(|full| PublishError::QuotaExceeded(full.0))
    }

    fn sit(
        &mut self,
        take: bool,
        member: &ClientId,
        principal: &Arc<str>,
        anyone: bool,
        now: Timestamp,
    ) -> Result<SeatAnswer, RoomError> {
        let seats = self.seats.as_mut().ok_or(RoomError::NoSuchRoom)?;
        let there = self.presence.as_ref().and_then(|some| some.get(member));
        if there.is_some_and(|there| there.principal != *principal) && !anyone {
            return Err(RoomError::NotYours);
        }
        let is_there = there.is_some_and(|there| there.lost.is_none());
        // The operator takes a seat for whoever is there.
        let owner = there.map_or_else(|| principal.clone(), |there| there.principal.clone());
        let result = if take {
            seats.take(member, &owner, anyone, is_there, now).map(Some)
        } else {
            seats.free(member, principal, anyone).map(|()| None)
        };
        let (seat, full) = match result {
            Ok(seat) => (seat, false),
            Err(NoSeat::Full) => (None, true),
            Err(NoSeat::NotYours) => return Err(RoomError::NotYours),
        };
        let answer = SeatAnswer {
            seat,
            seats: seats.places(),
            taken: seats.taken(),
            full,
        };
        self.show_seat(member);
        Ok(answer)
    }

    /// Others see which seat a member has.
    fn show_seat(&mut self, member: &ClientId) {
        let seat = self.seats.as_ref().and_then(|seats| seats.of(member));
        if let Some(presence) = &mut self.presence {
            presence.set_seat(member, seat);
        }
    }

    fn count(&self) -> Counted {
        Counted {
            members: self.presence.as_ref().map_or(0, Presence::len),
            places: self.seats.as_ref().map_or(0, Seats::places),
            taken: self.seats.as_ref().map_or(0, Seats::taken),
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let members = self.presence.as_ref().map_or(0, Presence::len);
        metrics::gauge!("fanfare_room_members").decrement(members as f64);
    }
}
