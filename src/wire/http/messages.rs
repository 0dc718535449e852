//! `/messages/…`: a user's history and its receipts (SEMANTICS 7). Open to the operator and to the user's own sessions.

use std::sync::Arc;

use actix_web::HttpResponse;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::{Answer, Failure, Refused, ok, respond};
use super::{RestState, fields};
use crate::actors::user::whole_seconds;
use crate::config::limits;
use crate::domain::history::{EntryMeta, Place, Query, Unread};
use crate::domain::{MessageId, Seq, Timestamp, UserId};
use crate::wire::Call;

/// A page of history, newest first. Each message has, besides its own fields, `userId`, `messageId`,
/// `created` (epoch seconds), `is_read` (0 or 1) and `ttl` (epoch seconds).
#[derive(Debug, ToSchema)]
#[schema(as = Messages)]
#[allow(
    dead_code,
    reason = "describes what `render` writes as text, so that numbers stay as they were sent"
)]
pub struct Messages {
    /// `true`.
    success: bool,
    /// The messages.
    messages: Vec<serde_json::Value>,
    /// Where the next page starts, if there is one.
    #[schema(rename = "nextToken")]
    next_token: Option<String>,
}

/// Receipts that were made.
#[derive(Debug, Serialize, ToSchema)]
pub struct Receipted {
    /// `true`.
    pub success: bool,
    /// Ids of the messages that were unread; absent if asked for with `async`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages_receipted: Option<Vec<String>>,
}

/// How many messages are unread.
#[derive(Debug, Serialize, ToSchema)]
pub struct UnreadCount {
    /// `true`.
    pub success: bool,
    /// The number, exact.
    pub unread: usize,
}

/// Gives a user's messages, newest first.
#[utoipa::path(
    get, path = "/messages/user/{user}", tag = "history",
    params(
        ("user" = i64, Path), ("start" = Option<f64>, Query, description = "epoch seconds, inclusive"),
        ("end" = Option<f64>, Query, description = "epoch seconds, inclusive"),
        ("_type" = Option<String>, Query, description = "only these types, separated by commas"),
        ("limit" = Option<u32>, Query, description = "1 to 1000, default 1000"),
        ("nextToken" = Option<String>, Query, description = "from the page before"),
    ),
    responses((status = 200, body = Messages), (status = 400, body = Failure), (status = 403, body = Failure)),
    security(("sigv4" = [])),
)]
pub async fn page(state: Arc<RestState>, call: Call) -> HttpResponse {
    respond(read_page(&state, &call).await)
}

/// Counts a user's unread messages.
#[utoipa::path(
    get, path = "/messages/unread/user/{user}", tag = "history", params(("user" = i64, Path)),
    responses((status = 200, body = UnreadCount), (status = 403, body = Failure)), security(("sigv4" = [])),
)]
pub async fn unread(state: Arc<RestState>, call: Call) -> HttpResponse {
    respond(count_unread(&state, &call).await)
}

/// Receipts messages named in the path, separated by commas.
#[utoipa::path(
    get, path = "/messages/set-read/user/{user}/message/{ids}", tag = "history",
    params(("user" = i64, Path), ("ids" = String, Path), ("async" = Option<String>, Query)),
    responses((status = 200, body = Receipted), (status = 400, body = Failure), (status = 403, body = Failure)),
    security(("sigv4" = [])),
)]
pub async fn set_read_named(state: Arc<RestState>, call: Call) -> HttpResponse {
    let ids = fields::segment(&call, "ids").unwrap_or_default();
    let which = named(ids.split(',').filter(|id| !id.is_empty()));
    respond(set_read(&state, &call, which).await)
}

