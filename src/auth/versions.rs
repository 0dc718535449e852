//! Counters by which a connection sees that its rights may have changed, without asking anybody.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::backends::Touched;
use crate::domain::QueueNo;

/// Sessions share counters by the number of their queue, so that one session's renewal makes few others look.
const COUNTERS: usize = 4096;

/// One counter for the configuration, and some for the sessions.
#[derive(Debug)]
pub struct Versions {
    book: AtomicU64,
    sessions: Box<[AtomicU64]>,
}

impl Default for Versions {
    fn default() -> Self {
        Self {
            book: AtomicU64::new(0),
            sessions: (0..COUNTERS).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

impl Versions {
    /// A session was refreshed, renewed or destroyed. Called with every commit, before it is answered.
    pub fn touched(&self, touched: &Touched) {
        let queue = match touched {
            Touched::Opened {
                before: Some(before),
                ..
            } => before.queue,
            Touched::Closed(route) => route.queue,
            _ => return,
        };
        self.changed(queue);
    }

    /// Something has changed for the session of this queue.
    pub(super) fn changed(&self, queue: QueueNo) {
        self.counter(queue).fetch_add(1, Ordering::Release);
    }

    /// There is another book.
    pub(super) fn replaced(&self) {
        self.book.fetch_add(1, Ordering::Release);
    }

    /// Rises when something may have changed for the principals of this queue's session; for others, with the book.
    pub(super) fn of(&self, queue: Option<QueueNo>) -> u64 {
        let session = queue.map_or(0, |queue| self.counter(queue).load(Ordering::Acquire));
        self.book.load(Ordering::Acquire) + session
    }

    fn counter(&self, queue: QueueNo) -> &AtomicU64 {
        let place = queue.0 % self.sessions.len() as u64;
        &self.sessions[usize::try_from(place).expect("below 4096")]
    }
}
