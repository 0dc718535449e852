//! A session's topic: the same queue by another way.

use std::sync::Arc;
use std::time::Duration;

use super::super::SubscribeError;
use super::super::testing::{Plane, pause, subscription};
use crate::actors::queue::messages::{Outgoing, Receive, Send};
use crate::config::limits::INBOX_MESSAGES;
use crate::domain::QueueName;
use crate::domain::publication::QoS::{AtLeastOnce, AtMostOnce};
use crate::domain::queue::{QueueAttributes, QueueRecord, Transport};

async fn queue(plane: &Plane) -> QueueRecord {
    let name = QueueName::parse("q").unwrap();
    let created = plane
        .queues
        .create(name, QueueAttributes::default(), &[], Default::default());
    created.await.unwrap()
}

async fn send(plane: &Plane, queue: &QueueRecord, body: &str) {
    let outgoing = Outgoing {
        body: body.to_owned().into(),
        delay: None,
        attributes: Arc::new([]),
        group: None,
        dedup: None,
        trace_header: None,
        sender: "me".into(),
    };
    let send = Send {
        entries: vec![outgoing],
    };
    let mut sent = plane.queues.send(queue, send).await.unwrap();
    sent.remove(0).unwrap();
}

/// What a poll brings at once, or within a second.
async fn poll(plane: &Plane, queue: &QueueRecord, wait: bool) -> Vec<String> {
    let receive = Receive {
        max: 10,
        wait: Some(Duration::from_secs(u64::from(wait))),
        visibility: None,
        attempt: None,
        via: Transport::Sqs,
    };
    let received = plane.queues.receive(queue, receive).await.unwrap();
    received
        .iter()
        .map(|message| String::from_utf8(message.body.to_vec()).unwrap())
        .collect()
}

#[actix::test]
async fn pending_and_live_messages_come_and_an_acknowledgement_deletes() {
    let plane = Plane::new();
    let queue = queue(&plane).await;
    send(&plane, &queue, "pending").await;
    let mut client = plane.client("1").await;
    client.subscribe("sessions/q", AtLeastOnce).await;
    client.subscribe("sessions/q", AtLeastOnce).await;
    pause(20).await;
    let first = client.sends();
    assert_eq!(first.len(), 1, "{first:?}");
    assert!(first[0].ends_with(" pending"));
    send(&plane, &queue, "live").await;
    pause(20).await;
    let second = client.sends();
    assert!(second[0].ends_with(" live"), "{second:?}");
    let id = first[0].split(' ').next().unwrap().parse().unwrap();
    assert!(client.outgoing.acknowledged(id));
    pause(20).await;
    assert!(
        poll(&plane, &queue, false).await.is_empty(),
        "one is out, one is gone"
    );
    client.say_goodbye();
    assert_eq!(poll(&plane, &queue, true).await, ["live"]);
}

#[actix::test]
async fn quality_of_service_0_deletes_at_once() {
    let plane = Plane::new();
    let queue = queue(&plane).await;
    let mut client = plane.client("1").await;
    client.subscribe("sessions/q", AtMostOnce).await;
    send(&plane, &queue, "x").await;
    pause(20).await;
    assert_eq!(client.got(), ["x 0"]);
    client.drop_connection();
    assert!(poll(&plane, &queue, true).await.is_empty());
}

#[actix::test]
async fn a_topic_of_no_session_is_refused() {
    let plane = Plane::new();
    let client = plane.client("1").await;
    let refused = client
        .try_subscribe(subscription("sessions/none", AtMostOnce))
        .await;
    assert_eq!(refused.unwrap_err(), SubscribeError::Reserved);
    let refused = client
        .try_subscribe(subscription("$share/g/sessions/q", AtMostOnce))
        .await;
    assert_eq!(refused.unwrap_err(), SubscribeError::NotShareable);
}

#[actix::test]
async fn only_so_many_messages_are_with_the_client_at_a_time() {
    let plane = Plane::new();
    let queue = queue(&plane).await;
    let more = 5;
    for number in 0..INBOX_MESSAGES + more {
        send(&plane, &queue, &number.to_string()).await;
    }
    let client = plane.client("1").await;
    client.subscribe("sessions/q", AtLeastOnce).await;
    let came = || client.link.deliveries.borrow().len();
    for _ in 0..500 {
        pause(2).await;
        if came() >= INBOX_MESSAGES {
            break;
        }
    }
    pause(50).await;
    assert_eq!(came(), INBOX_MESSAGES);
    // Each that is acknowledged makes room for one.
    for delivery in &client.link.deliveries.borrow()[..3] {
        delivery
            .receipt
            .as_ref()
            .expect("of a session's queue")
            .arrived();
    }
    pause(100).await;
    assert_eq!(came(), INBOX_MESSAGES + 3);
}
