//! What becomes of users' actors that panic.

use std::sync::atomic::Ordering;

use actix::Arbiter;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::json;

use super::*;
use crate::actors::testing::room;
use crate::app::testing::Composed;
use crate::backends::testing::Brittle;

const USER: UserId = UserId(3);

struct Given {
    composed: Composed,
    store: Arc<Brittle>,
    users: Users,
}

/// User 3 has three unread messages.
async fn given(idle_after: Duration) -> Given {
    given_in(Composed::new(), idle_after).await
}

async fn given_in(composed: Composed, idle_after: Duration) -> Given {
    for id in ["a", "b", "c"] {
        let message = json!({ "messageId": id }).to_string();
        composed.ok(("POST", "/notify/user/3"), &message).await;
    }
    let store = Brittle::before(composed.history());
    let users = Users::new(
        store.clone(),
        composed.dispatchers(),
        composed.clock(),
        idle_after,
        vec![Arbiter::current()],
        Traces::new(1),
    );
    Given {
        composed,
        store,
        users,
    }
}

fn ids(ids: &[&str]) -> Unread {
    let ids = ids.iter().map(|id| MessageId::parse(id).unwrap());
    Unread::Ids(ids.collect())
}

const LONG: Duration = Duration::from_secs(3600);

#[actix::test]
async fn an_actor_that_panics_is_replaced_and_counted() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let given = given(LONG).await;
    given.store.receipts.store(1, Ordering::SeqCst);
    // The second actor finds on disk whatever the first had done.
    let receipted = given.users.set_read(USER, ids(&["a"])).await.unwrap();
    assert_eq!(receipted, [MessageId::parse("a").unwrap()]);
    assert_eq!(given.users.unread(USER).await, Ok(2));
    let text = recorder.handle().render();
    for counted in [
        r#"fanfare_actor_respawns_total{actor="user"} 1"#,
        r#"fanfare_actors{actor="user"} 1"#,
    ] {
        assert!(text.contains(counted), "{counted}: {text}");
    }
}

#[actix::test]
async fn an_actor_that_panics_again_and_again_is_not_replaced_for_ever() {
    let given = given(LONG).await;
    given.store.receipts.store(1000, Ordering::SeqCst);
    let mut outcomes = Vec::new();
    for _ in 0..limits::PANICS {
        outcomes.push(given.users.set_read(USER, ids(&["a"])).await);
    }
    let last = outcomes.pop().unwrap();
    assert!(matches!(last, Err(StoreError::Failed(_))), "{last:?}");
    let left = given.store.receipts.load(Ordering::SeqCst);
    assert_eq!(1000 - left, limits::PANICS, "so many were started");
    // Others have nothing to do with it.
    assert_eq!(given.users.unread(UserId(4)).await, Ok(0));
}

