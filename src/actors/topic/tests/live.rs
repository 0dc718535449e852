//! Connections without sessions that outlive them.

use std::sync::mpsc;

use super::super::double::Disk;
use super::super::testing::{Plane, pause, publication, subscription};
use super::super::{Closing, ConnectError, PublishError, SubscribeError};
use crate::config::limits;
use crate::domain::policy::Access;
use crate::domain::publication::QoS::{AtLeastOnce, AtMostOnce, ExactlyOnce};

#[actix::test]
async fn a_publication_reaches_whoever_subscribes_its_publisher_too() {
    let plane = Plane::new();
    let (mut one, mut two) = (plane.client("1").await, plane.client("2").await);
    one.subscribe("game/#", AtMostOnce).await;
    two.subscribe("game/+/x", AtLeastOnce).await;
    one.publish("game/7/x", "a").await;
    one.publish("game", "b").await;
    one.publish("other", "c").await;
    assert_eq!(one.got(), ["a 0", "b 0"]);
    assert_eq!(two.got(), ["a 0"]);
    plane.publish("game/7/x", "d", ExactlyOnce).await.unwrap();
    assert_eq!(one.got(), ["d 0"]);
    assert_eq!(two.got(), ["d 1"]);
}

#[actix::test]
async fn one_copy_whatever_matches() {
    let plane = Plane::new();
    let mut client = plane.client("1").await;
    for (filter, qos, id) in [
        ("a/b", AtMostOnce, Some(1)),
        ("a/+", ExactlyOnce, None),
        ("#", AtLeastOnce, Some(9)),
    ] {
        let mut asked = subscription(filter, qos);
        asked.id = id;
        client.try_subscribe(asked).await.unwrap();
    }
    plane.publish("a/b", "x", ExactlyOnce).await.unwrap();
    assert_eq!(client.got(), ["x 2 1,9"]);
    // The same filter again replaces the subscription.
    client.subscribe("#", AtMostOnce).await;
    client
        .attached()
        .unsubscribe(&[subscription("a/+", AtMostOnce).filter])
        .await
        .unwrap();
    plane.publish("a/b", "y", ExactlyOnce).await.unwrap();
    assert_eq!(client.got(), ["y 0 1"]);
}

#[actix::test]
async fn unsubscribing_says_what_was_there() {
    let plane = Plane::new();
    let mut client = plane.client("1").await;
    client.subscribe("a", AtMostOnce).await;
    let filters = ["a", "b"].map(|text| subscription(text, AtMostOnce).filter);
    let gone = client.attached().unsubscribe(&filters).await.unwrap();
    assert_eq!(gone, [true, false]);
    plane.publish("a", "x", AtMostOnce).await.unwrap();
    assert!(client.got().is_empty());
}

#[actix::test]
async fn no_local_is_for_the_clients_own() {
    let plane = Plane::new();
    let (mut one, two) = (plane.client("1").await, plane.client("2").await);
    let mut asked = subscription("a", AtMostOnce);
    asked.no_local = true;
    one.try_subscribe(asked).await.unwrap();
    one.publish("a", "own").await;
    two.publish("a", "other").await;
    assert_eq!(one.got(), ["other 0"]);
    one.subscribe("+", AtMostOnce).await;
    one.publish("a", "own by another filter").await;
    assert_eq!(one.got(), ["own by another filter 0"]);
}

#[actix::test]
async fn the_retain_flag_is_as_asked_for() {
    let plane = Plane::new();
    let mut client = plane.client("1").await;
    client.subscribe("a", AtMostOnce).await;
    let mut asked = subscription("b", AtMostOnce);
    asked.retain_as_published = true;
    client.try_subscribe(asked).await.unwrap();
    plane.retain("a", "1", AtMostOnce).await;
    plane.retain("b", "2", AtMostOnce).await;
    assert_eq!(client.got(), ["1 0", "2 0r"]);
}

