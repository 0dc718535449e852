//! The composition root: builds everything from the settings and connects it. The only file that names a
//! concrete backend.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix::{Arbiter, ArbiterHandle};
use actix_web::dev::ServerHandle;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::time::Instant;

use crate::actors::dispatcher::{Dispatchers, Neighbours, Routes};
use crate::actors::finder::Finder;
use crate::actors::history::Historians;
use crate::actors::queue::{Queues, QueuesConfig};
use crate::actors::registrar::{Registrar, SessionSettings};
use crate::actors::session;
use crate::actors::topic::SessionQueues;
use crate::actors::user::Users;
use crate::auth::{Authenticator, OperatorKey, Rights, Rulebook, Seal, Versions};
use crate::backends::embedded::{Embedded, OnFailure, OpenError, StoreOptions};
use crate::backends::{OnTouched, SessionRegistry};
use crate::config::Console;
use crate::domain::{Clock, StoreError};
use crate::observe::health::Health;
use crate::observe::traces::Traces;
use crate::wire::front::{
    BENCH_ROUTES, CertificateError, Door, Limits, ServeOptions, Traffic, serve,
};
use crate::wire::{cognito, http, iot, kinesis, probes, sqs, sts};

#[cfg(feature = "aws")]
pub mod aws;
#[cfg(feature = "aws")]
mod broker;
mod listen;
mod mqtt;
mod pages;
mod running;
mod settings;
pub mod trust;

pub use listen::{Addresses, TlsSettings};
use listen::{Listening, Sockets};
use mqtt::{Kept, MqttParts, Plane};
pub use running::DRAIN;
use running::{Running, SPARE};

/// Everything that can be set, typed and checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Region in identities and ARNs, and the one that signatures must name.
    pub region: String,
    /// Account in ARNs and queue URLs, 12 digits.
    pub aws_account: String,
    /// Keys of the operator; two while they are being rotated.
    pub operators: Vec<OperatorKey>,
    /// Where HTTP is served.
    pub http_listen: SocketAddr,
    /// What is served in TLS, if anything.
    pub tls: Option<TlsSettings>,
    /// How HTTP is served.
    pub serve: ServeOptions,
    /// Bounds of requests.
    pub limits: Limits,
    /// Threads for user actors.
    pub actor_threads: usize,
    /// The store.
    pub store: StoreOptions,
    /// Sessions.
    pub sessions: SessionSettings,
    /// How often expired sessions are removed.
    pub session_sweep_interval: Duration,
    /// Messages that a session's queue may hold.
    pub session_queue_limit: u64,
    /// Queues.
    pub queues: QueuesConfig,
    /// The Kinesis stream.
    pub stream: kinesis::Stream,
    /// Name of the environment, in the identity pool's.
    pub env: String,
    /// How long history keeps a message.
    pub user_message_ttl: Duration,
    /// After how long an unused user actor is let go.
    pub user_idle_after: Duration,
    /// MQTT; `None`: there is none.
    pub mqtt: Option<MqttParts>,
    /// What guests, roles and accounts may do with topics.
    pub book: Arc<Rulebook>,
    /// Guests' keys that one address gets at once, and a minute.
    pub guest_rate: (u32, u32),
    /// Whether the demos are there.
    pub demo: bool,
    /// The console; `None`: there is none.
    pub console: Option<Console>,
    /// Whether `/bench/verify` is there.
    pub bench: bool,
    /// The `aws` backend, if it is that one.
    #[cfg(feature = "aws")]
    pub aws: Option<crate::backends::aws::AwsOptions>,
    /// The broker that topics go through on that backend, if there are topics.
    #[cfg(feature = "aws")]
    pub broker: Option<broker::BrokerSettings>,
}

/// Why the program did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store can not be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// What is in the store can not be read.
    #[error("the store can not be read: {0}")]
    Recover(#[from] StoreError),
    /// The certificate can not be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The address can not be listened on.
    #[error("can not listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    /// What a backend elsewhere needs is not there.
    #[error("{0}")]
    Elsewhere(String),
    /// The secrets of session tokens can not be read or made.
    #[error("{0}: {1}")]
    Secrets(std::path::PathBuf, std::io::Error),
}

