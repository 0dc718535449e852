//! Rooms' histories: [`RoomStore`] on the table `topics`. One row says where a history begins and ends, one row each holds
//! what was said. Rows over the rule's bounds leave with the publication that is too much; expired ones leave by upkeep.

use bincode::{BorrowDecode, Encode};

use super::Embedded;
use super::codec;
use super::keys::{self, plane};
use super::publications::PublicationRow;
use super::records::corrupt;
use super::tables::Table;
use super::tx::Tx;
use crate::backends::rooms::{Append, Head, RoomStore, Said};
use crate::domain::publication::Publication;
use crate::domain::room::{Epoch, Mark, Place};
use crate::domain::topic::TopicName;
use crate::domain::{StoreError, Timestamp};

/// What a mark adds to a stored publication, at most: four user properties, the member's name aside, which is there already.
pub(super) const MARK_BYTES: usize = 1024;

/// Rows that one publication takes along at most, when a rule was made smaller: the rest leave with the next ones.
const TRIMMED: usize = 64;

/// Where a history begins and ends.
#[derive(Encode, BorrowDecode)]
struct RoomRow {
    epoch: u64,
    first: u64,
    /// The next offset.
    next: u64,
    /// Of all rows from `first` on.
    bytes: u64,
}

/// What was said.
#[derive(Encode, BorrowDecode)]
struct SaidRow<'a> {
    at: u64,
    publication: PublicationRow<'a>,
}

impl RoomStore for Embedded {
    fn head(&self, room: &TopicName) -> Result<Option<Head>, StoreError> {
        let value = self.tables.get(Table::Topics, &keys::room(room.as_str()))?;
        value
            .map(|value| {
                let row: RoomRow = codec::decode(&value)?;
                Ok(Head {
                    epoch: Epoch(row.epoch),
                    first: row.first,
                    last: row.next - 1,
                })
            })
            .transpose()
    }

    fn said(
        &self,
        room: &TopicName,
        from: u64,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Said>, StoreError> {
        let view = self.tables.view();
        let after = from.saturating_sub(1).to_be_bytes();
        let prefix = keys::said_in(room.as_str());
        let mut out = Vec::new();
        for row in view.after(Table::Topics, &prefix, &after) {
            if out.len() == limit {
                break;
            }
            let (key, value) = row?;
            if codec::expires(&value).is_some_and(|expires| expires <= now) {
                continue;
            }
            let row = codec::decode::<SaidRow<'_>>(&value)?;
            let offset = keys::trailing_seq(&key).ok_or_else(|| corrupt("history key"))?;
            out.push(Said {
                offset: offset.0,
                at: Timestamp(row.at),
                publication: row.publication.publication()?,
            });
        }
        Ok(out)
    }
}

fn look_up(tx: &Tx<'_>, key: &[u8]) -> Result<Option<RoomRow>, StoreError> {
    let value = tx.get(Table::Topics, key)?;
    value.map(|value| codec::decode(&value)).transpose()
}

/// Gives a publication the next place in its room's history.
pub(super) fn append(
    tx: &mut Tx<'_>,
    publication: &Publication,
    append: &Append,
) -> Result<Mark, StoreError> {
    let room = publication.topic.as_str();
    let key = keys::room(room);
    let mut row = match look_up(tx, &key)? {
        Some(row) => row,
        None if tx.rooms() >= append.most => {
            return Err(StoreError::Full("too many rooms have a history".into()));
        }
        None => {
            tx.set_rooms(tx.rooms() + 1);
            RoomRow {
                epoch: append.epoch.0,
                first: 1,
                next: 1,
                bytes: 0,
            }
        }
    };
    let offset = row.next;
    let said = SaidRow {
        at: append.at.0,
        publication: PublicationRow::new(publication),
    };
    let value = codec::encode(&said, append.now.plus(append.keep.time));
    row.next += 1;
    row.bytes += value.len() as u64;
    tx.put(Table::Topics, keys::said(room, offset), value);
    for _ in 0..TRIMMED {
        let held = row.next - row.first;
        // The newest stays: its publisher is told that it is kept.
        if held <= 1 || held <= append.keep.messages && row.bytes <= append.keep.bytes {
            break;
        }
        drop_first(tx, room, &mut row)?;
    }
    tx.put(Table::Topics, key, codec::encode(&row, codec::NEVER));
    Ok(Mark {
        place: Place {
            epoch: Epoch(row.epoch),
            offset,
        },
        at: append.at,
    })
}

/// The oldest row leaves.
fn drop_first(tx: &mut Tx<'_>, room: &str, row: &mut RoomRow) -> Result<(), StoreError> {
    let key = keys::said(room, row.first);
    row.first += 1;
    if let Some(value) = tx.get(Table::Topics, &key)? {
        row.bytes = row.bytes.saturating_sub(value.len() as u64);
        tx.add_garbage(Table::Topics, value.len());
        tx.remove(Table::Topics, key);
    }
    Ok(())
}

/// Whether the oldest of a room's rows has expired.
fn first_expired(
    tx: &Tx<'_>,
    room: &str,
    row: &RoomRow,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let value = tx.get(Table::Topics, &keys::said(room, row.first))?;
    let expires = value.as_deref().map(codec::expires);
    // A row that is not there is none to keep either.
    Ok(expires.is_none_or(|expires| expires.is_some_and(|expires| expires <= now)))
}

/// Removes what has expired in a room, at most `most` rows; the history is forgotten when nothing is left. Says whether
/// there is more to remove.
pub(super) fn trim(
    tx: &mut Tx<'_>,
    key: &[u8],
    now: Timestamp,
    most: usize,
) -> Result<bool, StoreError> {
    let room = keys::parse_room(key).ok_or_else(|| corrupt("room key"))?;
    let Some(mut row) = look_up(tx, key)? else {
        return Ok(false);
    };
    let mut removed = 0;
    while row.first < row.next && removed < most && first_expired(tx, room, &row, now)? {
        drop_first(tx, room, &mut row)?;
        removed += 1;
    }
    if row.first == row.next {
        tx.remove(Table::Topics, key);
        tx.set_rooms(tx.rooms().saturating_sub(1));
    } else if removed > 0 {
        tx.put(Table::Topics, key, codec::encode(&row, codec::NEVER));
    }
    Ok(removed == most)
}

/// The keys of all rooms that have a history.
pub(super) const ROOMS: [u8; 1] = [plane::ROOM];
