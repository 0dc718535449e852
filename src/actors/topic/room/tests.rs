//! Rooms among connections of one worker and of two.

use std::collections::HashMap;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::double::Disk;
use super::super::testing::{Client, Plane, pause, publication, subscription, text};
use super::super::{Connect, PublishError, SubscribeError};
use super::{Recover, RoomError};
use crate::config::limits;
use crate::domain::Timestamp;
use crate::domain::policy::{
    Access, ActionPattern, Actions, Arn, Context, Document, Effect, Layer, Resources, Statement,
};
use crate::domain::publication::QoS::{self, AtLeastOnce, AtMostOnce};
use crate::domain::publication::{ClientId, Publisher};
use crate::domain::room::{Epoch, Keep, Place, PresenceRule, RoomRule, SeatRule};
use crate::domain::topic::{TopicFilter, TopicName};

const GRACE: Duration = Duration::from_millis(300);
const HOLD: Duration = Duration::from_millis(700);

/// Rooms that keep little, for a short time.
pub(in crate::actors::topic) fn rules() -> Vec<RoomRule> {
    let filter = |text: &str| TopicFilter::parse(text).unwrap();
    let presence = PresenceRule {
        counts_only_above: 20,
        grace: GRACE,
    };
    let keep = Keep {
        messages: 5,
        bytes: 1 << 20,
        time: Duration::from_secs(60),
    };
    vec![
        RoomRule {
            filter: filter("chat/#"),
            history: Some(keep),
            presence: Some(presence),
            last_value: false,
            seats: None,
        },
        RoomRule {
            filter: filter("long/#"),
            history: Some(Keep {
                messages: 10_000,
                ..keep
            }),
            presence: None,
            last_value: false,
            seats: None,
        },
        RoomRule {
            filter: filter("arena/#"),
            history: None,
            presence: Some(presence),
            last_value: true,
            seats: Some(SeatRule {
                places: 2,
                hold: HOLD,
            }),
        },
    ]
}

fn name(text: &str) -> TopicName {
    TopicName::parse(text.into()).unwrap()
}

impl Client {
    async fn send(&self, topic: &str, payload: &str, qos: QoS) -> Result<(), PublishError> {
        let mut publication = publication(topic, payload);
        publication.qos = qos;
        publication.publisher = Some(Publisher {
            client: Some(self.attached().client().clone()),
            principal: self.attached().principal().clone(),
        });
        self.attached().publish(publication, None).outcome().await
    }

    async fn recover(&self, room: &str, recover: Recover) {
        let asked = subscription(room, AtLeastOnce);
        let granted = self
            .attached()
            .subscribe_since(vec![asked], Some(recover))
            .await;
        granted.into_iter().for_each(|one| drop(one.unwrap()));
        pause(5).await;
    }

    /// What came since the last look: topic, offset if there is one, payload.
    fn came(&self) -> Vec<String> {
        let deliveries = self.link.deliveries.take();
        let shown = deliveries.iter().map(|delivery| {
            let publication = &delivery.fan.publication;
            let user = publication.properties.iter().flat_map(|some| &some.user);
            let offset = user.clone().find(|(name, _)| &**name == "offset");
            let offset = offset.map(|(_, offset)| format!("{offset} "));
            let topic = publication.topic.as_str();
            format!("{topic} {}{}", offset.unwrap_or_default(), text(delivery))
        });
        shown.collect()
    }

    /// What came on one topic, as JSON.
    fn told(&self, topic: &str) -> Vec<Value> {
        let prefix = format!("{topic} ");
        let came = self.came().into_iter();
        came.filter_map(|one| Some(serde_json::from_str(one.strip_prefix(&prefix)?).unwrap()))
            .collect()
    }
}

fn since(epoch: &str, offset: u64) -> Recover {
    let epoch = Epoch::parse(epoch).unwrap();
    Recover {
        since: Some(Place { epoch, offset }),
        last: 0,
    }
}

const LAST: Recover = Recover {
    since: None,
    last: 3,
};

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
    let Some(super::super::Sending::Publish { delivery, .. }) = sent else {
        panic!("nothing in the queue");
    };
    let properties = delivery.fan.publication.properties.as_ref().unwrap();
    let names: Vec<&str> = properties.user.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["epoch", "offset", "ts"]);
}

