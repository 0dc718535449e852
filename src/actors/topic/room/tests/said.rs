//! What is said: numbers, the disk before anybody, recovery.

use std::collections::HashMap;
use std::sync::mpsc;

use super::super::super::Sending;
use super::super::super::double::Disk;
use super::*;
use crate::domain::publication::Subscription;
use crate::domain::room::{Epoch, Place};

fn since(epoch: &str, offset: u64) -> Recover {
    let epoch = Epoch::parse(epoch).unwrap();
    Recover {
        since: Some(Place { epoch, offset }),
        last: 0,
    }
}

#[actix::test]
async fn what_is_said_is_numbered_and_recovered() {
    let plane = Plane::new();
    let (one, two) = (plane.client("1").await, plane.client("2").await);
    one.subscribe("chat/a", AtLeastOnce).await;
    for (payload, qos) in [("a", AtMostOnce), ("b", AtLeastOnce), ("c", AtLeastOnce)] {
        two.send("chat/a", payload, qos).await.unwrap();
    }
    assert_eq!(one.came(), ["chat/a 1 a", "chat/a 2 b", "chat/a 3 c"]);
    two.recover("chat/a", LAST).await;
    let came = two.came();
    let answer: Value =
        serde_json::from_str(came[0].strip_prefix("$room/recovery/chat/a ").unwrap()).unwrap();
    let epoch = answer["epoch"].as_str().unwrap();
    let expected = json!({
        "recovered": false, "reason": "new", "replayed": 3, "epoch": epoch, "offset": 3
    });
    assert_eq!(answer, expected);
    assert_eq!(came[1..], ["chat/a 1 a", "chat/a 2 b", "chat/a 3 c"]);
    one.recover("chat/a", since(epoch, 1)).await;
    let came = one.came();
    assert!(
        came[0].contains("\"recovered\":true") && came[0].contains("\"missed\":2"),
        "{came:?}"
    );
    assert_eq!(came[1..], ["chat/a 2 b", "chat/a 3 c"]);
    // What comes next comes live, once.
    one.send("chat/a", "d", AtLeastOnce).await.unwrap();
    assert_eq!(one.came(), ["chat/a 4 d"]);
    assert_eq!(two.came(), ["chat/a 4 d"]);
    for _ in 0..4 {
        one.send("chat/a", "e", AtMostOnce).await.unwrap();
    }
    one.came();
    one.recover("chat/a", since(epoch, 2)).await;
    assert!(one.came()[0].contains("\"reason\":\"too-old\""));
    one.recover("chat/a", since("0000000000000000", 8)).await;
    assert!(one.came()[0].contains("\"reason\":\"epoch\""));
    one.recover("chat/a", since(epoch, 9)).await;
    assert!(one.came()[0].contains("\"reason\":\"ahead\""));
    one.recover("other", since(epoch, 9)).await;
    assert!(one.came()[0].contains("\"reason\":\"no-history\""));
    plane.publish("other", "x", AtMostOnce).await.unwrap();
    assert_eq!(one.came(), ["other x"]);
}

#[actix::test]
async fn nothing_is_shown_before_it_is_on_disk_and_a_recovery_meets_it_once() {
    let plane = Plane::new();
    let (one, two) = (plane.client("1").await, plane.client("2").await);
    one.subscribe("chat/a", AtMostOnce).await;
    plane.publish("chat/a", "a", AtMostOnce).await.unwrap();
    plane.store.disk(Disk::Hangs);
    let topics = plane.topics.clone();
    let saying = publication("chat/a", "b");
    let said = actix::spawn(topics.publish(&Access::everything(), saying).outcome());
    pause(5).await;
    assert_eq!(one.came(), ["chat/a 1 a"]);
    // It is in the store, and will come live.
    two.recover("chat/a", LAST).await;
    let came = two.came();
    assert!(came[0].contains("\"offset\":1"), "{came:?}");
    assert_eq!(came[1..], ["chat/a 1 a"]);
    plane.store.disk(Disk::Works);
    said.await.unwrap().unwrap();
    assert_eq!(one.came(), ["chat/a 2 b"]);
    assert_eq!(two.came(), ["chat/a 2 b"]);
    plane.store.disk(Disk::Full);
    let refused = plane.publish("chat/a", "c", AtLeastOnce).await;
    assert!(
        matches!(refused, Err(PublishError::Store(_))),
        "{refused:?}"
    );
    plane.store.disk(Disk::Works);
    plane.publish("chat/a", "d", AtLeastOnce).await.unwrap();
    assert_eq!(one.came(), ["chat/a 3 d"]);
}

