//! Rooms as `client/PROTOCOL.md` has them, packet by packet.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fanfare::wire::mqtt::codec::{
    Ack, Connect, Packet, PacketId, Publish, ReasonCode, SubAck, Subscribe,
};
use serde_json::{Value, json};

use crate::broker::{self, Broker, Setup, policy, statement};
use crate::client::{BOTH, Client, Q0, Q1, V5, V311, publish, retained, subscription};

fn property<'p>(publish: &'p Publish, name: &str) -> Option<&'p str> {
    let user = publish.properties.iter().flat_map(|some| &some.user);
    let mut found = user.filter(|(key, _)| &**key == name);
    found.next().map(|(_, value)| &**value)
}

/// Epoch and offset.
fn place(publish: &Publish) -> (String, u64) {
    let epoch = property(publish, "epoch").expect("it is numbered");
    let offset = property(publish, "offset").expect("it is numbered");
    (epoch.to_owned(), offset.parse().unwrap())
}

fn text(publish: &Publish) -> String {
    String::from_utf8(publish.payload.to_vec()).unwrap()
}

fn json_of(publish: &Publish) -> Value {
    serde_json::from_slice(&publish.payload).unwrap()
}

fn topic(publish: &Publish) -> &str {
    publish.topic.as_ref().unwrap().as_str()
}

/// Sends SUBSCRIBE with user properties; answers the reason codes.
fn subscribe_with(client: &mut Client, filters: &[&str], user: &[(&str, &str)]) -> Vec<ReasonCode> {
    let packet_id = client.id();
    client.send(Packet::Subscribe(Subscribe {
        packet_id,
        subscriptions: filters.iter().map(|text| subscription(text, Q1)).collect(),
        user: user
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect(),
    }));
    match client.recv() {
        Packet::SubAck(SubAck { reasons, .. }) => reasons,
        other => panic!("{other:?} instead of SUBACK"),
    }
}

/// Recovers; answers what the server says of it, and what it sends.
fn recover(client: &mut Client, room: &str, user: &[(&str, &str)]) -> (Value, Vec<Publish>) {
    assert_eq!(
        subscribe_with(client, &[room], user),
        [ReasonCode::GrantedQoS1]
    );
    let answer = client.publish_in();
    assert_eq!(topic(&answer), format!("$room/recovery/{room}"));
    let answer = json_of(&answer);
    let replayed = answer["replayed"].as_u64().unwrap();
    (answer, (0..replayed).map(|_| client.take()).collect())
}

/// Asks for a page of history.
fn page(client: &mut Client, room: &str, asked: &Value) -> Value {
    client.send(Packet::Publish(publish(
        &format!("$room/history/{room}"),
        &asked.to_string(),
        Q0,
    )));
    json_of(&client.publish_in())
}

#[test]
fn what_was_missed_comes_before_what_is_live() {
    let broker = broker::open();
    let (mut ada, mut bob) = (broker.client(V5, "ada-1"), broker.client(V311, "bob-1"));
    let mut writer = broker.client(V311, "writer-1");
    bob.subscribe("chat/seam", Q1);
    for number in 0..3 {
        ada.publish("chat/seam", &number.to_string(), Q1);
        let got = bob.take();
        assert_eq!((text(&got), got.properties), (number.to_string(), None));
    }
    let (answer, replayed) = recover(&mut ada, "chat/seam", &[("history-last", "2")]);
    let (epoch, offset) = place(&replayed[1]);
    let expected =
        json!({"recovered": false, "reason": "new", "replayed": 2, "epoch": epoch, "offset": 3});
    assert_eq!((answer, offset), (expected, 3));
    assert_eq!(property(&replayed[0], "member"), Some("ada-1"));
    ada.vanish();
    for number in 3..6 {
        writer.publish("chat/seam", &number.to_string(), Q1);
        assert_eq!(text(&bob.take()), number.to_string());
    }
    let mut ada = broker.client(V5, "ada-1");
    let since = [("since-epoch", epoch.as_str()), ("since-offset", "3")];
    let (answer, replayed) = recover(&mut ada, "chat/seam", &since);
    assert_eq!(
        (&answer["recovered"], &answer["missed"]),
        (&json!(true), &json!(3))
    );
    let replayed: Vec<_> = replayed.iter().map(text).collect();
    assert_eq!(replayed, ["3", "4", "5"]);
    writer.publish("chat/seam", "6", Q1);
    let live = ada.take();
    assert_eq!((text(&live), place(&live)), ("6".into(), (epoch, 7)));
    ada.quiet();
}

