//! The `aws` backend: sessions' queues are queues at SQS, sessions and history are rows in DynamoDB, keys come from STS or
//! Cognito.
//!
//! A node keeps nothing that another would need. What it has in memory is what is under way, and the envelope counters
//! that it has leased ([`leases`]); both end with it at no cost but that a sender who was not answered sends again. On its
//! disk are messages that AWS could not take ([`spill`]), which it delivers itself. So any node serves any request.
//!
//! - [`sessions`]: who there is ([`SessionDirectory`](super::plane::SessionDirectory)), rows in [`items`], found by [`lookup`]
//! - [`keys`]: the keys of sessions, of STS, or of [`identities`] at Cognito
//! - [`orphans`]: queues and identities that have no session
//! - [`relay`]: messages to sessions ([`MessageRelay`](super::plane::MessageRelay)), through an [`outbox`] for each queue
//! - [`history`]: what users had ([`UserHistory`](super::plane::UserHistory)), written by the [`writer`]
//! - [`broker`]: topics, through AWS IoT Core or another that speaks MQTT ([`TopicBroker`](super::broker::TopicBroker))
//! - [`stream`]: records that are read at Kinesis, if they are, each shard by one node
//! - [`spill`]: messages on this node's disk that AWS did not take in time
//! - [`service`]: calls that are made again, with pauses, until patience ends
//! - [`tables`]: what must be there before; [`provision`] makes it, with what is needed beside
//! - [`signed`]: calls to services that have no client of their own here

use std::sync::Arc;
use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};

use self::signed::Signed;

pub mod broker;
pub mod history;
pub mod identities;
pub mod items;
pub mod keys;
pub mod leases;
pub mod lookup;
pub mod orphans;
pub mod outbox;
pub mod provision;
pub mod relay;
pub mod service;
pub mod sessions;
pub mod signed;
pub mod spill;
pub mod stream;
pub mod tables;
pub mod writer;

/// What the backend works with.
#[derive(Debug, Clone)]
pub struct AwsOptions {
    /// The region.
    pub region: String,
    /// The account that queues belong to, 12 digits.
    pub account: String,
    /// Where SQS is, if not at the region's own endpoint.
    pub sqs_endpoint: Option<String>,
    /// Where DynamoDB is, if not at the region's own endpoint.
    pub dynamodb_endpoint: Option<String>,
    /// Where STS is, if not at the region's own endpoint.
    pub sts_endpoint: Option<String>,
    /// Where Kinesis is, if not at the region's own endpoint.
    pub kinesis_endpoint: Option<String>,
    /// Where Cognito is, if not at the region's own endpoint.
    pub cognito_endpoint: Option<String>,
    /// The table of sessions.
    pub sessions_table: String,
    /// The table of users' messages.
    pub messages_table: String,
    /// ARN of the role that STS makes sessions' keys of.
    pub session_role: String,
    /// The pool of sessions' identities, if Cognito makes their keys instead.
    pub identities: Option<IdentityOptions>,
    /// How long a service that throttles or fails is asked again.
    pub patience: Duration,
    /// Bytes of messages that wait for SQS, and for history.
    pub hold_bytes: u64,
    /// Bytes of messages that wait on disk for SQS and for history; 0: none do.
    pub spill_bytes: u64,
    /// How often expired sessions are looked for, at most ([`lookup::pause_after`]).
    pub sweep_interval: Duration,
    /// How long history keeps a message.
    pub user_message_ttl: Duration,
    /// The stream that is read, if one is.
    pub stream: Option<StreamOptions>,
}

/// The pool of sessions' identities.
#[derive(Debug, Clone)]
pub struct IdentityOptions {
    /// Its id. Empty before it is made, when nothing but provisioning asks for it.
    pub pool: String,
    /// Name under which it knows us.
    pub provider: String,
}

/// The stream that is read.
#[derive(Debug, Clone)]
pub struct StreamOptions {
    /// Its name.
    pub name: String,
    /// Whether it is read from its oldest record on at first, and not from now on.
    pub from_oldest: bool,
    /// The table of the leases of its shards.
    pub leases_table: String,
    /// Bytes of records that were read and are not relayed yet.
    pub held_bytes: u64,
}

/// The services, and what to ask them for.
#[derive(Debug)]
pub struct Services {
    /// DynamoDB.
    pub db: aws_sdk_dynamodb::Client,
    /// SQS.
    pub sqs: aws_sdk_sqs::Client,
    /// Kinesis.
    pub kinesis: aws_sdk_kinesis::Client,
    /// STS.
    pub sts: aws_sdk_sts::Client,
    /// Services that have no client of their own here.
    pub signed: Signed,
    /// This node's credentials.
    pub credentials: Option<SharedCredentialsProvider>,
    /// What was configured.
    pub options: AwsOptions,
}

impl Services {
    /// Clients with the credentials of AWS's usual chain. Nothing is asked yet.
    pub async fn connect(options: AwsOptions) -> Arc<Self> {
        let shared = shared_config(&options.region).await;
        let at = |endpoint: &Option<String>| -> SdkConfig {
            let mut builder = shared.to_builder();
            builder.set_endpoint_url(endpoint.clone());
            builder.build()
        };
        Arc::new(Self {
            db: aws_sdk_dynamodb::Client::new(&at(&options.dynamodb_endpoint)),
            sqs: aws_sdk_sqs::Client::new(&at(&options.sqs_endpoint)),
            kinesis: aws_sdk_kinesis::Client::new(&at(&options.kinesis_endpoint)),
            sts: aws_sdk_sts::Client::new(&at(&options.sts_endpoint)),
            signed: Signed::new(&shared, options.patience),
            credentials: shared.credentials_provider(),
            options,
        })
    }
}

/// What all clients share: the credentials of AWS's usual chain, and how calls are made.
async fn shared_config(region: &str) -> SdkConfig {
    let provider = tls::Provider::Rustls(CryptoMode::AwsLc);
    let http = aws_smithy_http_client::Builder::new().tls_provider(provider);
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .http_client(http.build_https())
        // Calls are made again by `service::persist`, which knows how long somebody waits.
        .retry_config(RetryConfig::disabled())
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(service::CALL_TIMEOUT)
                .operation_timeout(service::CALL_TIMEOUT)
                .build(),
        )
        .load()
        .await
}
