//! How often actors have panicked of late: one that does again and again is not started for ever.

use std::hash::Hash;
use std::time::Instant;

use dashmap::{DashMap, Entry};

use crate::config::limits;

/// The latest panics of actors, by what tells these apart.
#[derive(Debug)]
pub struct Panics<K: Eq + Hash> {
    seen: DashMap<K, Vec<Instant>>,
}

impl<K: Eq + Hash> Default for Panics<K> {
    fn default() -> Self {
        Self {
            seen: DashMap::new(),
        }
    }
}

impl<K: Eq + Hash> Panics<K> {
    /// An actor was found dead.
    pub fn note(&self, key: K, now: Instant) {
        self.seen.entry(key).or_default().push(now);
    }

    /// How often it has panicked within [`limits::PANIC_WINDOW`].
    pub fn lately(&self, key: K, now: Instant) -> usize {
        let Entry::Occupied(mut seen) = self.seen.entry(key) else {
            return 0;
        };
        seen.get_mut()
            .retain(|at| now.duration_since(*at) < limits::PANIC_WINDOW);
        let count = seen.get().len();
        if count == 0 {
            seen.remove();
        }
        count
    }

    /// There will be no such actor any more.
    pub fn forget(&self, key: &K) {
        self.seen.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn panics_count_for_a_while() {
        let panics = Panics::default();
        let (start, half) = (Instant::now(), limits::PANIC_WINDOW / 2);
        panics.note(1, start);
        panics.note(1, start + half);
        assert_eq!(panics.lately(1, start + half), 2);
        assert_eq!(panics.lately(2, start + half), 0, "another");
        assert_eq!(panics.lately(1, start + 2 * half), 1);
        let almost = start + 3 * half - Duration::from_millis(1);
        assert_eq!(panics.lately(1, almost), 1);
        assert_eq!(panics.lately(1, start + 3 * half), 0);
        panics.note(1, start);
        panics.forget(&1);
        assert_eq!(panics.lately(1, start), 0);
    }
}
