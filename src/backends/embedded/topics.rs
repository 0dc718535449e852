//! Durable MQTT sessions, their messages, and retained messages: [`TopicStore`] on the tables.
//!
//! A publication that more than one row needs is stored once, in `shared`; the rows name it, and the last of them that
//! leaves takes it along. A message that leaves a queue is therefore always removed by a job, never by compaction.

use std::sync::Arc;

use super::committer::Growth;
use super::counts::Client;
use super::keys::{self, plane};
use super::publications::{
    self, ClientRow, HeldRow, PlaceRow, PublicationRow, RetainedRow, qos, qos_row,
};
use super::records::corrupt;
use super::rooms;
use super::tables::{Table, View};
use super::tx::Tx;
use super::{Embedded, codec};
use crate::backends::Commit;
use crate::backends::topics::{DurablePublish, Placed, Queued, Recipient, TopicStore};
use crate::config::limits;
use crate::domain::publication::{ClientNo, ClientRecord, Ordinal, Publication};
use crate::domain::{Seq, StoreError, Timestamp};

/// A client's record may become this much longer although the disk is nearly full: that a connection ended is always
/// worth noting, and a client that may come back can take its messages off the disk.
const RECORD_SLACK: usize = 64;

/// What a row takes beside its publication, for the committing thread's bounds.
const ROW_WEIGHT: usize = 64;

impl TopicStore for Embedded {
    fn clients(&self, each: &mut dyn FnMut(ClientRecord)) -> Result<(), StoreError> {
        for row in self.tables.view().prefix(Table::Topics, &[plane::CLIENT]) {
            let (key, value) = row?;
            let no = keys::client_of(&key).ok_or_else(|| corrupt("client key"))?;
            each(codec::decode::<ClientRow<'_>>(&value)?.record(no)?);
        }
        Ok(())
    }

    fn retained(
        &self,
        now: Timestamp,
        each: &mut dyn FnMut(Publication, Timestamp),
    ) -> Result<(), StoreError> {
        let view = self.tables.view();
        for row in view.prefix(Table::Topics, &[plane::RETAINED]) {
            let (_, value) = row?;
            if has_expired(&value, now) {
                continue;
            }
            let row = codec::decode::<RetainedRow<'_>>(&value)?;
            if let Some(publication) = look_up(&view, &row.held)? {
                each(publication, Timestamp(row.at));
            }
        }
        Ok(())
    }

    fn open(&self, record: ClientRecord) -> Commit<ClientNo> {
        let value = match encode_client(&record) {
            Ok(value) => value,
            Err(error) => return refuse(error),
        };
        let id = keys::key(plane::CLIENT_ID, &[record.id.as_str().as_bytes()]);
        self.committer
            .submit(Growth::Grows, value.len(), move |tx| open(tx, id, value))
    }

    fn save(&self, record: ClientRecord) -> Commit<()> {
        let key = keys::of_client(plane::CLIENT, record.no);
        let prepared = encode_client(&record)
            .and_then(|value| Ok((value, self.tables.get(Table::Topics, &key)?)));
        let (value, before) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return refuse(error),
        };
        let growth = match before.map(|before| before.len() + RECORD_SLACK) {
            Some(room) if value.len() <= room => Growth::Frees,
            _ => Growth::Grows,
        };
        self.committer.submit(growth, value.len(), move |tx| {
            if tx.client(record.no).is_some() {
                tx.put(Table::Topics, key, value);
            }
            Ok(())
        })
    }

    fn close(&self, client: ClientNo) -> Commit<()> {
        self.committer
            .submit(Growth::Frees, ROW_WEIGHT, move |tx| close(tx, client))
    }

    fn publish(&self, publish: DurablePublish) -> Commit<Placed> {
        let ids = publish.to.iter().map(|to| to.ids.len() * size_of::<u32>());
        let bytes = PublicationRow::new(&publish.publication).bytes()
            + ids.clone().max().unwrap_or(0)
            + publish.history.as_ref().map_or(0, |_| rooms::MARK_BYTES);
        if bytes > limits::STORED_PUBLICATION_BYTES {
            return refuse(too_large("publication", bytes));
        }
        let weight = bytes + ids.map(|ids| ids + ROW_WEIGHT).sum::<usize>();
        self.committer
            .submit(Growth::Grows, weight, move |tx| place(tx, &publish))
    }

