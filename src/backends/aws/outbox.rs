//! What is on its way into queues at SQS.
//!
//! Each queue has an outbox of its own while something is sent to it: one call at a time, and what comes meanwhile goes
//! with the next, up to ten messages of 1 MiB together. A slow queue so delays no other, and a busy one costs few calls.
//! A message is sealed once, under a counter leased for it; sent again, it is the same text to the byte.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_sqs::operation::send_message_batch::{SendMessageBatchError, SendMessageBatchOutput};
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use bytes::Bytes;
use dashmap::DashMap;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::Instant;

use super::Services;
use super::leases::{Leased, Leases};
use super::service::{self, Pauses};
use crate::backends::Commit;
use crate::backends::broker::TopicBroker;
use crate::config::limits;
use crate::domain::publication::{Publication, QoS};
use crate::domain::session::{EnvelopeVersion, Session, Transport};
use crate::domain::topic::TopicName;
use crate::domain::{QueueName, SessionKey, StoreError};
use crate::envelope::{AesKey, Envelope, SessionCipher};

/// Calls at a time, of all outboxes together; more wait.
const PARALLEL_CALLS: usize = 64;

/// How long a call waits for others to go with it, if the last was of several. Who was answered by that one may be
/// sending again; a message to a queue where little goes on waits for nobody.
const LINGER: Duration = Duration::from_millis(8);

/// All outboxes of this node.
#[derive(Clone)]
pub struct Outboxes {
    inner: Arc<Inner>,
}

struct Inner {
    services: Arc<Services>,
    leases: Leases,
    boxes: DashMap<QueueName, Arc<Outbox>>,
    calls: Semaphore,
    /// Where sessions' topics are.
    broker: Option<Arc<dyn TopicBroker>>,
    hold: Arc<Hold>,
    /// Outboxes that are kept, counters and all, while nothing is sent.
    kept: usize,
}

/// Bytes that may wait.
#[derive(Debug)]
pub struct Hold {
    bytes: AtomicU64,
    most: u64,
    gauge: &'static str,
}

/// Bytes that wait; they do no more when this is dropped.
#[derive(Debug)]
pub struct Held {
    hold: Arc<Hold>,
    bytes: u64,
}

impl Hold {
    /// Room for so many bytes, shown under this name.
    pub fn new(most: u64, gauge: &'static str) -> Arc<Self> {
        Arc::new(Self {
            bytes: AtomicU64::new(0),
            most,
            gauge,
        })
    }

    /// Takes room for so many bytes.
    ///
    /// # Errors
    /// [`StoreError::Overloaded`] if there is none.
    pub fn take(self: &Arc<Self>, bytes: usize) -> Result<Held, StoreError> {
        let bytes = bytes as u64;
        let more = |held: u64| Some(held + bytes).filter(|held| *held <= self.most);
        let taken = self
            .bytes
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        if taken.is_err() {
            metrics::counter!("fanfare_aws_refused_total", "hold" => self.gauge).increment(1);
            return Err(StoreError::Overloaded);
        }
        metrics::gauge!("fanfare_aws_held_bytes", "hold" => self.gauge).increment(bytes as f64);
        Ok(Held {
            hold: self.clone(),
            bytes,
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.hold.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        let gauge = self.hold.gauge;
        metrics::gauge!("fanfare_aws_held_bytes", "hold" => gauge).decrement(self.bytes as f64);
    }
}

/// One queue's outbox.
struct Outbox {
    url: String,
    topic: TopicName,
    session: SessionKey,
    queue: QueueName,
    cipher: SessionCipher,
    state: Mutex<State>,
    /// Told when a full call waits.
    full: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Letter>,
    /// Whether somebody sends what waits.
    running: bool,
    /// With whoever sends, while somebody does.
    leased: Leased,
}

/// A message on its way.
struct Letter {
    transport: Transport,
    body: Bytes,
    sealed: Option<String>,
    /// Whether it was taken; `false`: there is no such queue.
    done: oneshot::Sender<Result<bool, StoreError>>,
    until: Instant,
    _held: Held,
}

impl fmt::Debug for Outboxes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outboxes").finish_non_exhaustive()
    }
}

impl Outboxes {
    /// Outboxes for the queues of the configured account.
    pub fn new(services: Arc<Services>, broker: Option<Arc<dyn TopicBroker>>) -> Self {
        Self::keeping(limits::aws::LEASED_SESSIONS, services, broker)
    }

