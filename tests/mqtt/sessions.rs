//! Sessions that outlive their connection, and those that do not.

use std::time::Duration;

use fanfare::wire::mqtt::codec::{Ack, Connect, Disconnect, Packet, ReasonCode, Version};

use crate::broker::{self, Broker, Setup};
use crate::client::{BOTH, Client, Q0, Q1, Q2, V5, V311, persistent, publish};

fn resume(broker: &Broker, version: Version, id: &str, present: bool) -> Client {
    let (client, connack) = Client::connected(broker.mqtt(), persistent(version, id));
    assert_eq!(connack.session_present, present);
    client
}

#[test]
fn a_session_goes_on_where_it_was() {
    let broker = broker::open();
    for version in BOTH {
        Client::connected(broker.mqtt(), Connect::new(version, "goes-on"))
            .0
            .disconnect();
        let mut client = resume(broker, version, "goes-on", false);
        client.subscribe("goes-on", Q1);
        client.disconnect();
        let mut sender = broker.client(version, "goes-on-sender");
        for payload in ["1", "2"] {
            sender.publish("goes-on", payload, Q2);
        }
        let mut client = resume(broker, version, "goes-on", true);
        for payload in ["1", "2"] {
            let got = client.take();
            assert_eq!((got.payload, got.qos, got.dup), (payload.into(), Q1, false));
        }
        client.quiet();
        client.vanish();
        // A clean start ends it.
        let (client, connack) = Client::connected(broker.mqtt(), Connect::new(version, "goes-on"));
        assert!(!connack.session_present);
        client.disconnect();
        sender.publish("goes-on", "3", Q1);
        let mut client = resume(broker, version, "goes-on", false);
        client.quiet();
    }
}

#[test]
fn a_clean_session_ends_with_its_connection() {
    let broker = broker::open();
    for version in BOTH {
        let mut client = broker.client(version, "clean");
        client.subscribe("clean", Q1);
        client.vanish();
        broker
            .client(version, "clean-sender")
            .publish("clean", "x", Q1);
        resume(broker, version, "clean", false).quiet();
        Client::connected(broker.mqtt(), Connect::new(version, "clean"))
            .0
            .disconnect();
    }
}

#[test]
fn retained_messages_do_not_belong_to_a_session() {
    let broker = broker::open();
    let mut client = broker.client(V311, "keeper");
    client.publish_as(crate::client::retained("keeper", "kept", Q1));
    client.disconnect();
    let mut client = broker.client(V311, "keeper");
    client.subscribe("keeper", Q0);
    assert_eq!(client.payload(), "kept");
}

#[test]
fn what_was_not_acknowledged_is_sent_again_as_it_was() {
    let broker = broker::open();
    for version in BOTH {
        let mut client = resume(broker, version, "unacked", false);
        client.subscribe("unacked", Q2);
        let mut sender = broker.client(version, "unacked-sender");
        for (payload, qos) in [("1", Q1), ("2", Q2), ("3", Q2), ("4", Q1)] {
            sender.publish("unacked", payload, qos);
        }
        let first: Vec<_> = (0..4).map(|_| client.publish_in()).collect();
        // The third is received: only PUBREL is to be sent for it.
        let received = first[2].packet_id.unwrap();
        client.send(Packet::PubRec(Ack::success(received)));
        assert_eq!(client.recv(), Packet::PubRel(Ack::success(received)));
        // Nothing is sent again in the same connection.
        client.quiet();
        client.vanish();
        let mut client = resume(broker, version, "unacked", true);
        for (index, sent) in first.into_iter().enumerate() {
            if index == 2 {
                assert_eq!(client.recv(), Packet::PubRel(Ack::success(received)));
                client.send(Packet::PubComp(Ack::success(received)));
                continue;
            }
            let mut again = sent;
            again.dup = true;
            let got = client.take();
            assert_eq!(got, again, "same packet id, in order");
        }
        client.quiet();
        client.disconnect();
        Client::connected(broker.mqtt(), Connect::new(version, "unacked"))
            .0
            .disconnect();
    }
}

