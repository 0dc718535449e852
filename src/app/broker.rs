//! The topic plane on the `aws` backend: this node's way to the broker, put together.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use bytestring::ByteString;
use uuid::Uuid;

use super::mqtt::{Kept, MqttParts, Plane};
use super::trust::trusting;
use super::{Settings, StartError};
use crate::auth::{Authenticator, presign};
use crate::backends::aws::broker::nothing::Nothing;
use crate::backends::aws::broker::{BrokerOptions, Presign, Upstream};
use crate::backends::aws::sessions::Changed;
use crate::backends::broker::TopicBroker as _;
use crate::config::{Backend, BrokerUrl, Config, Secret};
use crate::domain::publication::{Publication, QoS};
use crate::domain::topic::{TopicFilter, TopicName};
use crate::domain::{Clock, QueueName};

/// What the configuration says about the broker.
#[derive(Debug, Clone)]
pub struct BrokerSettings {
    /// Where it is.
    pub url: BrokerUrl,
    /// User name and password, if it wants them.
    pub login: Option<(String, Secret)>,
    /// Whether the URL is signed with this node's credentials.
    pub presign: bool,
    /// Whom to trust, if not this machine's authorities.
    pub ca_file: Option<PathBuf>,
    /// What client ids begin with.
    pub client_id: String,
    /// Filters that this node may have there.
    pub max_subscriptions: usize,
    /// Where nodes tell each other that a session was renewed or destroyed.
    pub changes: TopicName,
}

/// What the configuration says; `None` if there are no topics on the `aws` backend.
pub(super) fn settings(config: &Config) -> Option<BrokerSettings> {
    if config.backend != Backend::Aws || !config.mqtt.enabled {
        return None;
    }
    let changes = ByteString::from(format!("fanfare/{}/sessions", config.env));
    Some(BrokerSettings {
        // Whoever reads the configuration has complained if one of these is not there.
        url: config.broker_url()?,
        login: config.broker_login().ok()?,
        presign: config.aws.broker_presign,
        ca_file: config.aws.broker_ca_file.clone(),
        client_id: config.aws.broker_client_id.clone(),
        max_subscriptions: config.aws.broker_max_subscriptions,
        changes: TopicName::parse(changes).ok()?,
    })
}

/// This node's way to the broker, before anything goes it.
pub(super) struct Way {
    upstream: Arc<Upstream>,
    parts: MqttParts,
    changes: TopicName,
}

impl Way {
    /// `None` if there are no topics.
    pub(super) fn new(
        settings: &Settings,
        credentials: Option<SharedCredentialsProvider>,
        clock: Clock,
    ) -> Result<Option<Self>, StartError> {
        let (Some(parts), Some(broker)) = (&settings.mqtt, &settings.broker) else {
            return Ok(None);
        };
        let Some(aws) = &settings.aws else {
            return Ok(None);
        };
        let untrusting = |error: super::trust::NoTrust| StartError::Elsewhere(error.to_string());
        let tls = match broker.url.scheme.is_encrypted() {
            true => Some(trusting(broker.ca_file.as_deref()).map_err(untrusting)?),
            false => None,
        };
        let presign = match (broker.presign, credentials) {
            (false, _) => None,
            (true, Some(credentials)) => Some(signer(credentials, settings.region.clone())),
            (true, None) => {
                let text = "aws.broker_presign: this node has no AWS credentials";
                return Err(StartError::Elsewhere(text.to_owned()));
            }
        };
        let parts = parts.through_a_broker();
        let id = Uuid::new_v4().simple().to_string();
        let upstream = Upstream::new(BrokerOptions {
            url: broker.url.clone(),
            login: broker.login.clone(),
            presign,
            tls,
            client_id: format!("{}{}", broker.client_id, &id[..16]),
            hash: parts.topics.hash,
            patience: aws.patience,
            hold_bytes: aws.hold_bytes,
            packet_bytes: parts.links.max_packet_bytes,
            max_subscriptions: broker.max_subscriptions,
            clock,
        });
        Ok(Some(Self {
            upstream,
            parts,
            changes: broker.changes.clone(),
        }))
    }

    pub(super) fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// Tells all nodes that a session was renewed or destroyed, and what it could do is to be looked at again.
    pub(super) fn teller(&self) -> Changed {
        let (upstream, topic) = (self.upstream.clone(), self.changes.clone());
        Arc::new(move |queue: &QueueName| {
            let told = upstream.publish(Arc::new(Publication {
                topic: topic.clone(),
                payload: bytes::Bytes::copy_from_slice(queue.as_str().as_bytes()),
                qos: QoS::AtLeastOnce,
                retain: false,
                properties: None,
                expires: None,
                publisher: None,
            }));
            if let Err(error) = told {
                tracing::warn!(%error, "other nodes learn of a session's end when its keys end");
            }
        })
    }

    /// Begins: what comes from the broker goes to this node's clients.
    pub(super) fn start(
        self,
        authenticator: &Arc<Authenticator>,
        clock: Clock,
    ) -> Result<(Plane, MqttParts), StartError> {
        let Self {
            upstream,
            parts,
            changes,
        } = self;
        let kept = Kept {
            store: Arc::new(Nothing),
            histories: Arc::new(Nothing),
            inboxes: None,
            broker: Some(upstream.clone()),
        };
        let plane = Plane::start(&parts, kept, authenticator, clock)?;
        let filter = TopicFilter::parse(changes.as_str()).expect("a name is a filter, too");
        // It stands as long as the node does. While it does not, keys are looked at when they end.
        drop(upstream.subscribe(&filter)?);
        let (topics, authenticator) = (plane.topics.clone(), authenticator.clone());
        upstream.run(move |publication| {
            if publication.topic == changes {
                let name = std::str::from_utf8(&publication.payload).ok();
                if let Some(queue) = name.and_then(|name| QueueName::parse(name).ok()) {
                    authenticator.session_changed(&queue);
                }
            }
            topics.arrived(publication);
        });
        Ok((plane, parts))
    }
}

/// Signs URLs with what the credentials are at the moment: those of a role change every few hours.
fn signer(credentials: SharedCredentialsProvider, region: String) -> Presign {
    Arc::new(move |url| {
        let (credentials, region) = (credentials.clone(), region.clone());
        Box::pin(async move {
            let keys = credentials.provide_credentials().await;
            let keys = keys.map_err(|error| format!("no AWS credentials: {error}"))?;
            presign(&url, &keys, &region, SystemTime::now()).map_err(|error| error.to_string())
        })
    })
}