#[actix::test]
async fn whoever_wants_nothing_of_its_own_has_not_missed_it() {
    let plane = Plane::new();
    let (one, two) = (plane.client("1").await, plane.client("2").await);
    one.send("chat/a", "mine", AtLeastOnce).await.unwrap();
    two.send("chat/a", "yours", AtLeastOnce).await.unwrap();
    let asked = Subscription {
        no_local: true,
        ..subscription("chat/a", AtLeastOnce)
    };
    let attached = one.attached();
    let granted = attached.subscribe_since(vec![asked], Some(LAST)).await;
    assert!(granted[0].is_ok());
    pause(5).await;
    let came = one.came();
    assert!(came[0].contains("\"replayed\":1"), "{came:?}");
    assert_eq!(came[1..], ["chat/a 2 yours"]);
}

#[actix::test]
async fn how_long_something_is_kept_is_not_its_publishers_to_say() {
    let plane = Plane::new();
    let client = plane.client("1").await;
    let mut said = publication("chat/a", "x");
    said.expires = Some(plane.topics.now().plus(Duration::from_millis(20)));
    let saying = plane.topics.publish(&Access::everything(), said);
    saying.outcome().await.unwrap();
    pause(30).await;
    client.recover("chat/a", LAST).await;
    let replayed = client.link.deliveries.borrow()[1].fan.publication.clone();
    assert_eq!((&replayed.payload[..], replayed.expires), (&b"x"[..], None));
}

#[actix::test]
async fn offsets_go_on_after_a_restart() {
    let plane = Plane::new();
    plane.publish("chat/a", "a", AtMostOnce).await.unwrap();
    let plane = Plane::on(plane.store.clone());
    let client = plane.client("1").await;
    client.recover("chat/a", LAST).await;
    assert_eq!(client.came()[1..], ["chat/a 1 a"]);
    plane.publish("chat/a", "b", AtMostOnce).await.unwrap();
    assert_eq!(client.came(), ["chat/a 2 b"]);
}

#[actix::test]
async fn a_durable_session_gets_the_numbers_from_its_queue() {
    let plane = Plane::new();
    let client = plane.durable("1").await;
    client.subscribe("chat/a", AtLeastOnce).await;
    client.drop_connection();
    plane.publish("chat/a", "a", AtLeastOnce).await.unwrap();
    let mut client = plane.durable("1").await;
    let sent = client.outgoing.next_sending().unwrap();
    let Some(Sending::Publish { delivery, .. }) = sent else {
        panic!("nothing in the queue");
    };
    let properties = delivery.fan.publication.properties.as_ref().unwrap();
    let names: Vec<&str> = properties.user.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["epoch", "offset", "ts"]);
}

#[actix::test]
async fn a_recovery_on_another_worker_has_no_gap_and_no_repeat() {
    const ROOMS: u64 = 8;
    const SAID: u64 = 300;
    let plane = Plane::new();
    // This worker's shard is there before the other's, so that rooms are spread over both.
    let _here = plane.client("here").await;
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let (seen, see) = mpsc::channel::<(String, u64)>();
    let other = plane.elsewhere(async move |plane| {
        let client = plane.client("far").await;
        ready.send(()).unwrap();
        for round in 0..2000_u64 {
            pause(1).await;
            // Every room is recovered again and again while it is spoken in.
            if round < 4 {
                let room = format!("long/{round}");
                client
                    .recover(
                        &room,
                        Recover {
                            since: None,
                            last: 1000,
                        },
                    )
                    .await;
            }
            for one in client.came() {
                let mut words = one.split(' ');
                let topic = words.next().unwrap().to_owned();
                if let (false, Some(Ok(offset))) =
                    (topic.starts_with('$'), words.next().map(str::parse))
                {
                    seen.send((topic, offset)).unwrap();
                }
            }
        }
    });
    is_ready.await.unwrap();
    for number in 0..SAID * ROOMS {
        let room = format!("long/{}", number % ROOMS);
        plane.publish(&room, "x", AtMostOnce).await.unwrap();
    }
    pause(200).await;
    let mut last: HashMap<String, u64> = HashMap::new();
    while let Ok((room, offset)) = see.recv_timeout(Duration::from_millis(500)) {
        let before = last.insert(room.clone(), offset).unwrap_or(0);
        assert_eq!(offset, before + 1, "{room}");
    }
    assert_eq!(last.len(), 4);
    assert!(last.values().all(|last| *last == SAID), "{last:?}");
    other.stop();
}
