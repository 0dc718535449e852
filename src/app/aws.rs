//! The program on the `aws` backend: the same routes over other engines. SQS, STS and Cognito are not served: clients
//! ask those services themselves.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::broker::Way;
use super::mqtt::{MqttParts, Plane};
use super::running::GOODBYE;
use super::{Settings, StartError};
use crate::actors::dispatcher::Dispatchers;
use crate::actors::registrar::Registrar;
use crate::auth::{Authenticator, Rights, Seal, Versions};
use crate::backends::aws::broker::Upstream;
use crate::backends::aws::history::History;
use crate::backends::aws::keys::Keys;
use crate::backends::aws::relay::Relay;
use crate::backends::aws::sessions::Sessions;
use crate::backends::aws::spill::Spill;
use crate::backends::aws::spill::courier::Courier;
use crate::backends::aws::spill::folder::Folder;
use crate::backends::aws::stream::{self, Consumer};
use crate::backends::aws::{AwsOptions, IdentityOptions, Services, StreamOptions, tables};
use crate::backends::broker::TopicBroker;
use crate::backends::embedded::OpenError;
use crate::config::{Backend, Config, Consume, SessionKeys};
use crate::domain::{Clock, StoreError, Timestamp};
use crate::wire::front::{BENCH_ROUTES, Door};
use crate::wire::{http, iot, kinesis, probes};

pub mod provisioning;

/// How often a node asks whether it is its turn to look for expired sessions.
const TURN: Duration = Duration::from_secs(10);

/// How often a node whose turn it is looks for queues without a session, too: they are left by crashes only, and looking
/// reads all names.
const QUEUES_INTERVAL: Duration = Duration::from_secs(86_400);

/// Everything behind the door.
pub(super) struct Core {
    clock: Clock,
    dispatchers: Dispatchers,
    history: Arc<History>,
    registrar: Registrar,
    authenticator: Arc<Authenticator>,
    topics: Option<(Plane, MqttParts)>,
    upstream: Option<Arc<Upstream>>,
    consumer: Option<Consumer>,
}

/// What the backend works with; `None` if it is another.
pub(super) fn options(config: &Config) -> Option<AwsOptions> {
    if config.backend != Backend::Aws {
        return None;
    }
    Some(AwsOptions {
        region: config.region.clone(),
        account: config.aws_account.clone(),
        sqs_endpoint: config.aws.sqs_endpoint.clone(),
        dynamodb_endpoint: config.aws.dynamodb_endpoint.clone(),
        sts_endpoint: config.aws.sts_endpoint.clone(),
        kinesis_endpoint: config.aws.kinesis_endpoint.clone(),
        cognito_endpoint: config.aws.cognito_endpoint.clone(),
        sessions_table: config.sessions_table(),
        messages_table: config.messages_table(),
        // Whoever reads the configuration has complained if what is needed is not there.
        session_role: config.aws.session_role.clone().unwrap_or_default(),
        identities: identities(config),
        patience: config.aws.patience,
        hold_bytes: config.aws.hold_bytes,
        spill_bytes: config.aws.spill_bytes,
        sweep_interval: config.aws.sweep_interval,
        user_message_ttl: config.history.user_message_ttl,
        stream: stream(config),
    })
}

fn identities(config: &Config) -> Option<IdentityOptions> {
    match config.aws.session_keys {
        SessionKeys::Sts => None,
        SessionKeys::Cognito => Some(IdentityOptions {
            pool: config.aws.identity_pool.clone().unwrap_or_default(),
            provider: config.developer_provider(),
        }),
    }
}

fn stream(config: &Config) -> Option<StreamOptions> {
    Some(StreamOptions {
        name: config.kinesis_stream(),
        from_oldest: match config.aws.consume {
            Consume::Off => return None,
            Consume::Latest => false,
            Consume::TrimHorizon => true,
        },
        leases_table: config.leases_table(),
        held_bytes: config.aws.consume_bytes,
    })
}

