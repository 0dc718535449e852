//! Time: one clock that never goes backward inside the process, and the wall clock where it must be.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A point in time, microseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// From whole seconds since the epoch.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// From milliseconds since the epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// Whole seconds since the epoch.
    pub const fn secs(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Milliseconds since the epoch.
    pub const fn millis(self) -> u64 {
        self.0 / 1_000
    }

    /// Microseconds since the epoch.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// The time `span` later; stays at the largest value instead of overflowing.
    pub const fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span.as_micros() as u64))
    }

    /// How long from `earlier` to this; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// The process's clock. Visibility, delays and retention go by [`Clock::now`], which only rises: a
/// jump of the wall clock must neither lose nor redeliver a message. Signatures and key expiry, which
/// other machines' clocks take part in, go by [`Clock::wall`].
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started_wall: Timestamp,
    started: Instant,
}

impl Clock {
    /// Starts at the wall clock's present time.
    pub fn start() -> Self {
        Self {
            started_wall: wall(),
            started: Instant::now(),
        }
    }

    /// The wall clock's time at the start plus what has passed since on the monotonic clock.
    pub fn now(&self) -> Timestamp {
        self.started_wall.plus(self.started.elapsed())
    }

    /// The wall clock.
    pub fn wall(&self) -> Timestamp {
        wall()
    }

    /// When `at` comes, as an [`Instant`] to sleep until; now, if it has passed.
    pub fn instant(&self, at: Timestamp) -> Instant {
        self.started + at.since(self.started_wall)
    }
}

fn wall() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(since.as_micros() as u64)
}
