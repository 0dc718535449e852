//! The limits of `config/limits.rs` that concern queues, reached and not passed.

use futures_util::future::join_all;

use super::redrive::{ended, source};
use super::*;
use crate::backends::{Change, QueueStore};
use crate::config::limits;

fn roomy() -> Bench {
    Bench::with(QueuesConfig {
        mailbox: 65_536,
        max_messages: 65_536,
        ..config()
    })
}

/// How many of these were throttled; the others must have gone well.
fn throttled<T: std::fmt::Debug>(answers: Vec<Result<T, QueueError>>) -> usize {
    let (fine, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    drop(fine);
    for answer in &refused {
        assert!(matches!(answer, Err(QueueError::Throttled)), "{answer:?}");
    }
    refused.len()
}

#[actix::test]
async fn so_many_commits_of_one_queue_are_on_their_way() {
    let bench = roomy();
    let queue = bench.queue("q", |_| {}).await;
    bench.send(&queue, "loaded").await.unwrap();
    // Longer than it takes to hand them all in.
    bench.store.mischief.lock().unwrap().delay = Duration::from_secs(5);
    let sends = (0..limits::QUEUE_COMMITS + 3).map(|_| bench.send(&queue, "a"));
    assert_eq!(throttled(join_all(sends).await), 3);
    bench.store.mischief.lock().unwrap().delay = Duration::ZERO;
    assert!(bench.send(&queue, "b").await.is_ok(), "there is room again");
}

#[actix::test]
async fn so_many_requests_wait_in_a_queues_mailbox() {
    let bench = Bench::with(QueuesConfig {
        mailbox: 16,
        ..config()
    });
    let queue = bench.queue("q", |_| {}).await;
    bench.send(&queue, "loaded").await.unwrap();
    // The actor runs on this thread: all of them are handed in before it does.
    let counts = (0..100).map(|_| bench.queues.counts(&queue));
    let refused = throttled(join_all(counts).await);
    assert!((83..=84).contains(&refused), "{refused}");
    assert_eq!(bench.counts(&queue).await, (1, 0, 0));
}

#[actix::test]
async fn a_purge_is_committed_in_parts() {
    let bench = Bench::with(QueuesConfig {
        max_messages: 2 * limits::PURGE_CHANGES,
        ..config()
    });
    let queue = bench.queue("q", |_| {}).await;
    let changes = vec![Change::Send(stored("a")); limits::PURGE_CHANGES + 1];
    bench.store.commit(queue.no, changes).await.unwrap();
    assert_eq!(
        bench.counts(&queue).await.0,
        limits::PURGE_CHANGES as u64 + 1
    );
    bench.store.commits.lock().unwrap().clear();
    bench.queues.purge(&queue).await.unwrap();
    let parts = bench.store.commits.lock().unwrap().clone();
    assert_eq!(parts, [limits::PURGE_CHANGES, 1]);
    assert_eq!(bench.counts(&queue).await, (0, 0, 0));
}

#[actix::test]
async fn so_many_queues_are_loaded_at_a_time() {
    let bench = roomy();
    let mut queues = Vec::new();
    for number in 0..2 * limits::PARALLEL_LOADS + 1 {
        queues.push(bench.queue(&format!("q{number}"), |_| {}).await);
    }
    bench.store.mischief.lock().unwrap().load = Duration::from_millis(100);
    let counted = join_all(queues.iter().map(|queue| bench.queues.counts(queue))).await;
    assert!(counted.iter().all(Result::is_ok), "{counted:?}");
    let most = bench.store.loading.lock().unwrap().1;
    assert_eq!(most, limits::PARALLEL_LOADS);
}

#[actix::test]
async fn of_ended_moves_the_newest_are_listed() {
    let bench = roomy();
    let dead = bench.queue("dead", |_| {}).await;
    source(&bench).await;
    let mut started = Vec::new();
    for _ in 0..limits::KEPT_MOVE_TASKS + 2 {
        let task = bench.queues.start_move(&dead, None, None).await.unwrap();
        ended(&bench, &dead).await;
        started.push(task.handle);
    }
    let listed = bench.queues.list_moves(&dead, 1000).await.unwrap();
    let listed: Vec<_> = listed.into_iter().map(|task| task.handle).collect();
    let newest: Vec<_> = started
        .into_iter()
        .rev()
        .take(limits::KEPT_MOVE_TASKS)
        .collect();
    assert_eq!(listed, newest);
}
