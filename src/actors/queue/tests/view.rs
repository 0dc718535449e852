//! What whoever looks after the server sees of a queue.

use metrics_exporter_prometheus::PrometheusBuilder;

use super::super::messages::Whereabouts;
use super::*;

#[actix::test]
async fn only_the_way_to_a_client_that_waits_is_measured() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let measured = || {
        let text = recorder.handle().render();
        let mut lines = text.lines();
        let count = lines.find_map(|line| line.strip_prefix("fanfare_delivery_seconds_count "));
        count.map_or(0, |count| count.parse::<u64>().unwrap())
    };
    let bench = Bench::new();
    let queue = bench.queue("q", |_| {}).await;
    bench.send(&queue, "early").await.unwrap();
    assert_eq!(bench.receive(&queue).await.len(), 1);
    assert_eq!(measured(), 0, "nobody was waiting when it came");

    let (queues, waits) = (bench.queues.clone(), queue.clone());
    let waiting = actix::spawn(async move { queues.receive(&waits, long(LONG)).await });
    pause(20).await;
    bench.send(&queue, "live").await.unwrap();
    let received = waiting.await.unwrap().unwrap();
    assert_eq!((bodies(&received), measured()), (vec!["live"], 1));

    let handle = &received[0].handle;
    bench.hide(&queue, handle, Duration::ZERO).await.unwrap();
    let again = bench.queues.receive(&queue, long(LONG)).await.unwrap();
    assert_eq!(again[0].receive_count, 2);
    assert_eq!(measured(), 1, "a message is new once");
}

#[actix::test]
async fn looking_shows_where_messages_are_and_changes_nothing() {
    let bench = Bench::new();
    let queue = bench.queue("q", |_| {}).await;
    let delayed = Outgoing {
        delay: Some(LONG),
        ..outgoing("later")
    };
    bench.send(&queue, "out").await.unwrap();
    bench.receive(&queue).await;
    bench.send(&queue, "in").await.unwrap();
    bench.send_one(&queue, delayed).await.unwrap();
    let view = bench.queues.look(&queue, 10).await.unwrap();
    let shown = view.first.iter().map(|message| {
        let name = match message.whereabouts {
            Whereabouts::Visible => "visible",
            Whereabouts::InFlight(_) => "in flight",
            Whereabouts::Delayed(_) => "delayed",
            Whereabouts::Leaving => "leaving",
        };
        (&message.beginning[..], name, message.receive_count)
    });
    let expect = [
        (&b"out"[..], "in flight", 1),
        (&b"in"[..], "visible", 0),
        (&b"later"[..], "delayed", 0),
    ];
    assert_eq!(shown.collect::<Vec<_>>(), expect);
    assert_eq!(bench.counts(&queue).await, (1, 1, 1));
    assert_eq!(bench.queues.look(&queue, 10).await.unwrap(), view);
    assert_eq!(bench.queues.look(&queue, 1).await.unwrap().first.len(), 1);
}
