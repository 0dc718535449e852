//! A room's seats: pure, time comes as an argument.

use std::sync::Arc;

use crate::domain::Timestamp;
use crate::domain::publication::ClientId;
use crate::domain::room::SeatRule;

/// See the module. Seat numbers begin at 1.
#[derive(Debug)]
pub(super) struct Seats {
    rule: SeatRule,
    places: Vec<Option<Taken>>,
}

#[derive(Debug, Clone)]
struct Taken {
    member: ClientId,
    /// Who took it.
    principal: Arc<str>,
    /// Until when it is kept, if its member is not there.
    until: Option<Timestamp>,
}

/// Why somebody gets no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoSeat {
    /// All are taken.
    Full,
    /// The seat is another principal's.
    NotYours,
}

impl Seats {
    pub(super) fn new(rule: SeatRule) -> Self {
        Self {
            rule,
            places: vec![None; rule.places.into()],
        }
    }

    /// How many there are.
    pub(super) fn places(&self) -> usize {
        self.places.len()
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        self.places.iter().flatten().count()
    }

    fn index(&self, member: &ClientId) -> Option<usize> {
        let is_its =
            |place: &Option<Taken>| place.as_ref().is_some_and(|taken| taken.member == *member);
        self.places.iter().position(is_its)
    }

    /// A member's seat.
    pub(super) fn of(&self, member: &ClientId) -> Option<u16> {
        self.index(member).map(number)
    }

    /// Gives a member a seat, its own if it has one. `is_there`: whether it is in the room now. The operator (`anyone`) acts
    /// for everybody.
    pub(super) fn take(
        &mut self,
        member: &ClientId,
        principal: &Arc<str>,
        anyone: bool,
        is_there: bool,
        now: Timestamp,
    ) -> Result<u16, NoSeat> {
        let until = (!is_there).then(|| now.plus(self.rule.hold));
        if let Some(index) = self.index(member) {
            let taken = self.places[index].as_mut().expect("it was just found");
            if taken.principal != *principal && !anyone {
                return Err(NoSeat::NotYours);
            }
            taken.until = until;
            return Ok(number(index));
        }
        let free = self.places.iter().position(Option::is_none);
        let index = free.ok_or(NoSeat::Full)?;
        self.places[index] = Some(Taken {
            member: member.clone(),
            principal: principal.clone(),
            until,
        });
        Ok(number(index))
    }

    /// A member gives its seat back; nothing happens if it has none.
    pub(super) fn free(
        &mut self,
        member: &ClientId,
        principal: &Arc<str>,
        anyone: bool,
    ) -> Result<(), NoSeat> {
        let Some(index) = self.index(member) else {
            return Ok(());
        };
        let place = &mut self.places[index];
        if place
            .as_ref()
            .is_some_and(|taken| taken.principal != *principal)
            && !anyone
        {
            return Err(NoSeat::NotYours);
        }
        *place = None;
        Ok(())
    }

    /// A member is in the room: its seat stays. Somebody else who has its id now does not get it.
    pub(super) fn joined(&mut self, member: &ClientId, principal: &Arc<str>) {
        let Some(index) = self.index(member) else {
            return;
        };
        let place = &mut self.places[index];
        match place {
            Some(taken) if taken.principal == *principal => taken.until = None,
            place => *place = None,
        }
    }

    /// A member's connection has ended: its seat waits for it.
    pub(super) fn lost(&mut self, member: &ClientId, now: Timestamp) {
        if let Some(index) = self.index(member) {
            let until = now.plus(self.rule.hold);
            let place = self.places[index].as_mut();
            place.expect("it was just found").until = Some(until);
        }
    }

    /// When the next seat is given up.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.places
            .iter()
            .flatten()
            .filter_map(|taken| taken.until)
            .min()
    }

    /// Seats that have waited long enough are free; says whose they were.
    pub(super) fn expire(&mut self, now: Timestamp) -> Vec<ClientId> {
        let mut gone = Vec::new();
        for place in &mut self.places {
            if place
                .as_ref()
                .is_some_and(|taken| taken.until.is_some_and(|until| until <= now))
            {
                gone.extend(place.take().map(|taken| taken.member));
            }
        }
        gone
    }
}

