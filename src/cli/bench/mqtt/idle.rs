//! `fanfare bench mqtt idle`: connections that do nothing.

use std::time::{Duration, Instant};

use super::crowd::Crowd;
use super::link::Client;
use super::process::resident_bytes;
use super::{Broker, run_id};
use crate::cli::bench::report::Report;

/// Connections at rest, and with --pid the memory of the server for each.
///
/// Reads the server's resident memory before, and again when all are connected and it no longer grows. A few
/// connections come and go before, so that what a server sets up once is not counted.
#[derive(clap::Args)]
pub(super) struct IdleArgs {
    /// Connections
    #[arg(long, value_name = "N", default_value_t = 9500, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    connections: u32,

    /// Each subscribes to a topic of its own
    #[arg(long)]
    subscribe: bool,

    /// Seconds they rest before the memory is read
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0, value_parser = crate::cli::bench::seconds)]
    seconds: f64,
}

/// Connections that come and go before the first look.
const FIRST: usize = 50;

pub(super) fn run(args: &IdleArgs, broker: &Broker) -> anyhow::Result<Report> {
    let connections = args.connections as usize;
    let run = run_id();
    let client = |number: usize| Client {
        id: format!("bench-{run}-{number}"),
        clean: true,
        subscription: args.subscribe.then(|| (format!("bench/{run}/{number}"), 0)),
    };
    let rest = Duration::from_secs_f64(args.seconds);
    let mut first = Crowd::new(&broker.target, FIRST)?;
    // Under ids of their own: a client that comes back soon is another matter.
    first.open((connections..connections + FIRST).map(client).collect())?;
    first.leave();
    std::thread::sleep(rest.min(Duration::from_secs(1)));
    let before = broker.pid.map(resident_bytes).transpose()?;

    let mut crowd = Crowd::new(&broker.target, connections)?;
    let begin = Instant::now();
    crowd.open((0..connections).map(client).collect())?;
    let opened = begin.elapsed();
    let end = Instant::now() + rest;
    while Instant::now() < end {
        // Pings of a WebSocket server are answered meanwhile; whoever is thrown out ends the benchmark.
        crowd.turn(Some(Duration::from_millis(100)), |_, _, _| {})?;
    }
    let after = broker.pid.map(resident_bytes).transpose()?;
    crowd.leave();

    let mut report = Report::new("mqtt idle", &broker.target.url);
    report.setting("connections", args.connections);
    report.setting("subscribed", args.subscribe);
    let per_second = connections as f64 / opened.as_secs_f64();
    report.ratio("connections opened per second", per_second, None);
    if let Some((before, after)) = before.zip(after) {
        report.setting("resident bytes before", before);
        report.setting("after", after);
        let each = (after as f64 - before as f64) / connections as f64;
        report.ratio("resident bytes per connection", each, None);
    }
    Ok(report)
}
