//! Retained messages.

use super::super::PublishError;
use super::super::testing::{Plane, publication, subscription};
use crate::domain::policy::Access;
use crate::domain::publication::{
    QoS,
    QoS::{AtLeastOnce, AtMostOnce},
    RetainHandling,
};

/// What a new subscription of a client without durable session brings.
async fn on_subscribe(
    plane: &Plane,
    filter: &str,
    handling: RetainHandling,
    again: bool,
) -> Vec<String> {
    let client = plane.client("subscriber").await;
    let mut asked = subscription(filter, AtLeastOnce);
    asked.retain_handling = handling;
    if again {
        client.try_subscribe(asked.clone()).await.unwrap();
    }
    let granted = client.try_subscribe(asked).await.unwrap();
    let retained = granted.retained.iter();
    retained
        .map(|delivery| {
            assert!(delivery.retain);
            super::super::testing::text(delivery)
        })
        .collect()
}

#[actix::test]
async fn a_new_subscriber_gets_them_as_asked() {
    let plane = Plane::new();
    plane.retain("a/1", "one", AtMostOnce).await;
    plane.retain("a/2", "two", AtLeastOnce).await;
    plane.retain("a/2", "two again", AtLeastOnce).await;
    let both = ["one", "two again"];
    assert_eq!(
        on_subscribe(&plane, "a/+", RetainHandling::Always, false).await,
        both
    );
    assert_eq!(
        on_subscribe(&plane, "a/+", RetainHandling::Always, true).await,
        both
    );
    assert_eq!(
        on_subscribe(&plane, "a/+", RetainHandling::New, false).await,
        both
    );
    assert!(
        on_subscribe(&plane, "a/+", RetainHandling::New, true)
            .await
            .is_empty()
    );
    assert!(
        on_subscribe(&plane, "a/+", RetainHandling::Never, false)
            .await
            .is_empty()
    );
    assert!(
        on_subscribe(&plane, "$share/g/a/+", RetainHandling::Always, false)
            .await
            .is_empty()
    );
    plane.retain("a/1", "", AtMostOnce).await;
    assert_eq!(
        on_subscribe(&plane, "#", RetainHandling::Always, false).await,
        ["two again"]
    );
}

#[actix::test]
async fn they_are_there_after_a_restart() {
    let plane = Plane::new();
    plane.retain("a", "one", AtMostOnce).await;
    plane.retain("b", "two", AtLeastOnce).await;
    plane.retain("b", "", AtLeastOnce).await;
    let plane = Plane::on(plane.store.clone());
    assert_eq!(
        on_subscribe(&plane, "#", RetainHandling::Always, false).await,
        ["one"]
    );
}

#[actix::test]
async fn m15_not_when_the_publishers_right_was_taken_away() {
    let plane = Plane::new();
    plane.retain("a/revoked", "x", AtMostOnce).await;
    assert!(
        on_subscribe(&plane, "#", RetainHandling::Always, false)
            .await
            .is_empty()
    );
}

#[actix::test]
async fn a_durable_session_has_them_in_its_queue() {
    let plane = Plane::new();
    plane.retain("a", "kept", AtLeastOnce).await;
    let mut client = plane.durable("1").await;
    let granted = client.subscribe("a", AtLeastOnce).await;
    assert!(granted.retained.is_empty());
    assert_eq!(client.got(), ["kept 1r"]);
    assert_eq!(client.sends(), ["2 kept"]);
    client.drop_connection();
    let mut client = plane.durable("1").await;
    assert_eq!(client.sends(), ["2d kept"]);
}

#[actix::test]
async fn there_is_room_for_only_so_many() {
    let plane = Plane::new();
    for topic in ["a", "b", "c"] {
        plane.retain(topic, "x", AtMostOnce).await;
    }
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let mut more = publication("d", "x");
        (more.retain, more.qos) = (true, qos);
        let refused = plane.topics.publish(&Access::everything(), more);
        let refused = refused.outcome().await;
        assert!(
            matches!(refused, Err(PublishError::QuotaExceeded(_))),
            "{refused:?}"
        );
    }
}
