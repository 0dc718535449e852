//! Writes history: rows of many messages together, up to 25 in a call.
//!
//! While a call is under way, rows gather for the next, so that a busy node makes few calls and a quiet one does not
//! wait. What a call leaves unprocessed goes again after a pause. Rows that wait are bounded in bytes, and in time by the
//! patience of whoever waits for them. Nothing here touches SQS: a slow table delays no delivery.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::types::{PutRequest, WriteRequest};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use super::Services;
use super::items::{Item, number, text};
use super::outbox::{Held, Hold};
use super::service::{self, Pauses, persist};
use super::sessions::is_conditional;
use crate::config::limits;
use crate::domain::history::NewEntry;
use crate::domain::{MessageId, StoreError, Timestamp, UserId};

/// Calls at a time; more rows wait.
const PARALLEL_CALLS: usize = 16;

/// How long a row waits for others to go with it. What it is kept beside takes two calls, one after the other, so nobody
/// is answered later for it.
const LINGER: Duration = Duration::from_millis(8);

/// The same after a call of several rows: then more are on their way, and a row waits until somebody has nothing else to
/// wait for ([`Keeping::hurry`]), but never longer than this.
const LONG_LINGER: Duration = Duration::from_millis(250);

/// Takes rows for history.
#[derive(Clone)]
pub struct Writer {
    services: Arc<Services>,
    rows: mpsc::UnboundedSender<Row>,
    hold: Arc<Hold>,
    hurried: Arc<Notify>,
}

/// A row that was handed over.
#[derive(Debug)]
pub struct Keeping {
    answer: oneshot::Receiver<Result<(), StoreError>>,
    urgent: Arc<AtomicBool>,
    hurried: Arc<Notify>,
}

impl Keeping {
    /// Says that somebody waits for nothing else any more.
    pub fn hurry(&self) {
        self.urgent.store(true, Ordering::Release);
        self.hurried.notify_one();
    }