#[actix::test]
async fn whoever_looks_on_sees_members_come_and_go() {
    let plane = Plane::new();
    let (one, two, look) = (
        plane.client("1").await,
        plane.client("2").await,
        plane.client("look").await,
    );
    one.send("$room/presence/chat/a", "{\"n\":1}", AtLeastOnce)
        .await
        .unwrap();
    look.subscribe("$room/presence/chat/a", AtMostOnce).await;
    pause(5).await;
    let told = look.told("$room/presence/chat/a");
    assert_eq!(
        (&told[0]["type"], &told[0]["count"]),
        (&json!("snapshot"), &json!(1))
    );
    assert_eq!(told[0]["members"][0]["data"], json!({"n": 1}));
    two.send("$room/presence/chat/a", "null", AtLeastOnce)
        .await
        .unwrap();
    one.send("$room/presence/chat/a", "7", AtLeastOnce)
        .await
        .unwrap();
    pause(150).await;
    let told = look.told("$room/presence/chat/a");
    let changes: Vec<_> = told
        .iter()
        .flat_map(|one| one["changes"].as_array().unwrap())
        .collect();
    let kinds: Vec<_> = changes
        .iter()
        .map(|one| (&one["type"], &one["id"]))
        .collect();
    assert!(kinds.contains(&(&json!("join"), &json!("2"))), "{kinds:?}");
    assert!(
        kinds.contains(&(&json!("update"), &json!("1"))),
        "{kinds:?}"
    );
    // A connection that ends is there for a while; one that comes back was never away.
    two.drop_connection();
    one.drop_connection();
    let one = plane.client("1").await;
    one.send("$room/presence/chat/a", "7", AtLeastOnce)
        .await
        .unwrap();
    pause(100).await;
    assert!(look.told("$room/presence/chat/a").is_empty());
    pause(400).await;
    let told = look.told("$room/presence/chat/a");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(
        told[0]["changes"],
        json!([{"type": "leave", "id": "2", "reason": "lost"}])
    );
    one.send("$room/presence/chat/a", "", AtLeastOnce)
        .await
        .unwrap();
    pause(150).await;
    let told = look.told("$room/presence/chat/a");
    assert_eq!(told[0]["changes"][0]["reason"], "left");
    assert_eq!(told[0]["count"], 0);
}

#[actix::test]
async fn events_are_passed_on_and_nothing_else() {
    let plane = Plane::new();
    let (one, mut two) = (plane.client("1").await, plane.client("2").await);
    two.subscribe("$room/event/+/chat/a", AtLeastOnce).await;
    one.send("$room/event/typing/chat/a", "true", AtLeastOnce)
        .await
        .unwrap();
    let delivery = two.link.deliveries.borrow()[0].clone();
    let user = &delivery.fan.publication.properties.as_ref().unwrap().user;
    assert_eq!(*user, [("member".into(), "1".into())]);
    assert_eq!(two.got(), ["true 0"]);
    let refused = one
        .send("$room/event/typing/nowhere", "1", AtMostOnce)
        .await;
    assert!(matches!(refused, Err(PublishError::NotARoom(_))));
    for (topic, payload) in [("$room/recovery/chat/a", "x"), ("$room/states/chat/a", "x")] {
        let refused = one.send(topic, payload, AtMostOnce).await;
        assert_eq!(refused, Err(PublishError::Reserved), "{topic}");
    }
    for topic in [
        "$room/presence/chat/a",
        "$room/seat/arena/a",
        "$room/history/chat/a",
    ] {
        let refused = one.send(topic, "{", AtMostOnce).await;
        assert!(
            matches!(refused, Err(PublishError::Malformed(_))),
            "{topic}"
        );
    }
    let long = format!("\"{}\"", "x".repeat(limits::rooms::DATA_BYTES - 1));
    let refused = one.send("$room/presence/chat/a", &long, AtMostOnce).await;
    assert!(matches!(refused, Err(PublishError::Malformed(_))));
    for filter in [
        "$room/presence/nowhere",
        "$room/presence/chat/+",
        "$room/presence/long/a",
        "$room/state/+/chat/a",
        "$room/#",
        "$share/g/$room/presence/chat/a",
    ] {
        let refused = two.try_subscribe(subscription(filter, AtMostOnce)).await;
        assert_eq!(refused.err(), Some(SubscribeError::NotARoom), "{filter}");
    }
}

