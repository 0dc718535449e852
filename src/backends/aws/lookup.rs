//! Finding sessions: by user, by account, by id, and all of them.
//!
//! A user's sessions, and all sessions, are read as they are; by account and by id they are found through indexes, which
//! follow after a moment.

use aws_sdk_dynamodb::types::AttributeValue;

use super::items::{self, Item, Kind, number, text};
use super::service::{persist, trouble};
use super::sessions::{Sessions, is_lost};
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
                self.scan(live, now, from).await?
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
    ) -> Result<(Vec<Item>, Option<Item>), StoreError> {
        let call = self.services.db.scan().table_name(self.table());
        let call = call
            .consistent_read(true)
            .filter_expression(filter)
            .expression_attribute_values(":kind", text(Kind::Session.text()))
            .expression_attribute_values(":now", number(now.micros()))
            .set_exclusive_start_key(from);
        let found = persist("Scan", self.pauses(), || call.clone().send()).await;
        let found = found.map_err(|error| trouble("Scan", error))?;
        Ok((found.items.unwrap_or_default(), found.last_evaluated_key))
    }

    /// Sessions that a scan finds, at most `limit`, after a key.
    pub(super) async fn scanned(
        &self,
        filter: &str,
        now: Timestamp,
        after: Option<SessionKey>,
        limit: usize,
    ) -> Result<Vec<Session>, StoreError> {
        let mut sessions = Vec::new();
        let mut from = after.as_ref().map(items::session_key);
        loop {
            let (items, next) = self.scan(filter, now, from).await?;
            for item in items.iter().take(limit - sessions.len()) {
                sessions.push(items::session(item)?.0);
            }
            if sessions.len() == limit || next.is_none() {
                return Ok(sessions);
            }
            from = next;
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

    /// Whether it is this node's turn to look for expired sessions; the next turn is anybody's after the interval.
    ///
    /// # Errors
    /// As [`Sessions::part`].
    pub async fn take_turn(&self, now: Timestamp) -> Result<bool, StoreError> {
        let next = now.plus(self.services.options.sweep_interval);
        let call = self.services.db.update_item().table_name(self.table());
        let call = call
            .set_key(Some(items::sweep_key()))
            .update_expression("SET nextAt = :next")
            .condition_expression("attribute_not_exists(nextAt) OR nextAt <= :now")
            .expression_attribute_values(":next", number(next.micros()))
            .expression_attribute_values(":now", number(now.micros()));
        match persist("UpdateItem", self.pauses(), || call.clone().send()).await {
            Ok(_) => Ok(true),
            Err(error) if is_lost(error.as_service_error()) => Ok(false),
            Err(error) => Err(trouble("UpdateItem", error)),
        }
    }
}
