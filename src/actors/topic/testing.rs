//! What the tests of the topic plane have in common: topics on a store in memory, and clients that write down what they
//! get.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::double::Memory;
use super::{
    About, Attached, Closing, Connect, ConnectError, Delivery, Granted, Leaving, Link, Outgoing,
    PublishError, RetainedLimits, Sending, SessionQueues, StandingRights, SubscribeError,
    TopicParts, TopicSettings, Topics, WillFate, WindowLimits,
};
use crate::actors::queue::{Queues, testing as queue_testing};
use crate::backends::broker::TopicBroker;
use crate::domain::policy::Access;
use crate::domain::publication::{
    ClientId, Publication, Publisher, QoS, RetainHandling, Subscription, Will,
};
use crate::domain::topic::{Hash, TopicFilter, TopicName};
use crate::domain::{Clock, Timestamp};

/// A message of quality of service 0.
pub(super) fn publication(topic: &str, payload: &str) -> Publication {
    Publication {
        topic: TopicName::parse(topic.into()).unwrap(),
        payload: payload.to_owned().into(),
        qos: QoS::AtMostOnce,
        retain: false,
        properties: None,
        expires: None,
        publisher: None,
    }
}

pub(super) fn subscription(filter: &str, qos: QoS) -> Subscription {
    Subscription {
        filter: TopicFilter::parse(filter).unwrap(),
        qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Always,
        id: None,
    }
}

pub(super) fn will(topic: &str, payload: &str, delay: Duration) -> Will {
    Will {
        publication: publication(topic, payload),
        delay,
        message_expiry: None,
    }
}

/// Nobody's rights are taken away, unless the topic says so.
pub(super) struct Rights;

impl StandingRights for Rights {
    fn stand(&self, publication: &Publication) -> bool {
        !publication.topic.as_str().ends_with("/revoked")
    }
}

pub(super) fn settings() -> TopicSettings {
    TopicSettings {
        queue_limit: 5,
        max_durable_sessions: 4,
        max_subscriptions: 4,
        retained: RetainedLimits {
            messages: 3,
            bytes: 1000,
        },
        hash: Hash::WithParent,
        lifecycle_events: true,
        rooms: super::room::tests::rules(),
    }
}

/// Topics on a store that tests can look into.
pub(super) struct Plane {
    pub(super) topics: Topics,
    pub(super) store: Arc<Memory>,
    pub(super) queues: Queues,
}

impl Plane {
    pub(super) fn new() -> Self {
        Self::on(Memory::new())
    }

    /// As after a restart: nothing is remembered but what the store has.
    pub(super) fn on(store: Arc<Memory>) -> Self {
        Self::with(store, None)
    }

    /// Topics that go through a broker.
    pub(super) fn through(broker: Arc<dyn TopicBroker>) -> Self {
        Self::with(Memory::new(), Some(broker))
    }

    fn with(store: Arc<Memory>, broker: Option<Arc<dyn TopicBroker>>) -> Self {
        let (queues, catalog) = queue_testing::queues();
        let parts = TopicParts {
            store: store.clone(),
            histories: store.clone(),
            rights: Arc::new(Rights),
            inboxes: Some(SessionQueues {
                queues: queues.clone(),
                catalog,
            }),
            broker,
            clock: Clock::start(),
        };
        let topics = Topics::open(parts, settings()).unwrap();
        Self {
            topics,
            store,
            queues,
        }
    }

    /// Does something with the same topics on another worker, until that is stopped.
    pub(super) fn elsewhere(
        &self,
        work: impl AsyncFnOnce(Self) + Send + 'static,
    ) -> actix::Arbiter {
        let topics = self.topics.clone();
        let other = actix::Arbiter::new();
        other.spawn_fn(move || {
            actix::spawn(async move {
                let here = Self {
                    topics,
                    ..Self::new()
                };
                work(here).await;
            });
        });
        other
    }

    /// A connection without a session that outlives it.
    pub(super) async fn client(&self, id: &str) -> Client {
        self.connect(id, |_| {}).await.unwrap()
    }

    /// A connection with a session that outlives it.
    pub(super) async fn durable(&self, id: &str) -> Client {
        let durable = |connect: &mut Connect| {
            connect.clean_start = false;
            connect.expiry = Some(Duration::from_secs(60));
        };
        self.connect(id, durable).await.unwrap()
    }

    pub(super) async fn connect(
        &self,
        id: &str,
        edit: impl FnOnce(&mut Connect),
    ) -> Result<Client, ConnectError> {
        let link = Rc::new(Recorder::default());
        let mut connect = Connect {
            id: ClientId(id.into()),
            principal: "owner".into(),
            access: Access::everything(),
            clean_start: true,
            expiry: Some(Duration::ZERO),
            will: None,
            window: WindowLimits {
                in_flight: 3,
                waiting: 100,
                waiting_bytes: 10_000,
            },
            source: None,
            link: link.clone(),
        };
        edit(&mut connect);
        let connected = self.topics.connect(connect).await?;
        *link.attached.borrow_mut() = Some(Rc::new(connected.attached));
        Ok(Client {
            link,
            outgoing: connected.outgoing,
            present: connected.present,
            packet_ids: connected.packet_ids,
        })
    }