    fn keeping(kept: usize, services: Arc<Services>, broker: Option<Arc<dyn TopicBroker>>) -> Self {
        let hold = Hold::new(services.options.hold_bytes, "sqs");
        Self {
            inner: Arc::new(Inner {
                leases: Leases::new(services.clone()),
                boxes: DashMap::new(),
                calls: Semaphore::new(PARALLEL_CALLS),
                broker,
                hold,
                services,
                kept,
            }),
        }
    }

    /// Hands over a message for a session. The answer comes when SQS has it, or the broker for whoever subscribes: `true`, or `false` if the session or its
    /// queue is no more.
    ///
    /// # Errors
    /// [`StoreError::Overloaded`], at once, if more waits than may; later, why SQS does not take it.
    pub fn send(
        &self,
        session: &Session,
        body: Bytes,
    ) -> Result<oneshot::Receiver<Result<bool, StoreError>>, StoreError> {
        let held = self.inner.hold.take(sealed_bytes(body.len()))?;
        let (done, answer) = oneshot::channel();
        let letter = Letter {
            transport: session.transport,
            body,
            sealed: None,
            done,
            until: Instant::now() + self.inner.services.options.patience,
            _held: held,
        };
        let outbox = self.outbox(session);
        let mut state = outbox.lock();
        state.waiting.push_back(letter);
        if state.waiting.len() == limits::aws::SEND_BATCH {
            outbox.full.notify_waiters();
        }
        if !std::mem::replace(&mut state.running, true) {
            let leased = std::mem::take(&mut state.leased);
            drop(state);
            let run = Run {
                inner: self.inner.clone(),
                outbox,
                leased,
                batch: Vec::new(),
            };
            tokio::spawn(run.all());
        }
        Ok(answer)
    }

    fn outbox(&self, session: &Session) -> Arc<Outbox> {
        let boxes = &self.inner.boxes;
        if let Some(known) = boxes.get(&session.queue_name) {
            return known.clone();
        }
        if boxes.len() >= self.inner.kept {
            boxes.retain(|_, outbox| outbox.lock().running);
        }
        let make = || Arc::new(Outbox::new(session));
        let entry = boxes.entry(session.queue_name.clone());
        entry.or_insert_with(make).clone()
    }
}

/// How long a text is at most when it is sealed.
pub fn sealed_bytes(length: usize) -> usize {
    (length + 16).div_ceil(3) * 4 + 24
}

