//! What every store of histories must do, written as plainly as possible, and random steps that hold a store to it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::{Append, Head, RoomStore};
use crate::backends::topics::contract::{START, publication};
use crate::backends::topics::{DurablePublish, TopicStore};
use crate::domain::publication::Publication;
use crate::domain::room::{Epoch, Keep, Mark};
use crate::domain::topic::TopicName;
use crate::domain::{StoreError, Timestamp};

/// Publications that a room keeps.
pub(crate) const KEPT: u64 = 3;

/// Rooms that there may be.
const ROOMS: usize = 2;

/// How long a publication is kept.
pub(crate) const TIME: Duration = Duration::from_secs(60);

/// A store under test.
pub(crate) trait Subject: Sized {
    /// Writes.
    fn topics(&self) -> &dyn TopicStore;
    /// Reads.
    fn rooms(&self) -> &dyn RoomStore;
    /// As after a restart of the process.
    fn restart(self) -> Self;
}

/// One thing that happens.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Something is said, so many seconds after what was before.
    Say {
        room: u8,
        later: u64,
        retain: bool,
    },
    Restart,
}

/// Lists of steps.
pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let say = (0..3_u8, 0..50_u64, any::<bool>());
    let say = say.prop_map(|(room, later, retain)| Step::Say {
        room,
        later,
        retain,
    });
    prop::collection::vec(prop_oneof![8 => say, 1 => Just(Step::Restart)], 1..24)
}

/// What one room should be: epoch, newest offset, and what is kept with its end.
type Room = (Epoch, u64, BTreeMap<u64, (Publication, Timestamp)>);

struct Bench<S> {
    subject: S,
    now: Timestamp,
    said: u64,
    rooms: BTreeMap<TopicName, Room>,
}

/// A publication for a room that keeps as little as here.
pub(crate) fn saying(publication: &Publication, now: Timestamp, epoch: u64) -> DurablePublish {
    DurablePublish {
        publication: Arc::new(publication.clone()),
        to: Vec::new(),
        retain: publication.retain.then_some(now),
        from: None,
        history: Some(Append {
            keep: Keep {
                messages: KEPT,
                bytes: 1 << 20,
                time: TIME,
            },
            now,
            at: now,
            epoch: Epoch(epoch),
            most: ROOMS,
        }),
    }
}

impl<S: Subject> Bench<S> {
    async fn say(&mut self, room: u8, later: u64, retain: bool) {
        self.now = self.now.plus(Duration::from_secs(later));
        self.said += 1;
        let mut publication = publication(room, self.said);
        publication.retain = retain;
        let asked = saying(&publication, self.now, self.said);
        let placed = self.subject.topics().publish(asked).await;
        let known = self.rooms.len();
        let fresh = || (Epoch(self.said), 0, BTreeMap::new());
        if known >= ROOMS && !self.rooms.contains_key(&publication.topic) {
            assert!(matches!(placed, Err(StoreError::Full(_))), "{placed:?}");
            return;
        }
        let entry = self.rooms.entry(publication.topic.clone());
        let (epoch, last, kept) = entry.or_insert_with(fresh);
        *last += 1;
        let mark = placed.expect("said").mark.expect("it has a place");
        assert_eq!((mark.place.epoch, mark.place.offset), (*epoch, *last));
        kept.insert(*last, (publication.clone(), self.now.plus(TIME)));
        while kept.len() as u64 > KEPT {
            kept.pop_first();
        }
        if retain {
            self.is_retained(&publication, mark);
        }
    }

    /// The retained message says where it was in the history.
    fn is_retained(&self, publication: &Publication, mark: Mark) {
        let mut found = None;
        let each = &mut |retained: Publication, _| {
            if retained.topic == publication.topic {
                found = Some(retained);
            }
        };
        self.subject
            .topics()
            .retained(self.now, each)
            .expect("read");
        assert_eq!(found, Some(publication.clone().marked(Some(mark))));
    }

    fn compare(&self) {
        for (room, (epoch, last, kept)) in &self.rooms {
            let head = self.subject.rooms().head(room).expect("read");
            let head: Head = head.expect("it was not forgotten");
            assert_eq!((head.epoch, head.last), (*epoch, *last));
            let living = kept.iter().filter(|(_, (_, end))| *end > self.now);
            let living: Vec<_> = living
                .map(|(offset, (said, _))| (*offset, said.clone()))
                .collect();
            assert!(living.first().is_none_or(|(first, _)| head.first <= *first));
            for from in [0, 1, *last] {
                let said = self
                    .subject
                    .rooms()
                    .said(room, from, 100, self.now)
                    .expect("read");
                let said: Vec<_> = said
                    .into_iter()
                    .map(|said| (said.offset, said.publication))
                    .collect();
                let expected: Vec<_> = living
                    .iter()
                    .filter(|(offset, _)| *offset >= from)
                    .cloned()
                    .collect();
                assert_eq!(said, expected);
            }
            let one = self
                .subject
                .rooms()
                .said(room, 0, 1, self.now)
                .expect("read");
            assert_eq!(one.len(), living.len().min(1));
        }
    }
}

/// Runs the steps.
pub(crate) async fn run<S: Subject>(subject: S, steps: Vec<Step>) -> S {
    let mut bench = Bench {
        subject,
        now: START,
        said: 0,
        rooms: BTreeMap::new(),
    };
    for step in steps {
        match step {
            Step::Say {
                room,
                later,
                retain,
            } => bench.say(room, later, retain).await,
            Step::Restart => bench.subject = bench.subject.restart(),
        }
        bench.compare();
    }
    bench.subject
}
