//! What every [`TopicBroker`] must do. `src/app/tests/broker.rs` holds this node's way to several brokers to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, sleep, timeout};

use super::TopicBroker;
use crate::domain::publication::{Properties, Publication, QoS};
use crate::domain::topic::{TopicFilter, TopicName};
use crate::domain::{Clock, StoreError};

/// Subscriptions that each node may have.
pub(crate) const MOST_SUBSCRIPTIONS: usize = 3;

/// Bytes that may wait at a node that is cut off, and how long they do.
pub(crate) const HOLD_BYTES: u64 = 64 << 10;
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// The level below which the broker lets nobody do anything, as far as it can say so: Mosquitto lets everybody subscribe.
pub(crate) const CLOSED: &str = "closed";

/// What is to come comes within this.
const WITHIN: Duration = Duration::from_secs(10);

/// What has not come for so long does not come.
const QUIET: Duration = Duration::from_millis(500);

/// A broker under test, and two nodes before it.
pub(crate) trait Subject {
    fn node(&self) -> &Node;

    fn other(&self) -> &Node;

    /// A node that does not reach its broker.
    fn cut_off(&self) -> Node;

    /// Whether the broker speaks MQTT 5: an older one carries no properties.
    fn speaks_5(&self) -> bool;

    fn clock(&self) -> Clock;
}

/// A node's way to the broker, and what comes from there.
pub(crate) struct Node {
    broker: Arc<dyn TopicBroker>,
    arrived: Mutex<mpsc::UnboundedReceiver<Publication>>,
}

impl Node {
    pub(crate) fn new(
        broker: Arc<dyn TopicBroker>,
        arrived: mpsc::UnboundedReceiver<Publication>,
    ) -> Self {
        Self {
            broker,
            arrived: Mutex::new(arrived),
        }
    }

    async fn publish(&self, publication: Publication) -> Result<(), StoreError> {
        self.broker.publish(Arc::new(publication))?.await
    }

    async fn subscribe(&self, text: &str) -> Result<(), StoreError> {
        self.broker.subscribe(&filter(text))?.await
    }

    fn unsubscribe(&self, text: &str) {
        self.broker.unsubscribe(&filter(text));
    }

    /// The next publication that comes.
    async fn next(&self) -> Publication {
        let mut arrived = self.arrived.lock().await;
        let next = timeout(WITHIN, arrived.recv()).await;
        next.expect("something comes").expect("somebody sends")
    }

    /// The payloads of so many that come, and no more.
    async fn payloads(&self, count: usize) -> Vec<String> {
        let mut payloads = Vec::new();
        for _ in 0..count {
            payloads.push(payload(&self.next().await));
        }
        let more = timeout(QUIET, self.arrived.lock().await.recv()).await;
        assert!(more.is_err(), "after {payloads:?} comes {more:?}");
        payloads
    }

    /// Topics and payloads of what is retained, in order of the alphabet.
    async fn retained(&self, text: &str) -> Vec<(String, String)> {
        let mut from = self.broker.retained(&filter(text));
        let mut found = Vec::new();
        while let Some(next) = timeout(WITHIN, from.recv()).await.expect("it ends") {
            assert!(next.retain, "{next:?}");
            found.push((next.topic.to_string(), payload(&next)));
        }
        found.sort();
        found
    }
}

fn filter(text: &str) -> TopicFilter {
    TopicFilter::parse(text).unwrap()
}

fn payload(publication: &Publication) -> String {
    String::from_utf8(publication.payload.to_vec()).unwrap()
}

/// A level that no other case uses.
fn fresh() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("contract-{}-{next}", uuid::Uuid::new_v4().simple())
}