    /// Waits until it is in the table.
    ///
    /// # Errors
    /// Why DynamoDB does not take it.
    pub async fn done(self) -> Result<(), StoreError> {
        self.answer.await.unwrap_or_else(|_| Err(ending()))
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

/// A row on its way.
struct Row {
    place: (UserId, MessageId),
    item: Item,
    bytes: usize,
    done: oneshot::Sender<Result<(), StoreError>>,
    urgent: Arc<AtomicBool>,
    until: Instant,
    _held: Held,
}

impl Writer {
    /// A writer to the configured table. Runs until the last copy of it is dropped.
    pub fn start(services: Arc<Services>) -> Self {
        // Bounded by `hold`: each row has its bytes there.
        let (rows, inbox) = mpsc::unbounded_channel();
        let hold = Hold::new(services.options.hold_bytes, "history");
        let hurried = Arc::new(Notify::new());
        tokio::spawn(gather(services.clone(), inbox, hurried.clone()));
        Self {
            services,
            rows,
            hold,
            hurried,
        }
    }

    /// Hands over an entry for a user.
    ///
    /// # Errors
    /// [`StoreError::Overloaded`] if more waits than may.
    pub fn put(&self, user: UserId, entry: &NewEntry) -> Result<Keeping, StoreError> {
        // What the row has beside the text, generously.
        let bytes = entry.json.len() + entry.message_id.as_str().len() + 256;
        let held = self.hold.take(bytes)?;
        let (done, answer) = oneshot::channel();
        let urgent = Arc::new(AtomicBool::new(false));
        let row = Row {
            place: (user, entry.message_id.clone()),
            item: item(user, entry),
            bytes,
            done,
            urgent: urgent.clone(),
            until: Instant::now() + self.services.options.patience,
            _held: held,
        };
        self.rows.send(row).map_err(|_| ending())?;
        Ok(Keeping {
            answer,
            urgent,
            hurried: self.hurried.clone(),
        })
    }

    /// Writes an entry that was accepted some time ago, by itself: not over one of its id that was accepted later, and not
    /// over itself, if it has come there after all; so what was read since stays read.
    ///
    /// # Errors
    /// Why DynamoDB does not take it.
    pub async fn put_late(&self, user: UserId, entry: &NewEntry) -> Result<(), StoreError> {
        let options = &self.services.options;
        let item = item(user, entry);
        let call = self.services.db.put_item();
        let call = call
            .table_name(&options.messages_table)
            .condition_expression("attribute_not_exists(messageId) OR created < :created")
            .expression_attribute_values(":created", item["created"].clone())
            .set_item(Some(item));
        let pauses = Pauses::lasting(options.patience);
        match persist("PutItem", pauses, || call.clone().send()).await {
            Ok(_) => Ok(()),
            Err(error) if is_conditional(error.as_service_error()) => Ok(()),
            Err(error) => Err(service::trouble("PutItem", error)),
        }
    }
}

fn ending() -> StoreError {
    StoreError::Unavailable("history: this node is ending".into())
}

/// An entry as a row. `created` and `ttl` are in seconds, as the prior art has them.
fn item(user: UserId, entry: &NewEntry) -> Item {
    let micros = entry.created.micros();
    let created = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    let mut pairs = vec![
        ("userId", number(user)),
        ("messageId", text(entry.message_id.as_str())),
        ("created", number(created)),
        ("endsAt", number(entry.expires.micros())),
        ("ttl", number(entry.expires.secs())),
        ("is_read", number(0)),
        ("message", text(String::from_utf8_lossy(&entry.json))),
    ];
    if let Some(kind) = &entry.kind {
        pairs.push(("_type", text(&**kind)));
    }
    let named = |(name, value): (&str, _)| (name.to_owned(), value);
    pairs.into_iter().map(named).collect()
}

/// Gathers rows into batches: one is sent when it is full, or when no other is under way and it has waited long enough.
async fn gather(
    services: Arc<Services>,
    mut inbox: mpsc::UnboundedReceiver<Row>,
    hurried: Arc<Notify>,
) {
    let mut waiting: VecDeque<Row> = VecDeque::new();
    let mut calls = FuturesUnordered::new();
    let mut open = true;
    // When the oldest that waits has waited long enough, and how long that is.
    let (mut ripe, mut linger) = (Instant::now(), LINGER);
    while open || !waiting.is_empty() || !calls.is_empty() {
        let full = waiting.len() >= limits::aws::WRITE_BATCH;
        let room = calls.len() < PARALLEL_CALLS;
        let alone = calls.is_empty() && !waiting.is_empty();
        let urgent = |row: &Row| row.urgent.load(Ordering::Acquire);
        let is_ripe = || ripe <= Instant::now() || waiting.iter().any(urgent);
        if (full && room) || (alone && is_ripe()) {
            let batch = next_batch(&mut waiting);
            linger = if batch.len() > 1 { LONG_LINGER } else { LINGER };
            calls.push(tokio::spawn(write(services.clone(), batch)));
            ripe = Instant::now() + linger;
            continue;
        }
        tokio::select! {
            row = inbox.recv(), if open => match row {
                Some(row) => {
                    if waiting.is_empty() {
                        ripe = Instant::now() + linger;
                    }
                    waiting.push_back(row);
                    // What is there already goes together.
                    while let Ok(row) = inbox.try_recv() {
                        waiting.push_back(row);
                    }
                }
                None => open = false,
            },
            Some(_) = calls.next(), if !calls.is_empty() => {}
            () = tokio::time::sleep_until(ripe), if alone => {}
            () = hurried.notified(), if alone => {}
        }
    }
}

/// The oldest rows that may go together: no two of one place, which a call does not take and which must keep their order.
fn next_batch(waiting: &mut VecDeque<Row>) -> Vec<Row> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    let mut places = HashSet::new();
    while batch.len() < limits::aws::WRITE_BATCH
        && let Some(next) = waiting.front()
    {
        bytes += next.bytes;
        let fits = batch.is_empty() || bytes <= limits::aws::WRITE_BATCH_BYTES;
        if !fits || !places.insert(next.place.clone()) {
            break;
        }
        batch.extend(waiting.pop_front());
    }
    batch
}

/// Writes rows until all are in the table, or those who wait for them have lost patience.
async fn write(services: Arc<Services>, batch: Vec<Row>) {
    let table = &services.options.messages_table;
    let mut left: HashMap<(UserId, MessageId), Row> = HashMap::new();
    left.extend(batch.into_iter().map(|row| (row.place.clone(), row)));
    let longest = left.values().map(|row| row.until).max();
    let mut pauses = Pauses::until(longest.unwrap_or_else(Instant::now));
    loop {
        let requests: Vec<WriteRequest> = left.values().map(request).collect();
        let call = services.db.batch_write_item();
        match call.request_items(table, requests).send().await {
            Ok(answer) => {
                let unprocessed = answer.unprocessed_items.unwrap_or_default();
                let unprocessed = unprocessed
                    .get(table)
                    .map(Vec::as_slice)
                    .unwrap_or_default();
                let places: HashSet<_> = unprocessed.iter().filter_map(place_of).collect();
                let outcome = if places.is_empty() { "done" } else { "in part" };
                service::count("BatchWriteItem", outcome);
                for (_, row) in left.extract_if(|place, _| !places.contains(place)) {
                    // Nobody may wait for the answer any more.
                    let _ = row.done.send(Ok(()));
                }
            }
            Err(error) if service::is_temporary(&error) => {
                service::count("BatchWriteItem", "failed");
                tracing::debug!(?error, "history waits");
            }
            Err(error) => {
                service::count("BatchWriteItem", "refused");
                let error = service::trouble("BatchWriteItem", error);
                for (_, row) in left.drain() {
                    let _ = row.done.send(Err(error.clone()));
                }
            }
        }
        let now = Instant::now();
        for (_, row) in left.extract_if(|_, row| row.until <= now || row.done.is_closed()) {
            let text = "BatchWriteItem: DynamoDB did not take the entry in time";
            let _ = row.done.send(Err(StoreError::Unavailable(text.into())));
        }
        if left.is_empty() {
            return;
        }
        if !pauses.pause().await {
            tokio::time::sleep_until(longest.unwrap_or(now)).await;
        }
    }
}

fn request(row: &Row) -> WriteRequest {
    let put = PutRequest::builder().set_item(Some(row.item.clone()));
    let put = put.build().expect("an item is given");
    WriteRequest::builder().put_request(put).build()
}

fn place_of(request: &WriteRequest) -> Option<(UserId, MessageId)> {
    let item = &request.put_request.as_ref()?.item;
    let user = super::items::number_of(item, "userId").ok()?;
    let id = super::items::text_of(item, "messageId").ok()?;
    Some((UserId(user), MessageId::parse(id).ok()?))
}

/// Seconds with six decimals, as rows have them.
///
/// # Errors
/// [`StoreError::Corrupt`] if it is none.
pub fn created(item: &Item) -> Result<Timestamp, StoreError> {
    let digits: String = super::items::number_of(item, "created")?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((&digits, ""));
    // DynamoDB cuts zeros off the end.
    let micros = format!("{whole}{fraction:0<6}").parse();
    let micros = micros.map_err(|_| super::items::corrupt("created"))?;
    Ok(Timestamp(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(user: i64, id: &str, bytes: usize) -> Row {
        let hold = Hold::new(u64::MAX, "test");
        Row {
            place: (UserId(user), MessageId::parse(id).unwrap()),
            item: Item::new(),
            bytes,
            done: oneshot::channel().0,
            urgent: Arc::default(),
            until: Instant::now(),
            _held: hold.take(bytes).unwrap(),
        }
    }

    /// The sizes of the batches that these rows make.
    fn check(rows: Vec<Row>, expect: &[usize]) {
        let mut waiting = VecDeque::from(rows);
        let mut sizes = Vec::new();
        while !waiting.is_empty() {
            sizes.push(next_batch(&mut waiting).len());
        }
        assert_eq!(sizes, expect);
    }

    #[actix::test]
    async fn batches_are_bounded_in_rows_and_bytes_and_name_no_place_twice() {
        let many = (0..60).map(|user| row(user, "a", 1));
        check(
            many.collect(),
            &[limits::aws::WRITE_BATCH, limits::aws::WRITE_BATCH, 10],
        );
        let half = limits::aws::WRITE_BATCH_BYTES / 2;
        check(
            vec![row(1, "a", half), row(2, "a", half), row(3, "a", 1)],
            &[2, 1],
        );
        check(vec![row(1, "a", 3 * half), row(2, "a", 1)], &[1, 1]);
        check(
            vec![row(1, "a", 1), row(1, "b", 1), row(1, "a", 1)],
            &[2, 1],
        );
    }

    #[test]
    fn times_have_six_decimals_whatever_zeros_are_cut() {
        let check = |digits: &str, micros| {
            let item = Item::from([("created".to_owned(), number(digits))]);
            assert_eq!(created(&item), Ok(Timestamp(micros)), "{digits}");
        };
        check("7", 7_000_000);
        check("7.5", 7_500_000);
        check("1795281218.31204", 1_795_281_218_312_040);
        check("0.000001", 1);
    }
}
