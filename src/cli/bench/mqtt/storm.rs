//! `fanfare bench mqtt storm`: everybody comes back at once.

use std::time::{Duration, Instant};

use anyhow::bail;

use super::crowd::{Crowd, Lost};
use super::link::{Client, Event};
use super::{Broker, process, run_id};
use crate::cli::bench::load::Latencies;
use crate::cli::bench::report::{Goal, Report};

/// Clients that lose their connections all at once, and connect and subscribe again at the same instant.
///
/// First all connect in peace. Then every connection is cut without a word, as a failing network does, and all
/// clients come back at once under the same ids. A client that fails tries again a tenth of a second later; each
/// failure is counted.
#[derive(clap::Args)]
pub(super) struct StormArgs {
    /// Clients
    #[arg(long, value_name = "N", default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    clients: u32,

    /// Keep sessions and subscriptions over the cut
    #[arg(long)]
    persistent: bool,

    /// Seconds after which it has failed
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0, value_parser = crate::cli::bench::seconds)]
    patience: f64,
}

const RETRY: Duration = Duration::from_millis(100);

/// All are to be back by then.
const GOAL_SECONDS: f64 = 5.0;

pub(super) fn run(args: &StormArgs, broker: &Broker) -> anyhow::Result<Report> {
    let clients = args.clients as usize;
    let run = run_id();
    let client = |number: usize| Client {
        id: format!("bench-{run}-{number}"),
        clean: !args.persistent,
        subscription: Some((format!("bench/{run}/{number}"), u8::from(args.persistent))),
    };
    let mut crowd = Crowd::new(&broker.target, clients)?;
    crowd.open((0..clients).map(client).collect())?;
    let before = broker.pid.map(process::cpu).transpose()?;
    let storm = Storm::run(&mut crowd, Duration::from_secs_f64(args.patience))?;
    let after = broker.pid.map(process::cpu).transpose()?;
    if args.persistent {
        forget(&mut crowd)?;
    }
    crowd.leave();

    let mut report = Report::new("mqtt storm", &broker.target.url);
    report.setting("clients", args.clients);
    report.setting("persistent", args.persistent);
    report.latencies("cut → back and subscribed", &storm.back);
    report.count("errors", storm.errors);
    if let Some(error) = storm.first_error {
        report.setting("first error", error);
    }
    let seconds = storm.time.as_secs_f64();
    report.ratio(
        "seconds until all are back",
        seconds,
        Goal::AtMost(GOAL_SECONDS),
    );
    if let Some((before, after)) = before.zip(after) {
        let cpu = (after - before).as_secs_f64();
        report.ratio("server CPU seconds", cpu, None);
        report.ratio("server CPU µs per client", cpu * 1e6 / clients as f64, None);
    }
    Ok(report)
}

/// Ends sessions that would stay: every client introduces itself once more, as one who leaves nothing behind.
///
/// # Errors
/// One can not connect.
pub(super) fn forget(crowd: &mut Crowd) -> anyhow::Result<()> {
    let clients = crowd.cut().into_iter();
    let clean = |client: Client| Client {
        clean: true,
        subscription: None,
        ..client
    };
    crowd.open(clients.map(clean).collect())
}

struct Storm {
    back: Latencies,
    time: Duration,
    errors: u64,
    first_error: Option<String>,
}

impl Storm {
    fn run(crowd: &mut Crowd, patience: Duration) -> anyhow::Result<Self> {
        let clients = crowd.cut();
        let begin = Instant::now();
        let mut storm = Self {
            back: Latencies::new(),
            time: Duration::ZERO,
            errors: 0,
            first_error: None,
        };
        let mut lost: Vec<Lost> = Vec::new();
        let mut again: Vec<(Instant, usize)> = Vec::new();
        for (number, client) in clients.iter().enumerate() {
            crowd.begin_again(number, client.clone())?;
            // Not one after the other: whoever is answered already goes on meanwhile.
            if number % 256 == 255 {
                storm.turn(crowd, begin, Duration::ZERO, &mut lost)?;
            }
        }
        while storm.back.count() < clients.len() as u64 {
            storm.turn(crowd, begin, RETRY / 2, &mut lost)?;
            let now = Instant::now();
            for (number, error) in lost.drain(..) {
                storm.errors += 1;
                storm.first_error.get_or_insert_with(|| error.to_string());
                again.push((now + RETRY, number));
            }
            let mut due = Vec::new();
            again.retain(|&(when, number)| {
                let waits = when > now;
                if !waits {
                    due.push(number);
                }
                waits
            });
            for number in due {
                crowd.begin_again(number, clients[number].clone())?;
            }
            if begin.elapsed() > patience {
                let (back, all) = (storm.back.count(), clients.len());
                let first = storm.first_error.as_deref().unwrap_or("none");
                bail!(
                    "only {back} of {all} clients are back in time; {} errors, first: {first}",
                    storm.errors
                );
            }
        }
        storm.time = begin.elapsed();
        Ok(storm)
    }

    fn turn(
        &mut self,
        crowd: &mut Crowd,
        begin: Instant,
        timeout: Duration,
        lost: &mut Vec<Lost>,
    ) -> anyhow::Result<()> {
        let tell = |_, event: Event<'_>, now: Instant| {
            if matches!(event, Event::Ready) {
                self.back.record(now - begin);
            }
        };
        crowd.turn_and_lose(Some(timeout), tell, lost)
    }
}
