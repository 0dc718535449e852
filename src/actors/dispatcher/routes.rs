//! The routing table: who has which sessions. Kept in memory, small per session, written only by the
//! store's commits in their order, so that it never disagrees with the disk.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dashmap::DashMap;

use crate::backends::Touched;
use crate::domain::session::SessionRoute;
use crate::domain::{AccountId, QueueName, QueueNo, SessionId, SessionKey, UserId};

/// A session of a user, as routing sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserSession {
    /// Its account.
    pub account: AccountId,
    /// Its id.
    pub session: SessionId,
    /// Its queue.
    pub queue: QueueNo,
    /// The queue's name, which answers show.
    pub name: QueueName,
    /// How long messages wait in the queue.
    pub retention: Duration,
}

/// The routing table.
#[derive(Debug, Default)]
pub struct Routes {
    /// Sessions by user; those without a user are only counted.
    users: DashMap<UserId, Vec<UserSession>>,
    accounts: DashMap<AccountId, u64>,
    sessions: AtomicU64,
    /// The longest retention any session had, in seconds: how long a broadcast is kept.
    longest_retention_secs: AtomicU64,
}

impl Routes {
    /// Follows a commit.
    pub fn follow(&self, touched: &Touched) {
        match touched {
            Touched::Opened { session, before } => {
                if let Some(before) = before {
                    self.remove(before);
                }
                self.add(session);
            }
            Touched::Closed(session) => self.remove(session),
            Touched::Queue(_) | Touched::Everyone | Touched::Account(_) => {}
        }
    }

    /// Adds a session.
    pub fn add(&self, route: &SessionRoute) {
        self.sessions.fetch_add(1, Ordering::Relaxed);
        self.longest_retention_secs
            .fetch_max(route.retention.as_secs(), Ordering::Relaxed);
        *self.accounts.entry(route.key.account).or_default() += 1;
        if let Some(user) = route.user {
            let session = UserSession {
                account: route.key.account,
                session: route.key.session.clone(),
                queue: route.queue,
                name: route.queue_name.clone(),
                retention: route.retention,
            };
            let mut sessions = self.users.entry(user).or_default();
            // Most users have one session: do not reserve for four.
            sessions.reserve_exact(1);
            sessions.push(session);
        }
    }

    fn remove(&self, route: &SessionRoute) {
        self.sessions.fetch_sub(1, Ordering::Relaxed);
        let left = self.accounts.get_mut(&route.key.account).map(|mut count| {
            *count -= 1;
            *count
        });
        if left == Some(0) {
            self.accounts
                .remove_if(&route.key.account, |_, count| *count == 0);
        }
        let Some(user) = route.user else { return };
        if let Some(mut sessions) = self.users.get_mut(&user) {
            sessions.retain(|session| session.queue != route.queue);
        }
        self.users
            .remove_if(&user, |_, sessions| sessions.is_empty());
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> u64 {
        self.sessions.load(Ordering::Relaxed)
    }

    /// How many sessions the account has.
    pub fn sessions_of_account(&self, account: AccountId) -> u64 {
        self.accounts.get(&account).map_or(0, |count| *count)
    }

    /// The user's sessions.
    pub fn sessions_of_user(&self, user: UserId) -> Vec<UserSession> {
        self.users
            .get(&user)
            .map(|sessions| sessions.clone())
            .unwrap_or_default()
    }

    /// How long a message to many sessions is kept.
    pub fn longest_retention(&self) -> Duration {
        Duration::from_secs(self.longest_retention_secs.load(Ordering::Relaxed))
    }
}

impl UserSession {
    /// Account and id.
    pub fn key(&self) -> SessionKey {
        SessionKey {
            account: self.account,
            session: self.session.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(account: i64, session: &str, user: Option<i64>, queue: u64) -> SessionRoute {
        SessionRoute {
            key: SessionKey {
                account: AccountId(account),
                session: SessionId::parse(session).expect("valid"),
            },
            user: user.map(UserId),
            queue: QueueNo(queue),
            queue_name: QueueName::parse(&format!("q{queue}")).expect("valid"),
            retention: Duration::from_secs(60),
        }
    }

    fn opened(session: SessionRoute, before: Option<SessionRoute>) -> Touched {
        Touched::Opened { session, before }
    }

    #[test]
    fn sessions_come_and_go() {
        let routes = Routes::default();
        routes.follow(&opened(route(1, "a", Some(7), 10), None));
        routes.follow(&opened(route(1, "b", Some(7), 11), None));
        routes.follow(&opened(route(2, "c", None, 12), None));
        assert_eq!(
            (routes.sessions(), routes.sessions_of_account(AccountId(1))),
            (3, 2)
        );
        assert_eq!(routes.sessions_of_user(UserId(7)).len(), 2);
        routes.follow(&Touched::Closed(route(1, "a", Some(7), 10)));
        routes.follow(&Touched::Closed(route(1, "b", Some(7), 11)));
        assert_eq!(
            (routes.sessions(), routes.sessions_of_account(AccountId(1))),
            (1, 0)
        );
        assert!(
            routes.users.is_empty() && routes.accounts.len() == 1,
            "nothing is left behind"
        );
    }

    #[test]
    fn a_refresh_can_change_the_user() {
        let routes = Routes::default();
        let (old, new) = (route(1, "a", Some(7), 10), route(1, "a", Some(8), 10));
        routes.follow(&opened(old.clone(), None));
        routes.follow(&opened(new, Some(old)));
        assert_eq!(routes.sessions(), 1);
        assert!(routes.sessions_of_user(UserId(7)).is_empty());
        assert_eq!(routes.sessions_of_user(UserId(8)).len(), 1);
    }
}