fn number(index: usize) -> u16 {
    u16::try_from(index + 1).expect("no more places than the rule's number")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const HOLD: Duration = Duration::from_secs(5);
    const PLACES: u16 = 3;

    #[derive(Debug, Clone)]
    enum Step {
        Take(u8, u8, bool),
        Free(u8, u8),
        Joined(u8, u8),
        Lost(u8),
        Later(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let (member, principal) = (|| 0..5_u8, || 0..2_u8);
        prop::collection::vec(
            prop_oneof![
                4 => (member(), principal(), any::<bool>()).prop_map(|(m, p, t)| Step::Take(m, p, t)),
                2 => (member(), principal()).prop_map(|(m, p)| Step::Free(m, p)),
                2 => (member(), principal()).prop_map(|(m, p)| Step::Joined(m, p)),
                2 => member().prop_map(Step::Lost),
                2 => (0..8_u64).prop_map(Step::Later),
            ],
            1..60,
        )
    }

    fn id(number: u8) -> ClientId {
        ClientId(number.to_string().into())
    }

    fn principal(number: u8) -> Arc<str> {
        number.to_string().into()
    }

    proptest! {
        #[test]
        fn seats_are_as_in_a_list_of_who_has_one(steps in steps()) {
            let rule = SeatRule { places: PLACES, hold: HOLD };
            let mut seats = Seats::new(rule);
            let mut now = Timestamp::from_secs(1);
            // Member to number, principal, and until when.
            let mut model: BTreeMap<u8, (u16, u8, Option<Timestamp>)> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Take(member, by, there) => {
                        let got = seats.take(&id(member), &principal(by), false, there, now);
                        let until = (!there).then(|| now.plus(HOLD));
                        let free = (1..=PLACES).find(|n| model.values().all(|taken| taken.0 != *n));
                        let expected = match (model.get(&member), free) {
                            (Some((_, owner, _)), _) if *owner != by => Err(NoSeat::NotYours),
                            (Some((number, ..)), _) => Ok(*number),
                            (None, Some(free)) => Ok(free),
                            (None, None) => Err(NoSeat::Full),
                        };
                        prop_assert_eq!(got, expected);
                        if let Ok(number) = got {
                            model.insert(member, (number, by, until));
                        }
                    }
                    Step::Free(member, by) => {
                        let freed = seats.free(&id(member), &principal(by), false);
                        let foreign = model.get(&member).is_some_and(|taken| taken.1 != by);
                        prop_assert_eq!(freed.is_err(), foreign);
                        if !foreign {
                            model.remove(&member);
                        }
                    }
                    Step::Joined(member, by) => {
                        seats.joined(&id(member), &principal(by));
                        if model.get(&member).is_some_and(|taken| taken.1 != by) {
                            model.remove(&member);
                        }
                        model.entry(member).and_modify(|taken| taken.2 = None);
                    }
                    Step::Lost(member) => {
                        seats.lost(&id(member), now);
                        model.entry(member).and_modify(|taken| taken.2 = Some(now.plus(HOLD)));
                    }
                    Step::Later(secs) => {
                        now = now.plus(Duration::from_secs(secs));
                        let gone = seats.expire(now).len();
                        let before = model.len();
                        model.retain(|_, taken| taken.2.is_none_or(|until| until > now));
                        prop_assert_eq!(gone, before - model.len());
                    }
                }
                prop_assert_eq!(seats.taken(), model.len());
                prop_assert_eq!(seats.due(), model.values().filter_map(|taken| taken.2).min());
                for member in 0..5 {
                    prop_assert_eq!(seats.of(&id(member)), model.get(&member).map(|taken| taken.0));
                }
            }
        }
    }
}
