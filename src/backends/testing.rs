//! For tests: a history store that panics when it is told to, and says which receipts it was given.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::{Commit, HistoryStore, Receipt};
use crate::domain::history::{Audience, EntryMeta, NewEntry, Receipts};
use crate::domain::message::Origin;
use crate::domain::{Seq, StoreError, Timestamp, UserId};

/// Panics so many times, then does as the store behind it.
pub(crate) struct Brittle {
    store: Arc<dyn HistoryStore>,
    /// How often appending still panics.
    pub(crate) appends: AtomicUsize,
    /// How often receipting still panics.
    pub(crate) receipts: AtomicUsize,
    /// The receipts it was given.
    pub(crate) given: Mutex<Vec<Receipt>>,
}

impl Brittle {
    pub(crate) fn before(store: Arc<dyn HistoryStore>) -> Arc<Self> {
        Arc::new(Self {
            store,
            appends: AtomicUsize::new(0),
            receipts: AtomicUsize::new(0),
            given: Mutex::default(),
        })
    }
}

/// Panics unless the counter is at zero, and counts down.
fn strain(counter: &AtomicUsize) {
    let left = counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
        left.checked_sub(1)
    });
    assert!(left.is_err(), "asked to panic");
}

impl HistoryStore for Brittle {
    fn append(&self, to: Audience, entry: NewEntry) -> Commit<Seq> {
        strain(&self.appends);
        self.store.append(to, entry)
    }

    fn entries(
        &self,
        user: UserId,
        after: Seq,
        now: Timestamp,
    ) -> Result<Vec<EntryMeta>, StoreError> {
        self.store.entries(user, after, now)
    }

    fn text(&self, user: UserId, seq: Seq, origin: Origin) -> Result<Option<Bytes>, StoreError> {
        self.store.text(user, seq, origin)
    }

    fn mark_read(&self, user: UserId, receipt: Receipt) -> Commit<()> {
        strain(&self.receipts);
        self.given.lock().unwrap().push(receipt.clone());
        self.store.mark_read(user, receipt)
    }

    fn forget(&self, user: UserId, entries: Vec<Seq>) -> Commit<()> {
        self.store.forget(user, entries)
    }

    fn promise(&self, receipts: Receipts) -> Commit<Seq> {
        self.store.promise(receipts)
    }

    fn promised(&self) -> Result<Vec<(Seq, Receipts)>, StoreError> {
        self.store.promised()
    }
}
