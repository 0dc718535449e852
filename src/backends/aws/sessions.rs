//! Sessions in DynamoDB, each with a queue at SQS.
//!
//! **One row decides.** A change of a session is a conditional write of its row ([`items::Kind::Session`]): the version
//! must still be the one that was read. Whoever loses reads again. The other rows follow from it before anybody is
//! answered; a node that ends in between has answered nobody, and the next change of the session writes them anew.
//!
//! **A queue is there before its row, and gone before it.** A row never names a queue that has yet to be made. A session
//! that is closed first ends (its row says so, and everybody who reads it), then loses its other rows, its queue and its
//! identity, and its row last: whatever fails on the way is gone on with by whoever closes it again, the sweep at the latest.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_sqs::types::QueueAttributeName;

use super::Services;
use super::identities::IDENTITY_TAG;
use super::items::{self, Item, Kind, number, text};
use super::keys::Keys;
use super::orphans::OWNER_TAG;
use super::service::{Pauses, persist, trouble};
use crate::backends::plane::{Lapsed, Reply, SessionDirectory};
use crate::backends::{Opened, Renewal};
use crate::config::limits;
use crate::domain::session::{OpenSession, Session};
use crate::domain::{QueueName, QueueNo, SessionKey, StoreError, Timestamp};

/// Told of each session that was refreshed, renewed or closed, by its queue, when that is decided.
pub type Changed = Arc<dyn Fn(&QueueName) + Send + Sync>;

/// The sessions of all nodes.
#[derive(Clone)]
pub struct Sessions {
    pub(super) services: Arc<Services>,
    pub(super) keys: Keys,
    changed: Option<Changed>,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

impl Sessions {
    /// The sessions in the configured table.
    pub fn new(services: Arc<Services>) -> Self {
        let keys = Keys::new(services.clone());
        Self {
            services,
            keys,
            changed: None,
        }
    }

    /// The same, and somebody is told of what changes.
    #[must_use]
    pub fn telling(mut self, changed: Changed) -> Self {
        self.changed = Some(changed);
        self
    }

    pub(super) fn table(&self) -> &str {
        &self.services.options.sessions_table
    }

    pub(super) fn pauses(&self) -> Pauses {
        Pauses::lasting(self.services.options.patience)
    }

    pub(super) async fn get(&self, key: Item) -> Result<Option<Item>, StoreError> {
        let call = self.services.db.get_item().table_name(self.table());
        let call = call.set_key(Some(key)).consistent_read(true);
        let found = persist("GetItem", self.pauses(), || call.clone().send()).await;
        Ok(found.map_err(|error| trouble("GetItem", error))?.item)
    }

    /// Removes a row; one of a session only if it is of this queue still, and of no later version.
    async fn delete(&self, key: Item, of: Option<(&QueueName, u64)>) -> Result<(), StoreError> {
        let mut call = self.services.db.delete_item().table_name(self.table());
        if let Some((queue, version)) = of {
            call = call.condition_expression("sqsQueueName = :queue AND version <= :v");
            call = call.expression_attribute_values(":queue", text(queue.as_str()));
            call = call.expression_attribute_values(":v", number(version));
        }
        let call = call.set_key(Some(key));
        match persist("DeleteItem", self.pauses(), || call.clone().send()).await {
            Ok(_) => Ok(()),
            // Somebody wrote it anew in the meantime: it is theirs now.
            Err(error) if is_conditional(error.as_service_error()) => Ok(()),
            Err(error) => Err(trouble("DeleteItem", error)),
        }
    }

    /// A session and its version, whatever its state.
    pub(super) async fn read(
        &self,
        key: &SessionKey,
    ) -> Result<Option<(Session, u64)>, StoreError> {
        let found = self.get(items::session_key(key)).await?;
        found.as_ref().map(items::session).transpose()
    }

