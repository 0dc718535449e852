//! Topics beside a room's own: what clients publish there, and what is asked over HTTP.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Deserialize;
use tokio::sync::oneshot;

use super::super::Topics;
use super::super::attached::Attached;
use super::super::fan::{Delivery, Fan};
use super::super::publish::{PublishError, Publishing};
use super::super::subscribe::SubscribeError;
use super::owner::lost;
use super::presence::Reason;
use super::{Ask, Counted, First, HistoryPage, Recover, Who, json};
use crate::config::limits;
use crate::domain::StoreError;
use crate::domain::policy::{Access, Action, Decision};
use crate::domain::publication::{ClientId, Publication, QoS};
use crate::domain::room::{Kind, SIDE, Side, governing};
use crate::domain::topic::{TopicFilter, TopicName};

/// Why a room does not do what it is asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoomError {
    /// The policy says no.
    #[error("not authorized in this room: {0}")]
    NotAllowed(Decision),
    /// What was asked about is another principal's.
    #[error("it is another principal's")]
    NotYours,
    /// No rule makes that a room, or not one that has this.
    #[error("there is no such room")]
    NoSuchRoom,
    /// There is no room for it now.
    #[error("there are too many {0}")]
    TooMany(&'static str),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<RoomError> for PublishError {
    fn from(error: RoomError) -> Self {
        match error {
            RoomError::NotAllowed(decision) => Self::NotAllowed(decision),
            RoomError::NotYours => Self::NotAllowed(Decision::NotAllowed),
            RoomError::NoSuchRoom => Self::NotARoom("it does not have that"),
            RoomError::TooMany(what) => Self::QuotaExceeded(what),
            RoomError::Store(error) => Self::Store(error),
        }
    }
}

impl From<PublishError> for RoomError {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::NotAllowed(decision) => Self::NotAllowed(decision),
            PublishError::QuotaExceeded(what) => Self::TooMany(what),
            PublishError::Store(error) => Self::Store(error),
            PublishError::Reserved
            | PublishError::NotARoom(_)
            | PublishError::Malformed(_)
            | PublishError::NotNow(_) => Self::NoSuchRoom,
        }
    }
}

/// How asking for a seat ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeatAnswer {
    /// The member's seat, if it has one.
    pub seat: Option<u16>,
    /// How many there are.
    pub seats: usize,
    /// How many of them are taken.
    pub taken: usize,
    /// Whether it got none because all are taken.
    pub full: bool,
}

impl SeatAnswer {
    /// As clients are told.
    pub fn json(&self) -> String {
        let mut answer = serde_json::json!({
            "seat": self.seat,
            "seats": self.seats,
            "taken": self.taken,
        });
        if self.full {
            answer["full"] = true.into();
        }
        answer.to_string()
    }
}

/// What a client asks of `$room/seat/R`.
#[derive(Deserialize)]
struct SeatAsked {
    take: bool,
}

/// What a client asks of `$room/history/R`.
#[derive(Deserialize)]
struct HistoryAsked {
    before: Option<u64>,
    after: Option<u64>,
    limit: Option<usize>,
    id: Option<String>,
}

/// A subscription that is about a room.
pub(in crate::actors::topic) struct Beside {
    pub(in crate::actors::topic) room: TopicName,
    /// What comes before what is live, if anything.
    pub(in crate::actors::topic) first: Option<First>,
}

/// An explicit Deny of a topic beside a room counts beside what the policy says about the room.
fn decide(access: &Access, action: Action, text: &str) -> Decision {
    let decision = access.decide(action, governing(text));
    if decision.is_allowed()
        && text.starts_with(SIDE)
        && let denied @ Decision::Denied { .. } = access.decide(action, text)
    {
        return denied;
    }
    decision
}

