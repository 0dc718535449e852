//! One publication on its way to many connections, and what a connection is to the topic actors.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::attached::WillFate;
use super::inbox::QueueReceipt;
use super::remote::Confirmation;
use super::ticks::Tick;
use crate::domain::Timestamp;
use crate::domain::publication::{Ordinal, Publication, QoS};

/// Wire formats that may be shared between the connections of one publication: MQTT 3.1.1 and 5.
pub const FORMATS: usize = 2;

/// A publication with what it looks like on the wire, made once for all that get it.
#[derive(Debug)]
pub struct Fan {
    /// What was published.
    pub publication: Arc<Publication>,
    /// When it became its topic's retained message, if it did.
    pub(super) retained: Option<Tick>,
    frames: [OnceLock<Bytes>; FORMATS],
}

impl Fan {
    /// Nothing is encoded yet.
    pub fn new(publication: Arc<Publication>) -> Arc<Self> {
        Self::of(publication, None)
    }

    pub(super) fn of(publication: Arc<Publication>, retained: Option<Tick>) -> Arc<Self> {
        Arc::new(Self {
            publication,
            retained,
            frames: Default::default(),
        })
    }

    /// The publication as a whole packet of quality of service 0 without flags, in one of the [`FORMATS`]; `encode`
    /// makes it the first time.
    pub fn frame(&self, format: usize, encode: impl FnOnce(&Publication) -> Bytes) -> &Bytes {
        self.frames[format].get_or_init(|| encode(&self.publication))
    }
}

/// A publication for one connection.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// What.
    pub fan: Arc<Fan>,
    /// The lesser of what was published and what was subscribed to.
    pub qos: QoS,
    /// The retain flag that the client shall see.
    pub retain: bool,
    /// Subscription Identifiers of the subscriptions that matched.
    pub ids: Rc<[u32]>,
    /// Its place in the queue of a durable session; `None` if it is in memory only.
    pub ordinal: Option<Ordinal>,
    /// What wants to know that it has arrived.
    pub receipt: Option<Rc<Receipt>>,
}

/// Who waits for a client's acknowledgement.
#[derive(Debug)]
pub enum Receipt {
    /// The session's queue that the message is from.
    Queue(Box<QueueReceipt>),
    /// Whoever sent it to this client alone.
    Direct(Confirmation),
}

impl Receipt {
    /// The client has acknowledged the message.
    pub fn arrived(&self) {
        match self {
            Self::Queue(receipt) => receipt.arrived(),
            Self::Direct(confirmation) => confirmation.arrived(),
        }
    }
}

/// What a connection can tell of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// The other side's address.
    pub peer: Option<SocketAddr>,
    /// The address of this side that the client connected to.
    pub local: Option<SocketAddr>,
    /// Keep Alive as the client asked for it, in seconds.
    pub keep_alive_s: u16,
    /// Since when it is connected.
    pub since: Timestamp,
}

/// Why the topic plane ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// Another connection has the client id now.
    TakenOver,
    /// Somebody who may do that asked for it over HTTP.
    Administrative(WillFate),
}

/// A connection, as the shard of its worker sees it. Nothing here waits; a link that can not take any more closes
/// itself.
pub trait Link {
    /// A publication for this client. With an ordinal, it is the newest in the durable session's queue.
    fn deliver(&self, delivery: &Delivery);

    /// Publications that the client asked for at once: none may be dropped, and what comes live goes after them.
    fn replay(&self, deliveries: Vec<Delivery>) {
        deliveries
            .iter()
            .for_each(|delivery| self.deliver(delivery));
    }

    /// The connection ends: the link says so to the client, and detaches before it returns.
    fn close(&self, why: Closing);

    /// What the connection can tell of itself; `None` if it is over.
    fn about(&self) -> Option<About>;
}
