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
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

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

use connection::{Connection, Role, Sender};
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
    /// Whether this node ends.
    ending: watch::Sender<bool>,
    /// Those that work with the connections.
    working: Mutex<JoinSet<()>>,
}

/// A connection that lasted so long was a good one: the next pause is a short one.
const GOOD: Duration = Duration::from_secs(10);

/// How long the broker may take to hear that this node ends.
const FAREWELL: Duration = Duration::from_secs(2);

impl Upstream {
    /// Nothing is connected yet; what is asked for waits.
    pub fn new(options: BrokerOptions) -> Arc<Self> {
        Arc::new(Self {
            inbound: Inbound::new(options.clone()),
            outbound: Outbound::new(options.clone()),
            ending: watch::Sender::new(false),
            working: Mutex::default(),
            options,
        })
    }

    /// Connects, and again whenever a connection ends, as long as the caller's event loop runs or until
    /// [the end](Upstream::end). What comes from the broker is handed to `arrived`, in order.
    pub fn run(self: &Arc<Self>, arrived: impl Fn(Publication) + 'static) {
        let arrived: Rc<dyn Fn(Publication)> = Rc::new(arrived);
        let mut working = self.working.lock().unwrap_or_else(PoisonError::into_inner);
        let upstream = self.clone();
        working.spawn_local(async move {
            let inbound = &upstream.inbound;
            let serve = async |connection, first| inbound.serve(connection, first, &*arrived).await;
            upstream
                .keep("in", |first| inbound.role(first), serve)
                .await;
            upstream.forget_inbound().await;
        });
        let upstream = self.clone();
        working.spawn_local(async move {
            let outbound = &upstream.outbound;
            let hears = upstream.inbound.hears();
            let serve = async |connection, _| outbound.serve(connection, hears.clone()).await;
            upstream.keep("out", |_| outbound.role(), serve).await;
        });
        let upstream = self.clone();
        tokio::task::spawn_local(async move { upstream.outbound.keep_time().await });
    }

    /// Publishes everything that was handed over, such as the wills of those who were just disconnected, as far as that is
    /// possible in time, and leaves the broker with a DISCONNECT on each connection. Ends at `until`.
    pub async fn end(&self, until: Instant) {
        self.outbound.flush(until - FAREWELL).await;
        self.ending.send_replace(true);
        let mut working = {
            let mut working = self.working.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *working)
        };
        let left = async { while working.join_next().await.is_some() {} };
        if timeout(FAREWELL, left).await.is_err() {
            tracing::warn!("the broker was not told that this node ends: it does not answer");
        }
    }

    /// Connects and serves, with pauses between, until the node ends.
    async fn keep(
        &self,
        link: &'static str,
        role: impl Fn(bool) -> Role,
        serve: impl AsyncFn(Connection, bool) -> String,
    ) {
        let gauge = metrics::gauge!("fanfare_broker_connected", "link" => link);
        let (mut pauses, mut first) = (Pauses::endless(), true);
        let mut ending = self.ending.subscribe();
        while !*ending.borrow() {
            let wanted = role(first);
            let opened = tokio::select! {
                opened = Connection::open(&self.options, &wanted) => opened,
                _ = ending.wait_for(|ending| *ending) => return,
            };
            let why = match opened {
                Ok(connection) => {
                    tracing::info!(link, broker = %self.options.url, "connected to the broker");
                    gauge.set(1.0);
                    let began = Instant::now();
                    let leaving = leave(connection.sender.clone(), ending.clone());
                    let why = tokio::select! {
                        why = serve(connection, std::mem::take(&mut first)) => why,
                        never = leaving => never,
                    };
                    gauge.set(0.0);
                    if *ending.borrow() {
                        tracing::info!(link, broker = %self.options.url, "left the broker");
                        return;
                    }
                    if began.elapsed() > GOOD {
                        pauses = Pauses::endless();
                    }
                    why
                }
                Err(why) => why,
            };
            metrics::counter!("fanfare_broker_disconnects_total", "link" => link).increment(1);
            tracing::warn!(link, broker = %self.options.url, why, "no connection to the broker");
            tokio::select! {
                _ = pauses.pause() => {}
                _ = ending.wait_for(|ending| *ending) => return,
            }
        }
    }

    /// Has the broker forget the inbound session, which it would otherwise fill for nobody until `RESUME` is over: rumqttc's
    /// DISCONNECT can not say so, but a connection without an earlier session can.
    async fn forget_inbound(&self) {
        let role = Role {
            resume: None,
            ..self.inbound.role(true)
        };
        match Connection::open(&self.options, &role).await {
            Ok(mut connection) => {
                // An error means that the connection is over, which is what it is for.
                let _ = connection.sender.disconnect().await;
                while connection.events.next().await.is_ok() {}
            }
            Err(why) => tracing::warn!(why, "the broker keeps this node's session for a while"),
        }
    }
}

/// Says goodbye on a connection when the node ends, and leaves the end of the connection to whoever serves it.
async fn leave<T>(sender: Sender, mut ending: watch::Receiver<bool>) -> T {
    // Whoever could end the node lives as long as its connections; and a connection that is over needs no goodbye.
    let _ = ending.wait_for(|ending| *ending).await;
    let _ = sender.disconnect().await;
    std::future::pending().await
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
