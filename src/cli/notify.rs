//! `fanfare notify`: posting a message from a terminal.

use std::io::{self, Read as _, Write as _};

use anyhow::Context as _;
use hyper::Method;
use serde_json::{Map, Value};

use super::client::{Client, ConnectArgs, path, run as block_on};

/// Post a message to everyone, an account, a user or one session.
///
/// The message is a JSON object. When this command says that it was delivered, it is on disk in every queue it is
/// for, and in history.
///
/// Examples:
///   fanfare notify '{"hello":"world"}'                 everyone
///   fanfare notify --user 7 '{"hello":"you"}'
///   fanfare notify --account 1 --user 7 --session alice '{"hello":"you"}'
///   fanfare notify --user 7 --field hello=you          fields instead of JSON
///   echo '{"a":1}' | fanfare notify --account 1 -
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct NotifyArgs {
    /// Only sessions of this account
    #[arg(long, allow_negative_numbers = true)]
    account: Option<i64>,

    /// Only sessions of this user
    #[arg(long, allow_negative_numbers = true)]
    user: Option<i64>,

    /// Only the session of this id
    #[arg(long)]
    session: Option<String>,

    /// A field of the message, as text; may be repeated
    #[arg(long = "field", value_name = "NAME=TEXT", value_parser = field)]
    fields: Vec<(String, String)>,

    /// Deliver, do not keep in history
    #[arg(long)]
    no_history: bool,

    /// The message, a JSON object; - reads it from standard input
    #[arg(value_name = "JSON", required_unless_present = "fields")]
    message: Option<String>,

    #[command(flatten)]
    connect: ConnectArgs,

    /// Print the server's answer as JSON
    #[arg(long)]
    json: bool,
}

fn field(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must have the form NAME=TEXT")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Runs `fanfare notify`.
///
/// # Errors
/// A message that is no JSON object, what the server said, or that it was not reached.
pub fn run(args: NotifyArgs) -> anyhow::Result<()> {
    let client = Client::connect(&args.connect)?;
    let body = args.body(|| {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text)?;
        Ok(text)
    })?;
    let answer = block_on(client.call(Method::POST, "/notify", Some(body)))?;
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{answer}")?;
    } else {
        let id = answer["messageId"].as_str().unwrap_or_default();
        let sessions = &answer["sessions"];
        let noun = if *sessions == 1 {
            "session"
        } else {
            "sessions"
        };
        writeln!(out, "message {id} delivered to {sessions} {noun}")?;
        for session in answer["refused"].as_array().into_iter().flatten() {
            writeln!(out, "not to session {session}: its queue is full")?;
        }
    }
    Ok(())
}

impl NotifyArgs {
    /// The message with its routing fields.
    fn body(&self, standard_input: impl FnOnce() -> io::Result<String>) -> anyhow::Result<String> {
        let text = match self.message.as_deref() {
            Some("-") => standard_input().context("reading standard input")?,
            Some(text) => text.to_owned(),
            None => "{}".to_owned(),
        };
        let mut message: Map<String, Value> =
            serde_json::from_str(&text).context("the message must be a JSON object")?;
        for (name, value) in &self.fields {
            message.insert(name.clone(), value.as_str().into());
        }
        if let Some(account) = self.account {
            message.insert("accountId".into(), account.into());
        }
        if let Some(user) = self.user {
            message.insert("userId".into(), user.into());
        }
        if let Some(session) = &self.session {
            message.insert("sessionId".into(), session.as_str().into());
        }
        if self.no_history {
            message.insert("_sqs_only".into(), 1.into());
        }
        Ok(Value::Object(message).to_string())
    }
}

/// A path to a user's history, for the commands that read it.
pub(super) fn history_path(user: i64) -> String {
    path(&["messages", "user", &user.to_string()])
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Whole {
        #[command(flatten)]
        notify: NotifyArgs,
    }

    fn body(args: &[&str]) -> anyhow::Result<Value> {
        let args = Whole::try_parse_from([&["notify"], args].concat())?;
        let text = args.notify.body(|| Ok(r#"{"from":"stdin"}"#.into()))?;
        Ok(serde_json::from_str(&text)?)
    }

    #[test]
    fn flags_become_fields() {
        let all = [
            "--account",
            "-1",
            "--user",
            "7",
            "--session",
            "s",
            "--no-history",
            r#"{"a":1}"#,
        ];
        let expected = serde_json::json!({"a": 1, "accountId": -1, "userId": 7, "sessionId": "s", "_sqs_only": 1});
        assert_eq!(body(&all).expect("valid"), expected);
        assert_eq!(
            body(&["--field", "x=y=z"]).expect("valid"),
            serde_json::json!({"x": "y=z"})
        );
        assert_eq!(
            body(&["-"]).expect("valid"),
            serde_json::json!({"from": "stdin"})
        );
    }

    #[test]
    fn only_objects_are_messages() {
        for wrong in [&["[1]"][..], &["{"], &[], &["--field", "x"]] {
            assert!(body(wrong).is_err(), "{wrong:?}");
        }
    }
}