#[actix::test]
async fn other_workers_get_it_in_order() {
    let plane = Plane::new();
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let (seen, see) = mpsc::channel();
    let other = plane.elsewhere(async move |plane| {
        let mut client = plane.client("far").await;
        client.subscribe("a", AtLeastOnce).await;
        ready.send(()).unwrap();
        for _ in 0..500 {
            pause(2).await;
            for text in client.got() {
                seen.send(text).unwrap();
            }
        }
    });
    is_ready.await.unwrap();
    for number in 0..100 {
        let qos = if number % 2 == 0 {
            AtMostOnce
        } else {
            AtLeastOnce
        };
        plane.publish("a", &number.to_string(), qos).await.unwrap();
    }
    for number in 0..100 {
        let text = loop {
            match see.try_recv() {
                Ok(text) => break text,
                Err(_) => pause(2).await,
            }
        };
        assert_eq!(text, format!("{number} {}", number % 2));
    }
    other.stop();
}

#[actix::test]
async fn what_waits_for_a_worker_that_stands_still_comes_in_order() {
    let plane = Plane::new();
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let (go, went) = mpsc::channel::<()>();
    let (told, hear) = mpsc::channel();
    let other = plane.elsewhere(async move |plane| {
        let client = plane.client("far").await;
        client.subscribe("a", AtLeastOnce).await;
        client.subscribe("$share/g/a", AtLeastOnce).await;
        ready.send(()).unwrap();
        went.recv().unwrap();
        loop {
            pause(1).await;
            let came = client.link.deliveries.take();
            let text = |delivery| super::super::testing::text(delivery);
            told.send(came.iter().map(text).collect::<Vec<_>>())
                .unwrap();
        }
    });
    is_ready.await.unwrap();
    let mut hear_all = Vec::new();
    let most = limits::TOPIC_MAILBOX;
    for number in 0..2 * most {
        if number == most + 10 {
            let doomed = plane.publish("a", "dropped", AtMostOnce);
            doomed.await.unwrap();
        }
        let payload = number.to_string();
        plane.publish("a", &payload, AtLeastOnce).await.unwrap();
        // Each in a turn of its own; the second half while the other worker takes from its mailbox.
        pause_a_turn().await;
        if number == most + most / 2 {
            go.send(()).unwrap();
        }
    }
    let begun = std::time::Instant::now();
    while hear_all.len() < 4 * most {
        match hear.try_recv() {
            Ok(came) => hear_all.extend::<Vec<String>>(came),
            Err(_) => pause(1).await,
        }
        let waited = begun.elapsed();
        assert!(waited.as_secs() < 30, "{} came", hear_all.len());
    }
    // Once by the subscription and once by the group, each in order.
    let mut seen = std::collections::HashMap::new();
    let mut last = [None; 2];
    for text in hear_all {
        let number: usize = text.parse().expect("what promises nothing was dropped");
        let times = seen.entry(number).or_insert(0);
        assert!(last[*times] < Some(number), "{number} came late");
        last[*times] = Some(number);
        *times += 1;
    }
    other.stop();
}

/// Lets everything else on this thread have its turn.
async fn pause_a_turn() {
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
}

#[actix::test]
async fn m02_the_same_principal_takes_over() {
    let plane = Plane::new();
    let old = plane.client("1").await;
    old.subscribe("a", AtMostOnce).await;
    let mut new = plane.client("1").await;
    assert_eq!(old.link.closed.get(), Some(Closing::TakenOver));
    new.subscribe("a", AtMostOnce).await;
    plane.publish("a", "x", AtMostOnce).await.unwrap();
    assert_eq!(new.got(), ["x 0"]);
    assert!(old.link.deliveries.borrow().is_empty());
    assert_eq!(plane.topics.connections(), 1);
    new.say_goodbye();
    assert_eq!(plane.topics.connections(), 0);
}

#[actix::test]
async fn m01_another_principal_does_not() {
    let plane = Plane::new();
    let victim = plane.client("1").await;
    let refused = plane
        .connect("1", |connect| connect.principal = "thief".into())
        .await;
    assert!(matches!(refused, Err(ConnectError::NotYours)));
    assert_eq!(victim.link.closed.get(), None);
    drop(plane.durable("2").await);
    let refused = plane
        .connect("2", |connect| connect.principal = "thief".into())
        .await;
    assert!(
        matches!(refused, Err(ConnectError::NotYours)),
        "offline too"
    );
}

