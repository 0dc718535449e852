//! What the server tells about rooms, as JSON, in parts that are not too long.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use bytestring::ByteString;
use serde_json::json;

use super::presence::{Change, Reason, Seen, Told, What};
use super::recovery::Lost;
use crate::backends::rooms::Said;
use crate::config::limits::rooms::PART_BYTES;
use crate::domain::publication::{ClientId, Publication, QoS};
use crate::domain::room::{Epoch, SIDE};
use crate::domain::topic::TopicName;

/// A message of the server's own about a room, of quality of service 0.
pub(super) fn beside(word: &str, room: &TopicName, text: String) -> Publication {
    let topic = ByteString::from([SIDE, word, "/", room.as_str()].concat());
    Publication {
        topic: TopicName::parse(topic).expect("a room's name has levels and bytes to spare"),
        payload: text.into(),
        qos: QoS::AtMostOnce,
        retain: false,
        properties: None,
        expires: None,
        publisher: None,
    }
}

fn quoted(text: &str) -> String {
    json!(text).to_string()
}

/// The fields of a member, without braces.
fn member(id: &ClientId, seen: &Seen) -> String {
    let seat = seen.seat.map(|seat| format!(",\"seat\":{seat}"));
    format!(
        "\"id\":{},\"data\":{},\"since\":{}{}",
        quoted(id.as_str()),
        seen.data,
        seen.since.millis(),
        seat.unwrap_or_default()
    )
}

fn change(id: &ClientId, change: &Change) -> String {
    match change {
        Change::Join(seen) => format!("{{\"type\":\"join\",{}}}", member(id, seen)),
        Change::Update(seen) => format!("{{\"type\":\"update\",{}}}", member(id, seen)),
        Change::Leave(reason) => {
            let reason = match reason {
                Reason::Left => "left",
                Reason::Lost => "lost",
                Reason::Removed => "removed",
            };
            let id = quoted(id.as_str());
            format!("{{\"type\":\"leave\",\"id\":{id},\"reason\":\"{reason}\"}}")
        }
    }
}

/// Entries with commas between them, as many to a text as fit; at least one text.
fn parts(entries: impl Iterator<Item = String>) -> Vec<String> {
    let mut parts = vec![String::new()];
    for entry in entries {
        let last = parts.last_mut().expect("there is at least one");
        if last.is_empty() {
            *last = entry;
        } else if last.len() + entry.len() < PART_BYTES {
            last.push(',');
            last.push_str(&entry);
        } else {
            parts.push(entry);
        }
    }
    parts
}

/// Texts around each part; all but the last say that there is more.
fn in_parts(
    entries: impl Iterator<Item = String>,
    around: impl Fn(&str, bool) -> String,
) -> Vec<String> {
    let parts = parts(entries);
    let last = parts.len() - 1;
    let numbered = parts.iter().enumerate();
    numbered.map(|(at, part)| around(part, at < last)).collect()
}

/// What is told about members.
pub(super) fn told(told: &Told) -> Vec<String> {
    let Told {
        version,
        count,
        what,
    } = told;
    match what {
        What::Counts => vec![format!(
            "{{\"type\":\"counts\",\"version\":{version},\"count\":{count}}}"
        )],
        What::Snapshot(members) => {
            let members = members
                .iter()
                .map(|(id, seen)| format!("{{{}}}", member(id, seen)));
            in_parts(members, |part, more| {
                format!(
                    "{{\"type\":\"snapshot\",\"version\":{version},\"count\":{count},\"members\":[{part}],\"more\":{more}}}"
                )
            })
        }
        What::Changes(changes) => {
            let changes = changes.iter().map(|(id, one)| change(id, one));
            // Each part but the first would need a version of its own: there are at most twice as many changes as members are
            // listed, so it is one.
            let changes = changes.collect::<Vec<_>>().join(",");
            vec![format!(
                "{{\"type\":\"changes\",\"version\":{version},\"count\":{count},\"changes\":[{changes}]}}"
            )]
        }
    }
}

/// Members' values.
pub(super) fn values<'a>(
    values: impl Iterator<Item = (&'a ClientId, &'a str, &'a Bytes)>,
) -> Vec<String> {
    let entries = values.map(|(member, key, value)| {
        let value = match json_text(value) {
            Some(text) => format!("\"value\":{text}"),
            None => format!("\"base64\":\"{}\"", STANDARD.encode(value)),
        };
        let member = quoted(member.as_str());
        format!("{{\"member\":{member},\"key\":{},{value}}}", quoted(key))
    });
    in_parts(entries, |part, more| {
        format!("{{\"states\":[{part}],\"more\":{more}}}")
    })
}

/// The text of one JSON value, without what is around it; `None` if it is none.
pub(super) fn json_text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?.trim();
    serde_json::from_str::<&serde_json::value::RawValue>(text).ok()?;
    Some(text)
}

/// How a recovery ends. `head` is the epoch and the newest offset.
pub(super) fn recovery(lost: Option<Lost>, replayed: usize, head: Option<(Epoch, u64)>) -> String {
    let epoch = head.map_or_else(String::new, |(epoch, _)| epoch.to_string());
    let offset = head.map_or(0, |(_, last)| last);
    let mut answer = json!({
        "recovered": lost.is_none(),
        "replayed": replayed,
        "epoch": epoch,
        "offset": offset,
    });
    match lost {
        None => answer["missed"] = replayed.into(),
        Some(lost) => answer["reason"] = lost.word().into(),
    }
    answer.to_string()
}

/// A message of a page of history.
pub(super) fn said(said: &Said) -> String {
    let mut entry = json!({ "offset": said.offset, "ts": said.at.millis() });
    let publisher = said.publication.publisher.as_ref();
    if let Some(client) = publisher.and_then(|publisher| publisher.client.as_ref()) {
        entry["member"] = client.as_str().into();
    }
    match std::str::from_utf8(&said.publication.payload) {
        Ok(text) => entry["payload"] = text.into(),
        Err(_) => entry["base64"] = STANDARD.encode(&said.publication.payload).into(),
    }
    entry.to_string()
}
