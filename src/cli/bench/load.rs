//! Load: so many connections, each with one request on its way, for a time or for a number of requests.

use std::cell::Cell;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use hdrhistogram::Histogram;

use super::connection::Connection;

/// No request is given longer.
const LONGEST: Duration = Duration::from_secs(600);

/// Latencies in microseconds, exact to three digits.
pub(super) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(super) fn new() -> Self {
        let longest = u64::try_from(LONGEST.as_micros()).expect("a few minutes are a small number");
        Self(Histogram::new_with_bounds(1, longest, 3).expect("the bounds are in order"))
    }

    pub(super) fn record(&mut self, time: Duration) {
        self.0
            .saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    /// In milliseconds; `quantile` is 0 to 1.
    pub(super) fn ms_at(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1000.0
    }

    /// In milliseconds.
    pub(super) fn max_ms(&self) -> f64 {
        self.0.max() as f64 / 1000.0
    }
}

/// What was done in a stretch of time.
pub(super) struct Slot {
    /// Successful requests (or cycles of them); the first error ends the run.
    pub(super) latencies: Latencies,
    /// How long it took, the last answers included.
    pub(super) time: Duration,
}

impl Slot {
    pub(super) fn new() -> Self {
        Self {
            latencies: Latencies::new(),
            time: Duration::ZERO,
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.latencies.add(&other.latencies);
        self.time += other.time;
    }

    pub(super) fn per_second(&self) -> f64 {
        self.latencies.count() as f64 / self.time.as_secs_f64()
    }
}

/// Repeats `once` on every connection until `time` has passed.
///
/// # Errors
/// The first one of `once`: a rate with failures in it would say nothing.
pub(super) async fn drive(
    connections: &mut [Connection],
    time: Duration,
    once: impl AsyncFn(&mut Connection) -> anyhow::Result<()>,
) -> anyhow::Result<Slot> {
    let started = Instant::now();
    let end = started + time;
    let workers = connections.iter_mut().map(async |connection| {
        let mut latencies = Latencies::new();
        let mut now = Instant::now();
        while now < end {
            once(connection).await?;
            let after = Instant::now();
            latencies.record(after - now);
            now = after;
        }
        anyhow::Ok(latencies)
    });
    let mut slot = Slot::new();
    for latencies in try_join_all(workers).await? {
        slot.latencies.add(&latencies);
    }
    slot.time = started.elapsed();
    Ok(slot)
}

/// Calls `once` with every number below `total`, shared out among the connections in order.
///
/// # Errors
/// The first one of `once`.
pub(super) async fn share(
    connections: &mut [Connection],
    total: u64,
    once: impl AsyncFn(&mut Connection, u64) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let next = Cell::new(0);
    let workers = connections.iter_mut().map(async |connection| {
        while next.get() < total {
            once(connection, next.replace(next.get() + 1)).await?;
        }
        anyhow::Ok(())
    });
    try_join_all(workers).await.map(drop)
}

/// The middle one; of an even number, the mean of the two in the middle. 0 of none.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        length if length % 2 == 1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn latencies_are_told_in_milliseconds() {
        let mut latencies = Latencies::new();
        for ms in 1..=100 {
            latencies.record(Duration::from_millis(ms));
        }
        let near =
            |found: f64, expect: f64| assert!((found / expect - 1.0).abs() < 0.002, "{found}");
        near(latencies.ms_at(0.5), 50.0);
        near(latencies.ms_at(0.99), 99.0);
        near(latencies.max_ms(), 100.0);
        assert_eq!(latencies.count(), 100);
    }
}
