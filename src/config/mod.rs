//! Typed configuration in layers, and every limit.
//!
//! Later layers win: the defaults below, a TOML file (`--config`), environment variables
//! `FANFARE_<SECTION>_<KEY>` (`FANFARE_<KEY>` for the keys without a section), flags. `config/fanfare.toml`
//! says the same as the defaults, which a test holds it to. Times are whole seconds in all of them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

mod aws;
mod broker;
mod console;
mod demo;
pub mod keys;
pub mod layers;
pub mod limits;
mod operator;
mod rights;
mod rooms;
mod secret;

pub use aws::{Aws, Backend, COGNITO_KEY_LIFETIME, Consume, STS_KEY_LIFETIME, SessionKeys};
pub use broker::{BrokerScheme, BrokerUrl};
pub use console::Console;
pub use demo::{Demo, DemoEnabled};
pub use layers::{Flags, Problem, Problems, load};
pub use operator::{DEVELOPMENT_KEYS, KeyPair, OperatorKeys};
pub use rights::{Account, Guests, Role};
pub use rooms::Room;
pub use secret::Secret;

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Region in identities and ARNs, and the one that signatures must name.
    pub region: String,
    /// Environment: part of the names of queues, of the Kinesis stream and of the identity pool.
    pub env: String,
    /// Account number in ARNs and queue URLs: 12 digits.
    pub aws_account: String,
    /// On whose engines sessions, queues and history live.
    pub backend: Backend,
    /// The operator's access key id. Without it and its secret the public development pair is used, as long as
    /// everything listens on loopback only.
    pub operator_access_key: Option<String>,
    /// The operator's secret key.
    pub operator_secret_key: Option<Secret>,
    /// A file that holds the operator's secret key, instead of `operator_secret_key`.
    pub operator_secret_key_file: Option<PathBuf>,
    /// A second access key id of the operator, as good as the first: callers move from one to the other one by one.
    pub operator_access_key_2: Option<String>,
    /// Its secret key.
    pub operator_secret_key_2: Option<Secret>,
    /// A file that holds it, instead of `operator_secret_key_2`.
    pub operator_secret_key_2_file: Option<PathBuf>,
    /// HTTP.
    pub http: Http,
    /// TLS.
    pub tls: Tls,
    /// The store.
    pub store: Store,
    /// Sessions.
    pub sessions: Sessions,
    /// Queues.
    pub queues: Queues,
    /// History.
    pub history: History,
    /// The Kinesis stream.
    pub kinesis: Kinesis,
    /// MQTT.
    pub mqtt: Mqtt,
    /// Clients without a session.
    pub guests: Guests,
    /// Roles that keys can be made for.
    pub roles: Vec<Role>,
    /// Accounts for MQTT's user name and password.
    pub accounts: Vec<Account>,
    /// Which topics are rooms.
    pub rooms: Vec<Room>,
    /// The `aws` backend.
    pub aws: Aws,
    /// Benchmarks.
    pub bench: Bench,
    /// The demos.
    pub demo: Demo,
    /// The operator's console.
    pub console: Console,
    /// The log.
    pub log: Log,
}

/// `[http]`: how HTTP is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Http {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The same in TLS; needs `[tls]`. None: HTTP is not served in TLS.
    pub tls_listen: Option<SocketAddr>,
    /// Threads that serve; 0: one for each core.
    pub workers: usize,
    /// Connections of all threads together; more wait unaccepted.
    pub max_connections: usize,
    /// Longest body of a REST route, in bytes; beyond it 413.
    pub body_limit_bytes: usize,
    /// How long an idle connection is kept.
    #[serde(with = "seconds")]
    pub keep_alive: Duration,
    /// How long a request's head may take to arrive; beyond it 408.
    #[serde(with = "seconds")]
    pub head_timeout: Duration,
    /// How long a request's body may take to arrive; beyond it 408.
    #[serde(with = "seconds")]
    pub body_timeout: Duration,
    /// How long requests in progress may take to end when the process is asked to.
    #[serde(with = "seconds")]
    pub drain_timeout: Duration,
}

/// `[tls]`: the certificate of all listeners in TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// The certificate chain, in PEM. Read again when the file changes.
    pub cert_file: Option<PathBuf>,
    /// Its private key, in PEM. Read again when the file changes.
    pub key_file: Option<PathBuf>,
}

/// `[store]`: the embedded store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Store {
    /// The data directory; made if it is not there. One process at a time.
    pub dir: PathBuf,
    /// Below this much free disk space new messages are refused, in bytes.
    pub min_free_bytes: u64,
    /// Cache of what was read from disk, in bytes.
    pub cache_bytes: u64,
    /// Write buffer of each of the six tables, in bytes.
    pub write_buffer_bytes: u64,
    /// All journals together, in bytes; at it, buffers are written out.
    pub journal_bytes: u64,
    /// How often expired data is looked for.
    #[serde(with = "seconds")]
    pub sweep_interval: Duration,
    /// A table with more removed or expired bytes than this, and than a quarter of its size, is compacted.
    pub compact_after_bytes: u64,
}

