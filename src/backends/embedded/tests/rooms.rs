//! Rooms' histories on a real disk.

use proptest::prelude::*;

use super::*;
use crate::backends::rooms::RoomStore;
use crate::backends::rooms::contract::{self, Subject, saying};
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
