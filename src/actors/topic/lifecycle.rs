//! What happens to connections and subscriptions, announced on AWS IoT's lifecycle topics
//! (`$aws/events/presence/connected/{clientId}` and so on).

use std::net::IpAddr;

use bytestring::ByteString;
use serde_json::{Value, json};

use super::Topics;
use super::attached::{Attached, Leaving};
use crate::domain::publication::{Publication, QoS};
use crate::domain::topic::TopicName;

/// What happened.
pub(super) enum Event<'a> {
    /// From there.
    Connected(Option<IpAddr>),
    Disconnected(Leaving),
    Subscribed(Vec<&'a str>),
    Unsubscribed(Vec<&'a str>),
}

impl Event<'_> {
    fn topic(&self) -> &'static str {
        match self {
            Self::Connected(_) => "$aws/events/presence/connected/",
            Self::Disconnected(_) => "$aws/events/presence/disconnected/",
            Self::Subscribed(_) => "$aws/events/subscriptions/subscribed/",
            Self::Unsubscribed(_) => "$aws/events/subscriptions/unsubscribed/",
        }
    }

    fn describe(&self, attached: &Attached) -> Value {
        let mut event = json!({
            "clientId": attached.client().as_str(),
            "timestamp": attached.topics.inner.clock.wall().millis(),
            "sessionIdentifier": attached.session_identifier.to_string(),
            "principalIdentifier": &**attached.principal(),
        });
        match self {
            Self::Connected(source) => {
                event["eventType"] = "connected".into();
                event["ipAddress"] = source.map_or(Value::Null, |source| source.to_string().into());
                event["versionNumber"] = 0.into();
            }
            Self::Disconnected(leaving) => {
                event["eventType"] = "disconnected".into();
                event["clientInitiatedDisconnect"] = leaving.by_client.into();
                event["disconnectReason"] = leaving.reason.into();
                event["versionNumber"] = 0.into();
            }
            Self::Subscribed(filters) => {
                event["eventType"] = "subscribed".into();
                event["topics"] = filters.clone().into();
            }
            Self::Unsubscribed(filters) => {
                event["eventType"] = "unsubscribed".into();
                event["topics"] = filters.clone().into();
            }
        }
        event
    }
}

impl Topics {
    /// Tells whoever wants to know.
    pub(in crate::actors::topic) fn announce(&self, attached: &Attached, event: Event<'_>) {
        // Who is connected to other nodes may want it.
        let wanted = || {
            self.inner.broker.is_some() || self.shards().iter().any(|shard| shard.wants_events())
        };
        if !self.inner.settings.lifecycle_events || !wanted() {
            return;
        }
        let name = ByteString::from([event.topic(), attached.client().as_str()].concat());
        // A client id that makes no topic name, such as a very long one, is not announced.
        let Ok(topic) = TopicName::parse(name) else {
            return;
        };
        let publication = Publication {
            topic,
            payload: event.describe(attached).to_string().into(),
            qos: QoS::AtMostOnce,
            retain: false,
            properties: None,
            expires: None,
            publisher: None,
        };
        self.tell_all(publication);
    }
}
