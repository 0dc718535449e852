//! `backend` and `[aws]`: on whose engines sessions, queues and history live.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Config, Problem, Secret, seconds};

/// Life of keys that STS makes of a role: its shortest, and the longest that a role can be given.
pub const STS_KEY_LIFETIME: (Duration, Duration) =
    (Duration::from_secs(900), Duration::from_secs(43_200));

/// Life of the keys that Cognito makes of an identity: it makes no others.
pub const COGNITO_KEY_LIFETIME: Duration = Duration::from_secs(3600);

/// On whose engines state lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// In this process, on local disk.
    Embedded,
    /// On SQS, DynamoDB and STS, or what speaks their protocols.
    Aws,
}

/// Who makes sessions' keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionKeys {
    /// STS, of a role, narrowed down by a session policy.
    Sts,
    /// Cognito, of an identity that each session gets.
    Cognito,
}

/// Whether the stream at Kinesis is read, and from where on at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consume {
    /// It is not read.
    Off,
    /// From when the first node began to read it.
    Latest,
    /// From its oldest record.
    TrimHorizon,
}

/// `[aws]`: what `backend = "aws"` works with. Credentials come from where AWS's own tools take them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aws {
    /// Where SQS is, if not at the region's own endpoint.
    pub sqs_endpoint: Option<String>,
    /// Where DynamoDB is, if not at the region's own endpoint.
    pub dynamodb_endpoint: Option<String>,
    /// Where STS is, if not at the region's own endpoint.
    pub sts_endpoint: Option<String>,
    /// Where Kinesis is, if not at the region's own endpoint.
    pub kinesis_endpoint: Option<String>,
    /// Where Cognito's identities are, if not at the region's own endpoint.
    pub cognito_endpoint: Option<String>,
    /// Where IAM is, if not at AWS's own endpoint; only `fanfare aws` and `fanfare doctor` ask it.
    pub iam_endpoint: Option<String>,
    /// The table of sessions; `{env}` stands for the environment.
    pub sessions_table: String,
    /// The table of users' messages; `{env}` stands for the environment.
    pub messages_table: String,
    /// The table of the leases of the stream's shards; `{env}` stands for the environment.
    pub leases_table: String,
    /// Who makes sessions' keys: STS of `session_role`, or Cognito of identities in `identity_pool`.
    pub session_keys: SessionKeys,
    /// ARN of the role that sessions' keys are made of. STS must be told; Cognito knows its pool's role itself.
    pub session_role: Option<String>,
    /// Id of the pool that sessions' identities are in. Needed with `session_keys = "cognito"`.
    pub identity_pool: Option<String>,
    /// Name under which that pool knows Fanfare as the one who says who somebody is; `{env}` stands for the environment.
    pub developer_provider: String,
    /// How long a service that throttles or fails is tried again before whoever waits is refused.
    #[serde(with = "seconds")]
    pub patience: Duration,
    /// Messages that wait for SQS and for history, in bytes each; beyond it new ones are refused.
    pub hold_bytes: u64,
    /// Messages that AWS did not take in time and that wait on this node's disk, in bytes; beyond it new ones are refused.
    /// 0: none wait there.
    pub spill_bytes: u64,
    /// How often expired sessions are looked for, by one node of all; less often where a look reads much.
    #[serde(with = "seconds")]
    pub sweep_interval: Duration,
    /// The broker that topics go through: AWS IoT Core, or any other that speaks MQTT. Needed with `mqtt.enabled`.
    pub broker_url: Option<String>,
    /// Its user name.
    pub broker_username: Option<String>,
    /// Its password; in a file or the environment rather than in the configuration.
    pub broker_password: Option<Secret>,
    /// A file with its password.
    pub broker_password_file: Option<PathBuf>,
    /// Whether the URL of its WebSocket is signed with this node's AWS credentials, as AWS IoT Core wants it.
    pub broker_presign: bool,
    /// Whom to trust in TLS (PEM), if not this machine's authorities.
    pub broker_ca_file: Option<PathBuf>,
    /// What this node's client ids at the broker begin with.
    pub broker_client_id: String,
    /// Topic filters that this node may have at the broker; beyond it subscriptions are refused.
    pub broker_max_subscriptions: usize,
    /// Whether the stream of `[kinesis]` is read at Kinesis, and from where on at first.
    pub consume: Consume,
    /// Records that were read and are not relayed yet, in bytes; beyond it reading waits.
    pub consume_bytes: u64,
}

impl Default for Aws {
    fn default() -> Self {
        Self {
            sqs_endpoint: None,
            dynamodb_endpoint: None,
            sts_endpoint: None,
            kinesis_endpoint: None,
            cognito_endpoint: None,
            iam_endpoint: None,
            sessions_table: "{env}-sqs-browser-sessions".to_owned(),
            messages_table: "{env}-sqs-browser-messages".to_owned(),
            leases_table: "{env}-fanfare-leases".to_owned(),
            session_keys: SessionKeys::Sts,
            session_role: None,
            identity_pool: None,
            developer_provider: "{env}.fanfare".to_owned(),
            patience: Duration::from_secs(20),
            hold_bytes: 64 << 20,
            spill_bytes: 1 << 30,
            sweep_interval: Duration::from_secs(300),
            broker_url: None,
            broker_username: None,
            broker_password: None,
            broker_password_file: None,
            broker_presign: false,
            broker_ca_file: None,
            broker_client_id: "fanfare-".to_owned(),
            broker_max_subscriptions: 50_000,
            consume: Consume::Off,
            consume_bytes: 64 << 20,
        }
    }
}

impl Config {
    /// `[aws] sessions_table` with the environment in place.
    pub fn sessions_table(&self) -> String {
        self.aws.sessions_table.replace("{env}", &self.env)
    }

