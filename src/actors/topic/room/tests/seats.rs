//! Seats.

use super::super::RoomError;
use super::*;

#[actix::test]
async fn seats_are_kept_over_a_reconnect() {
    let plane = Plane::new();
    let (one, two, three) = (
        plane.client("1").await,
        plane.client("2").await,
        plane.client("3").await,
    );
    let topic = "$room/seat/arena/a";
    for client in [&one, &two, &three] {
        client
            .send("$room/presence/arena/a", "0", AtMostOnce)
            .await
            .unwrap();
        client
            .send(topic, "{\"take\":true}", AtLeastOnce)
            .await
            .unwrap();
    }
    assert_eq!(
        one.told(topic)[0],
        json!({"seat": 1, "seats": 2, "taken": 1})
    );
    assert_eq!(
        two.told(topic)[0],
        json!({"seat": 2, "seats": 2, "taken": 2})
    );
    let full = json!({"seat": null, "seats": 2, "taken": 2, "full": true});
    assert_eq!(three.told(topic)[0], full);
    one.drop_connection();
    pause(GRACE.as_millis() as u64 + 100).await;
    three
        .send(topic, "{\"take\":true}", AtLeastOnce)
        .await
        .unwrap();
    assert_eq!(three.told(topic)[0], full, "it waits for its member");
    let one = plane.client("1").await;
    one.send("$room/presence/arena/a", "0", AtMostOnce)
        .await
        .unwrap();
    pause(HOLD.as_millis() as u64 + 50).await;
    one.send(topic, "{\"take\":true}", AtLeastOnce)
        .await
        .unwrap();
    assert_eq!(one.told(topic)[0]["seat"], 1);
    // By HTTP: its own for everybody, others' for the operator only.
    let everything = Access::everything();
    let who = |principal: &str, anyone| (ClientId("1".into()), principal.into(), anyone);
    let room = name("arena/a");
    let other = plane
        .topics
        .sit(&everything, &room, false, who("other", false));
    assert_eq!(other.await, Err(RoomError::NotYours));
    let operator = plane
        .topics
        .sit(&everything, &room, false, who("operator", true));
    assert_eq!(operator.await.map(|answer| answer.taken), Ok(1));
    let three_as_other = (ClientId("3".into()), "other".into(), false);
    let other = plane.topics.sit(&everything, &room, true, three_as_other);
    assert_eq!(other.await, Err(RoomError::NotYours), "for who is there");
    two.send("$room/presence/arena/a", "", AtLeastOnce)
        .await
        .unwrap();
    three
        .send(topic, "{\"take\":true}", AtLeastOnce)
        .await
        .unwrap();
    assert_eq!(
        three.told(topic)[0],
        json!({"seat": 1, "seats": 2, "taken": 1})
    );
    let seatless = name("chat/a");
    let nowhere = plane
        .topics
        .sit(&everything, &seatless, true, who("owner", false));
    assert_eq!(nowhere.await, Err(RoomError::NoSuchRoom));
}
