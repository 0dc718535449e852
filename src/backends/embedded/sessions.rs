//! Sessions, their keys and identities: [`SessionRegistry`] on the tables.

use std::collections::BTreeMap;

use super::committer::Growth;
use super::keys::{self, tag};
use super::records::{SessionKeyRow, SessionRow, corrupt};
use super::tables::Table;
use super::tx::Tx;
use super::{Embedded, catalog, codec, members};
use crate::backends::{Commit, Opened, Renewal, SessionRegistry, Touched};
use crate::config::limits;
use crate::domain::queue::{QueueAttributes, QueueRecord};
use crate::domain::session::{OpenSession, Session, SessionRoute, Transport};
use crate::domain::{
    AccountId, IdentityId, QueueNo, Seq, SessionId, SessionKey, StoreError, Timestamp,
};

impl Embedded {
    fn remove_if(
        &self,
        key: SessionKey,
        now: Timestamp,
        is_meant: impl FnOnce(&Session) -> bool + Send + 'static,
    ) -> Commit<Option<Session>> {
        let user_ttl = self.user_message_ttl;
        self.committer.submit(Growth::Frees, 256, move |tx| {
            let Some(old) = look_up(tx, &key)?.filter(is_meant) else {
                return Ok(None);
            };
            remove(tx, &old, now.plus(user_ttl))?;
            Ok(Some(old))
        })
    }
}

impl SessionRegistry for Embedded {
    fn get(&self, key: &SessionKey) -> Result<Option<Session>, StoreError> {
        decoded(self.tables.get(Table::Registry, &keys::session(key))?)
    }

    fn by_access_key(&self, access_key: &str) -> Result<Option<Session>, StoreError> {
        self.by_reference(tag::ACCESS_KEY, access_key)
    }

    fn by_identity(&self, identity: &IdentityId) -> Result<Option<Session>, StoreError> {
        self.by_reference(tag::IDENTITY, identity.as_str())
    }

    fn by_id(&self, session: &SessionId) -> Result<Vec<Session>, StoreError> {
        let view = self.tables.view();
        let mut out = Vec::new();
        for row in view.prefix(Table::Registry, &keys::accounts_of(session)) {
            let (key, _) = row?;
            let account = keys::trailing_account(&key).ok_or_else(|| corrupt("session id key"))?;
            let key = SessionKey {
                account,
                session: session.clone(),
            };
            out.extend(decoded(view.get(Table::Registry, &keys::session(&key))?)?);
        }
        Ok(out)
    }

    fn list(
        &self,
        account: Option<AccountId>,
        after: Option<&SessionKey>,
        limit: usize,
    ) -> Result<Vec<Session>, StoreError> {
        let view = self.tables.view();
        let prefix = account.map_or_else(|| vec![tag::SESSION], keys::sessions_of);
        let after = after.map(keys::session);
        let after = after
            .as_deref()
            .and_then(|after| after.strip_prefix(prefix.as_slice()))
            .unwrap_or_default();
        let mut out = Vec::new();
        for row in view.after(Table::Registry, &prefix, after).take(limit) {
            let (_, value) = row?;
            out.extend(decoded(Some(value))?);
        }
        Ok(out)
    }

