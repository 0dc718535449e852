//! Wills.

use std::time::Duration;

use super::super::testing::{Client, Plane, pause, will};
use super::super::{Connect, ConnectError, WillFate};
use crate::domain::publication::QoS::AtMostOnce;

const LONG: Duration = Duration::from_secs(60);

async fn watcher(plane: &Plane) -> Client {
    let watcher = plane.client("watcher").await;
    watcher.subscribe("will/#", AtMostOnce).await;
    watcher
}

fn with_will(delay: Duration, expiry: Duration) -> impl FnOnce(&mut Connect) {
    move |connect| {
        connect.clean_start = false;
        connect.expiry = Some(expiry);
        connect.will = Some(will("will/1", "gone", delay));
    }
}

#[actix::test]
async fn a_will_follows_a_connection_that_breaks_and_no_other() {
    let plane = Plane::new();
    let mut watcher = watcher(&plane).await;
    let client = plane
        .connect("1", with_will(Duration::ZERO, Duration::ZERO))
        .await;
    client.unwrap().say_goodbye();
    assert!(watcher.got().is_empty());
    for expiry in [Duration::ZERO, LONG] {
        let client = plane.connect("1", with_will(Duration::ZERO, expiry)).await;
        client.unwrap().drop_connection();
        assert_eq!(watcher.got(), ["gone 0"]);
    }
}

#[actix::test]
async fn a_delayed_will_waits_and_is_taken_back() {
    let plane = Plane::new();
    let mut watcher = watcher(&plane).await;
    let delay = Duration::from_millis(30);
    let client = plane.connect("1", with_will(delay, LONG)).await.unwrap();
    client.drop_connection();
    let client = plane.connect("1", with_will(delay, LONG)).await.unwrap();
    pause(40).await;
    plane.topics.tick();
    assert!(watcher.got().is_empty(), "the client was back in time");
    client.drop_connection();
    plane.topics.tick();
    assert!(watcher.got().is_empty());
    pause(40).await;
    plane.topics.tick();
    plane.topics.tick();
    assert_eq!(watcher.got(), ["gone 0"]);
}

#[actix::test]
async fn the_end_of_the_session_is_the_wills_latest_time() {
    let plane = Plane::new();
    let mut watcher = watcher(&plane).await;
    let mut client = plane.connect("1", with_will(LONG, LONG)).await.unwrap();
    client.leave(WillFate::Publish, Some(Some(Duration::from_millis(10))));
    pause(20).await;
    plane.topics.tick();
    assert_eq!(watcher.got(), ["gone 0"]);
    let client = plane.connect("1", with_will(LONG, LONG)).await.unwrap();
    client.drop_connection();
    plane.client("1").await;
    assert_eq!(watcher.got(), ["gone 0"], "a clean start ends the session");
}

#[actix::test]
async fn a_will_outlives_the_process() {
    let plane = Plane::new();
    let client = plane
        .connect("1", with_will(Duration::from_millis(10), LONG))
        .await;
    let client = client.unwrap();
    let plane = Plane::on(plane.store.clone());
    let mut watcher = watcher(&plane).await;
    pause(20).await;
    plane.topics.tick();
    assert_eq!(watcher.got(), ["gone 0"]);
    drop(client);
}

#[actix::test]
async fn m13_a_will_needs_a_topic_of_clients() {
    let plane = Plane::new();
    for topic in ["$SYS/x", "sessions/q"] {
        let refused = plane
            .connect("1", |connect| connect.will = Some(will(topic, "x", LONG)))
            .await;
        assert!(
            matches!(refused, Err(ConnectError::WillTopicReserved)),
            "{topic}"
        );
    }
    assert_eq!(plane.topics.connections(), 0);
}

#[actix::test]
async fn m15_a_will_is_not_published_when_the_right_was_taken_away() {
    let plane = Plane::new();
    let mut watcher = watcher(&plane).await;
    let revoked = |connect: &mut Connect| {
        connect.will = Some(will("will/revoked", "x", Duration::ZERO));
    };
    plane.connect("1", revoked).await.unwrap().drop_connection();
    assert!(watcher.got().is_empty());
}
