//! `fanfare bench wake`: how soon a waiting long poll has its message, beside what the disk needs.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::connection::Connection;
use super::load::Latencies;
use super::report::{Goal, Report};
use super::sessions::{Place, message, reached_one};
use super::sign::Call;
use super::{Progress, Server};
use crate::cli::disk::Disk;

/// How long a message takes to a client that waits for it, beside one fdatasync on the same file system.
///
/// A client waits in a long poll with its session keys; 20 ms later a message is posted to it. Measured is the
/// time from just before the post is sent, signed already, until the client has the message in its hands; the message is
/// on disk by then. In turns with that, 1 KiB is appended to a file and fdatasynced: after 20 ms, when disk and processors
/// have rested as long as before the post, which is what the goal is about; and at once, when they are awake. Run it on
/// the server's machine, with --dir on the file system of its data directory.
#[derive(clap::Args)]
pub struct WakeArgs {
    /// Messages
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,

    /// A folder on the file system of the server's data directory; a file is written there and removed
    #[arg(long, default_value = "./data")]
    dir: PathBuf,

    /// Bytes of the message
    #[arg(long, value_name = "BYTES", default_value_t = 128)]
    size: usize,
}

/// So much later than the poll the message is posted: the poll waits by then.
const HEAD_START: Duration = Duration::from_millis(20);

/// Measured times of one message.
struct Wake {
    /// From just before the post until the client has it.
    from_post: Duration,
    /// From the post's answer until the client has it; zero if the client was first.
    from_answer: Duration,
}

pub(super) async fn run(args: &WakeArgs, server: &Server) -> anyhow::Result<Report> {
    let mut disk = Disk::open(&args.dir).context("name another folder with --dir")?;
    let mut backend = server.connection();
    let place = Place::fresh();
    let session = place.create(&mut backend).await?;
    let queue = session.sqs_url.clone();
    let mut client = Connection::new(&server.endpoint, &session.keys(), &server.region);
    let (path, message) = (place.notify_path(), message(args.size));
    // Opens the connections and loads the session.
    wake(&mut client, &mut backend, &queue, &path, &message).await?;

    let mut syncs = Latencies::new();
    let mut rested = Latencies::new();
    let (mut from_post, mut from_answer) = (Latencies::new(), Latencies::new());
    let progress = Progress::steps(args.rounds, "messages");
    for _ in 0..args.rounds {
        let woken = wake(&mut client, &mut backend, &queue, &path, &message).await?;
        from_post.record(woken.from_post);
        from_answer.record(woken.from_answer);
        syncs.record(disk.sync()?);
        tokio::time::sleep(HEAD_START).await;
        rested.record(disk.sync()?);
        progress.inc(1);
    }
    place.destroy(&mut backend).await?;

    let mut report = Report::new("wake", &server.endpoint);
    report.setting("dir", args.dir.display().to_string());
    report.setting("message bytes", message.len());
    report.latencies("post sent → client has it", &from_post);
    report.latencies("post answered → client has it", &from_answer);
    report.latencies("append 1 KiB + fdatasync", &syncs);
    report.latencies("the same after 20 ms of rest", &rested);
    let p99 = from_post.ms_at(0.99);
    let what = "p99 from post to client ÷ p99 of one fdatasync after the same rest";
    report.ratio(what, p99 / rested.ms_at(0.99), Goal::AtMost(3.0));
    let what = "p99 from post to client ÷ p99 of one fdatasync without a rest";
    report.ratio(what, p99 / syncs.ms_at(0.99), None);
    let what = "p99 from post to client ÷ median of one fdatasync without a rest";
    report.ratio(what, p99 / syncs.ms_at(0.5), None);
    Ok(report)
}

/// Lets the client wait, posts a message, takes it.
async fn wake(
    client: &mut Connection,
    backend: &mut Connection,
    queue: &str,
    path: &str,
    message: &str,
) -> anyhow::Result<Wake> {
    let receive = json!({ "QueueUrl": queue, "WaitTimeSeconds": 20 }).to_string();
    let receive = Call::sqs("AmazonSQS.ReceiveMessage", &receive);
    let wait = async {
        let received = client.call(&receive).await?;
        anyhow::Ok((Instant::now(), received))
    };
    let post = async {
        let call = Call::rest(path, message);
        tokio::time::sleep(HEAD_START).await;
        // What the client needs for its signature is not the server's time.
        let request = backend.signed(&call)?;
        let sent = Instant::now();
        let answer = backend.send(&call, request).await?;
        let answered = Instant::now();
        reached_one(path, &answer)?;
        anyhow::Ok((sent, answered))
    };
    let ((woken, received), (sent, answered)) = tokio::try_join!(wait, post)?;
    let received: Value =
        serde_json::from_slice(&received).context("ReceiveMessage answered no JSON")?;
    let messages = received["Messages"].as_array().map_or(0, Vec::len);
    ensure!(
        messages == 1,
        "the long poll brought {messages} messages instead of one"
    );
    let handle = &received["Messages"][0]["ReceiptHandle"];
    let delete = json!({ "QueueUrl": queue, "ReceiptHandle": handle }).to_string();
    client
        .call(&Call::sqs("AmazonSQS.DeleteMessage", &delete))
        .await?;
    Ok(Wake {
        from_post: woken - sent,
        from_answer: woken.saturating_duration_since(answered),
    })
}