/// Receipts everything up to a time; fractions of a second are cut.
#[utoipa::path(
    get, path = "/messages/set-read/user/{user}/asof/{asof}", tag = "history",
    params(("user" = i64, Path), ("asof" = f64, Path), ("async" = Option<String>, Query)),
    responses((status = 200, body = Receipted), (status = 400, body = Failure), (status = 403, body = Failure)),
    security(("sigv4" = [])),
)]
pub async fn set_read_as_of(state: Arc<RestState>, call: Call) -> HttpResponse {
    let at = fields::epoch("asof", fields::segment(&call, "asof").unwrap_or_default());
    respond(set_read(&state, &call, at.map(|at| Unread::AsOf(whole_seconds(at)))).await)
}

/// Receipts messages named in the body, a JSON list of ids.
#[utoipa::path(
    post, path = "/messages/set-read/user/{user}", tag = "history", request_body = Vec<String>,
    params(("user" = i64, Path), ("async" = Option<String>, Query)),
    responses((status = 200, body = Receipted), (status = 400, body = Failure), (status = 403, body = Failure)),
    security(("sigv4" = [])),
)]
pub async fn set_read_listed(state: Arc<RestState>, call: Call) -> HttpResponse {
    let ids = serde_json::from_slice::<Vec<String>>(&call.body).map_err(|error| {
        Refused::invalid(format!(
            "the body must be a JSON list of message ids: {error}"
        ))
    });
    let which = ids.and_then(|ids| named(ids.iter().map(String::as_str)));
    respond(set_read(&state, &call, which).await)
}

/// The user of the path, if the caller may see their history.
fn own_user(call: &Call) -> Result<UserId, Refused> {
    let user = fields::user(fields::segment(call, "user").unwrap_or_default())?;
    call.grant.user(user)?;
    Ok(user)
}

fn named<'a>(ids: impl Iterator<Item = &'a str>) -> Result<Unread, Refused> {
    // A text that can be no id is the id of no message of ours: unknown, so it changes nothing.
    let mut texts = 0;
    let ids: Vec<MessageId> = ids
        .take(limits::RECEIPT_IDS + 1)
        .inspect(|_| texts += 1)
        .filter_map(|id| MessageId::parse(id).ok())
        .collect();
    if texts > limits::RECEIPT_IDS {
        return Err(Refused::invalid(format!(
            "at most {} messageIds at a time",
            limits::RECEIPT_IDS
        )));
    }
    Ok(Unread::Ids(ids))
}

async fn set_read(state: &RestState, call: &Call, which: Result<Unread, Refused>) -> Answer {
    let user = own_user(call)?;
    let which = which?;
    let later = fields::query(call)?.iter().any(|(name, _)| name == "async");
    let messages_receipted = if later {
        state.users.set_read_later(user, which).await?;
        None
    } else {
        let ids = state.users.set_read(user, which).await?;
        Some(ids.iter().map(ToString::to_string).collect())
    };
    ok(&Receipted {
        success: true,
        messages_receipted,
    })
}

async fn count_unread(state: &RestState, call: &Call) -> Answer {
    let unread = state.users.unread(own_user(call)?).await?;
    ok(&UnreadCount {
        success: true,
        unread,
    })
}

