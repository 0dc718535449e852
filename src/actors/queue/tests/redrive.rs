//! Dead letters and their way back.

use super::*;
use crate::actors::queue::messages::{MoveStatus, MoveTask};
use crate::domain::queue::RedrivePolicy;

fn redrive(target: &str, max: u32) -> Option<RedrivePolicy> {
    Some(RedrivePolicy {
        dead_letter_target_arn: format!("arn:aws:sqs:us-east-1:000000000000:{target}"),
        max_receive_count: max,
    })
}

/// A queue whose messages go to `dead` after one receive, with no visibility timeout.
pub(super) async fn source(bench: &Bench) -> QueueRecord {
    bench
        .queue("source", |q| {
            q.redrive = redrive("dead", 1);
            q.visibility_timeout = Duration::ZERO;
        })
        .await
}

pub(super) async fn ended(bench: &Bench, source: &QueueRecord) -> MoveTask {
    for _ in 0..200 {
        let task = bench.queues.list_moves(source, 10).await.unwrap().remove(0);
        if !matches!(task.status, MoveStatus::Running | MoveStatus::Cancelling) {
            return task;
        }
        pause(10).await;
    }
    panic!("the task does not end");
}

#[actix::test]
async fn a_message_received_too_often_goes_to_the_dead_letters() {
    let bench = Bench::new();
    let dead = bench.queue("dead", |_| {}).await;
    let queue = source(&bench).await;
    let sent = bench.send(&queue, "a").await.unwrap();
    assert_eq!(bench.counts(&dead).await, (0, 0, 0));
    assert_eq!(bench.receive(&queue).await.len(), 1);
    bench.store.mischief.lock().unwrap().delay = Duration::from_millis(20);
    assert!(bench.receive(&queue).await.is_empty());
    let letter = bench.receive(&dead).await.remove(0);
    assert_eq!(letter.message_id, sent.message_id);
    assert_eq!(letter.receive_count, 2);
    let arn = letter.dead_letter_source.as_deref();
    assert_eq!(arn, Some("arn:aws:sqs:us-east-1:000000000000:source"));
    assert_eq!(bench.counts(&queue).await, (0, 0, 0));
}

#[actix::test]
async fn without_a_dead_letter_queue_messages_stay() {
    let bench = Bench::new();
    let dead = bench.queue("dead", |_| {}).await;
    let queue = source(&bench).await;
    bench.queues.delete_queue(&dead).await.unwrap();
    bench.send(&queue, "a").await.unwrap();
    for count in 1..4 {
        assert_eq!(bench.receive(&queue).await[0].receive_count, count);
    }
}

#[actix::test]
async fn a_dead_letter_that_the_store_refuses_stays() {
    let bench = Bench::new();
    bench.queue("dead", |_| {}).await;
    let queue = source(&bench).await;
    bench.send(&queue, "a").await.unwrap();
    bench.receive(&queue).await;
    bench.store.mischief.lock().unwrap().fail = Some(crate::domain::StoreError::Overloaded);
    assert!(bench.queues.receive(&queue, short()).await.is_err());
    bench.store.mischief.lock().unwrap().fail = None;
    assert_eq!(bench.counts(&queue).await, (1, 0, 0));
}

#[actix::test]
async fn dead_letters_go_back_where_they_came_from() {
    let bench = Bench::new();
    let dead = bench.queue("dead", |_| {}).await;
    let queue = source(&bench).await;
    for body in ["a", "b", "c"] {
        bench.send(&queue, body).await.unwrap();
    }
    bench.receive(&queue).await;
    bench.receive(&queue).await;
    assert_eq!(bench.counts(&dead).await, (3, 0, 0));
    let task = bench.queues.start_move(&dead, None, None).await.unwrap();
    assert_eq!((task.status, task.to_move), (MoveStatus::Running, 3));
    let again = bench.queues.start_move(&dead, None, None).await;
    assert!(
        matches!(again, Err(QueueError::InvalidParameter(_))),
        "{again:?}"
    );
    let task = ended(&bench, &dead).await;
    assert_eq!((task.status, task.moved), (MoveStatus::Completed, 3));
    // Their receives are counted anew, or they would be dead again at once.
    assert_eq!(bench.receive(&queue).await[0].receive_count, 1);
    assert!(bench.queues.cancel_move(&task.handle).await.is_err());
}

