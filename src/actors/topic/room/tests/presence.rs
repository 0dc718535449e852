//! Who is there, and what a crowd costs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::{join, join_all};
use tokio::sync::oneshot;

use super::super::{Reason, Room};
use super::*;
use crate::domain::Timestamp;

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
    let changes = look.changes("$room/presence/chat/a", 2).await;
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
    let lost = Instant::now();
    two.drop_connection();
    one.drop_connection();
    let one = plane.client("1").await;
    one.send("$room/presence/chat/a", "7", AtLeastOnce)
        .await
        .unwrap();
    let changes = look.changes("$room/presence/chat/a", 1).await;
    let expected = json!([{"type": "leave", "id": "2", "reason": "lost"}]);
    assert_eq!(json!(changes), expected);
    assert!(lost.elapsed() >= GRACE, "{:?}", lost.elapsed());
    one.send("$room/presence/chat/a", "", AtLeastOnce)
        .await
        .unwrap();
    let changes = look.changes("$room/presence/chat/a", 1).await;
    let expected = json!([{"type": "leave", "id": "1", "reason": "left"}]);
    assert_eq!(json!(changes), expected);
}

/// Six clients of this worker join and leave again and again; in the end the even ones are there. Meanwhile others begin to
/// look on; answers what each of them was told.
async fn come_and_go(plane: &Plane, side: &str) -> Vec<Vec<Value>> {
    const ROUNDS: usize = 120;
    let mut members = Vec::new();
    for number in 0..6 {
        members.push(plane.client(&format!("{side}{number}")).await);
    }
    let mut looking = Vec::new();
    for round in 0..=ROUNDS {
        let come_or_go = members.iter().enumerate().map(|(number, member)| {
            let is_there = (round + number) % 2 == 0;
            let data = if is_there { "{}" } else { "" };
            member.send("$room/presence/chat/a", data, AtLeastOnce)
        });
        let look = plane.client(&format!("look-{side}{round}")).await;
        let begin = look.subscribe("$room/presence/chat/a", AtMostOnce);
        // All at once: who begins to look on does so in the middle of it.
        let (come_or_gone, _) = join(join_all(come_or_go), begin).await;
        come_or_gone.into_iter().for_each(|done| done.unwrap());
        looking.push(look);
        pause(10).await;
    }
    // The last of it is told after a pause.
    pause(1000).await;
    let told = looking
        .iter()
        .map(|look| look.told("$room/presence/chat/a"));
    told.collect()
}

/// Who is there for somebody who was told this. Each message must fit on the one before.
fn believed(told: &[Value]) -> BTreeSet<String> {
    let id = |one: &Value| one["id"].as_str().unwrap().to_owned();
    let list = |value: &Value| value.as_array().unwrap().clone();
    let mut there = BTreeSet::new();
    let mut before = None;
    for one in told {
        let version = one["version"].as_u64().unwrap();
        assert!(
            before.is_none_or(|before| version == before + 1),
            "{told:#?}"
        );
        before = Some(version);
        if one["type"] == "snapshot" {
            there = list(&one["members"]).iter().map(id).collect();
        } else {
            for change in list(&one["changes"]) {
                let fits = match change["type"].as_str().unwrap() {
                    "join" => there.insert(id(&change)),
                    "leave" => there.remove(&id(&change)),
                    _ => there.contains(&id(&change)),
                };
                assert!(fits, "{change} of {one}, of {told:#?}");
            }
        }
        assert_eq!(one["count"], there.len());
    }
    there
}

#[actix::test]
async fn members_of_two_workers_come_and_go_in_one_order_for_all_who_look_on() {
    let plane = Plane::new();
    // This worker's shard is there before the other's.
    let _here = plane.client("here").await;
    let (ready, is_ready) = oneshot::channel();
    let (tell, told) = oneshot::channel();
    let other = plane.elsewhere(async move |plane| {
        let _there = plane.client("there").await;
        ready.send(()).unwrap();
        tell.send(come_and_go(&plane, "far").await).unwrap();
    });
    is_ready.await.unwrap();
    let near = come_and_go(&plane, "near").await;
    let far = told.await.unwrap();
    let expected: BTreeSet<_> = ["far0", "far2", "far4", "near0", "near2", "near4"]
        .map(str::to_owned)
        .into();
    let all: Vec<_> = near.iter().chain(&far).collect();
    assert_eq!(all.len(), 242);
    let mut by_version = BTreeMap::new();
    for told in all {
        assert_eq!(believed(told), expected);
        // But for the list that each begins with, all are told the same.
        for one in &told[1..] {
            let same = by_version.entry(one["version"].as_u64()).or_insert(one);
            assert_eq!(*same, one);
        }
    }
    let messages = by_version.len();
    assert!(messages >= 8, "{messages} are too few to mean anything");
    other.stop();
}

#[test]
fn what_becomes_of_an_earlier_connection_is_nothing_to_the_member() {
    let now = Timestamp::from_secs(1);
    let mut room = Room::new(Arc::new(rules().remove(0)), None, now);
    let (old, new) = (who(1), who(2));
    for who in [&old, &new] {
        room.join(who, "0".into(), now).unwrap();
    }
    room.leave(&old, Reason::Removed);
    room.lose(&old, now);
    room.pass(now.plus(2 * GRACE));
    assert_eq!(room.count().members, 1);
    // What it says itself counts, by whichever connection it came.
    room.leave(&old, Reason::Left);
    assert_eq!(room.count().members, 0);
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
