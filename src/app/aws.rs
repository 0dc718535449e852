//! The program on the `aws` backend: the same routes over other engines. SQS, STS and Cognito are not served: clients
//! ask those services themselves.

use std::sync::Arc;
use std::time::Duration;

use super::{Settings, StartError};
use crate::actors::dispatcher::Dispatchers;
use crate::actors::registrar::Registrar;
use crate::auth::{Authenticator, Rights};
use crate::backends::aws::history::History;
use crate::backends::aws::relay::Relay;
use crate::backends::aws::sessions::Sessions;
use crate::backends::aws::{AwsOptions, Services, tables};
use crate::config::{Backend, Config};
use crate::domain::{Clock, StoreError};
use crate::wire::front::Door;
use crate::wire::{http, kinesis, probes};

/// How often a node asks whether it is its turn to look for expired sessions.
const TURN: Duration = Duration::from_secs(10);

/// Everything behind the door.
pub(super) struct Core {
    clock: Clock,
    dispatchers: Dispatchers,
    history: Arc<History>,
    registrar: Registrar,
    authenticator: Arc<Authenticator>,
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
        sessions_table: config.sessions_table(),
        messages_table: config.messages_table(),
        // Whoever reads the configuration has complained if it is not there.
        session_role: config.aws.session_role.clone().unwrap_or_default(),
        patience: config.aws.patience,
        hold_bytes: config.aws.hold_bytes,
        sweep_interval: config.aws.sweep_interval,
        user_message_ttl: config.history.user_message_ttl,
    })
}

impl Core {
    /// Looks whether everything is there that the backend needs, and starts.
    pub(super) async fn start(
        settings: &Settings,
        options: &AwsOptions,
    ) -> Result<Self, StartError> {
        let services = Services::connect(options.clone()).await;
        for table in tables::all(&services) {
            if !tables::exists(&services, &table).await? {
                let name = &table.name;
                let text =
                    format!("DynamoDB has no table {name}: make it with `fanfare aws provision`");
                return Err(StartError::Elsewhere(text));
            }
        }
        let clock = Clock::start();
        let sessions = Sessions::new(services.clone());
        let relay = Arc::new(Relay::new(services.clone(), sessions.clone()));
        let history = History::new(services, relay.clone(), clock);
        let directory = Arc::new(sessions.clone());
        let authenticator = Authenticator::elsewhere(
            settings.operators.clone(),
            directory.clone(),
            vec![settings.region.clone()],
            clock,
        );
        let authenticator = authenticator.with(Rights {
            aws_account: settings.aws_account.clone(),
            book: settings.book.clone(),
            guest_rate: settings.guest_rate,
            ..Rights::default()
        });
        let registrar = Registrar::new(directory, None, settings.sessions.clone(), clock);
        sweep(sessions, registrar.clone(), clock);
        Ok(Self {
            clock,
            dispatchers: Dispatchers::relaying(relay, clock),
            history: Arc::new(history),
            registrar,
            authenticator: Arc::new(authenticator),
        })
    }

    pub(super) fn authenticator(&self) -> &Authenticator {
        &self.authenticator
    }

    /// The door with everything that can be called behind it.
    pub(super) fn door(&self, settings: &Settings, probes: probes::ProbeState) -> Door {
        let rest = http::RestState {
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
        // No other wire is served here that has something to tell.
        let document = http::document_state(utoipa::openapi::OpenApi::default());
        Door::new(self.authenticator.clone(), settings.limits.clone(), "http")
            .rest("http", "execute-api", &Arc::new(rest), http::ROUTES)
            .rest("probes", "execute-api", &Arc::new(probes), probes::ROUTES)
            .rest("document", "execute-api", &document, http::DOCUMENT_ROUTES)
            .rpc(kinesis::Wire, &Arc::new(stream), kinesis::OPERATIONS)
    }
}

/// Removes expired sessions from time to time, one node of all.
fn sweep(sessions: Sessions, registrar: Registrar, clock: Clock) {
    actix::spawn(async move {
        loop {
            tokio::time::sleep(TURN).await;
            let swept = match sessions.take_turn(clock.wall()).await {
                Ok(true) => registrar.sweep().await.map(drop),
                Ok(false) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = swept {
                tracing::warn!(%error, "expired sessions wait to be removed");
            }
        }
    });
}

/// What [`provision`] found or did, for each table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provisioned {
    /// It is there.
    There(String),
    /// It is not there, and was not made because nothing should be changed.
    Missing(String),
    /// It was made.
    Made(String),
}

/// Makes what the backend needs and is not there; with `dry_run`, only says what that is.
///
/// # Errors
/// [`StoreError`] if DynamoDB refuses or does not answer.
pub async fn provision(config: &Config, dry_run: bool) -> Result<Vec<Provisioned>, StoreError> {
    let config = Config {
        backend: Backend::Aws,
        ..config.clone()
    };
    let options = options(&config).expect("it is the aws backend");
    let services = Services::connect(options).await;
    let mut plan = Vec::new();
    for table in tables::all(&services) {
        let name = table.name.clone();
        plan.push(match (tables::exists(&services, &table).await?, dry_run) {
            (true, _) => Provisioned::There(name),
            (false, true) => Provisioned::Missing(name),
            (false, false) => {
                tables::create(&services, &table).await?;
                Provisioned::Made(name)
            }
        });
    }
    Ok(plan)
}
