//! Standard queues: send, receive, delete, visibility, limits.

use std::time::{Duration, Instant};

use futures_util::FutureExt as _;

use super::*;
use crate::domain::StoreError;

#[actix::test]
async fn a_message_goes_in_and_out() {
    let bench = Bench::new();
    let queue = bench.queue("q", |_| {}).await;
    let sent = bench.send(&queue, "hello").await.unwrap();
    assert_eq!(sent.sequence_number, None);
    assert_eq!(bench.counts(&queue).await, (1, 0, 0));
    let received = bench.receive(&queue).await;
    assert_eq!(bodies(&received), ["hello"]);
    assert_eq!(received[0].message_id, sent.message_id);
    assert_eq!(received[0].receive_count, 1);
    assert_eq!(bench.counts(&queue).await, (0, 1, 0));
    assert!(bench.receive(&queue).await.is_empty());
    let handle = &received[0].handle;
    assert_eq!(bench.delete(&queue, handle).await, Ok(()));
    assert_eq!(
        bench.delete(&queue, handle).await,
        Ok(()),
        "deleted already"
    );
    assert_eq!(bench.counts(&queue).await, (0, 0, 0));
}

#[actix::test]
async fn answers_wait_for_the_disk() {
    let bench = Bench::new();
    let queue = bench.queue("q", |_| {}).await;
    bench.store.mischief.lock().unwrap().delay = Duration::from_millis(150);
    let timed = |started: Instant| started.elapsed() >= Duration::from_millis(150);
    let started = Instant::now();
    bench.send(&queue, "a").await.unwrap();
    assert!(timed(started), "send");
    let started = Instant::now();
    let handle = bench.receive(&queue).await.remove(0).handle;
    assert!(!timed(started), "a receive does not wait");
    let started = Instant::now();
    bench
        .hide(&queue, &handle, Duration::from_secs(9))
        .await
        .unwrap();
    assert!(timed(started), "change of visibility");
    let started = Instant::now();
    let (first, second) = tokio::join!(bench.delete(&queue, &handle), async {
        pause(10).await;
        let second = bench.delete(&queue, &handle).await;
        assert!(timed(started), "a repeated delete waits as well");
        second
    });
    assert_eq!((first, second), (Ok(()), Ok(())));
}