    fn queued(
        &self,
        client: ClientNo,
        after: Option<Ordinal>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Queued>, StoreError> {
        let view = self.tables.view();
        let prefix = keys::of_client(plane::PLACE, client);
        // No message has place 0.
        let after = after.unwrap_or_default().0.to_be_bytes();
        let mut out = Vec::new();
        for row in view.after(Table::Topics, &prefix, &after) {
            if out.len() == limit {
                break;
            }
            let (key, value) = row?;
            if !has_expired(&value, now) {
                out.extend(read(&view, &key, &value)?);
            }
        }
        Ok(out)
    }

    fn depth(&self, client: ClientNo) -> Result<u64, StoreError> {
        let client = self.tables.counts.client(client);
        Ok(client.map_or(0, |client| client.depth))
    }

    fn sent(&self, client: ClientNo, message: Ordinal) {
        self.committer
            .submit_lazily(ROW_WEIGHT, move |tx| sent(tx, client, message));
    }

    fn received(&self, client: ClientNo, message: Ordinal) -> Commit<()> {
        self.committer.submit(Growth::Frees, ROW_WEIGHT, move |tx| {
            received(tx, client, message)
        })
    }

    fn done(&self, client: ClientNo, messages: Vec<Ordinal>) {
        self.committer
            .submit_lazily(messages.len() * ROW_WEIGHT, move |tx| {
                for message in messages {
                    take(tx, client, message)?;
                }
                Ok(())
            });
    }

    fn packet_ids(&self, client: ClientNo) -> Result<Vec<u16>, StoreError> {
        let prefix = keys::of_client(plane::PACKET_ID, client);
        let rows = self.tables.view().prefix(Table::Topics, &prefix);
        rows.map(|row| keys::trailing_packet_id(&row?.0).ok_or_else(|| corrupt("packet id key")))
            .collect()
    }

    fn release(&self, client: ClientNo, packet_id: u16) -> Commit<()> {
        self.committer.submit(Growth::Frees, ROW_WEIGHT, move |tx| {
            let key = keys::packet_id(client, packet_id);
            if tx.get(Table::Topics, &key)?.is_some() {
                tx.remove(Table::Topics, key);
            }
            Ok(())
        })
    }
}

fn refuse<T: Send + 'static>(error: StoreError) -> Commit<T> {
    Box::pin(std::future::ready(Err(error)))
}

fn too_large(what: &str, bytes: usize) -> StoreError {
    StoreError::Failed(format!(
        "a {what} of {bytes} bytes is too large to be stored"
    ))
}

fn encode_client(record: &ClientRecord) -> Result<Vec<u8>, StoreError> {
    let row = ClientRow::new(record);
    let bytes = row.bytes();
    if bytes > limits::STORED_CLIENT_BYTES {
        return Err(too_large("session", bytes));
    }
    Ok(codec::encode(&row, codec::NEVER))
}

fn has_expired(value: &[u8], now: Timestamp) -> bool {
    codec::expires(value).is_some_and(|expires| expires <= now)
}

/// Whether a row stays until a job removes it, whatever the time.
fn stays(value: &[u8]) -> bool {
    codec::expires(value) == Some(codec::NEVER)
}