fn publication(topic: &str, payload: &str, qos: QoS) -> Publication {
    Publication {
        topic: TopicName::parse(ByteString::from(topic)).unwrap(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        qos,
        retain: false,
        properties: None,
        expires: None,
        publisher: None,
    }
}

fn to_retain(topic: &str, payload: &str) -> Publication {
    Publication {
        retain: true,
        ..publication(topic, payload, QoS::AtLeastOnce)
    }
}

/// On the publisher's own node and on another, whatever its quality of service; it is not marked as retained.
pub(crate) async fn what_is_published_arrives_wherever_it_is_subscribed_to(subject: &impl Subject) {
    let topic = fresh();
    let nodes = [subject.node(), subject.other()];
    for node in nodes {
        node.subscribe(&format!("{topic}/+")).await.unwrap();
    }
    let qualities = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
    for (number, qos) in qualities.into_iter().enumerate() {
        let name = format!("{topic}/{number}");
        let sent = publication(&name, &number.to_string(), qos);
        nodes[0].publish(sent).await.unwrap();
        for node in nodes {
            let got = node.next().await;
            assert_eq!(got.topic.as_str(), name);
            assert_eq!(payload(&got), number.to_string());
            assert_eq!(got.qos, qos.min(super::BROKER_QOS));
            assert!(!got.retain && got.publisher.is_none());
        }
    }
    let sent = to_retain(&format!("{topic}/kept"), "kept");
    nodes[0].publish(sent).await.unwrap();
    for node in nodes {
        assert!(!node.next().await.retain, "to who was there it is live");
    }
}

/// Also if nobody waits for one before the next is handed over.
pub(crate) async fn publications_keep_their_order(subject: &impl Subject) {
    let topic = fresh();
    let node = subject.node();
    subject.other().subscribe(&topic).await.unwrap();
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let numbers: Vec<String> = (0..200).map(|number| number.to_string()).collect();
        let hand_over = |number: &String| {
            let publication = Arc::new(publication(&topic, number, qos));
            node.broker.publish(publication).unwrap()
        };
        let answers: Vec<_> = numbers.iter().map(hand_over).collect();
        for answer in answers {
            answer.await.unwrap();
        }
        assert_eq!(subject.other().payloads(200).await, numbers, "{qos:?}");
    }
}

/// What MQTT 5 adds is there, and what expires does when it should.
pub(crate) async fn properties_arrive_if_the_broker_knows_them(subject: &impl Subject) {
    let topic = fresh();
    subject.other().subscribe(&topic).await.unwrap();
    let now = subject.clock().now();
    let properties = Properties {
        payload_format: Some(1),
        content_type: Some("text/plain".into()),
        response_topic: Some("answers".into()),
        correlation_data: Some(Bytes::from_static(b"\x00\xff")),
        user: vec![("a".into(), "1".into()), ("a".into(), "2".into())],
    };
    let sent = Publication {
        properties: Some(Box::new(properties.clone())),
        expires: Some(now.plus(Duration::from_secs(60))),
        ..publication(&topic, "x", QoS::AtLeastOnce)
    };
    subject.node().publish(sent).await.unwrap();
    let got = subject.other().next().await;
    if !subject.speaks_5() {
        assert!(got.properties.is_none() && got.expires.is_none());
        return;
    }
    assert_eq!(got.properties.as_deref(), Some(&properties));
    let left = got.expires.expect("it expires").since(now);
    assert!((50..=62).contains(&left.as_secs()), "{left:?}");
}

/// So whoever looks after the answer finds it, on whichever node.
pub(crate) async fn ok_says_that_the_broker_has_it(subject: &impl Subject) {
    let topic = fresh();
    for number in 0..5 {
        let name = format!("{topic}/{number}");
        subject.node().publish(to_retain(&name, "x")).await.unwrap();
        let found = subject.other().retained(&name).await;
        assert_eq!(found, [(name, "x".to_owned())]);
    }
}

/// From the first answer to the last end, however many there are.
pub(crate) async fn a_subscription_stands_as_long_as_one_wants_it(subject: &impl Subject) {
    let topic = fresh();
    let (node, other) = (subject.node(), subject.other());
    let say = |text: &'static str| other.publish(publication(&topic, text, QoS::AtLeastOnce));
    say("before").await.unwrap();
    node.subscribe(&topic).await.unwrap();
    node.subscribe(&topic).await.unwrap();
    say("two").await.unwrap();
    assert_eq!(node.payloads(1).await, ["two"]);
    node.unsubscribe(&topic);
    say("one").await.unwrap();
    assert_eq!(node.payloads(1).await, ["one"]);
    node.unsubscribe(&topic);
    // Its end is not answered to anybody.
    sleep(QUIET).await;
    say("none").await.unwrap();
    assert_eq!(node.payloads(0).await, [""; 0]);
    node.subscribe(&topic).await.unwrap();
    say("again").await.unwrap();
    assert_eq!(node.payloads(1).await, ["again"]);
}

/// Filters that share topics come and go; each publication comes once as long as one matches.
pub(crate) async fn each_comes_once_however_many_filters_match(subject: &impl Subject) {
    let topic = fresh();
    let (node, other) = (subject.node(), subject.other());
    let filters = [
        format!("{topic}/a"),
        format!("{topic}/+"),
        format!("{topic}/#"),
    ];
    let name = format!("{topic}/a");
    let say = || other.publish(publication(&name, "x", QoS::AtLeastOnce));
    for filter in &filters {
        node.subscribe(filter).await.unwrap();
        sleep(QUIET).await;
        say().await.unwrap();
        assert_eq!(node.payloads(1).await, ["x"], "with {filter}");
    }
    for filter in filters.iter().rev().take(2) {
        node.unsubscribe(filter);
        sleep(QUIET).await;
        say().await.unwrap();
        assert_eq!(node.payloads(1).await, ["x"], "without {filter}");
    }
}

