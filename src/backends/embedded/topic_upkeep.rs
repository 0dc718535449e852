//! Housekeeping of the topic plane: what closed sessions left and what has expired leaves in small commits, because each
//! row counts for its queue's depth and for its publication's life.

use std::time::{Duration, Instant};

use super::committer::Growth;
use super::keys::{self, plane};
use super::records::corrupt;
use super::tables::{Table, View};
use super::tx::Tx;
use super::upkeep::{CHUNK, Keeper, LOOK_PAUSE, block_on};
use super::{codec, rooms, topics};
use crate::domain::{StoreError, Timestamp};

/// A row of `topics` by its key.
type Key = fjall::Slice;

impl Keeper {
    /// One round through the topic plane.
    pub(super) fn look_after_topics(&mut self) -> Result<(), StoreError> {
        self.purge_closed_clients()?;
        if self.next_look[Table::Topics as usize] <= Instant::now() {
            let started = Instant::now();
            self.trim_rooms()?;
            let took = self.remove_expired()? + started.elapsed();
            self.next_look[Table::Topics as usize] = Instant::now() + took * LOOK_PAUSE;
        }
        let counts = &self.tables.counts;
        metrics::gauge!("fanfare_store_topic_clients").set(counts.clients() as f64);
        metrics::gauge!("fanfare_store_topic_messages").set(counts.messages() as f64);
        metrics::gauge!("fanfare_store_topic_bodies").set(counts.bodies() as f64);
        metrics::gauge!("fanfare_store_rooms").set(counts.rooms() as f64);
        Ok(())
    }

    /// Removes the rows of closed sessions, a chunk a commit.
    fn purge_closed_clients(&self) -> Result<(), StoreError> {
        let view = self.tables.view();
        for row in view.prefix(Table::Topics, &[plane::PURGE]) {
            let (purge, _) = row?;
            let client = keys::client_of(&purge).ok_or_else(|| corrupt("purge key"))?;
            self.remove_all(
                &view,
                &keys::of_client(plane::PLACE, client),
                |_| true,
                |tx, key| topics::remove_place(tx, &key),
            )?;
            self.remove_all(
                &view,
                &keys::of_client(plane::PACKET_ID, client),
                |_| true,
                |tx, key| {
                    tx.remove(Table::Topics, key);
                    Ok(())
                },
            )?;
            self.remove(Table::Topics, vec![purge])?;
        }
        Ok(())
    }

    /// Removes expired messages; says how long it took to find them.
    fn remove_expired(&self) -> Result<Duration, StoreError> {
        let (started, now) = (Instant::now(), self.clock.now());
        let view = self.tables.view();
        let expired = |value: &[u8]| codec::expires(value).is_some_and(|expires| expires <= now);
        self.remove_all(&view, &[plane::PLACE], expired, move |tx, key| {
            if is_expired(tx, &key, now)? {
                topics::remove_place(tx, &key)?;
            }
            Ok(())
        })?;
        self.remove_all(&view, &[plane::RETAINED], expired, move |tx, key| {
            if is_expired(tx, &key, now)? {
                topics::remove_retained(tx, &key)?;
            }
            Ok(())
        })?;
        Ok(started.elapsed())
    }

    /// Removes what has expired in rooms' histories, and forgets those of which nothing is left.
    fn trim_rooms(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        for row in self.tables.view().prefix(Table::Topics, &rooms::ROOMS) {
            let (key, _) = row?;
            loop {
                if !self.has_expired(&key, now)? {
                    break;
                }
                let key = key.clone();
                let trimmed = self.committer.submit(Growth::Frees, CHUNK * 32, move |tx| {
                    rooms::trim(tx, &key, now, CHUNK)
                });
                if !block_on(trimmed)? {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Whether the oldest row of a room has expired: most rooms need no commit.
    fn has_expired(&self, key: &[u8], now: Timestamp) -> Result<bool, StoreError> {
        let room = keys::parse_room(key).ok_or_else(|| corrupt("room key"))?;
        let first = self
            .tables
            .view()
            .prefix(Table::Topics, &keys::said_in(room))
            .next();
        let Some(first) = first.transpose()? else {
            return Ok(true);
        };
        Ok(codec::expires(&first.1).is_some_and(|expires| expires <= now))
    }

    /// Hands each row that starts with `prefix` and that `which` wants to `remove`, a chunk a commit.
    fn remove_all(
        &self,
        view: &View<'_>,
        prefix: &[u8],
        which: impl Fn(&[u8]) -> bool,
        remove: impl Fn(&mut Tx<'_>, Key) -> Result<(), StoreError> + Copy + Send + 'static,
    ) -> Result<(), StoreError> {
        let mut rows = view
            .prefix(Table::Topics, prefix)
            .filter(|row| row.as_ref().map_or(true, |(_, value)| which(value)))
            .map(|row| row.map(|(key, _)| key));
        loop {
            let keys: Vec<Key> = rows.by_ref().take(CHUNK).collect::<Result<_, _>>()?;
            if keys.is_empty() {
                return Ok(());
            }
            let removed = self
                .committer
                .submit(Growth::Frees, keys.len() * 32, move |tx| {
                    keys.into_iter().try_for_each(|key| remove(tx, key))
                });
            block_on(removed)?;
        }
    }
}

/// Whether the row, which may have been replaced since it was found, has expired.
fn is_expired(tx: &Tx<'_>, key: &[u8], now: Timestamp) -> Result<bool, StoreError> {
    let value = tx.get(Table::Topics, key)?;
    let expires = value.as_deref().and_then(codec::expires);
    Ok(expires.is_some_and(|expires| expires <= now))
}