    pub(super) async fn publish(
        &self,
        topic: &str,
        payload: &str,
        qos: QoS,
    ) -> Result<(), PublishError> {
        let mut publication = publication(topic, payload);
        publication.qos = qos;
        let published = self.topics.publish(&Access::everything(), publication);
        published.outcome().await
    }

    pub(super) async fn retain(&self, topic: &str, payload: &str, qos: QoS) {
        let mut publication = publication(topic, payload);
        (publication.retain, publication.qos) = (true, qos);
        let published = self.topics.publish(&Access::everything(), publication);
        published.outcome().await.unwrap();
    }
}

/// Writes down what it gets.
#[derive(Default)]
pub(super) struct Recorder {
    pub(super) deliveries: RefCell<Vec<Delivery>>,
    pub(super) closed: Cell<Option<Closing>>,
    attached: RefCell<Option<Rc<Attached>>>,
}

impl Link for Recorder {
    fn deliver(&self, delivery: &Delivery) {
        self.deliveries.borrow_mut().push(delivery.clone());
    }

    fn close(&self, why: Closing) {
        self.closed.set(Some(why));
        let attached = self.attached.take();
        if let (Some(attached), Closing::Administrative(will)) = (attached, why) {
            let why = Leaving::lost("API_INITIATED_DISCONNECT");
            attached.detach(Leaving { will, ..why }, None);
        }
    }

    fn about(&self) -> Option<About> {
        self.attached.borrow().as_ref().map(|_| About {
            peer: Some(([10, 0, 0, 1], 4711).into()),
            local: Some(([10, 0, 0, 2], 1883).into()),
            keep_alive_s: 60,
            since: Timestamp::from_millis(7),
        })
    }
}

/// A connected client.
pub(super) struct Client {
    pub(super) link: Rc<Recorder>,
    pub(super) outgoing: Outgoing,
    pub(super) present: bool,
    pub(super) packet_ids: Vec<u16>,
}

impl Client {
    pub(super) fn attached(&self) -> Rc<Attached> {
        let attached = self.link.attached.borrow();
        attached.clone().expect("connected")
    }

    pub(super) async fn subscribe(&self, filter: &str, qos: QoS) -> Granted {
        self.try_subscribe(subscription(filter, qos)).await.unwrap()
    }

    pub(super) async fn try_subscribe(
        &self,
        subscription: Subscription,
    ) -> Result<Granted, SubscribeError> {
        let attached = self.attached();
        attached.subscribe(vec![subscription]).await.remove(0)
    }

    pub(super) async fn publish(&self, topic: &str, payload: &str) {
        let mut publication = publication(topic, payload);
        publication.publisher = Some(Publisher {
            client: Some(self.attached().client().clone()),
            principal: self.attached().principal().clone(),
        });
        let published = self.attached().publish(publication, None);
        published.outcome().await.unwrap();
    }

    /// What was delivered since the last look, as text: payload, quality of service, `r` if retained, ids. What is of
    /// quality of service 1 and 2 is taken by the window.
    pub(super) fn got(&mut self) -> Vec<String> {
        let deliveries = self.link.deliveries.take();
        let shown = deliveries.iter().map(show).collect();
        for delivery in deliveries.iter().filter(|one| one.qos != QoS::AtMostOnce) {
            self.outgoing.offer(delivery).unwrap();
        }
        shown
    }

    /// What is to be sent now, as text: packet id, `d` if it may have been sent before, payload.
    pub(super) fn sends(&mut self) -> Vec<String> {
        self.got();
        let mut sends = Vec::new();
        while let Some(sending) = self.outgoing.next_sending().unwrap() {
            sends.push(match sending {
                Sending::Publish {
                    packet_id,
                    dup,
                    delivery,
                } => {
                    let dup = if dup { "d" } else { "" };
                    format!("{packet_id}{dup} {}", text(&delivery))
                }
                Sending::Release { packet_id } => format!("{packet_id} release"),
            });
        }
        sends
    }

    /// Ends the connection without goodbye.
    pub(super) fn drop_connection(mut self) {
        self.leave(WillFate::Publish, None);
    }

    /// Says goodbye.
    pub(super) fn say_goodbye(mut self) {
        self.leave(WillFate::Discard, None);
    }

    pub(super) fn leave(&mut self, will: WillFate, expiry: Option<Option<Duration>>) {
        let leaving = Leaving {
            will,
            expiry,
            by_client: will == WillFate::Discard,
            reason: "TEST",
        };
        let attached = self.link.attached.take();
        if let Some(attached) = attached {
            attached.detach(leaving, Some(&mut self.outgoing));
        }
    }
}

pub(super) fn text(delivery: &Delivery) -> String {
    String::from_utf8(delivery.fan.publication.payload.to_vec()).unwrap()
}

fn show(delivery: &Delivery) -> String {
    let qos = delivery.qos as u8;
    let retain = if delivery.retain { "r" } else { "" };
    let ids: Vec<String> = delivery.ids.iter().map(u32::to_string).collect();
    let ids = if ids.is_empty() {
        String::new()
    } else {
        format!(" {}", ids.join(","))
    };
    format!("{} {qos}{retain}{ids}", text(delivery))
}

pub(super) async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}
