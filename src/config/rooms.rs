//! `[[rooms]]`: which topics are rooms.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::limits::rooms::RULES;
use super::seconds;
use crate::domain::room::{Keep, PresenceRule, RoomRule, SeatRule};
use crate::domain::topic::TopicFilter;

/// One of `[[rooms]]`. What a rule does not say is as in its default, which is a room that people chat in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Room {
    /// Which topics; the first rule that matches a topic counts.
    pub filter: String,
    /// Publications that are kept; 0: there is no history.
    #[serde(default = "history_messages")]
    pub history_messages: u64,
    /// How long each is kept.
    #[serde(default = "history_seconds", with = "seconds")]
    pub history_seconds: Duration,
    /// Bytes that are kept of one room.
    #[serde(default = "history_bytes")]
    pub history_bytes: u64,
    /// Whether clients can join.
    #[serde(default = "yes")]
    pub presence: bool,
    /// Above so many members only their number is told.
    #[serde(default = "counts_only_above")]
    pub counts_only_above: usize,
    /// How long a member whose connection ended is still there.
    #[serde(default = "grace_seconds", with = "seconds")]
    pub grace_seconds: Duration,
    /// Whether members' values are kept for those who come later.
    #[serde(default)]
    pub last_value: bool,
    /// Places; 0: it has none.
    #[serde(default)]
    pub seats: u16,
    /// How long a seat is kept for a member that is not there.
    #[serde(default = "seat_seconds", with = "seconds")]
    pub seat_seconds: Duration,
}

const fn history_messages() -> u64 {
    1000
}

const fn history_seconds() -> Duration {
    Duration::from_secs(604_800)
}

const fn history_bytes() -> u64 {
    4 << 20
}

const fn yes() -> bool {
    true
}

const fn counts_only_above() -> usize {
    100
}

const fn grace_seconds() -> Duration {
    Duration::from_secs(10)
}

const fn seat_seconds() -> Duration {
    Duration::from_secs(30)
}

/// What is allowed, for whoever wrote something else.
pub(super) const ALLOWED: &str = "at most 32 [[rooms]], each with filter (a topic filter, not of $ topics) and, if not \
     as by default, history_messages (0 to 1000000), history_seconds (1 to 31536000), history_bytes (4096 to 1073741824), presence, \
     counts_only_above (1 to 1000), grace_seconds (0 to 3600), last_value, seats (0 to 1000) and seat_seconds (0 to 86400); \
     last_value and seats need presence";

impl Room {
    fn of(filter: &str) -> Self {
        Self {
            filter: filter.to_owned(),
            history_messages: history_messages(),
            history_seconds: history_seconds(),
            history_bytes: history_bytes(),
            presence: true,
            counts_only_above: counts_only_above(),
            grace_seconds: grace_seconds(),
            last_value: false,
            seats: 0,
            seat_seconds: seat_seconds(),
        }
    }

    /// Rooms to chat in, and rooms to play in.
    pub(super) fn defaults() -> Vec<Self> {
        vec![
            Self::of("chat/#"),
            Self {
                history_messages: 0,
                grace_seconds: Duration::from_secs(5),
                last_value: true,
                seats: 16,
                ..Self::of("game/#")
            },
        ]
    }

    /// What the rule says; `None` if its filter is none.
    pub fn rule(&self) -> Option<RoomRule> {
        let filter = TopicFilter::parse(self.filter.as_str()).ok()?;
        Some(RoomRule {
            filter,
            history: (self.history_messages > 0).then_some(Keep {
                messages: self.history_messages,
                bytes: self.history_bytes,
                time: self.history_seconds,
            }),
            presence: self.presence.then_some(PresenceRule {
                counts_only_above: self.counts_only_above,
                grace: self.grace_seconds,
            }),
            last_value: self.last_value,
            seats: (self.seats > 0).then_some(SeatRule {
                places: self.seats,
                hold: self.seat_seconds,
            }),
        })
    }

    /// Whether it is what [`ALLOWED`] says.
    fn is_allowed(&self) -> bool {
        let is_filter = self
            .rule()
            .is_some_and(|rule| !self.filter.starts_with('$') && rule.filter.group().is_none());
        let needs_presence = self.last_value || self.seats > 0;
        is_filter
            && self.history_messages <= 1_000_000
            && (1..=31_536_000).contains(&self.history_seconds.as_secs())
            && (4096..=1 << 30).contains(&self.history_bytes)
            && (1..=1000).contains(&self.counts_only_above)
            && self.grace_seconds.as_secs() <= 3600
            && self.seats <= 1000
            && self.seat_seconds.as_secs() <= 86_400
            && (self.presence || !needs_presence)
    }
}

/// Whether the rules are what [`ALLOWED`] says.
pub(super) fn are_allowed(rooms: &[Room]) -> bool {
    rooms.len() <= RULES && rooms.iter().all(Room::is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(change: impl FnOnce(&mut Room), expect: bool) {
        let mut room = Room::of("chat/#");
        change(&mut room);
        assert_eq!(are_allowed(std::slice::from_ref(&room)), expect, "{room:?}");
    }

    #[test]
    fn rules_have_bounds() {
        assert!(are_allowed(&Room::defaults()));
        check(|_| {}, true);
        check(|room| room.filter = "a/#/b".into(), false);
        check(|room| room.filter = "$aws/#".into(), false);
        check(|room| room.filter = "$share/g/a".into(), false);
        check(|room| room.history_messages = 0, true);
        check(|room| room.history_messages = 1_000_001, false);
        check(|room| room.history_seconds = Duration::ZERO, false);
        check(|room| room.history_bytes = 4095, false);
        check(|room| room.counts_only_above = 0, false);
        check(|room| room.counts_only_above = 1001, false);
        check(|room| room.grace_seconds = Duration::from_secs(3601), false);
        check(|room| room.seats = 1001, false);
        check(|room| room.presence = false, true);
        let bare = |room: &mut Room| (room.presence, room.seats) = (false, 1);
        check(bare, false);
        let bare = |room: &mut Room| (room.presence, room.last_value) = (false, true);
        check(bare, false);
        let many = |count| vec![Room::of("a"); count];
        assert!(are_allowed(&many(RULES)) && !are_allowed(&many(RULES + 1)));
    }
}
