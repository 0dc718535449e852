//! Rooms: topics with history, members, values and seats, and what the topics beside them are called. `client/PROTOCOL.md`
//! is the contract with clients.

use std::fmt;
use std::time::Duration;

use super::time::Timestamp;
use super::topic::TopicFilter;

/// What topics become rooms, and what these rooms have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomRule {
    /// Which topics.
    pub filter: TopicFilter,
    /// What is kept of what is said; `None`: nothing, and it is not numbered.
    pub history: Option<Keep>,
    /// Who is there; `None`: nobody can join.
    pub presence: Option<PresenceRule>,
    /// Whether members' values are kept for those who come later.
    pub last_value: bool,
    /// Its places; `None`: it has none.
    pub seats: Option<SeatRule>,
}

/// How much of a room's history is kept: whatever is over any of these goes, the oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Publications.
    pub messages: u64,
    /// Their bytes on disk.
    pub bytes: u64,
    /// How long each.
    pub time: Duration,
}

/// How members are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresenceRule {
    /// Above so many members only their number is told.
    pub counts_only_above: usize,
    /// How long a member whose connection ended is still there.
    pub grace: Duration,
}

/// A room's places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeatRule {
    /// How many.
    pub places: u16,
    /// How long a seat is kept for a member that is not there.
    pub hold: Duration,
}

/// Says which history an offset belongs to: another one, when an earlier history was lost or forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Epoch {
    /// From 16 hexadecimal digits, as it is displayed.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        digits.then(|| u64::from_str_radix(text, 16).ok().map(Self))?
    }
}

/// A place in a room's history: offsets begin at 1 and rise by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Which history.
    pub epoch: Epoch,
    /// Where in it; 0: before everything.
    pub offset: u64,
}

/// What history adds to a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Its place.
    pub place: Place,
    /// When it was taken, by the wall clock.
    pub at: Timestamp,
}

/// What the topics beside a room's own begin with.
pub const SIDE: &str = "$room/";

/// Longest name of a room, in bytes; a longer topic is none, whatever the rules say.
pub const NAME_BYTES: usize = 256;

/// Longest name of an event or a value, in bytes.
pub const WORD_BYTES: usize = 64;

/// What a topic beside a room's own is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind<'a> {
    /// `presence`: members.
    Presence,
    /// `event/NAME`: what is never kept. In a filter the name may be `+`.
    Event(&'a str),
    /// `state/KEY`: a member's value. In a filter the key may be `+`.
    State(&'a str),
    /// `states`: all values, for one client.
    States,
    /// `recovery`: how a recovery ends, for one client.
    Recovery,
    /// `history`: a page, for one client.
    History,
    /// `seat`: an answer about seats, for one client.
    Seat,
}

/// A topic beside a room's own, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Side<'a> {
    /// What it is for.
    pub kind: Kind<'a>,
    /// The room, which may have any number of levels.
    pub room: &'a str,
}

impl<'a> Side<'a> {
    /// Takes a topic's name or a filter apart; `None` if it does not name such a topic of one room.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (word, rest) = text.strip_prefix(SIDE)?.split_once('/')?;
        let named = || {
            let (name, room) = rest.split_once('/')?;
            let fits = (1..=WORD_BYTES).contains(&name.len()) && name != "#";
            fits.then_some((name, room))
        };
        let (kind, room) = match word {
            "presence" => (Kind::Presence, rest),
            "states" => (Kind::States, rest),
            "recovery" => (Kind::Recovery, rest),
            "history" => (Kind::History, rest),
            "seat" => (Kind::Seat, rest),
            "event" => {
                let (name, room) = named()?;
                (Kind::Event(name), room)
            }
            "state" => {
                let (key, room) = named()?;
                (Kind::State(key), room)
            }
            _ => return None,
        };
        let is_wild = room.split('/').any(|level| matches!(level, "+" | "#"));
        let fits = (1..=NAME_BYTES).contains(&room.len());
        (fits && !is_wild && !room.starts_with('$')).then_some(Self { kind, room })
    }
}

/// The topic or filter whose rights decide about this one: the room, for a topic beside it.
pub fn governing(text: &str) -> &str {
    if !text.starts_with(SIDE) {
        return text;
    }
    Side::parse(text).map_or(text, |side| side.room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Option<(Kind<'_>, &str)>) {
        let side = Side::parse(text).map(|side| (side.kind, side.room));
        assert_eq!(side, expect, "{text}");
        assert_eq!(governing(text), expect.map_or(text, |(_, room)| room));
    }

    #[test]
    fn topics_beside_a_room_name_it_in_one_way() {
        check("$room/presence/chat/a", Some((Kind::Presence, "chat/a")));
        check(
            "$room/presence/presence",
            Some((Kind::Presence, "presence")),
        );
        check(
            "$room/event/typing/a/b",
            Some((Kind::Event("typing"), "a/b")),
        );
        check("$room/state/+/game/7", Some((Kind::State("+"), "game/7")));
        check("$room/states/game/7", Some((Kind::States, "game/7")));
        check("$room/recovery/r", Some((Kind::Recovery, "r")));
        check("$room/history/r", Some((Kind::History, "r")));
        check("$room/seat/r", Some((Kind::Seat, "r")));
        for none in [
            "chat/a",
            "$room",
            "$room/presence",
            "$room/presence/",
            "$room/presence/+",
            "$room/presence/chat/#",
            "$room/#",
            "$room/event/typing",
            "$room/event//r",
            "$room/event/#",
            "$room/other/r",
            "$room/presence/$aws/x",
            "$room/presence/$room/presence/r",
        ] {
            check(none, None);
        }
        check(&format!("$room/seat/{}", "r".repeat(257)), None);
        check(&format!("$room/event/{}/r", "e".repeat(65)), None);
    }

    #[test]
    fn epochs_are_sixteen_digits() {
        assert_eq!(Epoch(0xab).to_string(), "00000000000000ab");
        assert_eq!(Epoch::parse("00000000000000ab"), Some(Epoch(0xab)));
        for bad in [
            "",
            "ab",
            "00000000000000xb",
            "+0000000000000ab",
            "00000000000000ab0",
        ] {
            assert_eq!(Epoch::parse(bad), None, "{bad}");
        }
    }
}
