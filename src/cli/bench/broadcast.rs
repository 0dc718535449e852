//! `fanfare bench broadcast`: one message to very many sessions, beside a message to one.

use std::time::Instant;

use anyhow::ensure;

use super::load::Latencies;
use super::report::{Goal, Report};
use super::sessions::{self, Place, message, notify, notify_one};
use super::{Progress, Server};

/// Time of a broadcast to all sessions, beside that of a notification to one of them.
///
/// Both are durable when they are answered, in the queues and in history. They take turns, one after the other
/// on one connection. Sessions that earlier runs left are used again; missing ones are created.
#[derive(clap::Args)]
pub struct BroadcastArgs {
    /// Sessions that there must be at least
    #[arg(long, default_value_t = 100_000)]
    sessions: u64,

    /// Broadcasts
    #[arg(long, value_name = "N", default_value_t = 21, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,

    /// Notifications to one session before each broadcast
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    singles: u16,

    /// Connections that create the sessions
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,

    /// Bytes of the message
    #[arg(long, value_name = "BYTES", default_value_t = 128)]
    size: usize,
}

pub(super) async fn run(args: &BroadcastArgs, server: &Server) -> anyhow::Result<Report> {
    let mut connections = server.connections(args.connections);
    let message = message(args.size);
    let mut reached = notify(&mut connections[0], "/notify", &message).await?;
    if reached < args.sessions {
        let progress = Progress::items(args.sessions, "sessions created");
        sessions::create_many(&mut connections, args.sessions, &progress).await?;
        reached = notify(&mut connections[0], "/notify", &message).await?;
    }
    let wanted = args.sessions;
    ensure!(
        reached >= wanted,
        "{reached} sessions are reached instead of {wanted}"
    );

    let place = Place::fresh();
    let connection = &mut connections[0];
    place.create(connection).await?;
    let path = place.notify_path();
    let (mut singles, mut broadcasts) = (Latencies::new(), Latencies::new());
    let progress = Progress::steps(args.rounds, "rounds");
    for _ in 0..args.rounds {
        for _ in 0..args.singles {
            let started = Instant::now();
            notify_one(connection, &path, &message).await?;
            singles.record(started.elapsed());
        }
        let started = Instant::now();
        let reached = notify(connection, "/notify", &message).await?;
        broadcasts.record(started.elapsed());
        ensure!(
            reached >= wanted,
            "{reached} sessions are reached instead of {wanted}"
        );
        progress.inc(1);
    }
    place.destroy(connection).await?;

    let mut report = Report::new("broadcast", &server.endpoint);
    report.setting("sessions", reached);
    report.setting("message bytes", message.len());
    report.latencies("notify to one", &singles);
    report.latencies("broadcast", &broadcasts);
    let (one, all) = (singles.ms_at(0.5), broadcasts.ms_at(0.5));
    let what = "broadcast ÷ notify to one session, medians";
    report.ratio(what, all / one, Goal::AtMost(50.0));
    let what = "slowest broadcast ÷ median notify to one session";
    report.ratio(what, broadcasts.max_ms() / one, None);
    Ok(report)
}