impl Core {
    /// Looks whether everything is there that the backend needs, and starts.
    pub(super) async fn start(
        settings: &Settings,
        options: &AwsOptions,
    ) -> Result<Self, StartError> {
        let services = Services::connect(options.clone()).await;
        check(&services).await?;
        let clock = Clock::start();
        let way = Way::new(settings, services.credentials.clone(), clock)?;
        let mut sessions = Sessions::new(services.clone());
        if let Some(way) = &way {
            sessions = sessions.telling(way.teller());
        }
        let upstream = way.as_ref().map(|way| way.upstream().clone());
        let broker = upstream.clone();
        let broker = broker.map(|upstream| upstream as Arc<dyn TopicBroker>);
        let relay = Relay::new(services.clone(), sessions.clone(), broker);
        let posting = Arc::new(spilling(relay.clone(), settings, options, clock)?);
        let history = History::new(services.clone(), posting.clone(), clock);
        let directory = Arc::new(sessions.clone());
        let authenticator = Authenticator::elsewhere(
            settings.operators.clone(),
            directory.clone(),
            vec![settings.region.clone()],
            clock,
        );
        let authenticator = Arc::new(authenticator.with(Rights {
            aws_account: settings.aws_account.clone(),
            seal: way.as_ref().map(|_| seal(settings)).transpose()?,
            book: settings.book.clone(),
            guest_rate: settings.guest_rate,
            versions: Arc::new(Versions::default()),
        }));
        let topics = way
            .map(|way| way.start(&authenticator, clock))
            .transpose()?;
        let registrar = Registrar::new(directory, None, settings.sessions.clone(), clock);
        sweep(sessions, registrar.clone(), clock);
        let dispatchers = Dispatchers::relaying(posting, clock);
        let consumer = options.stream.as_ref().map(|stream| {
            // What is not relayed stays in the stream, so that nothing else has to keep it.
            let intake = Arc::new(Dispatchers::relaying(Arc::new(relay), clock));
            Consumer::start(services, stream, intake, clock)
        });
        Ok(Self {
            clock,
            dispatchers,
            history: Arc::new(history),
            registrar,
            authenticator,
            topics,
            upstream,
            consumer,
        })
    }

    /// Ends when what was accepted is where it belongs, or it is time.
    pub(super) async fn end(&self, until: Instant) {
        if let Some(upstream) = &self.upstream {
            upstream.end(until).await;
        }
    }

    /// Ends the connections of MQTT clients, and gives back what of the stream is read here.
    pub(super) async fn say_goodbye(&self) {
        let clients = async {
            if let Some((plane, _)) = &self.topics {
                plane.transports.drain(GOODBYE).await;
            }
        };
        let stream = async {
            if let Some(consumer) = &self.consumer {
                consumer.end().await;
            }
        };
        futures_util::join!(clients, stream);
    }

    pub(super) fn authenticator(&self) -> &Authenticator {
        &self.authenticator
    }

    /// The door with everything that can be called behind it.
    pub(super) fn door(&self, settings: &Settings, probes: probes::ProbeState) -> Door {
        let rest = http::RestState {
            has_topics: self.topics.is_some(),
            registrar: self.registrar.clone(),
            dispatchers: self.dispatchers.clone(),
            users: self.history.clone(),
            region: settings.region.clone(),
            aws_account: settings.aws_account.clone(),
        };
        let relay = kinesis::relay::Relay::new(self.dispatchers.clone(), self.clock);
        let stream = kinesis::KinesisState {
            stream: settings.stream.clone(),
            ingest: Arc::new(relay),
        };
        let document = http::document_state(match &self.topics {
            Some(_) => iot::document(),
            // No other wire is served here that has something to tell.
            None => utoipa::openapi::OpenApi::default(),
        });
        let door = Door::new(self.authenticator.clone(), settings.limits.clone(), "http")
            .rest("http", "execute-api", &Arc::new(rest), http::ROUTES)
            .rest("probes", "execute-api", &Arc::new(probes), probes::ROUTES)
            .rest("document", "execute-api", &document, http::DOCUMENT_ROUTES)
            .rpc(kinesis::Wire, &Arc::new(stream), kinesis::OPERATIONS);
        let door = match settings.bench {
            true => door.rest("bench", "execute-api", &Arc::new(()), BENCH_ROUTES),
            false => door,
        };
        match &self.topics {
            Some((plane, parts)) => self.with_topics(door, settings, plane, parts),
            None => door,
        }
    }

