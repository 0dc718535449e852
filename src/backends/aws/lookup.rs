//! Finding sessions: by user, by account, by id, and all of them.
//!
//! A user's sessions, and all sessions, are read as they are; by account and by id they are found through indexes, which
//! follow after a moment.

use std::time::Duration;

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::AttributeValue;

use super::items::{self, Item, Kind, number, text};
use super::service::{persist, trouble};
use super::sessions::{Sessions, is_lost};
use crate::config::limits::aws as limits;
use crate::domain::session::Session;
use crate::domain::{SessionId, SessionKey, StoreError, Timestamp, UserId};

/// Part of a listing of sessions, and where the next part begins.
#[derive(Debug, Default)]
pub struct Part {
    /// The sessions. May be empty before the end, too.
    pub sessions: Vec<Session>,
    /// Where to go on; `None` at the end.
    pub next: Option<Item>,
}

/// Which sessions are listed.
#[derive(Debug, Clone)]
pub enum Which {
    /// All.
    Everyone,
    /// An account's. By an index that follows after a moment.
    Account(crate::domain::AccountId),
    /// A user's.
    User(UserId),
}

impl Sessions {
    /// A part of the sessions that are not over.
    ///
    /// # Errors
    /// [`StoreError`] if DynamoDB refuses or does not answer.
    pub async fn part(
        &self,
        which: &Which,
        from: Option<Item>,
        now: Timestamp,
    ) -> Result<Part, StoreError> {
        let (items, next) = match which {
            Which::Everyone => {
                let live = "kind = :kind AND endsAt > :now";
                let page = self.scan(live, now, from, true).await?;
                (page.items, page.next)
            }
            Which::User(user) => {
                self.query(None, ("userId", number(user)), from, now)
                    .await?
            }
            Which::Account(account) => {
                let index = format!("{}-gsi-account", self.table());
                let key = ("accountId", number(account));
                self.query(Some(index), key, from, now).await?
            }
        };
        let sessions = items.iter().map(|item| Ok(items::session(item)?.0));
        Ok(Part {
            sessions: sessions.collect::<Result<_, StoreError>>()?,
            next,
        })
    }

    async fn query(
        &self,
        index: Option<String>,
        (name, value): (&str, AttributeValue),
        from: Option<Item>,
        now: Timestamp,
    ) -> Result<(Vec<Item>, Option<Item>), StoreError> {
        let call = self.services.db.query().table_name(self.table());
        let call = call
            .consistent_read(index.is_none())
            .set_index_name(index)
            .key_condition_expression("#h = :h")
            .expression_attribute_names("#h", name)
            .expression_attribute_values(":h", value)
            .filter_expression("endsAt > :now")
            .expression_attribute_values(":now", number(now.micros()))
            .set_exclusive_start_key(from);
        let found = persist("Query", self.pauses(), || call.clone().send()).await;
        let found = found.map_err(|error| trouble("Query", error))?;
        Ok((found.items.unwrap_or_default(), found.last_evaluated_key))
    }

    async fn scan(
        &self,
        filter: &str,
        now: Timestamp,
        from: Option<Item>,
        consistent: bool,
    ) -> Result<Scanned, StoreError> {
        let call = self.services.db.scan().table_name(self.table());
        let call = call
            .consistent_read(consistent)
            .filter_expression(filter)
            .expression_attribute_values(":kind", text(Kind::Session.text()))
            .expression_attribute_values(":now", number(now.micros()))
            .set_exclusive_start_key(from);
        let found = persist("Scan", self.pauses(), || call.clone().send()).await;
        let found = found.map_err(|error| trouble("Scan", error))?;
        Ok(Scanned {
            rows: u64::try_from(found.scanned_count).unwrap_or(0),
            items: found.items.unwrap_or_default(),
            next: found.last_evaluated_key,
        })
    }

    /// Sessions that a scan finds, at most `limit`, after a key; and how many rows it read.
    pub(super) async fn scanned(
        &self,
        filter: &str,
        now: Timestamp,
        after: Option<SessionKey>,
        limit: usize,
        consistent: bool,
    ) -> Result<(Vec<Session>, u64), StoreError> {
        let (mut sessions, mut rows) = (Vec::new(), 0);
        let mut from = after.as_ref().map(items::session_key);
        loop {
            let page = self.scan(filter, now, from, consistent).await?;
            rows += page.rows;
            for item in page.items.iter().take(limit - sessions.len()) {
                sessions.push(items::session(item)?.0);
            }
            if sessions.len() == limit || page.next.is_none() {
                return Ok((sessions, rows));
            }
            from = page.next;
        }
    }

