//! `fanfare session create|renew|destroy|status`: the session manager from a terminal.

use std::io::{self, Write};

use clap::Subcommand;
use hyper::Method;
use serde_json::{Value, json};

use super::client::{Client, ConnectArgs, path, run as block_on};
use super::shown;

/// Create, renew, destroy and look at sessions.
///
/// A session is one signed-in client: it has a queue of its own, temporary keys to read it, and an AES key to
/// decrypt its messages.
///
/// Examples:
///   fanfare session create 1 alice 7          account 1, session "alice", user 7
///   fanfare session create 1 alice --json > alice.json
///   fanfare session status                    all sessions
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct SessionArgs {
    #[command(subcommand)]
    action: Action,

    #[command(flatten)]
    connect: ConnectArgs,

    /// Print the server's answer as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create a session, or refresh it: same queue, same key, new access keys
    Create {
        #[command(flatten)]
        session: Named,
        /// Seconds that messages wait in the queue, 60 to 1209600
        #[arg(long, value_name = "SECONDS")]
        retention: Option<u32>,
        /// Envelope: v1 (AES-CTR) or gcm (AES-GCM)
        #[arg(long, value_name = "VERSION")]
        envelope: Option<String>,
        /// An MQTT topic filter that the session may use; may be repeated
        #[arg(long = "topic", value_name = "FILTER")]
        topics: Vec<String>,
    },
    /// Give a session new access keys; the old ones stop working at once
    Renew(Named),
    /// Remove a session with its queue
    Destroy(Named),
    /// Show a session, or all of them
    Status {
        /// Account, an integer
        #[arg(requires = "session", allow_negative_numbers = true)]
        account: Option<i64>,
        /// Session id
        session: Option<String>,
    },
}

/// Names a session.
#[derive(Debug, clap::Args)]
struct Named {
    /// Account, an integer
    #[arg(allow_negative_numbers = true)]
    account: i64,
    /// Session id, 1 to 256 characters
    session: String,
    /// User, an integer
    #[arg(allow_negative_numbers = true)]
    user: Option<i64>,
}

impl Named {
    fn path(&self, action: &str) -> String {
        let (account, user) = (
            self.account.to_string(),
            self.user.map(|user| user.to_string()),
        );
        let mut segments = vec![action, &account, &self.session];
        segments.extend(user.as_deref());
        path(&segments)
    }
}

/// Runs `fanfare session`.
///
/// # Errors
/// What the server said, or that it was not reached.
pub fn run(args: SessionArgs) -> anyhow::Result<()> {
    let client = Client::connect(&args.connect)?;
    let answer = block_on(async {
        match &args.action {
            Action::Create {
                session,
                retention,
                envelope,
                topics,
            } => {
                let options = options(*retention, envelope.as_deref(), topics);
                client
                    .call(
                        Method::POST,
                        &session.path("create"),
                        Some(options.to_string()),
                    )
                    .await
            }
            Action::Renew(session) => {
                client
                    .call(Method::POST, &session.path("renew"), None)
                    .await
            }
            Action::Destroy(session) => {
                client
                    .call(Method::POST, &session.path("destroy"), None)
                    .await
            }
            Action::Status {
                account: Some(account),
                session: Some(session),
            } => {
                client
                    .call(
                        Method::GET,
                        &path(&["status", &account.to_string(), session]),
                        None,
                    )
                    .await
            }
            Action::Status { .. } => client.call(Method::GET, "/status", None).await,
        }
    })?;
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", shown::line(&answer.to_string()))?;
    } else {
        write!(out, "{}", readable(&args.action, &answer))?;
    }
    Ok(())
}

fn options(retention: Option<u32>, envelope: Option<&str>, topics: &[String]) -> Value {
    let mut options = json!({});
    if let Some(secs) = retention {
        options["MessageRetentionPeriod"] = secs.into();
    }
    if let Some(version) = envelope {
        options["envelope"] = version.into();
    }
    if !topics.is_empty() {
        options["topics"] = topics.into();
    }
    options
}

/// The answer for people: what a client needs, a line each; lists as a table.
fn readable(action: &Action, answer: &Value) -> String {
    if let Some(sessions) = answer["sessions"].as_array() {
        let mut text = format!(
            "{:<12} {:<32} {:<12} {}\n",
            "ACCOUNT", "SESSION", "USER", "KEYS UNTIL"
        );
        for session in sessions {
            let user = session["userId"]
                .as_i64()
                .map_or("-".to_owned(), |user| user.to_string());
            let id = shown::line(session["sessionId"].as_str().unwrap_or_default());
            text += &format!(
                "{:<12} {id:<32} {user:<12} {}\n",
                session["accountId"],
                shown::time(&session["expires"])
            );
        }
        return text + &format!("{} sessions\n", sessions.len());
    }
    match (&answer["session"], action) {
        (Value::Object(session), _) => session
            .iter()
            .map(|(name, value)| {
                let value = match (name.as_str(), value) {
                    ("expires" | "ttl", time) => shown::time(time),
                    (_, Value::String(text)) => shown::line(text),
                    (_, other) => other.to_string(),
                };
                format!("{name:<14} {value}\n")
            })
            .collect(),
        (_, Action::Destroy(named)) => format!("session {} destroyed\n", named.session),
        _ => "no such session\n".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_named_in_the_path() {
        let named = Named {
            account: -1,
            session: "a/b".into(),
            user: Some(7),
        };
        assert_eq!(named.path("create"), "/create/-1/a%2Fb/7");
    }

    #[test]
    fn options_are_only_what_was_given() {
        assert_eq!(options(None, None, &[]), json!({}));
        let all = options(Some(60), Some("gcm"), &["a/#".into()]);
        assert_eq!(
            all,
            json!({"MessageRetentionPeriod": 60, "envelope": "gcm", "topics": ["a/#"]})
        );
    }

    #[test]
    fn answers_are_readable() {
        let named = || Named {
            account: 1,
            session: "s".into(),
            user: None,
        };
        let one = json!({"success": true, "session": {"accountId": 1, "sessionId": "s"}});
        let text = readable(&Action::Renew(named()), &one);
        assert!(
            text.contains("accountId      1\n") && text.contains("sessionId      s\n"),
            "{text}"
        );
        let none = json!({"success": true, "session": null});
        assert_eq!(
            readable(&Action::Renew(named()), &none),
            "no such session\n"
        );
        let all = json!({"sessions": [{"accountId": 1, "sessionId": "s", "expires": 5}]});
        assert!(
            readable(
                &Action::Status {
                    account: None,
                    session: None
                },
                &all
            )
            .ends_with("1 sessions\n")
        );
    }
}
