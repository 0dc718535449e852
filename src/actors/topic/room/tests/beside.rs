//! Events and values.

use super::*;

#[actix::test]
async fn events_are_passed_on_and_nothing_else() {
    let plane = Plane::new();
    let (one, mut two) = (plane.client("1").await, plane.client("2").await);
    two.subscribe("$room/event/+/chat/a", AtLeastOnce).await;
    one.send("$room/event/typing/chat/a", "true", AtLeastOnce)
        .await
        .unwrap();
    let delivery = two.link.deliveries.borrow()[0].clone();
    let user = &delivery.fan.publication.properties.as_ref().unwrap().user;
    assert_eq!(*user, [("member".into(), "1".into())]);
    assert_eq!(two.got(), ["true 0"]);
    let refused = one
        .send("$room/event/typing/nowhere", "1", AtMostOnce)
        .await;
    assert!(matches!(refused, Err(PublishError::NotARoom(_))));
    for (topic, payload) in [("$room/recovery/chat/a", "x"), ("$room/states/chat/a", "x")] {
        let refused = one.send(topic, payload, AtMostOnce).await;
        assert_eq!(refused, Err(PublishError::Reserved), "{topic}");
    }
    for topic in [
        "$room/presence/chat/a",
        "$room/seat/arena/a",
        "$room/history/chat/a",
    ] {
        let refused = one.send(topic, "{", AtMostOnce).await;
        assert!(
            matches!(refused, Err(PublishError::Malformed(_))),
            "{topic}"
        );
    }
    let long = format!("\"{}\"", "x".repeat(limits::rooms::DATA_BYTES - 1));
    let refused = one.send("$room/presence/chat/a", &long, AtMostOnce).await;
    assert!(matches!(refused, Err(PublishError::Malformed(_))));
    for filter in [
        "$room/presence/nowhere",
        "$room/presence/chat/+",
        "$room/presence/long/a",
        "$room/state/+/chat/a",
        "$room/#",
        "$share/g/$room/presence/chat/a",
    ] {
        let refused = two.try_subscribe(subscription(filter, AtMostOnce)).await;
        assert_eq!(refused.err(), Some(SubscribeError::NotARoom), "{filter}");
    }
}

#[actix::test]
async fn values_wait_for_those_who_come_later() {
    let plane = Plane::new();
    let (one, late) = (plane.client("1").await, plane.client("late").await);
    let refused = one.send("$room/state/pos/arena/a", "1", AtMostOnce).await;
    assert!(
        matches!(refused, Err(PublishError::NotNow(_))),
        "{refused:?}"
    );
    one.send("$room/presence/arena/a", "{}", AtMostOnce)
        .await
        .unwrap();
    one.send("$room/state/pos/arena/a", "{\"x\":1}", AtMostOnce)
        .await
        .unwrap();
    one.send("$room/state/pos/arena/a", "{\"x\":2}", AtMostOnce)
        .await
        .unwrap();
    one.send("$room/state/skin/arena/a", "\u{1}", AtMostOnce)
        .await
        .unwrap();
    late.subscribe("$room/state/+/arena/a", AtMostOnce).await;
    pause(5).await;
    let told = late.told("$room/states/arena/a");
    let expected = json!([{"more": false, "states": [
        {"member": "1", "key": "pos", "value": {"x": 2}},
        {"member": "1", "key": "skin", "base64": "AQ=="},
    ]}]);
    assert_eq!(json!(told), expected);
    one.send("$room/state/pos/arena/a", "3", AtMostOnce)
        .await
        .unwrap();
    assert_eq!(late.came(), ["$room/state/pos/arena/a 3"]);
    one.drop_connection();
    pause(GRACE.as_millis() as u64 + 100).await;
    late.subscribe("$room/state/pos/arena/a", AtMostOnce).await;
    pause(5).await;
    let told = late.told("$room/states/arena/a");
    assert_eq!(json!(told), json!([{"more": false, "states": []}]));
    // Whoever says goodbye takes its values along, too.
    let two = plane.client("2").await;
    for (topic, payload) in [
        ("$room/presence/arena/a", "{}"),
        ("$room/state/pos/arena/a", "7"),
        ("$room/presence/arena/a", ""),
    ] {
        two.send(topic, payload, AtLeastOnce).await.unwrap();
    }
    late.subscribe("$room/state/pos/arena/a", AtMostOnce).await;
    pause(5).await;
    let told = late.told("$room/states/arena/a");
    assert_eq!(json!(told), json!([{"more": false, "states": []}]));
}
