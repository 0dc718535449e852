//! `fanfare bench`: measures a running server, the way its goals are stated: as ratios taken in one run.
//!
//! The load generator is one thread with plain connections, so that on a small machine most of the time is left
//! to the server. Any failed request ends a benchmark: a rate with failures in it would say nothing.

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

mod broadcast;
mod connection;
mod idle;
mod load;
mod machine;
mod mqtt;
mod notify;
mod queue;
mod report;
mod restart;
mod sessions;
mod sign;
mod wake;

use super::dial::{Address, Endpoint};
use super::trust::TrustArgs;
use connection::Connection;
use sign::Keys;

/// Measure a running server.
///
/// Each benchmark compares two things in turns in one run, because a ratio says more than a number that depends on
/// the machine. Run it against a server of its own: it creates sessions and queues and posts to them, and a
/// broadcast reaches everybody.
///
/// The exit code is 0 if everything was measured, whether or not the goals are met.
///
/// Example: FANFARE_BENCH_ENABLED=true fanfare serve, and in another terminal: fanfare bench notify
#[derive(Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    what: What,

    /// Where the server listens
    #[arg(long, global = true, env = "FANFARE_ENDPOINT", value_name = "URL", default_value = "http://127.0.0.1:8080", value_parser = Address::parse)]
    endpoint: Address,

    /// The operator's access key
    #[arg(
        long,
        global = true,
        env = "FANFARE_OPERATOR_ACCESS_KEY",
        value_name = "KEY",
        default_value = "FANFAREDEV"
    )]
    access_key: String,

    /// The operator's secret key; better in the environment, where other users do not see it
    #[arg(
        long,
        global = true,
        env = "FANFARE_OPERATOR_SECRET_KEY",
        value_name = "KEY",
        default_value = "fanfare-dev-secret",
        hide_env_values = true
    )]
    secret_key: String,

    /// The region that signatures name
    #[arg(
        long,
        global = true,
        env = "FANFARE_REGION",
        default_value = "us-east-1"
    )]
    region: String,

    #[command(flatten)]
    trust: TrustArgs,

    /// Print one JSON object instead of a table
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum What {
    Notify(notify::NotifyArgs),
    Queue(queue::QueueArgs),
    Broadcast(broadcast::BroadcastArgs),
    Wake(wake::WakeArgs),
    Idle(idle::IdleArgs),
    Mqtt(mqtt::MqttArgs),
    Restart(restart::RestartArgs),
}

/// How long two kinds of load take turns.
#[derive(Args)]
struct Rounds {
    /// Connections, each with one request on its way
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,

    /// Rounds in which all kinds of load have their turn; one more, not counted, warms up
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,

    /// Seconds of all counted rounds together
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0, value_parser = seconds)]
    duration: f64,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.01..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("must be a number of seconds, 0.01 to 86400".into()),
    }
}

/// Runs a benchmark and prints what it found.
///
/// # Errors
/// The server cannot be reached, refuses, or answers what it should not.
pub fn run(args: BenchArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let server = Server {
        endpoint: Endpoint::new(args.endpoint, &args.trust)?,
        keys: Keys {
            access_key: args.access_key,
            secret_key: args.secret_key,
            token: None,
        },
        region: args.region,
        trust: args.trust,
    };
    let report = runtime.block_on(async {
        let report = match &args.what {
            What::Notify(args) => notify::run(args, &server).await?,
            What::Queue(args) => queue::run(args, &server).await?,
            What::Broadcast(args) => broadcast::run(args, &server).await?,
            What::Wake(args) => wake::run(args, &server).await?,
            What::Idle(args) => idle::run(args, &server).await?,
            What::Restart(args) => restart::run(args, &server).await?,
            What::Mqtt(args) => return mqtt::run(args, &server),
        };
        anyhow::Ok(Some(report))
    })?;
    report.map_or(Ok(()), |report| report.print(args.json))
}

/// The server to measure.
#[derive(Clone)]
struct Server {
    endpoint: Endpoint,
    keys: Keys,
    region: String,
    trust: TrustArgs,
}

impl Server {
    fn connection(&self) -> Connection {
        Connection::new(&self.endpoint, &self.keys, &self.region)
    }

    fn connections(&self, count: u16) -> Vec<Connection> {
        (0..count).map(|_| self.connection()).collect()
    }

    /// Another server, with the same keys.
    ///
    /// # Errors
    /// Nobody there can be trusted.
    fn at(&self, address: Address) -> anyhow::Result<Self> {
        Ok(Self {
            endpoint: Endpoint::new(address, &self.trust)?,
            keys: self.keys.clone(),
            region: self.region.clone(),
            trust: self.trust.clone(),
        })
    }
}

/// Progress bars; on standard error, and only where that is a terminal.
struct Progress;

impl Progress {
    fn steps(count: u16, what: &'static str) -> ProgressBar {
        Self::items(count.into(), what)
    }

    fn items(count: u64, what: &'static str) -> ProgressBar {
        let style = "{elapsed:>4} {wide_bar} {human_pos}/{human_len} {msg}, {eta} left";
        let style = ProgressStyle::with_template(style).expect("the template is well-formed");
        let bar = ProgressBar::new(count).with_style(style).with_message(what);
        bar.with_finish(indicatif::ProgressFinish::AndClear)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        args: BenchArgs,
    }

    fn parse(line: &str) -> Result<BenchArgs, clap::Error> {
        let words = std::iter::once("bench").chain(line.split_whitespace());
        Program::try_parse_from(words).map(|program| program.args)
    }

    #[test]
    fn a_benchmark_needs_no_arguments() {
        let args = parse("notify").unwrap();
        let What::Notify(_) = args.what else {
            panic!("not notify");
        };
        assert!(!args.json);
        for line in [
            "queue",
            "broadcast",
            "wake",
            "idle --pid 1",
            "mqtt fan-out",
            "mqtt fan-out --rate 20 --v5 --username u",
            "mqtt --url ws://h/mqtt --presign rooms --pid 1 --limit",
            "mqtt idle",
            "mqtt storm",
            "mqtt durable",
            "mqtt floor",
            "restart --dir x",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
    }

    #[test]
    fn arguments_of_the_server_go_anywhere() {
        for line in [
            "--endpoint http://h:1 --json notify",
            "notify --endpoint http://h:1 --json",
        ] {
            let args = parse(line).unwrap();
            assert_eq!(args.endpoint.to_string(), "http://h:1", "{line}");
            assert!(args.json, "{line}");
        }
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        for line in [
            "",
            "idle",
            "notify --connections 0",
            "notify --rounds 0",
            "notify --duration 0",
            "notify --duration NaN",
            "notify --endpoint ftp://h",
            "queue --against h:1",
            "idle --pid 1 --sessions 0",
            "mqtt",
            "mqtt fan-out --rate 20 --in-flight 1",
            "mqtt fan-out --rate 20 --ahead",
            "mqtt fan-out --size 19",
            "mqtt rooms --rate 0",
            "mqtt rooms --limit",
            "mqtt rooms --presign --username u",
            "mqtt durable --in-flight 0",
            "restart",
            "restart --dir x --messages 1",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