    /// Writes a session's row if its version is still `before`; `false` if it is not. The first version is the time, so
    /// that what was read of a session that is no more is never taken for a later one of the same key. What leases counters is not
    /// touched: it belongs to the queue, not to the version.
    async fn decide(&self, session: &Session, before: Option<u64>) -> Result<bool, StoreError> {
        let version = before.map_or(first_version(session), |before| before + 1);
        let mut call = self.services.db.update_item().table_name(self.table());
        call = call.set_key(Some(items::session_key(&session.key)));
        call = call.condition_expression(match before {
            Some(_) => "version = :before",
            None => "attribute_not_exists(version)",
        });
        if let Some(before) = before {
            call = call.expression_attribute_values(":before", number(before));
        }
        let mut sets = Vec::new();
        let row = items::attributes(session, version, Kind::Session);
        let absent = ["user", "accountId", "transport"]
            .iter()
            .filter(|name| !row.contains_key(**name));
        let absent: Vec<&str> = absent.copied().collect();
        for (at, (name, value)) in row.iter().enumerate() {
            sets.push(format!("#n{at} = :v{at}"));
            call = call.expression_attribute_names(format!("#n{at}"), name);
            call = call.expression_attribute_values(format!(":v{at}"), value.clone());
        }
        let mut update = format!("SET {}", sets.join(", "));
        for (at, name) in absent.iter().enumerate() {
            update.push_str(if at == 0 { " REMOVE " } else { ", " });
            update.push_str(&format!("#a{at}"));
            call = call.expression_attribute_names(format!("#a{at}"), *name);
        }
        let call = call.update_expression(update);
        match persist("UpdateItem", self.pauses(), || call.clone().send()).await {
            Ok(_) => {
                if let (Some(changed), Some(_)) = (&self.changed, before) {
                    changed(&session.queue_name);
                }
                Ok(true)
            }
            Err(error) if is_lost(error.as_service_error()) => Ok(false),
            Err(error) => Err(trouble("UpdateItem", error)),
        }
    }

    /// Brings the other rows in line with a decision; `before` is what it replaced.
    async fn follow(
        &self,
        session: &Session,
        version: u64,
        before: Option<&Session>,
    ) -> Result<(), StoreError> {
        if let Some(user) = session.user {
            let mut row = items::attributes(session, version, Kind::User);
            row.extend(items::user_key(user, &session.key));
            self.put(row, Some(version)).await?;
        }
        let mut row = items::access_key(&session.credentials.access_key);
        row.insert("account".into(), number(session.key.account));
        row.insert("session".into(), text(session.key.session.as_str()));
        let until = session.ttl.plus(items::ROW_GRACE).secs();
        row.insert("ttl".into(), number(until));
        self.put(row, None).await?;
        let Some(before) = before else { return Ok(()) };
        if let Some(user) = before.user.filter(|user| session.user != Some(*user)) {
            let key = items::user_key(user, &before.key);
            self.delete(key, Some((&before.queue_name, version)))
                .await?;
        }
        if before.credentials.access_key != session.credentials.access_key {
            let key = items::access_key(&before.credentials.access_key);
            self.delete(key, None).await?;
        }
        Ok(())
    }

    /// Writes a row, unless what is there is of a later version.
    async fn put(&self, row: Item, version: Option<u64>) -> Result<(), StoreError> {
        let mut call = self.services.db.put_item().table_name(self.table());
        if let Some(version) = version {
            let condition = "attribute_not_exists(version) OR version <= :v";
            call = call.condition_expression(condition);
            call = call.expression_attribute_values(":v", number(version));
        }
        let call = call.set_item(Some(row));
        match persist("PutItem", self.pauses(), || call.clone().send()).await {
            Ok(_) => Ok(()),
            Err(error) if is_conditional(error.as_service_error()) => Ok(()),
            Err(error) => Err(trouble("PutItem", error)),
        }
    }

    async fn open(self, open: OpenSession) -> Result<Opened, StoreError> {
        let mut pauses = self.pauses();
        for _ in 0..limits::aws::CHANGE_TRIES {
            let found = self.read(&open.key).await?;
            let opened = match found {
                Some((before, version)) if before.ttl > open.now => {
                    self.refresh(&open, before, version).await?
                }
                Some((over, version)) => {
                    self.purge(&over, version).await?;
                    continue;
                }
                None => self.create(&open).await?,
            };
            match opened {
                Some(opened) => return Ok(opened),
                // Another node changed it first.
                None if pauses.pause().await => {}
                None => break,
            }
        }
        Err(StoreError::Overloaded)
    }