impl StartError {
    /// Whether another process has the data directory.
    pub fn is_in_use(&self) -> bool {
        matches!(self, Self::Store(OpenError::InUse(_)))
    }
}

/// The running program.
pub struct App {
    /// Where HTTP is served.
    pub http: SocketAddr,
    /// Where else.
    pub others: Addresses,
    server: ServerHandle,
    sockets: Sockets,
    traffic: Arc<Traffic>,
    health: Health,
    running: Running,
    patience: Duration,
}

impl App {
    /// Starts everything. Must be called inside an actix system.
    ///
    /// # Errors
    /// [`StartError`], naming what is in the way.
    pub async fn start(
        settings: Settings,
        metrics: PrometheusHandle,
        on_failure: OnFailure,
    ) -> Result<Self, StartError> {
        let Listening {
            listeners,
            http,
            others,
            sockets,
        } = listen::all(&settings)?;
        let running = Running::start(&settings, on_failure).await?;
        let health = running.health();
        let probes = probes::ProbeState {
            health: health.clone(),
            metrics,
        };
        let door = Arc::new(running.door(&settings, probes));
        let traffic = door.traffic().clone();
        let refused = |error| StartError::Listen(http, error);
        let server = serve(listeners, &door, &settings.serve).map_err(refused)?;
        let handle = server.handle();
        actix::spawn(server);
        Ok(Self {
            http,
            others,
            server: handle,
            sockets,
            traffic,
            health,
            running,
            patience: settings.serve.shutdown_patience,
        })
    }

    /// Puts another book of rights in force, on open connections within a second.
    pub fn replace(&self, book: Arc<Rulebook>) {
        self.running.authenticator().replace(book);
    }

    /// Ends in order: unready, no new connections, waiting long polls answered, requests finished, everything
    /// committed. Requests have as long as the settings say; a connection without one is not waited for.
    pub async fn drain(self) {
        self.health.drain();
        self.traffic.close();
        let begun = Instant::now();
        let until = begun + self.patience;
        self.server.pause().await;
        self.sockets.shut().await;
        self.running.say_goodbye().await;
        // No worker ends before the last request has: the queue that it asks may have its actor on any of them.
        let _ = tokio::time::timeout_at(until, self.traffic.ended()).await;
        self.server.stop(false).await;
        self.running.end(begun + DRAIN - SPARE).await;
    }
}

/// Everything behind the wires: the store and the actors.
struct Core {
    clock: Clock,
    queues: Queues,
    dispatchers: Dispatchers,
    users: Users,
    registrar: Registrar,
    finder: Finder,
    traces: Arc<Traces>,
    arbiters: Vec<Arbiter>,
    store: Arc<Embedded>,
    authenticator: Arc<Authenticator>,
    plane: Option<Plane>,
}

