//! Names and attributes of queues: [`QueueCatalog`] on the tables.

use std::time::Duration;

use super::committer::Growth;
use super::keys::{self, tag};
use super::records::QueueRow;
use super::tables::{Table, Tables};
use super::tx::Tx;
use super::{Embedded, codec};
use crate::backends::{Commit, QueueCatalog, QueueEdit};
use crate::domain::queue::QueueRecord;
use crate::domain::{QueueError, QueueName, QueueNo, StoreError, Timestamp};

/// How long a deleted queue's name can not be used again.
pub(super) const NAME_REST: Duration = Duration::from_secs(60);

impl QueueCatalog for Embedded {
    fn find(&self, name: &QueueName) -> Result<Option<QueueRecord>, StoreError> {
        let key = keys::key(tag::QUEUE_NAME, &[name.as_str().as_bytes()]);
        match self.tables.get(Table::Registry, &key)? {
            Some(value) => read(&self.tables, QueueNo(codec::decode(&value)?)),
            None => Ok(None),
        }
    }

    fn get(&self, queue: QueueNo) -> Result<Option<QueueRecord>, StoreError> {
        read(&self.tables, queue)
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<QueueRecord>, StoreError> {
        let view = self.tables.view();
        let names = keys::key(tag::QUEUE_NAME, &[prefix.as_bytes()]);
        // A name before the prefix is before all that follow it.
        let after = after
            .and_then(|after| after.strip_prefix(prefix))
            .unwrap_or_default();
        let mut out = Vec::new();
        let rows: Box<dyn Iterator<Item = _>> = if after.is_empty() {
            Box::new(view.prefix(Table::Registry, &names))
        } else {
            Box::new(view.after(Table::Registry, &names, after.as_bytes()))
        };
        for row in rows.take(limit) {
            let (_, value) = row?;
            let no = QueueNo(codec::decode(&value)?);
            if let Some(value) = view.get(Table::Registry, &keys::by_queue(tag::QUEUE, no))? {
                out.push(codec::decode::<QueueRow<'_>>(&value)?.record(no)?);
            }
        }
        Ok(out)
    }

    fn create(&self, record: QueueRecord) -> Commit<Result<(QueueRecord, bool), QueueError>> {
        self.committer
            .submit(Growth::Grows, 1024, move |tx| create(tx, record))
    }

    fn edit(&self, queue: QueueNo, edit: QueueEdit) -> Commit<Result<QueueRecord, QueueError>> {
        self.committer.submit(Growth::Grows, 1024, move |tx| {
            let Some(mut record) = look_up(tx, queue)? else {
                return Ok(Err(QueueError::DoesNotExist));
            };
            if let Err(error) = edit(&mut record) {
                return Ok(Err(error));
            }
            put(tx, &record);
            Ok(Ok(record))
        })
    }

    fn delete(&self, queue: QueueNo, now: Timestamp) -> Commit<bool> {
        self.committer.submit(Growth::Frees, 64, move |tx| {
            let Some(record) = look_up(tx, queue)? else {
                return Ok(false);
            };
            let rest = keys::key(tag::DELETED_NAME, &[record.name.as_str().as_bytes()]);
            tx.put(Table::Registry, rest, codec::encode(&now.0, codec::NEVER));
            remove(tx, &record.name, queue);
            Ok(true)
        })
    }
}

fn create(
    tx: &mut Tx<'_>,
    mut record: QueueRecord,
) -> Result<Result<(QueueRecord, bool), QueueError>, StoreError> {
    let name = record.name.as_str().as_bytes();
    if let Some(value) = tx.get(Table::Registry, &keys::key(tag::QUEUE_NAME, &[name]))? {
        let no = QueueNo(codec::decode(&value)?);
        let existing =
            look_up(tx, no)?.ok_or_else(|| StoreError::Corrupt("a name without a queue".into()))?;
        return Ok(Ok((existing, false)));
    }
    let rest = keys::key(tag::DELETED_NAME, &[name]);
    if let Some(value) = tx.get(Table::Registry, &rest)? {
        if record.created.since(Timestamp(codec::decode(&value)?)) < NAME_REST {
            return Ok(Err(QueueError::DeletedRecently));
        }
        tx.remove(Table::Registry, rest);
    }
    add(tx, &mut record);
    Ok(Ok((record, true)))
}

/// Adds a queue, whose number is the sequence number of its creation.
pub(super) fn add(tx: &mut Tx<'_>, record: &mut QueueRecord) {
    let seq = tx.next_seq();
    record.no = QueueNo(seq.0);
    record.since = seq;
    let name = keys::key(tag::QUEUE_NAME, &[record.name.as_str().as_bytes()]);
    tx.put(
        Table::Registry,
        name,
        codec::encode(&record.no.0, codec::NEVER),
    );
    put(tx, record);
}

/// Removes a queue; its messages follow (see `upkeep.rs`).
pub(super) fn remove(tx: &mut Tx<'_>, name: &QueueName, queue: QueueNo) {
    tx.remove(
        Table::Registry,
        keys::key(tag::QUEUE_NAME, &[name.as_str().as_bytes()]),
    );
    for tag in [tag::QUEUE, tag::CURSOR, tag::LEASE] {
        tx.remove(Table::Registry, keys::by_queue(tag, queue));
    }
    tx.put(
        Table::Registry,
        keys::by_queue(tag::PURGE, queue),
        codec::encode(&(), codec::NEVER),
    );
}

/// Replaces a queue's record.
pub(super) fn put(tx: &mut Tx<'_>, record: &QueueRecord) {
    let value = codec::encode(&QueueRow::new(record), codec::NEVER);
    tx.put(
        Table::Registry,
        keys::by_queue(tag::QUEUE, record.no),
        value,
    );
}

/// A queue's record as this transaction sees it.
pub(super) fn look_up(tx: &Tx<'_>, queue: QueueNo) -> Result<Option<QueueRecord>, StoreError> {
    let value = tx.get(Table::Registry, &keys::by_queue(tag::QUEUE, queue))?;
    value
        .map(|value| codec::decode::<QueueRow<'_>>(&value)?.record(queue))
        .transpose()
}

fn read(tables: &Tables, queue: QueueNo) -> Result<Option<QueueRecord>, StoreError> {
    let value = tables.get(Table::Registry, &keys::by_queue(tag::QUEUE, queue))?;
    value
        .map(|value| codec::decode::<QueueRow<'_>>(&value)?.record(queue))
        .transpose()
}
