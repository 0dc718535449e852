//! Topics through a [broker](crate::backends::broker): what is published goes there and nowhere else, and what comes from it
//! goes to this node's connections, as what another worker published does.

use std::rc::Rc;
use std::sync::Arc;

use super::Topics;
use super::attached::Attached;
use super::fan::{Delivery, Fan};
use super::publish::{PublishError, Publishing};
use super::subscribe::SubscribeError;
use crate::backends::Commit;
use crate::backends::broker::{BROKER_QOS, TopicBroker};
use crate::domain::policy::Action;
use crate::domain::publication::{Publication, QoS, Subscription};
use crate::domain::topic::TopicFilter;

/// Hands a publication over. It is acknowledged when the broker has it, and reaches whoever subscribes here when it comes
/// back.
pub(super) fn publish(broker: &dyn TopicBroker, publication: Publication) -> Publishing {
    let is_promised = publication.qos != QoS::AtMostOnce;
    match broker.publish(Arc::new(publication)) {
        Err(error) => Publishing::Done(Err(PublishError::Store(error))),
        Ok(taken) if is_promised => {
            Publishing::Waiting(Box::pin(
                async move { taken.await.map_err(PublishError::Store) },
            ))
        }
        Ok(_) => Publishing::Done(Ok(())),
    }
}

impl Topics {
    /// Something was published, on this node or another.
    pub fn arrived(&self, publication: Publication) {
        self.spread_unasked(Arc::new(publication));
    }

    /// Something that the server itself says, with quality of service 0.
    pub(super) fn tell_all(&self, publication: Publication) {
        let Some(broker) = &self.inner.broker else {
            self.spread_unasked(Arc::new(publication));
            return;
        };
        if broker.publish(Arc::new(publication)).is_err() {
            metrics::counter!("fanfare_mqtt_dropped_total", "reason" => "broker away").increment(1);
        }
    }

    /// The best quality of service that a subscription gets.
    pub(super) fn granted(&self, asked: QoS) -> QoS {
        match self.inner.broker {
            Some(_) => asked.min(BROKER_QOS),
            None => asked,
        }
    }

    /// What can not be had through a broker: which member of a group gets a publication would have to be decided among all
    /// nodes, and not all brokers do.
    pub(super) fn refused_upstream(&self, subscription: &Subscription) -> Option<SubscribeError> {
        self.inner.broker.as_ref()?;
        if subscription.filter.group().is_some() {
            return Some(SubscribeError::NotShareable);
        }
        subscription.no_local.then_some(SubscribeError::NoLocal)
    }

    /// A connection's subscription has ended.
    pub(super) fn end_upstream(&self, filter: &TopicFilter) {
        if let Some(broker) = &self.inner.broker {
            broker.unsubscribe(filter);
        }
    }
}

impl Attached {
    /// A connection has a new subscription. [`Topics::end_upstream`] ends it; what was refused here is ended already.
    pub(super) fn begin_upstream(
        &self,
        subscription: &Subscription,
    ) -> Result<Option<Commit<()>>, SubscribeError> {
        let Some(broker) = &self.topics.inner.broker else {
            return Ok(None);
        };
        broker
            .subscribe(&subscription.filter)
            .map(Some)
            .map_err(|error| {
                self.shard
                    .unsubscribe(&self.subscriber, &subscription.filter);
                SubscribeError::Store(error)
            })
    }

    /// Asks the broker for what it has retained, and delivers that when it comes; `false` if there is no broker.
    pub(super) fn fetch_retained(&self, subscription: &Subscription) -> bool {
        let Some(broker) = &self.topics.inner.broker else {
            return false;
        };
        let mut found = broker.retained(&subscription.filter);
        let (subscriber, subscription) = (self.subscriber.clone(), subscription.clone());
        actix::spawn(async move {
            while let Some(publication) = found.recv().await {
                if !subscriber.subscriptions().contains(&subscription) {
                    return;
                }
                let topic = publication.topic.as_str();
                if !subscriber.access().allows(Action::Receive, topic) {
                    continue;
                }
                let delivery = Delivery {
                    qos: subscription.qos.min(publication.qos),
                    fan: Fan::new(Arc::new(publication)),
                    retain: true,
                    ids: subscription.id.into_iter().collect::<Rc<[u32]>>(),
                    ordinal: None,
                    receipt: None,
                };
                subscriber.link.replay(vec![delivery]);
            }
        });
        true
    }
}
