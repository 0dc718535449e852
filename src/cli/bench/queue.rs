//! `fanfare bench queue`: SQS send, receive, delete.

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::connection::Connection;
use super::load::{Slot, drive};
use super::report::{Goal, Report};
use super::sign::Call;
use super::{Progress, Rounds, Server};
use crate::cli::dial::Address;

/// Cycles of SQS SendMessage, ReceiveMessage and DeleteMessage per second, by the JSON protocol, on one queue.
///
/// With --against, another SQS server (such as moto's or a second Fanfare) is measured in turns with the first.
#[derive(clap::Args)]
pub struct QueueArgs {
    #[command(flatten)]
    rounds: Rounds,

    /// Bytes of the message
    #[arg(long, value_name = "BYTES", default_value_t = 128)]
    size: usize,

    /// Another SQS server to compare with, measured in turns
    #[arg(long, value_name = "URL", value_parser = Address::parse)]
    against: Option<Address>,
}

/// A queue and the connections to it.
struct Subject {
    connections: Vec<Connection>,
    queue: Queue,
    total: Slot,
}

/// The calls of a cycle; only the receipt handle changes.
struct Queue {
    url: String,
    send: String,
    receive: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Created {
    queue_url: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Received {
    #[serde(default)]
    messages: Vec<Message>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Message {
    receipt_handle: String,
}

pub(super) async fn run(args: &QueueArgs, server: &Server) -> anyhow::Result<Report> {
    let mut subjects = vec![Subject::prepare(args, server).await?];
    if let Some(against) = &args.against {
        let other = server.at(against.clone())?;
        subjects.push(Subject::prepare(args, &other).await?);
    }
    let slot_time = args
        .rounds
        .slot_time(if subjects.len() == 2 { 2 } else { 1 });
    let progress = Progress::steps(args.rounds.rounds + 1, "rounds");
    let mut ratios = Vec::new();
    for round in 0..=args.rounds.rounds {
        let mut rates = Vec::new();
        for subject in &mut subjects {
            let Subject {
                connections,
                queue,
                total,
            } = subject;
            let slot = drive(connections, slot_time, async |c| queue.cycle(c).await).await?;
            rates.push(slot.per_second());
            // The first round opens the connections and warms the servers.
            if round > 0 {
                total.add(&slot);
            }
        }
        progress.inc(1);
        if let ([ours, theirs], true) = (rates.as_slice(), round > 0) {
            ratios.push(ours / theirs);
        }
    }

    let mut report = Report::new("queue", &server.endpoint);
    args.rounds.describe(&mut report, slot_time);
    report.setting("message bytes", args.size);
    report.rate("send+receive+delete", &subjects[0].total);
    if let (Some(against), Some(other)) = (&args.against, subjects.get(1)) {
        report.setting("against", against.to_string());
        report.rate(format!("… at {against}"), &other.total);
        let what = "send+receive+delete, cycles per second here ÷ there";
        report.ratio_of_rounds(what, ratios, Goal::AtLeast(10.0));
    }
    for subject in &mut subjects {
        subject.remove().await?;
    }
    Ok(report)
}

impl Subject {
    async fn prepare(args: &QueueArgs, server: &Server) -> anyhow::Result<Self> {
        let mut connections = server.connections(args.rounds.connections);
        let name = format!("bench-{}", Uuid::new_v4().simple());
        let body = json!({ "QueueName": name }).to_string();
        let created = connections[0]
            .call(&Call::sqs("AmazonSQS.CreateQueue", &body))
            .await?;
        let created: Created =
            serde_json::from_slice(&created).context("CreateQueue answered no QueueUrl")?;
        Ok(Self {
            connections,
            queue: Queue::new(created.queue_url, &"x".repeat(args.size)),
            total: Slot::new(),
        })
    }

    async fn remove(&mut self) -> anyhow::Result<()> {
        let body = json!({ "QueueUrl": self.queue.url }).to_string();
        let call = Call::sqs("AmazonSQS.DeleteQueue", &body);
        self.connections[0].call(&call).await.map(drop)
    }
}

impl Queue {
    fn new(url: String, text: &str) -> Self {
        let with = |name: &str, value: Value| json!({ "QueueUrl": url, name: value }).to_string();
        Self {
            send: with("MessageBody", text.into()),
            receive: with("WaitTimeSeconds", 1.into()),
            url,
        }
    }

    async fn cycle(&self, connection: &mut Connection) -> anyhow::Result<()> {
        connection
            .call(&Call::sqs("AmazonSQS.SendMessage", &self.send))
            .await?;
        let receive = Call::sqs("AmazonSQS.ReceiveMessage", &self.receive);
        let received = connection.call(&receive).await?;
        let received: Received =
            serde_json::from_slice(&received).context("ReceiveMessage answered no messages")?;
        // Every worker has one more message sent than taken, so there is one for each that asks.
        ensure!(
            !received.messages.is_empty(),
            "a message that was sent is not received"
        );
        for message in received.messages {
            let body = json!({ "QueueUrl": self.url, "ReceiptHandle": message.receipt_handle });
            let body = body.to_string();
            connection
                .call(&Call::sqs("AmazonSQS.DeleteMessage", &body))
                .await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calls_name_their_queue() {
        let queue = Queue::new("http://h/0/q\"".into(), "te\"xt");
        assert_eq!(
            queue.send,
            r#"{"MessageBody":"te\"xt","QueueUrl":"http://h/0/q\""}"#
        );
        assert_eq!(
            queue.receive,
            r#"{"QueueUrl":"http://h/0/q\"","WaitTimeSeconds":1}"#
        );
    }
}
