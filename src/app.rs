//! The composition root: builds everything from the settings and connects it. The only file that names a
//! concrete backend.

use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use actix::{Arbiter, ArbiterHandle};
use actix_web::dev::ServerHandle;
use futures_util::future;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::actors::dispatcher::{Dispatchers, Neighbours, Routes};
use crate::actors::history::Historians;
use crate::actors::queue::{Queues, QueuesConfig};
use crate::actors::registrar::{Registrar, SessionSettings};
use crate::actors::session;
use crate::actors::user::Users;
use crate::auth::{Authenticator, OperatorKey};
use crate::backends::embedded::{Embedded, OnFailure, OpenError, StoreOptions};
use crate::backends::{HistoryStore, OnTouched, QueueCatalog, QueueStore, SessionRegistry};
use crate::domain::{Clock, StoreError};
use crate::observe::health::Health;
use crate::wire::front::{BENCH_ROUTES, Door, Limits, ServeOptions, Traffic, serve};
use crate::wire::{cognito, http, kinesis, probes, sqs};

mod settings;

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
    /// How HTTP is served.
    pub serve: ServeOptions,
    /// Bounds of requests.
    pub limits: Limits,
    /// Threads for actors.
    pub actor_threads: usize,
    /// The store.
    pub store: StoreOptions,
    /// Sessions.
    pub sessions: SessionSettings,
    /// How often expired sessions are removed.
    pub session_sweep_interval: Duration,
    /// Messages that a session's queue may hold.
    pub session_queue_limit: u64,
    /// Queues; arbiters are filled in.
    pub queues: QueuesConfig,
    /// The Kinesis stream.
    pub stream: kinesis::Stream,
    /// Name of the environment, in the identity pool's.
    pub env: String,
    /// How long history keeps a message.
    pub user_message_ttl: Duration,
    /// After how long an unused user actor is let go.
    pub user_idle_after: Duration,
    /// Whether `/bench/verify` is there.
    pub bench: bool,
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
    /// The address can not be listened on.
    #[error("can not listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
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
    server: ServerHandle,
    traffic: Arc<Traffic>,
    queues: Queues,
    health: Health,
    store: Arc<Embedded>,
    arbiters: Vec<Arbiter>,
}