#[actix::test]
async fn values_wait_for_those_who_come_later() {
    let plane = Plane::new();
    let (one, late) = (plane.client("1").await, plane.client("late").await);
    let refused = one.send("$room/state/pos/arena/a", "1", AtMostOnce).await;
    assert!(
        matches!(refused, Err(PublishError::NotNow(_))),
        "{refused:?}"
    );
    one.send("$room/presence/arena/a", "{}", AtMostOnce)
        .await
        .unwrap();
    one.send("$room/state/pos/arena/a", "{\"x\":1}", AtMostOnce)
        .await
        .unwrap();
    one.send("$room/state/pos/arena/a", "{\"x\":2}", AtMostOnce)
        .await
        .unwrap();
    one.send("$room/state/skin/arena/a", "\u{1}", AtMostOnce)
        .await
        .unwrap();
    late.subscribe("$room/state/+/arena/a", AtMostOnce).await;
    pause(5).await;
    let told = late.told("$room/states/arena/a");
    let expected = json!([{"more": false, "states": [
        {"member": "1", "key": "pos", "value": {"x": 2}},
        {"member": "1", "key": "skin", "base64": "AQ=="},
    ]}]);
    assert_eq!(json!(told), expected);
    one.send("$room/state/pos/arena/a", "3", AtMostOnce)
        .await
        .unwrap();
    assert_eq!(late.came(), ["$room/state/pos/arena/a 3"]);
    one.drop_connection();
    pause(GRACE.as_millis() as u64 + 100).await;
    late.subscribe("$room/state/pos/arena/a", AtMostOnce).await;
    pause(5).await;
    let told = late.told("$room/states/arena/a");
    assert_eq!(json!(told), json!([{"more": false, "states": []}]));
}

#[actix::test]
async fn seats_are_kept_over_a_reconnect() {
    let plane = Plane::new();
    let (one, two, three) = (
        plane.client("1").await,
        plane.client("2").await,
        plane.client("3").await,
    );
    let topic = "$room/seat/arena/a";
    for client in [&one, &two, &three] {
        client
            .send("$room/presence/arena/a", "0", AtMostOnce)
            .await
            .unwrap();
        client
            .send(topic, "{\"take\":true}", AtLeastOnce)
            .await
            .unwrap();
    }
    assert_eq!(
        one.told(topic)[0],
        json!({"seat": 1, "seats": 2, "taken": 1})
    );
    assert_eq!(
        two.told(topic)[0],
        json!({"seat": 2, "seats": 2, "taken": 2})
    );
    let full = json!({"seat": null, "seats": 2, "taken": 2, "full": true});
    assert_eq!(three.told(topic)[0], full);
    one.drop_connection();
    pause(GRACE.as_millis() as u64 + 100).await;
    three
        .send(topic, "{\"take\":true}", AtLeastOnce)
        .await
        .unwrap();
    assert_eq!(three.told(topic)[0], full, "it waits for its member");
    let one = plane.client("1").await;
    one.send("$room/presence/arena/a", "0", AtMostOnce)
        .await
        .unwrap();
    pause(HOLD.as_millis() as u64 + 50).await;
    one.send(topic, "{\"take\":true}", AtLeastOnce)
        .await
        .unwrap();
    assert_eq!(one.told(topic)[0]["seat"], 1);
    // By HTTP: its own for everybody, others' for the operator only.
    let everything = Access::everything();
    let who = |principal: &str, anyone| (ClientId("1".into()), principal.into(), anyone);
    let room = name("arena/a");
    let other = plane
        .topics
        .sit(&everything, &room, false, who("other", false));
    assert_eq!(other.await, Err(RoomError::NotYours));
    let operator = plane
        .topics
        .sit(&everything, &room, false, who("operator", true));
    assert_eq!(operator.await.map(|answer| answer.taken), Ok(1));
    two.send("$room/presence/arena/a", "", AtLeastOnce)
        .await
        .unwrap();
    three
        .send(topic, "{\"take\":true}", AtLeastOnce)
        .await
        .unwrap();
    assert_eq!(
        three.told(topic)[0],
        json!({"seat": 1, "seats": 2, "taken": 1})
    );
    let seatless = name("chat/a");
    let nowhere = plane
        .topics
        .sit(&everything, &seatless, true, who("owner", false));
    assert_eq!(nowhere.await, Err(RoomError::NoSuchRoom));
}