impl Topics {
    /// What a subscription to a topic beside a room, or one that wants to recover, is about; `None` for all others.
    pub(in crate::actors::topic) fn beside(
        &self,
        access: &Access,
        filter: &TopicFilter,
        recover: Option<Recover>,
    ) -> Result<Option<Beside>, SubscribeError> {
        let text = filter.filter();
        let first = match (Side::parse(text), recover) {
            (None, None) if !text.starts_with(SIDE) => return Ok(None),
            (None, None) => return Err(SubscribeError::NotARoom),
            (None, Some(_)) if filter.is_wild() || filter.group().is_some() => {
                return Err(SubscribeError::NotRecoverable);
            }
            (None, Some(recover)) => Some(First::Said(recover)),
            (Some(_), Some(_)) => return Err(SubscribeError::NotRecoverable),
            (Some(_), None) if filter.group().is_some() => return Err(SubscribeError::NotARoom),
            (Some(side), None) => match side.kind {
                Kind::Presence => Some(First::Members),
                Kind::State("+") => Some(First::Values(None)),
                Kind::State(key) => Some(First::Values(Some(key.into()))),
                Kind::Event(_) | Kind::States | Kind::Recovery | Kind::History | Kind::Seat => None,
            },
        };
        for (action, needed) in [
            (Action::Subscribe, true),
            (Action::Receive, recover.is_some()),
        ] {
            let decision = decide(access, action, text);
            if needed && !decision.is_allowed() {
                return Err(SubscribeError::NotAllowed(decision));
            }
        }
        let room = TopicName::parse(governing(text).to_owned().into());
        let room = room.map_err(|_| SubscribeError::NotARoom)?;
        let rule = self.rooms().rule(&room);
        let fits = match &first {
            Some(First::Members) => rule.is_some_and(|rule| rule.presence.is_some()),
            Some(First::Values(_)) => rule.is_some_and(|rule| rule.last_value),
            Some(First::Said(_)) => super::can_be_room(&room),
            None => rule.is_some(),
        };
        fits.then_some(Some(Beside { room, first }))
            .ok_or(SubscribeError::NotARoom)
    }

    /// Whether a room's owner can be asked about this topic: there is a rule for it.
    pub(in crate::actors::topic) fn is_room(&self, topic: &TopicName) -> bool {
        self.rooms().rule(topic).is_some()
    }

    /// Takes a seat for a member, or gives it back. `anyone`: whether the principal acts for everybody.
    ///
    /// # Errors
    /// [`RoomError`]. That all seats are taken is none.
    pub async fn sit(
        &self,
        access: &Access,
        room: &TopicName,
        take: bool,
        (member, principal, anyone): (ClientId, Arc<str>, bool),
    ) -> Result<SeatAnswer, RoomError> {
        let decision = access.decide(Action::Publish, room.as_str());
        if !decision.is_allowed() {
            return Err(RoomError::NotAllowed(decision));
        }
        if self
            .rooms()
            .rule(room)
            .is_none_or(|rule| rule.seats.is_none())
        {
            return Err(RoomError::NoSuchRoom);
        }
        let (reply, answer) = oneshot::channel();
        let sit = Ask::Sit {
            take,
            member,
            principal,
            anyone,
            reply,
        };
        self.ask(room, sit)?;
        answer.await.unwrap_or_else(|_| Err(lost().into()))
    }

    /// What there is to say about a room, as JSON.
    ///
    /// # Errors
    /// [`RoomError`].
    pub async fn describe_room(
        &self,
        access: &Access,
        room: &TopicName,
    ) -> Result<String, RoomError> {
        let decision = access.decide(Action::Receive, room.as_str());
        if !decision.is_allowed() {
            return Err(RoomError::NotAllowed(decision));
        }
        let rule = self.rooms().rule(room).ok_or(RoomError::NoSuchRoom)?;
        let places = rule.seats.map_or(0, |seats| seats.places.into());
        let mut counted = Counted {
            places,
            ..Counted::default()
        };
        // A room that nobody has in memory is not opened to be looked at.
        if self.rooms().owners.contains_key(room) {
            let (reply, answer) = oneshot::channel();
            self.ask(room, Ask::Count(reply))?;
            counted = answer.await.map_err(|_| RoomError::from(lost()))?;
        }
        let head = self.inner.histories.head(room)?;
        let (epoch, first, last) = head.map_or((String::new(), 1, 0), |head| {
            (head.epoch.to_string(), head.first, head.last)
        });
        Ok(serde_json::json!({
            "room": room.as_str(),
            "count": counted.members,
            "seats": counted.places,
            "taken": counted.taken,
            "epoch": epoch,
            "first": first,
            "offset": last,
        })
        .to_string())
    }
}