impl Core {
    /// Opens the store and starts the actors that work on it.
    fn start(settings: &Settings, on_failure: OnFailure) -> Result<Self, StartError> {
        let clock = Clock::start();
        let routes = Arc::new(Routes::default());
        let queues_cell = Arc::new(OnceLock::<Queues>::new());
        let versions = Arc::new(Versions::default());
        let on_touched = on_touched(routes.clone(), queues_cell.clone(), versions.clone());
        let store = Embedded::open(&settings.store, clock, on_touched, on_failure)?;
        let store = Arc::new(store);
        SessionRegistry::routes(&*store, &mut |route| routes.add(&route))?;

        let threads = 0..settings.actor_threads.max(1);
        let arbiters: Vec<Arbiter> = threads.map(|_| Arbiter::new()).collect();
        let handles: Vec<ArbiterHandle> = arbiters.iter().map(Arbiter::handle).collect();
        let traces = Traces::new(
            settings
                .console
                .as_ref()
                .map_or(1, |console| console.traces),
        );
        let queues = queues(settings, &store, &traces, clock);
        let _ = queues_cell.set(queues.clone());
        let dispatchers = dispatchers(settings, &store, routes.clone(), &traces, clock);
        let users = Users::new(
            store.clone(),
            dispatchers.clone(),
            clock,
            settings.user_idle_after,
            handles,
            traces.clone(),
        );
        users.keep_promises()?;
        let authenticator = authenticator(settings, store.clone(), versions, clock)?;
        let authenticator = Arc::new(authenticator);
        let plane = settings.mqtt.as_ref();
        let kept = || Kept {
            store: store.clone(),
            histories: store.clone(),
            inboxes: Some(SessionQueues {
                queues: queues.clone(),
                catalog: store.clone(),
            }),
            broker: None,
        };
        let plane = plane.map(|parts| Plane::start(parts, kept(), &authenticator, clock));
        let plane = plane.transpose()?;
        Ok(Self {
            clock,
            queues,
            dispatchers,
            users,
            finder: Finder::new(routes.clone(), store.clone(), clock),
            traces,
            registrar: Registrar::new(
                store.clone(),
                Some(routes),
                settings.sessions.clone(),
                clock,
            ),
            arbiters,
            store,
            authenticator,
            plane,
        })
    }

    /// Ready as long as the store takes what is new.
    fn health(&self) -> Health {
        let watched = Arc::downgrade(&self.store);
        Health::new(Box::new(move || match watched.upgrade() {
            Some(store) => store.accepts().map_err(|error| error.to_string()),
            None => Err("the store is closed".into()),
        }))
    }

    /// The door with everything that can be called behind it.
    fn door(&self, settings: &Settings, probes: probes::ProbeState) -> Door {
        let document = http::document_state(self.described(settings));
        let mut door = Door::new(self.authenticator.clone(), settings.limits.clone(), "http")
            .rest(
                "http",
                "execute-api",
                &Arc::new(self.rest_state(settings)),
                http::ROUTES,
            )
            .rest("probes", "execute-api", &Arc::new(probes), probes::ROUTES)
            .rest("document", "execute-api", &document, http::DOCUMENT_ROUTES)
            .rpc(
                sqs::SqsWire,
                &Arc::new(self.sqs_state(settings)),
                sqs::OPERATIONS,
            )
            .rpc(
                kinesis::Wire,
                &Arc::new(self.kinesis_state(settings)),
                kinesis::OPERATIONS,
            )
            .rpc(
                cognito::Wire,
                &Arc::new(self.cognito_state(settings)),
                cognito::OPERATIONS,
            )
            .rpc(
                sts::Wire,
                &Arc::new(self.sts_state(settings)),
                sts::OPERATIONS,
            );
        let iot = Arc::new(self.iot_state(settings));
        door = door.rest("iot", "iot", &iot, iot::CONTROL_ROUTES).rest(
            "iot",
            "execute-api",
            &iot,
            iot::KEY_ROUTES,
        );
        if let (Some(plane), Some(parts)) = (&self.plane, &settings.mqtt) {
            let data = plane.data_state(parts, &self.authenticator, self.clock);
            let data = Arc::new(data);
            door = plane.serve(door, parts);
            door = door.rest("iot", "iotdata", &data, iot::data::PUBLISH_ROUTES);
            door = door.rest("iot", "iotdata", &data, iot::data::DATA_ROUTES);
            door = door.rest("rooms", "execute-api", &data, iot::data::ROOM_ROUTES);
        }
        door = self.serve_pages(door, settings);
        if settings.bench {
            door = door.rest("bench", "execute-api", &Arc::new(()), BENCH_ROUTES);
        }
        door
    }

    fn rest_state(&self, settings: &Settings) -> http::RestState {
        http::RestState {
            has_topics: settings.mqtt.is_some(),
            registrar: self.registrar.clone(),
            dispatchers: self.dispatchers.clone(),
            users: Arc::new(self.users.clone()),
            region: settings.region.clone(),
            aws_account: settings.aws_account.clone(),
        }
    }

