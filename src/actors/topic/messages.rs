//! What the topic actors of different workers tell each other.

use std::sync::Arc;

use actix::Message;
use tokio::sync::oneshot;

use super::fan::{About, Closing, Fan};
use super::shard::Key;
use crate::domain::policy::Decision;
use crate::domain::publication::{Ordinal, Publication, QoS, Subscription};

/// Publications for whoever on this worker subscribes to their topics, in order.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct FanOut(pub(super) Vec<Arc<Fan>>);

/// A publication for one connection of this worker.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Hand {
    pub(super) to: Key,
    pub(super) fan: Arc<Fan>,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) ids: Vec<u32>,
    pub(super) ordinal: Option<Ordinal>,
}

/// A connection of this worker is to end; answered when it is detached.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct End {
    pub(super) which: Key,
    pub(super) why: Closing,
}

/// What a connection of this worker can tell of itself; answered with nothing if it is gone.
#[derive(Debug, Message)]
#[rtype(result = "Option<About>")]
pub(super) struct Ask(pub(super) Key);

/// What a connection of this worker subscribes to; answered with nothing if it is gone.
#[derive(Debug, Message)]
#[rtype(result = "Option<Vec<Subscription>>")]
pub(super) struct ListSubscriptions(pub(super) Key);

/// A message for one connection of this worker, whether it subscribes to the topic or not. Answered with what its policy
/// says about receiving it; nothing if it is gone.
#[derive(Debug, Message)]
#[rtype(result = "Option<Decision>")]
pub(super) struct Deliver {
    pub(super) to: Key,
    pub(super) publication: Arc<Publication>,
    /// Told when the client has acknowledged it.
    pub(super) confirm: Option<oneshot::Sender<()>>,
}
