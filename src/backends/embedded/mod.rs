//! The embedded backend: one fjall database in this process.
//!
//! Everything that is written goes through the committing thread (`committer.rs`) as a job on a
//! transaction (`tx.rs`); everything that is read goes straight to the tables (`tables.rs`). A message to
//! one session is a row of its queue; a broadcast is one row for all, which each queue and each user's
//! history finds when it is next looked at (`queues.rs`, `history.rs`, `members.rs`). Rows carry their
//! expiry and leave the disk when their table is compacted (`upkeep.rs`).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::backends::{Commit, OnTouched};
use crate::domain::{Clock, Seq, StoreError};

mod catalog;
mod codec;
mod committer;
mod counts;
mod history;
mod keys;
mod members;
mod publications;
mod queues;
mod records;
mod rooms;
mod sessions;
mod space;
mod tables;
mod topic_upkeep;
mod topics;
mod tx;
mod upkeep;

#[cfg(test)]
mod tests;

pub use committer::OnFailure;
pub use tables::StoreSizes;

use committer::{Bounds, Committer, Growth};
use space::Space;
use tables::{Table, Tables};
use upkeep::Upkeep;

/// How the store is opened.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The data directory; made if it is not there.
    pub dir: PathBuf,
    /// Below this much free disk space, new messages are refused.
    pub min_free_bytes: u64,
    /// Sizes of the database's buffers.
    pub sizes: StoreSizes,
    /// How often expired data is looked for.
    pub sweep_interval: Duration,
    /// A table with more expired or removed bytes than this, and than a quarter of its size, is compacted.
    pub compact_after_bytes: u64,
    /// How long history entries live: how long it is remembered which users had sessions.
    pub user_message_ttl: Duration,
}

/// The embedded backend; implements every trait of [`crate::backends`].
pub struct Embedded {
    tables: Arc<Tables>,
    committer: Arc<Committer>,
    /// The committing thread has one of its own.
    space: Space,
    user_message_ttl: Duration,
    /// Dropped first: its thread works with the two above.
    upkeep: Option<Upkeep>,
}

/// Why the store can not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("the data directory {0} is in use by another process")]
    InUse(PathBuf),
    /// The database refuses.
    #[error("can not open the data directory {0}: {1}")]
    Database(PathBuf, fjall::Error),
    /// The folder can not be made or looked at.
    #[error("can not use the data directory {0}: {1}")]
    Folder(PathBuf, std::io::Error),
    /// What is in it can not be read.
    #[error("the data directory {0} is damaged: {1}")]
    Damaged(PathBuf, StoreError),
}

impl Embedded {
    /// Opens the store and recovers what was acknowledged.
    ///
    /// # Errors
    /// [`OpenError`], naming the folder.
    pub fn open(
        options: &StoreOptions,
        clock: Clock,
        on_touched: OnTouched,
        on_failure: OnFailure,
    ) -> Result<Self, OpenError> {
        let dir = &options.dir;
        std::fs::create_dir_all(dir).map_err(|error| OpenError::Folder(dir.clone(), error))?;
        let tables =
            Tables::open(&dir.join("fjall"), options.sizes).map_err(|error| refused(dir, error))?;
        let tables = Arc::new(tables);
        let damaged = |error| OpenError::Damaged(dir.clone(), error);
        let next_seq = next_seq(&tables).map_err(damaged)?;
        tables.count_depths().map_err(damaged)?;
        tables.count_plane().map_err(damaged)?;
        let space = Space::watch(dir, options.min_free_bytes)
            .map_err(|error| OpenError::Folder(dir.clone(), error))?;
        let watch = Space::watch(dir, options.min_free_bytes)
            .map_err(|error| OpenError::Folder(dir.clone(), error))?;
        let committer = Committer::start(
            Bounds::default(),
            tables.clone(),
            next_seq,
            space,
            on_touched,
            on_failure,
        )
        .map_err(|error| OpenError::Folder(dir.clone(), error))?;
        let committer = Arc::new(committer);
        let upkeep = Upkeep::start(tables.clone(), committer.clone(), clock, options)
            .map_err(|error| OpenError::Folder(dir.clone(), error))?;
        Ok(Self {
            tables,
            committer,
            space: watch,
            user_message_ttl: options.user_message_ttl,
            upkeep: Some(upkeep),
        })
    }
}

impl Embedded {
    /// Whether new messages would be stored now.
    ///
    /// # Errors
    /// Why not.
    pub fn accepts(&self) -> Result<(), StoreError> {
        self.committer.works()?;
        self.space.look().allow(Growth::Grows)
    }

    /// Resolves when everything handed in before is on disk, also what nobody waited for.
    pub fn flush(&self) -> Commit<()> {
        self.committer.submit(Growth::Frees, 0, |_| Ok(()))
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.upkeep = None;
    }
}

fn refused(dir: &Path, error: fjall::Error) -> OpenError {
    match error {
        fjall::Error::Locked => OpenError::InUse(dir.to_owned()),
        other => OpenError::Database(dir.to_owned(), other),
    }
}

/// The sequence number after the newest that was given out; the first is 1.
fn next_seq(tables: &Tables) -> Result<Seq, StoreError> {
    match tables.get(Table::Registry, &[keys::tag::NEXT_SEQ])? {
        Some(value) => {
            let bytes = (*value)
                .try_into()
                .map_err(|_| StoreError::Corrupt("next sequence number".into()))?;
            Ok(Seq(u64::from_be_bytes(bytes)))
        }
        None => Ok(Seq(1)),
    }
}