#[actix::test]
async fn a_move_keeps_its_rate_and_can_be_cancelled() {
    let bench = Bench::new();
    let dead = bench.queue("dead", |_| {}).await;
    let other = bench.queue("other", |_| {}).await;
    source(&bench).await;
    for _ in 0..5 {
        bench.send(&dead, "a").await.unwrap();
    }
    let arn = redrive("other", 1).unwrap().dead_letter_target_arn;
    let started = bench
        .queues
        .start_move(&dead, Some(arn), Some(4))
        .await
        .unwrap();
    pause(350).await;
    let moved = bench.queues.cancel_move(&started.handle).await.unwrap();
    let task = ended(&bench, &dead).await;
    assert_eq!((task.status, task.moved), (MoveStatus::Cancelled, moved));
    assert!((1..5).contains(&moved), "{moved} moved");
    assert_eq!(bench.counts(&other).await.0, moved);
    assert_eq!(bench.counts(&dead).await.0, 5 - moved);
    let unknown = bench.queues.cancel_move("nonsense").await;
    assert!(matches!(unknown, Err(QueueError::ResourceNotFound(_))));
}

#[actix::test]
async fn a_move_needs_a_dead_letter_queue_and_a_place_to_go() {
    let bench = Bench::new();
    let dead = bench.queue("dead", |_| {}).await;
    let queue = source(&bench).await;
    let refused = bench.queues.start_move(&queue, None, None).await;
    let text = "Source queue must be configured as a Dead Letter Queue.";
    assert_eq!(refused, Err(QueueError::InvalidParameter(text.into())));
    let nowhere = bench
        .queues
        .start_move(&dead, Some("arn:x".into()), None)
        .await;
    assert!(
        matches!(nowhere, Err(QueueError::ResourceNotFound(_))),
        "{nowhere:?}"
    );
    // A message that is nobody's dead letter has nowhere to go back to.
    bench.send(&dead, "a").await.unwrap();
    bench.queues.start_move(&dead, None, None).await.unwrap();
    let task = ended(&bench, &dead).await;
    assert_eq!(task.status, MoveStatus::Failed);
    assert_eq!(
        task.failure.as_deref(),
        Some("CouldNotDetermineMessageSource")
    );
    assert_eq!(bench.counts(&dead).await, (1, 0, 0));
}

#[actix::test]
async fn sources_are_found_and_must_be_allowed() {
    let bench = Bench::new();
    let dead = bench.queue("dead", |_| {}).await;
    let queue = source(&bench).await;
    let found = bench
        .queues
        .dead_letter_sources(&dead, None, 10)
        .await
        .unwrap();
    assert_eq!(found, std::slice::from_ref(&queue));
    let none = bench
        .queues
        .dead_letter_sources(&dead, Some("source"), 10)
        .await;
    assert_eq!(none, Ok(Vec::new()));
    let check = |target: &'static str, reason: &'static str| {
        let edit = bench.queues.edit(
            &queue,
            Box::new(move |record| {
                record.attributes.redrive = redrive(target, 9);
                Ok(())
            }),
        );
        async move {
            let text = edit.await.map_err(|error| error.to_string());
            match reason {
                "" => assert!(text.is_ok(), "{text:?}"),
                _ => assert!(
                    text.as_ref().is_err_and(|text| text.ends_with(reason)),
                    "{text:?}"
                ),
            }
        }
    };
    let allow = |policy: &str| {
        let policy = policy.to_owned();
        move |q: &mut QueueAttributes| q.redrive_allow = Some(policy)
    };
    check("missing", "Reason: Dead letter target does not exist.").await;
    bench.queue("d.fifo", |_| {}).await;
    check(
        "d.fifo",
        "Dead-letter queue must be same type of queue as the source.",
    )
    .await;
    bench
        .queue("deny", allow(r#"{"redrivePermission":"denyAll"}"#))
        .await;
    check("deny", "(RedriveAllowPolicy).").await;
    let by_queue = r#"{"redrivePermission":"byQueue","sourceQueueArns":["arn:aws:sqs:us-east-1:000000000000:source"]}"#;
    bench.queue("by-queue", allow(by_queue)).await;
    check("by-queue", "").await;
    bench
        .queue("other", allow(&by_queue.replace(":source", ":x")))
        .await;
    check("other", "(RedriveAllowPolicy).").await;
}
