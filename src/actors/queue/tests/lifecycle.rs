//! Actors come and go: idle, deleted, panicking, drained.

use std::time::Instant;

use super::*;
use crate::domain::StoreError;

fn briefly(idle_after: u64) -> Bench {
    Bench::with(QueuesConfig {
        idle_after: Duration::from_millis(idle_after),
        ..config()
    })
}

fn loads(bench: &Bench) -> usize {
    *bench.store.loads.lock().unwrap()
}

#[actix::test]
async fn an_idle_actor_goes_and_nothing_is_forgotten() {
    let bench = briefly(20);
    let queue = bench.queue("q", |_| {}).await;
    bench.send(&queue, "a").await.unwrap();
    bench.send(&queue, "b").await.unwrap();
    let one = Receive { max: 1, ..short() };
    let first = bench.queues.receive(&queue, one).await.unwrap().remove(0);
    let before = loads(&bench);
    pause(100).await;
    assert_eq!(bench.counts(&queue).await, (1, 1, 0));
    assert!(loads(&bench) > before);
    assert_eq!(bodies(&bench.receive(&queue).await), ["b"]);
    bench.delete(&queue, &first.handle).await.unwrap();
    assert_eq!(bench.counts(&queue).await, (0, 1, 0));
}

#[actix::test]
async fn a_waiting_poll_keeps_the_actor() {
    let bench = briefly(50);
    let queue = bench.queue("q", |_| {}).await;
    let wait = long(Duration::from_millis(400));
    assert!(bench.queues.receive(&queue, wait).await.unwrap().is_empty());
    assert_eq!(loads(&bench), 1);
}

#[actix::test]
async fn requests_that_meet_a_leaving_actor_are_done_once() {
    // Leaves as soon as it has nothing to do; another thread asks too, so that it starts there as often as here and
    // this happens at any moment.
    let bench = briefly(0);
    let queue = bench.queue("q", |_| {}).await;
    let other = actix_rt::Arbiter::new();
    let (queues, asked) = (bench.queues.clone(), queue.clone());
    other.spawn(async move {
        while queues.counts(&asked).await.is_ok() {
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
    });
    for round in 0..300_u64 {
        bench.send(&queue, "a").await.unwrap();
        for _ in 0..round % 7 {
            tokio::time::sleep(Duration::from_micros(300 * (round % 5))).await;
        }
    }
    assert_eq!(bench.counts(&queue).await, (300, 0, 0));
    assert!(loads(&bench) > 10, "loaded {} times", loads(&bench));
    other.stop();
}

#[actix::test]
async fn a_poll_on_a_deleted_queue_is_told() {
    let bench = Bench::new();
    let queue = bench.queue("q", |_| {}).await;
    let started = Instant::now();
    let (poll, ()) = tokio::join!(bench.queues.receive(&queue, long(LONG)), async {
        pause(20).await;
        bench.queues.delete_queue(&queue).await.unwrap();
    });
    assert_eq!(poll.map(|_| ()), Err(QueueError::DoesNotExist));
    assert!(started.elapsed() < Duration::from_secs(2));
    assert_eq!(bench.send(&queue, "a").await, Err(QueueError::DoesNotExist));
    assert_eq!(
        bench.queues.find(&queue.name),
        Err(QueueError::DoesNotExist)
    );
    let again = bench.queues.delete_queue(&queue).await;
    assert_eq!(again, Err(QueueError::DoesNotExist));
}

#[actix::test]
async fn a_panicking_actor_is_replaced_until_it_is_too_much() {
    let bench = Bench::with(QueuesConfig {
        cached_body_bytes: 0,
        ..config()
    });
    let queue = bench.queue("q", |_| {}).await;
    bench.send(&queue, "a").await.unwrap();
    let panics = |times| bench.store.mischief.lock().unwrap().panics = times;
    // A poll that was waiting when the actor panicked goes on waiting on the next.
    let other = bench.queue("other", |_| {}).await;
    let (polled, ()) = tokio::join!(bench.queues.receive(&other, long(LONG)), async {
        pause(20).await;
        panics(1);
        // Whoever sent while the actor panicked may be told that it can not be known whether the message is stored.
        let _ = bench.send(&other, "b").await;
    });
    assert_eq!(bodies(&polled.unwrap()), ["b"]);
    panics(usize::MAX);
    let refused = bench.queues.receive(&queue, short()).await;
    assert!(
        matches!(refused, Err(QueueError::Store(StoreError::Failed(_)))),
        "{refused:?}"
    );
    panics(0);
    assert!(
        bench.queues.counts(&queue).await.is_err(),
        "refused for a while"
    );
    assert_eq!(bench.counts(&other).await, (0, 1, 0), "others are served");
}

#[actix::test]
async fn draining_answers_everyone() {
    let bench = Bench::new();
    let queue = bench.queue("q", |_| {}).await;
    let started = Instant::now();
    let (poll, ()) = tokio::join!(bench.queues.receive(&queue, long(LONG)), async {
        pause(20).await;
        bench.queues.drain().await;
    });
    assert!(poll.unwrap().is_empty());
    let late = bench.queues.receive(&queue, long(LONG)).await;
    assert!(late.unwrap().is_empty(), "nobody waits any more");
    bench.send(&queue, "a").await.unwrap();
    assert_eq!(bench.receive(&queue).await.len(), 1, "but all else goes on");
    assert!(started.elapsed() < Duration::from_secs(2));
}
