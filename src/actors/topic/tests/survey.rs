//! Topics as whoever looks after the server sees them, over several workers.

use super::super::testing::Plane;
use super::super::{FilterView, Filters};
use crate::domain::publication::QoS::{AtLeastOnce, AtMostOnce};
use crate::domain::topic::{TopicFilter, TopicName};

fn of(found: &Filters) -> Vec<(&str, usize, usize)> {
    let view = |view: &'_ FilterView| (view.connected, view.away);
    let listed = found.listed.iter();
    listed
        .map(|found| (found.filter.as_str(), view(found).0, view(found).1))
        .collect()
}

#[actix::test]
async fn filters_are_counted_over_all_workers_and_those_who_are_away() {
    let plane = Plane::new();
    let one = plane.client("1").await;
    one.subscribe("a/+", AtMostOnce).await;
    one.subscribe("b", AtLeastOnce).await;
    let two = plane.client("2").await;
    two.subscribe("a/+", AtLeastOnce).await;
    let away = plane.durable("away").await;
    away.subscribe("a/+", AtLeastOnce).await;
    away.drop_connection();
    let (said, ready) = tokio::sync::oneshot::channel();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let other = plane.elsewhere(async move |here| {
        let three = here.client("3").await;
        three.subscribe("a/+", AtMostOnce).await;
        three.subscribe("$share/g/a/+", AtMostOnce).await;
        said.send(()).unwrap();
        let _ = ended.await;
    });
    ready.await.unwrap();

    let all = plane.topics.filters("", None, 10).await;
    assert_eq!(
        of(&all),
        [("$share/g/a/+", 1, 0), ("a/+", 3, 1), ("b", 1, 0)]
    );
    assert!(all.complete && !all.more);
    assert_eq!(
        of(&plane.topics.filters("a", None, 10).await),
        [("a/+", 3, 1)]
    );
    let first = plane.topics.filters("", None, 2).await;
    assert!(first.more && first.listed.len() == 2);
    let rest = plane.topics.filters("", Some("a/+"), 2).await;
    assert_eq!((of(&rest), rest.more), (vec![("b", 1, 0)], false));

    let filter = TopicFilter::parse("a/+").unwrap();
    let who = plane.topics.subscribers(&filter, 10).await;
    let listed: Vec<_> = who
        .listed
        .iter()
        .map(|who| (who.client.as_str(), who.qos, who.connected))
        .collect();
    let expect = [
        ("1", AtMostOnce, true),
        ("2", AtLeastOnce, true),
        ("3", AtMostOnce, true),
        ("away", AtLeastOnce, false),
    ];
    assert_eq!((listed, who.total), (expect.to_vec(), 4));
    let few = plane.topics.subscribers(&filter, 2).await;
    assert_eq!((few.listed.len(), few.total), (2, 4));
    let topic = TopicName::parse("a/b".into()).unwrap();
    assert_eq!(plane.topics.reached(&topic).await, (3, 1));
    end.send(()).unwrap();
    other.stop();
}

#[actix::test]
async fn a_survey_looks_at_so_many_subscriptions_and_says_so() {
    let plane = Plane::new();
    let one = plane.client("1").await;
    one.subscribe("a", AtMostOnce).await;
    one.subscribe("b", AtMostOnce).await;
    let away = plane.durable("away").await;
    away.subscribe("c", AtLeastOnce).await;
    away.subscribe("d", AtLeastOnce).await;
    away.drop_connection();
    let shard = plane.topics.here();
    for (most, complete) in [(0, false), (1, false), (2, true), (3, true)] {
        let (mut seen, mut seen_away) = (0, 0);
        assert_eq!(shard.show(most, |_, _| seen += 1), complete, "{most}");
        let durables = &plane.topics.inner.durables;
        assert_eq!(
            durables.show_away(most, |_, _| seen_away += 1),
            complete,
            "{most}"
        );
        assert_eq!((seen, seen_away), (most.min(2), most.min(2)));
    }
}

#[actix::test]
async fn clients_of_a_principal_are_found() {
    let plane = Plane::new();
    let (_one, _two) = (plane.client("2").await, plane.client("1").await);
    let owner = plane
        .topics
        .inner
        .clients
        .get(&crate::domain::publication::ClientId("1".into()));
    let owner = owner.unwrap().owner;
    let names = |limit| -> Vec<String> {
        let found = plane.topics.clients_of(&owner, limit);
        found
            .iter()
            .map(|client| client.as_str().to_owned())
            .collect()
    };
    assert_eq!(names(10), ["1", "2"]);
    assert_eq!(names(1), ["1"]);
    assert!(plane.topics.clients_of("nobody", 10).is_empty());
}
