//! Wills.

use std::time::Duration;

use fanfare::domain::publication::{Properties, Will};
use fanfare::wire::mqtt::codec::{Connect, Disconnect, Packet, ReasonCode, Version};

use crate::broker;
use crate::client::{BOTH, Client, Q0, Q1, Q2, V5, V311, persistent, publish, will};

fn with_will(version: Version, id: &str, will: Will) -> Client {
    let mut connect = Connect::new(version, id.to_owned());
    connect.will = Some(will);
    Client::connected(broker::open().mqtt(), connect).0
}

fn watcher(topic: &str) -> Client {
    let mut watcher = broker::open().client(V5, &format!("watch-{}", topic.replace('/', "-")));
    watcher.subscribe(topic, Q2);
    watcher
}

#[test]
fn a_will_follows_a_connection_that_breaks() {
    for version in BOTH {
        let mut watcher = watcher("will/broken");
        with_will(version, "broken", will("will/broken", "gone", Q1)).vanish();
        let got = watcher.take();
        assert_eq!(
            (got.payload, got.qos, got.retain),
            ("gone".into(), Q1, false)
        );
        // A rule broken, a client id taken over, silence: all ends without goodbye.
        let mut client = with_will(version, "broken", will("will/broken", "rule", Q2));
        client.raw(&[0xc1, 0]);
        assert_eq!(watcher.take().payload, "rule");
        let _client = with_will(version, "broken", will("will/broken", "taken", Q0));
        let again = broker::open().client(version, "broken");
        assert_eq!(watcher.take().payload, "taken");
        again.disconnect();
        watcher.quiet();
    }
}

#[test]
fn a_will_is_not_published_after_goodbye() {
    for version in BOTH {
        let mut watcher = watcher("will/bye");
        with_will(version, "bye", will("will/bye", "x", Q1)).disconnect();
        broker::open().client(version, "bye").vanish();
        watcher.quiet();
    }
}

#[test]
fn only_a_normal_disconnection_takes_the_will_back() {
    let mut watcher = watcher("will/reason");
    for (reason, published) in [
        (ReasonCode::Success, false),
        (ReasonCode::DisconnectWithWill, true),
        (ReasonCode::UnspecifiedError, true),
        (ReasonCode::ImplementationSpecificError, true),
    ] {
        let mut client = with_will(V5, "reason", will("will/reason", "x", Q0));
        client.send(Packet::Disconnect(Disconnect::new(reason)));
        client.closed();
        if published {
            assert_eq!(watcher.payload(), "x", "{reason:?}");
        }
        watcher.quiet();
    }
}

#[test]
fn a_will_is_retained_if_it_says_so() {
    let broker = broker::open();
    for version in BOTH {
        for retain in [false, true] {
            let mut message = will("will/retained", "x", Q1);
            message.publication.retain = retain;
            let mut watcher = watcher("will/retained");
            with_will(version, "retained", message).vanish();
            watcher.take();
            let mut late = broker.client(version, "retained-late");
            late.subscribe("will/retained", Q0);
            if retain {
                assert!(late.publish_in().retain);
            }
            late.quiet();
        }
        let mut empty = crate::client::retained("will/retained", "", Q1);
        empty.retain = true;
        broker.client(version, "retained-late").publish_as(empty);
    }
}

#[test]
fn a_will_waits_for_its_delay_and_is_taken_back_by_a_new_connection() {
    let broker = broker::open();
    let mut watcher = watcher("will/delayed");
    let mut delayed = will("will/delayed", "late", Q1);
    delayed.delay = Duration::from_secs(1);
    let mut connect = persistent(V5, "delayed");
    connect.will = Some(delayed);
    Client::connected(broker.mqtt(), connect.clone()).0.vanish();
    watcher.quiet();
    let (client, _) = Client::connected(broker.mqtt(), connect);
    std::thread::sleep(Duration::from_millis(1600));
    watcher.quiet();
    client.vanish();
    assert_eq!(watcher.take().payload, "late");
    // Published once; the session has it no more.
    let (client, connack) = Client::connected(broker.mqtt(), persistent(V5, "delayed"));
    assert!(connack.session_present);
    client.vanish();
    watcher.quiet();
}

#[test]
fn a_will_does_not_wait_longer_than_the_session() {
    let mut watcher = watcher("will/ended");
    let mut delayed = will("will/ended", "x", Q1);
    delayed.delay = Duration::from_secs(3600);
    with_will(V5, "ended", delayed.clone()).vanish();
    assert_eq!(watcher.take().payload, "x");
    // A clean start ends the session, too.
    let mut connect = persistent(V5, "ended");
    connect.will = Some(delayed);
    Client::connected(broker::open().mqtt(), connect).0.vanish();
    watcher.quiet();
    broker::open().client(V5, "ended").disconnect();
    assert_eq!(watcher.take().payload, "x");
}

#[test]
fn a_wills_properties_are_handed_on() {
    let mut watcher = watcher("will/properties");
    let mut message = will("will/properties", "x", Q1);
    let properties = Properties {
        content_type: Some("a".into()),
        user: vec![("b".into(), "1".into()), ("a".into(), "2".into())],
        ..Properties::default()
    };
    message.publication.properties = Some(Box::new(properties.clone()));
    message.message_expiry = Some(Duration::from_secs(60));
    with_will(V5, "properties", message).vanish();
    let got = watcher.take();
    assert_eq!(got.properties.as_deref(), Some(&properties));
    assert!(
        got.message_expiry_s
            .is_some_and(|left| (58..=60).contains(&left))
    );
}

#[test]
fn who_publishes_what_it_may_not_leaves_its_will() {
    use crate::broker::{Setup, policy, statement};
    let broker = Setup::new()
        .anonymous(&policy(&[
            statement("Allow", "Connect Subscribe Receive", "*"),
            statement("Allow", "Publish", "topic/will"),
        ]))
        .start();
    for version in BOTH {
        let mut watcher = broker.client(V311, "watcher");
        watcher.subscribe("will", Q0);
        let mut connect = Connect::new(version, "leaves");
        connect.will = Some(will("will", "left", Q0));
        let (mut client, _) = Client::connected(broker.mqtt(), connect);
        client.send(Packet::Publish(publish("forbidden", "x", Q0)));
        client.ended(ReasonCode::NotAuthorized);
        assert_eq!(watcher.payload(), "left");
    }
}