#[test]
fn what_has_expired_is_not_recovered_and_that_is_said() {
    let broker = Setup::new().room("chat/#", "history_seconds = 1").start();
    let (mut ada, mut writer) = (broker.client(V5, "ada-1"), broker.client(V5, "writer-1"));
    for number in 0..3 {
        writer.publish("chat/brief", &number.to_string(), Q1);
    }
    let (_, newest) = recover(&mut ada, "chat/brief", &[("history-last", "1")]);
    let (epoch, _) = place(&newest[0]);
    std::thread::sleep(Duration::from_millis(1200));
    writer.publish("chat/brief", "3", Q1);
    assert_eq!(text(&ada.take()), "3");
    let since = [("since-epoch", epoch.as_str()), ("since-offset", "1")];
    for last in ["0", "10"] {
        let asked = [&since[..], &[("history-last", last)]].concat();
        let (answer, replayed) = recover(&mut ada, "chat/brief", &asked);
        assert_eq!(answer["reason"], "too-old", "{answer}");
        let expected: &[&str] = if last == "0" { &[] } else { &["3"] };
        let replayed: Vec<_> = replayed.iter().map(text).collect();
        assert_eq!(replayed, expected);
    }
}

#[test]
fn what_is_recovered_ends_where_history_was_cut() {
    let broker = Setup::new().room("chat/#", "history_messages = 3").start();
    let mut ada = broker.client(V5, "ada");
    for number in 1..=5 {
        ada.publish("chat/cut", &number.to_string(), Q1);
    }
    let (answer, newest) = recover(&mut ada, "chat/cut", &[("history-last", "1000")]);
    let newest: Vec<_> = newest.iter().map(text).collect();
    assert_eq!(newest, ["3", "4", "5"]);
    let epoch = answer["epoch"].as_str().unwrap();
    for (since, reason, expected) in [
        ("1", json!("too-old"), &["5"][..]),
        ("2", Value::Null, &["3", "4", "5"][..]),
        ("5", Value::Null, &[][..]),
        ("6", json!("ahead"), &["5"][..]),
    ] {
        let asked = [
            ("since-epoch", epoch),
            ("since-offset", since),
            ("history-last", "1"),
        ];
        let (answer, replayed) = recover(&mut ada, "chat/cut", &asked);
        assert_eq!(answer["reason"], reason, "since {since}");
        let replayed: Vec<_> = replayed.iter().map(text).collect();
        assert_eq!(replayed, expected, "since {since}");
    }
    let page = page(&mut ada, "chat/cut", &json!({"before": 4}));
    assert_eq!((&page["first"], &page["offset"]), (&json!(3), &json!(5)));
    assert_eq!(page["messages"].as_array().unwrap().len(), 1);
}

#[test]
fn a_history_that_was_forgotten_begins_anew_and_whoever_knew_it_is_told() {
    let broker = Setup::new()
        .store("sweep_interval", 1)
        .room("chat/#", "history_seconds = 1")
        .start();
    let (mut ada, mut writer) = (broker.client(V5, "ada"), broker.client(V5, "writer"));
    ada.subscribe("chat/gap", Q1);
    let said = |writer: &mut Client, ada: &mut Client, payload: &str| {
        writer.publish("chat/gap", payload, Q1);
        let got = ada.take();
        assert_eq!(text(&got), payload);
        place(&got)
    };
    let (old, _) = said(&mut writer, &mut ada, "a");
    assert_eq!(said(&mut writer, &mut ada, "b"), (old.clone(), 2));
    let until = Instant::now() + Duration::from_secs(20);
    while page(&mut writer, "chat/gap", &json!({}))["epoch"] != "" {
        assert!(Instant::now() < until, "the history is not forgotten");
        std::thread::sleep(Duration::from_millis(50));
    }
    let since = [
        ("since-epoch", old.as_str()),
        ("since-offset", "2"),
        ("history-last", "9"),
    ];
    let mut back = broker.client(V5, "back");
    let (answer, replayed) = recover(&mut back, "chat/gap", &since);
    let expected =
        json!({"recovered": false, "reason": "epoch", "replayed": 0, "epoch": "", "offset": 0});
    assert_eq!((answer, replayed), (expected, Vec::new()));
    // The same numbers as before are not the same messages.
    let (new, first) = said(&mut writer, &mut ada, "c");
    assert_eq!(first, 1);
    assert_ne!(new, old);
    assert_eq!(said(&mut writer, &mut ada, "d"), (new.clone(), 2));
    let mut back = broker.client(V5, "back");
    let (answer, replayed) = recover(&mut back, "chat/gap", &since);
    assert_eq!(
        (&answer["recovered"], &answer["reason"]),
        (&json!(false), &json!("epoch"))
    );
    let replayed: Vec<_> = replayed.iter().map(text).collect();
    assert_eq!(replayed, ["c", "d"]);
    let since = [("since-epoch", new.as_str()), ("since-offset", "1")];
    let (answer, replayed) = recover(&mut back, "chat/gap", &since);
    assert_eq!((&answer["recovered"], replayed.len()), (&json!(true), 1));
}

