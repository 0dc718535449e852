//! Users' message history: [`HistoryStore`] on the tables.

use std::collections::HashSet;

use bytes::Bytes;

use super::committer::Growth;
use super::keys::{self, scope, tag};
use super::members::{Membership, memberships};
use super::queues::deliver;
use super::records::{EntryRow, PromiseRow, corrupt, message_id};
use super::tables::{Table, View};
use super::tx::Tx;
use super::{Embedded, codec};
use crate::backends::{Commit, Delivery, HistoryStore, Receipt};
use crate::domain::history::{Audience, EntryMeta, NewEntry, Receipts};
use crate::domain::message::Origin;
use crate::domain::{Seq, StoreError, Timestamp, UserId};

impl HistoryStore for Embedded {
    fn append(&self, to: Audience, entry: NewEntry) -> Commit<Seq> {
        let weight = entry.json.len() + 128;
        self.committer
            .submit(Growth::Grows, weight, move |tx| Ok(append(tx, to, &entry)))
    }

    fn entries(
        &self,
        user: UserId,
        after: Seq,
        now: Timestamp,
    ) -> Result<Vec<EntryMeta>, StoreError> {
        let view = self.tables.view();
        let mut reader = Reader {
            now,
            // Only entries that were given out can be marked: what is newer than those has no marks.
            read: if after == Seq(0) {
                marks(&view, user)?
            } else {
                HashSet::new()
            },
            found: Vec::new(),
        };
        let own = keys::of_user(scope::USER, user);
        for row in view.after(Table::History, &own, &after.0.to_be_bytes()) {
            let (key, value) = row?;
            reader.add(&key, &value, Origin::Own)?;
        }
        for Membership { log, from, to } in memberships(&view, user)? {
            let from = from.max(after);
            for row in view.after(Table::History, &keys::log(log), &from.0.to_be_bytes()) {
                let (key, value) = row?;
                if keys::trailing_seq(&key).is_none_or(|seq| seq > to) {
                    break;
                }
                reader.add(&key, &value, log)?;
            }
        }
        reader.found.sort_unstable_by_key(|entry| entry.seq);
        Ok(reader.found)
    }

    fn text(&self, user: UserId, seq: Seq, origin: Origin) -> Result<Option<Bytes>, StoreError> {
        let key = match origin {
            Origin::Own => keys::user_row(scope::USER, user, seq),
            Origin::Everyone | Origin::Account(_) => keys::logged(origin, seq),
        };
        let Some(value) = self.tables.get(Table::History, &key)? else {
            return Ok(None);
        };
        Ok(Some(Bytes::copy_from_slice(
            codec::decode::<EntryRow<'_>>(&value)?.json,
        )))
    }

    fn mark_read(&self, user: UserId, receipt: Receipt) -> Commit<()> {
        let notice = receipt.notice.as_ref();
        let weight =
            receipt.marks.len() * 64 + notice.map_or(32, |notice| notice.message.body.len() + 256);
        self.committer.submit(Growth::Frees, weight, move |tx| {
            for mark in receipt.marks {
                let key = keys::user_row(scope::MARK, user, mark.seq);
                tx.put(Table::History, key, codec::encode(&(), mark.expires));
            }
            if let Some(Delivery { to, message }) = receipt.notice {
                deliver(tx, to, &message);
            }
            if let Some(promise) = receipt.keeps {
                let key = keys::key(tag::PROMISE, &[&promise.0.to_be_bytes()]);
                tx.remove(Table::Registry, key);
            }
            Ok(())
        })
    }

    fn forget(&self, user: UserId, entries: Vec<Seq>) -> Commit<()> {
        self.committer
            .submit(Growth::Frees, entries.len() * 64, move |tx| {
                for seq in entries {
                    tx.remove(Table::History, keys::user_row(scope::USER, user, seq));
                    tx.remove(Table::History, keys::user_row(scope::MARK, user, seq));
                }
                Ok(())
            })
    }

    fn promise(&self, receipts: Receipts) -> Commit<Seq> {
        self.committer.submit(Growth::Grows, 256, move |tx| {
            let seq = tx.next_seq();
            let value = codec::encode(&PromiseRow::new(&receipts), codec::NEVER);
            tx.put(
                Table::Registry,
                keys::key(tag::PROMISE, &[&seq.0.to_be_bytes()]),
                value,
            );
            Ok(seq)
        })
    }

    fn promised(&self) -> Result<Vec<(Seq, Receipts)>, StoreError> {
        let rows = self.tables.view().prefix(Table::Registry, &[tag::PROMISE]);
        rows.map(|row| {
            let (key, value) = row?;
            let seq = keys::trailing_seq(&key).ok_or_else(|| corrupt("promise key"))?;
            Ok((seq, codec::decode::<PromiseRow<'_>>(&value)?.receipts()?))
        })
        .collect()
    }
}

fn append(tx: &mut Tx<'_>, to: Audience, entry: &NewEntry) -> Seq {
    let row = EntryRow {
        message_id: entry.message_id.as_str(),
        created: entry.created.0,
        kind: entry.kind.as_deref(),
        json: &entry.json,
    };
    let value = fjall::Slice::from(codec::encode(&row, entry.expires));
    let seq = tx.next_seq();
    match to {
        Audience::Users(users) => {
            for user in users {
                tx.put(
                    Table::History,
                    keys::user_row(scope::USER, user, seq),
                    value.clone(),
                );
            }
        }
        Audience::Account(account) => {
            tx.put(
                Table::History,
                keys::logged(Origin::Account(account), seq),
                value,
            );
        }
        Audience::Everyone => {
            tx.put(Table::History, keys::logged(Origin::Everyone, seq), value);
        }
    }
    seq
}

/// What the user has read.
fn marks(view: &View<'_>, user: UserId) -> Result<HashSet<Seq>, StoreError> {
    let prefix = keys::of_user(scope::MARK, user);
    view.prefix(Table::History, &prefix)
        .map(|row| keys::trailing_seq(&row?.0).ok_or_else(|| corrupt("mark key")))
        .collect()
}

struct Reader {
    now: Timestamp,
    read: HashSet<Seq>,
    found: Vec<EntryMeta>,
}

impl Reader {
    fn add(&mut self, key: &[u8], value: &[u8], origin: Origin) -> Result<(), StoreError> {
        let seq = keys::trailing_seq(key).ok_or_else(|| corrupt("history key"))?;
        let expires = codec::expires(value).unwrap_or_default();
        if expires <= self.now {
            return Ok(());
        }
        let row = codec::decode::<EntryRow<'_>>(value)?;
        self.found.push(EntryMeta {
            seq,
            origin,
            message_id: message_id(row.message_id)?,
            created: Timestamp(row.created),
            expires,
            kind: row.kind.map(Into::into),
            read: self.read.contains(&seq),
        });
        Ok(())
    }
}
