//! Rooms' histories on a real disk.

use proptest::prelude::*;

use super::*;
use crate::backends::rooms::RoomStore;
use crate::backends::rooms::contract::{self, KEPT, Subject, TIME, saying};
use crate::backends::topics::TopicStore;
use crate::backends::topics::contract::publication;
use crate::domain::topic::TopicName;

impl Subject for Fixture {
    fn topics(&self) -> &dyn TopicStore {
        &self.store
    }

    fn rooms(&self) -> &dyn RoomStore {
        &self.store
    }

    fn restart(self) -> Self {
        self.reopen_with(&|_| {})
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn histories_are_as_the_contract_says(steps in contract::steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            contract::run(Fixture::new(), steps).await;
        });
    }
}

fn room(number: u8) -> TopicName {
    publication(number, 1).topic
}

impl Fixture {
    async fn say(&self, number: u8, now: Timestamp, epoch: u64) -> Result<u64, StoreError> {
        let asked = saying(&publication(number, 1), now, epoch);
        let placed = TopicStore::publish(&self.store, asked).await?;
        Ok(placed.mark.unwrap().place.epoch.0)
    }
}

#[tokio::test]
async fn a_history_is_cut_at_its_count_and_each_part_of_it_ends_at_its_age() {
    let fixture = Fixture::new();
    let now = Clock::start().now();
    let at = |offset: u64| now.plus(Duration::from_secs(offset));
    for offset in 1..=KEPT + 1 {
        fixture.say(0, at(offset), 1).await.unwrap();
        let head = fixture.store.head(&room(0)).unwrap().unwrap();
        let first = if offset <= KEPT { 1 } else { 2 };
        assert_eq!((head.first, head.last), (first, offset));
        let rows = fixture.rows(Table::Topics, &[keys::plane::SAID]) as u64;
        assert_eq!(rows, offset.min(KEPT));
    }
    let offsets = |now: Timestamp| {
        let said = fixture.store.said(&room(0), 0, 100, now).unwrap();
        let said: Vec<u64> = said.iter().map(|said| said.offset).collect();
        said
    };
    for offset in 2..=KEPT + 1 {
        let end = at(offset).plus(TIME);
        let (before, after): (Vec<u64>, Vec<u64>) = (
            (offset..=KEPT + 1).collect(),
            (offset + 1..=KEPT + 1).collect(),
        );
        assert_eq!(offsets(Timestamp(end.0 - 1)), before);
        assert_eq!(offsets(end), after);
    }
}

#[tokio::test]
async fn what_has_not_expired_stays_when_what_was_before_it_leaves() {
    let fixture = Fixture::new();
    let now = Clock::start().now();
    let long_ago = Timestamp(now.0 - 3_600_000_000);
    for at in [now, long_ago, now] {
        fixture.say(0, at, 5).await.unwrap();
    }
    // Out of order, as after a change of the rule: what is behind one that lives waits for it.
    let head = fixture.store.head(&room(0)).unwrap().unwrap();
    assert_eq!((head.first, head.last), (1, 3));
    for at in [long_ago, now] {
        fixture.say(1, at, 6).await.unwrap();
    }
    let fixture = fixture.reopen_with(&|options| {
        options.sweep_interval = Duration::from_millis(5);
    });
    fixture
        .until("the first has left", |fixture| {
            fixture.store.head(&room(1)).unwrap().unwrap().first == 2
        })
        .await;
    let head = fixture.store.head(&room(1)).unwrap().unwrap();
    assert_eq!(
        (head.epoch.0, head.last),
        (6, 2),
        "the same history goes on"
    );
    let head = fixture.store.head(&room(0)).unwrap().unwrap();
    assert_eq!((head.first, head.last), (1, 3));
    assert_eq!(fixture.rows(Table::Topics, &[keys::plane::SAID]), 4);
}

#[tokio::test]
async fn what_has_expired_leaves_and_its_history_is_forgotten() {
    let fixture = Fixture::new().reopen_with(&|options| {
        options.sweep_interval = Duration::from_millis(5);
    });
    let now = Clock::start().now();
    let long_ago = Timestamp(now.0 - 3_600_000_000);
    assert_eq!(fixture.say(0, long_ago, 5).await, Ok(5));
    // Fewer offsets than before must not look like a newer part of the same.
    fixture
        .until("the history is forgotten", |fixture| {
            fixture.store.head(&room(0)).unwrap().is_none()
        })
        .await;
    assert_eq!(fixture.rows(Table::Topics, &[keys::plane::SAID]), 0);
    assert_eq!(fixture.say(0, now, 6).await, Ok(6));
    // There is room for others again, and only for so many.
    assert_eq!(fixture.say(1, now, 7).await, Ok(7));
    assert!(matches!(
        fixture.say(2, now, 8).await,
        Err(StoreError::Full(_))
    ));
    let fixture = fixture.reopen_with(&|_| {});
    assert!(matches!(
        fixture.say(2, now, 8).await,
        Err(StoreError::Full(_))
    ));
    assert_eq!(fixture.say(1, now, 9).await, Ok(7));
}

#[tokio::test]
async fn a_history_has_so_many_bytes() {
    let fixture = Fixture::new();
    let now = Clock::start().now();
    let mut one = publication(0, 1);
    one.payload = vec![b'x'; 1000].into();
    for _ in 0..10 {
        let mut asked = saying(&one, now, 1);
        let history = asked.history.as_mut().unwrap();
        (history.keep.messages, history.keep.bytes) = (100, 3000);
        TopicStore::publish(&fixture.store, asked).await.unwrap();
    }
    let head = fixture.store.head(&room(0)).unwrap().unwrap();
    assert_eq!((head.first, head.last), (9, 10));
    assert_eq!(fixture.rows(Table::Topics, &[keys::plane::SAID]), 2);
    // One that is longer than all that may be kept is kept alone.
    one.payload = vec![b'x'; 10_000].into();
    let mut asked = saying(&one, now, 1);
    asked.history.as_mut().unwrap().keep.bytes = 3000;
    TopicStore::publish(&fixture.store, asked).await.unwrap();
    let head = fixture.store.head(&room(0)).unwrap().unwrap();
    assert_eq!((head.first, head.last), (11, 11));
}
