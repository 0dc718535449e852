//! FIFO queues: order in groups, deduplication, receive attempts.

use super::*;
use crate::domain::queue::DedupScope;

fn entry(body: &str, group: &str, dedup: &str) -> Outgoing {
    Outgoing {
        group: Some(group.into()),
        dedup: Some(dedup.into()),
        ..outgoing(body)
    }
}

#[actix::test]
async fn a_group_waits_for_what_is_in_flight() {
    let bench = Bench::new();
    let queue = bench.queue("q.fifo", |_| {}).await;
    for (body, group) in [("a1", "a"), ("b1", "b"), ("a2", "a"), ("a3", "a")] {
        let sent = bench
            .send_one(&queue, entry(body, group, body))
            .await
            .unwrap();
        assert!(sent.sequence_number.is_some());
    }
    let two = Receive { max: 2, ..short() };
    let first = bench.queues.receive(&queue, two).await.unwrap();
    assert_eq!(bodies(&first), ["a1", "a2"]);
    assert_eq!(bodies(&bench.receive(&queue).await), ["b1"]);
    assert!(bench.receive(&queue).await.is_empty());
    bench.delete(&queue, &first[0].handle).await.unwrap();
    assert!(bench.receive(&queue).await.is_empty());
    bench.delete(&queue, &first[1].handle).await.unwrap();
    assert_eq!(bodies(&bench.receive(&queue).await), ["a3"]);
}

#[actix::test]
async fn a_repeated_id_is_the_same_message() {
    let bench = Bench::with(QueuesConfig {
        idle_after: Duration::from_millis(20),
        ..config()
    });
    let queue = bench.queue("q.fifo", |_| {}).await;
    bench.store.mischief.lock().unwrap().delay = Duration::from_millis(20);
    // While the first is on its way to disk, within one batch, afterwards, and after a reload.
    let batch = Send {
        entries: vec![
            entry("x", "g", "1"),
            entry("y", "h", "1"),
            entry("z", "g", "2"),
        ],
    };
    let (batch, second) = tokio::join!(bench.queues.send(&queue, batch), async {
        pause(5).await;
        bench.send_one(&queue, entry("w", "g", "1")).await
    });
    let batch: Vec<_> = batch.unwrap().into_iter().map(Result::unwrap).collect();
    assert_eq!(batch[0], batch[1]);
    assert_ne!(batch[0], batch[2]);
    assert_eq!(second, Ok(batch[0]));
    assert_eq!(
        bench.send_one(&queue, entry("v", "g", "1")).await,
        Ok(batch[0])
    );
    pause(150).await;
    let loads = *bench.store.loads.lock().unwrap();
    assert_eq!(
        bench.send_one(&queue, entry("u", "g", "1")).await,
        Ok(batch[0])
    );
    assert!(*bench.store.loads.lock().unwrap() > loads);
    assert_eq!(bench.counts(&queue).await, (2, 0, 0));
}

#[actix::test]
async fn an_id_whose_message_was_refused_can_be_sent_again() {
    let bench = Bench::new();
    let queue = bench.queue("q.fifo", |_| {}).await;
    bench.counts(&queue).await;
    bench.store.mischief.lock().unwrap().fail = Some(crate::domain::StoreError::Overloaded);
    assert!(bench.send_one(&queue, entry("a", "g", "1")).await.is_err());
    bench.store.mischief.lock().unwrap().fail = None;
    bench.send_one(&queue, entry("a", "g", "1")).await.unwrap();
    assert_eq!(bench.counts(&queue).await, (1, 0, 0));
}

#[actix::test]
async fn scope_and_content_decide_what_repeats() {
    let bench = Bench::new();
    let queue = bench
        .queue("q.fifo", |q| {
            q.dedup_scope = DedupScope::MessageGroup;
            q.content_based_deduplication = true;
        })
        .await;
    let content = |body: &str, group: &str| Outgoing {
        group: Some(group.into()),
        ..outgoing(body)
    };
    let first = bench.send_one(&queue, content("a", "g")).await.unwrap();
    assert_eq!(bench.send_one(&queue, content("a", "g")).await, Ok(first));
    assert_ne!(bench.send_one(&queue, content("a", "h")).await, Ok(first));
    assert_ne!(bench.send_one(&queue, content("b", "g")).await, Ok(first));
    assert_eq!(bench.counts(&queue).await, (3, 0, 0));
}

