//! From the configuration as people write it to what each part takes.

use std::sync::Arc;

use super::Settings;
use super::listen::TlsSettings;
use super::mqtt::MqttParts;
use crate::actors::queue::QueuesConfig;
use crate::actors::registrar::SessionSettings;
use crate::auth::{OperatorKey, Rulebook, keys};
use crate::backends::embedded::{StoreOptions, StoreSizes};
use crate::config::{Config, OperatorKeys, Secret};
use crate::domain::Clock;
use crate::wire::front::{CertificateFiles, Limits, ServeOptions};
use crate::wire::kinesis;

impl Settings {
    /// The settings that a configuration stands for; `book` is what it says about topics.
    pub fn of(config: &Config, operator: &OperatorKeys, book: Arc<Rulebook>) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let threads = match config.http.workers {
            0 => cores,
            workers => workers,
        };
        Self {
            region: config.region.clone(),
            aws_account: config.aws_account.clone(),
            operators: operators(operator),
            http_listen: config.http.listen,
            tls: tls(config),
            serve: ServeOptions {
                workers: threads,
                connections_per_worker: config.http.max_connections.div_ceil(threads),
                keep_alive: config.http.keep_alive,
                head_patience: config.http.head_timeout,
                handshake_patience: config.http.head_timeout,
                shutdown_patience: config.http.drain_timeout,
            },
            limits: Limits {
                rest_body_bytes: config.http.body_limit_bytes,
                body_patience: config.http.body_timeout,
                ..Limits::default()
            },
            actor_threads: threads,
            store: store(config),
            sessions: sessions(config),
            session_sweep_interval: config.sessions.sweep_interval,
            session_queue_limit: config.sessions.queue_limit,
            queues: queues(config),
            stream: stream(config),
            env: config.env.clone(),
            user_message_ttl: config.history.user_message_ttl,
            user_idle_after: config.history.idle_after,
            mqtt: MqttParts::of(config),
            book,
            guest_rate: (config.guests.keys_burst, config.guests.keys_per_minute),
            demo: config.demo(),
            console: config.console().then(|| config.console.clone()),
            bench: config.bench.enabled,
            #[cfg(feature = "aws")]
            aws: super::aws::options(config),
            #[cfg(feature = "aws")]
            broker: super::broker::settings(config),
        }
    }
}

/// The first pair, and the second if there is one.
pub(super) fn operators(keys: &OperatorKeys) -> Vec<OperatorKey> {
    let key = |access_key: &str, secret_key: &Secret| OperatorKey {
        access_key: access_key.into(),
        secret_key: secret_key.expose().to_owned(),
    };
    let first = key(&keys.access_key, &keys.secret_key);
    let second = keys.second.as_ref();
    let second = second.map(|pair| key(&pair.access_key, &pair.secret_key));
    [first].into_iter().chain(second).collect()
}

/// `None` too if a file is not named, which whoever reads the configuration complains about.
fn tls(config: &Config) -> Option<TlsSettings> {
    let (cert, key) = config.certificate().ok()??;
    Some(TlsSettings {
        files: CertificateFiles { cert, key },
        http_listen: config.http.tls_listen,
        mqtt_listen: config.mqtt.tls_listen.filter(|_| config.mqtt.enabled),
    })
}

fn store(config: &Config) -> StoreOptions {
    StoreOptions {
        dir: config.store.dir.clone(),
        min_free_bytes: config.store.min_free_bytes,
        sizes: StoreSizes {
            cache_bytes: config.store.cache_bytes,
            write_buffer_bytes: config.store.write_buffer_bytes,
            journal_bytes: config.store.journal_bytes,
        },
        sweep_interval: config.store.sweep_interval,
        compact_after_bytes: config.store.compact_after_bytes,
        user_message_ttl: config.history.user_message_ttl,
    }
}

fn sessions(config: &Config) -> SessionSettings {
    SessionSettings {
        key_lifetime: config.sessions.key_lifetime,
        ttl: config.sessions.ttl,
        queue_prefix: config.queue_prefix(),
        region: config.region.clone(),
        retention: config.sessions.retention,
        most: config.sessions.max_sessions,
        issue_keys: keys::issue,
    }
}

fn queues(config: &Config) -> QueuesConfig {
    QueuesConfig {
        region: config.region.clone(),
        account: config.aws_account.clone(),
        idle_after: config.queues.idle_after,
        mailbox: config.queues.mailbox,
        max_messages: config.queues.max_messages,
        max_in_flight: config.queues.max_in_flight,
        max_waiting: config.queues.max_waiting,
        cached_body_bytes: config.queues.cached_body_bytes,
    }
}

fn stream(config: &Config) -> kinesis::Stream {
    kinesis::Stream {
        name: config.kinesis_stream(),
        region: config.region.clone(),
        account: config.aws_account.clone(),
        shards: config.kinesis.shards,
        created: Clock::start().wall(),
        limits: kinesis::Limits::default(),
    }
}