fn statement(effect: Effect, action: &str, resource: &str) -> Statement {
    let action = ActionPattern::parse(&format!("iot:{action}")).unwrap();
    let resource = Arn::parse(&format!("arn:aws:iot:*:*:{resource}")).unwrap();
    Statement {
        sid: None,
        effect,
        actions: Actions::Only(vec![action]),
        resources: Resources::Only(vec![resource]),
        conditions: Vec::new(),
    }
}

fn access(statements: &[Statement]) -> Access {
    let document = Document {
        name: "the policy".into(),
        statements: statements.into(),
    };
    let documents = [document.into()];
    let layer = Layer {
        documents: &documents,
        grants: None,
    };
    Access::of(&[layer], &Context::default())
}

async fn limited(plane: &Plane, id: &str, statements: &[Statement]) -> Client {
    let access = access(statements);
    let edit = |connect: &mut Connect| connect.access = access;
    plane.connect(id, edit).await.unwrap()
}

#[actix::test]
async fn the_policy_on_the_room_decides_about_everything_beside_it() {
    let plane = Plane::new();
    let allow = |action: &str, resource: &str| statement(Effect::Allow, action, resource);
    let connect = allow("Connect", "client/*");
    let reads = [
        connect.clone(),
        allow("Subscribe", "topicfilter/chat/a"),
        allow("Receive", "topic/chat/a"),
    ];
    let reader = limited(&plane, "reader", &reads).await;
    reader.recover("chat/a", LAST).await;
    reader.subscribe("$room/presence/chat/a", AtMostOnce).await;
    for topic in ["$room/presence/chat/a", "$room/event/typing/chat/a"] {
        let refused = reader.send(topic, "1", AtMostOnce).await;
        assert!(
            matches!(refused, Err(PublishError::NotAllowed(_))),
            "{topic}"
        );
    }
    let other = reader
        .try_subscribe(subscription("$room/presence/chat/b", AtMostOnce))
        .await;
    assert!(matches!(other, Err(SubscribeError::NotAllowed(_))));
    let page = reader.send("$room/history/chat/b", "{}", AtMostOnce).await;
    assert!(matches!(page, Err(PublishError::NotAllowed(_))));
    reader
        .send("$room/history/chat/a", "{}", AtMostOnce)
        .await
        .unwrap();
    // Whoever may subscribe and not receive is shown nothing.
    let deaf = limited(&plane, "deaf", &reads[..2]).await;
    let writer = limited(
        &plane,
        "writer",
        &[connect.clone(), allow("Publish", "topic/chat/*")],
    )
    .await;
    writer
        .send("$room/presence/chat/a", "1", AtMostOnce)
        .await
        .unwrap();
    deaf.subscribe("$room/presence/chat/a", AtMostOnce).await;
    let recover = deaf
        .attached()
        .subscribe_since(vec![subscription("chat/a", AtMostOnce)], Some(LAST))
        .await;
    assert!(matches!(recover[0], Err(SubscribeError::NotAllowed(_))));
    pause(20).await;
    assert!(deaf.came().is_empty());
    assert!(!reader.told("$room/presence/chat/a").is_empty());
    // An explicit Deny of the topic itself counts, too.
    let denied = [
        connect.clone(),
        allow("Publish", "topic/chat/*"),
        statement(Effect::Deny, "Publish", "topic/$room/event/*"),
    ];
    let denied = limited(&plane, "denied", &denied).await;
    denied
        .send("$room/presence/chat/a", "1", AtMostOnce)
        .await
        .unwrap();
    let refused = denied
        .send("$room/event/typing/chat/a", "1", AtMostOnce)
        .await;
    assert!(matches!(refused, Err(PublishError::NotAllowed(_))));
    // Whoever may not publish any more is not there any more.
    writer.attached().set_access(access(&[connect]));
    pause(150).await;
    let told = reader.told("$room/presence/chat/a");
    let changes: Vec<_> = told
        .iter()
        .flat_map(|one| one["changes"].as_array().unwrap())
        .collect();
    assert!(
        changes.contains(&&json!({"type": "leave", "id": "writer", "reason": "removed"})),
        "{changes:?}"
    );
}