/// `[sessions]`: how sessions are made and how long they live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    /// How long temporary keys live.
    #[serde(with = "seconds")]
    pub key_lifetime: Duration,
    /// How long after the end of its keys a session that nobody renewed is removed.
    #[serde(with = "seconds")]
    pub ttl: Duration,
    /// What the names of sessions' queues start with; `{env}` stands for the environment.
    pub queue_prefix: String,
    /// How long messages wait in a session's queue unless `create` says otherwise.
    #[serde(with = "seconds")]
    pub retention: Duration,
    /// Sessions there may be; more are refused with 429.
    pub max_sessions: u64,
    /// How often expired sessions are removed.
    #[serde(with = "seconds")]
    pub sweep_interval: Duration,
    /// Messages that one session's queue may hold; a message to a full one is refused for it.
    pub queue_limit: u64,
}

/// `[queues]`: bounds of each SQS queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queues {
    /// How long a queue that nobody uses stays in memory.
    #[serde(with = "seconds")]
    pub idle_after: Duration,
    /// Messages that one queue may hold; more are refused.
    pub max_messages: usize,
    /// Messages of one queue in flight; beyond it receives are refused with `OverLimit`.
    pub max_in_flight: usize,
    /// Long polls that wait on one queue; more are refused as throttled.
    pub max_waiting: usize,
    /// Requests that wait for one queue; more are refused as throttled.
    pub mailbox: usize,
    /// Message bodies that all queues together keep in memory, in bytes; others are read when handed out.
    pub cached_body_bytes: usize,
}

/// `[history]`: users' messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// How long a message is kept.
    #[serde(with = "seconds")]
    pub user_message_ttl: Duration,
    /// How long the history of a user whom nobody asks about stays in memory.
    #[serde(with = "seconds")]
    pub idle_after: Duration,
}

/// `[kinesis]`: the stream that messages may come in by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kinesis {
    /// Its name; `{env}` stands for the environment.
    pub stream: String,
    /// Its shards.
    pub shards: u32,
}

/// `[mqtt]`: topics, and the connections to them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mqtt {
    /// Whether there is MQTT at all: the listener, and `/mqtt` on the HTTP listeners.
    pub enabled: bool,
    /// Address and port for MQTT over TCP; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The same in TLS; needs `[tls]`. None: MQTT is not served in TLS.
    pub tls_listen: Option<SocketAddr>,
    /// Whose limits hold.
    pub profile: MqttProfile,
    /// Pages that may open a WebSocket: `*`, or origins with spaces between them.
    pub allowed_origins: String,
    /// Connections of all threads together; more are refused.
    pub max_connections: usize,
    /// Largest packet, in bytes; beyond it the connection ends with 0x95.
    pub max_packet_bytes: usize,
    /// How long a client may take until its CONNECT is there.
    #[serde(with = "seconds")]
    pub connect_timeout: Duration,
    /// Publications with QoS 1 and 2 in flight on one connection, each way.
    pub max_in_flight: u16,
    /// Publications with QoS 1 and 2 that wait in memory for one client; beyond it its connection ends with 0x97.
    pub max_waiting: usize,
    /// Their bytes.
    pub max_waiting_bytes: usize,
    /// Bytes of publications with QoS 0 that wait for one client that does not read; beyond it the oldest are dropped.
    pub max_outbound_bytes: usize,
    /// How long a client may read nothing while something waits for it; then its connection ends with 0x97.
    #[serde(with = "seconds")]
    pub slow_consumer_timeout: Duration,
    /// Longest keep alive; MQTT 5 clients are told.
    #[serde(with = "seconds")]
    pub max_keep_alive: Duration,
    /// After so long without a sign of life a WebSocket is pinged, and after as long again it is closed.
    #[serde(with = "seconds")]
    pub ping_interval: Duration,
    /// Topic aliases of one connection, each way.
    pub max_topic_aliases: u16,
    /// Longest client id, in bytes.
    pub max_client_id_bytes: usize,
    /// Subscriptions of one client; more are refused with 0x97.
    pub max_subscriptions: usize,
    /// Longest life of a session after its connection.
    #[serde(with = "seconds")]
    pub max_session_expiry: Duration,
    /// Sessions that outlive their connection; beyond it a client that asks for one is refused with 0x97.
    pub max_durable_sessions: usize,
    /// Messages that wait on disk for one such session; more are not stored for it.
    pub queue_limit: u64,
    /// Topics with a retained message; more are refused with 0x97.
    pub max_retained_messages: usize,
    /// Bytes of all retained messages.
    pub max_retained_bytes: usize,
    /// Whether connections and subscriptions are announced on `$aws/events/…`.
    pub lifecycle_events: bool,
}

/// Whose limits hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MqttProfile {
    /// MQTT's and Fanfare's own.
    Open,
    /// AWS IoT Core's.
    Aws,
}

/// `[bench]`: what `fanfare bench` needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bench {
    /// Whether there is `/bench/verify`, which does nothing but verify a signature.
    pub enabled: bool,
}