    /// A new session; `None` if another node was first.
    async fn create(&self, open: &OpenSession) -> Result<Option<Opened>, StoreError> {
        let (now, name) = (open.now, &open.queue_name);
        let expires = open.credentials.expires;
        let issued = self.keys.issue(name, now, expires).await?;
        let retention = open.retention.unwrap_or(limits::SESSION_RETENTION_DEFAULT);
        let seconds = retention.as_secs().to_string();
        let call = self.services.sqs.create_queue().queue_name(name.as_str());
        let call = call
            .attributes(QueueAttributeName::MessageRetentionPeriod, seconds)
            .tags(OWNER_TAG, self.table());
        let call = match &issued.identity {
            Some(identity) => call.tags(IDENTITY_TAG, identity.as_str()),
            None => call,
        };
        let made = persist("CreateQueue", self.pauses(), || call.clone().send()).await;
        let made = made.map_err(|error| trouble("CreateQueue", error))?;
        let url = made.queue_url.ok_or_else(|| {
            StoreError::Failed("CreateQueue: SQS gave an answer without a URL".into())
        })?;
        let session = Session {
            key: open.key.clone(),
            user: open.user,
            queue: QueueNo::ELSEWHERE,
            queue_name: name.clone(),
            queue_url: Some(url.into()),
            aes_key: open.aes_key.0,
            envelope: open.envelope,
            credentials: issued.credentials,
            identity: issued.identity.unwrap_or_else(|| open.identity.clone()),
            created: now,
            ttl: open.ttl,
            retention,
            topics: open.topics.clone().unwrap_or_default(),
            transport: open.transport.unwrap_or_default(),
        };
        if !self.decide(&session, None).await? {
            self.delete_queue(&session).await?;
            self.delete_identity(&session).await?;
            return Ok(None);
        }
        self.follow(&session, first_version(&session), None).await?;
        let before = None;
        Ok(Some(Opened { session, before }))
    }

    /// The same session with what `open` says anew; `None` if another node was first.
    async fn refresh(
        &self,
        open: &OpenSession,
        before: Session,
        version: u64,
    ) -> Result<Option<Opened>, StoreError> {
        let mut session = before.clone();
        session.user = open.user;
        session.ttl = open.ttl;
        if let Some(topics) = &open.topics {
            session.topics.clone_from(topics);
        }
        session.transport = open.transport.unwrap_or(session.transport);
        if let Some(retention) = open.retention {
            session.retention = retention;
        }
        let expires = open.credentials.expires;
        self.rekey(&mut session, open.now, expires).await?;
        if !self.decide(&session, Some(version)).await? {
            return Ok(None);
        }
        if session.retention != before.retention {
            self.retain(&session, session.retention).await?;
        }
        self.follow(&session, version + 1, Some(&before)).await?;
        let before = Some(before);
        Ok(Some(Opened { session, before }))
    }

    async fn retain(&self, session: &Session, retention: Duration) -> Result<(), StoreError> {
        let seconds = retention.as_secs().to_string();
        let call = self.services.sqs.set_queue_attributes();
        let call = call.set_queue_url(session.queue_url.as_deref().map(str::to_owned));
        let call = call.attributes(QueueAttributeName::MessageRetentionPeriod, seconds);
        let set = persist("SetQueueAttributes", self.pauses(), || call.clone().send()).await;
        set.map(drop)
            .map_err(|error| trouble("SetQueueAttributes", error))
    }

    async fn renew(self, renewal: Renewal) -> Result<Option<Session>, StoreError> {
        let mut pauses = self.pauses();
        for _ in 0..limits::aws::CHANGE_TRIES {
            let found = self.read(&renewal.key).await?;
            let Some((before, version)) = found.filter(|(found, _)| found.ttl > renewal.now) else {
                return Ok(None);
            };
            let mut session = before.clone();
            session.ttl = renewal.ttl;
            let expires = renewal.credentials.expires;
            self.rekey(&mut session, renewal.now, expires).await?;
            if self.decide(&session, Some(version)).await? {
                self.follow(&session, version + 1, Some(&before)).await?;
                return Ok(Some(session));
            }
            if !pauses.pause().await {
                break;
            }
        }
        Err(StoreError::Overloaded)
    }

    async fn close(self, key: SessionKey) -> Result<Option<Session>, StoreError> {
        let mut pauses = self.pauses();
        for _ in 0..limits::aws::CHANGE_TRIES {
            let Some((session, version)) = self.read(&key).await? else {
                return Ok(None);
            };
            let mut over = session.clone();
            over.ttl = Timestamp::default();
            if self.decide(&over, Some(version)).await? {
                self.purge(&over, version + 1).await?;
                return Ok(Some(session));
            }
            if !pauses.pause().await {
                break;
            }
        }
        Err(StoreError::Overloaded)
    }

    async fn reap(self, key: SessionKey, now: Timestamp) -> Result<Option<Session>, StoreError> {
        let found = self.read(&key).await?;
        let Some((over, version)) = found.filter(|(found, _)| found.ttl <= now) else {
            return Ok(None);
        };
        // Nobody renews or refreshes what is over: who opens it anew removes it first, as this does.
        self.purge(&over, version).await?;
        Ok(Some(over))
    }