/// The publication that a row holds; `None` if it has expired and left `shared`.
fn look_up(view: &View<'_>, held: &HeldRow<'_>) -> Result<Option<Publication>, StoreError> {
    match held {
        HeldRow::Here(row) => row.publication().map(Some),
        HeldRow::Shared(body) => view
            .get(Table::Shared, &keys::publication(Seq(*body)))?
            .map(|value| codec::decode::<PublicationRow<'_>>(&value)?.publication())
            .transpose(),
        HeldRow::Received => Ok(Some(publications::received())),
    }
}

fn read(view: &View<'_>, key: &[u8], value: &[u8]) -> Result<Option<Queued>, StoreError> {
    let (_, ordinal) = keys::parse_place(key).ok_or_else(|| corrupt("place key"))?;
    let row = codec::decode::<PlaceRow<'_>>(value)?;
    let Some(publication) = look_up(view, &row.held)? else {
        return Ok(None);
    };
    Ok(Some(Queued {
        ordinal,
        // A place's row ends with its publication, unless that was sent.
        sent: publication.expires.is_some() && stays(value),
        publication: Arc::new(publication),
        qos: qos(row.qos)?,
        retain: row.retain,
        received: matches!(row.held, HeldRow::Received),
        ids: row.ids,
    }))
}

/// Makes a session in place of the one that has the client id.
fn open(tx: &mut Tx<'_>, id: Vec<u8>, value: Vec<u8>) -> Result<ClientNo, StoreError> {
    if let Some(before) = tx.get(Table::Topics, &id)? {
        close(tx, ClientNo(codec::decode(&before)?))?;
    }
    let client = ClientNo(tx.next_seq().0);
    tx.put(Table::Topics, keys::of_client(plane::CLIENT, client), value);
    tx.put(Table::Topics, id, codec::encode(&client.0, codec::NEVER));
    tx.set_client(client, Some(Client::NEW));
    Ok(client)
}

/// Removes a session; upkeep removes its messages.
fn close(tx: &mut Tx<'_>, client: ClientNo) -> Result<(), StoreError> {
    let key = keys::of_client(plane::CLIENT, client);
    let Some(value) = tx.get(Table::Topics, &key)? else {
        return Ok(());
    };
    let id = codec::decode::<ClientRow<'_>>(&value)?.id;
    tx.remove(Table::Topics, keys::key(plane::CLIENT_ID, &[id.as_bytes()]));
    tx.remove(Table::Topics, key);
    let purge = keys::of_client(plane::PURGE, client);
    tx.put(Table::Topics, purge, codec::encode(&(), codec::NEVER));
    tx.set_client(client, None);
    Ok(())
}

/// Puts a publication wherever it must be, unless its packet id says that it is there.
fn place(tx: &mut Tx<'_>, publish: &DurablePublish) -> Result<Placed, StoreError> {
    let mut placed = Placed {
        places: vec![None; publish.to.len()],
        ..Placed::default()
    };
    // Of a session that is gone nobody will ask, and its rows must not come back.
    let from = publish
        .from
        .filter(|(client, _)| tx.client(*client).is_some());
    let remembered = from.map(|(client, packet_id)| keys::packet_id(client, packet_id));
    if let Some(key) = &remembered
        && tx.get(Table::Topics, key)?.is_some()
    {
        placed.repeated = true;
        return Ok(placed);
    }
    for (to, place) in publish.to.iter().zip(&mut placed.places) {
        *place = next_place(tx, to);
    }
    let is_nowhere = !publish.to.is_empty() && placed.places.iter().all(Option::is_none);
    if is_nowhere && publish.history.is_none() {
        // It is refused, and whoever sends it again has not sent it before.
        return Ok(placed);
    }
    if let Some(key) = remembered {
        tx.put(Table::Topics, key, codec::encode(&(), codec::NEVER));
    }
    let retains = publish.retain.is_some() && !publish.publication.payload.is_empty();
    let rows = placed.places.iter().flatten().count() + usize::from(retains);
    let history = publish.history.as_ref();
    placed.mark = history
        .map(|history| rooms::append(tx, &publish.publication, history))
        .transpose()?;
    // Only what is in a history has properties that are not known before.
    let marked = (placed.mark.is_some() && rows > 0)
        .then(|| (*publish.publication).clone().marked(placed.mark));
    let row = PublicationRow::new(marked.as_ref().unwrap_or(&publish.publication));
    let expires = publish.publication.expires.unwrap_or(codec::NEVER);
    let body = (rows > 1).then(|| share(tx, &row, expires, rows));
    let held = || match body {
        Some(body) => HeldRow::Shared(body.0),
        None => HeldRow::Here(row.clone()),
    };
    for (to, place) in publish.to.iter().zip(&placed.places) {
        let Some(ordinal) = *place else { continue };
        let place = PlaceRow {
            qos: qos_row(to.qos),
            retain: to.retain,
            ids: to.ids.clone(),
            held: held(),
        };
        let key = keys::place(to.client, ordinal);
        tx.put(Table::Topics, key, codec::encode(&place, expires));
    }
    if let Some(at) = publish.retain {
        let row = || RetainedRow {
            held: held(),
            at: at.0,
        };
        let value = retains.then(|| codec::encode(&row(), expires));
        let topic = publish.publication.topic.as_bytes();
        retain(tx, keys::key(plane::RETAINED, &[topic]), value)?;
        placed.retained = Some(tx.next_seq());
    }
    Ok(placed)
}

/// The place that a message gets in a recipient's queue, if there is one.
fn next_place(tx: &mut Tx<'_>, to: &Recipient) -> Option<Ordinal> {
    let client = tx.client(to.client)?;
    if client.depth >= to.limit {
        return None;
    }
    let after = Client {
        depth: client.depth + 1,
        next: Ordinal(client.next.0 + 1),
    };
    tx.set_client(to.client, Some(after));
    Some(client.next)
}

/// Stores a publication for several rows.
fn share(tx: &mut Tx<'_>, row: &PublicationRow<'_>, expires: Timestamp, rows: usize) -> Seq {
    let body = tx.next_seq();
    let value = codec::encode(row, expires);
    tx.put(Table::Shared, keys::publication(body), value);
    let rows = u32::try_from(rows).expect("a publication's recipients fit into memory");
    tx.set_references(body, rows);
    body
}

/// Replaces or removes a topic's retained message.
fn retain(tx: &mut Tx<'_>, key: Vec<u8>, value: Option<Vec<u8>>) -> Result<(), StoreError> {
    let before = tx.get(Table::Topics, &key)?;
    if let Some(before) = &before {
        tx.add_garbage(Table::Topics, before.len());
        leave(tx, &codec::decode::<RetainedRow<'_>>(before)?.held);
    }
    match value {
        Some(value) => tx.put(Table::Topics, key, value),
        None if before.is_some() => tx.remove(Table::Topics, key),
        None => {}
    }
    Ok(())
}

/// A row no longer needs its publication; the last one takes it along.
fn leave(tx: &mut Tx<'_>, held: &HeldRow<'_>) {
    let HeldRow::Shared(body) = held else { return };
    let body = Seq(*body);
    let left = tx.references(body).saturating_sub(1);
    tx.set_references(body, left);
    if left == 0 {
        tx.remove(Table::Shared, keys::publication(body));
    }
}

/// The client is being sent the message: its place, with what was published, outlives its expiry. What several rows share
/// does not, so the place has it for itself from now on.
fn sent(tx: &mut Tx<'_>, client: ClientNo, message: Ordinal) -> Result<(), StoreError> {
    let key = keys::place(client, message);
    let Some(value) = tx.get(Table::Topics, &key)?.filter(|value| !stays(value)) else {
        return Ok(());
    };
    let row = codec::decode::<PlaceRow<'_>>(&value)?;
    let shared = match &row.held {
        HeldRow::Shared(body) => {
            let Some(shared) = tx.get(Table::Shared, &keys::publication(Seq(*body)))? else {
                // It expired in this very moment, for everyone.
                return Ok(());
            };
            Some(shared)
        }
        _ => None,
    };
    leave(tx, &row.held);
    let held = match &shared {
        Some(shared) => HeldRow::Here(codec::decode(shared)?),
        None => row.held,
    };
    tx.add_garbage(Table::Topics, value.len());
    let place = PlaceRow { held, ..row };
    tx.put(Table::Topics, key, codec::encode(&place, codec::NEVER));
    Ok(())
}

/// The client has the message: nothing of it is needed but its place, which outlives the message's expiry, since both
/// sides must still agree that the exchange is over.
fn received(tx: &mut Tx<'_>, client: ClientNo, message: Ordinal) -> Result<(), StoreError> {
    let key = keys::place(client, message);
    let Some(value) = tx.get(Table::Topics, &key)? else {
        return Ok(());
    };
    let mut row = codec::decode::<PlaceRow<'_>>(&value)?;
    leave(tx, &row.held);
    row.held = HeldRow::Received;
    tx.add_garbage(Table::Topics, value.len());
    tx.put(Table::Topics, key, codec::encode(&row, codec::NEVER));
    Ok(())
}

/// Takes a message out of a queue. Nothing happens if it is not there.
fn take(tx: &mut Tx<'_>, client: ClientNo, message: Ordinal) -> Result<(), StoreError> {
    let key = keys::place(client, message);
    let Some(value) = tx.get(Table::Topics, &key)? else {
        return Ok(());
    };
    leave(tx, &codec::decode::<PlaceRow<'_>>(&value)?.held);
    tx.remove(Table::Topics, key);
    // A closed session's rows are no longer counted.
    if let Some(known) = tx.client(client) {
        let depth = known.depth.saturating_sub(1);
        tx.set_client(client, Some(Client { depth, ..known }));
    }
    Ok(())
}

/// Takes a message out of a queue by its row's key.
pub(super) fn remove_place(tx: &mut Tx<'_>, key: &[u8]) -> Result<(), StoreError> {
    let (client, message) = keys::parse_place(key).ok_or_else(|| corrupt("place key"))?;
    take(tx, client, message)
}

/// Removes a retained message by its row's key.
pub(super) fn remove_retained(tx: &mut Tx<'_>, key: &[u8]) -> Result<(), StoreError> {
    retain(tx, key.to_vec(), None)
}
