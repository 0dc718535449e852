//! The stream at Kinesis, whose records are messages: each shard is read by one node of all.
//!
//! - A shard has a lease in a table of its own ([`table`], rows in [`rows`]), which names the node that reads it and how far
//!   it was read. Nodes say every two seconds that they live; one that has been silent for six loses its leases ([`plan`]).
//! - Every node sees the same rows and takes its share of the shards. One that has too many gives some back after what it
//!   was at, so that no record is relayed twice because nodes come and go in order.
//! - A [`reader`] relays a shard's records in their order. It moves the checkpoint when their messages are where they
//!   belong: a node that is killed has others relay again what it had relayed since.
//! - A shard that was made by a split or a merge is read when those that it was made of are read to their end ([`shards`]).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinHandle, JoinSet};
use tokio::time::Instant;

use super::{Services, StreamOptions};
use crate::backends::stream::RecordIntake;
use crate::domain::ids::unique_id;
use crate::domain::{Clock, StoreError};

mod plan;
mod reader;
mod room;
mod rows;
mod shards;
mod table;

use plan::{BEAT, Plan, TENURE, Watch};
use reader::{Desk, Ended, GRACE, Reader};
use room::Room;
use rows::{Checkpoint, Lease, Rows};
use table::LeaseTable;

/// How often a node looks at the leases.
const ROUND: Duration = Duration::from_secs(2);

/// How often a node looks which shards there are, if no shard has ended.
const LISTING: Duration = Duration::from_secs(30);

/// How long the leases may take to be given back when the node ends.
const FAREWELL: Duration = Duration::from_secs(8);

/// Whether there is the stream that is configured.
///
/// # Errors
/// [`StoreError`] if Kinesis refuses or does not answer.
pub async fn exists(services: &Services, options: &StreamOptions) -> Result<bool, StoreError> {
    let listed = shards::list(services, &options.name).await?;
    Ok(listed.is_some())
}

/// Reads this node's share of the stream until it is told to end.
#[derive(Debug)]
pub struct Consumer {
    stop: watch::Sender<bool>,
    running: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

impl Consumer {
    /// Begins to read. Must be called inside an actix system.
    pub fn start(
        services: Arc<Services>,
        options: &StreamOptions,
        intake: Arc<dyn RecordIntake>,
        clock: Clock,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        // It lasts until the first beat is heard.
        let (beating, tenure) = watch::channel(Instant::now());
        let node = unique_id().to_string();
        let table = LeaseTable::new(
            services.clone(),
            options.leases_table.clone(),
            options.name.clone(),
            node.clone(),
        );
        let node = Node {
            watch: Watch::new(node),
            start: match options.from_oldest {
                true => Checkpoint::TrimHorizon,
                false => Checkpoint::AtTimestamp(clock.wall()),
            },
            desk: Desk {
                services,
                stream: options.name.clone(),
                table,
                intake,
                room: Room::new(options.held_bytes),
                tenure,
            },
            reading: HashMap::new(),
            readers: JoinSet::new(),
            listing: Instant::now(),
        };
        let running = tokio::task::spawn_local(node.run(beating, stopped));
        Self {
            stop,
            running: tokio::sync::Mutex::new(Some(running)),
        }
    }

    /// Ends: what is being relayed goes to its end, if that is near, and the leases are given back.
    pub async fn end(&self) {
        self.stop.send_replace(true);
        let Some(running) = self.running.lock().await.take() else {
            return;
        };
        if let Err(error) = running.await {
            tracing::error!(%error, "the reading of the stream had ended before");
        }
    }
}

/// A shard that is read.
struct Reading {
    /// Of its lease.
    switches: u64,
    task: Id,
    stop: watch::Sender<bool>,
}

/// This node among those that read the stream.
struct Node {
    desk: Desk,
    watch: Watch,
    /// Where shards are begun with, if no other node has said so.
    start: Checkpoint,
    reading: HashMap<String, Reading>,
    readers: JoinSet<Ended>,
    /// When it is looked next which shards there are.
    listing: Instant,
}

impl Node {
    async fn run(mut self, beating: watch::Sender<Instant>, mut stop: watch::Receiver<bool>) {
        let heart = tokio::task::spawn_local(beat(self.desk.table.clone(), beating));
        let mut tenure = self.desk.tenure.clone();
        tokio::select! {
            _ = tenure.changed() => {}
            _ = stop.wait_for(|stopped| *stopped) => {}
        }
        loop {
            let round = tokio::select! {
                round = self.round() => round,
                _ = stop.wait_for(|stopped| *stopped) => break,
            };
            if let Err(error) = round {
                tracing::warn!(%error, "the stream's leases can not be looked after at the moment");
            }
            tokio::select! {
                () = tokio::time::sleep(ROUND) => {}
                Some(ended) = self.readers.join_next_with_id() => self.note(ended),
                _ = stop.wait_for(|stopped| *stopped) => break,
            }
        }
        if tokio::time::timeout(FAREWELL, self.leave()).await.is_err() {
            tracing::warn!(
                "some of the stream's leases are not given back: others wait until they end"
            );
        }
        heart.abort();
    }

