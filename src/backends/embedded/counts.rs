//! What is kept in memory of the topic plane's rows: each client's place and depth, and who still needs a body.
//!
//! Changed on the committing thread only, as a job runs; a job that fails has its changes taken back (`tx.rs`). Built
//! from the rows when the store is opened, so a crash can not make it differ from them.

use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;

use super::codec;
use super::keys::{self, plane};
use super::publications::{HeldRow, PlaceRow, RetainedRow};
use super::records::corrupt;
use super::tables::{Table, Tables};
use crate::domain::publication::{ClientNo, Ordinal};
use crate::domain::{Seq, StoreError};

/// What is known of one durable client session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Client {
    /// Messages in its queue, expired ones that are still on disk included.
    pub(super) depth: u64,
    /// The place that its next message gets.
    pub(super) next: Ordinal,
}

impl Client {
    /// A session without messages.
    pub(super) const NEW: Self = Self {
        depth: 0,
        next: Ordinal(1),
    };
}

/// Counters of the topic plane.
#[derive(Default)]
pub(super) struct Counts {
    /// Every session that has a record.
    clients: DashMap<ClientNo, Client>,
    /// How many rows name a shared publication. Each entry is a row on disk, so the queues' limits bound it.
    bodies: DashMap<Seq, u32>,
    /// How many rooms have a history.
    rooms: AtomicUsize,
}

/// A counter as it was before it was changed.
pub(super) enum Before {
    Client(ClientNo, Option<Client>),
    Body(Seq, u32),
    Rooms(usize),
}

impl Counts {
    /// What is known of a session; `None` if there is no such session.
    pub(super) fn client(&self, client: ClientNo) -> Option<Client> {
        self.clients.get(&client).map(|found| *found)
    }

    /// How many rows name a shared publication.
    pub(super) fn references(&self, body: Seq) -> u32 {
        self.bodies.get(&body).map_or(0, |count| *count)
    }

    /// How many sessions there are.
    pub(super) fn clients(&self) -> usize {
        self.clients.len()
    }

    /// How many rooms have a history.
    pub(super) fn rooms(&self) -> usize {
        self.rooms.load(Ordering::Relaxed)
    }

    /// Replaces how many rooms have a history; the answer takes that back.
    pub(super) fn set_rooms(&self, to: usize) -> Before {
        Before::Rooms(self.rooms.swap(to, Ordering::Relaxed))
    }

    /// How many shared publications there are.
    pub(super) fn bodies(&self) -> usize {
        self.bodies.len()
    }

    /// How many messages are in all queues. Walks all sessions.
    pub(super) fn messages(&self) -> u64 {
        self.clients.iter().map(|client| client.depth).sum()
    }

    /// Replaces what is known of a session; the answer takes that back.
    pub(super) fn set_client(&self, client: ClientNo, to: Option<Client>) -> Before {
        let before = match to {
            Some(to) => self.clients.insert(client, to),
            None => self.clients.remove(&client).map(|(_, before)| before),
        };
        Before::Client(client, before)
    }

    /// Replaces the number of rows that name a shared publication; the answer takes that back.
    pub(super) fn set_references(&self, body: Seq, to: u32) -> Before {
        let before = match to {
            0 => self.bodies.remove(&body).map(|(_, before)| before),
            to => self.bodies.insert(body, to),
        };
        Before::Body(body, before.unwrap_or(0))
    }

    /// Takes a change back.
    pub(super) fn restore(&self, before: Before) {
        match before {
            Before::Client(client, before) => drop(self.set_client(client, before)),
            Before::Body(body, before) => drop(self.set_references(body, before)),
            Before::Rooms(before) => drop(self.set_rooms(before)),
        }
    }
}

impl Tables {
    /// Builds the topic plane's counters, once, when the store is opened.
    pub(super) fn count_plane(&self) -> Result<(), StoreError> {
        let view = self.view();
        for row in view.prefix(Table::Topics, &[plane::CLIENT]) {
            let client = keys::client_of(&row?.0).ok_or_else(|| corrupt("client key"))?;
            self.counts.set_client(client, Some(Client::NEW));
        }
        // Rows of closed sessions are still there until upkeep removes them, and hold their bodies until then.
        for row in view.prefix(Table::Topics, &[plane::PLACE]) {
            let (key, value) = row?;
            let (client, ordinal) = keys::parse_place(&key).ok_or_else(|| corrupt("place key"))?;
            if let Some(known) = self.counts.client(client) {
                let known = Client {
                    depth: known.depth + 1,
                    next: Ordinal(ordinal.0 + 1),
                };
                self.counts.set_client(client, Some(known));
            }
            self.count_reference(&codec::decode::<PlaceRow<'_>>(&value)?.held);
        }
        for row in view.prefix(Table::Topics, &[plane::RETAINED]) {
            self.count_reference(&codec::decode::<RetainedRow<'_>>(&row?.1)?.held);
        }
        let mut rooms = 0;
        for row in view.prefix(Table::Topics, &[plane::ROOM]) {
            row?;
            rooms += 1;
        }
        self.counts.set_rooms(rooms);
        Ok(())
    }

    fn count_reference(&self, held: &HeldRow<'_>) {
        if let HeldRow::Shared(body) = held {
            let body = Seq(*body);
            self.counts
                .set_references(body, self.counts.references(body) + 1);
        }
    }
}
