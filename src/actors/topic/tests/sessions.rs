//! Sessions that outlive their connections.

use std::time::Duration;

use super::super::double::Disk;
use super::super::testing::{Plane, pause, publication, subscription};
use super::super::{ConnectError, PublishError, Received, WillFate};
use crate::domain::policy::{
    Access, ActionPattern, Actions, Arn, Context, Document, Effect, Layer, Resources, Statement,
};
use crate::domain::publication::{
    Publisher, QoS,
    QoS::{AtLeastOnce, AtMostOnce, ExactlyOnce},
};
use crate::domain::{StoreError, Timestamp};

#[actix::test]
async fn what_comes_while_the_client_is_away_waits_for_it() {
    let plane = Plane::new();
    let client = plane.durable("1").await;
    assert!(!client.present);
    client.subscribe("a/#", AtLeastOnce).await;
    client.drop_connection();
    for number in 1..=4 {
        plane
            .publish("a/b", &number.to_string(), AtLeastOnce)
            .await
            .unwrap();
    }
    plane
        .publish("a/b", "nothing promised", AtMostOnce)
        .await
        .unwrap();
    let mut client = plane.durable("1").await;
    assert!(client.present);
    assert_eq!(
        client.sends(),
        ["2 1", "3 2", "4 3"],
        "no more than the window"
    );
    assert!(client.outgoing.acknowledged(2));
    assert_eq!(client.sends(), ["5 4"]);
    plane.publish("a/b", "live", AtLeastOnce).await.unwrap();
    assert!(client.sends().is_empty(), "the window is full");
    assert!(client.outgoing.acknowledged(4));
    assert_eq!(client.sends(), ["6 live"]);
    assert_eq!(plane.store.payloads("1"), ["2", "4", "live"]);
}

#[actix::test]
async fn what_was_not_acknowledged_comes_again_with_its_packet_id() {
    let plane = Plane::new();
    let mut client = plane.durable("1").await;
    client.subscribe("a", AtLeastOnce).await;
    for payload in ["x", "y"] {
        plane.publish("a", payload, AtLeastOnce).await.unwrap();
    }
    assert_eq!(client.sends(), ["2 x", "3 y"]);
    client.outgoing.acknowledged(2);
    client.drop_connection();
    plane.publish("a", "z", AtLeastOnce).await.unwrap();
    let mut client = plane.durable("1").await;
    assert_eq!(client.sends(), ["3d y", "4 z"]);
}

#[actix::test]
async fn after_a_restart_the_session_goes_on() {
    let plane = Plane::new();
    let mut client = plane.durable("1").await;
    client.subscribe("a", AtLeastOnce).await;
    client.subscribe("b", AtMostOnce).await;
    plane.publish("a", "x", AtLeastOnce).await.unwrap();
    assert_eq!(client.sends(), ["2 x"]);
    pause(5).await;
    let restarted = Plane::on(plane.store.clone());
    restarted.publish("a", "y", AtLeastOnce).await.unwrap();
    let mut client = restarted.durable("1").await;
    assert!(client.present);
    assert_eq!(
        client.sends(),
        ["2d x", "3d y"],
        "it is not known what was sent"
    );
    restarted.publish("b", "live", AtMostOnce).await.unwrap();
    assert_eq!(client.got(), ["live 0"]);
}