    /// `[aws] messages_table` with the environment in place.
    pub fn messages_table(&self) -> String {
        self.aws.messages_table.replace("{env}", &self.env)
    }

    /// `[aws] leases_table` with the environment in place.
    pub fn leases_table(&self) -> String {
        self.aws.leases_table.replace("{env}", &self.env)
    }

    /// `[aws] developer_provider` with the environment in place.
    pub fn developer_provider(&self) -> String {
        self.aws.developer_provider.replace("{env}", &self.env)
    }

    /// Whether the backend that is asked for can be had with the other settings.
    ///
    /// # Errors
    /// [`Problem`], naming the setting in the way.
    pub fn check_backend(&self) -> Result<(), Problem> {
        if self.backend == Backend::Embedded {
            return Ok(());
        }
        if cfg!(not(feature = "aws")) {
            let text = "backend = \"aws\": this program was built without the feature `aws`";
            return Err(Problem(text.to_owned()));
        }
        match self.aws.session_keys {
            SessionKeys::Sts => self.check_sts()?,
            SessionKeys::Cognito => self.check_cognito()?,
        }
        self.check_broker()
    }

    fn check_sts(&self) -> Result<(), Problem> {
        if self.aws.session_role.is_none() {
            let text = "backend = \"aws\" needs aws.session_role, the ARN of the role that sessions' keys are made of";
            return Err(Problem(text.to_owned()));
        }
        let (least, most) = STS_KEY_LIFETIME;
        if !(least..=most).contains(&self.sessions.key_lifetime) {
            return Err(Problem(format!(
                "backend = \"aws\": sessions.key_lifetime must be from {} to {}, as STS has it",
                least.as_secs(),
                most.as_secs()
            )));
        }
        Ok(())
    }

    fn check_cognito(&self) -> Result<(), Problem> {
        let Some(pool) = &self.aws.identity_pool else {
            let text = "aws.session_keys = \"cognito\" needs aws.identity_pool, the id of the pool that sessions' identities are in";
            return Err(Problem(text.to_owned()));
        };
        let region = &self.region;
        if pool.split(':').next() != Some(region) {
            return Err(Problem(format!(
                "aws.identity_pool {pool} must be in the region {region}"
            )));
        }
        // Cognito has other names there, which policies and logins would have to say.
        if region.starts_with("cn-") || region.starts_with("us-gov-") {
            let text =
                "aws.session_keys = \"cognito\" can not be had in China and GovCloud: take sts";
            return Err(Problem(text.to_owned()));
        }
        if self.sessions.key_lifetime != COGNITO_KEY_LIFETIME {
            return Err(Problem(format!(
                "aws.session_keys = \"cognito\": sessions.key_lifetime must be {}, as Cognito has it",
                COGNITO_KEY_LIFETIME.as_secs()
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A configuration for AWS with this change is refused with these words; none: it is good.
    pub(in crate::config) fn check(change: impl FnOnce(&mut Config), part: &str) {
        let mut config = Config {
            backend: Backend::Aws,
            ..Config::default()
        };
        config.aws.session_role = Some("arn:aws:iam::000000000000:role/fanfare".into());
        config.aws.broker_url = Some("mqtt://127.0.0.1".into());
        change(&mut config);
        match config.check_backend() {
            Ok(()) => assert_eq!(part, ""),
            Err(problem) => assert!(!part.is_empty() && problem.0.contains(part), "{problem}"),
        }
    }

    #[test]
    #[cfg(feature = "aws")]
    fn aws_needs_a_role_and_key_lives_that_sts_gives() {
        check(|_| {}, "");
        check(|config| config.aws.session_role = None, "aws.session_role");
        let life = |secs| {
            move |config: &mut Config| config.sessions.key_lifetime = Duration::from_secs(secs)
        };
        check(life(899), "from 900 to 43200");
        check(life(900), "");
        check(life(43_200), "");
        check(life(43_201), "sessions.key_lifetime");
        check(|config| config.backend = Backend::Embedded, "");
    }

    #[test]
    #[cfg(feature = "aws")]
    fn cognito_needs_a_pool_of_the_region_and_its_own_key_life() {
        let cognito = |change: fn(&mut Config)| {
            move |config: &mut Config| {
                config.aws.session_keys = SessionKeys::Cognito;
                config.aws.session_role = None;
                config.aws.identity_pool = Some("us-east-1:e083f780".into());
                config.sessions.key_lifetime = COGNITO_KEY_LIFETIME;
                change(config);
            }
        };
        check(cognito(|_| {}), "");
        check(
            cognito(|config| config.aws.identity_pool = None),
            "aws.identity_pool",
        );
        check(
            cognito(|config| config.region = "eu-west-1".into()),
            "must be in the region eu-west-1",
        );
        check(
            cognito(|config| {
                config.region = "us-gov-west-1".into();
                config.aws.identity_pool = Some("us-gov-west-1:1".into());
            }),
            "can not be had in China and GovCloud",
        );
        check(
            cognito(|config| config.sessions.key_lifetime = Duration::from_secs(3599)),
            "sessions.key_lifetime must be 3600",
        );
    }

    #[test]
    #[cfg(not(feature = "aws"))]
    fn without_the_feature_it_says_so() {
        check(|_| {}, "built without the feature `aws`");
    }

    #[test]
    fn names_carry_the_environment() {
        let config = Config {
            env: "prod".to_owned(),
            ..Config::default()
        };
        assert_eq!(config.sessions_table(), "prod-sqs-browser-sessions");
        assert_eq!(config.messages_table(), "prod-sqs-browser-messages");
        assert_eq!(config.leases_table(), "prod-fanfare-leases");
        assert_eq!(config.developer_provider(), "prod.fanfare");
    }
}