#[actix::test]
async fn a_long_poll_wakes_at_once() {
    let bench = Bench::new();
    let queue = bench.queue("q", |_| {}).await;
    let started = Instant::now();
    let (received, _) = tokio::join!(bench.queues.receive(&queue, long(LONG)), async {
        pause(20).await;
        bench.send(&queue, "a").await.unwrap();
    });
    assert_eq!(bodies(&received.unwrap()), ["a"]);
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[actix::test]
async fn a_long_poll_gets_what_becomes_visible_meanwhile() {
    let bench = Bench::new();
    let queue = bench.queue("q", |_| {}).await;
    let entry = Outgoing {
        delay: Some(Duration::from_millis(300)),
        ..outgoing("late")
    };
    bench.send_one(&queue, entry).await.unwrap();
    assert_eq!(bench.counts(&queue).await, (0, 0, 1));
    assert!(bench.receive(&queue).await.is_empty());
    let started = Instant::now();
    let received = bench.queues.receive(&queue, long(LONG)).await.unwrap();
    assert_eq!(bodies(&received), ["late"]);
    assert!(started.elapsed() < LONG / 2, "not only at its own end");
}

#[actix::test]
async fn a_long_poll_ends_with_nothing() {
    let bench = Bench::new();
    let queue = bench.queue("q", |_| {}).await;
    let started = Instant::now();
    let wait = Duration::from_millis(60);
    assert!(
        bench
            .queues
            .receive(&queue, long(wait))
            .await
            .unwrap()
            .is_empty()
    );
    assert!(started.elapsed() >= wait);
}

#[actix::test]
async fn polls_are_served_in_their_order() {
    let bench = Bench::new();
    let queue = bench.queue("q", |_| {}).await;
    let one = || Receive {
        max: 1,
        ..long(LONG)
    };
    let (first, second, ()) = tokio::join!(
        bench.queues.receive(&queue, one()),
        async {
            pause(10).await;
            bench.queues.receive(&queue, one()).await
        },
        async {
            pause(30).await;
            bench.send(&queue, "a").await.unwrap();
            bench.send(&queue, "b").await.unwrap();
        }
    );
    assert_eq!(bodies(&first.unwrap()), ["a"]);
    assert_eq!(bodies(&second.unwrap()), ["b"]);
}

#[actix::test]
async fn a_client_that_left_gets_nothing() {
    let bench = Bench::new();
    let queue = bench.queue("q", |_| {}).await;
    let gone = tokio::time::timeout(
        Duration::from_millis(20),
        bench.queues.receive(&queue, long(LONG)),
    );
    assert!(gone.await.is_err());
    bench.send(&queue, "a").await.unwrap();
    assert_eq!(bench.receive(&queue).await[0].receive_count, 1);
}

#[actix::test]
async fn an_answer_that_nobody_took_is_taken_back() {
    let bench = Bench::new();
    let queue = bench.queue("q", |_| {}).await;
    assert_eq!(bench.counts(&queue).await, (0, 0, 0));
    let mut poll = Box::pin(bench.queues.receive(&queue, long(LONG)));
    assert!((&mut poll).now_or_never().is_none());
    bench.send(&queue, "a").await.unwrap();
    assert_eq!(bench.counts(&queue).await, (0, 1, 0), "handed to the poll");
    drop(poll);
    assert_eq!(bench.counts(&queue).await, (1, 0, 0));
    assert_eq!(bench.receive(&queue).await[0].receive_count, 1);
}

#[actix::test]
async fn deletions_at_one_time_are_one_deletion() {
    let bench = Bench::new();
    let queue = bench.queue("q", |_| {}).await;
    bench.send(&queue, "a").await.unwrap();
    let handle = bench.receive(&queue).await.remove(0).handle;
    bench.store.mischief.lock().unwrap().delay = Duration::from_millis(20);
    let (one, two) = tokio::join!(bench.delete(&queue, &handle), bench.delete(&queue, &handle));
    assert_eq!((one, two), (Ok(()), Ok(())));
    assert_eq!(bench.counts(&queue).await, (0, 0, 0));

    bench.store.mischief.lock().unwrap().delay = Duration::ZERO;
    bench.send(&queue, "b").await.unwrap();
    let handle = bench.receive(&queue).await.remove(0).handle;
    bench.store.mischief.lock().unwrap().fail = Some(StoreError::Overloaded);
    let (one, two) = tokio::join!(bench.delete(&queue, &handle), bench.delete(&queue, &handle));
    assert!(one.is_err() && two.is_err(), "{one:?} {two:?}");
}

#[actix::test]
async fn an_expired_handle_still_deletes() {
    let bench = Bench::new();
    let timeout = Duration::from_millis(20);
    let queue = bench.queue("q", |q| q.visibility_timeout = timeout).await;
    bench.send(&queue, "a").await.unwrap();
    let first = bench.receive(&queue).await.remove(0).handle;
    pause(40).await;
    assert_eq!(bench.counts(&queue).await, (1, 0, 0));
    let not_in_flight = bench.hide(&queue, &first, LONG).await;
    assert_eq!(not_in_flight, Err(QueueError::MessageNotInflight));
    let again = bench.receive(&queue).await.remove(0);
    assert_eq!(again.receive_count, 2);
    assert_ne!(again.handle, first);
    let older = bench.hide(&queue, &first, LONG).await;
    assert!(
        matches!(older, Err(QueueError::InvalidParameter(_))),
        "{older:?}"
    );
    assert_eq!(bench.delete(&queue, &first).await, Ok(()));
    assert_eq!(bench.counts(&queue).await, (0, 0, 0));
}

#[actix::test]
async fn visibility_ends_when_told() {
    let bench = Bench::new();
    let queue = bench.queue("q", |_| {}).await;
    bench.send(&queue, "a").await.unwrap();
    let handle = bench.receive(&queue).await.remove(0).handle;
    bench.hide(&queue, &handle, Duration::ZERO).await.unwrap();
    let again = bench.receive(&queue).await.remove(0);
    let check = |result: Result<(), QueueError>, expect: &str| {
        assert_eq!(
            result.map_err(|error| error.to_string()),
            Err(expect.into())
        );
    };
    check(
        bench
            .hide(&queue, &again.handle, Duration::from_secs(43_201))
            .await,
        "Value 43201 for parameter VisibilityTimeout is invalid. Reason: Total VisibilityTimeout for the message is \
         beyond the limit [43200 seconds]",
    );
    check(
        bench.hide(&queue, "nonsense", LONG).await,
        "The input receipt handle \"nonsense\" is not a valid receipt handle.",
    );
    let other = bench.queue("other", |_| {}).await;
    let foreign = bench.delete(&other, &again.handle).await;
    assert_eq!(
        foreign,
        Err(QueueError::ReceiptHandleIsInvalid(again.handle))
    );
}

#[actix::test]
async fn limits_refuse() {
    let bench = Bench::with(QueuesConfig {
        max_messages: 3,
        max_in_flight: 2,
        max_waiting: 1,
        ..config()
    });
    let queue = bench.queue("q", |_| {}).await;
    for body in ["a", "b", "c"] {
        bench.send(&queue, body).await.unwrap();
    }
    assert_eq!(bench.send(&queue, "d").await, Err(QueueError::QueueFull));
    assert_eq!(bench.receive(&queue).await.len(), 2);
    let over = bench.queues.receive(&queue, short()).await;
    assert_eq!(over.map(|_| ()), Err(QueueError::OverLimit));
    let waiting = bench
        .queues
        .receive(&queue, long(Duration::from_millis(400)));
    let (waited, throttled) = tokio::join!(waiting, async {
        pause(20).await;
        bench.queues.receive(&queue, short()).await
    });
    assert!(waited.unwrap().is_empty(), "a long poll waits instead");
    assert_eq!(throttled.map(|_| ()), Err(QueueError::Throttled));
}

#[actix::test]
async fn what_the_store_refuses_did_not_happen() {
    let bench = Bench::new();
    let queue = bench.queue("q", |_| {}).await;
    bench.send(&queue, "a").await.unwrap();
    let handle = bench.receive(&queue).await.remove(0).handle;
    let full = || StoreError::Full("no space".into());
    bench.store.mischief.lock().unwrap().fail = Some(full());
    assert_eq!(bench.send(&queue, "b").await, Err(full().into()));
    assert_eq!(bench.delete(&queue, &handle).await, Err(full().into()));
    bench.store.mischief.lock().unwrap().fail = None;
    assert_eq!(bench.counts(&queue).await, (0, 1, 0));
    assert_eq!(bench.delete(&queue, &handle).await, Ok(()));
    assert_eq!(bench.counts(&queue).await, (0, 0, 0));
}

#[actix::test]
async fn a_purge_takes_everything_once_a_minute() {
    let bench = Bench::new();
    let queue = bench.queue("q", |_| {}).await;
    bench.send(&queue, "a").await.unwrap();
    bench.send(&queue, "b").await.unwrap();
    bench
        .queues
        .receive(&queue, Receive { max: 1, ..short() })
        .await
        .unwrap();
    bench.queues.purge(&queue).await.unwrap();
    assert_eq!(bench.counts(&queue).await, (0, 0, 0));
    let again = bench.queues.purge(&queue).await;
    assert_eq!(again, Err(QueueError::PurgeInProgress("q".into())));
}

#[actix::test]
async fn messages_expire() {
    let bench = Bench::new();
    let queue = bench
        .queue("q", |q| q.retention = Duration::from_millis(300))
        .await;
    bench.send(&queue, "a").await.unwrap();
    assert_eq!(bench.counts(&queue).await, (1, 0, 0));
    pause(400).await;
    assert_eq!(bench.counts(&queue).await, (0, 0, 0));
    assert!(bench.receive(&queue).await.is_empty());
}

#[actix::test]
async fn bodies_beyond_the_budget_are_read_when_needed() {
    let bench = Bench::with(QueuesConfig {
        cached_body_bytes: 4,
        ..config()
    });
    let queue = bench.queue("q", |_| {}).await;
    for body in ["abc", "def", "ghi"] {
        bench.send(&queue, body).await.unwrap();
    }
    assert_eq!(bodies(&bench.receive(&queue).await), ["abc", "def", "ghi"]);
    let cached = || {
        bench
            .queues
            .directory
            .cached
            .load(std::sync::atomic::Ordering::Relaxed)
    };
    assert_eq!(cached(), 3);
    bench.queues.purge(&queue).await.unwrap();
    assert_eq!(cached(), 0);
}

#[actix::test]
async fn create_is_repeatable_and_compares_what_is_given() {
    let bench = Bench::new();
    let queue = bench.queue("q", |_| {}).await;
    let create = |given: &'static [&'static str], seconds| {
        let attributes = QueueAttributes {
            visibility_timeout: Duration::from_secs(seconds),
            ..QueueAttributes::default()
        };
        let (name, tags) = (queue.name.clone(), std::collections::BTreeMap::new());
        bench.queues.create(name, attributes, given, tags)
    };
    assert_eq!(create(&[], 5).await, Ok(queue.clone()));
    assert_eq!(create(&["VisibilityTimeout"], 30).await, Ok(queue.clone()));
    let differs = Err(QueueError::NameExists("VisibilityTimeout".into()));
    assert_eq!(
        create(&["DelaySeconds", "VisibilityTimeout"], 5).await,
        differs
    );
}

#[actix::test]
async fn an_edit_takes_effect_at_once() {
    let bench = Bench::new();
    let queue = bench.queue("q", |_| {}).await;
    bench.send(&queue, "a").await.unwrap();
    let edited = bench
        .queues
        .edit(
            &queue,
            Box::new(|record| {
                record.attributes.visibility_timeout = Duration::ZERO;
                Ok(())
            }),
        )
        .await
        .unwrap();
    assert!(edited.modified > queue.modified);
    assert_eq!(bench.receive(&queue).await.len(), 1);
    assert_eq!(bench.counts(&queue).await, (1, 0, 0));
}
