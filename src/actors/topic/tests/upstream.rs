//! Topics that go through a broker, which here only writes down what it is asked for. Real ones: `tests/aws/test_topics.py`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;

use super::super::testing::{Plane, pause, publication, subscription, will};
use super::super::{PublishError, SubscribeError};
use crate::backends::Commit;
use crate::backends::broker::TopicBroker;
use crate::domain::StoreError;
use crate::domain::publication::Publication;
use crate::domain::publication::QoS::{AtLeastOnce, AtMostOnce, ExactlyOnce};
use crate::domain::topic::TopicFilter;

#[derive(Default)]
struct Recorder {
    published: Mutex<Vec<String>>,
    /// By filter, how many subscribe.
    subscribed: Mutex<BTreeMap<String, i32>>,
    retained: Mutex<Vec<Publication>>,
    /// Who waits for what is retained, and gets it later.
    slow: Mutex<Vec<mpsc::Sender<Publication>>>,
}

fn refusing(what: &str) -> Result<(), StoreError> {
    match what.ends_with("/refused") {
        true => Err(StoreError::Unavailable("away".into())),
        false => Ok(()),
    }
}

impl TopicBroker for Recorder {
    fn publish(&self, publication: Arc<Publication>) -> Result<Commit<()>, StoreError> {
        let topic = publication.topic.to_string();
        if topic.ends_with("/full") {
            return Err(StoreError::Overloaded);
        }
        self.published.lock().unwrap().push(topic.clone());
        Ok(Box::pin(async move { refusing(&topic) }))
    }

    fn subscribe(&self, filter: &TopicFilter) -> Result<Commit<()>, StoreError> {
        let text = filter.to_string();
        if text.ends_with("/full") {
            return Err(StoreError::Full("full".into()));
        }
        let mut subscribed = self.subscribed.lock().unwrap();
        *subscribed.entry(text.clone()).or_default() += 1;
        Ok(Box::pin(async move { refusing(&text) }))
    }

    fn unsubscribe(&self, filter: &TopicFilter) {
        let mut subscribed = self.subscribed.lock().unwrap();
        *subscribed.get_mut(filter.as_str()).unwrap() -= 1;
    }

    fn retained(&self, filter: &TopicFilter) -> mpsc::Receiver<Publication> {
        let (to, from) = mpsc::channel(10);
        if filter.as_str().ends_with("/slow") {
            self.slow.lock().unwrap().push(to);
            return from;
        }
        for publication in self.retained.lock().unwrap().iter() {
            to.try_send(publication.clone()).unwrap();
        }
        from
    }
}

impl Recorder {
    fn count(&self, filter: &str) -> i32 {
        let subscribed = self.subscribed.lock().unwrap();
        subscribed.get(filter).copied().unwrap_or_default()
    }
}

#[actix::test]
async fn what_is_published_reaches_nobody_before_it_comes_back() {
    let broker = Arc::new(Recorder::default());
    let plane = Plane::through(broker.clone());
    let mut client = plane.client("1").await;
    let granted = client.subscribe("a/#", ExactlyOnce).await;
    assert_eq!(granted.qos, AtLeastOnce);
    for qos in [AtMostOnce, AtLeastOnce, ExactlyOnce] {
        plane.publish("a/b", "x", qos).await.unwrap();
    }
    assert_eq!(client.got(), [""; 0]);
    let published = broker.published.lock().unwrap().clone();
    let topics = published.iter().filter(|topic| !topic.starts_with('$'));
    assert!(topics.eq(&["a/b"; 3]), "{published:?}");
    plane.topics.arrived(publication("a/b", "y"));
    assert_eq!(client.got(), ["y 0"]);
}

#[actix::test]
async fn what_the_broker_does_not_take_is_refused() {
    let plane = Plane::through(Arc::new(Recorder::default()));
    let refused = plane.publish("a/refused", "x", AtLeastOnce).await;
    let away = StoreError::Unavailable("away".into());
    assert_eq!(refused, Err(PublishError::Store(away)));
    let full = plane.publish("a/full", "x", AtMostOnce).await;
    assert_eq!(full, Err(PublishError::Store(StoreError::Overloaded)));
}