/// What was last published to each topic, until it is emptied; whoever subscribes gets nothing of it by that.
pub(crate) async fn what_is_retained_is_each_topics_last(subject: &impl Subject) {
    let topic = fresh();
    let (node, other) = (subject.node(), subject.other());
    let everything = format!("{topic}/#");
    assert_eq!(other.retained(&everything).await, []);
    let names = ["a", "b", "b/c"].map(|name| format!("{topic}/{name}"));
    for text in ["old", "new"] {
        for name in &names {
            node.publish(to_retain(name, text)).await.unwrap();
        }
    }
    other.subscribe(&everything).await.unwrap();
    let expected = names.clone().map(|name| (name, "new".to_owned()));
    for filter in [&everything, &everything, &names[0]] {
        let expected = match filter == &everything {
            true => &expected[..],
            false => &expected[..1],
        };
        assert_eq!(other.retained(filter).await, expected, "{filter}");
        assert_eq!(node.retained(filter).await, expected, "{filter}");
    }
    assert_eq!(other.payloads(0).await, [""; 0]);
    node.publish(to_retain(&names[0], "")).await.unwrap();
    assert_eq!(other.payloads(1).await, [""]);
    assert_eq!(other.retained(&everything).await, expected[1..]);
}

/// One more is refused at once, unless it is there already; an end makes room.
pub(crate) async fn there_are_only_so_many_subscriptions(subject: &impl Subject) {
    let topic = fresh();
    let node = subject.node();
    let names: Vec<String> = (0..=MOST_SUBSCRIPTIONS)
        .map(|number| format!("{topic}/{number}"))
        .collect();
    let (last, fitting) = names.split_last().expect("one more than fit");
    for name in fitting {
        node.subscribe(name).await.unwrap();
    }
    let refused = node.broker.subscribe(&filter(last)).map(drop);
    assert!(matches!(refused, Err(StoreError::Full(_))), "{refused:?}");
    node.subscribe(&fitting[0]).await.unwrap();
    node.unsubscribe(&fitting[1]);
    node.subscribe(last).await.unwrap();
    let sent = publication(last, "x", QoS::AtLeastOnce);
    subject.other().publish(sent).await.unwrap();
    assert_eq!(node.payloads(1).await, ["x"]);
}

/// Whoever may not publish is told so, and everything else goes on.
pub(crate) async fn what_the_broker_does_not_take_is_an_error(subject: &impl Subject) {
    let closed = format!("{CLOSED}/{}", fresh());
    let sent = publication(&closed, "x", QoS::AtLeastOnce);
    let refused = subject.node().publish(sent).await;
    assert!(matches!(refused, Err(StoreError::Failed(_))), "{refused:?}");
    goes_on(subject).await;
}

/// Whoever may not subscribe is told so, gets nothing that is retained, and everything else goes on.
pub(crate) async fn what_the_broker_does_not_give_is_an_error(subject: &impl Subject) {
    let closed = format!("{CLOSED}/{}", fresh());
    let node = subject.node();
    let refused = node.subscribe(&closed).await;
    assert!(matches!(refused, Err(StoreError::Failed(_))), "{refused:?}");
    node.unsubscribe(&closed);
    assert_eq!(node.retained(&closed).await, []);
    goes_on(subject).await;
}

async fn goes_on(subject: &impl Subject) {
    let topic = fresh();
    subject.node().subscribe(&topic).await.unwrap();
    let sent = publication(&topic, "x", QoS::AtLeastOnce);
    subject.node().publish(sent).await.unwrap();
    assert_eq!(subject.node().payloads(1).await, ["x"]);
}

/// So much waits for a broker that is away, so long; then it is refused.
pub(crate) async fn what_waits_is_bounded_in_bytes_and_time(subject: &impl Subject) {
    let node = subject.cut_off();
    let topic = fresh();
    let bytes = "x".repeat(usize::try_from(HOLD_BYTES).unwrap() / 2);
    let sent = || Arc::new(publication(&topic, &bytes, QoS::AtLeastOnce));
    let begun = Instant::now();
    let first = node.broker.publish(sent()).expect("there is room");
    let full = node.broker.publish(sent()).map(drop);
    assert!(matches!(full, Err(StoreError::Overloaded)), "{full:?}");
    let subscribed = node.subscribe(&topic).await;
    assert!(matches!(subscribed, Err(StoreError::Unavailable(_))));
    assert!(matches!(first.await, Err(StoreError::Unavailable(_))));
    let waited = begun.elapsed();
    assert!(waited >= PATIENCE && waited < PATIENCE * 3, "{waited:?}");
    assert!(node.broker.publish(sent()).is_ok(), "there is room again");
}
