//! Who is in a room, and what is told of it: pure, time comes as an argument.
//!
//! What those who look on have been told is kept beside what is so. At most every [`limits::rooms::CHANGES_PAUSE`] the difference
//! is told in one message, so that a crowd that comes at once costs each of them a few messages, not one for each other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

use crate::config::limits;
use crate::domain::Timestamp;
use crate::domain::publication::ClientId;
use crate::domain::room::PresenceRule;

/// See the module.
#[derive(Debug)]
pub(super) struct Presence {
    rule: PresenceRule,
    members: BTreeMap<ClientId, Member>,
    /// Members whose connection has ended, by the time at which they leave.
    leaving: BTreeSet<(Timestamp, ClientId)>,
    shown: Shown,
    /// Who may be different from what was told, and why they left, if they did.
    changed: BTreeMap<ClientId, Option<Reason>>,
    /// Whether there were too many of them to remember.
    lost_track: bool,
    /// Of the newest message.
    version: u64,
    /// When that was.
    told: Option<Timestamp>,
}

/// Somebody who is in the room.
#[derive(Debug, Clone)]
pub(super) struct Member {
    /// The connection that joined last.
    pub(super) connection: Uuid,
    /// Whose it is.
    pub(super) principal: Arc<str>,
    /// When its connection ended.
    pub(super) lost: Option<Timestamp>,
    seen: Seen,
}

/// What others see of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// JSON.
    pub(super) data: Arc<str>,
    /// When it joined, by the wall clock.
    pub(super) since: Timestamp,
    /// Its seat.
    pub(super) seat: Option<u16>,
}

/// What was told.
#[derive(Debug)]
enum Shown {
    Members(BTreeMap<ClientId, Seen>),
    Count(usize),
}

/// Why somebody is not there any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::actors::topic) enum Reason {
    /// It said so.
    Left,
    /// Its connection ended.
    Lost,
    /// It may not be there.
    Removed,
}

/// Something to tell. The version and the number of members belong to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) version: u64,
    pub(super) count: usize,
    pub(super) what: What,
}

/// See [`Told`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// Everyone.
    Snapshot(Vec<(ClientId, Seen)>),
    /// What is different.
    Changes(Vec<(ClientId, Change)>),
    /// How many.
    Counts,
}

/// What is different about one member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    Join(Seen),
    Update(Seen),
    Leave(Reason),
}

/// There are as many members as there may be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

