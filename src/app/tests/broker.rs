//! The contract of a broker, kept by a node's way to each of these. Mosquitto and NATS are started and named by
//! `cargo xtask test --only aws`. The third is Fanfare itself: its own topics, on the embedded backend, are the reference.

use std::sync::OnceLock;
use std::sync::mpsc::sync_channel;
use std::thread;

use tokio::sync::mpsc::unbounded_channel;
use uuid::Uuid;

use super::*;
use crate::app::testing;
use crate::backends::aws::broker::{BrokerOptions, Upstream};
use crate::backends::broker::TopicBroker as _;
use crate::backends::broker::contract::{
    self, CLOSED, HOLD_BYTES, MOST_SUBSCRIPTIONS, Node, PATIENCE, Subject,
};
use crate::config::BrokerUrl;
use crate::domain::publication::{Publication, QoS};
use crate::domain::topic::{Hash, TopicName};

/// Nobody listens on it.
const NOBODY: &str = "mqtt://127.0.0.1:1";

/// Two nodes before a broker.
struct Nodes {
    nodes: [Node; 2],
    speaks_5: bool,
    clock: Clock,
}

fn upstream(url: &str, clock: Clock, hold_bytes: u64, patience: Duration) -> Arc<Upstream> {
    Upstream::new(BrokerOptions {
        url: BrokerUrl::parse(url).expect("a broker's URL"),
        login: None,
        presign: None,
        tls: None,
        client_id: format!("contract-{}", Uuid::new_v4().simple()),
        hash: Hash::WithParent,
        patience,
        hold_bytes,
        packet_bytes: 1 << 20,
        max_subscriptions: MOST_SUBSCRIPTIONS,
        clock,
    })
}

fn node(url: &str, clock: Clock, hold_bytes: u64, patience: Duration) -> Node {
    let upstream = upstream(url, clock, hold_bytes, patience);
    let (to, arrived) = unbounded_channel();
    upstream.run(move |publication| {
        // A case that has ended listens no more.
        let _ = to.send(publication);
    });
    Node::new(upstream, arrived)
}

async fn nodes(url: &str, speaks_5: bool) -> Nodes {
    let clock = Clock::start();
    let node = |()| node(url, clock, 16 << 20, Duration::from_secs(10));
    Nodes {
        nodes: [(); 2].map(node),
        speaks_5,
        clock,
    }
}

impl Subject for Nodes {
    fn node(&self) -> &Node {
        &self.nodes[0]
    }

    fn other(&self) -> &Node {
        &self.nodes[1]
    }

    fn cut_off(&self) -> Node {
        node(NOBODY, self.clock, HOLD_BYTES, PATIENCE)
    }

    fn speaks_5(&self) -> bool {
        self.speaks_5
    }

    fn clock(&self) -> Clock {
        self.clock
    }
}

/// What waits for a broker that is away keeps no node from ending.
#[actix::test]
async fn a_node_ends_in_time() {
    let upstream = upstream(NOBODY, Clock::start(), 1 << 20, Duration::from_secs(60));
    upstream.run(|_| {});
    let waiting = upstream.publish(Arc::new(Publication {
        topic: TopicName::parse("t".into()).unwrap(),
        payload: "x".into(),
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: None,
        expires: None,
        publisher: None,
    }));
    let begun = Instant::now();
    upstream.end(begun + Duration::from_secs(3)).await;
    let took = begun.elapsed();
    assert!((1..3).contains(&took.as_secs()), "{took:?}");
    drop(waiting);
}

mod fanfare {
    use super::*;

