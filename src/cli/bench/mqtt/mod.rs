//! `fanfare bench mqtt`: loads any MQTT broker, and tells what a delivery costs it.
//!
//! One thread serves all connections with hand-made packets ([`packet`], [`frame`]) over readiness events
//! ([`crowd`]), so that the load generator needs less than the broker. Whether it was enough is told: "load
//! generator busy" near 100 % means that it, not the broker, was the limit.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, ensure};
use aws_credential_types::Credentials;
use clap::{Args, Subcommand};

mod crowd;
mod drive;
mod durable;
mod fan_out;
mod floor;
mod frame;
mod idle;
mod link;
mod packet;
mod process;
mod rooms;
mod socket;
mod stamp;
mod storm;
mod target;

use super::Server;
use super::report::{Goal, Report};
use crate::cli::trust::TrustArgs;
use drive::Found;
use packet::Version;
use target::Target;

/// Measure an MQTT broker, Fanfare or any other, over TCP or WebSocket.
///
/// Latency is taken from the sending of a message to each of its deliveries, in one process, so no clocks differ.
/// Given the server's --pid (on this machine) it also tells the processor time of the server for each delivery, and
/// its memory. On two cores, pin the server to one and this to the other, or both measure each other:
///   taskset -c 0 mosquitto -c FILE &
///   taskset -c 1 fanfare bench mqtt --pid $! fan-out --rate 20
///
/// The client side is let in by nothing, by --username and the variable FANFARE_MQTT_PASSWORD, or on Fanfare's
/// WebSocket by URLs presigned with the operator's keys (--presign).
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(super) struct MqttArgs {
    #[command(subcommand)]
    what: What,

    #[command(flatten)]
    broker: BrokerArgs,
}

#[derive(Args)]
struct BrokerArgs {
    /// Where the broker listens: mqtt://host:port, or ws://host:port/mqtt for WebSocket; in TLS mqtts:// and wss://
    #[arg(
        long,
        global = true,
        env = "FANFARE_MQTT_URL",
        value_name = "URL",
        default_value = "mqtt://127.0.0.1:1883"
    )]
    url: String,

    /// MQTT 5 instead of 3.1.1
    #[arg(long, global = true)]
    v5: bool,

    /// User name; the password comes from FANFARE_MQTT_PASSWORD
    #[arg(long, global = true, value_name = "NAME")]
    username: Option<String>,

    /// Presign each WebSocket's URL with --access-key and --secret-key
    #[arg(long, global = true, conflicts_with = "username")]
    presign: bool,

    /// Process id of the broker, to tell its processor time and memory
    #[arg(long, global = true)]
    pid: Option<u32>,

    /// Also measure a minimal server that does nothing but write, on the broker's processors (needs --pid and taskset)
    #[arg(long, global = true, requires = "pid")]
    limit: bool,
}

/// Where the password is, so that other users of the machine do not see it.
const PASSWORD_VARIABLE: &str = "FANFARE_MQTT_PASSWORD";

#[derive(Subcommand)]
enum What {
    FanOut(fan_out::FanOutArgs),
    Rooms(rooms::RoomsArgs),
    Idle(idle::IdleArgs),
    Storm(storm::StormArgs),
    Durable(durable::DurableArgs),
    Floor(floor::FloorArgs),
}

/// The broker to measure.
struct Broker {
    target: Target,
    pid: Option<u32>,
}

impl BrokerArgs {
    fn broker(&self, server: &Server) -> anyhow::Result<Broker> {
        let version = if self.v5 { Version::V5 } else { Version::V311 };
        let password = || std::env::var(PASSWORD_VARIABLE).unwrap_or_default();
        let login = self.username.clone().map(|user| (user, password()));
        if let Some((user, password)) = &login {
            let most = usize::from(u16::MAX);
            ensure!(
                user.len() <= most && password.len() <= most,
                "MQTT knows no names and passwords that long"
            );
        }
        let mut target = Target::new(&self.url, version, login, &server.trust)?;
        if self.presign {
            let keys = server.keys.clone();
            let keys = Credentials::new(
                keys.access_key,
                keys.secret_key,
                keys.token,
                None,
                "fanfare",
            );
            target = target.presigned(keys, &server.region)?;
        }
        Ok(Broker {
            target,
            pid: self.pid,
        })
    }
}

