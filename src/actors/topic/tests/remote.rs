//! What is known of clients, and done to them, from outside.

use std::sync::mpsc;
use std::time::Duration;

use super::super::double::Disk;
use super::super::testing::{Client, Plane, pause, publication, will};
use super::super::{Closing, Connect, Direct, RemoteError, WillFate};
use crate::domain::policy::Access;
use crate::domain::publication::ClientId;
use crate::domain::publication::QoS::{AtLeastOnce, AtMostOnce};

const EVERYTHING: fn() -> Access = Access::everything;

fn id(text: &str) -> ClientId {
    ClientId(text.into())
}

async fn end(plane: &Plane, will: WillFate, forget: bool) -> Result<(), RemoteError> {
    let (access, id) = (EVERYTHING(), id("1"));
    plane.topics.disconnect(&access, &id, will, forget).await
}

async fn direct(plane: &Plane, topic: &str, confirm: Option<Duration>) -> Result<(), RemoteError> {
    let publication = publication(topic, "x");
    let direct = Direct {
        publication,
        confirm,
    };
    plane
        .topics
        .send_direct(&EVERYTHING(), &id("1"), direct)
        .await
}

#[actix::test]
async fn nobody_is_looked_at_without_the_right_to() {
    let plane = Plane::new();
    let _client = plane.client("1").await;
    let (topics, nothing) = (&plane.topics, Access::nothing());
    let direct = Direct {
        publication: publication("a", "x"),
        confirm: None,
    };
    for who in ["1", "nobody"] {
        let who = id(who);
        let found = topics.client(&nothing, &who).await;
        assert!(matches!(found, Err(RemoteError::NotAllowed(_))));
        let found = topics.subscriptions(&nothing, &who).await;
        assert!(matches!(found, Err(RemoteError::NotAllowed(_))));
        let fate = WillFate::Publish;
        let done = topics.disconnect(&nothing, &who, fate, true).await;
        assert!(matches!(done, Err(RemoteError::NotAllowed(_))));
    }
    let sent = topics.send_direct(&nothing, &id("1"), direct).await;
    assert!(matches!(sent, Err(RemoteError::NotAllowed(_))));
    assert_eq!(topics.connections(), 1);
}

#[actix::test]
async fn a_session_is_known_while_its_client_is_away() {
    let plane = Plane::new();
    let seen = async || plane.topics.client(&EVERYTHING(), &id("1")).await;
    assert!(matches!(seen().await, Err(RemoteError::NotThere)));
    let client = plane.durable("1").await;
    client.subscribe("b", AtLeastOnce).await;
    client.subscribe("a", AtMostOnce).await;
    let found = seen().await.unwrap();
    assert_eq!(found.connection.unwrap().keep_alive_s, 60);
    assert_eq!((found.clean, found.reason), (false, None));
    client.drop_connection();
    let found = seen().await.unwrap();
    assert!(found.connection.is_none() && found.disconnected.is_some());
    assert_eq!(found.reason, Some("TEST"));
    let subscriptions = plane.topics.subscriptions(&EVERYTHING(), &id("1")).await;
    let filters = subscriptions.unwrap();
    let filters: Vec<_> = filters.iter().map(|one| one.filter.as_str()).collect();
    assert_eq!(filters, ["a", "b"]);
}

/// A client with a will that comes a minute after its connection has ended.
async fn doomed(plane: &Plane) -> Client {
    let edit = |connect: &mut Connect| {
        connect.clean_start = false;
        connect.expiry = Some(Duration::from_secs(600));
        connect.will = Some(will("will/1", "gone", Duration::from_secs(60)));
    };
    plane.connect("1", edit).await.unwrap()
}