#[actix::test]
async fn what_the_client_has_hides_nothing_that_was_sent_before_a_restart() {
    let plane = Plane::new();
    let connect = async |plane: &Plane| {
        let narrow = |connect: &mut super::super::Connect| {
            connect.clean_start = false;
            connect.expiry = Some(Duration::from_secs(60));
            connect.window.in_flight = 2;
        };
        plane.connect("1", narrow).await.unwrap()
    };
    let mut client = connect(&plane).await;
    client.subscribe("a", ExactlyOnce).await;
    for payload in ["1", "2", "3", "4", "5"] {
        plane.publish("a", payload, ExactlyOnce).await.unwrap();
    }
    assert_eq!(client.sends(), ["2 1", "3 2"]);
    for id in [2, 3] {
        let Some(Received::Stored(stored)) = client.outgoing.received(id) else {
            panic!("a durable message");
        };
        stored.await.unwrap();
    }
    // That the first two are completed is not waited for, and is lost.
    plane.store.disk(Disk::Hangs);
    assert!((2..=3).all(|id| client.outgoing.completed(id)));
    assert_eq!(client.sends(), ["4 3", "5 4"]);
    plane.store.disk(Disk::Works);
    let restarted = Plane::on(plane.store.clone());
    let mut client = connect(&restarted).await;
    assert_eq!(client.sends(), ["2 release", "3 release"]);
    assert!((2..=3).all(|id| client.outgoing.completed(id)));
    assert_eq!(client.sends(), ["4d 3", "5d 4"]);
    assert!((4..=5).all(|id| client.outgoing.refused(id)));
    assert_eq!(client.sends(), ["6 5"], "no more than the window was sent");
}

#[actix::test]
async fn exactly_once_out_is_not_sent_again_once_received() {
    let plane = Plane::new();
    let mut client = plane.durable("1").await;
    client.subscribe("a", ExactlyOnce).await;
    plane.publish("a", "x", ExactlyOnce).await.unwrap();
    assert_eq!(client.sends(), ["2 x"]);
    let Some(Received::Stored(stored)) = client.outgoing.received(2) else {
        panic!("a durable message");
    };
    stored.await.unwrap();
    client.drop_connection();
    let mut client = plane.durable("1").await;
    assert_eq!(client.sends(), ["2 release"]);
    assert!(client.outgoing.completed(2));
    assert!(plane.store.payloads("1").is_empty());
}

#[actix::test]
async fn m27_exactly_once_in_is_published_once() {
    let plane = Plane::new();
    let mut watcher = plane.client("watcher").await;
    watcher.subscribe("a", ExactlyOnce).await;
    let send = |client: &super::super::testing::Client| {
        let mut publication = publication("a", "x");
        publication.qos = ExactlyOnce;
        client.attached().publish(publication, Some(7))
    };
    let client = plane.durable("1").await;
    send(&client).outcome().await.unwrap();
    client.drop_connection();
    let client = plane.durable("1").await;
    assert_eq!(client.packet_ids, [7]);
    send(&client).outcome().await.unwrap();
    assert_eq!(watcher.got(), ["x 2"]);
    client.attached().release(7).unwrap().await.unwrap();
    send(&client).outcome().await.unwrap();
    assert_eq!(watcher.got(), ["x 2"]);
}

#[actix::test]
async fn nothing_is_acknowledged_before_it_is_on_disk() {
    let plane = Plane::new();
    let mut client = plane.durable("1").await;
    client.subscribe("a", AtLeastOnce).await;
    plane.store.disk(Disk::Hangs);
    let publish = plane.publish("a", "x", AtLeastOnce);
    let early = tokio::time::timeout(Duration::from_millis(20), publish).await;
    assert!(early.is_err(), "it answered before the disk did");
    assert!(client.got().is_empty());
    plane.store.disk(Disk::Works);
    plane.publish("a", "y", AtLeastOnce).await.unwrap();
    assert_eq!(client.sends(), ["2 x", "3 y"]);
}

#[actix::test]
async fn a_full_disk_refuses_what_promises_something() {
    let plane = Plane::new();
    let mut client = plane.durable("1").await;
    client.subscribe("a", AtLeastOnce).await;
    plane.store.disk(Disk::Full);
    let refused = plane.publish("a", "x", AtLeastOnce).await;
    assert!(
        matches!(refused, Err(PublishError::Store(StoreError::Full(_)))),
        "{refused:?}"
    );
    plane.publish("a", "live", AtMostOnce).await.unwrap();
    assert_eq!(client.got(), ["live 0"]);
}

