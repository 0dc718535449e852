//! Finds sessions for whoever looks after the server, by whatever is known of them.

use std::sync::Arc;

use super::dispatcher::Routes;
use crate::backends::SessionRegistry;
use crate::domain::session::Session;
use crate::domain::{Clock, SessionKey, StoreError, Target, Timestamp, UserId};

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Finder {
    routes: Arc<Routes>,
    registry: Arc<dyn SessionRegistry>,
    clock: Clock,
}

impl Finder {
    /// Looks in these.
    pub fn new(routes: Arc<Routes>, registry: Arc<dyn SessionRegistry>, clock: Clock) -> Self {
        Self {
            routes,
            registry,
            clock,
        }
    }

    /// The sessions that a message to `target` would go to, in order of account and id, after `after`: at most `limit`, and
    /// where to go on if there are more.
    ///
    /// # Errors
    /// The store's.
    pub fn find(
        &self,
        target: &Target,
        after: Option<&SessionKey>,
        limit: usize,
    ) -> Result<(Vec<Session>, Option<SessionKey>), StoreError> {
        let is_meant = |session: &Session| {
            target
                .account
                .is_none_or(|account| account == session.key.account)
                && target.user.is_none_or(|user| Some(user) == session.user)
                && target
                    .session
                    .as_ref()
                    .is_none_or(|id| *id == session.key.session)
        };
        let mut found = match (target.user, &target.session) {
            // One user's, and those of one id in all accounts, are few enough to be put in order.
            (Some(user), _) => self.of_user(user)?,
            (None, Some(id)) => self.registry.by_id(id)?,
            (None, None) => self.registry.list(target.account, after, limit + 1)?,
        };
        found.retain(|session| is_meant(session) && after.is_none_or(|after| session.key > *after));
        found.sort_by(|one, other| one.key.cmp(&other.key));
        let next = (found.len() > limit).then(|| found[limit - 1].key.clone());
        found.truncate(limit);
        found.retain(|session| session.ttl > self.now());
        Ok((found, next))
    }

    /// One session, unless its time is over.
    ///
    /// # Errors
    /// The store's.
    pub fn get(&self, key: &SessionKey) -> Result<Option<Session>, StoreError> {
        let found = self.registry.get(key)?;
        Ok(found.filter(|session| session.ttl > self.now()))
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.routes.sessions()
    }

    fn of_user(&self, user: UserId) -> Result<Vec<Session>, StoreError> {
        let routed = self.routes.sessions_of_user(user);
        let read = routed
            .iter()
            .map(|session| self.registry.get(&session.key()));
        let read: Result<Vec<_>, _> = read.collect();
        Ok(read?.into_iter().flatten().collect())
    }

    fn now(&self) -> Timestamp {
        self.clock.wall()
    }
}