    /// Removes what is left of a session that is over.
    async fn purge(&self, over: &Session, version: u64) -> Result<(), StoreError> {
        if let Some(user) = over.user {
            let key = items::user_key(user, &over.key);
            self.delete(key, Some((&over.queue_name, version))).await?;
        }
        let key = items::access_key(&over.credentials.access_key);
        self.delete(key, None).await?;
        self.delete_queue(over).await?;
        self.delete_identity(over).await?;
        let key = items::session_key(&over.key);
        self.delete(key, Some((&over.queue_name, version))).await
    }

    async fn delete_queue(&self, session: &Session) -> Result<(), StoreError> {
        let url = session.queue_url.as_deref().unwrap_or_default();
        self.delete_queue_at(url).await
    }

    /// Deletes a queue, unless it is gone already.
    pub(super) async fn delete_queue_at(&self, url: &str) -> Result<(), StoreError> {
        let call = self.services.sqs.delete_queue().queue_url(url);
        match persist("DeleteQueue", self.pauses(), || call.clone().send()).await {
            Ok(_) => Ok(()),
            Err(error) if super::outbox::is_gone(&error) => Ok(()),
            Err(error) => Err(trouble("DeleteQueue", error)),
        }
    }

    async fn holder_of(self, access_key: String) -> Result<Option<Session>, StoreError> {
        let plausible = access_key.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !plausible || !(1..=128).contains(&access_key.len()) {
            return Ok(None);
        }
        let Some(row) = self.get(items::access_key(&access_key)).await? else {
            return Ok(None);
        };
        let found = self.read(&items::key_of(&row)?).await?;
        let found = found.map(|(session, _)| session);
        Ok(found.filter(|session| session.credentials.access_key == access_key))
    }
}

/// The version of a session that is made.
fn first_version(session: &Session) -> u64 {
    session.created.micros()
}

pub(super) fn is_lost(error: Option<&UpdateItemError>) -> bool {
    error.is_some_and(UpdateItemError::is_conditional_check_failed_exception)
}

/// Whether a condition did not hold, for the operations whose error types say it by code only.
pub(super) fn is_conditional<E: aws_smithy_types::error::metadata::ProvideErrorMetadata>(
    error: Option<&E>,
) -> bool {
    let code = error.and_then(|error| error.code());
    code == Some("ConditionalCheckFailedException")
}

impl SessionDirectory for Sessions {
    fn find(&self, key: SessionKey) -> Reply<Option<Session>> {
        let sessions = self.clone();
        Box::pin(async move { Ok(sessions.read(&key).await?.map(|(session, _)| session)) })
    }

    fn holder(&self, access_key: String) -> Reply<Option<Session>> {
        Box::pin(self.clone().holder_of(access_key))
    }

    fn after(&self, after: Option<SessionKey>, limit: usize) -> Reply<Vec<Session>> {
        let sessions = self.clone();
        let all = "kind = :kind AND endsAt > :now";
        Box::pin(async move {
            sessions
                .scanned(all, Timestamp::default(), after, limit, true)
                .await
                .map(|(sessions, _)| sessions)
        })
    }

    fn open(&self, open: OpenSession) -> Reply<Opened> {
        Box::pin(Self::open(self.clone(), open))
    }

    fn renew(&self, renewal: Renewal) -> Reply<Option<Session>> {
        Box::pin(Self::renew(self.clone(), renewal))
    }

    fn close(&self, key: SessionKey, _: Timestamp) -> Reply<Option<Session>> {
        Box::pin(Self::close(self.clone(), key))
    }

    fn reap(&self, key: SessionKey, now: Timestamp) -> Reply<Option<Session>> {
        Box::pin(Self::reap(self.clone(), key, now))
    }

    fn reap_queues(&self, prefix: String, now: Timestamp) -> Reply<u64> {
        Box::pin(self.clone().reap_orphans(prefix, now))
    }

    /// Read for half the price: who reaps one of them looks again.
    fn lapsed(&self, now: Timestamp, after: Option<SessionKey>, limit: usize) -> Reply<Lapsed> {
        let sessions = self.clone();
        let over = "kind = :kind AND endsAt <= :now";
        Box::pin(async move {
            let (found, rows) = sessions.scanned(over, now, after, limit, false).await?;
            let sessions: Vec<_> = found.into_iter().map(|session| session.key).collect();
            Ok(Lapsed {
                next: sessions.last().filter(|_| sessions.len() == limit).cloned(),
                sessions,
                rows,
            })
        })
    }
}