#[actix::test]
async fn every_subscription_is_ended_once_however_it_ends() {
    let broker = Arc::new(Recorder::default());
    let plane = Plane::through(broker.clone());
    let client = plane.client("1").await;
    for _ in 0..2 {
        client.subscribe("a", AtMostOnce).await;
    }
    assert_eq!(broker.count("a"), 1, "the same once more is no other");
    let other = plane.client("2").await;
    other.subscribe("a", AtMostOnce).await;
    other.subscribe("b", AtMostOnce).await;
    let filter = subscription("a", AtMostOnce).filter;
    for _ in 0..2 {
        client
            .attached()
            .unsubscribe(std::slice::from_ref(&filter))
            .await
            .unwrap();
    }
    assert_eq!(broker.count("a"), 1);
    other.drop_connection();
    for refused in ["c/refused", "c/full"] {
        let error = client
            .try_subscribe(subscription(refused, AtMostOnce))
            .await;
        assert!(matches!(error, Err(SubscribeError::Store(_))), "{refused}");
    }
    client.say_goodbye();
    let left = broker.subscribed.lock().unwrap();
    assert!(left.values().all(|count| *count == 0), "{left:?}");
}

#[actix::test]
async fn a_refused_subscription_brings_nothing() {
    let plane = Plane::through(Arc::new(Recorder::default()));
    let mut client = plane.client("1").await;
    for refused in ["c/refused", "c/full"] {
        let wanted = subscription(refused, AtMostOnce);
        assert!(client.try_subscribe(wanted).await.is_err());
        plane.topics.arrived(publication(refused, "x"));
    }
    assert_eq!(client.got(), [""; 0]);
}

#[actix::test]
async fn who_has_left_gets_nothing_that_was_retained() {
    let broker = Arc::new(Recorder::default());
    let plane = Plane::through(broker.clone());
    let mut client = plane.client("1").await;
    client.subscribe("a/slow", AtMostOnce).await;
    let wanted = subscription("a/slow", AtMostOnce);
    let keep = |text| {
        let to = broker.slow.lock().unwrap()[0].clone();
        to.try_send(publication("a/slow", text)).unwrap();
    };
    keep("first");
    pause(20).await;
    let filters = [wanted.filter];
    client.attached().unsubscribe(&filters).await.unwrap();
    keep("second");
    pause(20).await;
    assert_eq!(client.got(), ["first 0r"]);
}

#[actix::test]
async fn what_a_node_can_not_keep_is_refused() {
    let plane = Plane::through(Arc::new(Recorder::default()));
    let client = plane.client("1").await;
    let shared = client
        .try_subscribe(subscription("$share/g/a", AtMostOnce))
        .await;
    assert!(matches!(shared, Err(SubscribeError::NotShareable)));
    let mut own = subscription("a", AtMostOnce);
    own.no_local = true;
    let own = client.try_subscribe(own).await;
    assert!(matches!(own, Err(SubscribeError::NoLocal)));
}

#[actix::test]
async fn retained_messages_come_from_the_broker_and_wills_and_events_go_there() {
    let broker = Arc::new(Recorder::default());
    broker
        .retained
        .lock()
        .unwrap()
        .push(publication("a/1", "kept"));
    let plane = Plane::through(broker.clone());
    let mut client = plane.client("1").await;
    let mut wanted = subscription("a/+", AtMostOnce);
    wanted.id = Some(7);
    client.try_subscribe(wanted).await.unwrap();
    pause(20).await;
    assert_eq!(client.got(), ["kept 0r 7"]);
    let lost = plane
        .connect("2", |connect| {
            connect.will = Some(will("w", "x", std::time::Duration::ZERO));
        })
        .await
        .unwrap();
    lost.drop_connection();
    pause(20).await;
    let published = broker.published.lock().unwrap();
    assert!(published.iter().any(|topic| topic == "w"), "{published:?}");
    let event = "$aws/events/presence/disconnected/2";
    assert!(
        published.iter().any(|topic| topic == event),
        "{published:?}"
    );
}
