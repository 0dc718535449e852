//! The order of what different workers do: who subscribed before something was retained, and who after.

use std::sync::atomic::{AtomicU64, Ordering};

/// A moment; each is given once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Tick(u64);

impl Tick {
    /// After every other.
    pub(super) const END: Self = Self(u64::MAX);
}

/// Gives moments in order, to all threads: what a thread did before its moment is seen by whoever takes a later one.
#[derive(Debug, Default)]
pub(super) struct Ticks(AtomicU64);

impl Ticks {
    /// A new moment, after all that were given.
    pub(super) fn next(&self) -> Tick {
        Tick(self.0.fetch_add(1, Ordering::AcqRel) + 1)
    }
}