impl Attached {
    fn with_joined<R>(&self, look: impl FnOnce(&mut BTreeSet<TopicName>) -> R) -> R {
        self.with_seldom(|seldom| look(&mut seldom.joined))
    }

    fn who(&self) -> Who {
        Who {
            id: self.client().clone(),
            connection: self.session_identifier,
            principal: self.principal().clone(),
        }
    }

    /// Publishes beside a room; `None` if the topic is not such a one.
    pub(in crate::actors::topic) fn publish_beside(
        &self,
        publication: &Publication,
    ) -> Option<Publishing> {
        let topic = publication.topic.as_str();
        if !topic.starts_with(SIDE) {
            return None;
        }
        let publishing = match Side::parse(topic) {
            Some(side) => self.publish_to(side, publication.clone()),
            None => Err(PublishError::NotARoom(
                "a room's name and what to do are missing",
            )),
        };
        Some(publishing.unwrap_or_else(|error| Publishing::Done(Err(error))))
    }

    fn publish_to(
        &self,
        side: Side<'_>,
        publication: Publication,
    ) -> Result<Publishing, PublishError> {
        let topic = publication.topic.as_str();
        let action = match side.kind {
            Kind::History => Action::Receive,
            _ => Action::Publish,
        };
        let decision = decide(&self.access(), action, topic);
        if !decision.is_allowed() {
            return Err(PublishError::NotAllowed(decision));
        }
        let room = TopicName::parse(side.room.to_owned().into());
        let room = room.map_err(|_| PublishError::NotARoom("the room's name is no topic"))?;
        let rule = self.topics.rooms().rule(&room);
        let rule = rule.ok_or(PublishError::NotARoom("no rule says so"))?;
        if publication.retain {
            return Err(PublishError::NotNow("nothing is retained beside rooms"));
        }
        match side.kind {
            Kind::Presence if rule.presence.is_none() => {
                Err(PublishError::NotARoom("nobody can join it"))
            }
            Kind::Presence if publication.payload.is_empty() => self.leave_room(&room),
            Kind::Presence => self.join_room(room, &publication.payload),
            Kind::Event(_) => {
                let publication = Who::ephemeral(publication);
                self.topics.spread_unasked(Arc::new(publication));
                Ok(Publishing::Done(Ok(())))
            }
            Kind::State(key) => self.set_value(&room, key, publication.clone()),
            Kind::Seat => self.ask_seat(room, publication),
            Kind::History => self.ask_history(&room, publication),
            Kind::States | Kind::Recovery => Err(PublishError::Reserved),
        }
    }

    fn join_room(&self, room: TopicName, data: &[u8]) -> Result<Publishing, PublishError> {
        if data.len() > limits::rooms::DATA_BYTES {
            return Err(PublishError::Malformed("a member's data are too long"));
        }
        let data = json::json_text(data).ok_or(PublishError::Malformed("it must be JSON"))?;
        let has_room = |joined: &mut BTreeSet<TopicName>| {
            joined.len() < limits::rooms::JOINED || joined.contains(&room)
        };
        if !self.with_joined(has_room) {
            return Err(PublishError::QuotaExceeded("rooms of one client"));
        }
        let (reply, answer) = oneshot::channel();
        let join = Ask::Join {
            who: self.who(),
            data: data.into(),
            reply,
        };
        self.topics.ask(&room, join)?;
        self.with_joined(|joined| joined.insert(room));
        Ok(waiting(answer))
    }

    fn leave_room(&self, room: &TopicName) -> Result<Publishing, PublishError> {
        let (reply, answer) = oneshot::channel();
        let leave = Ask::Leave {
            who: self.who(),
            reason: Reason::Left,
            reply: Some(reply),
        };
        self.topics.ask(room, leave)?;
        self.with_joined(|joined| joined.remove(room));
        Ok(waiting(answer))
    }