#[actix::test]
async fn a_client_is_sent_away_and_its_session_stays_unless_it_is_forgotten() {
    for (fate, forget, expect) in [
        (WillFate::Publish, false, ""),
        // The will is due with the end of the session.
        (WillFate::Publish, true, "gone 0"),
        (WillFate::Discard, true, ""),
    ] {
        let plane = Plane::new();
        let mut watcher = plane.client("watcher").await;
        watcher.subscribe("will/#", AtMostOnce).await;
        let client = doomed(&plane).await;
        end(&plane, fate, forget).await.unwrap();
        let closed = client.link.closed.get();
        assert_eq!(closed, Some(Closing::Administrative(fate)));
        assert_eq!(plane.topics.connections(), 1);
        assert_eq!(watcher.got().concat(), expect, "{fate:?} {forget}");
        assert_eq!(doomed(&plane).await.present, !forget);
    }
}

#[actix::test]
async fn only_a_session_that_is_to_be_forgotten_can_be_without_a_connection() {
    let plane = Plane::new();
    let mut watcher = plane.client("watcher").await;
    watcher.subscribe("will/#", AtMostOnce).await;
    doomed(&plane).await.drop_connection();
    let end = async |forget| end(&plane, WillFate::Discard, forget).await;
    assert!(matches!(end(false).await, Err(RemoteError::NotThere)));
    end(true).await.unwrap();
    assert!(matches!(end(true).await, Err(RemoteError::NotThere)));
    // The will was to come later, and was not to come at all.
    assert!(watcher.got().is_empty());
    plane.topics.tick();
    assert!(watcher.got().is_empty());
}

#[actix::test]
async fn the_end_of_a_session_is_on_disk_when_it_is_answered() {
    let plane = Plane::new();
    doomed(&plane).await.drop_connection();
    plane.store.disk(Disk::Hangs);
    let (tell, told) = mpsc::channel();
    let topics = plane.topics.clone();
    actix::spawn(async move {
        let fate = WillFate::Publish;
        let done = topics.disconnect(&EVERYTHING(), &id("1"), fate, true).await;
        tell.send(done.is_ok()).unwrap();
    });
    pause(30).await;
    assert!(told.try_recv().is_err(), "nothing is on disk yet");
    plane.store.disk(Disk::Works);
    pause(30).await;
    assert_eq!(told.try_recv(), Ok(true));
}

#[actix::test]
async fn a_direct_message_needs_no_subscription() {
    let plane = Plane::new();
    let mut client = plane.client("1").await;
    direct(&plane, "a", None).await.unwrap();
    assert_eq!(client.got(), ["x 0"]);
    let reserved = direct(&plane, "sessions/x", None).await;
    assert!(matches!(reserved, Err(RemoteError::Reserved)));
    client.say_goodbye();
    let gone = direct(&plane, "a", None).await;
    assert!(matches!(gone, Err(RemoteError::NotThere)));
}

#[actix::test]
async fn a_direct_message_is_confirmed_by_its_acknowledgement() {
    let plane = Plane::new();
    let mut client = plane.durable("1").await;
    let (tell, told) = mpsc::channel();
    let sending = async {
        direct(&plane, "a", Some(Duration::from_secs(10)))
            .await
            .unwrap();
        tell.send(()).unwrap();
    };
    let acknowledging = async {
        while client.link.deliveries.borrow().is_empty() {
            pause(1).await;
        }
        assert_eq!(client.got(), ["x 1"]);
        let sent = client.sends();
        assert!(told.try_recv().is_err(), "nothing was acknowledged yet");
        let packet_id = sent[0].split(' ').next().unwrap().parse().unwrap();
        assert!(client.outgoing.acknowledged(packet_id));
    };
    futures_util::future::join(sending, acknowledging).await;
    told.recv().unwrap();
    let silent = direct(&plane, "a", Some(Duration::from_millis(30))).await;
    assert!(matches!(silent, Err(RemoteError::NotConfirmed)));
}

#[actix::test]
async fn who_may_not_receive_gets_no_direct_message() {
    let plane = Plane::new();
    let client = plane.client("1").await;
    client.attached().set_access(Access::nothing());
    let refused = direct(&plane, "a", None).await;
    assert!(matches!(refused, Err(RemoteError::MayNotReceive(_))));
    assert!(client.link.deliveries.borrow().is_empty());
}
