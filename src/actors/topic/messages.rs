//! What the topic actors of different workers tell each other.

use std::sync::Arc;

use actix::Message;
use tokio::sync::oneshot;

use super::fan::{About, Closing, Fan};
use super::shard::Key;
use super::survey::{Roll, Tally};
use super::{Topics, room};
use crate::domain::policy::Decision;
use crate::domain::publication::{Ordinal, Publication, QoS, Subscription};
use crate::domain::topic::{TopicFilter, TopicName};

/// Something for connections of this worker. One kind of message, so that two of them keep their order while the mailbox
/// is full.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) enum Parcel {
    /// Publications for whoever subscribes to their topics, in order.
    FanOut(Vec<Arc<Fan>>),
    /// A publication for one connection.
    Hand(Hand),
    /// A subscription begins.
    Begin(Begin),
}

/// A publication for one connection of this worker.
#[derive(Debug)]
pub(super) struct Hand {
    pub(super) to: Key,
    pub(super) fan: Arc<Fan>,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) ids: Vec<u32>,
    pub(super) ordinal: Option<Ordinal>,
}

/// A subscription to a room begins after what the room's owner sent before: from now on its connection gets what is
/// published, after these.
#[derive(Debug)]
pub(super) struct Begin {
    pub(super) to: Key,
    pub(super) subscription: Subscription,
    pub(super) first: Vec<Arc<Fan>>,
    /// What the client is told instead if there is no room for `first`.
    pub(super) busy: Option<Arc<Fan>>,
}

/// Something happens in a room that this worker owns.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct InRoom {
    pub(super) topics: Topics,
    pub(super) room: TopicName,
    pub(super) ask: room::Ask,
}

/// What a publication takes in memory beside its topic and payload, roughly.
const OVERHEAD_BYTES: usize = 512;

impl Parcel {
    /// Without publications of which nothing was promised, and how many these were.
    pub(super) fn promised(self) -> (Option<Self>, usize) {
        match self {
            Self::FanOut(mut fans) => {
                let before = fans.len();
                fans.retain(|fan| fan.publication.qos != QoS::AtMostOnce);
                let dropped = before - fans.len();
                ((!fans.is_empty()).then_some(Self::FanOut(fans)), dropped)
            }
            Self::Hand(hand) if hand.qos == QoS::AtMostOnce => (None, 1),
            other @ (Self::Hand(_) | Self::Begin(_)) => (Some(other), 0),
        }
    }

    /// Whether it must find room: it is on disk, too, in the queue of a durable session, or a client waits for it.
    pub(super) fn must_arrive(&self) -> bool {
        match self {
            Self::FanOut(_) => false,
            Self::Hand(hand) => hand.ordinal.is_some(),
            Self::Begin(_) => true,
        }
    }

    /// The same where there is little room: whoever wants to know what it missed is told to come again.
    pub(super) fn lightened(self) -> Self {
        match self {
            Self::Begin(mut begin) => {
                begin.first = begin.busy.take().into_iter().collect();
                Self::Begin(begin)
            }
            other => other,
        }
    }

    /// Publications in it.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::FanOut(fans) => fans.len(),
            Self::Hand(_) => 1,
            Self::Begin(begin) => begin.first.len(),
        }
    }

    /// What it takes in memory, roughly.
    pub(super) fn bytes(&self) -> usize {
        let of = |fan: &Arc<Fan>| {
            let publication = &fan.publication;
            publication.topic.as_str().len() + publication.payload.len() + OVERHEAD_BYTES
        };
        match self {
            Self::FanOut(fans) => fans.iter().map(of).sum(),
            Self::Hand(hand) => of(&hand.fan),
            Self::Begin(begin) => begin.first.iter().map(of).sum(),
        }
    }
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

/// What this worker's connections subscribe to, for whoever looks after the server.
#[derive(Debug, Message)]
#[rtype(result = "Tally")]
pub(super) struct CountFilters {
    /// Only filters that begin so.
    pub(super) beginning: String,
}

/// Who of this worker's connections subscribes to a filter.
#[derive(Debug, Message)]
#[rtype(result = "Roll")]
pub(super) struct ListSubscribers {
    pub(super) filter: TopicFilter,
    /// So many of them.
    pub(super) limit: usize,
}

/// How many of this worker's connections would get what is published to a topic now.
#[derive(Debug, Message)]
#[rtype(result = "usize")]
pub(super) struct CountReached(pub(super) TopicName);

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