#[actix::test]
async fn a_full_queue_refuses_unless_others_have_room() {
    let plane = Plane::new();
    for id in ["1", "2"] {
        let client = plane.durable(id).await;
        client
            .subscribe(if id == "1" { "a" } else { "+" }, AtLeastOnce)
            .await;
        client.drop_connection();
    }
    for _ in 0..5 {
        plane.publish("b", "x", AtLeastOnce).await.unwrap();
    }
    let refused = plane.publish("b", "x", AtLeastOnce).await;
    assert!(
        matches!(refused, Err(PublishError::QuotaExceeded(_))),
        "{refused:?}"
    );
    plane.publish("a", "y", AtLeastOnce).await.unwrap();
    assert_eq!(plane.store.payloads("1"), ["y"]);
    assert_eq!(plane.store.payloads("2").len(), 5);
}

#[actix::test]
async fn a_clean_start_forgets_the_session() {
    let plane = Plane::new();
    let client = plane.durable("1").await;
    client.subscribe("a", AtLeastOnce).await;
    client.drop_connection();
    plane.publish("a", "x", AtLeastOnce).await.unwrap();
    let durable = |connect: &mut super::super::Connect| connect.expiry = None;
    let mut client = plane.connect("1", durable).await.unwrap();
    assert!(!client.present);
    plane.publish("a", "y", AtLeastOnce).await.unwrap();
    assert!(client.sends().is_empty());
    client.drop_connection();
    let client = plane.client("1").await;
    assert!(!client.present);
    client.say_goodbye();
    assert!(
        !plane.durable("1").await.present,
        "it ended with the clean connection"
    );
}

#[actix::test]
async fn a_session_ends_when_its_time_is_over() {
    let plane = Plane::new();
    let mut client = plane.durable("1").await;
    client.subscribe("a", AtLeastOnce).await;
    client.leave(WillFate::Discard, Some(Some(Duration::from_millis(20))));
    plane.topics.tick();
    plane.publish("a", "x", AtLeastOnce).await.unwrap();
    assert_eq!(plane.store.payloads("1"), ["x"]);
    pause(30).await;
    plane.topics.tick();
    assert!(plane.store.payloads("1").is_empty());
    assert!(!plane.durable("1").await.present);
    let mut client = plane.durable("2").await;
    client.leave(WillFate::Discard, Some(Some(Duration::from_millis(1))));
    pause(5).await;
    assert!(
        !plane.durable("2").await.present,
        "nobody ticked, it is over all the same"
    );
    let mut client = plane.durable("3").await;
    client.leave(WillFate::Discard, Some(Some(Duration::ZERO)));
    assert!(!plane.durable("3").await.present);
}

#[actix::test]
async fn what_has_expired_is_not_sent() {
    let plane = Plane::new();
    let mut client = plane.durable("1").await;
    client.subscribe("a", AtLeastOnce).await;
    let mut short = publication("a", "short");
    short.qos = AtLeastOnce;
    short.expires = Some(Timestamp(plane.topics.now().0 + 10_000));
    let everything = crate::domain::policy::Access::everything();
    plane
        .topics
        .publish(&everything, short)
        .outcome()
        .await
        .unwrap();
    client.got();
    pause(20).await;
    plane.publish("a", "long", AtLeastOnce).await.unwrap();
    assert_eq!(client.sends(), ["3 long"]);
}

/// Publishes what expires in a moment.
async fn publish_short(plane: &Plane, payload: &str, qos: QoS) {
    let mut short = publication("a", payload);
    (short.qos, short.expires) = (qos, Some(Timestamp(plane.topics.now().0 + 20_000)));
    let published = plane.topics.publish(&Access::everything(), short);
    published.outcome().await.unwrap();
}

#[actix::test]
async fn what_was_sent_is_sent_again_although_it_has_expired() {
    for restarts in [false, true] {
        let plane = Plane::new();
        let mut client = plane.durable("1").await;
        client.subscribe("a", ExactlyOnce).await;
        publish_short(&plane, "two", ExactlyOnce).await;
        publish_short(&plane, "one", AtLeastOnce).await;
        assert_eq!(client.sends(), ["2 two", "3 one"]);
        client.drop_connection();
        publish_short(&plane, "not sent", ExactlyOnce).await;
        pause(30).await;
        let plane = match restarts {
            true => Plane::on(plane.store.clone()),
            false => plane,
        };
        let mut client = plane.durable("1").await;
        assert_eq!(client.sends(), ["2d two", "3d one"], "restart: {restarts}");
        client.outgoing.received(2).unwrap();
        assert!(client.outgoing.completed(2) && client.outgoing.acknowledged(3));
        assert!(!plane.store.payloads("1").contains(&"two".to_owned()));
    }
}