    fn routes(&self, each: &mut dyn FnMut(SessionRoute)) -> Result<(), StoreError> {
        for row in self.tables.view().prefix(Table::Registry, &[tag::SESSION]) {
            let (_, value) = row?;
            each(codec::decode::<SessionRow<'_>>(&value)?.session()?.route());
        }
        Ok(())
    }

    fn open(&self, open: OpenSession) -> Commit<Opened> {
        let user_ttl = self.user_message_ttl;
        self.committer.submit(Growth::Grows, 2048, move |tx| {
            let before = look_up(tx, &open.key)?;
            let before = match before {
                Some(old) if old.ttl <= open.now => {
                    remove(tx, &old, open.now.plus(user_ttl))?;
                    None
                }
                other => other,
            };
            let session = match &before {
                Some(old) => refresh(tx, old, open, user_ttl)?,
                None => create(tx, open)?,
            };
            let route = before.as_ref().map(Session::route);
            tx.touch(Touched::Opened {
                session: session.route(),
                before: route,
            });
            Ok(Opened { session, before })
        })
    }

    fn renew(&self, renew: Renewal) -> Commit<Option<Session>> {
        self.committer.submit(Growth::Grows, 1024, move |tx| {
            let Some(old) = look_up(tx, &renew.key)?.filter(|old| old.ttl > renew.now) else {
                return Ok(None);
            };
            let session = Session {
                credentials: renew.credentials,
                ttl: renew.ttl,
                ..old.clone()
            };
            replace(tx, &old, &session);
            tx.touch(Touched::Opened {
                session: session.route(),
                before: Some(old.route()),
            });
            Ok(Some(session))
        })
    }

    fn close(&self, key: SessionKey, now: Timestamp) -> Commit<Option<Session>> {
        self.remove_if(key, now, |_| true)
    }

    fn reap(&self, key: SessionKey, now: Timestamp) -> Commit<Option<Session>> {
        self.remove_if(key, now, move |session| session.ttl <= now)
    }

    fn expired(&self, now: Timestamp, limit: usize) -> Result<Vec<SessionKey>, StoreError> {
        let mut out = Vec::new();
        for row in self
            .tables
            .view()
            .prefix(Table::Registry, &[tag::TTL])
            .take(limit)
        {
            let (at, session) = keys::parse_ttl(&row?.0).ok_or_else(|| corrupt("ttl key"))?;
            if at > now {
                break;
            }
            out.push(session);
        }
        Ok(out)
    }
}

impl Embedded {
    fn by_reference(&self, tag: u8, text: &str) -> Result<Option<Session>, StoreError> {
        let Some(value) = self
            .tables
            .get(Table::Registry, &keys::key(tag, &[text.as_bytes()]))?
        else {
            return Ok(None);
        };
        let key = codec::decode::<SessionKeyRow<'_>>(&value)?.key()?;
        let session = SessionRegistry::get(self, &key)?;
        // The two rows are read one after the other: a renewal in between must not let an old key through.
        Ok(session.filter(|session| match tag {
            tag::ACCESS_KEY => session.credentials.access_key == text,
            _ => session.identity.as_str() == text,
        }))
    }
}

fn decoded(value: Option<fjall::Slice>) -> Result<Option<Session>, StoreError> {
    value
        .map(|value| codec::decode::<SessionRow<'_>>(&value)?.session())
        .transpose()
}

fn look_up(tx: &Tx<'_>, key: &SessionKey) -> Result<Option<Session>, StoreError> {
    decoded(tx.get(Table::Registry, &keys::session(key))?)
}

fn create(tx: &mut Tx<'_>, open: OpenSession) -> Result<Session, StoreError> {
    let retention = open.retention.unwrap_or(limits::SESSION_RETENTION_DEFAULT);
    let mut queue = QueueRecord {
        no: QueueNo(0),
        name: open.queue_name.clone(),
        attributes: QueueAttributes {
            retention,
            ..QueueAttributes::default()
        },
        tags: BTreeMap::new(),
        created: open.now,
        modified: open.now,
        since: Seq(0),
        owner: Some(open.key.clone()),
    };
    catalog::add(tx, &mut queue);
    let session = Session {
        key: open.key,
        user: open.user,
        queue: queue.no,
        queue_name: open.queue_name,
        queue_url: None,
        aes_key: open.aes_key.0,
        envelope: open.envelope,
        credentials: open.credentials,
        identity: open.identity,
        created: open.now,
        ttl: open.ttl,
        retention,
        topics: open.topics.unwrap_or_default(),
        // Both ways are there, always.
        transport: Transport::default(),
    };
    write(tx, &session);
    let reference = codec::encode(&SessionKeyRow::new(&session.key), codec::NEVER);
    tx.put(
        Table::Registry,
        keys::key(tag::IDENTITY, &[session.identity.as_str().as_bytes()]),
        reference,
    );
    tx.put(
        Table::Registry,
        keys::session_id(&session.key),
        codec::encode(&(), codec::NEVER),
    );
    if let Some(user) = session.user {
        members::join(tx, user, session.key.account)?;
    }
    Ok(session)
}

fn refresh(
    tx: &mut Tx<'_>,
    old: &Session,
    open: OpenSession,
    user_ttl: std::time::Duration,
) -> Result<Session, StoreError> {
    let session = Session {
        user: open.user,
        credentials: open.credentials,
        ttl: open.ttl,
        retention: open.retention.unwrap_or(old.retention),
        topics: open.topics.unwrap_or_else(|| old.topics.clone()),
        ..old.clone()
    };
    if session.retention != old.retention {
        let queue = catalog::look_up(tx, old.queue)?;
        let mut queue = queue.ok_or_else(|| corrupt("a session without a queue"))?;
        queue.attributes.retention = session.retention;
        queue.modified = open.now;
        catalog::put(tx, &queue);
    }
    if session.user != old.user {
        let account = session.key.account;
        if let Some(user) = old.user {
            members::leave(tx, user, account, open.now.plus(user_ttl))?;
        }
        if let Some(user) = session.user {
            members::join(tx, user, account)?;
        }
    }
    replace(tx, old, &session);
    Ok(session)
}

/// Writes the session over its older self; the old keys end with this commit.
fn replace(tx: &mut Tx<'_>, old: &Session, session: &Session) {
    tx.remove(
        Table::Registry,
        keys::key(tag::ACCESS_KEY, &[old.credentials.access_key.as_bytes()]),
    );
    tx.remove(Table::Registry, keys::ttl(old.ttl, &old.key));
    write(tx, session);
}

/// The session's record, its key and its end of life.
fn write(tx: &mut Tx<'_>, session: &Session) {
    let reference = codec::encode(&SessionKeyRow::new(&session.key), codec::NEVER);
    let access_key = keys::key(
        tag::ACCESS_KEY,
        &[session.credentials.access_key.as_bytes()],
    );
    tx.put(Table::Registry, access_key, reference);
    tx.put(
        Table::Registry,
        keys::ttl(session.ttl, &session.key),
        codec::encode(&(), codec::NEVER),
    );
    tx.put(
        Table::Registry,
        keys::session(&session.key),
        codec::encode(&SessionRow::new(session), codec::NEVER),
    );
}

fn remove(tx: &mut Tx<'_>, old: &Session, forget_at: Timestamp) -> Result<(), StoreError> {
    tx.remove(Table::Registry, keys::session(&old.key));
    tx.remove(Table::Registry, keys::session_id(&old.key));
    tx.remove(Table::Registry, keys::ttl(old.ttl, &old.key));
    tx.remove(
        Table::Registry,
        keys::key(tag::ACCESS_KEY, &[old.credentials.access_key.as_bytes()]),
    );
    tx.remove(
        Table::Registry,
        keys::key(tag::IDENTITY, &[old.identity.as_str().as_bytes()]),
    );
    catalog::remove(tx, &old.queue_name, old.queue);
    tx.touch(Touched::Closed(old.route()));
    match old.user {
        Some(user) => members::leave(tx, user, old.key.account, forget_at),
        None => Ok(()),
    }
}