impl App {
    /// Starts everything. Must be called inside an actix system.
    ///
    /// # Errors
    /// [`StartError`], naming what is in the way.
    pub fn start(
        settings: Settings,
        metrics: PrometheusHandle,
        on_failure: OnFailure,
    ) -> Result<Self, StartError> {
        let listener = listen(settings.http_listen)?;
        let http = listener
            .local_addr()
            .map_err(|error| StartError::Listen(settings.http_listen, error))?;
        let clock = Clock::start();
        let routes = Arc::new(Routes::default());
        let queues_cell = Arc::new(std::sync::OnceLock::<Queues>::new());
        let on_touched = on_touched(routes.clone(), queues_cell.clone());
        let store = Arc::new(Embedded::open(
            &settings.store,
            clock,
            on_touched,
            on_failure,
        )?);
        SessionRegistry::routes(&*store, &mut |route| routes.add(&route))?;

        let arbiters: Vec<Arbiter> = (0..settings.actor_threads.max(1))
            .map(|_| Arbiter::new())
            .collect();
        let handles: Vec<ArbiterHandle> = arbiters.iter().map(Arbiter::handle).collect();
        let registry: Arc<dyn SessionRegistry> = store.clone();
        let catalog: Arc<dyn QueueCatalog> = store.clone();
        let queue_store: Arc<dyn QueueStore> = store.clone();
        let history_store: Arc<dyn HistoryStore> = store.clone();

        let config = QueuesConfig {
            arbiters: handles.clone(),
            ..settings.queues.clone()
        };
        let queues = Queues::new(
            config,
            queue_store.clone(),
            catalog.clone(),
            session::sealers(registry.clone()),
            clock,
        );
        let _ = queues_cell.set(queues.clone());
        let dispatchers = Dispatchers::new(Neighbours {
            routes: routes.clone(),
            registry: registry.clone(),
            catalog,
            queues: queue_store,
            history: Historians::new(history_store.clone()),
            clock,
            user_message_ttl: settings.user_message_ttl,
            sender: settings
                .operators
                .first()
                .map_or("", |operator| &operator.access_key)
                .into(),
            queue_limit: settings.session_queue_limit,
        });
        let users = Users::new(
            history_store,
            dispatchers.clone(),
            clock,
            settings.user_idle_after,
            handles,
        );
        users.keep_promises()?;
        let registrar = Registrar::new(registry.clone(), routes, settings.sessions.clone(), clock);
        sweep(registrar.clone(), settings.session_sweep_interval);

        let operators = settings.operators.clone();
        let authenticator = Authenticator::new(
            operators,
            registry.clone(),
            vec![settings.region.clone()],
            clock,
        );
        let rest = Arc::new(http::RestState {
            registrar,
            dispatchers,
            users,
            region: settings.region.clone(),
            aws_account: settings.aws_account.clone(),
        });
        let sqs = Arc::new(sqs::SqsState {
            queues: queues.clone(),
            region: settings.region.clone(),
            account: settings.aws_account.as_str().into(),
        });
        let ingest = kinesis::relay::Relay::new(rest.dispatchers.clone(), clock);
        let kinesis = Arc::new(kinesis::KinesisState {
            stream: settings.stream.clone(),
            ingest: Arc::new(ingest),
        });
        let cognito = Arc::new(cognito_state(
            &settings,
            registry,
            rest.registrar.clone(),
            clock,
        ));
        let watched = Arc::downgrade(&store);
        let health = Health::new(Box::new(move || match watched.upgrade() {
            Some(store) => store.accepts().map_err(|error| error.to_string()),
            None => Err("the store is closed".into()),
        }));
        let probes = Arc::new(probes::ProbeState {
            health: health.clone(),
            metrics,
        });
        let mut door = Door::new(Arc::new(authenticator), settings.limits.clone(), "http")
            .rest("http", "execute-api", &rest, http::ROUTES)
            .rest("probes", "execute-api", &probes, probes::ROUTES)
            .rest(
                "document",
                "execute-api",
                &http::document_state(),
                http::DOCUMENT_ROUTES,
            )
            .rpc(sqs::SqsWire, &sqs, sqs::OPERATIONS)
            .rpc(kinesis::Wire, &kinesis, kinesis::OPERATIONS)
            .rpc(cognito::Wire, &cognito, cognito::OPERATIONS);
        if settings.bench {
            door = door.rest("bench", "execute-api", &Arc::new(()), BENCH_ROUTES);
        }
        let traffic = door.traffic().clone();
        let server = serve(listener, Arc::new(door), &settings.serve)
            .map_err(|error| StartError::Listen(settings.http_listen, error))?;
        let handle = server.handle();
        actix::spawn(server);
        Ok(Self {
            http,
            server: handle,
            traffic,
            queues,
            health,
            store,
            arbiters,
        })
    }

    /// Ends in order: unready, no new connections, waiting long polls answered, requests finished, everything
    /// committed. Requests have as long as the settings say; a connection without one is not waited for.
    pub async fn drain(self) {
        self.health.drain();
        self.traffic.close();
        let stopped = self.server.stop(true);
        self.queues.drain().await;
        future::select(pin!(stopped), pin!(self.traffic.ended())).await;
        // What nobody waited for, such as the receive counts of the last polls, reaches the disk, too.
        if let Err(error) = self.store.flush().await {
            tracing::warn!(%error, "the last changes that nobody waited for may be lost");
        }
        for arbiter in &self.arbiters {
            arbiter.stop();
        }
    }
}

fn cognito_state(
    settings: &Settings,
    registry: Arc<dyn SessionRegistry>,
    registrar: Registrar,
    clock: Clock,
) -> cognito::CognitoState {
    cognito::CognitoState {
        find: Box::new(move |identity| registry.by_identity(identity)),
        destroy: Box::new(move |key| {
            let registrar = registrar.clone();
            Box::pin(async move { registrar.destroy(key).await })
        }),
        region: settings.region.clone(),
        env: settings.env.clone(),
        clock,
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).map_err(|error| StartError::Listen(address, error))
}

/// Routes follow each commit before it is answered; queues are woken by it. The queues are there only after
/// the store, and nothing is committed before.
fn on_touched(routes: Arc<Routes>, queues: Arc<std::sync::OnceLock<Queues>>) -> OnTouched {
    Arc::new(move |touched| {
        for touched in touched {
            routes.follow(touched);
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