#[actix::test]
async fn pages_of_history() {
    let plane = Plane::new();
    for number in 1..=120 {
        plane
            .publish("long/a", &number.to_string(), AtMostOnce)
            .await
            .unwrap();
    }
    let (topics, room) = (&plane.topics, name("long/a"));
    let page = |before: Option<u64>, after: Option<u64>, limit: Option<usize>| {
        let page = super::HistoryPage {
            before,
            after,
            limit,
        };
        let found = topics
            .room_history(&Access::everything(), &room, page, None)
            .unwrap();
        let found: Value = serde_json::from_str(&found).unwrap();
        let offsets = found["messages"].as_array().unwrap().iter();
        let offsets: Vec<u64> = offsets.map(|one| one["offset"].as_u64().unwrap()).collect();
        assert_eq!(
            (&found["first"], &found["offset"]),
            (&json!(1), &json!(120))
        );
        (offsets.first().copied(), offsets.len(), offsets.is_sorted())
    };
    let newest = limits::rooms::PAGE_DEFAULT;
    assert_eq!(page(None, None, None), (Some(71), newest, true));
    assert_eq!(page(Some(71), None, Some(1000)), (Some(1), 70, true));
    assert_eq!(page(None, None, Some(1000)), (Some(21), 100, true));
    assert_eq!(page(Some(1), None, None), (None, 0, true));
    assert_eq!(page(None, Some(118), None), (Some(119), 2, true));
    assert_eq!(page(None, Some(u64::MAX), None), (None, 0, true));
    assert_eq!(page(None, Some(0), Some(3)), (Some(1), 3, true));
    let big = "x".repeat(limits::rooms::PART_BYTES * 5 / 8);
    for _ in 0..3 {
        plane.publish("long/b", &big, AtMostOnce).await.unwrap();
    }
    let found = topics
        .room_history(
            &Access::everything(),
            &name("long/b"),
            super::HistoryPage::default(),
            Some("q\""),
        )
        .unwrap();
    let found: Value = serde_json::from_str(&found).unwrap();
    assert_eq!(
        (&found["id"], &found["messages"][0]["offset"]),
        (&json!("q\""), &json!(3))
    );
    let none = topics.room_history(
        &Access::everything(),
        &name("arena/a"),
        super::HistoryPage::default(),
        None,
    );
    assert_eq!(none, Err(RoomError::NoSuchRoom));
    let nothing = topics.room_history(
        &Access::nothing(),
        &room,
        super::HistoryPage::default(),
        None,
    );
    assert!(matches!(nothing, Err(RoomError::NotAllowed(_))));
}

#[actix::test]
async fn what_one_client_may_have_is_bounded() {
    let plane = Plane::new();
    let one = plane.client("1").await;
    for number in 0..limits::rooms::JOINED {
        let topic = format!("$room/presence/chat/{number}");
        one.send(&topic, "0", AtMostOnce).await.unwrap();
    }
    let more = one.send("$room/presence/chat/more", "0", AtMostOnce).await;
    assert!(matches!(more, Err(PublishError::QuotaExceeded(_))));
    one.send("$room/presence/chat/0", "1", AtMostOnce)
        .await
        .unwrap();
    one.send("$room/presence/chat/0", "", AtMostOnce)
        .await
        .unwrap();
    one.send("$room/presence/chat/more", "0", AtMostOnce)
        .await
        .unwrap();
    // Too long for a room, and so an ordinary topic.
    let long = format!("chat/{}", "x".repeat(300));
    one.subscribe(&long, AtMostOnce).await;
    plane.publish(&long, "plain", AtMostOnce).await.unwrap();
    assert_eq!(one.came(), [format!("{long} plain")]);
}

/// Members come at once, each looking on: messages to all of them together.
async fn storm(members: usize) -> (usize, usize) {
    let plane = Plane::new();
    let mut clients = Vec::new();
    for number in 0..members {
        let client = plane.client(&number.to_string()).await;
        client.subscribe("$room/presence/chat/a", AtMostOnce).await;
        clients.push(client);
    }
    pause(50).await;
    for client in &clients {
        client.came();
    }
    for client in &clients {
        client
            .send("$room/presence/chat/a", "{}", AtMostOnce)
            .await
            .unwrap();
    }
    let until = Instant::now() + limits::rooms::COUNTS_PAUSE * 20;
    let (mut messages, mut last) = (0, Value::Null);
    while last["count"] != members && Instant::now() < until {
        pause(200).await;
        for client in &clients {
            let told = client.told("$room/presence/chat/a");
            messages += told.len();
            last = told.last().cloned().unwrap_or(last);
        }
    }
    assert_eq!(
        (&last["type"], &last["count"]),
        (&json!("counts"), &json!(members))
    );
    (messages, clients.len())
}