    /// What this node can answer about topics alone: publishing, and keys to connect with. What is retained is the broker's,
    /// and who is connected no single node knows.
    fn with_topics(
        &self,
        door: Door,
        settings: &Settings,
        plane: &Plane,
        parts: &MqttParts,
    ) -> Door {
        let keys = Arc::new(iot::IotState {
            authenticator: self.authenticator.clone(),
            region: settings.region.clone(),
        });
        let data = Arc::new(plane.data_state(parts, &self.authenticator, self.clock));
        plane
            .serve(door, parts)
            .rest("iot", "iot", &keys, iot::CONTROL_ROUTES)
            .rest("iot", "execute-api", &keys, iot::KEY_ROUTES)
            .rest("iot", "iotdata", &data, iot::data::PUBLISH_ROUTES)
    }
}

/// Everything must be there that the backend needs.
async fn check(services: &Arc<Services>) -> Result<(), StartError> {
    for table in tables::all(services) {
        if !tables::exists(services, &table).await? {
            let name = &table.name;
            let text =
                format!("DynamoDB has no table {name}: make it with `fanfare aws provision`");
            return Err(StartError::Elsewhere(text));
        }
    }
    if let Some(stream) = &services.options.stream
        && !stream::exists(services, stream).await?
    {
        let text = format!(
            "Kinesis has no stream {}, which aws.consume says is read",
            stream.name
        );
        return Err(StartError::Elsewhere(text));
    }
    if let Some(identities) = Keys::new(services.clone()).identities() {
        // Whoever lists a pool learns whether it is there.
        let listed = identities.page(None).await;
        listed.map_err(|error| {
            StartError::Elsewhere(format!("aws.identity_pool can not be used: {error}"))
        })?;
    }
    Ok(())
}

/// What guests' keys and connect tokens are sealed with. All nodes that shall know each other's have the same file.
fn seal(settings: &Settings) -> Result<Seal, StartError> {
    let secrets = settings.store.dir.join("token-secrets");
    std::fs::create_dir_all(&settings.store.dir)
        .and_then(|()| Seal::at(&secrets))
        .map_err(|error| StartError::Secrets(secrets, error))
}

/// The relay with a folder for what AWS does not take in time, if there is to be one; what is in it is delivered.
fn spilling(
    relay: Relay,
    settings: &Settings,
    options: &AwsOptions,
    clock: Clock,
) -> Result<Relay, StartError> {
    if options.spill_bytes == 0 {
        return Ok(relay);
    }
    let path = settings.store.dir.join("spill");
    let refused = |error: std::io::Error| match error.kind() {
        ErrorKind::WouldBlock => StartError::Store(OpenError::InUse(path.clone())),
        _ => StartError::Elsewhere(format!(
            "{}, for messages that AWS does not take in time: {error}; with aws.spill_bytes = 0 they are refused instead",
            path.display()
        )),
    };
    let folder = Folder::open(path.clone(), options.spill_bytes).map_err(refused)?;
    actix::spawn(Courier::new(folder.clone(), relay.clone(), clock).run());
    Ok(relay.spilling(Spill::start(folder)))
}

/// Removes expired sessions from time to time, one node of all; and now and then queues that lost their session.
fn sweep(sessions: Sessions, registrar: Registrar, clock: Clock) {
    actix::spawn(async move {
        let mut next_queues = clock.wall();
        loop {
            tokio::time::sleep(TURN).await;
            let taken = take_turn(&sessions, &registrar, clock.wall(), &mut next_queues);
            if let Err(error) = taken.await {
                tracing::warn!(%error, "expired sessions wait to be removed");
            }
        }
    });
}

/// Looks for expired sessions if it is this node's turn.
async fn take_turn(
    sessions: &Sessions,
    registrar: &Registrar,
    now: Timestamp,
    next_queues: &mut Timestamp,
) -> Result<(), StoreError> {
    if !sessions.take_turn(now).await? {
        return Ok(());
    }
    let swept = registrar.sweep().await?;
    sessions.end_turn(now, swept.rows).await?;
    if now >= *next_queues {
        *next_queues = now.plus(QUEUES_INTERVAL);
        registrar.reap_queues().await?;
    }
    Ok(())
}