#[test]
fn a_publisher_can_not_number_its_own() {
    let broker = broker::open();
    let mut client = broker.client(V5, "forger");
    client.subscribe("chat/forged", Q0);
    let mut forged = publish("chat/forged", "x", Q0);
    let own = [("offset", "99"), ("mine", "1"), ("member", "somebody")];
    let own = own
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()));
    forged.properties.get_or_insert_default().user = own.collect();
    client.publish_as(forged);
    let got = client.publish_in();
    let names: Vec<_> = got
        .properties
        .as_ref()
        .unwrap()
        .user
        .iter()
        .map(|(name, _)| &**name)
        .collect();
    assert_eq!(names, ["mine", "epoch", "offset", "ts", "member"]);
    assert_eq!(
        (place(&got).1, property(&got, "member")),
        (1, Some("forger"))
    );
}

#[test]
fn what_can_not_be_asked_is_refused() {
    let broker = broker::open();
    let mut client = broker.client(V5, "refused-5");
    let last = [("history-last", "1")];
    let not_one = ReasonCode::ImplementationSpecificError;
    assert_eq!(subscribe_with(&mut client, &["chat/#"], &last), [not_one]);
    assert_eq!(
        subscribe_with(&mut client, &["chat/a", "chat/b"], &last),
        [not_one; 2]
    );
    assert_eq!(
        subscribe_with(&mut client, &["chat/a"], &[("since-epoch", "7")]),
        [not_one]
    );
    for filter in [
        "$room/presence/nowhere",
        "$room/presence/chat/+",
        "$room/state/+/chat/a",
    ] {
        let granted = subscribe_with(&mut client, &[filter], &[]);
        assert_eq!(granted, [ReasonCode::TopicFilterInvalid], "{filter}");
    }
    for (topic, payload, reason) in [
        ("$room/presence/nowhere", "1", ReasonCode::TopicNameInvalid),
        (
            "$room/presence/chat/a",
            "{",
            ReasonCode::PayloadFormatInvalid,
        ),
        ("$room/recovery/chat/a", "1", ReasonCode::TopicNameInvalid),
        (
            "$room/state/pos/game/a",
            "1",
            ReasonCode::ImplementationSpecificError,
        ),
    ] {
        client.publish_refused(publish(topic, payload, Q1), reason);
    }
    let kept = retained("$room/event/typing/chat/a", "1", Q1);
    client.publish_refused(kept, ReasonCode::ImplementationSpecificError);
    // There is no answer to quality of service 0: what might go another time is dropped, what never goes ends the connection.
    client.publish("$room/state/pos/game/a", "1", Q0);
    client.quiet();
    client.publish("$room/presence/nowhere", "1", Q0);
    client.ended(ReasonCode::TopicNameInvalid);
    let mut client = broker.client(V311, "refused-4");
    let granted = client.subscribe_all(vec![subscription("$room/presence/nowhere", Q0)]);
    assert_eq!(granted, [ReasonCode::UnspecifiedError]);
}

