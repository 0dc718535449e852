//! A session's topic: a second way to read the session's queue. Messages come in as publications of quality of service
//! 1; PUBACK deletes them, and what is not acknowledged when the connection ends is visible again for the next reader,
//! whichever way that one reads.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;
use tokio::sync::Notify;

use super::fan::{Delivery, Fan, Link, Receipt};
use crate::actors::queue::Queues;
use crate::actors::queue::messages::{ChangeVisibility, Delete, Receive, Received};
use crate::config::limits;
use crate::domain::publication::{Publication, QoS};
use crate::domain::queue::{QueueRecord, Transport};
use crate::domain::topic::TopicName;
use crate::domain::{QueueError, QueueName};

/// What the names of session topics start with; the rest is the name of the session's queue.
const PREFIX: &str = "sessions/";

/// The queue that a filter or name asks for, if it is a session's topic.
pub(super) fn queue_of(topic: &str) -> Option<QueueName> {
    QueueName::parse(topic.strip_prefix(PREFIX)?).ok()
}

/// Whether a topic is, or could be, a session's: nobody publishes there but the session's queue.
pub(super) fn is_session_topic(topic: &str) -> bool {
    topic.starts_with(PREFIX)
}

/// How long a message stays invisible without a sign of life: as soon as this after a crash it is delivered again.
const VISIBILITY: Duration = Duration::from_secs(60);

/// How often the time of those not yet acknowledged is prolonged.
const PROLONG: Duration = Duration::from_secs(20);

/// How long to wait after an error before the queue is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// A reader of a session's queue. It ends when it is dropped.
pub(super) struct Inbox {
    shared: Rc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

struct Shared {
    queues: Queues,
    queue: QueueRecord,
    /// Handles of messages that are with the client.
    out: RefCell<Vec<String>>,
    /// There is room for more.
    room: Notify,
}

/// One message that is with the client. When it is dropped without having arrived, it is visible in its queue again.
pub struct QueueReceipt {
    shared: Weak<Shared>,
    queues: Queues,
    queue: QueueRecord,
    handle: String,
    arrived: Cell<bool>,
}

impl std::fmt::Debug for QueueReceipt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueueReceipt")
            .field("arrived", &self.arrived)
            .finish_non_exhaustive()
    }
}

impl Inbox {
    /// Reads the queue for a link until it is dropped.
    pub(super) fn start(
        queues: Queues,
        queue: QueueRecord,
        topic: ByteString,
        qos: QoS,
        id: Option<u32>,
        link: Rc<dyn Link>,
    ) -> Self {
        let shared = Rc::new(Shared {
            queues,
            queue,
            out: RefCell::default(),
            room: Notify::new(),
        });
        let reader = Reader {
            shared: shared.clone(),
            topic: TopicName::parse(topic).expect("a session's topic is a valid name"),
            qos: qos.min(QoS::AtLeastOnce),
            ids: id.into_iter().collect(),
            link,
        };
        let task = tokio::task::spawn_local(reader.read());
        Self { shared, task }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.task.abort();
        self.shared.out.borrow_mut().clear();
    }
}

struct Reader {
    shared: Rc<Shared>,
    topic: TopicName,
    qos: QoS,
    ids: Rc<[u32]>,
    link: Rc<dyn Link>,
}

impl Reader {
    async fn read(self) {
        let mut prolong = tokio::time::interval(PROLONG);
        prolong.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                received = self.next() => match received {
                    Ok(messages) => messages.into_iter().for_each(|message| self.deliver(message)),
                    // The session is gone, and its keys with it.
                    Err(QueueError::DoesNotExist) => return,
                    Err(error) => {
                        tracing::debug!(%error, "a session's topic waits for its queue");
                        tokio::time::sleep(RETRY).await;
                    }
                },
                _ = prolong.tick() => self.prolong().await,
            }
        }
    }

    /// The next messages, when there is room for them.
    async fn next(&self) -> Result<Vec<Received>, QueueError> {
        let room = loop {
            let out = self.shared.out.borrow().len();
            if out < limits::INBOX_MESSAGES {
                break limits::INBOX_MESSAGES - out;
            }
            self.shared.room.notified().await;
        };
        let receive = Receive {
            max: room.min(10),
            wait: Some(PROLONG),
            visibility: Some(VISIBILITY),
            attempt: None,
            via: Transport::Mqtt,
        };
        self.shared
            .queues
            .receive(&self.shared.queue, receive)
            .await
    }

    fn deliver(&self, message: Received) {
        let receipt = Rc::new(Receipt::Queue(Box::new(QueueReceipt {
            shared: Rc::downgrade(&self.shared),
            queues: self.shared.queues.clone(),
            queue: self.shared.queue.clone(),
            handle: message.handle.clone(),
            arrived: Cell::new(false),
        })));
        self.shared.out.borrow_mut().push(message.handle);
        let publication = Publication {
            topic: self.topic.clone(),
            payload: message.body,
            qos: self.qos,
            retain: false,
            properties: None,
            expires: None,
            publisher: None,
        };
        self.link.deliver(&Delivery {
            fan: Fan::new(Arc::new(publication)),
            qos: self.qos,
            retain: false,
            ids: self.ids.clone(),
            ordinal: None,
            receipt: Some(receipt.clone()),
        });
        if self.qos == QoS::AtMostOnce {
            receipt.arrived();
        }
    }

    async fn prolong(&self) {
        let out = self.shared.out.borrow().clone();
        for handles in out.chunks(10) {
            let entries = handles
                .iter()
                .map(|handle| (handle.clone(), VISIBILITY))
                .collect();
            let change = ChangeVisibility { entries };
            let changed = self
                .shared
                .queues
                .change_visibility(&self.shared.queue, change);
            if let Err(error) = changed.await {
                tracing::debug!(%error, "messages of a session's topic may be delivered again");
            }
        }
    }
}

impl QueueReceipt {
    /// The client has the message: it leaves the queue.
    pub(super) fn arrived(&self) {
        if self.arrived.replace(true) {
            return;
        }
        let (queues, queue) = (self.queues.clone(), self.queue.clone());
        let delete = Delete {
            handles: vec![self.handle.clone()],
            via: Transport::Mqtt,
        };
        self.forget();
        actix::spawn(async move {
            if let Err(error) = queues.delete(&queue, delete).await {
                tracing::debug!(%error, "a message that has arrived will be delivered again");
            }
        });
    }

    /// The reader may read another.
    fn forget(&self) {
        if let Some(shared) = self.shared.upgrade() {
            shared
                .out
                .borrow_mut()
                .retain(|handle| *handle != self.handle);
            shared.room.notify_one();
        }
    }
}

impl Drop for QueueReceipt {
    fn drop(&mut self) {
        if self.arrived.get() {
            return;
        }
        self.forget();
        let (queues, queue) = (self.queues.clone(), self.queue.clone());
        let entries = vec![(std::mem::take(&mut self.handle), Duration::ZERO)];
        // Outside of an event loop there is nobody to tell: the time-out makes it visible.
        if actix::System::try_current().is_some() {
            actix::spawn(async move {
                let change = ChangeVisibility { entries };
                let _ = queues.change_visibility(&queue, change).await;
            });
        }
    }
}