async fn read_page(state: &RestState, call: &Call) -> Answer {
    let user = own_user(call)?;
    let given = fields::query(call)?;
    let time = |name| {
        fields::one(&given, name)?
            .map(|text| fields::epoch(name, text))
            .transpose()
    };
    let most = limits::HISTORY_PAGE as u64;
    let limit = fields::one(&given, "limit")?
        .map(|text| fields::number("limit", text, 1, most))
        .transpose()?;
    let kinds = fields::one(&given, "_type")?.unwrap_or_default();
    let query = Query {
        start: time("start")?,
        end: time("end")?,
        kinds: kinds
            .split(',')
            .filter(|kind| !kind.is_empty())
            .map(str::to_owned)
            .collect(),
        limit: limit.unwrap_or(most) as usize,
        before: fields::one(&given, "nextToken")?
            .map(parse_token)
            .transpose()?,
    };
    let page = state.users.page(user, query).await?;
    let mut body = String::from(r#"{"success":true,"messages":["#);
    for (at, (entry, text)) in page.entries.iter().enumerate() {
        if at > 0 {
            body.push(',');
        }
        render(&mut body, user, entry, text);
    }
    body.push(']');
    if let Some(next) = page.next {
        body.push_str(&format!(r#","nextToken":"{}""#, token(next)));
    }
    body.push('}');
    Ok(HttpResponse::Ok()
        .content_type("application/json")
        .body(body))
}

/// An entry: the message as it was sent, and what history adds. What history says wins over a field of the
/// same name in the message, so that nothing is there twice.
fn render(out: &mut String, user: UserId, entry: &EntryMeta, text: &Bytes) {
    const ADDED: [&str; 5] = ["userId", "messageId", "created", "is_read", "ttl"];
    out.push('{');
    let sent: std::collections::BTreeMap<String, &serde_json::value::RawValue> =
        serde_json::from_slice(text).unwrap_or_default();
    for (name, value) in sent
        .iter()
        .filter(|(name, _)| !ADDED.contains(&name.as_str()))
    {
        out.push_str(&serde_json::to_string(name).expect("a text is a JSON value"));
        out.push(':');
        out.push_str(value.get());
        out.push(',');
    }
    let id = serde_json::to_string(entry.message_id.as_str()).expect("a text is a JSON value");
    let created = fields::epoch_text(entry.created);
    let (read, ttl) = (u8::from(entry.read), entry.expires.secs());
    out.push_str(&format!(
        r#""userId":{user},"messageId":{id},"created":{created},"is_read":{read},"ttl":{ttl}}}"#
    ));
}

/// A place in history, opaque to clients.
fn token((created, seq): Place) -> String {
    URL_SAFE_NO_PAD.encode([created.0.to_be_bytes(), seq.0.to_be_bytes()].concat())
}

fn parse_token(text: &str) -> Result<Place, Refused> {
    let bytes = URL_SAFE_NO_PAD
        .decode(text)
        .ok()
        .and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
    let bytes = bytes.ok_or_else(|| Refused::invalid("nextToken is not one of ours"))?;
    let number = |half: &[u8]| u64::from_be_bytes(half.try_into().expect("half of 16 bytes is 8"));
    Ok((Timestamp(number(&bytes[..8])), Seq(number(&bytes[8..]))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::message::Origin;

    #[test]
    fn tokens_come_back_and_others_are_refused() {
        let place = (Timestamp(u64::MAX), Seq(7));
        assert_eq!(parse_token(&token(place)).map_err(|_| ()), Ok(place));
        for bad in ["", "x", "////", &"A".repeat(100)] {
            assert!(parse_token(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn texts_that_are_no_id_are_unknown_and_too_many_are_refused() {
        let long = "x".repeat(2000);
        let check = |ids: &[&str], expect: &[&str]| {
            let Ok(Unread::Ids(found)) = named(ids.iter().copied()) else {
                panic!("{ids:?} are refused");
            };
            let found: Vec<_> = found.iter().map(MessageId::as_str).collect();
            assert_eq!(found, expect);
        };
        check(&[], &[]);
        check(&["a", &long, "", "b"], &["a", "b"]);
        assert!(named(std::iter::repeat_n("", limits::RECEIPT_IDS)).is_ok());
        assert!(named(std::iter::repeat_n("", limits::RECEIPT_IDS + 1)).is_err());
    }

    #[test]
    fn an_entry_keeps_numbers_and_has_no_field_twice() {
        let entry = EntryMeta {
            seq: Seq(1),
            origin: Origin::Own,
            message_id: MessageId::parse("m\"1").expect("valid"),
            created: Timestamp(5_000_001),
            expires: Timestamp::from_secs(9),
            kind: None,
            read: true,
        };
        let mut out = String::new();
        render(
            &mut out,
            UserId(7),
            &entry,
            &Bytes::from_static(br#"{"n":1.50,"ttl":"mine","userId":3}"#),
        );
        let expected =
            r#"{"n":1.50,"userId":7,"messageId":"m\"1","created":5.000001,"is_read":1,"ttl":9}"#;
        assert_eq!(out, expected);
    }
}
