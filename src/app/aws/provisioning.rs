//! `fanfare aws`: from the configuration to what is provisioned.

use std::collections::BTreeSet;
use std::time::Duration;

use super::options;
use crate::backends::aws::Services;
use crate::backends::aws::provision::ProvisionOptions;
pub use crate::backends::aws::provision::{
    Difference, Kind, Part, Provisioner, Removal, State, TAG,
};
use crate::config::{Backend, Config, SessionKeys};
use crate::domain::StoreError;
use crate::observe::findings::Finding;

/// Where a role's name begins in its ARN.
const ROLE: &str = ":role/";

/// Name of the session role, with its path: as configured, or the one that is made for this environment.
pub fn session_role(config: &Config) -> String {
    let configured = config.aws.session_role.as_deref();
    let name = configured.and_then(|arn| Some(arn.split_once(ROLE)?.1.to_owned()));
    name.unwrap_or_else(|| {
        let of = match config.aws.session_keys {
            SessionKeys::Sts => "session",
            SessionKeys::Cognito => "identity",
        };
        format!("{}-fanfare-{of}", config.env)
    })
}

/// Settings that say what was made, and are not set yet: each with its value.
///
/// # Errors
/// [`StoreError`] if a service refuses or does not answer.
pub async fn to_be_set(
    provisioner: &Provisioner,
    config: &Config,
) -> Result<Vec<(&'static str, String)>, StoreError> {
    let (role, account) = (session_role(config), &config.aws_account);
    Ok(match config.aws.session_keys {
        SessionKeys::Sts if config.aws.session_role.is_none() => {
            let arn = format!("arn:aws:iam::{account}{ROLE}{role}");
            vec![("aws.session_role", arn)]
        }
        SessionKeys::Sts => Vec::new(),
        SessionKeys::Cognito => {
            let pool = provisioner.pool_id().await?;
            let pool = pool.filter(|pool| config.aws.identity_pool.as_ref() != Some(pool));
            let pool = pool.map(|pool| ("aws.identity_pool", pool));
            pool.into_iter().collect()
        }
    })
}

/// What provisions for a configuration. Nothing is asked yet.
pub async fn provisioner(config: &Config) -> Provisioner {
    let config = Config {
        backend: Backend::Aws,
        ..config.clone()
    };
    let options = options(&config).expect("it is the aws backend");
    let services = Services::connect(options).await;
    let wanted = ProvisionOptions {
        env: config.env.clone(),
        queue_prefix: config.queue_prefix(),
        stream: config.kinesis_stream(),
        shards: config.kinesis.shards,
        session_role: session_role(&config),
        key_lifetime: config.sessions.key_lifetime,
        iot_client_id: config
            .aws
            .broker_presign
            .then(|| config.aws.broker_client_id.clone()),
        leases_table: config.leases_table(),
        iam_endpoint: config.aws.iam_endpoint.clone(),
    };
    Provisioner::new(wanted, services)
}

/// How long a service that throttles or fails is asked again by whoever only looks.
const PATIENCE: Duration = Duration::from_secs(5);

/// Looks whether nodes can work with this configuration.
pub async fn examine(config: &Config) -> Vec<Finding> {
    let mut config = config.clone();
    config.aws.patience = config.aws.patience.min(PATIENCE);
    provisioner(&config).await.examine().await
}

/// What became of a part.
#[derive(Debug, Clone)]
pub struct Provisioned {
    /// The part.
    pub part: Part,
    /// How it was found.
    pub state: State,
    /// Whether it was made or put right.
    pub done: bool,
}

impl Provisioned {
    /// Makes a part that is not there and puts right what can be, or only looks.
    ///
    /// # Errors
    /// [`StoreError`] if a service refuses or does not answer.
    pub async fn bring(
        provisioner: &Provisioner,
        part: Part,
        dry_run: bool,
    ) -> Result<Self, StoreError> {
        let state = provisioner.look(&part).await?;
        let done = match &state {
            _ if dry_run => false,
            State::There => false,
            State::Missing => {
                provisioner.make(&part).await?;
                true
            }
            State::Differs(differences) => {
                provisioner.mend(&part, differences).await?;
                differences.iter().any(|difference| difference.mendable)
            }
        };
        Ok(Self { part, state, done })
    }
}

/// The parts of these kinds, of all kinds if none is named, in the order in which they are made.
///
/// # Errors
/// [`StoreError`] if the account that policies would name is not the credentials' own, or STS does not say.
pub async fn parts(
    provisioner: &Provisioner,
    config: &Config,
    only: &BTreeSet<String>,
) -> Result<Vec<Part>, StoreError> {
    let is_wanted = |part: &Part| only.is_empty() || only.contains(part.kind.name());
    let parts = provisioner.parts().await?;
    let parts: Vec<Part> = parts.into_iter().filter(is_wanted).collect();
    check_account(provisioner, config, &parts).await?;
    Ok(parts)
}

/// Policies name the account. One that is not the credentials' own would be a policy about somebody else's queues.
async fn check_account(
    provisioner: &Provisioner,
    config: &Config,
    parts: &[Part],
) -> Result<(), StoreError> {
    let names_it = |part: &Part| matches!(part.kind, Kind::Role | Kind::Attachment | Kind::Policy);
    if !parts.iter().any(names_it) {
        return Ok(());
    }
    let (account, configured) = (provisioner.account().await?, &config.aws_account);
    if account == *configured {
        return Ok(());
    }
    let text = format!("aws_account is {configured}, but these credentials belong to {account}");
    Err(StoreError::Failed(text))
}
