//! `fanfare bench notify`: durable messages to one session, beside requests that are only verified.

use std::time::Duration;

use anyhow::Context as _;

use super::load::{Slot, drive};
use super::report::{Goal, Report};
use super::sessions::{Place, message, notify_one};
use super::sign::Call;
use super::{Progress, Rounds, Server};

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
    connections[0].call(&verify_call).await.context(
        "there is no baseline to compare with: start the server with FANFARE_BENCH_ENABLED=true",
    )?;

    let (mut verify, mut notify) = (Slot::new(), Slot::new());
    let mut ratios = Vec::new();
    let slot_time = args.rounds.slot_time(2);
    let progress = Progress::steps(args.rounds.rounds + 1, "rounds");
    for round in 0..=args.rounds.rounds {
        // A session of its own for each round: neither its queue nor its user's history grows from round to round.
        let place = Place::fresh();
        place.create(&mut connections[0]).await?;
        let path = place.notify_path();
        let verified = drive(&mut connections, slot_time, async |connection| {
            connection.call(&verify_call).await.map(drop)
        })
        .await?;
        let notified = drive(&mut connections, slot_time, async |connection| {
            notify_one(connection, &path, &message).await
        })
        .await?;
        place.destroy(&mut connections[0]).await?;
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

impl Rounds {
    /// How long each of `kinds` is measured in a round; the first round is not counted.
    pub(super) fn slot_time(&self, kinds: u32) -> Duration {
        Duration::from_secs_f64(self.duration) / (u32::from(self.rounds) * kinds)
    }

    pub(super) fn describe(&self, report: &mut Report, slot_time: Duration) {
        report.setting("connections", self.connections);
        report.setting("rounds", self.rounds);
        report.setting("seconds per slot", slot_time.as_secs_f64());
    }
}
