//! The actors through the facade, on a store in memory.

mod fifo;
mod lifecycle;
mod limits;
mod redrive;
mod session;
mod standard;
mod view;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::double::{Memory, shared};
use super::messages::{ChangeVisibility, Delete, Outgoing, Receive, Received, Send, Sent};
use super::{Queues, QueuesConfig, Sealers};
use crate::domain::ids::unique_id;
use crate::domain::message::NewMessage;
use crate::domain::queue::{QueueAttributes, QueueRecord, Transport};
use crate::domain::{Clock, QueueError, QueueName};
use crate::observe::traces::Traces;

const LONG: Duration = Duration::from_secs(20);

/// Queues on a store that tests can look into.
pub(super) struct Bench {
    pub(super) store: Arc<Memory>,
    pub(super) queues: Queues,
}

fn config() -> QueuesConfig {
    QueuesConfig {
        region: "us-east-1".into(),
        account: "000000000000".into(),
        idle_after: Duration::from_secs(30),
        mailbox: 64,
        max_messages: 1000,
        max_in_flight: 100,
        max_waiting: 10,
        cached_body_bytes: 1 << 20,
    }
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(config())
    }

    fn with(config: QueuesConfig) -> Self {
        Self::of_sessions(config, Arc::new(|_, _| Ok(None)))
    }

    fn of_sessions(config: QueuesConfig, sealers: Sealers) -> Self {
        let store = shared();
        let queues = Queues::new(
            config,
            store.clone(),
            store.clone(),
            sealers,
            Traces::new(10),
            Clock::start(),
        );
        let touched = queues.clone();
        store.on_touched(Arc::new(move |all| {
            all.iter().for_each(|one| touched.touched(one));
        }));
        Self { store, queues }
    }

    async fn queue(&self, name: &str, edit: impl FnOnce(&mut QueueAttributes)) -> QueueRecord {
        let name = QueueName::parse(name).unwrap();
        let mut attributes = QueueAttributes {
            fifo: name.is_fifo(),
            ..QueueAttributes::default()
        };
        edit(&mut attributes);
        self.queues
            .create(name, attributes, &[], std::collections::BTreeMap::new())
            .await
            .unwrap()
    }

    async fn send(&self, queue: &QueueRecord, body: &str) -> Result<Sent, QueueError> {
        self.send_one(queue, outgoing(body)).await
    }

    async fn send_one(&self, queue: &QueueRecord, entry: Outgoing) -> Result<Sent, QueueError> {
        let send = Send {
            entries: vec![entry],
        };
        self.queues.send(queue, send).await?.remove(0)
    }

    async fn receive(&self, queue: &QueueRecord) -> Vec<Received> {
        self.queues.receive(queue, short()).await.unwrap()
    }

    async fn delete(&self, queue: &QueueRecord, handle: &str) -> Result<(), QueueError> {
        let delete = Delete {
            handles: vec![handle.into()],
            via: Transport::Sqs,
        };
        self.queues.delete(queue, delete).await?.remove(0)
    }

    async fn hide(
        &self,
        queue: &QueueRecord,
        handle: &str,
        timeout: Duration,
    ) -> Result<(), QueueError> {
        let change = ChangeVisibility {
            entries: vec![(handle.into(), timeout)],
        };
        self.queues
            .change_visibility(queue, change)
            .await?
            .remove(0)
    }

    async fn counts(&self, queue: &QueueRecord) -> (u64, u64, u64) {
        let counts = self.queues.counts(queue).await.unwrap();
        (counts.visible, counts.in_flight, counts.delayed)
    }
}

fn outgoing(body: &str) -> Outgoing {
    Outgoing {
        body: Bytes::copy_from_slice(body.as_bytes()),
        delay: None,
        attributes: Arc::new([]),
        group: None,
        dedup: None,
        trace_header: None,
        sender: "me".into(),
    }
}

/// A message as the store has it, put there past the actors.
fn stored(body: &str) -> NewMessage {
    let now = Clock::start().now();
    NewMessage {
        id: unique_id(),
        body: Bytes::copy_from_slice(body.as_bytes()),
        seal: false,
        sent: now,
        expires: now.plus(LONG),
        visible_at: now,
        sender: "me".into(),
        attributes: Arc::new([]),
        group: None,
        dedup: None,
        trace_header: None,
        dead_letter_source: None,
    }
}

/// Up to ten, at once.
fn short() -> Receive {
    Receive {
        max: 10,
        wait: None,
        visibility: None,
        attempt: None,
        via: Transport::Sqs,
    }
}

fn long(wait: Duration) -> Receive {
    Receive {
        wait: Some(wait),
        ..short()
    }
}

fn bodies(received: &[Received]) -> Vec<&str> {
    received
        .iter()
        .map(|message| std::str::from_utf8(&message.body).unwrap())
        .collect()
}

async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}
