//! When which user had sessions, so that a broadcast is in the history of those that had one, without a
//! row for each.
//!
//! A user who has sessions has a row with their number and the sequence number since when; when the last
//! session ends, that becomes an interval, kept as long as the messages it covers.

use super::codec;
use super::keys::{self, scope};
use super::records::MemberRow;
use super::tables::{Table, View};
use super::tx::Tx;
use crate::domain::message::Origin;
use crate::domain::{AccountId, Seq, StoreError, Timestamp, UserId};

/// A broadcast log and the range of sequence numbers of it that a user has.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Membership {
    pub(super) log: Origin,
    /// Exclusive.
    pub(super) from: Seq,
    /// Inclusive.
    pub(super) to: Seq,
}

/// The user has one more session in the account.
pub(super) fn join(tx: &mut Tx<'_>, user: UserId, account: AccountId) -> Result<(), StoreError> {
    for log in [None, Some(account)] {
        let key = keys::member(user, log);
        let row = match tx.get(Table::Registry, &key)? {
            Some(value) => {
                let row = codec::decode::<MemberRow>(&value)?;
                MemberRow {
                    sessions: row.sessions + 1,
                    ..row
                }
            }
            None => MemberRow {
                sessions: 1,
                from: tx.last_seq().0,
            },
        };
        tx.put(Table::Registry, key, codec::encode(&row, codec::NEVER));
    }
    Ok(())
}

/// The user has one session less in the account. What the ended time covers is forgotten at `forget_at`.
pub(super) fn leave(
    tx: &mut Tx<'_>,
    user: UserId,
    account: AccountId,
    forget_at: Timestamp,
) -> Result<(), StoreError> {
    for log in [None, Some(account)] {
        let key = keys::member(user, log);
        let Some(value) = tx.get(Table::Registry, &key)? else {
            continue;
        };
        let row = codec::decode::<MemberRow>(&value)?;
        if row.sessions > 1 {
            let row = MemberRow {
                sessions: row.sessions - 1,
                ..row
            };
            tx.put(Table::Registry, key, codec::encode(&row, codec::NEVER));
            continue;
        }
        tx.remove(Table::Registry, key);
        let interval = keys::interval(user, log, Seq(row.from));
        let to = tx.last_seq().0;
        tx.put(Table::History, interval, codec::encode(&to, forget_at));
    }
    Ok(())
}

/// All times during which the user had sessions, as far as messages of them may still be there.
pub(super) fn memberships(view: &View<'_>, user: UserId) -> Result<Vec<Membership>, StoreError> {
    let mut out = Vec::new();
    let prefix = keys::member(user, None);
    for row in view.prefix(Table::Registry, &prefix) {
        let (key, value) = row?;
        let (account, _) = split(&key[prefix.len()..], 0)?;
        let from = Seq(codec::decode::<MemberRow>(&value)?.from);
        out.push(Membership {
            log: origin(account),
            from,
            to: Seq(u64::MAX),
        });
    }
    let prefix = keys::of_user(scope::INTERVAL, user);
    for row in view.prefix(Table::History, &prefix) {
        let (key, value) = row?;
        let (account, _) = split(&key[prefix.len()..], 8)?;
        let from = keys::trailing_seq(&key).unwrap_or_default();
        out.push(Membership {
            log: origin(account),
            from,
            to: Seq(codec::decode(&value)?),
        });
    }
    Ok(out)
}

fn split(key: &[u8], rest: usize) -> Result<(Option<AccountId>, &[u8]), StoreError> {
    keys::split_membership(key, rest).ok_or_else(|| StoreError::Corrupt("membership key".into()))
}

fn origin(account: Option<AccountId>) -> Origin {
    account.map_or(Origin::Everyone, Origin::Account)
}
