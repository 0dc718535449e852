//! Pages of a room's history.

use super::super::Topics;
use super::json;
use super::side::RoomError;
use crate::backends::rooms::{Head, Said};
use crate::config::limits::rooms::{PAGE, PAGE_DEFAULT, PART_BYTES};
use crate::domain::StoreError;
use crate::domain::policy::{Access, Action};
use crate::domain::topic::TopicName;

/// Which page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HistoryPage {
    /// The newest before this offset.
    pub before: Option<u64>,
    /// Or the oldest after this one; `before` goes first.
    pub after: Option<u64>,
    /// How many, at most 100; 50 if not given.
    pub limit: Option<usize>,
}

impl Topics {
    /// A page of what was said in a room, as JSON; `id` comes back in it.
    ///
    /// # Errors
    /// [`RoomError`].
    pub fn room_history(
        &self,
        access: &Access,
        room: &TopicName,
        page: HistoryPage,
        id: Option<&str>,
    ) -> Result<String, RoomError> {
        let decision = access.decide(Action::Receive, room.as_str());
        if !decision.is_allowed() {
            return Err(RoomError::NotAllowed(decision));
        }
        if !self.rooms().keeps_history(room) {
            return Err(RoomError::NoSuchRoom);
        }
        let head = self.inner.histories.head(room)?;
        let entries = match head {
            Some(head) => self.entries(room, head, page)?,
            None => Vec::new(),
        };
        let id = id.map(|id| format!("\"id\":{},", serde_json::json!(id)));
        let (epoch, first, last) = head.map_or((String::new(), 1, 0), |head| {
            (head.epoch.to_string(), head.first, head.last)
        });
        Ok(format!(
            "{{{}\"epoch\":\"{epoch}\",\"first\":{first},\"offset\":{last},\"messages\":[{}]}}",
            id.unwrap_or_default(),
            entries.join(",")
        ))
    }

    fn entries(
        &self,
        room: &TopicName,
        head: Head,
        page: HistoryPage,
    ) -> Result<Vec<String>, StoreError> {
        let limit = page.limit.unwrap_or(PAGE_DEFAULT).min(PAGE);
        let end = page.before.unwrap_or(u64::MAX).min(head.last + 1);
        let is_upward = page.before.is_none() && page.after.is_some();
        let from = match page.after {
            Some(after) if is_upward => after.saturating_add(1).max(head.first),
            _ => end.saturating_sub(limit as u64).max(head.first),
        };
        let said = self.inner.histories.said(room, from, limit, self.now())?;
        let said = said.iter().filter(|said| is_upward || said.offset < end);
        Ok(if is_upward {
            fitting(said)
        } else {
            let said: Vec<&Said> = said.collect();
            let mut entries = fitting(said.into_iter().rev());
            entries.reverse();
            entries
        })
    }
}

/// The first as JSON, as many as go into one answer, at least one.
fn fitting<'a>(said: impl Iterator<Item = &'a Said>) -> Vec<String> {
    let mut bytes = 0;
    let entries = said.map(json::said).take_while(|entry| {
        let fits = bytes == 0 || bytes + entry.len() <= PART_BYTES;
        bytes += entry.len();
        fits
    });
    entries.collect()
}
