//! Rooms among connections of one worker and of two.

mod beside;
mod bounds;
mod history;
mod policy;
mod presence;
mod said;
mod seats;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use uuid::Uuid;

use super::super::testing::{Client, Plane, pause, publication, subscription, text};
use super::super::{PublishError, SubscribeError};
use super::{Recover, Who};
use crate::config::limits;
use crate::domain::policy::Access;
use crate::domain::publication::QoS::{self, AtLeastOnce, AtMostOnce};
use crate::domain::publication::{ClientId, Publisher};
use crate::domain::room::{Keep, PresenceRule, RoomRule, SeatRule};
use crate::domain::topic::{TopicFilter, TopicName};

const GRACE: Duration = Duration::from_millis(300);
const HOLD: Duration = Duration::from_millis(700);

/// Rooms that keep little, for a short time.
pub(in crate::actors::topic) fn rules() -> Vec<RoomRule> {
    let filter = |text: &str| TopicFilter::parse(text).unwrap();
    let presence = PresenceRule {
        counts_only_above: 20,
        grace: GRACE,
    };
    let keep = Keep {
        messages: 5,
        bytes: 1 << 20,
        time: Duration::from_secs(60),
    };
    vec![
        RoomRule {
            filter: filter("chat/#"),
            history: Some(keep),
            presence: Some(presence),
            last_value: false,
            seats: None,
        },
        RoomRule {
            filter: filter("long/#"),
            history: Some(Keep {
                messages: 10_000,
                ..keep
            }),
            presence: None,
            last_value: false,
            seats: None,
        },
        RoomRule {
            filter: filter("arena/#"),
            history: None,
            presence: Some(presence),
            last_value: true,
            seats: Some(SeatRule {
                places: 2,
                hold: HOLD,
            }),
        },
    ]
}

fn name(text: &str) -> TopicName {
    TopicName::parse(text.into()).unwrap()
}

impl Client {
    async fn send(&self, topic: &str, payload: &str, qos: QoS) -> Result<(), PublishError> {
        let mut publication = publication(topic, payload);
        publication.qos = qos;
        publication.publisher = Some(Publisher {
            client: Some(self.attached().client().clone()),
            principal: self.attached().principal().clone(),
        });
        self.attached().publish(publication, None).outcome().await
    }

    async fn recover(&self, room: &str, recover: Recover) {
        let asked = subscription(room, AtLeastOnce);
        let granted = self
            .attached()
            .subscribe_since(vec![asked], Some(recover))
            .await;
        granted.into_iter().for_each(|one| drop(one.unwrap()));
        pause(5).await;
    }

    /// What came since the last look: topic, offset if there is one, payload.
    fn came(&self) -> Vec<String> {
        let deliveries = self.link.deliveries.take();
        let shown = deliveries.iter().map(|delivery| {
            let publication = &delivery.fan.publication;
            let user = publication.properties.iter().flat_map(|some| &some.user);
            let offset = user.clone().find(|(name, _)| &**name == "offset");
            let offset = offset.map(|(_, offset)| format!("{offset} "));
            let topic = publication.topic.as_str();
            format!("{topic} {}{}", offset.unwrap_or_default(), text(delivery))
        });
        shown.collect()
    }

    /// What came on one topic, as JSON.
    fn told(&self, topic: &str) -> Vec<Value> {
        let prefix = format!("{topic} ");
        let came = self.came().into_iter();
        came.filter_map(|one| Some(serde_json::from_str(one.strip_prefix(&prefix)?).unwrap()))
            .collect()
    }

    /// The next changes of a room's members: as many as are expected, or fewer after a while.
    async fn changes(&self, topic: &str, count: usize) -> Vec<Value> {
        let until = Instant::now() + Duration::from_secs(10);
        let mut changes = Vec::new();
        while changes.len() < count && Instant::now() < until {
            pause(5).await;
            let told = self.told(topic);
            let new = told.iter().filter_map(|one| one["changes"].as_array());
            changes.extend(new.flatten().cloned());
        }
        changes
    }
}

/// Client 1 by one of its connections.
fn who(connection: u128) -> Who {
    Who {
        id: ClientId("1".into()),
        connection: Uuid::from_u128(connection),
        principal: "p".into(),
    }
}

const LAST: Recover = Recover {
    since: None,
    last: 3,
};