    /// Looks at the leases once, and does what follows.
    async fn round(&mut self) -> Result<(), StoreError> {
        while let Some(ended) = self.readers.try_join_next_with_id() {
            self.note(ended);
        }
        let mut rows = self.desk.table.rows().await?;
        if self.listing <= Instant::now() || rows.leases.is_empty() {
            self.list(&rows).await?;
            self.listing = Instant::now() + LISTING;
            rows = self.desk.table.rows().await?;
        }
        let now = Instant::now();
        self.watch.observe(&rows.nodes, now);
        let running = self.reading.iter();
        let running = running
            .map(|(shard, reading)| (shard.clone(), reading.switches))
            .collect();
        let plan = self.watch.plan(&rows.leases, &running, now);
        self.follow(plan).await
    }

    async fn follow(&mut self, plan: Plan) -> Result<(), StoreError> {
        let Plan {
            take,
            stop,
            give,
            bury,
        } = plan;
        for shard in stop.iter().chain(give.iter().map(|lease| &lease.shard)) {
            if let Some(reading) = self.reading.get(shard) {
                reading.stop.send_replace(true);
            }
        }
        // Those that are read are given back by their readers.
        for lease in give {
            if !self.reading.contains_key(&lease.shard) {
                self.desk.table.give_back(&lease).await?;
            }
        }
        for lease in take {
            // Who can not say that it lives must not take what it would lose at once.
            if *self.desk.tenure.borrow() <= Instant::now() {
                break;
            }
            if let Some(lease) = self.desk.table.take(&lease).await? {
                self.read(lease);
            }
        }
        for (node, counter) in bury {
            self.desk.table.remove_node(&node, Some(counter)).await?;
        }
        Ok(())
    }

    /// Brings the leases in line with the shards that there are.
    async fn list(&mut self, rows: &Rows) -> Result<(), StoreError> {
        let table = &self.desk.table;
        let listed = shards::list(&self.desk.services, &self.desk.stream).await?;
        let Some(listed) = listed else {
            let text = format!("there is no stream {}", self.desk.stream);
            return Err(StoreError::Unavailable(text));
        };
        let start = match &rows.start {
            Some(start) => start.clone(),
            None => {
                table.begin(&self.start).await?;
                let start = table.rows().await?.start;
                start.unwrap_or_else(|| self.start.clone())
            }
        };
        for shard in shards::missing(&listed, &rows.leases) {
            table.add(shard, &start).await?;
        }
        for lease in shards::gone(&listed, &rows.leases) {
            if lease.checkpoint != Checkpoint::ShardEnd {
                let shard = &lease.shard;
                tracing::error!(
                    shard,
                    "a shard left the stream before it was read to its end"
                );
            }
            table.remove(&lease.shard).await?;
        }
        Ok(())
    }

    fn read(&mut self, lease: Lease) {
        let (shard, switches) = (lease.shard.clone(), lease.switches);
        let from = lease.checkpoint.text();
        tracing::info!(shard, from, "a shard is read here");
        let (stop, stopped) = watch::channel(false);
        let reader = Reader::new(self.desk.clone(), lease, stopped);
        let task = self.readers.spawn_local(reader.run()).id();
        let reading = Reading {
            switches,
            task,
            stop,
        };
        self.reading.insert(shard, reading);
        self.show_leases();
    }

    /// Notes that a shard is read no more.
    fn note(&mut self, ended: Result<(Id, Ended), JoinError>) {
        let task = match ended {
            Ok((task, ended)) => {
                if ended == Ended::Finished {
                    // There may be shards that were made of it.
                    self.listing = Instant::now();
                }
                task
            }
            Err(error) => {
                tracing::error!(%error, "the reader of a shard panicked");
                error.id()
            }
        };
        self.reading.retain(|_, reading| reading.task != task);
        self.show_leases();
    }

    /// Gives everything back.
    async fn leave(&mut self) {
        for reading in self.reading.values() {
            reading.stop.send_replace(true);
        }
        while let Some(ended) = self.readers.join_next_with_id().await {
            self.note(ended);
        }
        let table = &self.desk.table;
        if let Err(error) = table.remove_node(&table.node, None).await {
            tracing::warn!(%error, "others wait for this node until they have not heard of it for a while");
        }
    }

    fn show_leases(&self) {
        metrics::gauge!("fanfare_stream_leases").set(self.reading.len() as f64);
    }
}

const _: () = assert!(
    GRACE.as_secs() < FAREWELL.as_secs(),
    "records that are waited for leave time to give their lease back"
);

/// Says that this node lives, and until when it may count on that.
async fn beat(table: LeaseTable, tenure: watch::Sender<Instant>) {
    loop {
        let begun = Instant::now();
        match tokio::time::timeout(BEAT, table.beat()).await {
            Ok(Ok(())) => {
                tenure.send_replace(begun + TENURE);
            }
            Ok(Err(error)) => tracing::warn!(%error, "this node can not say that it lives"),
            Err(_) => {
                tracing::warn!("this node can not say that it lives: DynamoDB does not answer")
            }
        }
        tokio::time::sleep_until(begun + BEAT).await;
    }
}