    /// Sessions of this id in any account. By an index that follows after a moment.
    ///
    /// # Errors
    /// As [`Sessions::part`].
    pub async fn by_id(&self, id: &SessionId) -> Result<Vec<Session>, StoreError> {
        let mut sessions = Vec::new();
        let mut from = None;
        loop {
            let call = self.services.db.query().table_name(self.table());
            let call = call
                .index_name(format!("{}-gsi-session", self.table()))
                .key_condition_expression("#l = :l")
                .expression_attribute_names("#l", "lookup")
                .expression_attribute_values(":l", text(id.as_str()))
                .set_exclusive_start_key(from);
            let found = persist("Query", self.pauses(), || call.clone().send()).await;
            let found = found.map_err(|error| trouble("Query", error))?;
            for mut key in found.items.unwrap_or_default() {
                key.retain(|name, _| name == "userId" || name == "sessionId");
                if let Some(row) = self.get(key).await? {
                    sessions.push(items::session(&row)?.0);
                }
            }
            from = found.last_evaluated_key;
            if from.is_none() {
                return Ok(sessions);
            }
        }
    }

    /// Whether it is this node's turn to look for expired sessions. It has as long as the last look will have earned
    /// ([`pause_after`]); then it is anybody's turn.
    ///
    /// # Errors
    /// As [`Sessions::part`].
    pub async fn take_turn(&self, now: Timestamp) -> Result<bool, StoreError> {
        let row = self.get(items::sweep_key()).await?.unwrap_or_default();
        let known = |name| match row.contains_key(name) {
            true => items::number_of(&row, name),
            false => Ok(0),
        };
        if known("nextAt")? > now.micros() {
            return Ok(false);
        }
        let pause = pause_after(known("rowsRead")?, self.services.options.sweep_interval);
        let next = now.plus(pause);
        let call = self.services.db.update_item().table_name(self.table());
        let call = call
            .set_key(Some(items::sweep_key()))
            .update_expression("SET nextAt = :next, turnAt = :now")
            // The same again, if the first answer was lost.
            .condition_expression("attribute_not_exists(nextAt) OR nextAt <= :now OR turnAt = :now")
            .expression_attribute_values(":next", number(next.micros()))
            .expression_attribute_values(":now", number(now.micros()));
        self.of_turns(call).await
    }

    /// The turn that this node took at `began` is over, and has read so many rows. Says nothing if it lasted so long that
    /// another has begun.
    ///
    /// # Errors
    /// As [`Sessions::part`].
    pub async fn end_turn(&self, began: Timestamp, rows: u64) -> Result<(), StoreError> {
        let pause = pause_after(rows, self.services.options.sweep_interval);
        tracing::debug!(rows, ?pause, "expired sessions were looked for");
        let next = began.plus(pause);
        let call = self.services.db.update_item().table_name(self.table());
        let call = call
            .set_key(Some(items::sweep_key()))
            .update_expression("SET nextAt = :next, rowsRead = :rows")
            .condition_expression("turnAt = :began")
            .expression_attribute_values(":next", number(next.micros()))
            .expression_attribute_values(":rows", number(rows))
            .expression_attribute_values(":began", number(began.micros()));
        self.of_turns(call).await.map(drop)
    }

    /// Changes the row of the turns; `false` if the condition did not hold.
    async fn of_turns(&self, call: UpdateItemFluentBuilder) -> Result<bool, StoreError> {
        match persist("UpdateItem", self.pauses(), || call.clone().send()).await {
            Ok(_) => Ok(true),
            Err(error) if is_lost(error.as_service_error()) => Ok(false),
            Err(error) => Err(trouble("UpdateItem", error)),
        }
    }
}

/// A page of a scan.
struct Scanned {
    items: Vec<Item>,
    /// Where the next page begins; `None` at the end.
    next: Option<Item>,
    /// Rows that were read, whatever the filter left of them.
    rows: u64,
}

/// How long nobody looks for expired sessions after somebody has read so many rows. Reading all of a table costs by its size; a
/// pause that grows with it keeps what is paid in a month the same, as long as the pause is not the longest.
pub fn pause_after(rows: u64, interval: Duration) -> Duration {
    let rows = u32::try_from(rows).unwrap_or(u32::MAX);
    let earned = limits::SWEEP_ROW_PAUSE.saturating_mul(rows);
    interval.max(earned.min(limits::SWEEP_LONGEST_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_reads_much_looks_seldom() {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        let check = |rows, expect| assert_eq!(pause_after(rows, minutes(5)), expect, "{rows}");
        check(0, minutes(5));
        check(300_000, minutes(5));
        check(300_001, minutes(5) + limits::SWEEP_ROW_PAUSE);
        // Ten million users who visit twice a day: three rows for each of 7.5 million sessions.
        check(22_500_000, minutes(375));
        check(86_400_000, limits::SWEEP_LONGEST_PAUSE);
        check(u64::MAX, limits::SWEEP_LONGEST_PAUSE);
        let day = limits::SWEEP_LONGEST_PAUSE;
        assert_eq!(
            pause_after(u64::MAX, 2 * day),
            2 * day,
            "what is configured is the least"
        );
    }
}
