//! Retained messages.

use super::super::PublishError;
use super::super::double::Disk;
use super::super::testing::{Plane, pause, publication, subscription};
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

#[actix::test]
async fn memory_and_disk_agree_in_the_end_whoever_was_first() {
    let plane = Plane::new();
    plane.store.disk(Disk::Hangs);
    let publish = |payload: &str, qos| {
        let mut kept = publication("a", payload);
        (kept.retain, kept.qos) = (true, qos);
        plane.topics.publish(&Access::everything(), kept)
    };
    // The last on disk is the one that promises nothing, and it is seen before.
    let promised = publish("promised", AtLeastOnce);
    let unpromised = publish("unpromised", AtMostOnce);
    unpromised.outcome().await.unwrap();
    let seen = |plane: &Plane| {
        let (found, _) = plane.topics.retained(&publication("a", "").topic).unwrap();
        String::from_utf8(found.payload.to_vec()).unwrap()
    };
    assert_eq!(seen(&plane), "unpromised");
    plane.store.disk(Disk::Works);
    promised.outcome().await.unwrap();
    pause(5).await;
    assert_eq!(seen(&plane), "unpromised");
    assert_eq!(seen(&Plane::on(plane.store.clone())), "unpromised");
    // What a full disk does not take is not seen in the end, either.
    plane.store.disk(Disk::Full);
    publish("lost", AtMostOnce).outcome().await.unwrap();
    assert_eq!(seen(&plane), "lost");
    pause(5).await;
    assert_eq!(seen(&plane), "unpromised");
}

#[actix::test]
async fn whoever_published_and_went_away_is_seen_all_the_same() {
    let plane = Plane::new();
    plane.store.disk(Disk::Hangs);
    let mut kept = publication("a", "x");
    (kept.retain, kept.qos) = (true, AtLeastOnce);
    drop(plane.topics.publish(&Access::everything(), kept));
    plane.store.disk(Disk::Works);
    pause(5).await;
    assert!(plane.topics.retained(&publication("a", "").topic).is_some());
}

#[actix::test]
async fn a_durable_session_gets_what_is_on_its_way_to_the_disk_once() {
    for subscribes_first in [true, false] {
        let plane = Plane::new();
        let mut client = plane.durable("1").await;
        plane.store.disk(Disk::Hangs);
        let publish = plane.retain("a", "x", AtLeastOnce);
        let subscribe = client.subscribe("a", AtLeastOnce);
        let let_go = async {
            pause(5).await;
            plane.store.disk(Disk::Works);
        };
        if subscribes_first {
            // What is published is known to be on disk before the subscription is.
            tokio::pin!(subscribe);
            assert!(futures_util::poll!(&mut subscribe).is_pending());
            tokio::join!(publish, subscribe, let_go);
        } else {
            // It was routed before there was a subscription, and the subscription is on disk first.
            tokio::pin!(publish);
            assert!(futures_util::poll!(&mut publish).is_pending());
            tokio::join!(subscribe, publish, let_go);
        }
        assert_eq!(client.sends(), ["2 x"], "first: {subscribes_first}");
    }
}

#[actix::test]
async fn a_subscription_just_after_gets_what_was_retained_once_on_another_worker() {
    let plane = Plane::new();
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let (go, went) = std::sync::mpsc::channel();
    let (told, hear) = std::sync::mpsc::channel();
    let other = plane.elsewhere(async move |plane| {
        let mut client = plane.client("far").await;
        // So that the worker is one to which publications are sent.
        client.subscribe("other", AtMostOnce).await;
        ready.send(()).unwrap();
        for qos in [AtMostOnce, AtLeastOnce] {
            went.recv().unwrap();
            let mut asked = subscription("+", qos);
            asked.retain_handling = RetainHandling::Always;
            let granted = client.try_subscribe(asked).await.unwrap();
            told.send(granted.retained.len()).unwrap();
            pause(50).await;
            told.send(client.got().len()).unwrap();
            let filter = subscription("+", qos).filter;
            client.attached().unsubscribe(&[filter]).await.unwrap();
        }
    });
    is_ready.await.unwrap();
    for qos in [AtMostOnce, AtLeastOnce] {
        plane.retain("a", "x", qos).await;
        // This worker does nothing more, so that the publication is still here when the other subscribes.
        go.send(()).unwrap();
        assert_eq!(hear.recv().unwrap(), 1, "the retained message");
        pause(100).await;
        assert_eq!(hear.recv().unwrap(), 0, "not once more");
    }
    other.stop();
}