/// Runs a benchmark; nothing is reported by the minimal server, which runs until it is ended.
///
/// # Errors
/// The broker can not be reached, refuses, or ends a connection.
pub(super) fn run(args: &MqttArgs, server: &Server) -> anyhow::Result<Option<Report>> {
    let broker = args.broker.broker(server)?;
    let measure = |broker: &Broker| match &args.what {
        What::FanOut(args) => Ok(Some(Measured::new(fan_out::run(args, broker)?))),
        What::Rooms(args) => {
            let (found, latest) = rooms::run(args, broker)?;
            Ok(Some(Measured {
                latest: Some(latest),
                ..Measured::new(found)
            }))
        }
        What::Durable(args) => {
            let (found, acknowledged) = durable::run(args, broker)?;
            Ok(Some(Measured {
                acknowledged: Some(acknowledged),
                ..Measured::new(found)
            }))
        }
        _ => anyhow::Ok(None),
    };
    let (name, settings, goal) = match &args.what {
        What::Floor(args) => return floor::run(args).map(|()| None),
        What::Idle(args) => return idle::run(args, &broker).map(Some),
        What::Storm(args) => return storm::run(args, &broker).map(Some),
        What::FanOut(args) => {
            // Many messages fit into one write then, and what is not writing weighs more.
            let goal = if args.is_ahead() { 2.0 } else { 1.3 };
            ("mqtt fan-out", args.settings(), Some(goal))
        }
        What::Rooms(args) => ("mqtt rooms", args.settings(), Some(1.3)),
        What::Durable(args) => ("mqtt durable", args.settings(), None),
    };
    let mut report = Report::new(name, &broker.target.url);
    report.setting("version", if args.broker.v5 { "5" } else { "3.1.1" });
    for (name, value) in settings {
        report.setting(name, value);
    }
    let Some(measured) = measure(&broker)? else {
        return Ok(Some(report));
    };
    measured.report(&mut report, "");
    let cost = measured.found.cpu_us();
    if let Some(cost) = cost {
        report.ratio("server CPU µs per delivery", cost, None);
    }
    if let (Some(pid), true) = (args.broker.pid, args.broker.limit) {
        let floor = FloorProcess::start(pid, &broker.target)?;
        if let Some(limit) = measure(&floor.broker)? {
            limit.report(&mut report, "minimal server: ");
            if let (Some(cost), Some(limit)) = (cost, limit.found.cpu_us()) {
                report.ratio("minimal server's CPU µs per delivery", limit, None);
                let what = "server CPU per delivery ÷ minimal server's";
                report.ratio(what, cost / limit, goal.map(Goal::AtMost));
            }
        }
    }
    Ok(Some(report))
}

/// What a load has shown, and what only some loads know.
struct Measured {
    found: Found,
    /// From a publish to its acknowledgement.
    acknowledged: Option<super::load::Latencies>,
    /// How late the latest publish was.
    latest: Option<std::time::Duration>,
}

impl Measured {
    fn new(found: Found) -> Self {
        Self {
            found,
            acknowledged: None,
            latest: None,
        }
    }

    fn report(&self, report: &mut Report, whose: &str) {
        let found = &self.found;
        let latencies = &found.deliveries.latencies;
        report.sampled(format!("{whose}deliveries"), latencies, found.per_second());
        if let Some(acknowledged) = &self.acknowledged {
            report.latencies(format!("{whose}publish → acknowledged"), acknowledged);
        }
        report.count(format!("{whose}deliveries lost"), found.lost);
        report.count(format!("{whose}deliveries repeated"), found.repeated);
        let busy = found.own.as_secs_f64() / found.deliveries.time.as_secs_f64();
        report.count(
            format!("{whose}load generator busy, %"),
            (busy * 100.0).round() as u64,
        );
        if let Some(latest) = self.latest {
            let late = latest.as_millis() as u64;
            report.count(format!("{whose}publishes late by at most, ms"), late);
        }
        if let Some(server) = found.server {
            report.count(format!("{whose}server CPU, ms"), server.as_millis() as u64);
        }
        if let Some(bytes) = found.resident_bytes {
            report.count(format!("{whose}server resident, KiB"), bytes / 1024);
        }
    }
}

/// A minimal server in a process of its own; ended when dropped.
struct FloorProcess {
    process: Child,
    broker: Broker,
}

impl FloorProcess {
    /// Starts it on the processors that the server `like` has.
    fn start(like: u32, target: &Target) -> anyhow::Result<Self> {
        let cpus = process::cpus(like)?;
        let program = std::env::current_exe().context("finding this program")?;
        let mut process = Command::new("taskset")
            .args(["-c", &cpus])
            .arg(program)
            .args(["bench", "mqtt", "floor"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the minimal server with taskset")?;
        let mut line = String::new();
        if let Some(output) = &mut process.stdout {
            BufReader::new(output).read_line(&mut line)?;
        }
        // From here on it is ended whatever happens.
        let mut floor = Self {
            broker: Broker {
                pid: Some(process.id()),
                target: target.clone(),
            },
            process,
        };
        let address = line.trim().strip_prefix("listening mqtt ");
        let address = address.context("the minimal server does not start")?;
        let scheme = if target.is_websocket() { "ws" } else { "mqtt" };
        let url = format!("{scheme}://{address}");
        floor.broker.target = Target::new(&url, target.version, None, &TrustArgs::default())?;
        Ok(floor)
    }
}

impl Drop for FloorProcess {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Tells the clients, topics and sessions of one run from those of any other.
fn run_id() -> String {
    let id = uuid::Uuid::new_v4().simple().to_string();
    id[..8].to_owned()
}