#[actix::test]
async fn a_promise_outlives_the_actors_that_were_to_keep_it() {
    let given = given(LONG).await;
    given.store.receipts.store(2, Ordering::SeqCst);
    let promised = given.users.set_read_later(USER, ids(&["a", "b"])).await;
    assert_eq!(promised, Ok(()));
    for _ in 0..1000 {
        if given.users.unread(USER).await == Ok(1) {
            // What is kept is forgotten a moment later.
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert_eq!(given.composed.history().promised(), Ok(Vec::new()));
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the promise was not kept");
}

/// What one commit was given: how many marks, the text of the message, and whether it keeps a promise.
fn commits(given: &Given) -> Vec<(usize, Option<serde_json::Value>, bool)> {
    let seen = given.store.given.lock().unwrap();
    let commit = |receipt: &Receipt| {
        let notice = receipt.notice.as_ref();
        let text = notice.map(|notice| serde_json::from_slice(&notice.message.body).unwrap());
        (receipt.marks.len(), text, receipt.keeps.is_some())
    };
    seen.iter().map(commit).collect()
}

#[actix::test]
async fn marks_message_and_the_end_of_a_promise_are_one_commit() {
    let given = given(LONG).await;
    given.composed.ok(("POST", "/create/1/alice/3"), "").await;
    given
        .users
        .set_read_later(USER, ids(&["a", "b"]))
        .await
        .unwrap();
    while given.composed.history().promised() != Ok(Vec::new()) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut seen = commits(&given);
    let mut notice = seen[0].1.take().unwrap();
    // The dispatcher gives every message an id.
    assert!(notice["messageId"].take().is_string());
    let said = json!({
        "_type": "message-read-receipt", "userId": 3, "messages-receipted": ["a", "b"], "_sqs_only": 1,
        "messageId": null,
    });
    assert_eq!(notice, said);
    assert_eq!(seen, [(2, None, true)]);
    // Nothing changes: nobody is told, and the promise is kept all the same.
    let unchanged = given.users.set_read(USER, ids(&["a"])).await;
    assert_eq!(unchanged, Ok(Vec::new()));
    given.users.set_read_later(USER, ids(&["a"])).await.unwrap();
    while given.composed.history().promised() != Ok(Vec::new()) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(commits(&given)[1..], [(0, None, true)]);
}

#[actix::test]
async fn each_batch_has_a_message_and_the_last_ends_the_promise() {
    let given = given(LONG).await;
    given.composed.ok(("POST", "/create/1/alice/3"), "").await;
    let count = limits::RECEIPT_BATCH + 1;
    for n in 3..count {
        let message = json!({ "messageId": n.to_string() }).to_string();
        given
            .composed
            .ok(("POST", "/notify/user/3"), &message)
            .await;
    }
    let all = Unread::AsOf(given.composed.clock().now());
    given.users.set_read_later(USER, all).await.unwrap();
    while given.composed.history().promised() != Ok(Vec::new()) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let named: Vec<_> = commits(&given)
        .into_iter()
        .map(|(marks, notice, keeps)| {
            let named = notice.unwrap()["messages-receipted"]
                .as_array()
                .unwrap()
                .len();
            (marks, named, keeps)
        })
        .collect();
    let batch = limits::RECEIPT_BATCH;
    assert_eq!(named, [(batch, batch, false), (1, 1, true)]);
}

#[actix::test]
async fn a_full_queue_gets_no_receipt_message_and_stops_no_receipt() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let composed = Composed::tuned(|settings| settings.session_queue_limit = 1);
    let given = given_in(composed, LONG).await;
    for session in ["full", "free"] {
        let path = format!("/create/1/{session}/3");
        given.composed.ok(("POST", &path), "").await;
    }
    let path = "/notify/1/user/3/session/full";
    given.composed.ok(("POST", path), "{}").await;
    let refused = "fanfare_receipt_messages_refused_total";
    // One queue is full; then, by the first receipt message, both are.
    for (id, refusals) in [("a", 1), ("b", 3)] {
        let receipted = given.users.set_read(USER, ids(&[id])).await.unwrap();
        assert_eq!(receipted.len(), 1);
        let text = recorder.handle().render();
        assert!(text.contains(&format!("{refused} {refusals}")), "{text}");
    }
    let told: Vec<bool> = commits(&given)
        .iter()
        .map(|(_, notice, _)| notice.is_some())
        .collect();
    assert_eq!(told, [true, false]);
    let post = given
        .composed
        .rest(&crate::auth::testing::operator(), ("POST", path), "{}")
        .await;
    assert_eq!(post.status, 429, "{}", post.text);
}

#[actix::test]
async fn so_many_requests_wait_in_the_mailbox() {
    let given = given(LONG).await;
    let (store, dispatchers) = (given.composed.history(), given.composed.dispatchers());
    let clock = given.composed.clock();
    let user = User::new(
        USER,
        store,
        dispatchers,
        clock,
        LONG,
        Traces::new(1),
        Box::new(|_| {}),
    )
    .start();
    assert_eq!(user.send(CountUnread).await, Ok(Ok(3)));
    let room = room(&user, || CountUnread);
    assert!((0..=1).contains(&(room - limits::USER_MAILBOX)), "{room}");
    // Who finds no room waits for it.
    assert_eq!(user.send(CountUnread).await, Ok(Ok(3)));
}

#[actix::test]
async fn an_idle_actor_goes_and_is_no_panic() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let given = given(Duration::from_millis(20)).await;
    for _ in 0..3 {
        assert_eq!(given.users.unread(USER).await, Ok(3));
        tokio::time::sleep(Duration::from_millis(100)).await;
        let text = recorder.handle().render();
        assert!(text.contains(r#"fanfare_actors{actor="user"} 0"#), "{text}");
        assert!(!text.contains("respawns"), "{text}");
    }
}