impl Presence {
    pub(super) fn new(rule: PresenceRule) -> Self {
        Self {
            rule,
            members: BTreeMap::new(),
            leaving: BTreeSet::new(),
            shown: Shown::Members(BTreeMap::new()),
            changed: BTreeMap::new(),
            lost_track: false,
            version: 0,
            told: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn get(&self, id: &ClientId) -> Option<&Member> {
        self.members.get(id)
    }

    /// Whether everything was told and there is nobody.
    pub(super) fn is_over(&self) -> bool {
        self.members.is_empty() && !self.is_behind()
    }

    /// Somebody comes, comes back, or has other data. `wall` is for people, `now` for waiting.
    pub(super) fn join(
        &mut self,
        id: &ClientId,
        connection: Uuid,
        principal: Arc<str>,
        data: Arc<str>,
        wall: Timestamp,
    ) -> Result<(), TooMany> {
        let before = self.members.get(id);
        if before.is_none() && self.members.len() >= limits::rooms::MEMBERS {
            return Err(TooMany);
        }
        if let Some(lost) = before.and_then(|before| before.lost) {
            self.leaving
                .remove(&(lost.plus(self.rule.grace), id.clone()));
        }
        let seen = Seen {
            data,
            since: before.map_or(wall, |before| before.seen.since),
            seat: before.and_then(|before| before.seen.seat),
        };
        let member = Member {
            connection,
            principal,
            lost: None,
            seen,
        };
        self.members.insert(id.clone(), member);
        self.note(id, None);
        Ok(())
    }

    /// Somebody goes; `false` if it was not there.
    pub(super) fn leave(&mut self, id: &ClientId, reason: Reason) -> bool {
        let Some(member) = self.members.remove(id) else {
            return false;
        };
        if let Some(lost) = member.lost {
            self.leaving
                .remove(&(lost.plus(self.rule.grace), id.clone()));
        }
        self.note(id, Some(reason));
        true
    }

    /// A connection has ended; its member leaves in a while, unless it has another connection by now. `true` if so.
    pub(super) fn lose(&mut self, id: &ClientId, connection: Uuid, now: Timestamp) -> bool {
        let member = self.members.get_mut(id);
        let member =
            member.filter(|member| member.connection == connection && member.lost.is_none());
        let Some(member) = member else { return false };
        member.lost = Some(now);
        self.leaving.insert((now.plus(self.rule.grace), id.clone()));
        true
    }

    /// A member has another seat, or none.
    pub(super) fn set_seat(&mut self, id: &ClientId, seat: Option<u16>) {
        if let Some(member) = self.members.get_mut(id)
            && member.seen.seat != seat
        {
            member.seen.seat = seat;
            self.note(id, None);
        }
    }

    /// Those whose time is over leave.
    pub(super) fn expire(&mut self, now: Timestamp) -> Vec<ClientId> {
        let mut gone = Vec::new();
        while let Some((at, id)) = self.leaving.first().cloned()
            && at <= now
        {
            self.leave(&id, Reason::Lost);
            gone.push(id);
        }
        gone
    }

    fn note(&mut self, id: &ClientId, reason: Option<Reason>) {
        if matches!(self.shown, Shown::Count(_)) || self.lost_track {
            return;
        }
        self.changed.insert(id.clone(), reason);
        if self.changed.len() > 2 * self.rule.counts_only_above + 1 {
            self.changed.clear();
            self.lost_track = true;
        }
    }

    /// Whether something was not told yet.
    fn is_behind(&self) -> bool {
        match &self.shown {
            Shown::Members(_) => self.lost_track || !self.changed.is_empty(),
            Shown::Count(count) => *count != self.members.len(),
        }
    }

    /// When there is something to do next.
    pub(super) fn due(&self, now: Timestamp) -> Option<Timestamp> {
        let leaves = self.leaving.first().map(|(at, _)| *at);
        let tells = self.is_behind().then(|| self.may_tell().unwrap_or(now));
        leaves.into_iter().chain(tells).min()
    }

    /// When the next message may be sent; `None`: at once.
    fn may_tell(&self) -> Option<Timestamp> {
        let pause = match self.shown {
            Shown::Members(_) => limits::rooms::CHANGES_PAUSE,
            Shown::Count(_) => limits::rooms::COUNTS_PAUSE,
        };
        self.told.map(|told| told.plus(pause))
    }

    /// What is to be told now, if anything.
    pub(super) fn tell(&mut self, now: Timestamp) -> Option<Told> {
        if !self.is_behind() || self.may_tell().is_some_and(|at| at > now) {
            return None;
        }
        let what = self.catch_up()?;
        self.version += 1;
        self.told = Some(now);
        Some(Told {
            version: self.version,
            count: self.members.len(),
            what,
        })
    }

    /// What was told becomes what is so; answers the difference.
    fn catch_up(&mut self) -> Option<What> {
        let (count, most) = (self.members.len(), self.rule.counts_only_above);
        if count > most {
            self.changed.clear();
            self.lost_track = false;
            self.shown = Shown::Count(count);
            return Some(What::Counts);
        }
        let shown = match &mut self.shown {
            Shown::Members(shown) if !self.lost_track => shown,
            // A crowd that stays about as large as the bound must not be listed again and again.
            Shown::Count(shown) if count > most / 4 * 3 => {
                *shown = count;
                return Some(What::Counts);
            }
            _ => return Some(What::Snapshot(self.show_all())),
        };
        let mut changes = Vec::new();
        for (id, reason) in std::mem::take(&mut self.changed) {
            let is = self.members.get(&id).map(|member| member.seen.clone());
            let was = shown.get(&id);
            let change = match is {
                Some(is) if was == Some(&is) => continue,
                Some(is) => {
                    let was = shown.insert(id.clone(), is.clone());
                    was.map_or_else(|| Change::Join(is.clone()), |_| Change::Update(is.clone()))
                }
                None if shown.remove(&id).is_some() => {
                    Change::Leave(reason.unwrap_or(Reason::Left))
                }
                None => continue,
            };
            changes.push((id, change));
        }
        (!changes.is_empty()).then_some(What::Changes(changes))
    }

    /// Everyone is listed anew.
    fn show_all(&mut self) -> Vec<(ClientId, Seen)> {
        self.lost_track = false;
        let members = self.members.iter();
        let all: BTreeMap<_, _> = members
            .map(|(id, member)| (id.clone(), member.seen.clone()))
            .collect();
        let list = all.clone().into_iter().collect();
        self.shown = Shown::Members(all);
        list
    }

    /// What somebody is told who begins to look on: what the others were told, too, so that the next message fits on.
    pub(super) fn snapshot(&self) -> Told {
        let (count, what) = match &self.shown {
            Shown::Members(shown) => {
                let list = shown.iter().map(|(id, seen)| (id.clone(), seen.clone()));
                (shown.len(), What::Snapshot(list.collect()))
            }
            Shown::Count(count) => (*count, What::Counts),
        };
        Told {
            version: self.version,
            count,
            what,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const MOST: usize = 4;
    const GRACE: Duration = Duration::from_secs(2);

    fn presence() -> Presence {
        Presence::new(PresenceRule {
            counts_only_above: MOST,
            grace: GRACE,
        })
    }

    /// One thing that happens. Members are numbered, and their connections, too.
    #[derive(Debug, Clone)]
    enum Step {
        Join(u8, u8, u8),
        Leave(u8),
        Lose(u8, u8),
        Seat(u8, u16),
        Look,
        Later(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let (member, connection) = (|| 0..8_u8, || 0..2_u8);
        prop::collection::vec(
            prop_oneof![
                6 => (member(), connection(), 0..3_u8).prop_map(|(m, c, d)| Step::Join(m, c, d)),
                2 => member().prop_map(Step::Leave),
                2 => (member(), connection()).prop_map(|(m, c)| Step::Lose(m, c)),
                1 => (member(), 0..3_u16).prop_map(|(m, s)| Step::Seat(m, s)),
                1 => Just(Step::Look),
                4 => (0..1500_u64).prop_map(Step::Later),
            ],
            1..120,
        )
    }

    fn id(number: u8) -> ClientId {
        ClientId(number.to_string().into())
    }

    /// Somebody who looks on, and believes what it is told.
    #[derive(Debug)]
    struct Viewer {
        version: u64,
        count: usize,
        /// `None`: it was only told how many.
        members: Option<BTreeMap<ClientId, Seen>>,
    }

    impl Viewer {
        fn new(told: Told) -> Self {
            let mut viewer = Self {
                version: told.version.wrapping_sub(1),
                count: 0,
                members: None,
            };
            viewer.hear(told);
            viewer
        }

        fn hear(&mut self, told: Told) {
            assert_eq!(
                told.version,
                self.version.wrapping_add(1),
                "nothing was missed"
            );
            (self.version, self.count) = (told.version, told.count);
            match told.what {
                What::Counts => self.members = None,
                What::Snapshot(list) => self.members = Some(list.into_iter().collect()),
                What::Changes(changes) => {
                    assert!(!changes.is_empty());
                    let members = self.members.as_mut().expect("changes of a list");
                    for (id, change) in changes {
                        match change {
                            Change::Join(seen) => assert_eq!(members.insert(id, seen), None),
                            Change::Update(seen) => {
                                assert!(members.insert(id, seen.clone()) != Some(seen));
                            }
                            Change::Leave(_) => assert!(members.remove(&id).is_some()),
                        }
                    }
                }
            }
            if let Some(members) = &self.members {
                assert_eq!(members.len(), self.count);
                assert!(self.count <= MOST);
            }
        }
    }

    /// The same, written plainly: who is there, and until when.
    #[derive(Default)]
    struct Model(BTreeMap<ClientId, Modelled>);

    /// Connection, until when, data, seat.
    type Modelled = (u8, Option<Timestamp>, Arc<str>, Option<u16>);

    fn connection(number: u8) -> Uuid {
        Uuid::from_u128(number.into())
    }

    fn step(presence: &mut Presence, model: &mut Model, step: &Step, now: Timestamp) {
        match *step {
            Step::Join(member, by, data) => {
                let data: Arc<str> = data.to_string().into();
                let joined =
                    presence.join(&id(member), connection(by), "p".into(), data.clone(), now);
                assert_eq!(joined, Ok(()));
                let entry = model
                    .0
                    .entry(id(member))
                    .or_insert((by, None, data.clone(), None));
                (entry.0, entry.1, entry.2) = (by, None, data);
            }
            Step::Leave(member) => {
                let left = presence.leave(&id(member), Reason::Left);
                assert_eq!(left, model.0.remove(&id(member)).is_some());
            }
            Step::Lose(member, by) => {
                presence.lose(&id(member), connection(by), now);
                if let Some(entry) = model.0.get_mut(&id(member))
                    && entry.0 == by
                {
                    entry.1.get_or_insert(now.plus(GRACE));
                }
            }
            Step::Seat(member, seat) => {
                let seat = (seat > 0).then_some(seat);
                presence.set_seat(&id(member), seat);
                model.0.entry(id(member)).and_modify(|entry| entry.3 = seat);
            }
            Step::Look | Step::Later(_) => {}
        }
    }

    proptest! {
        #[test]
        fn whoever_looks_on_ends_up_with_what_is_so(steps in steps()) {
            let (mut presence, mut model) = (presence(), Model::default());
            let mut now = Timestamp::from_secs(1_800_000_000);
            let mut viewers = vec![Viewer::new(presence.snapshot())];
            let last = [Step::Later(10_000), Step::Later(10_000)];
            for one in steps.iter().chain(&last) {
                step(&mut presence, &mut model, one, now);
                if let Step::Look = one {
                    viewers.push(Viewer::new(presence.snapshot()));
                }
                if let Step::Later(millis) = one {
                    let end = now.plus(Duration::from_millis(*millis));
                    while let Some(due) = presence.due(now).filter(|due| *due <= end) {
                        now = due.max(now);
                        presence.expire(now);
                        if let Some(told) = presence.tell(now) {
                            viewers.iter_mut().for_each(|viewer| viewer.hear(told.clone()));
                        }
                    }
                    now = end;
                    model.0.retain(|_, (_, until, ..)| until.is_none_or(|until| until > now));
                    prop_assert_eq!(presence.len(), model.0.len());
                }
            }
            for viewer in &viewers {
                prop_assert_eq!(viewer.count, model.0.len());
                match &viewer.members {
                    None => prop_assert!(viewer.count > MOST / 4 * 3),
                    Some(members) => {
                        let shown = members.iter().map(|(id, seen)| (id, &seen.data, seen.seat));
                        let is = model.0.iter().map(|(id, (_, _, data, seat))| (id, data, *seat));
                        prop_assert!(shown.eq(is));
                    }
                }
            }
            prop_assert_eq!(presence.is_over(), model.0.is_empty());
        }
    }

    #[test]
    fn messages_are_rare_however_many_come() {
        let mut presence = presence();
        let mut now = Timestamp::from_secs(1);
        let mut told = 0;
        for number in 0..10_000_u32 {
            let who = ClientId(number.to_string().into());
            presence
                .join(&who, Uuid::nil(), "p".into(), "0".into(), now)
                .unwrap();
            told += usize::from(presence.tell(now).is_some());
            now = now.plus(Duration::from_micros(100));
        }
        // A second in all: the first, its crowd after a tenth, the number after a second.
        assert!((2..=4).contains(&told), "{told}");
        assert_eq!(presence.len(), 10_000);
    }

    #[test]
    fn a_crowd_about_as_large_as_the_bound_is_not_listed_again_and_again() {
        let mut presence = presence();
        let mut now = Timestamp::from_secs(1);
        let mut next = |presence: &mut Presence| {
            now = now.plus(limits::rooms::COUNTS_PAUSE);
            presence.tell(now).map(|told| (told.what, told.count))
        };
        for number in 0..=MOST as u8 {
            presence
                .join(
                    &id(number),
                    Uuid::nil(),
                    "p".into(),
                    "0".into(),
                    Timestamp(0),
                )
                .unwrap();
        }
        assert_eq!(next(&mut presence), Some((What::Counts, MOST + 1)));
        presence.leave(&id(0), Reason::Left);
        assert_eq!(next(&mut presence), Some((What::Counts, MOST)));
        // Three quarters of the bound.
        presence.leave(&id(1), Reason::Left);
        let Some((What::Snapshot(all), 3)) = next(&mut presence) else {
            panic!("no list");
        };
        assert_eq!(all.len(), 3);
    }

    #[test]
    fn a_room_has_so_many_members() {
        let mut presence = presence();
        let mut join = |number: usize| {
            let who = ClientId(number.to_string().into());
            presence.join(&who, Uuid::nil(), "p".into(), "0".into(), Timestamp(0))
        };
        for number in 0..limits::rooms::MEMBERS {
            join(number).unwrap();
        }
        assert_eq!(join(usize::MAX), Err(TooMany));
        assert_eq!(join(0), Ok(()));
    }
}