#[actix::test]
async fn m16_what_a_client_may_not_receive_is_not_kept_for_it() {
    let plane = Plane::new();
    let statement = |effect, action, resource| Statement {
        sid: None,
        effect,
        actions: Actions::Only([ActionPattern::parse(action).unwrap()].into()),
        resources: Resources::Only([Arn::parse(resource).unwrap()].into()),
        conditions: Vec::new(),
    };
    let secret = "arn:aws:iot:*:*:topic/a/secret";
    let document = Document {
        name: "the policy".into(),
        statements: vec![
            statement(Effect::Allow, "iot:*", "*"),
            statement(Effect::Deny, "iot:Receive", secret),
        ],
    };
    let layer = Layer {
        documents: &[document.into()],
        grants: None,
    };
    let client = plane.connect("1", |connect| {
        connect.access = Access::of(&[layer], &Context::default());
        connect.expiry = None;
    });
    let client = client.await.unwrap();
    client.subscribe("a/#", AtLeastOnce).await;
    client.drop_connection();
    for topic in ["a/secret", "a/open"] {
        plane.publish(topic, topic, AtLeastOnce).await.unwrap();
    }
    assert_eq!(plane.store.payloads("1"), ["a/open"]);
}

#[actix::test]
async fn there_are_only_so_many_durable_sessions() {
    let plane = Plane::new();
    for id in ["1", "2", "3", "4", "1"] {
        plane.durable(id).await.drop_connection();
    }
    let durable = |connect: &mut super::super::Connect| connect.expiry = None;
    let refused = plane.connect("5", durable).await;
    assert!(matches!(refused, Err(ConnectError::TooManySessions)));
    plane.client("5").await;
    plane.client("1").await;
    plane.durable("5").await;
}

#[actix::test]
async fn no_local_holds_for_queues_too() {
    let plane = Plane::new();
    let mut client = plane.durable("1").await;
    let mut asked = subscription("a", AtLeastOnce);
    asked.no_local = true;
    client.try_subscribe(asked).await.unwrap();
    let mut own = publication("a", "own");
    own.qos = AtLeastOnce;
    own.publisher = Some(Publisher {
        client: Some(client.attached().client().clone()),
        principal: "owner".into(),
    });
    let published = client.attached().publish(own, None);
    published.outcome().await.unwrap();
    assert!(client.sends().is_empty());
    assert!(plane.store.payloads("1").is_empty());
}

#[actix::test]
async fn what_was_refused_may_be_sent_again_with_its_packet_id() {
    let plane = Plane::new();
    let away = plane.durable("away").await;
    away.subscribe("a", AtLeastOnce).await;
    away.say_goodbye();
    for _ in 0..5 {
        plane.publish("a", "x", AtLeastOnce).await.unwrap();
    }
    let sender = plane.durable("sender").await;
    let send = || {
        let mut publication = publication("a", "y");
        publication.qos = ExactlyOnce;
        sender.attached().publish(publication, Some(7)).outcome()
    };
    let full = PublishError::QuotaExceeded("messages in the session's queue");
    assert_eq!(send().await, Err(full.clone()));
    assert_eq!(send().await, Err(full), "it is not taken for a repetition");
}

#[actix::test]
async fn what_waited_but_was_not_sent_is_no_duplicate() {
    let plane = Plane::new();
    let mut client = plane.durable("1").await;
    client.subscribe("a", AtLeastOnce).await;
    for payload in ["x", "y", "z"] {
        plane.publish("a", payload, AtLeastOnce).await.unwrap();
    }
    client.got();
    assert!(client.outgoing.next_sending().unwrap().is_some());
    client.drop_connection();
    let mut client = plane.durable("1").await;
    assert_eq!(client.sends(), ["2d x", "3 y", "4 z"]);
}
