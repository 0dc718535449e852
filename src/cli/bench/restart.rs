//! `fanfare bench restart`: how soon a server with many stored messages serves again after a kill.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::connection::Connection;
use super::load::{Latencies, share};
use super::report::{Goal, Report};
use super::sign::Call;
use super::{Progress, Server};
use crate::cli::dial::Address;

/// How long a server takes from its start to its first durable answer when many messages are stored.
///
/// Starts a server of its own on --dir, which must be empty or absent, and fills it: half of the messages go to one
/// queue, the rest to many. Then the server is killed (SIGKILL) and started again, round after round. Measured are
/// the time from the start of the process to the answer of a SendMessage to a queue that is nearly empty, and the time
/// of the first ReceiveMessage from the long queue, which is read from disk for it. After each start the long queue must
/// say that it has every message. The folder is left as it is. --endpoint is not used.
#[derive(clap::Args)]
pub struct RestartArgs {
    /// An empty or absent folder for the server's data
    #[arg(long)]
    dir: PathBuf,

    /// Messages to store; half of them in one queue
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(20..=2_000_000))]
    messages: u64,

    /// Queues that share the other half
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    queues: u64,

    /// Restarts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,

    /// Connections that store the messages
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,

    /// Bytes of a message
    #[arg(long, value_name = "BYTES", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    size: u32,
}

/// Messages of one `SendMessageBatch`.
const BATCH: u64 = 10;

/// "Ready within seconds", in milliseconds.
const GOAL_MS: f64 = 10_000.0;

/// A server of this benchmark's own; killed when dropped.
struct Own {
    process: Child,
    server: Server,
}

pub(super) async fn run(args: &RestartArgs, server: &Server) -> anyhow::Result<Report> {
    ensure_empty(&args.dir)?;
    let mut own = Own::start(&args.dir, server)?;
    let long = fill(args, &own.server).await?;
    let (mut ready, mut first) = (Latencies::new(), Latencies::new());
    let mut connection = own.server.connection();
    let mut expect = count(&mut connection, &long).await?;
    let progress = Progress::steps(args.rounds, "restarts");
    for round in 0..args.rounds {
        drop(own);
        let started = Instant::now();
        own = Own::start(&args.dir, server)?;
        let mut connection = own.server.connection();
        send(&mut connection, &queue_name(0), 1, args.size).await?;
        ready.record(started.elapsed());
        let asked = Instant::now();
        expect -= receive(&mut connection, &long).await?;
        first.record(asked.elapsed());
        let found = count(&mut connection, &long).await?;
        ensure!(
            found == expect,
            "round {round}: {found} of {expect} messages are there"
        );
        progress.inc(1);
    }
    let mut report = Report::new("restart", &own.server.endpoint);
    report.setting("messages", args.messages);
    report.setting("in one queue", args.messages / 2);
    report.setting("queues", args.queues);
    report.setting("message bytes", args.size);
    report.setting("dir", args.dir.display().to_string());
    report.latencies("process started → durable SendMessage answered", &ready);
    report.latencies("first ReceiveMessage of the long queue", &first);
    let what = "milliseconds from the start of the process to its first durable answer, slowest";
    report.ratio(what, ready.max_ms(), Goal::AtMost(GOAL_MS));
    Ok(report)
}

/// Stores the messages; the name of the queue that has half of them.
async fn fill(args: &RestartArgs, server: &Server) -> anyhow::Result<String> {
    let mut connections = server.connections(args.connections);
    let long = "bench-restart-long".to_owned();
    create(&mut connections[0], &long).await?;
    let progress = Progress::items(args.queues, "queues created");
    share(&mut connections, args.queues, async |connection, number| {
        create(connection, &queue_name(number)).await?;
        progress.inc(1);
        Ok(())
    })
    .await?;
    let batches = args.messages.div_ceil(BATCH);
    let progress = Progress::items(batches * BATCH, "messages stored");
    share(&mut connections, batches, async |connection, number| {
        let queue = match number % 2 {
            0 => long.clone(),
            _ => queue_name(number / 2 % args.queues),
        };
        send(connection, &queue, BATCH, args.size).await?;
        progress.inc(BATCH);
        Ok(())
    })
    .await?;
    Ok(long)
}

fn queue_name(number: u64) -> String {
    format!("bench-restart-{number}")
}

/// What requests call a queue; the server looks at the path's last segment.
fn url(queue: &str) -> String {
    format!("http://localhost/000000000000/{queue}")
}