#[actix::test]
async fn what_fifo_asks_for() {
    let bench = Bench::new();
    let fifo = bench.queue("q.fifo", |_| {}).await;
    let standard = bench.queue("q", |_| {}).await;
    let refused = |queue: &QueueRecord, entry: Outgoing| {
        let (queues, queue) = (bench.queues.clone(), queue.clone());
        async move {
            let send = Send {
                entries: vec![entry],
            };
            let result = queues.send(&queue, send).await.unwrap().remove(0);
            result.unwrap_err().to_string()
        }
    };
    let group = Some("g".into());
    let text = refused(&fifo, outgoing("a")).await;
    assert_eq!(
        text,
        "The request must contain the parameter MessageGroupId."
    );
    let no_dedup = Outgoing {
        group: group.clone(),
        ..outgoing("a")
    };
    let text = refused(&fifo, no_dedup).await;
    assert!(text.contains("ContentBasedDeduplication"), "{text}");
    let delayed = Outgoing {
        delay: Some(Duration::from_secs(1)),
        ..entry("a", "g", "1")
    };
    let text = refused(&fifo, delayed).await;
    assert!(
        text.starts_with("Value 1 for parameter DelaySeconds is invalid."),
        "{text}"
    );
    let text = refused(&standard, entry("a", "g", "1")).await;
    assert!(
        text.starts_with("Value 1 for parameter MessageDeduplicationId is invalid."),
        "{text}"
    );
    let grouped = Outgoing {
        group,
        ..outgoing("a")
    };
    bench.send_one(&standard, grouped).await.unwrap();
    assert_eq!(
        bench.receive(&standard).await[0].group.as_deref(),
        Some("g")
    );
}

#[actix::test]
async fn an_expired_handle_is_refused() {
    let bench = Bench::new();
    let timeout = Duration::from_millis(20);
    let queue = bench
        .queue("q.fifo", |q| q.visibility_timeout = timeout)
        .await;
    bench.send_one(&queue, entry("a", "g", "1")).await.unwrap();
    let handle = bench.receive(&queue).await.remove(0).handle;
    pause(40).await;
    let expired = Err(QueueError::ReceiptHandleExpired(handle.clone()));
    assert_eq!(bench.delete(&queue, &handle).await, expired);
    assert_eq!(bench.hide(&queue, &handle, LONG).await, expired);
    assert_eq!(bench.receive(&queue).await.len(), 1);
    assert_eq!(bench.delete(&queue, &handle).await, expired);
}

#[actix::test]
async fn a_repeated_attempt_gets_the_same_messages_and_handles() {
    let bench = Bench::new();
    let queue = bench.queue("q.fifo", |_| {}).await;
    for body in ["a", "b"] {
        bench
            .send_one(&queue, entry(body, "g", body))
            .await
            .unwrap();
    }
    let attempt = |id: &str| Receive {
        attempt: Some(id.into()),
        ..short()
    };
    let first = bench.queues.receive(&queue, attempt("1")).await.unwrap();
    let handles = |received: &[Received]| -> Vec<_> {
        received
            .iter()
            .map(|message| message.handle.clone())
            .collect()
    };
    assert_eq!(first.len(), 2);
    let again = bench.queues.receive(&queue, attempt("1")).await.unwrap();
    assert_eq!(handles(&again), handles(&first));
    assert_eq!(again[0].receive_count, 1);
    assert!(
        bench
            .queues
            .receive(&queue, attempt("2"))
            .await
            .unwrap()
            .is_empty()
    );
    // Once one of them is gone it is a new receive.
    bench.delete(&queue, &first[0].handle).await.unwrap();
    assert!(
        bench
            .queues
            .receive(&queue, attempt("1"))
            .await
            .unwrap()
            .is_empty()
    );
}
