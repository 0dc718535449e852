//! What a queue has in memory and how it changes: pure, told the time, answering the changes to store.
//!
//! Entries hold what a hand-out needs besides the body; bodies are kept only as far as the byte budget
//! goes. Positions ([`Seq`]) are unique across a queue's own messages and the broadcasts it refers to.
//!
//! A broadcast that nobody touched has no row in the queue: it is *implicit*, known by being newer than the
//! queue's cursor. The first change to any of them gives each that stays a row and moves the cursor past them
//! all, in one commit (see [`Change::Cursor`]), so that reloading at any moment finds the same messages.

mod entry;
mod groups;

#[cfg(test)]
mod model;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use self::entry::{Entry, MAX_IN_FLIGHT};
pub(super) use self::entry::{HandOut, Picked, Place, Standing};
use self::groups::Groups;
use crate::backends::{Change, LoadedQueue};
use crate::domain::message::{MessageState, NewMessage, Origin, StoredMessage};
use crate::domain::queue::QueueCounts;
use crate::domain::{Seq, Timestamp};

/// The messages of one queue.
#[derive(Debug)]
pub(super) struct State {
    entries: BTreeMap<Seq, Entry>,
    /// Standard: what is ready. FIFO: the first message of each group that nothing holds up.
    ready: BTreeSet<Seq>,
    hidden: BTreeSet<(Timestamp, Seq)>,
    expiry: BTreeSet<(Timestamp, Seq)>,
    /// Broadcasts without a row.
    implicit: BTreeSet<Seq>,
    /// `Some` for FIFO.
    groups: Option<Groups>,
    held: usize,
    cursor: Seq,
    seen: Seq,
}

impl State {
    /// What the store loaded.
    pub(super) fn new(fifo: bool, loaded: LoadedQueue, now: Timestamp) -> Self {
        let mut state = Self {
            entries: BTreeMap::new(),
            ready: BTreeSet::new(),
            hidden: BTreeSet::new(),
            expiry: BTreeSet::new(),
            implicit: BTreeSet::new(),
            groups: fifo.then(Groups::default),
            held: 0,
            cursor: loaded.cursor,
            seen: loaded.cursor,
        };
        for stored in loaded.messages {
            state.insert(stored, now);
        }
        state
    }

    /// Takes in what is newer than [`State::seen`]; answers whether that was anything.
    pub(super) fn absorb(&mut self, newer: Vec<StoredMessage>, now: Timestamp) -> bool {
        let before = self.seen;
        for stored in newer {
            // The store answers "after `seen`"; one that is known already must not come back to life.
            if stored.seq > before {
                self.insert(stored, now);
            }
        }
        self.seen > before
    }

    fn insert(&mut self, stored: StoredMessage, now: Timestamp) {
        let StoredMessage {
            seq,
            origin,
            message,
            state,
        } = stored;
        self.seen = self.seen.max(seq);
        if message.expires <= now {
            return;
        }
        if origin != Origin::Own && state.is_none() {
            self.implicit.insert(seq);
        }
        let state = state.unwrap_or(MessageState {
            visible_at: message.visible_at,
            ..MessageState::default()
        });
        self.expiry.insert((message.expires, seq));
        let place = if state.visible_at > now {
            Place::Hidden
        } else {
            Place::Ready
        };
        let entry = Entry {
            origin,
            message,
            state,
            received: None,
            place,
        };
        self.entries.insert(seq, entry);
        self.index(seq);
    }

    /// The highest position taken in: ask the store for what is newer.
    pub(super) fn seen(&self) -> Seq {
        self.seen
    }

    /// How many messages there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many are in flight or on their way out.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// A message.
    pub(super) fn get(&self, seq: Seq) -> Option<&Entry> {
        self.entries.get(&seq)
    }