#[test]
fn whoever_may_not_speak_in_a_room_can_not_be_in_it() {
    let reader = policy(&[
        statement("Allow", "Connect", "client/*"),
        statement("Allow", "Subscribe", "topicfilter/chat/a"),
        statement("Allow", "Receive", "topic/chat/a"),
    ]);
    let broker = Setup::new().anonymous(&reader).start();
    let mut client = broker.client(V5, "reader");
    client.subscribe("$room/presence/chat/a", Q0);
    assert_eq!(json_of(&client.publish_in())["type"], "snapshot");
    let denied = ReasonCode::NotAuthorized;
    for topic in [
        "$room/presence/chat/a",
        "$room/event/typing/chat/a",
        "$room/history/chat/b",
    ] {
        client.publish_refused(publish(topic, "{}", Q1), denied);
    }
    assert_eq!(
        subscribe_with(&mut client, &["$room/presence/chat/b"], &[]),
        [denied]
    );
    client.publish("$room/event/typing/chat/a", "1", Q0);
    client.ended(denied);
}

/// The next message about members, as JSON.
fn told(client: &mut Client) -> Value {
    let publish = client.publish_in();
    assert_eq!(topic(&publish), "$room/presence/chat/there");
    json_of(&publish)
}

#[test]
fn members_are_there_until_their_time_is_over() {
    let broker = Setup::new().room("chat/#", "grace_seconds = 1").start();
    for version in BOTH {
        let mut look = broker.client(version, "look");
        look.subscribe("$room/presence/chat/there", Q0);
        assert_eq!(told(&mut look)["members"], json!([]));
        let join = |client: &mut Client| {
            client.publish("$room/presence/chat/there", r#"{"name":"Ada"}"#, Q1)
        };
        let mut ada = broker.client(version, "ada");
        join(&mut ada);
        let change = told(&mut look)["changes"][0].clone();
        assert_eq!(
            (&change["type"], &change["id"]),
            (&json!("join"), &json!("ada"))
        );
        assert_eq!(change["data"], json!({"name": "Ada"}));
        // Back within its time it was never away.
        ada.vanish();
        let mut ada = broker.client(version, "ada");
        join(&mut ada);
        std::thread::sleep(Duration::from_millis(1300));
        look.quiet();
        let left = Instant::now();
        ada.vanish();
        let change = told(&mut look)["changes"][0].clone();
        assert_eq!(
            change,
            json!({"type": "leave", "id": "ada", "reason": "lost"})
        );
        assert!(
            left.elapsed() > Duration::from_millis(900),
            "not before its time"
        );
        let mut bob = broker.client(version, "bob");
        join(&mut bob);
        told(&mut look);
        bob.publish("$room/presence/chat/there", "", Q1);
        assert_eq!(told(&mut look)["changes"][0]["reason"], "left");
        look.disconnect();
    }
}

#[test]
fn a_long_replay_waits_for_its_reader_and_what_is_live_waits_for_the_replay() {
    const SAID: u64 = 600;
    let broker = Setup::new()
        .room("chat/#", "history_bytes = 67108864")
        .mqtt("max_outbound_bytes", 65_536)
        .mqtt("slow_consumer_timeout", 60)
        .start();
    let mut writer = broker.client(V5, "writer");
    let long = "x".repeat(16 << 10);
    for number in 0..SAID {
        writer.publish("chat/long", &format!("{number} {long}"), Q1);
    }
    let mut reader = broker.client(V5, "reader");
    let user = [("history-last".into(), "1000".into())];
    let subscribe = |qos| Subscribe {
        packet_id: PacketId::new(1).unwrap(),
        subscriptions: vec![subscription("chat/long", qos)],
        user: user.to_vec(),
    };
    for qos in [Q0, Q1] {
        reader.send(Packet::Subscribe(subscribe(qos)));
        // Nothing is read while this is said.
        let before = if qos == Q0 { SAID } else { SAID + 50 };
        std::thread::sleep(Duration::from_millis(300));
        for number in 0..50 {
            let qos = if number % 2 == 0 { Q0 } else { Q1 };
            writer.publish("chat/long", &format!("{} ", before + number), qos);
        }
        writer.ping();
        assert!(matches!(reader.recv(), Packet::SubAck(_)));
        let answer = json_of(&reader.publish_in());
        assert!(answer["replayed"].as_u64().unwrap() >= before, "{answer}");
        for offset in 1..=before + 50 {
            let got = reader.take();
            assert_eq!(place(&got).1, offset);
            assert!(text(&got).starts_with(&format!("{} ", offset - 1)));
        }
        reader.quiet();
    }
}

/// What a client has seen: payloads by place.
type Seen = BTreeMap<(String, u64), String>;

fn note(seen: &mut Seen, publish: &Publish) {
    let payload = text(publish);
    let before = seen.insert(place(publish), payload.clone());
    assert!(
        before.is_none_or(|before| before == payload),
        "a place names one publication"
    );
}

/// Speaks until the server is gone; answers what was acknowledged.
fn speak(address: SocketAddr, first: u64) -> Vec<String> {
    let (mut client, _) = Client::connected(address, Connect::new(V5, "speaker"));
    let mut acknowledged = Vec::new();
    let mut number = first;
    loop {
        let mut said = publish("chat/crash", &number.to_string(), Q1);
        said.packet_id = Some(PacketId::new(1).unwrap());
        client.send(Packet::Publish(said));
        match client.poll(Duration::from_secs(5)) {
            Ok(Some(Packet::PubAck(_))) => acknowledged.push(number.to_string()),
            _ => break,
        }
        number += 1;
    }
    acknowledged
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill_in_its_place() {
    let mut data = tempfile::tempdir().unwrap();
    let (mut seen, mut acknowledged) = (Seen::new(), Vec::new());
    let mut newest: Option<(String, u64)> = None;
    for round in 0..4 {
        let broker = Setup::new()
            .room("chat/#", "history_messages = 100000")
            .start_on(data);
        let mut reader = broker.client(V5, "reader");
        let user: Vec<(&str, String)> = match &newest {
            None => vec![("history-last", "1000".into())],
            Some((epoch, offset)) => vec![
                ("since-epoch", epoch.clone()),
                ("since-offset", offset.to_string()),
            ],
        };
        let user: Vec<_> = user
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let (answer, missed) = recover(&mut reader, "chat/crash", &user);
        assert_eq!(answer["recovered"], json!(round > 0), "{answer}");
        missed.iter().for_each(|missed| note(&mut seen, missed));
        let address = broker.mqtt();
        let speaking = std::thread::spawn(move || speak(address, round * 1_000_000));
        let until = Instant::now() + Duration::from_millis(200 + round * 70);
        while Instant::now() < until {
            if let Ok(Some(Packet::Publish(publish))) = reader.poll(Duration::from_millis(20)) {
                if let Some(id) = publish.packet_id {
                    reader.send(Packet::PubAck(Ack::success(id)));
                }
                note(&mut seen, &publish);
            }
        }
        let Broker { server, data: left } = broker;
        server.kill();
        let live = speaking.join().unwrap();
        assert!(!live.is_empty());
        acknowledged.extend(live);
        newest = seen.last_key_value().map(|(place, _)| place.clone());
        data = left;
    }
    // Everything once more, from the beginning.
    let broker = Setup::new()
        .room("chat/#", "history_messages = 100000")
        .start_on(data);
    let mut reader = broker.client(V311, "reader");
    let (mut after, mut payloads) = (0, Vec::new());
    loop {
        let asked = json!({"after": after, "limit": 100});
        let page = page(&mut reader, "chat/crash", &asked);
        let messages = page["messages"].as_array().unwrap();
        let Some(last) = messages.last() else { break };
        for message in messages {
            let offset = message["offset"].as_u64().unwrap();
            assert_eq!(offset, after + 1, "no gap");
            after = offset;
            let payload = message["payload"].as_str().unwrap().to_owned();
            let place = (page["epoch"].as_str().unwrap().to_owned(), offset);
            if let Some(before) = seen.get(&place) {
                assert_eq!(*before, payload, "{place:?}");
            }
            payloads.push(payload);
        }
        assert_eq!(last["offset"], after);
    }
    let epochs: std::collections::BTreeSet<_> = seen.keys().map(|(epoch, _)| epoch).collect();
    assert_eq!(epochs.len(), 1);
    for one in &acknowledged {
        assert!(payloads.contains(one), "{one} was acknowledged");
    }
}
