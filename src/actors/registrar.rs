//! The session manager: creates, refreshes, renews and destroys sessions, and removes those that nobody
//! renewed. The store does each in one transaction; queues and routes follow its commits.

use std::sync::Arc;
use std::time::Duration;

use super::dispatcher::Routes;
use crate::backends::Renewal;
use crate::backends::plane::SessionDirectory;
use crate::config::limits;
use crate::domain::session::{
    AesKeyBytes, Credentials, EnvelopeVersion, OpenSession, Session, Transport,
};
use crate::domain::{Clock, IdentityId, QueueName, SessionKey, StoreError, Timestamp, UserId};

/// How sessions are made.
#[derive(Debug, Clone)]
pub struct SessionSettings {
    /// How long temporary keys live.
    pub key_lifetime: Duration,
    /// How long after its keys' end a session that is not renewed is removed.
    pub ttl: Duration,
    /// What queue names start with.
    pub queue_prefix: String,
    /// Region in identity ids.
    pub region: String,
    /// How long messages wait unless `create` says otherwise.
    pub retention: Duration,
    /// Sessions there may be.
    pub most: u64,
    /// Makes fresh keys that end at the given time.
    pub issue_keys: fn(Timestamp) -> Credentials,
}

/// What `create` asks for.
#[derive(Debug, Clone)]
pub struct Create {
    /// Account and id.
    pub key: SessionKey,
    /// The signed-in user.
    pub user: Option<UserId>,
    /// `MessageRetentionPeriod`.
    pub retention: Option<Duration>,
    /// `envelope`.
    pub envelope: EnvelopeVersion,
    /// `topics`, not yet expanded.
    pub topics: Option<Vec<String>>,
    /// `transport`.
    pub transport: Option<Transport>,
}

/// Why a session was not created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// There are as many sessions as there may be.
    #[error("there are {0} sessions, no more are allowed")]
    TooMany(u64),
    /// The configured prefix does not make a queue name.
    #[error("{0}")]
    Name(String),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The session manager.
#[derive(Clone)]
pub struct Registrar {
    directory: Arc<dyn SessionDirectory>,
    routes: Option<Arc<Routes>>,
    settings: Arc<SessionSettings>,
    clock: Clock,
}

impl Registrar {
    /// A manager of the directory's sessions. `routes` counts them; without it there is no bound on their number.
    pub fn new(
        directory: Arc<dyn SessionDirectory>,
        routes: Option<Arc<Routes>>,
        settings: SessionSettings,
        clock: Clock,
    ) -> Self {
        Self {
            directory,
            routes,
            settings: Arc::new(settings),
            clock,
        }
    }

    /// Creates a session, or refreshes it: same queue, same pending messages, same AES key, new keys.
    ///
    /// # Errors
    /// [`CreateError`].
    pub async fn create(&self, create: Create) -> Result<Session, CreateError> {
        let sessions = self.routes.as_ref().map(|routes| routes.sessions());
        let is_full = sessions.is_some_and(|sessions| sessions >= self.settings.most);
        if is_full && self.directory.find(create.key.clone()).await?.is_none() {
            return Err(CreateError::TooMany(self.settings.most));
        }
        let now = self.clock.wall();
        let expires = now.plus(self.settings.key_lifetime);
        let name = QueueName::for_session(&self.settings.queue_prefix, &random());
        let identity = format!("{}:{}", self.settings.region, uuid::Uuid::new_v4());
        let topics = create.topics.map(|topics| {
            topics
                .iter()
                .map(|topic| expand(topic, &create.key, create.user))
                .collect()
        });
        let open = OpenSession {
            queue_name: name.map_err(|error| CreateError::Name(error.0))?,
            aes_key: AesKeyBytes(random()),
            identity: IdentityId::parse(&identity).map_err(|error| CreateError::Name(error.0))?,
            envelope: create.envelope,
            credentials: (self.settings.issue_keys)(expires),
            ttl: expires.plus(self.settings.ttl),
            retention: Some(create.retention.unwrap_or(self.settings.retention)),
            topics,
            transport: create.transport,
            now,
            key: create.key,
            user: create.user,
        };
        let opened = self.directory.open(open).await?;
        metrics::counter!("fanfare_sessions_created_total")
            .increment(u64::from(opened.before.is_none()));
        Ok(opened.session)
    }