    /// Where the topics of a program are that runs as long as the tests do.
    fn url() -> &'static str {
        static URL: OnceLock<String> = OnceLock::new();
        URL.get_or_init(|| {
            let (tell, told) = sync_channel(1);
            thread::spawn(move || actix::System::new().block_on(run(tell)));
            told.recv().expect("it starts")
        })
    }

    async fn run(tell: std::sync::mpsc::SyncSender<String>) {
        let dir = tempfile::tempdir().unwrap();
        let mut config = testing::config(&dir);
        let anywhere = "127.0.0.1:0".parse().unwrap();
        (config.http.listen, config.mqtt.listen) = (anywhere, anywhere);
        let resources = ["topic", "topicfilter"];
        let closed = resources.map(|kind| format!("arn:aws:iot:*:*:{kind}/{CLOSED}/*"));
        let policy = json!({ "Statement": [
            { "Effect": "Allow", "Action": "iot:*", "Resource": "*" },
            { "Effect": "Deny", "Action": "iot:*", "Resource": closed },
        ] });
        config.guests.anonymous_policy = Some(policy.to_string());
        let metrics = metrics_exporter_prometheus::PrometheusBuilder::new();
        let metrics = metrics.build_recorder().handle();
        let failed: OnFailure = Arc::new(|error| panic!("{error}"));
        let app = App::start(testing::settings(&config), metrics, failed).await;
        let app = app.unwrap();
        let port = app.others.mqtt.expect("it has topics").port();
        tell.send(format!("mqtt://127.0.0.1:{port}")).unwrap();
        std::future::pending().await
    }

    cases! {
        nodes(url(), true),
        contract::what_is_published_arrives_wherever_it_is_subscribed_to,
        contract::publications_keep_their_order,
        contract::properties_arrive_if_the_broker_knows_them,
        contract::ok_says_that_the_broker_has_it,
        contract::a_subscription_stands_as_long_as_one_wants_it,
        contract::each_comes_once_however_many_filters_match,
        contract::what_is_retained_is_each_topics_last,
        contract::there_are_only_so_many_subscriptions,
        contract::what_the_broker_does_not_take_is_an_error,
        contract::what_the_broker_does_not_give_is_an_error,
        contract::what_waits_is_bounded_in_bytes_and_time,
    }
}

/// A broker that listens; these cases prove nothing without it.
fn server(name: &str) -> String {
    let variable = format!("FANFARE_TEST_{name}_URL");
    let url = std::env::var(&variable);
    url.unwrap_or_else(|_| panic!("{variable} is not set: cargo xtask test --only aws"))
}

mod aws_servers {
    use super::*;

    mod mosquitto {
        use super::*;

        cases! {
            nodes(&server("MOSQUITTO"), true),
            #[ignore = "needs servers"] contract::what_is_published_arrives_wherever_it_is_subscribed_to,
            #[ignore = "needs servers"] contract::publications_keep_their_order,
            #[ignore = "needs servers"] contract::properties_arrive_if_the_broker_knows_them,
            #[ignore = "needs servers"] contract::ok_says_that_the_broker_has_it,
            #[ignore = "needs servers"] contract::a_subscription_stands_as_long_as_one_wants_it,
            #[ignore = "needs servers"] contract::each_comes_once_however_many_filters_match,
            #[ignore = "needs servers"] contract::what_is_retained_is_each_topics_last,
            #[ignore = "needs servers"] contract::there_are_only_so_many_subscriptions,
            #[ignore = "needs servers"] contract::what_the_broker_does_not_take_is_an_error,
            #[ignore = "needs servers"] contract::what_waits_is_bounded_in_bytes_and_time,
        }
    }

    mod nats {
        use super::*;

        cases! {
            nodes(&server("NATS"), false),
            #[ignore = "needs servers"] contract::what_is_published_arrives_wherever_it_is_subscribed_to,
            #[ignore = "needs servers"] contract::publications_keep_their_order,
            #[ignore = "needs servers"] contract::properties_arrive_if_the_broker_knows_them,
            #[ignore = "needs servers"] contract::ok_says_that_the_broker_has_it,
            #[ignore = "needs servers"] contract::a_subscription_stands_as_long_as_one_wants_it,
            #[ignore = "needs servers"] contract::each_comes_once_however_many_filters_match,
            #[ignore = "needs servers"] contract::what_is_retained_is_each_topics_last,
            #[ignore = "needs servers"] contract::there_are_only_so_many_subscriptions,
            #[ignore = "needs servers"] contract::what_waits_is_bounded_in_bytes_and_time,
        }
    }
}