/// `[log]`: the log, on standard error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// How lines look.
    pub format: LogFormat,
    /// Which lines: a level, or `target=level` pairs separated by commas.
    pub filter: String,
}

/// How the log's lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

const MIB: u64 = 1 << 20;

impl Default for Config {
    fn default() -> Self {
        Self {
            region: "us-east-1".to_owned(),
            env: "dev".to_owned(),
            aws_account: "000000000000".to_owned(),
            backend: Backend::Embedded,
            operator_access_key: None,
            operator_secret_key: None,
            operator_secret_key_file: None,
            operator_access_key_2: None,
            operator_secret_key_2: None,
            operator_secret_key_2_file: None,
            http: Http {
                listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
                tls_listen: None,
                workers: 0,
                max_connections: 50_000,
                body_limit_bytes: 2 << 20,
                keep_alive: Duration::from_secs(75),
                head_timeout: Duration::from_secs(5),
                body_timeout: Duration::from_secs(30),
                drain_timeout: Duration::from_secs(20),
            },
            tls: Tls::default(),
            store: Store {
                dir: PathBuf::from("./data"),
                min_free_bytes: 512 * MIB,
                cache_bytes: 32 * MIB,
                write_buffer_bytes: 16 * MIB,
                journal_bytes: 512 * MIB,
                sweep_interval: Duration::from_secs(60),
                compact_after_bytes: 8 * MIB,
            },
            sessions: Sessions {
                key_lifetime: Duration::from_secs(14_400),
                ttl: Duration::from_secs(3600),
                queue_prefix: "{env}-fanfare".to_owned(),
                retention: limits::SESSION_RETENTION_DEFAULT,
                max_sessions: 10_000_000,
                sweep_interval: Duration::from_secs(10),
                queue_limit: 100_000,
            },
            queues: Queues {
                idle_after: Duration::from_secs(30),
                max_messages: 1_000_000,
                max_in_flight: 120_000,
                max_waiting: 1000,
                mailbox: 1024,
                cached_body_bytes: 64 << 20,
            },
            history: History {
                user_message_ttl: Duration::from_secs(86_400),
                idle_after: Duration::from_secs(30),
            },
            kinesis: Kinesis {
                stream: "{env}-sqs-browser-event-dispatcher".to_owned(),
                shards: 1,
            },
            demo: Demo::default(),
            console: Console::default(),
            mqtt: Mqtt::default(),
            guests: Guests::default(),
            roles: Vec::new(),
            accounts: Vec::new(),
            rooms: Room::defaults(),
            aws: Aws::default(),
            bench: Bench { enabled: false },
            log: Log::default(),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            filter: "info,actix_server=warn,fjall=warn,lsm_tree=warn".to_owned(),
        }
    }
}

impl Default for Mqtt {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: SocketAddr::from(([127, 0, 0, 1], 1883)),
            tls_listen: None,
            profile: MqttProfile::Open,
            allowed_origins: "*".to_owned(),
            max_connections: 100_000,
            max_packet_bytes: 256 << 10,
            connect_timeout: Duration::from_secs(5),
            max_in_flight: 32,
            max_waiting: 1000,
            max_waiting_bytes: 8 << 20,
            max_outbound_bytes: 256 << 10,
            slow_consumer_timeout: Duration::from_secs(10),
            max_keep_alive: Duration::from_secs(1200),
            ping_interval: Duration::from_secs(30),
            max_topic_aliases: 32,
            max_client_id_bytes: 256,
            max_subscriptions: 128,
            max_session_expiry: Duration::from_secs(604_800),
            max_durable_sessions: 100_000,
            queue_limit: 10_000,
            max_retained_messages: 100_000,
            max_retained_bytes: 64 << 20,
            lifecycle_events: true,
        }
    }
}

impl Config {
    /// The certificate's files; `None` if nothing is served in TLS.
    ///
    /// # Errors
    /// [`Problem`] if something is to be served in TLS and a file is not named.
    pub fn certificate(&self) -> Result<Option<(PathBuf, PathBuf)>, Problem> {
        let wanted = match (self.http.tls_listen, self.mqtt.tls_listen) {
            (Some(_), _) => "http.tls_listen",
            (_, Some(_)) if self.mqtt.enabled => "mqtt.tls_listen",
            _ => return Ok(None),
        };
        match (&self.tls.cert_file, &self.tls.key_file) {
            (Some(cert), Some(key)) => Ok(Some((cert.clone(), key.clone()))),
            _ => Err(Problem(format!(
                "{wanted} is set without tls.cert_file and tls.key_file (on your own machine: --dev-tls)"
            ))),
        }
    }

    /// `[sessions] queue_prefix` with the environment in place.
    pub fn queue_prefix(&self) -> String {
        self.sessions.queue_prefix.replace("{env}", &self.env)
    }

    /// `[kinesis] stream` with the environment in place.
    pub fn kinesis_stream(&self) -> String {
        self.kinesis.stream.replace("{env}", &self.env)
    }
}

/// Times as whole seconds.
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(time.as_secs())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_secs)
    }
}

#[cfg(test)]
mod tests;
