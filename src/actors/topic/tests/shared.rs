//! Shared subscriptions.

use super::super::testing::Plane;
use crate::domain::publication::QoS::{AtLeastOnce, AtMostOnce};

#[actix::test]
async fn each_publication_goes_to_one_member_in_turn() {
    let plane = Plane::new();
    let (mut one, mut two) = (plane.client("1").await, plane.client("2").await);
    for client in [&one, &two] {
        client.subscribe("$share/g/a/+", AtLeastOnce).await;
    }
    for number in 0..4 {
        plane
            .publish("a/b", &number.to_string(), AtLeastOnce)
            .await
            .unwrap();
    }
    assert_eq!(one.got(), ["0 1", "2 1"]);
    assert_eq!(two.got(), ["1 1", "3 1"]);
    two.subscribe("a/b", AtMostOnce).await;
    one.say_goodbye();
    plane.publish("a/b", "x", AtMostOnce).await.unwrap();
    let mut both = two.got();
    both.sort();
    assert_eq!(
        both,
        ["x 0", "x 0"],
        "a subscription of its own is beside the group's"
    );
}

#[actix::test]
async fn groups_do_not_share_with_each_other() {
    let plane = Plane::new();
    let (mut one, mut two) = (plane.client("1").await, plane.client("2").await);
    one.subscribe("$share/g/a", AtMostOnce).await;
    two.subscribe("$share/h/a", AtMostOnce).await;
    plane.publish("a", "x", AtMostOnce).await.unwrap();
    assert_eq!(
        (one.got(), two.got()),
        (vec!["x 0".into()], vec!["x 0".into()])
    );
}

#[actix::test]
async fn a_member_that_is_away_gets_what_nobody_else_can() {
    let plane = Plane::new();
    let away = plane.durable("away").await;
    away.subscribe("$share/g/a", AtLeastOnce).await;
    away.drop_connection();
    let mut here = plane.client("here").await;
    here.subscribe("$share/g/a", AtLeastOnce).await;
    for payload in ["x", "y"] {
        plane.publish("a", payload, AtLeastOnce).await.unwrap();
    }
    assert_eq!(here.got(), ["x 1", "y 1"]);
    here.say_goodbye();
    plane
        .publish("a", "nothing promised", AtMostOnce)
        .await
        .unwrap();
    plane.publish("a", "z", AtLeastOnce).await.unwrap();
    assert_eq!(plane.store.payloads("away"), ["z"]);
    let plane = Plane::on(plane.store.clone());
    plane
        .publish("a", "after a restart", AtLeastOnce)
        .await
        .unwrap();
    let mut away = plane.durable("away").await;
    assert_eq!(away.sends(), ["2d z", "3d after a restart"]);
    plane.publish("a", "back", AtLeastOnce).await.unwrap();
    assert_eq!(away.sends(), ["4 back"]);
}