#[actix::test]
async fn m03_a_hundred_take_overs_leave_one() {
    let plane = Plane::new();
    let mut watcher = plane.client("watcher").await;
    watcher.subscribe("will", AtMostOnce).await;
    let connects = (0..100).map(|_| {
        plane.connect("1", |connect| {
            connect.will = Some(super::super::testing::will(
                "will",
                "w",
                std::time::Duration::ZERO,
            ));
        })
    });
    let clients = futures_util::future::join_all(connects).await;
    let open = clients
        .iter()
        .filter(|client| client.as_ref().unwrap().link.closed.get().is_none())
        .count();
    assert_eq!(open, 1);
    pause(5).await;
    assert_eq!(watcher.got().len(), 99, "each that was taken over, once");
    assert_eq!(plane.topics.connections(), 2);
}

#[actix::test]
async fn m09_the_servers_own_topics_are_not_for_clients() {
    let plane = Plane::new();
    let client = plane.client("1").await;
    for filter in ["$SYS/#", "$CONTROL/x", "$aws/things/#", "$share/g/$SYS/#"] {
        let refused = client.try_subscribe(subscription(filter, AtMostOnce)).await;
        assert_eq!(refused.unwrap_err(), SubscribeError::Reserved, "{filter}");
    }
    for topic in ["$SYS/x", "$aws/events/presence/connected/1", "sessions/q"] {
        let published = plane
            .topics
            .publish(&Access::everything(), publication(topic, "x"));
        assert_eq!(
            published.outcome().await,
            Err(PublishError::Reserved),
            "{topic}"
        );
    }
}

#[actix::test]
async fn a_client_has_only_so_many_subscriptions() {
    let plane = Plane::new();
    let client = plane.client("1").await;
    for filter in ["a", "b", "c", "d", "a"] {
        client.subscribe(filter, AtMostOnce).await;
    }
    let refused = client.try_subscribe(subscription("e", AtMostOnce)).await;
    assert_eq!(refused.unwrap_err(), SubscribeError::TooMany);
    client
        .attached()
        .unsubscribe(&[subscription("a", AtMostOnce).filter])
        .await
        .unwrap();
    client.subscribe("e", AtMostOnce).await;
}

#[actix::test]
async fn lifecycle_events_are_announced() {
    let plane = Plane::new();
    let mut watcher = plane.client("watcher").await;
    watcher.subscribe("$aws/events/#", AtMostOnce).await;
    watcher.got();
    let client = plane.client("c").await;
    client.subscribe("a/+", AtMostOnce).await;
    client
        .attached()
        .unsubscribe(&[subscription("a/+", AtMostOnce).filter])
        .await
        .unwrap();
    client.say_goodbye();
    let deliveries = watcher.link.deliveries.take();
    let seen: Vec<(String, serde_json::Value)> = deliveries
        .iter()
        .map(|delivery| {
            let publication = &delivery.fan.publication;
            let event = serde_json::from_slice(&publication.payload).unwrap();
            (publication.topic.as_str().to_owned(), event)
        })
        .collect();
    let topics: Vec<&str> = seen.iter().map(|(topic, _)| topic.as_str()).collect();
    assert_eq!(
        topics,
        [
            "$aws/events/presence/connected/c",
            "$aws/events/subscriptions/subscribed/c",
            "$aws/events/subscriptions/unsubscribed/c",
            "$aws/events/presence/disconnected/c",
        ]
    );
    assert_eq!(seen[0].1["principalIdentifier"], "owner");
    assert_eq!(seen[1].1["topics"], serde_json::json!(["a/+"]));
    assert_eq!(seen[3].1["clientInitiatedDisconnect"], true);
}

#[actix::test]
async fn a_publishers_messages_stay_in_order_when_some_wait_for_the_disk() {
    let plane = Plane::new();
    let mut live = plane.client("live").await;
    live.subscribe("a", AtMostOnce).await;
    let sender = plane.client("sender").await;
    let publish = |payload: &str, retain: bool| {
        let mut publication = publication("a", payload);
        (publication.retain, publication.qos) = (retain, AtLeastOnce);
        sender.attached().publish(publication, None)
    };
    plane.store.disk(Disk::Hangs);
    let first = publish("1", true);
    let second = publish("2", false);
    assert!(live.got().is_empty(), "the second overtook the first");
    assert_eq!(sender.attached().behind(), 2);
    plane.store.disk(Disk::Works);
    first.outcome().await.unwrap();
    second.outcome().await.unwrap();
    assert_eq!(live.got(), ["1 0", "2 0"]);
    assert_eq!(sender.attached().behind(), 0);
}