    /// The messages in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Seq, &Entry)> {
        self.entries.iter().map(|(seq, entry)| (*seq, entry))
    }

    /// All positions, ascending.
    pub(super) fn all(&self) -> Vec<Seq> {
        let entries = self.entries.iter();
        let staying = entries.filter(|(_, entry)| entry.place != Place::Leaving);
        staying.map(|(seq, _)| *seq).collect()
    }

    /// Whether the message is here, be it on its way out.
    pub(super) fn contains(&self, seq: Seq) -> bool {
        self.entries.contains_key(&seq)
    }

    /// Whether the message is on its way out.
    pub(super) fn is_leaving(&self, seq: Seq) -> bool {
        let entry = self.entries.get(&seq);
        entry.is_some_and(|entry| entry.place == Place::Leaving)
    }

    /// The counts of `GetQueueAttributes`.
    pub(super) fn counts(&self) -> QueueCounts {
        let hidden = self.hidden.len();
        let leaving = self
            .entries
            .len()
            .saturating_sub(hidden + self.visible_len());
        let in_flight = self.held.saturating_sub(leaving);
        QueueCounts {
            visible: self.visible_len() as u64,
            in_flight: self.held as u64,
            delayed: hidden.saturating_sub(in_flight) as u64,
        }
    }

    fn visible_len(&self) -> usize {
        match &self.groups {
            None => self.ready.len(),
            Some(groups) => groups.visible(),
        }
    }

    /// When the next hidden message becomes visible.
    pub(super) fn next_visible(&self) -> Option<Timestamp> {
        self.hidden.first().map(|(at, _)| *at)
    }

    /// Whether anything could be handed out now.
    pub(super) fn any_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Makes visible what is due and drops what has expired. Answers the bytes of the bodies dropped.
    pub(super) fn advance(&mut self, now: Timestamp) -> usize {
        while let Some((at, seq)) = self.hidden.first().copied()
            && at <= now
        {
            self.update(seq, |entry| entry.place = Place::Ready);
        }
        let mut freed = 0;
        while let Some((at, seq)) = self.expiry.first().copied()
            && at <= now
        {
            freed += self.remove(seq);
        }
        freed
    }

    /// Chooses up to `max` messages in order. With `max_receives`, those handed out so often already are set apart,
    /// at most [`State::MOST_DEAD`] at a time.
    pub(super) fn pick(&self, max: usize, max_receives: Option<u32>) -> Picked {
        let mut picked = Picked::default();
        let is_dead = |seq: &Seq| {
            max_receives.is_some_and(|max| self.entries[seq].state.receive_count >= max)
        };
        for head in &self.ready {
            if picked.hand.len() >= max || picked.dead.len() >= Self::MOST_DEAD {
                break;
            }
            match &self.groups {
                None if is_dead(head) => picked.dead.push(*head),
                None => picked.hand.push(*head),
                Some(groups) => {
                    let group = groups.members(&self.entries[head].message);
                    for seq in group {
                        let stop =
                            picked.hand.len() >= max || self.entries[seq].place != Place::Ready;
                        if stop {
                            break;
                        }
                        if is_dead(seq) {
                            // What follows it in the group waits until it is gone.
                            picked.dead.push(*seq);
                            break;
                        }
                        picked.hand.push(*seq);
                    }
                }
            }
        }
        picked
    }

    /// How many dead letters one receive sets apart.
    const MOST_DEAD: usize = 100;

    /// Hands a message out. Store [`State::record`] of it afterwards.
    pub(super) fn hand_out(&mut self, seq: Seq, how: HandOut) {
        self.update(seq, |entry| {
            entry.state = MessageState {
                visible_at: how.visible_at,
                receive_count: entry.state.receive_count.saturating_add(1),
                first_received: entry.state.first_received.or(Some(how.now)),
                receipt: how.receipt,
                counter: how.counter,
            };
            entry.received = Some(how.now);
            entry.place = how.place();
        });
    }

    /// Takes a hand-out back whose receiver never saw it, unless the message has changed since: visible again, and
    /// not counted. The counter stays, for the message is sealed under it.
    pub(super) fn give_back(&mut self, seq: Seq, receipt: u64, now: Timestamp) -> bool {
        let unchanged = self.standing(seq, receipt) == Standing::InFlight;
        if unchanged {
            self.update(seq, |entry| {
                let count = entry.state.receive_count.saturating_sub(1);
                entry.state.receive_count = count;
                entry.state.first_received = entry.state.first_received.filter(|_| count > 0);
                entry.state.visible_at = now;
                entry.place = Place::Ready;
            });
        }
        unchanged
    }

    /// Prolongs or ends a message's invisibility; `false` if that would exceed [`MAX_IN_FLIGHT`].
    pub(super) fn hide(&mut self, seq: Seq, now: Timestamp, timeout: Duration) -> bool {
        let until = now.plus(timeout);
        let mut within = false;
        self.update(seq, |entry| {
            let first = entry
                .state
                .first_received
                .filter(|_| entry.state.receive_count == 1);
            let received = entry.received.or(first).unwrap_or(now);
            within = until.since(received) <= MAX_IN_FLIGHT;
            if within {
                entry.state.visible_at = until;
                entry.place = if until > now {
                    Place::Hidden
                } else {
                    Place::Ready
                };
            }
        });
        within
    }

    /// How the message stands to a receipt.
    pub(super) fn standing(&self, seq: Seq, receipt: u64) -> Standing {
        match self.entries.get(&seq) {
            None => Standing::Gone,
            Some(entry) if entry.place == Place::Leaving => Standing::Leaving,
            Some(entry) if entry.state.receipt != receipt => Standing::Newer,
            Some(entry) if entry.place == Place::Ready => Standing::Visible,
            Some(_) => Standing::InFlight,
        }
    }

    /// The changes that store the present state of these messages.
    pub(super) fn record(&mut self, changed: &[Seq]) -> Vec<Change> {
        let mut changes: Vec<_> = changed.iter().filter_map(|seq| self.row(*seq)).collect();
        if changed.iter().any(|seq| self.implicit.contains(seq)) {
            changes.extend(self.cover(changed));
        }
        changes
    }

    /// Takes messages out: they are not handed out any more, and the changes delete them. Follow with
    /// [`State::left`] when those are on disk, or [`State::stay`] if they failed.
    pub(super) fn erase(&mut self, gone: &[Seq]) -> Vec<Change> {
        let mut changes = Vec::new();
        if gone.iter().any(|seq| self.implicit.contains(seq)) {
            changes = self.cover(gone);
        }
        for seq in gone {
            let Some(origin) = self.entries.get(seq).map(|entry| entry.origin) else {
                continue;
            };
            changes.push(Change::Delete { seq: *seq, origin });
            self.update(*seq, |entry| entry.place = Place::Leaving);
        }
        changes
    }

    /// Takes a message out to move it. With `anew`, it arrives as if it had never been received.
    pub(super) fn depart(&mut self, seq: Seq, anew: bool) -> Vec<Change> {
        if anew {
            self.update(seq, |entry| {
                entry.state = MessageState {
                    visible_at: entry.message.sent,
                    ..MessageState::default()
                };
            });
        }
        let changes = self.record(&[seq]);
        self.update(seq, |entry| entry.place = Place::Leaving);
        changes
    }

    /// The rows of all implicit broadcasts but `except`, and the cursor that covers them.
    fn cover(&mut self, except: &[Seq]) -> Vec<Change> {
        let except: BTreeSet<_> = except.iter().collect();
        let implicit = std::mem::take(&mut self.implicit);
        self.cursor = self.seen;
        implicit
            .iter()
            .filter(|seq| !except.contains(seq))
            .filter_map(|seq| self.row(*seq))
            .chain([Change::Cursor(self.cursor)])
            .collect()
    }

    fn row(&self, seq: Seq) -> Option<Change> {
        let entry = self.entries.get(&seq)?;
        Some(Change::State {
            seq,
            origin: entry.origin,
            expires: entry.message.expires,
            state: entry.state,
        })
    }

    /// A message that was leaving is gone from disk. Answers the bytes of its body in memory.
    pub(super) fn left(&mut self, seq: Seq) -> usize {
        self.remove(seq)
    }

    /// A message that was leaving is still there, since the store refused.
    pub(super) fn stay(&mut self, seq: Seq, now: Timestamp) {
        self.update(seq, |entry| {
            if entry.place == Place::Leaving {
                entry.place = if entry.state.visible_at > now {
                    Place::Hidden
                } else {
                    Place::Ready
                };
            }
        });
    }

    /// Forgets a message: it expired, or its body is gone from the store. Answers the bytes of its body in memory.
    pub(super) fn remove(&mut self, seq: Seq) -> usize {
        if !self.entries.contains_key(&seq) {
            return 0;
        }
        self.unindex(seq);
        let entry = self.entries.remove(&seq).expect("just looked up");
        self.expiry.remove(&(entry.message.expires, seq));
        self.implicit.remove(&seq);
        if let Some(groups) = &mut self.groups {
            groups.leave(seq, &entry.message);
        }
        self.reopen(&entry.message);
        entry.message.body.len()
    }

    /// Drops a body from memory.
    pub(super) fn forget_body(&mut self, seq: Seq) {
        if let Some(entry) = self.entries.get_mut(&seq) {
            entry.message.body = bytes::Bytes::new();
        }
    }

    fn update(&mut self, seq: Seq, change: impl FnOnce(&mut Entry)) {
        if self.entries.contains_key(&seq) {
            self.unindex(seq);
            change(self.entries.get_mut(&seq).expect("just looked up"));
            self.index(seq);
        }
    }

    fn index(&mut self, seq: Seq) {
        let entry = &self.entries[&seq];
        let held = entry.held();
        let place = entry.place;
        if place == Place::Hidden {
            self.hidden.insert((entry.state.visible_at, seq));
        }
        self.held += usize::from(held);
        match &mut self.groups {
            None => {
                if place == Place::Ready {
                    self.ready.insert(seq);
                }
            }
            Some(groups) => {
                groups.enter(seq, &entry.message, held, place == Place::Ready);
                let group = entry.message.group.clone();
                self.reopen_group(group.as_deref());
            }
        }
    }

    fn unindex(&mut self, seq: Seq) {
        let entry = &self.entries[&seq];
        let held = entry.held();
        if entry.place == Place::Hidden {
            self.hidden.remove(&(entry.state.visible_at, seq));
        }
        self.held -= usize::from(held);
        match &mut self.groups {
            None => {
                self.ready.remove(&seq);
            }
            Some(groups) => groups.release(&entry.message, held, entry.place == Place::Ready),
        }
    }

    fn reopen(&mut self, message: &NewMessage) {
        if self.groups.is_some() {
            self.reopen_group(message.group.as_deref());
        }
    }

    /// Decides anew which message of a group, if any, is the next to hand out.
    fn reopen_group(&mut self, group: Option<&str>) {
        let Some(groups) = &mut self.groups else {
            return;
        };
        let entries = &self.entries;
        let is_ready = |seq: Seq| {
            entries
                .get(&seq)
                .is_some_and(|entry| entry.place == Place::Ready)
        };
        let (before, after) = groups.reopen(group, is_ready);
        if let Some(before) = before {
            self.ready.remove(&before);
        }
        if let Some(after) = after {
            self.ready.insert(after);
        }
    }
}
