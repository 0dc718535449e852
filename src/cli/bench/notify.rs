//! `fanfare bench notify`: durable messages to one session, beside requests that are only verified.

use std::cell::Cell;
use std::time::Duration;

use super::connection::Connection;
use super::load::{Slot, drive};
use super::report::{Goal, Report};
use super::sessions::{Place, message, notify_one};
use super::sign::Call;
use super::{Progress, Rounds, Server};
use crate::cli::client::CallError;

const NO_BASELINE: &str =
    "there is nothing to compare with: start the server with FANFARE_BENCH_ENABLED=true";

/// Durable notifications to one session per second, beside requests that are only verified and answered.
///
/// Both kinds of request carry the same message over the same connections. They take turns, round by round, so
/// that whatever else the machine does falls on both. Needs a server with FANFARE_BENCH_ENABLED=true.
#[derive(clap::Args)]
pub struct NotifyArgs {
    #[command(flatten)]
    rounds: Rounds,

    /// Bytes of the message
    #[arg(long, value_name = "BYTES", default_value_t = 128)]
    size: usize,
}

pub(super) async fn run(args: &NotifyArgs, server: &Server) -> anyhow::Result<Report> {
    let mut connections = server.connections(args.rounds.connections);
    let message = message(args.size);
    let verify_call = Call::rest("/bench/verify", &message);
    if let Err(error) = connections[0].call(&verify_call).await {
        return Err(match error.downcast_ref() {
            Some(CallError::Refused(_)) => error.context(NO_BASELINE),
            _ => error,
        });
    }

    let (mut verify, mut notify) = (Slot::new(), Slot::new());
    let mut ratios = Vec::new();
    let slot_time = args.rounds.slot_time(2);
    let progress = Progress::steps(args.rounds.rounds + 1, "rounds");
    for round in 0..=args.rounds.rounds {
        let target = Target::create(&mut connections[0], slot_time).await?;
        let verified = drive(&mut connections, slot_time, async |connection| {
            connection.call(&verify_call).await.map(drop)
        })
        .await?;
        let notified = drive(&mut connections, slot_time, async |connection| {
            notify_one(connection, target.next(), &message).await
        })
        .await?;
        target.destroy(&mut connections[0]).await?;
        progress.inc(1);
        // The first round opens the connections and warms the server.
        if round > 0 {
            ratios.push(notified.per_second() / verified.per_second());
            verify.add(&verified);
            notify.add(&notified);
        }
    }

    let mut report = Report::new("notify", &server.endpoint);
    args.rounds.describe(&mut report, slot_time);
    report.setting("message bytes", message.len());
    report.rate("verify", &verify);
    report.rate("notify", &notify);
    let what = "durable notify ÷ signature only, requests per second";
    report.ratio_of_rounds(what, ratios, Goal::AtLeast(0.5));
    Ok(report)
}

/// One session at a time, and a fresh one before the queue of the last is full: a full queue refuses.
struct Target {
    places: Vec<Place>,
    paths: Vec<String>,
    posted: Cell<usize>,
}

impl Target {
    /// Half of what a session's queue may hold by default.
    const POSTS_PER_SESSION: usize = 50_000;

    /// More than any server does on the machine of its load generator.
    const POSTS_PER_SECOND: f64 = 200_000.0;

    /// Prepares as many sessions as can be needed in a slot, so that none has to be created while it lasts.
    async fn create(connection: &mut Connection, slot_time: Duration) -> anyhow::Result<Self> {
        let posts = Self::POSTS_PER_SECOND * slot_time.as_secs_f64();
        let sessions = posts as usize / Self::POSTS_PER_SESSION + 1;
        let places: Vec<Place> = (0..sessions).map(|_| Place::fresh()).collect();
        for place in &places {
            place.create(connection).await?;
        }
        Ok(Self {
            paths: places.iter().map(Place::notify_path).collect(),
            places,
            posted: Cell::new(0),
        })
    }

    /// Where the next message goes.
    fn next(&self) -> &str {
        let posted = self.posted.replace(self.posted.get() + 1);
        let last = self.paths.len() - 1;
        &self.paths[last.min(posted / Self::POSTS_PER_SESSION)]
    }

    async fn destroy(self, connection: &mut Connection) -> anyhow::Result<()> {
        for place in &self.places {
            place.destroy(connection).await?;
        }
        Ok(())
    }
}

impl Rounds {
    /// How long each of `kinds` is measured in a round; the first round is not counted.
    pub(super) fn slot_time(&self, kinds: u32) -> Duration {
        Duration::from_secs_f64(self.duration) / (u32::from(self.rounds) * kinds)
    }

    pub(super) fn describe(&self, report: &mut Report, slot_time: Duration) {
        report.setting("connections", self.connections);
        report.setting("rounds", self.rounds);
        report.setting("ms per slot", slot_time.as_millis() as u64);
    }
}
