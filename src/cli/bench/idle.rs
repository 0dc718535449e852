//! `fanfare bench idle`: memory of sessions that do nothing.

use std::time::Duration;

use super::machine::resident_bytes;
use super::report::{Goal, Report};
use super::{Progress, Server, sessions};

/// Resident memory of the server per idle session.
///
/// Reads the server's resident memory, creates the sessions, waits until the memory no longer changes, and reads
/// it again. Start the server on an empty data directory, on this machine.
#[derive(clap::Args)]
pub struct IdleArgs {
    /// Sessions to create
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    sessions: u64,

    /// Process id of the server
    #[arg(long)]
    pid: u32,

    /// Connections that create the sessions
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,

    /// Seconds to wait at most until the memory no longer changes
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    settle: u64,
}

/// As long as the memory stays within a hundredth, it has settled.
const STILL: Duration = Duration::from_secs(35);

pub(super) async fn run(args: &IdleArgs, server: &Server) -> anyhow::Result<Report> {
    let before = resident_bytes(args.pid)?;
    let mut connections = server.connections(args.connections);
    let progress = Progress::items(args.sessions, "sessions created");
    sessions::create_many(&mut connections, args.sessions, &progress).await?;
    drop(connections);
    let busy = resident_bytes(args.pid)?;
    progress.set_message("waiting until the memory settles");
    let after = settle(args.pid, Duration::from_secs(args.settle)).await?;

    let mut report = Report::new("idle", &server.endpoint);
    report.setting("sessions", args.sessions);
    report.setting("resident bytes before", before);
    report.setting("right after", busy);
    report.setting("settled", after);
    let per_session = (after as f64 - before as f64) / args.sessions as f64;
    let what = "resident bytes per idle session";
    report.ratio(what, per_session, Goal::AtMost(1024.0));
    Ok(report)
}

async fn settle(pid: u32, patience: Duration) -> anyhow::Result<u64> {
    const STEP: Duration = Duration::from_secs(1);
    let (mut waited, mut still) = (Duration::ZERO, Duration::ZERO);
    let mut reference = resident_bytes(pid)?;
    let mut now = reference;
    while waited < patience && still < STILL {
        tokio::time::sleep(STEP).await;
        waited += STEP;
        still += STEP;
        now = resident_bytes(pid)?;
        if now.abs_diff(reference) > reference / 100 {
            reference = now;
            still = Duration::ZERO;
        }
    }
    Ok(now)
}
