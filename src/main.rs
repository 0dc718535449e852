//! The `fanfare` binary: parse, run, exit with a documented code.

use std::time::Duration;

use fanfare::actors::queue::QueuesConfig;
use fanfare::actors::registrar::SessionSettings;
use fanfare::app::{App, Settings};
use fanfare::auth::OperatorKey;
use fanfare::backends::embedded::{StoreOptions, StoreSizes};

fn env(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

fn secs(name: &str, default: u64) -> Duration {
    Duration::from_secs(env(name, &default.to_string()).parse().expect(name))
}

#[derive(clap::Parser)]
struct BenchProgram {
    #[command(flatten)]
    args: fanfare::cli::bench::BenchArgs,
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some("bench") {
        use clap::Parser as _;
        let program = BenchProgram::parse_from(std::env::args().skip(1));
        if let Err(error) = fanfare::cli::bench::run(program.args) {
            eprintln!("fanfare: {error:#}");
            std::process::exit(1);
        }
        return;
    }
    fanfare::observe::logging::start(Default::default(), "warn,fanfare=info").expect("log");
    let recorder = fanfare::observe::metrics::record().expect("metrics");
    let region = env("FANFARE_REGION", "us-east-1");
    let aws_account = env("FANFARE_AWS_ACCOUNT", "000000000000");
    let ttl = secs("FANFARE_HISTORY_USER_MESSAGE_TTL", 86400);
    let settings = Settings {
        region: region.clone(),
        aws_account: aws_account.clone(),
        operators: vec![OperatorKey {
            access_key: env("FANFARE_OPERATOR_ACCESS_KEY", "FANFAREDEV").into(),
            secret_key: env("FANFARE_OPERATOR_SECRET_KEY", "fanfare-dev-secret"),
        }],
        http_listen: env("FANFARE_HTTP_LISTEN", "127.0.0.1:8080")
            .parse()
            .expect("listen"),
        serve: Default::default(),
        limits: Default::default(),
        actor_threads: 2,
        store: StoreOptions {
            dir: env("FANFARE_STORE_DIR", "./data").into(),
            min_free_bytes: env("FANFARE_STORE_MIN_FREE_BYTES", "536870912")
                .parse()
                .expect("min free"),
            sizes: StoreSizes {
                cache_bytes: 32 << 20,
                write_buffer_bytes: 16 << 20,
                journal_bytes: 512 << 20,
            },
            sweep_interval: Duration::from_secs(60),
            compact_after_bytes: 8 << 20,
            user_message_ttl: ttl,
        },
        sessions: SessionSettings {
            key_lifetime: secs("FANFARE_SESSIONS_KEY_LIFETIME", 14400),
            ttl: secs("FANFARE_SESSIONS_TTL", 3600),
            queue_prefix: format!("{}-fanfare", env("FANFARE_ENV", "dev")),
            region: region.clone(),
            retention: Duration::from_secs(3600),
            most: 10_000_000,
            issue_keys: fanfare::auth::keys::issue,
        },
        session_sweep_interval: secs("FANFARE_SESSIONS_SWEEP_INTERVAL", 10),
        session_queue_limit: 100_000,
        queues: QueuesConfig {
            region,
            account: aws_account,
            idle_after: Duration::from_secs(30),
            mailbox: 1024,
            max_messages: 1_000_000,
            max_in_flight: 120_000,
            max_waiting: 1000,
            cached_body_bytes: 64 << 20,
            arbiters: Vec::new(),
        },
        stream: fanfare::wire::kinesis::Stream {
            name: format!("{}-sqs-browser-event-dispatcher", env("FANFARE_ENV", "dev")),
            region: env("FANFARE_REGION", "us-east-1"),
            account: env("FANFARE_AWS_ACCOUNT", "000000000000"),
            shards: 1,
            created: fanfare::domain::Clock::start().wall(),
            limits: Default::default(),
        },
        env: env("FANFARE_ENV", "dev"),
        user_message_ttl: ttl,
        user_idle_after: Duration::from_secs(30),
        bench: env("FANFARE_BENCH_ENABLED", "false") == "true",
    };
    actix_rt::System::new().block_on(async {
        let on_failure: fanfare::backends::embedded::OnFailure = std::sync::Arc::new(|error| {
            eprintln!("fanfare: the store has failed: {error}");
            std::process::exit(74);
        });
        let app = match App::start(settings, recorder, on_failure) {
            Ok(app) => app,
            Err(error) => {
                eprintln!("fanfare: {error}");
                std::process::exit(1);
            }
        };
        println!("listening http {}", app.http);
        let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
            .expect("signal");
        term.recv().await;
        app.drain().await;
    });
}
