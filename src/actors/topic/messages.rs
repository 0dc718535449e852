//! What the topic actors of different workers tell each other.

use std::sync::Arc;

use actix::Message;

use super::Topics;
use super::fan::{Closing, Fan};
use super::room::Ask;
use super::shard::Key;
use crate::domain::publication::{Ordinal, QoS, Subscription};
use crate::domain::topic::TopicName;

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

/// A subscription of this worker's begins after what its owner sent before: from now on its connection gets what is
/// published, after these.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Begin {
    pub(super) to: Key,
    pub(super) subscription: Subscription,
    pub(super) first: Vec<Arc<Fan>>,
}

/// Something happens in a room that this worker owns.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct InRoom {
    pub(super) topics: Topics,
    pub(super) room: TopicName,
    pub(super) ask: Ask,
}

/// A connection of this worker is to end; answered when it is detached.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct End {
    pub(super) which: Key,
    pub(super) why: Closing,
}