    /// Gives a session new keys and a new life; the old keys end at once. `None` if it does not exist (any more).
    ///
    /// # Errors
    /// The store's.
    pub async fn renew(&self, key: SessionKey) -> Result<Option<Session>, StoreError> {
        let now = self.clock.wall();
        let expires = now.plus(self.settings.key_lifetime);
        let ttl = expires.plus(self.settings.ttl);
        self.directory
            .renew(Renewal {
                key,
                credentials: (self.settings.issue_keys)(expires),
                ttl,
                now,
            })
            .await
    }

    /// Removes a session with its queue and identity. `false` if there was none.
    ///
    /// # Errors
    /// The store's.
    pub async fn destroy(&self, key: SessionKey) -> Result<bool, StoreError> {
        let now = self.clock.wall();
        let gone = self.directory.close(key, now).await?;
        Ok(gone.is_some_and(|session| session.ttl > now))
    }

    /// A session; one whose time has passed counts as none.
    ///
    /// # Errors
    /// The store's.
    pub async fn status(&self, key: SessionKey) -> Result<Option<Session>, StoreError> {
        let now = self.clock.wall();
        let found = self.directory.find(key).await?;
        Ok(found.filter(|session| session.ttl > now))
    }

    /// Sessions in the directory's order after `after`, at most `limit` looked at; and where to go on, if
    /// there may be more.
    ///
    /// # Errors
    /// The store's.
    pub async fn list(
        &self,
        after: Option<SessionKey>,
        limit: usize,
    ) -> Result<(Vec<Session>, Option<SessionKey>), StoreError> {
        let now = self.clock.wall();
        let mut sessions = self.directory.after(after, limit).await?;
        let next = sessions
            .last()
            .filter(|_| sessions.len() == limit)
            .map(|last| last.key.clone());
        sessions.retain(|session| session.ttl > now);
        Ok((sessions, next))
    }

    /// Removes every session whose time has passed, and every queue that has lost its session; resolves to how many queues
    /// that were.
    ///
    /// # Errors
    /// The store's; what was removed before stays removed.
    pub async fn cleanup(&self) -> Result<u64, StoreError> {
        let swept = self.sweep().await?;
        Ok(swept.removed + self.reap_queues().await?)
    }

    /// Removes queues that no session owns; resolves to how many there were.
    ///
    /// # Errors
    /// The store's; what was removed before stays removed.
    pub async fn reap_queues(&self) -> Result<u64, StoreError> {
        let prefix = self.settings.queue_prefix.clone();
        self.directory.reap_queues(prefix, self.clock.wall()).await
    }

    /// Removes every session whose time has passed.
    ///
    /// # Errors
    /// The store's; what was removed before stays removed.
    pub async fn sweep(&self) -> Result<Swept, StoreError> {
        let mut swept = Swept::default();
        let mut after = None;
        loop {
            let now = self.clock.wall();
            let lapsed = self.directory.lapsed(now, after, limits::SWEEP_BATCH);
            let lapsed = lapsed.await?;
            swept.rows += lapsed.rows;
            // All of a batch share a commit or two.
            let closing: Vec<_> = lapsed
                .sessions
                .into_iter()
                .map(|key| self.directory.reap(key, now))
                .collect();
            for closed in futures_util::future::join_all(closing).await {
                swept.removed += u64::from(closed?.is_some());
            }
            after = lapsed.next;
            if after.is_none() {
                if let Some(routes) = &self.routes {
                    metrics::gauge!("fanfare_sessions").set(routes.sessions() as f64);
                }
                metrics::counter!("fanfare_sessions_expired_total").increment(swept.removed);
                return Ok(swept);
            }
        }
    }
}

/// What a sweep did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Swept {
    /// Sessions that were removed.
    pub removed: u64,
    /// Rows that were read to find them.
    pub rows: u64,
}

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// Puts the session's ids into a granted topic filter.
fn expand(topic: &str, key: &SessionKey, user: Option<UserId>) -> String {
    let user = user.map(|user| user.to_string()).unwrap_or_default();
    topic
        .replace("{accountId}", &key.account.to_string())
        .replace("{userId}", &user)
        .replace("{sessionId}", key.session.as_str())
}