#[actix::test]
async fn a_crowd_that_comes_at_once_costs_each_of_it_a_few_messages() {
    let (messages, members) = storm(1000).await;
    assert!(
        messages <= 10 * members,
        "{messages} messages for {members} members"
    );
}

#[actix::test]
async fn ten_thousand_join_and_leave() {
    let plane = Plane::new();
    let look = plane.client("look").await;
    look.subscribe("$room/presence/chat/a", AtMostOnce).await;
    let mut clients = Vec::new();
    for number in 0..10_000 {
        let client = plane.client(&format!("c{number}")).await;
        client
            .send("$room/presence/chat/a", "{}", AtMostOnce)
            .await
            .unwrap();
        clients.push(client);
    }
    pause(1100).await;
    let counted = async || {
        let found = plane
            .topics
            .describe_room(&Access::everything(), &name("chat/a"))
            .await;
        serde_json::from_str::<Value>(&found.unwrap()).unwrap()["count"]
            .as_u64()
            .unwrap()
    };
    assert_eq!(counted().await, 10_000);
    assert_eq!(
        look.told("$room/presence/chat/a").last().unwrap()["count"],
        10_000
    );
    // Half of them say goodbye, most others are lost, ten stay.
    for (number, client) in clients.drain(10..).enumerate() {
        if number % 2 == 0 {
            client
                .send("$room/presence/chat/a", "", AtMostOnce)
                .await
                .unwrap();
        } else {
            client.drop_connection();
        }
    }
    let until = Instant::now() + Duration::from_secs(10);
    while counted().await != 10 && Instant::now() < until {
        pause(50).await;
    }
    pause(1100).await;
    let told = look.told("$room/presence/chat/a");
    let last = told.last().unwrap();
    assert_eq!(
        (&last["type"], &last["count"]),
        (&json!("snapshot"), &json!(10))
    );
    assert_eq!(last["members"].as_array().unwrap().len(), 10);
    assert!(told.len() < 40, "{} messages", told.len());
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

#[test]
fn a_room_that_nobody_uses_is_forgotten_in_time() {
    let mut now = Timestamp::from_secs(1);
    let chat = std::sync::Arc::new(rules().remove(0));
    let mut room = super::Room::new(chat, None, now);
    let who = super::Who {
        id: ClientId("1".into()),
        connection: uuid::Uuid::nil(),
        principal: "p".into(),
    };
    assert!(room.is_idle());
    assert_eq!(room.due(now), now.plus(limits::rooms::IDLE));
    room.join(&who, "0".into(), now).unwrap();
    assert!(!room.is_idle());
    room.presence.as_mut().unwrap().tell(now).unwrap();
    room.leave(&who, super::Reason::Left);
    // Whoever looks on is told first, when it is time for another message.
    assert_eq!(room.due(now), now.plus(limits::rooms::CHANGES_PAUSE));
    assert!(!room.is_idle());
    now = now.plus(limits::rooms::CHANGES_PAUSE);
    room.presence.as_mut().unwrap().tell(now).unwrap();
    assert!(room.is_idle());
    let promise = room.order.promise();
    assert!(!room.is_idle(), "something is on its way to the disk");
    drop(promise);
    assert!(room.is_idle());
}

#[actix::test]
async fn more_rooms_than_may_be_are_refused() {
    let plane = Plane::new();
    let shard = plane.topics.here();
    let handle = plane.topics.handle_of(&shard);
    for number in 0..limits::rooms::OPEN {
        let room = name(&format!("chat/{number}"));
        plane.topics.rooms().owners.insert(room, handle.clone());
    }
    let one = plane.client("1").await;
    let refused = one.send("$room/presence/chat/more", "0", AtMostOnce).await;
    assert!(matches!(refused, Err(PublishError::QuotaExceeded(_))));
    let asked = subscription("$room/presence/chat/more", AtMostOnce);
    assert_eq!(
        one.try_subscribe(asked).await.err(),
        Some(SubscribeError::TooMany)
    );
    let refused = plane.publish("chat/more", "x", AtLeastOnce).await;
    assert!(matches!(refused, Err(PublishError::QuotaExceeded(_))));
    one.send("$room/presence/chat/1", "0", AtMostOnce)
        .await
        .unwrap();
}
