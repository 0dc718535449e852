//! Topics through a broker elsewhere: AWS IoT Core, or any other that speaks MQTT.
//!
//! A node has two connections to it. What clients publish here goes out on the one ([`outbound`]) and comes back on the
//! other ([`inbound`]), as what clients of other nodes publish does: there is one way, and one order, the broker's. What a
//! node subscribes to there is [what its clients want](cover), each once. Nothing is kept at a node but what waits for the
//! broker, which is bounded in bytes and time.
//!
//! - [`connection`]: rumqttc, MQTT 5 or 3.1.1
//! - [`outbound`]: publications in order ([`letters`]), and what is [`retained`]
//! - [`inbound`]: which filters stand at the broker ([`standing`], [`cover`])
//! - [`nothing`]: what a node without a store of its own has of sessions and histories

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::service::Pauses;
use crate::backends::Commit;
use crate::backends::broker::TopicBroker;
use crate::config::{BrokerUrl, Secret};
use crate::domain::publication::Publication;
use crate::domain::topic::{Hash, TopicFilter};
use crate::domain::{Clock, StoreError};

mod connection;
mod cover;
mod inbound;
mod letters;
pub mod nothing;
mod outbound;
mod retained;
mod standing;

use connection::{Connection, Role};
use inbound::Inbound;
use outbound::Outbound;

/// A URL with a signature in its query, good for minutes.
pub type Presign = Arc<dyn Fn(String) -> BoxFuture<'static, Result<String, String>> + Send + Sync>;

/// How a node works with its broker.
#[derive(Clone)]
pub struct BrokerOptions {
    /// Where the broker is.
    pub url: BrokerUrl,
    /// User name and password, if it wants them.
    pub login: Option<(String, Secret)>,
    /// Signs the URL of a WebSocket, for AWS IoT Core.
    pub presign: Option<Presign>,
    /// Whom to trust; only asked with `mqtts` and `wss`.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// What this node's client ids begin with. No other node has the same.
    pub client_id: String,
    /// What `#` matches at this broker.
    pub hash: Hash,
    /// How long a publication or a subscription waits for the broker.
    pub patience: Duration,
    /// Bytes of publications that wait for it.
    pub hold_bytes: u64,
    /// Longest packet from it.
    pub packet_bytes: usize,
    /// Filters that this node may have there.
    pub max_subscriptions: usize,
    /// Time.
    pub clock: Clock,
}

/// This node's way to the broker.
pub struct Upstream {
    options: BrokerOptions,
    inbound: Inbound,
    outbound: Outbound,
}

/// A connection that lasted so long was a good one: the next pause is a short one.
const GOOD: Duration = Duration::from_secs(10);

impl Upstream {
    /// Nothing is connected yet; what is asked for waits.
    pub fn new(options: BrokerOptions) -> Arc<Self> {
        Arc::new(Self {
            inbound: Inbound::new(options.clone()),
            outbound: Outbound::new(options.clone()),
            options,
        })
    }

    /// Connects, and again whenever a connection ends, as long as the caller's event loop runs. What comes from the broker
    /// is handed to `arrived`, in order.
    pub fn run(self: &Arc<Self>, arrived: impl Fn(Publication) + 'static) {
        let arrived: Rc<dyn Fn(Publication)> = Rc::new(arrived);
        let upstream = self.clone();
        tokio::task::spawn_local(async move {
            let inbound = &upstream.inbound;
            let serve = async |connection, first| inbound.serve(connection, first, &*arrived).await;
            upstream
                .keep("in", |first| inbound.role(first), serve)
                .await;
        });
        let upstream = self.clone();
        tokio::task::spawn_local(async move {
            let outbound = &upstream.outbound;
            let hears = upstream.inbound.hears();
            let serve = async |connection, _| outbound.serve(connection, hears.clone()).await;
            upstream.keep("out", |_| outbound.role(), serve).await;
        });
        let upstream = self.clone();
        tokio::task::spawn_local(async move { upstream.outbound.keep_time().await });
    }

    /// Waits until everything that was handed over is published, such as the wills of those who were just disconnected.
    pub async fn flush(&self, within: Duration) {
        self.outbound.flush(within).await;
    }

    /// Connects and serves, with pauses between, for ever.
    async fn keep(
        &self,
        link: &'static str,
        role: impl Fn(bool) -> Role,
        serve: impl AsyncFn(Connection, bool) -> String,
    ) {
        let gauge = metrics::gauge!("fanfare_broker_connected", "link" => link);
        let (mut pauses, mut first) = (Pauses::endless(), true);
        loop {
            let why = match Connection::open(&self.options, &role(first)).await {
                Ok(connection) => {
                    tracing::info!(link, broker = %self.options.url, "connected to the broker");
                    gauge.set(1.0);
                    let began = Instant::now();
                    let why = serve(connection, std::mem::take(&mut first)).await;
                    gauge.set(0.0);
                    if began.elapsed() > GOOD {
                        pauses = Pauses::endless();
                    }
                    why
                }
                Err(why) => why,
            };
            metrics::counter!("fanfare_broker_disconnects_total", "link" => link).increment(1);
            tracing::warn!(link, broker = %self.options.url, why, "no connection to the broker");
            pauses.pause().await;
        }
    }
}

impl TopicBroker for Upstream {
    fn publish(&self, publication: Arc<Publication>) -> Result<Commit<()>, StoreError> {
        self.outbound.publish(publication)
    }

    fn subscribe(&self, filter: &TopicFilter) -> Result<Commit<()>, StoreError> {
        self.inbound.subscribe(filter)
    }

    fn unsubscribe(&self, filter: &TopicFilter) {
        self.inbound.unsubscribe(filter);
    }

    fn retained(&self, filter: &TopicFilter) -> mpsc::Receiver<Publication> {
        self.outbound.retained(filter)
    }
}
