//! The sessions that benchmarks work with.

use anyhow::{Context as _, ensure};
use indicatif::ProgressBar;
use serde::Deserialize;
use uuid::Uuid;

use super::connection::Connection;
use super::load;
use super::sign::{Call, Keys};

/// All sessions of benchmarks live in this account and the [`ACCOUNTS`] after it.
const FIRST_ACCOUNT: i64 = 900_000_000;

/// How many accounts [`Place::nth`] spreads over.
const ACCOUNTS: i64 = 100;

/// Who a session belongs to.
pub(super) struct Place {
    account: i64,
    user: i64,
    session: String,
}

/// What `create` answers, as far as it is needed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Session {
    /// The session's queue.
    pub(super) sqs_url: String,
    access_key: String,
    secret_key: String,
    session_token: String,
}

#[derive(Deserialize)]
struct Created {
    session: Session,
}

#[derive(Deserialize)]
struct Notified {
    sessions: u64,
}

impl Session {
    /// The session's temporary keys.
    pub(super) fn keys(self) -> Keys {
        Keys {
            access_key: self.access_key,
            secret_key: self.secret_key,
            token: Some(self.session_token),
        }
    }
}

impl Place {
    /// A session and a user that nobody else has.
    pub(super) fn fresh() -> Self {
        let id = Uuid::new_v4();
        Self {
            account: FIRST_ACCOUNT,
            user: i64::from(id.as_fields().0),
            session: format!("bench-{}", id.simple()),
        }
    }

    /// One of many: always the same for a number; two sessions a user, spread over the accounts.
    pub(super) fn nth(number: u64) -> Self {
        let number = i64::try_from(number).expect("fewer sessions than i64 has numbers");
        Self {
            account: FIRST_ACCOUNT + number / 2 % ACCOUNTS,
            user: FIRST_ACCOUNT + number / 2,
            session: format!("bench-{number}"),
        }
    }

    /// The path that posts to this session.
    pub(super) fn notify_path(&self) -> String {
        let Self {
            account,
            user,
            session,
        } = self;
        format!("/notify/{account}/user/{user}/session/{session}")
    }

    fn manage_path(&self, verb: &str) -> String {
        let Self {
            account,
            user,
            session,
        } = self;
        format!("/{verb}/{account}/{session}/{user}")
    }

    /// Creates the session, or refreshes it.
    pub(super) async fn create(&self, connection: &mut Connection) -> anyhow::Result<Session> {
        let path = self.manage_path("create");
        let body = connection.call(&Call::rest(&path, "")).await?;
        let created: Created =
            serde_json::from_slice(&body).with_context(|| format!("{path} answered no session"))?;
        Ok(created.session)
    }

    /// Removes the session with its queue.
    pub(super) async fn destroy(&self, connection: &mut Connection) -> anyhow::Result<()> {
        let path = self.manage_path("destroy");
        connection.call(&Call::rest(&path, "")).await.map(drop)
    }
}

/// Creates or refreshes the first `count` sessions that [`Place::nth`] names.
pub(super) async fn create_many(
    connections: &mut [Connection],
    count: u64,
    progress: &ProgressBar,
) -> anyhow::Result<()> {
    load::share(connections, count, async |connection, number| {
        let path = Place::nth(number).manage_path("create");
        connection.call(&Call::rest(&path, "")).await?;
        progress.inc(1);
        Ok(())
    })
    .await
}

/// Posts a message; answers to how many sessions.
pub(super) async fn notify(
    connection: &mut Connection,
    path: &str,
    message: &str,
) -> anyhow::Result<u64> {
    let body = connection.call(&Call::rest(path, message)).await?;
    reached(path, &body)
}

/// How many sessions a message reached, by the answer to its post.
fn reached(path: &str, answer: &[u8]) -> anyhow::Result<u64> {
    let notified: Notified =
        serde_json::from_slice(answer).with_context(|| format!("{path} answered no count"))?;
    Ok(notified.sessions)
}

/// Fails unless a post reached one session.
pub(super) fn reached_one(path: &str, answer: &[u8]) -> anyhow::Result<()> {
    let reached = reached(path, answer)?;
    ensure!(
        reached == 1,
        "{path} reached {reached} sessions instead of one"
    );
    Ok(())
}

/// Posts a message to one session.
pub(super) async fn notify_one(
    connection: &mut Connection,
    path: &str,
    message: &str,
) -> anyhow::Result<()> {
    let answer = connection.call(&Call::rest(path, message)).await?;
    reached_one(path, &answer)
}

/// A message of about so many bytes.
pub(super) fn message(bytes: usize) -> String {
    const FRAME: usize = r#"{"text":""}"#.len();
    format!(
        r#"{{"text":"{}"}}"#,
        "x".repeat(bytes.saturating_sub(FRAME))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_sessions_are_spread() {
        let paths = |range: std::ops::Range<u64>| {
            range
                .map(|n| Place::nth(n).notify_path())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            paths(0..3),
            [
                "/notify/900000000/user/900000000/session/bench-0",
                "/notify/900000000/user/900000000/session/bench-1",
                "/notify/900000001/user/900000001/session/bench-2",
            ]
        );
        assert_eq!(Place::nth(201).account, FIRST_ACCOUNT);
        assert_ne!(Place::fresh().notify_path(), Place::fresh().notify_path());
    }

    #[test]
    fn a_message_has_its_size() {
        assert_eq!(message(128).len(), 128);
        assert_eq!(message(0), r#"{"text":""}"#);
        assert!(serde_json::from_str::<serde_json::Value>(&message(20)).is_ok());
    }
}
