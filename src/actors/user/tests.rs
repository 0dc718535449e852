//! What becomes of users' actors that panic.

use std::sync::atomic::Ordering;

use actix::Arbiter;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::json;

use super::*;
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
    let composed = Composed::new();
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
