//! Pages of history.

use super::super::{HistoryPage, RoomError};
use super::*;

#[actix::test]
async fn pages_of_history() {
    let plane = Plane::new();
    for number in 1..=120 {
        plane
            .publish("long/a", &number.to_string(), AtMostOnce)
            .await
            .unwrap();
    }
    let (topics, room) = (&plane.topics, name("long/a"));
    let page = |before: Option<u64>, after: Option<u64>, limit: Option<usize>| {
        let page = HistoryPage {
            before,
            after,
            limit,
        };
        let found = topics
            .room_history(&Access::everything(), &room, page, None)
            .unwrap();
        let found: Value = serde_json::from_str(&found).unwrap();
        let offsets = found["messages"].as_array().unwrap().iter();
        let offsets: Vec<u64> = offsets.map(|one| one["offset"].as_u64().unwrap()).collect();
        assert_eq!(
            (&found["first"], &found["offset"]),
            (&json!(1), &json!(120))
        );
        (offsets.first().copied(), offsets.len(), offsets.is_sorted())
    };
    let newest = limits::rooms::PAGE_DEFAULT;
    assert_eq!(page(None, None, None), (Some(71), newest, true));
    assert_eq!(page(Some(71), None, Some(1000)), (Some(1), 70, true));
    assert_eq!(page(None, None, Some(1000)), (Some(21), 100, true));
    assert_eq!(page(Some(1), None, None), (None, 0, true));
    assert_eq!(page(None, Some(118), None), (Some(119), 2, true));
    assert_eq!(page(None, Some(u64::MAX), None), (None, 0, true));
    assert_eq!(page(None, Some(0), Some(3)), (Some(1), 3, true));
    let big = "x".repeat(limits::rooms::PART_BYTES * 5 / 8);
    for _ in 0..3 {
        plane.publish("long/b", &big, AtMostOnce).await.unwrap();
    }
    let found = topics
        .room_history(
            &Access::everything(),
            &name("long/b"),
            HistoryPage::default(),
            Some("q\""),
        )
        .unwrap();
    let found: Value = serde_json::from_str(&found).unwrap();
    assert_eq!(
        (&found["id"], &found["messages"][0]["offset"]),
        (&json!("q\""), &json!(3))
    );
    let none = topics.room_history(
        &Access::everything(),
        &name("arena/a"),
        HistoryPage::default(),
        None,
    );
    assert_eq!(none, Err(RoomError::NoSuchRoom));
    let nothing = topics.room_history(&Access::nothing(), &room, HistoryPage::default(), None);
    assert!(matches!(nothing, Err(RoomError::NotAllowed(_))));
}