#[test]
fn what_was_sent_is_brought_to_its_end_although_it_has_expired() {
    let broker = Setup::new().start();
    let mut client = resume(&broker, V5, "expired", false);
    client.subscribe("expired", Q2);
    let mut sender = broker.client(V5, "expired-sender");
    let mut send = |payload, qos| {
        let mut sent = publish("expired", payload, qos);
        sent.message_expiry_s = Some(1);
        sender.publish_as(sent);
    };
    send("two", Q2);
    send("one", Q1);
    let first = [client.publish_in(), client.publish_in()];
    client.vanish();
    send("never sent", Q2);
    std::thread::sleep(Duration::from_millis(1300));
    // The connection that was away, and then a server that was.
    let mut client = resume(&broker, V5, "expired", true);
    let again = [client.publish_in(), client.publish_in()];
    client.vanish();
    let Broker { server, data } = broker;
    server.kill();
    let broker = Setup::new().start_on(data);
    let mut client = resume(&broker, V5, "expired", true);
    let last = [client.take(), client.take()];
    for got in [again, last] {
        for (mut got, first) in got.into_iter().zip(&first) {
            assert!(got.dup && got.message_expiry_s == Some(0));
            (got.dup, got.message_expiry_s) = (false, first.message_expiry_s);
            assert_eq!(got, *first, "same packet id, in order");
        }
    }
    client.quiet();
    client.vanish();
    resume(&broker, V5, "expired", true).quiet();
}

#[test]
fn a_publication_of_qos_2_is_not_repeated_by_a_new_connection() {
    let broker = broker::open();
    for version in BOTH {
        let mut watcher = broker.client(version, "once-watcher");
        watcher.subscribe("once", Q2);
        let mut client = resume(broker, version, "once", false);
        let mut sent = publish("once", "x", Q2);
        let id = client.id();
        sent.packet_id = Some(id);
        client.send(Packet::Publish(sent.clone()));
        assert_eq!(client.recv(), Packet::PubRec(Ack::success(id)));
        client.vanish();
        let mut client = resume(broker, version, "once", true);
        sent.dup = true;
        client.send(Packet::Publish(sent));
        assert_eq!(client.recv(), Packet::PubRec(Ack::success(id)));
        client.send(Packet::PubRel(Ack::success(id)));
        assert_eq!(client.recv(), Packet::PubComp(Ack::success(id)));
        assert_eq!(watcher.take().payload, "x");
        watcher.quiet();
        client.disconnect();
        Client::connected(broker.mqtt(), Connect::new(version, "once"))
            .0
            .disconnect();
    }
}

#[test]
fn a_session_lasts_as_long_as_was_said() {
    let broker = Setup::new().mqtt("max_session_expiry", 2).start();
    let connect = |expiry, clean| {
        let mut connect = persistent(V5, "lasts");
        (connect.session_expiry_s, connect.clean_start) = (expiry, clean);
        Client::connected(broker.mqtt(), connect)
    };
    // The bound is told.
    let (client, connack) = connect(u32::MAX, false);
    assert_eq!(connack.session_expiry_s, Some(2));
    client.vanish();
    std::thread::sleep(Duration::from_millis(1000));
    let (client, connack) = connect(1, false);
    assert!(connack.session_present);
    assert_eq!(connack.session_expiry_s, None);
    client.vanish();
    std::thread::sleep(Duration::from_millis(1600));
    let (mut client, connack) = connect(1, false);
    assert!(!connack.session_present, "its second was over");
    // While it is connected, it does not end.
    std::thread::sleep(Duration::from_millis(1600));
    client.ping();
    client.vanish();
    assert!(connect(1, false).1.session_present);
}

#[test]
fn disconnect_may_change_how_long_the_session_lasts() {
    let broker = broker::open();
    let leave = |mut client: Client, seconds| {
        client.send(Packet::Disconnect(Disconnect {
            session_expiry_s: Some(seconds),
            ..Disconnect::default()
        }));
        client
    };
    let client = resume(broker, V5, "changes", false);
    leave(client, 0).closed();
    let client = resume(broker, V5, "changes", false);
    leave(client, 60).closed();
    let client = resume(broker, V5, "changes", true);
    client.vanish();
    let client = broker.client(V5, "changes");
    leave(client, 60).ended(ReasonCode::ProtocolError);
}

#[test]
fn sessions_outlive_the_process() {
    let data = tempfile::tempdir().unwrap();
    let broker = Setup::new().start_on(data);
    for version in BOTH {
        let id = format!("outlives-{version:?}");
        let mut client = resume(&broker, version, &id, false);
        client.subscribe(&id, Q1);
        client.vanish();
        broker.client(version, "sender").publish(&id, "x", Q1);
    }
    let Broker { server, data } = broker;
    server.kill();
    let broker = Setup::new().start_on(data);
    for version in BOTH {
        let id = format!("outlives-{version:?}");
        let mut client = resume(&broker, version, &id, true);
        assert_eq!(client.take().payload, "x");
        broker.client(version, "sender").publish(&id, "y", Q1);
        assert_eq!(client.take().payload, "y");
    }
}