    fn set_value(
        &self,
        room: &TopicName,
        key: &str,
        publication: Publication,
    ) -> Result<Publishing, PublishError> {
        let (reply, answer) = oneshot::channel();
        let set = Ask::Set {
            who: self.who(),
            key: key.into(),
            publication: Who::ephemeral(publication),
            reply,
        };
        self.topics.ask(room, set)?;
        Ok(waiting(answer))
    }

    fn ask_seat(&self, room: TopicName, asked: Publication) -> Result<Publishing, PublishError> {
        let parsed: Result<SeatAsked, _> = serde_json::from_slice(&asked.payload);
        let malformed = |_| PublishError::Malformed("it must be {\"take\": true} or false");
        let SeatAsked { take } = parsed.map_err(malformed)?;
        let Who { id, principal, .. } = self.who();
        let (topics, access) = (self.topics.clone(), self.access().clone());
        let link = self.subscriber.link.clone();
        Ok(Publishing::Waiting(Box::pin(async move {
            let seat = topics.sit(&access, &room, take, (id, principal, false));
            let answer = seat.await?;
            link.deliver(&only_for_it(asked, answer.json()));
            Ok(())
        })))
    }

    fn ask_history(
        &self,
        room: &TopicName,
        asked: Publication,
    ) -> Result<Publishing, PublishError> {
        let parsed: Result<HistoryAsked, _> = serde_json::from_slice(&asked.payload);
        let malformed = |_| PublishError::Malformed("it must be {\"before\": …, \"limit\": …}");
        let HistoryAsked {
            before,
            after,
            limit,
            id,
        } = parsed.map_err(malformed)?;
        if id
            .as_ref()
            .is_some_and(|id| id.len() > limits::rooms::DATA_BYTES)
        {
            return Err(PublishError::Malformed("the id is too long"));
        }
        let page = HistoryPage {
            before,
            after,
            limit,
        };
        let access = self.access().clone();
        let answer = self
            .topics
            .room_history(&access, room, page, id.as_deref())?;
        let link = self.subscriber.link.clone();
        // After the PUBACK's place is kept, as every answer that had to be waited for.
        Ok(Publishing::Waiting(Box::pin(async move {
            link.deliver(&only_for_it(asked, answer));
            Ok(())
        })))
    }

    /// The connection has ended: rooms that it is in will see that it does not come back.
    pub(in crate::actors::topic) fn lose_rooms(&self) {
        for room in self.with_joined(std::mem::take) {
            self.tell_of(&room, Ask::Lose(self.who()));
        }
    }

    /// What the client may do has changed: it is in no room that it might not join.
    pub(in crate::actors::topic) fn leave_forbidden_rooms(&self) {
        let access = self.access().clone();
        let may = |room: &TopicName| access.allows(Action::Publish, room.as_str());
        let rooms: Vec<_> =
            self.with_joined(|joined| joined.iter().filter(|room| !may(room)).cloned().collect());
        for room in rooms {
            self.with_joined(|joined| joined.remove(&room));
            let leave = Ask::Leave {
                who: self.who(),
                reason: Reason::Removed,
                reply: None,
            };
            self.tell_of(&room, leave);
        }
    }

    fn tell_of(&self, room: &TopicName, ask: Ask) {
        if let Err(error) = self.topics.tell_room(room, ask) {
            tracing::warn!(%room, %error, "a room was not told that a member has gone");
        }
    }
}

fn waiting(answer: oneshot::Receiver<Result<(), PublishError>>) -> Publishing {
    Publishing::Waiting(Box::pin(async move {
        answer.await.unwrap_or_else(|_| Err(lost()))
    }))
}

/// An answer on the topic on which the client asked, for nobody else.
fn only_for_it(asked: Publication, text: String) -> Delivery {
    let answer = Publication {
        payload: text.into(),
        qos: QoS::AtMostOnce,
        properties: None,
        expires: None,
        publisher: None,
        ..asked
    };
    Delivery {
        fan: Fan::new(Arc::new(answer)),
        qos: QoS::AtMostOnce,
        retain: false,
        ids: [].into(),
        ordinal: None,
        receipt: None,
    }
}