impl Outbox {
    fn new(session: &Session) -> Self {
        let format = match session.envelope {
            EnvelopeVersion::V1 => Envelope::V1,
            EnvelopeVersion::V2 => Envelope::V2 {
                session_id: session.key.session.as_str().into(),
            },
        };
        Self {
            url: session.queue_url.as_deref().unwrap_or_default().to_owned(),
            topic: session.topic(),
            session: session.key.clone(),
            queue: session.queue_name.clone(),
            cipher: SessionCipher::new(&AesKey::from_bytes(session.aes_key), format),
            state: Mutex::default(),
            full: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panicked under it left a whole state: it is only pushed to and taken from.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever sends what waits for one queue. Ends when nothing waits; should it be dropped before, whoever waits learns
/// that nothing is known, and the next message starts another.
struct Run {
    inner: Arc<Inner>,
    outbox: Arc<Outbox>,
    leased: Leased,
    batch: Vec<Letter>,
}

impl Drop for Run {
    fn drop(&mut self) {
        let mut state = self.outbox.lock();
        if state.running {
            state.running = false;
            state.waiting.clear();
        }
    }
}

impl Run {
    async fn all(mut self) {
        let mut pauses = None;
        while self.fill() {
            let seal = self.seal().await;
            let sent = match seal {
                Ok(true) if self.batch[0].transport == Transport::Iot => {
                    self.publish().await;
                    continue;
                }
                Ok(true) => self.send().await,
                Ok(false) => {
                    self.settle(|| Ok(false));
                    continue;
                }
                Err(error) => {
                    self.settle(|| Err(error.clone()));
                    continue;
                }
            };
            let several = self.batch.len() > 1;
            self.take_off(sent);
            self.give_up();
            if self.batch.is_empty() {
                pauses = None;
                if several {
                    self.linger().await;
                }
                continue;
            }
            // Only as long as somebody waits: who does not is taken off above.
            let pauses = pauses.get_or_insert_with(Pauses::endless);
            pauses.pause().await;
        }
    }

    /// Waits a moment for a full call.
    async fn linger(&self) {
        let full = self.outbox.full.notified();
        if self.outbox.lock().waiting.len() < limits::aws::SEND_BATCH {
            // Whether or not it is full by then, it goes.
            let _ = tokio::time::timeout(LINGER, full).await;
        }
    }

    /// Takes what fits into one call; `false`, and the end of this, if there is nothing.
    fn fill(&mut self) -> bool {
        let mut state = self.outbox.lock();
        let size = |letter: &Letter| sealed_bytes(letter.body.len());
        let mut bytes: usize = self.batch.iter().map(size).sum();
        while self.batch.len() < limits::aws::SEND_BATCH
            && let Some(next) = state.waiting.front()
        {
            bytes += size(next);
            let is_too_much = bytes > limits::SQS_MESSAGE_BYTES;
            let goes_elsewhere = |first: &Letter| first.transport != next.transport;
            if self
                .batch
                .first()
                .is_some_and(|first| is_too_much || goes_elsewhere(first))
            {
                break;
            }
            self.batch.extend(state.waiting.pop_front());
        }
        if self.batch.is_empty() {
            state.running = false;
            state.leased = std::mem::take(&mut self.leased);
            return false;
        }
        true
    }

    /// Seals what is not sealed yet; `false` if there is no such session any more.
    async fn seal(&mut self) -> Result<bool, StoreError> {
        let Outbox {
            cipher,
            session,
            queue,
            ..
        } = &*self.outbox;
        for letter in &mut self.batch {
            if letter.sealed.is_some() {
                continue;
            }
            let blocks = cipher.blocks(letter.body.len());
            let counter = match self.leased.lease.reserve(blocks) {
                Some(counter) => counter,
                None => {
                    let pauses = Pauses::until(letter.until);
                    let leases = &self.inner.leases;
                    let more = leases.extend(&mut self.leased, session, queue, blocks, pauses);
                    if !more.await? {
                        return Ok(false);
                    }
                    let leased = self.leased.lease.reserve(blocks);
                    leased.expect("a lease has room for what it was made for")
                }
            };
            letter.sealed = Some(cipher.seal(counter, &letter.body));
        }
        Ok(true)
    }

    /// Publishes to the session's topic. Whoever waits is answered when the broker has it, or will not.
    async fn publish(&mut self) {
        let published: Vec<_> = self
            .batch
            .iter()
            .map(|letter| publish(&self.inner, &self.outbox, letter))
            .collect();
        for (letter, published) in self.batch.drain(..).zip(published) {
            let outcome = match published {
                Ok(taken) => taken.await,
                Err(error) => Err(error),
            };
            // Nobody may wait for the answer any more.
            let _ = letter.done.send(outcome.map(|()| true));
        }
    }

    async fn send(&self) -> Sent {
        let entry = |(at, letter): (usize, &Letter)| {
            SendMessageBatchRequestEntry::builder()
                .id(at.to_string())
                .message_body(letter.sealed.as_deref().unwrap_or_default())
                .build()
                .expect("id and body are given")
        };
        let entries = self.batch.iter().enumerate().map(entry).collect();
        let permit = self.inner.calls.acquire().await;
        let call = self.inner.services.sqs.send_message_batch();
        let call = call.queue_url(&self.outbox.url).set_entries(Some(entries));
        let sent = call.send().await;
        drop(permit);
        let outcome = match &sent {
            Ok(_) => "done",
            Err(error) if service::is_temporary(error) => "failed",
            Err(_) => "refused",
        };
        service::count("SendMessageBatch", outcome);
        sent
    }

    /// Answers for those that are through, one way or the other; what may succeed soon stays.
    fn take_off(&mut self, sent: Sent) {
        let failed = match sent {
            Ok(answer) => answer.failed,
            Err(error) if is_gone(&error) => return self.settle(|| Ok(false)),
            Err(error) if service::is_temporary(&error) => return,
            Err(error) => {
                let error = service::trouble("SendMessageBatch", error);
                return self.settle(|| Err(error.clone()));
            }
        };
        let batch = std::mem::take(&mut self.batch);
        for (at, letter) in batch.into_iter().enumerate() {
            let id = at.to_string();
            let answer = match failed.iter().find(|failed| failed.id == id) {
                None => Ok(true),
                Some(failed)
                    if service::is_temporary_code(&failed.code) || !failed.sender_fault =>
                {
                    service::count("SendMessageBatch", "entry failed");
                    self.batch.push(letter);
                    continue;
                }
                Some(failed) => Err(StoreError::Failed(format!(
                    "SendMessageBatch: {}",
                    failed.code
                ))),
            };
            // Nobody may wait for the answer any more.
            let _ = letter.done.send(answer);
        }
    }

    /// Lets those go whose patience has ended.
    fn give_up(&mut self) {
        let now = Instant::now();
        let over = |letter: &mut Letter| letter.until <= now || letter.done.is_closed();
        for letter in self.batch.extract_if(.., over) {
            let text = "SendMessageBatch: SQS did not take the message in time";
            let _ = letter.done.send(Err(StoreError::Unavailable(text.into())));
        }
    }

    /// The same answer for all.
    fn settle(&mut self, answer: impl Fn() -> Result<bool, StoreError>) {
        for letter in self.batch.drain(..) {
            let _ = letter.done.send(answer());
        }
    }
}

fn publish(inner: &Inner, outbox: &Outbox, letter: &Letter) -> Result<Commit<()>, StoreError> {
    let broker = inner.broker.as_ref();
    let no_topics = || StoreError::Failed("this node has no topics: see mqtt.enabled".into());
    let sealed = letter.sealed.clone().unwrap_or_default();
    broker.ok_or_else(no_topics)?.publish(Arc::new(Publication {
        topic: outbox.topic.clone(),
        payload: sealed.into(),
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: None,
        expires: None,
        publisher: None,
    }))
}

type Sent = Result<SendMessageBatchOutput, SdkError<SendMessageBatchError, HttpResponse>>;

/// Whether SQS says that there is no such queue.
pub fn is_gone<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    let code = error.as_service_error().and_then(|error| error.code());
    code.is_some_and(|code| {
        code == "QueueDoesNotExist" || code == "AWS.SimpleQueueService.NonExistentQueue"
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing;
    use crate::backends::aws::AwsOptions;

    /// Services that nobody asks.
    async fn nowhere() -> Arc<Services> {
        let nowhere = || Some("http://127.0.0.1:9".to_owned());
        Services::connect(AwsOptions {
            region: "us-east-1".into(),
            account: "000000000000".into(),
            sqs_endpoint: nowhere(),
            dynamodb_endpoint: nowhere(),
            sts_endpoint: nowhere(),
            kinesis_endpoint: nowhere(),
            cognito_endpoint: None,
            sessions_table: "s".into(),
            messages_table: "m".into(),
            session_role: String::new(),
            identities: None,
            patience: Duration::from_millis(100),
            hold_bytes: 1000,
            spill_bytes: 0,
            sweep_interval: Duration::from_secs(1),
            user_message_ttl: Duration::from_secs(1),
            stream: None,
        })
        .await
    }

    #[actix::test]
    async fn so_many_outboxes_are_kept_and_busy_ones_always() {
        let outboxes = Outboxes::keeping(3, nowhere().await, None);
        let outbox = |id: &str| outboxes.outbox(&testing::session(1, id, None));
        let busy = outbox("busy");
        busy.lock().running = true;
        for id in ["a", "b", "c", "d", "e"] {
            outbox(id);
            assert!(outboxes.inner.boxes.len() <= 3);
        }
        assert!(Arc::ptr_eq(&busy, &outbox("busy")));
        busy.lock().running = false;
    }

    #[actix::test]
    async fn what_waits_is_bounded_and_leaves_its_room_when_patience_ends() {
        let outboxes = Outboxes::new(nowhere().await, None);
        let session = testing::session(1, "s", None);
        let send = |length: usize| outboxes.send(&session, Bytes::from(vec![b'x'; length]));
        let first = send(600).unwrap();
        assert_eq!(send(600).err(), Some(StoreError::Overloaded));
        let outcome = first.await.unwrap();
        assert!(
            matches!(outcome, Err(StoreError::Unavailable(_))),
            "{outcome:?}"
        );
        assert!(send(600).is_ok());
    }

    #[test]
    fn a_sealed_text_is_never_longer_than_was_reckoned() {
        for (length, format) in [
            (0, Envelope::V1),
            (1, Envelope::V1),
            (48, Envelope::V1),
            (
                100,
                Envelope::V2 {
                    session_id: "s".into(),
                },
            ),
        ] {
            let cipher = SessionCipher::new(&AesKey::from_bytes([7; 32]), format);
            let sealed = cipher.seal(crate::envelope::MAX_COUNTER, &vec![b'x'; length]);
            assert!(sealed.len() <= sealed_bytes(length), "{length}");
        }
    }
}
