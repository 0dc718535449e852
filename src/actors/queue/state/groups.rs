//! Message groups of a FIFO queue: in a group, nothing is handed out while something is in flight.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::domain::Seq;
use crate::domain::message::NewMessage;

/// The groups that have messages.
#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: HashMap<Arc<str>, Group>,
    visible: usize,
}

#[derive(Debug, Default)]
struct Group {
    members: BTreeSet<Seq>,
    /// Members in flight or on their way out.
    held: usize,
    /// The member listed as the next to hand out.
    head: Option<Seq>,
}

/// A message without a group (moved here from elsewhere) is in the group of that.
fn name(message: &NewMessage) -> &str {
    message.group.as_deref().unwrap_or_default()
}

impl Groups {
    /// A message's group, in order.
    pub(super) fn members(&self, message: &NewMessage) -> impl Iterator<Item = &Seq> {
        self.groups
            .get(name(message))
            .into_iter()
            .flat_map(|group| &group.members)
    }

    /// How many messages are visible, those of groups that are held up included.
    pub(super) fn visible(&self) -> usize {
        self.visible
    }

    /// Adds a message, or counts it anew after [`Groups::release`].
    pub(super) fn enter(&mut self, seq: Seq, message: &NewMessage, held: bool, visible: bool) {
        let group = match self.groups.get_mut(name(message)) {
            Some(group) => group,
            None => self
                .groups
                .entry(message.group.clone().unwrap_or_default())
                .or_default(),
        };
        group.members.insert(seq);
        group.held += usize::from(held);
        self.visible += usize::from(visible);
    }

    /// Takes back what a message counted for, before it changes.
    pub(super) fn release(&mut self, message: &NewMessage, held: bool, visible: bool) {
        if let Some(group) = self.groups.get_mut(name(message)) {
            group.held -= usize::from(held);
        }
        self.visible -= usize::from(visible);
    }

    /// Removes a message that was released.
    pub(super) fn leave(&mut self, seq: Seq, message: &NewMessage) {
        if let Some(group) = self.groups.get_mut(name(message)) {
            group.members.remove(&seq);
        }
    }

    /// Decides anew which member is the next to hand out; answers the one listed before and the one to list.
    pub(super) fn reopen(
        &mut self,
        group: Option<&str>,
        is_ready: impl Fn(Seq) -> bool,
    ) -> (Option<Seq>, Option<Seq>) {
        let name = group.unwrap_or_default();
        let Some(group) = self.groups.get_mut(name) else {
            return (None, None);
        };
        let before = group.head.take();
        // Order is kept even if the first is delayed and the second is not.
        let first = group.members.first().copied();
        group.head = first.filter(|seq| group.held == 0 && is_ready(*seq));
        let after = group.head;
        if group.members.is_empty() {
            self.groups.remove(name);
        }
        (before, after)
    }
}
