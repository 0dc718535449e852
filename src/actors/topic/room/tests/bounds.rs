//! What a client, a room and the server may have of rooms, and when a room is forgotten.

use std::sync::Arc;

use super::super::{Reason, Room};
use super::*;
use crate::domain::Timestamp;

#[actix::test]
async fn what_one_client_may_have_is_bounded() {
    let plane = Plane::new();
    let one = plane.client("1").await;
    for number in 0..limits::rooms::JOINED {
        let topic = format!("$room/presence/chat/{number}");
        one.send(&topic, "0", AtMostOnce).await.unwrap();
    }
    let more = one.send("$room/presence/chat/more", "0", AtMostOnce).await;
    assert!(matches!(more, Err(PublishError::QuotaExceeded(_))));
    one.send("$room/presence/chat/0", "1", AtMostOnce)
        .await
        .unwrap();
    one.send("$room/presence/chat/0", "", AtMostOnce)
        .await
        .unwrap();
    one.send("$room/presence/chat/more", "0", AtMostOnce)
        .await
        .unwrap();
    // Too long for a room, and so an ordinary topic.
    let long = format!("chat/{}", "x".repeat(300));
    one.subscribe(&long, AtMostOnce).await;
    plane.publish(&long, "plain", AtMostOnce).await.unwrap();
    assert_eq!(one.came(), [format!("{long} plain")]);
}

#[test]
fn a_room_that_nobody_uses_is_forgotten_in_time() {
    let mut now = Timestamp::from_secs(1);
    let chat = Arc::new(rules().remove(0));
    let mut room = Room::new(chat, None, now);
    let who = who(0);
    assert!(room.is_idle());
    assert_eq!(room.due(now), now.plus(limits::rooms::IDLE));
    room.join(&who, "0".into(), now).unwrap();
    assert!(!room.is_idle());
    room.presence.as_mut().unwrap().tell(now).unwrap();
    room.leave(&who, Reason::Left);
    // Whoever looks on is told first, when it is time for another message.
    assert_eq!(room.due(now), now.plus(limits::rooms::CHANGES_PAUSE));
    assert!(!room.is_idle());
    now = now.plus(limits::rooms::CHANGES_PAUSE);
    room.presence.as_mut().unwrap().tell(now).unwrap();
    assert!(room.is_idle());
    let promise = room.order.promise();
    assert!(!room.is_idle(), "something is on its way to the disk");
    drop(promise);
    assert!(room.is_idle());
}

#[actix::test]
async fn more_rooms_than_may_be_are_refused() {
    let plane = Plane::new();
    let shard = plane.topics.here();
    let handle = plane.topics.handle_of(&shard);
    for number in 0..limits::rooms::OPEN {
        let room = name(&format!("chat/{number}"));
        plane.topics.rooms().owners.insert(room, handle.clone());
    }
    let one = plane.client("1").await;
    let refused = one.send("$room/presence/chat/more", "0", AtMostOnce).await;
    assert!(matches!(refused, Err(PublishError::QuotaExceeded(_))));
    let asked = subscription("$room/presence/chat/more", AtMostOnce);
    assert_eq!(
        one.try_subscribe(asked).await.err(),
        Some(SubscribeError::TooMany)
    );
    let refused = plane.publish("chat/more", "x", AtLeastOnce).await;
    assert!(matches!(refused, Err(PublishError::QuotaExceeded(_))));
    one.send("$room/presence/chat/1", "0", AtMostOnce)
        .await
        .unwrap();
}