    fn sqs_state(&self, settings: &Settings) -> sqs::SqsState {
        sqs::SqsState {
            queues: self.queues.clone(),
            region: settings.region.clone(),
            account: settings.aws_account.as_str().into(),
        }
    }

    fn kinesis_state(&self, settings: &Settings) -> kinesis::KinesisState {
        let relay = kinesis::relay::Relay::new(self.dispatchers.clone(), self.clock);
        kinesis::KinesisState {
            stream: settings.stream.clone(),
            ingest: Arc::new(relay),
        }
    }

    fn cognito_state(&self, settings: &Settings) -> cognito::CognitoState {
        let (store, registrar) = (self.store.clone(), self.registrar.clone());
        cognito::CognitoState {
            find: Box::new(move |identity| store.by_identity(identity)),
            destroy: Box::new(move |key| {
                let registrar = registrar.clone();
                Box::pin(async move { registrar.destroy(key).await })
            }),
            region: settings.region.clone(),
            env: settings.env.clone(),
            clock: self.clock,
            authenticator: self.authenticator.clone(),
        }
    }

    fn sts_state(&self, settings: &Settings) -> sts::StsState {
        sts::StsState {
            authenticator: self.authenticator.clone(),
            account: settings.aws_account.clone(),
        }
    }

    fn iot_state(&self, settings: &Settings) -> iot::IotState {
        iot::IotState {
            authenticator: self.authenticator.clone(),
            region: settings.region.clone(),
        }
    }
}

fn authenticator(
    settings: &Settings,
    registry: Arc<dyn SessionRegistry>,
    versions: Arc<Versions>,
    clock: Clock,
) -> Result<Authenticator, StartError> {
    let secrets = settings.store.dir.join("token-secrets");
    let seal = Seal::at(&secrets).map_err(|error| StartError::Secrets(secrets, error))?;
    let authenticator = Authenticator::new(
        settings.operators.clone(),
        registry,
        vec![settings.region.clone()],
        clock,
    );
    Ok(authenticator.with(Rights {
        aws_account: settings.aws_account.clone(),
        seal: Some(seal),
        book: settings.book.clone(),
        guest_rate: settings.guest_rate,
        versions,
    }))
}

fn queues(
    settings: &Settings,
    store: &Arc<Embedded>,
    traces: &Arc<Traces>,
    clock: Clock,
) -> Queues {
    let sealers = session::sealers(store.clone());
    let (config, traces) = (settings.queues.clone(), traces.clone());
    Queues::new(config, store.clone(), store.clone(), sealers, traces, clock)
}

fn dispatchers(
    settings: &Settings,
    store: &Arc<Embedded>,
    routes: Arc<Routes>,
    traces: &Arc<Traces>,
    clock: Clock,
) -> Dispatchers {
    Dispatchers::new(Neighbours {
        routes,
        registry: store.clone(),
        queues: store.clone(),
        history: Historians::new(store.clone()),
        clock,
        user_message_ttl: settings.user_message_ttl,
        sender: settings.aws_account.as_str().into(),
        queue_limit: settings.session_queue_limit,
        traces: traces.clone(),
    })
}

/// Routes follow each commit before it is answered; queues are woken by it. The queues are there only after
/// the store, and nothing is committed before.
fn on_touched(
    routes: Arc<Routes>,
    queues: Arc<OnceLock<Queues>>,
    versions: Arc<Versions>,
) -> OnTouched {
    Arc::new(move |touched| {
        for touched in touched {
            routes.follow(touched);
            versions.touched(touched);
            if let Some(queues) = queues.get() {
                queues.touched(touched);
            }
        }
    })
}

/// Removes expired sessions from time to time.
fn sweep(registrar: Registrar, interval: Duration) {
    actix::spawn(async move {
        loop {
            tokio::time::sleep(interval).await;
            if let Err(error) = registrar.sweep().await {
                tracing::warn!(%error, "expired sessions wait to be removed");
            }
        }
    });
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