async fn call(
    connection: &mut Connection,
    target: &'static str,
    body: &Value,
) -> anyhow::Result<Value> {
    let answer = connection
        .call(&Call::sqs(target, &body.to_string()))
        .await?;
    serde_json::from_slice(&answer).with_context(|| format!("{target} answered no JSON"))
}

async fn create(connection: &mut Connection, queue: &str) -> anyhow::Result<()> {
    let body = json!({ "QueueName": queue });
    call(connection, "AmazonSQS.CreateQueue", &body)
        .await
        .map(drop)
}

/// Stores so many messages with one call.
async fn send(
    connection: &mut Connection,
    queue: &str,
    messages: u64,
    bytes: u32,
) -> anyhow::Result<()> {
    let text = "x".repeat(bytes as usize);
    let entry = |id: u64| json!({ "Id": id.to_string(), "MessageBody": text });
    let entries: Vec<Value> = (0..messages).map(entry).collect();
    let body = json!({ "QueueUrl": url(queue), "Entries": entries });
    let answer = call(connection, "AmazonSQS.SendMessageBatch", &body).await?;
    let failed = answer["Failed"].as_array().map_or(0, Vec::len);
    ensure!(failed == 0, "{queue} refused: {}", answer["Failed"]);
    Ok(())
}

/// Receives and deletes at most ten messages; how many there were.
async fn receive(connection: &mut Connection, queue: &str) -> anyhow::Result<u64> {
    let body = json!({ "QueueUrl": url(queue), "MaxNumberOfMessages": BATCH });
    let answer = call(connection, "AmazonSQS.ReceiveMessage", &body).await?;
    let messages = answer["Messages"].as_array().cloned().unwrap_or_default();
    ensure!(!messages.is_empty(), "{queue} has no message");
    for message in &messages {
        let body = json!({ "QueueUrl": url(queue), "ReceiptHandle": message["ReceiptHandle"] });
        call(connection, "AmazonSQS.DeleteMessage", &body).await?;
    }
    Ok(messages.len() as u64)
}

/// How many messages the queue says that it has.
async fn count(connection: &mut Connection, queue: &str) -> anyhow::Result<u64> {
    const COUNT: &str = "ApproximateNumberOfMessages";
    let body = json!({ "QueueUrl": url(queue), "AttributeNames": [COUNT] });
    let answer = call(connection, "AmazonSQS.GetQueueAttributes", &body).await?;
    let text = answer["Attributes"][COUNT].as_str();
    text.and_then(|text| text.parse().ok())
        .with_context(|| format!("{queue} does not say how many messages it has: {answer}"))
}

/// The benchmark fills the folder: it must not be anybody's data.
fn ensure_empty(dir: &Path) -> anyhow::Result<()> {
    let empty = match std::fs::read_dir(dir) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
        Err(error) => return Err(error).with_context(|| dir.display().to_string()),
    };
    ensure!(empty, "{} is not empty", dir.display());
    Ok(())
}

impl Own {
    /// Starts a server and waits until it listens.
    fn start(dir: &Path, like: &Server) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("finding this program")?;
        let mut process = Command::new(program)
            .arg("serve")
            .env("FANFARE_HTTP_LISTEN", "127.0.0.1:0")
            .env("FANFARE_MQTT_LISTEN", "127.0.0.1:0")
            .env("FANFARE_STORE_DIR", dir)
            .env("FANFARE_OPERATOR_ACCESS_KEY", &like.keys.access_key)
            .env("FANFARE_OPERATOR_SECRET_KEY", &like.keys.secret_key)
            .env("FANFARE_REGION", &like.region)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("starting a server")?;
        let output = process.stdout.take().expect("it is piped");
        let mut lines = BufReader::new(output).lines().map_while(Result::ok);
        let address = lines.find_map(|line| Some(line.strip_prefix("listening http ")?.to_owned()));
        // From here on it is killed on the way out.
        let mut own = Self {
            process,
            server: like.clone(),
        };
        let address = address.with_context(|| format!("no server starts on {}", dir.display()))?;
        let address = Address::parse(&format!("http://{address}"))?;
        own.server = like.at(address)?;
        // Read on, so that whatever the server prints later does not end it.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(own)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_empty_folder_is_filled() {
        let dir = tempfile::tempdir().unwrap();
        assert!(ensure_empty(dir.path()).is_ok());
        assert!(ensure_empty(&dir.path().join("none")).is_ok());
        std::fs::write(dir.path().join("something"), "").unwrap();
        assert!(ensure_empty(dir.path()).is_err());
    }
}
