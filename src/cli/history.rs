//! `fanfare history`: a user's messages and what they have read.

use std::io::{self, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use hyper::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::client::{Client, ConnectArgs, path, run as block_on};
use super::notify::history_path;
use super::shown;

/// Show a user's messages, newest first, and mark them as read.
///
/// Examples:
///   fanfare history 7
///   fanfare history 7 --type chat --limit 20
///   fanfare history 7 --unread                how many are unread
///   fanfare history 7 --read ID --read ID     mark as read
///   fanfare history 7 --read-all
///
/// A * stands before what is unread.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct HistoryArgs {
    /// User, an integer
    #[arg(allow_negative_numbers = true)]
    user: i64,

    /// Only messages of this _type; may be repeated
    #[arg(long = "type", value_name = "TYPE")]
    kinds: Vec<String>,

    /// Only messages accepted then or later, in epoch seconds
    #[arg(long, value_name = "SECONDS")]
    start: Option<f64>,

    /// Only messages accepted then or before, in epoch seconds
    #[arg(long, value_name = "SECONDS")]
    end: Option<f64>,

    /// At most so many
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,

    /// Print only how many are unread
    #[arg(long, conflicts_with = "read")]
    unread: bool,

    /// Mark the message of this id as read; may be repeated
    #[arg(long, value_name = "ID")]
    read: Vec<String>,

    /// Mark everything accepted until now as read
    #[arg(long, conflicts_with_all = ["read", "unread"])]
    read_all: bool,

    #[command(flatten)]
    connect: ConnectArgs,

    /// Print the server's answer as JSON
    #[arg(long)]
    json: bool,
}

/// Runs `fanfare history`.
///
/// # Errors
/// What the server said, or that it was not reached.
pub fn run(args: HistoryArgs) -> anyhow::Result<()> {
    let client = Client::connect(&args.connect)?;
    let user = args.user.to_string();
    let answer = block_on(async {
        if args.unread {
            client
                .call(
                    Method::GET,
                    &path(&["messages", "unread", "user", &user]),
                    None,
                )
                .await
        } else if !args.read.is_empty() {
            let ids = Value::from(args.read.clone()).to_string();
            client
                .call(
                    Method::POST,
                    &path(&["messages", "set-read", "user", &user]),
                    Some(ids),
                )
                .await
        } else if args.read_all {
            // A second from now: the server cuts fractions off.
            let until = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() + 1;
            let segments = [
                "messages",
                "set-read",
                "user",
                &user,
                "asof",
                &until.to_string(),
            ];
            client.call(Method::GET, &path(&segments), None).await
        } else {
            client.call(Method::GET, &args.query(), None).await
        }
    })?;
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", shown::line(&answer.to_string()))?;
        return Ok(());
    }
    write!(out, "{}", readable(&answer))?;
    Ok(())
}

impl HistoryArgs {
    fn query(&self) -> String {
        let mut query = format!("{}?limit={}", history_path(self.user), self.limit);
        if !self.kinds.is_empty() {
            query += &format!(
                "&_type={}",
                utf8_percent_encode(&self.kinds.join(","), NON_ALPHANUMERIC)
            );
        }
        for (name, at) in [("start", self.start), ("end", self.end)] {
            if let Some(at) = at {
                query += &format!("&{name}={at:.6}");
            }
        }
        query
    }
}

fn readable(answer: &Value) -> String {
    if let Some(unread) = answer["unread"].as_u64() {
        return format!("{unread} unread\n");
    }
    if let Some(receipted) = answer["messages_receipted"].as_array() {
        return format!("{} marked as read\n", receipted.len());
    }
    let messages = answer["messages"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let mut text: String = messages
        .iter()
        .map(|message| {
            let mark = if message["is_read"] == 1 { ' ' } else { '*' };
            let message_text = shown::line(&message.to_string());
            let created = shown::time(&message["created"]);
            format!("{mark} {created}  {message_text}\n")
        })
        .collect();
    if answer["nextToken"].is_string() {
        text += "(there are older ones: use --end or --limit)\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Parser)]
    struct Whole {
        #[command(flatten)]
        history: HistoryArgs,
    }

    #[test]
    fn flags_become_a_query() {
        let args = [
            "history", "7", "--type", "a b", "--type", "c", "--start", "1.5", "--limit", "3",
        ];
        let args = Whole::try_parse_from(args).expect("valid");
        assert_eq!(
            args.history.query(),
            "/messages/user/7?limit=3&_type=a%20b%2Cc&start=1.500000"
        );
        assert!(Whole::try_parse_from(["history", "7", "--limit", "0"]).is_err());
    }

    #[test]
    fn answers_are_readable() {
        assert_eq!(readable(&json!({"unread": 3})), "3 unread\n");
        assert_eq!(
            readable(&json!({"messages_receipted": ["a"]})),
            "1 marked as read\n"
        );
        let page = json!({"messages": [{"is_read": 0, "created": 1.5}], "nextToken": "x"});
        assert!(readable(&page).starts_with("* 1970-01-01 00:00:01Z  {"));
        assert!(readable(&page).ends_with("use --end or --limit)\n"));
    }
}
