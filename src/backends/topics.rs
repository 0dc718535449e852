//! What the topic plane keeps on disk: client sessions that outlive their connection, their messages, and retained
//! messages.

use std::sync::Arc;

use super::Commit;
use super::rooms::Append;
use crate::domain::publication::{ClientNo, ClientRecord, Ordinal, Publication, QoS};
use crate::domain::room::Mark;
use crate::domain::{Seq, StoreError, Timestamp};

#[cfg(test)]
pub(crate) mod contract;

/// Durable client sessions and retained messages.
///
/// A session's queue holds the QoS 1 and 2 messages that its client has not yet acknowledged, in order of their
/// [`Ordinal`]. What `Ok` of a [`Commit`] promises is on disk.
pub trait TopicStore: Send + Sync + 'static {
    /// Every durable session, at start.
    fn clients(&self, each: &mut dyn FnMut(ClientRecord)) -> Result<(), StoreError>;

    /// Every retained message that has not expired, with the time that `retain` said, at start.
    fn retained(
        &self,
        now: Timestamp,
        each: &mut dyn FnMut(Publication, Timestamp),
    ) -> Result<(), StoreError>;

    /// Makes a session; `no` of the record is given by the store. What an earlier session of the same client id
    /// left is gone with this commit.
    fn open(&self, record: ClientRecord) -> Commit<ClientNo>;

    /// Replaces the record of an existing session; nothing happens if it is gone.
    fn save(&self, record: ClientRecord) -> Commit<()>;

    /// Removes a session; its messages leave the disk in time.
    fn close(&self, client: ClientNo) -> Commit<()>;

    /// Stores a publication, once, for everyone who must have it: in one commit, it is in each recipient's queue, it
    /// is (or, with an empty payload, is no longer) its topic's retained message if `retain` says so, and the
    /// publisher's packet id is remembered. If there are recipients and none of them has room, nothing of that
    /// happens, unless it is for a history, which has room.
    fn publish(&self, publish: DurablePublish) -> Commit<Placed>;

    /// Messages in a session's queue after `after`, ascending, at most `limit`, expired ones left out unless they were
    /// [sent](TopicStore::sent). Reads from disk.
    fn queued(
        &self,
        client: ClientNo,
        after: Option<Ordinal>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Queued>, StoreError>;

    /// How many messages wait in a session's queue.
    fn depth(&self, client: ClientNo) -> Result<u64, StoreError>;

    /// A message that expires is being sent to the client: from now on it stays in the queue until it is done, past its
    /// expiry too (`[MQTT-4.3.3-7]`). Not waited for: if it is lost, the message may expire although it was sent.
    fn sent(&self, client: ClientNo, message: Ordinal);

    /// QoS 2: the client has the message (PUBREC); from now on only PUBREL is to be sent for it. It stays in the queue
    /// until it is done, past its expiry too, without what was published.
    fn received(&self, client: ClientNo, message: Ordinal) -> Commit<()>;

    /// The client has acknowledged (PUBACK, PUBCOMP): the messages leave the queue. Not waited for: if it is lost,
    /// a message is delivered again.
    fn done(&self, client: ClientNo, messages: Vec<Ordinal>);

    /// QoS 2 from the client: packet ids of messages that were taken and not yet released.
    fn packet_ids(&self, client: ClientNo) -> Result<Vec<u16>, StoreError>;

    /// QoS 2 from the client: PUBREL came, the packet id may be used for another message.
    fn release(&self, client: ClientNo, packet_id: u16) -> Commit<()>;
}

/// See [`TopicStore::publish`].
#[derive(Debug, Clone)]
pub struct DurablePublish {
    /// What is published.
    pub publication: Arc<Publication>,
    /// Into whose queues.
    pub to: Vec<Recipient>,
    /// It becomes its topic's retained message, as of then; an empty payload removes that.
    pub retain: Option<Timestamp>,
    /// QoS 2: the publisher's durable session and the packet id to remember.
    pub from: Option<(ClientNo, u16)>,
    /// For its room's history: it gets the next offset there. What is in queues, and what is retained, has the
    /// [`Mark`] among its properties ([`Publication::marked`]); the history itself does not.
    pub history: Option<Append>,
}

/// A session that a publication is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// Whose queue.
    pub client: ClientNo,
    /// 1 or 2.
    pub qos: QoS,
    /// The retain flag that the client shall see.
    pub retain: bool,
    /// Subscription Identifiers of the subscriptions that matched.
    pub ids: Vec<u32>,
    /// Messages that the queue may hold; a full queue is left out.
    pub limit: u64,
}

/// Where [`TopicStore::publish`] put a publication.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placed {
    /// For each recipient in order: its place, or `None` if its queue is full or its session is gone.
    pub places: Vec<Option<Ordinal>>,
    /// Whether the publisher's packet id was remembered already: the publication is where it was put then, and was not
    /// put there again.
    pub repeated: bool,
    /// Its place in its room's history, if it was to have one.
    pub mark: Option<Mark>,
    /// If it became, or removed, its topic's retained message: its place among those that did, in the order of commits.
    pub retained: Option<Seq>,
}

/// A message in a session's queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    /// Its place.
    pub ordinal: Ordinal,
    /// What it is.
    pub publication: Arc<Publication>,
    /// 1 or 2.
    pub qos: QoS,
    /// The retain flag that the client shall see.
    pub retain: bool,
    /// Subscription Identifiers.
    pub ids: Vec<u32>,
    /// Whether it expires and was sent before, see [`TopicStore::sent`].
    pub sent: bool,
    /// QoS 2: whether the client already has it, see [`TopicStore::received`].
    pub received: bool,
}
