//! What a message carries, and what is counted when it arrives.

use std::time::{Duration, Instant};

use crate::cli::bench::load::Latencies;

/// The shortest payload: time, publisher, sequence number.
pub(super) const STAMP_BYTES: usize = 20;

/// What a payload begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// When it was sent, from the start of the benchmark.
    pub(super) sent: Duration,
    pub(super) publisher: u32,
    /// Counted from 0 by each publisher.
    pub(super) sequence: u64,
}

impl Stamp {
    /// Overwrites the start of a payload.
    pub(super) fn write(self, payload: &mut [u8]) {
        // A benchmark ends before its nanoseconds need more than 64 bits.
        let nanos = self.sent.as_nanos() as u64;
        payload[..8].copy_from_slice(&nanos.to_be_bytes());
        payload[8..12].copy_from_slice(&self.publisher.to_be_bytes());
        payload[12..20].copy_from_slice(&self.sequence.to_be_bytes());
    }

    /// Nothing if the payload is too short to be one of ours.
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let nanos = payload.get(..8)?.try_into().ok()?;
        let publisher = payload.get(8..12)?.try_into().ok()?;
        let sequence = payload.get(12..20)?.try_into().ok()?;
        Some(Self {
            sent: Duration::from_nanos(u64::from_be_bytes(nanos)),
            publisher: u32::from_be_bytes(publisher),
            sequence: u64::from_be_bytes(sequence),
        })
    }
}

/// A payload of so many bytes, at least [`STAMP_BYTES`].
pub(super) fn payload(bytes: usize) -> Vec<u8> {
    vec![b'.'; bytes.max(STAMP_BYTES)]
}

/// Deliveries, as they arrive.
pub(super) struct Tally {
    start: Instant,
    /// By pair of receiver and publisher: the sequence number that comes next.
    next: Vec<u64>,
    /// Only messages sent later count towards the latencies.
    since: Option<Duration>,
    pub(super) latencies: Latencies,
    /// Deliveries since counting began, however old.
    pub(super) counted: u64,
    /// All deliveries, repeated ones included.
    pub(super) received: u64,
    /// Deliveries of what was there already, or that came after a later one.
    pub(super) repeated: u64,
}

impl Tally {
    /// Counts for so many pairs of receiver and publisher.
    pub(super) fn new(start: Instant, pairs: usize) -> Self {
        Self {
            start,
            next: vec![0; pairs],
            since: None,
            latencies: Latencies::new(),
            counted: 0,
            received: 0,
            repeated: 0,
        }
    }

    /// Ends the warming up.
    pub(super) fn count_from(&mut self, now: Instant) {
        self.since = Some(now - self.start);
    }

    /// Counts a delivery; tells whether it is a new one.
    pub(super) fn take(&mut self, pair: usize, stamp: Stamp, now: Instant) -> bool {
        self.received += 1;
        let next = &mut self.next[pair];
        let is_new = stamp.sequence >= *next;
        if is_new {
            *next = stamp.sequence + 1;
        } else {
            self.repeated += 1;
        }
        if let Some(since) = self.since {
            self.counted += 1;
            if stamp.sent >= since {
                self.latencies
                    .record((now - self.start).saturating_sub(stamp.sent));
            }
        }
        is_new
    }

    /// Deliveries without the repeated ones.
    pub(super) fn distinct(&self) -> u64 {
        self.received - self.repeated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn stamp(sequence: u64, ms: u64) -> Stamp {
        Stamp {
            sent: Duration::from_millis(ms),
            publisher: 7,
            sequence,
        }
    }

    #[test]
    fn a_stamp_survives() {
        let mut bytes = payload(128);
        assert_eq!(bytes.len(), 128);
        let written = stamp(u64::MAX, 123_456);
        written.write(&mut bytes);
        assert_eq!(Stamp::read(&bytes), Some(written));
        assert_eq!(Stamp::read(&bytes[..19]), None);
        assert_eq!(payload(0).len(), STAMP_BYTES);
    }

    #[test]
    fn gaps_and_repetitions_are_seen() {
        let start = Instant::now();
        let mut tally = Tally::new(start, 2);
        let at = |ms| start + Duration::from_millis(ms);
        assert!(tally.take(0, stamp(0, 1), at(2)));
        assert_eq!((tally.counted, tally.latencies.count()), (0, 0));
        tally.count_from(at(10));
        // Sent while warming up: counted, not timed.
        assert!(tally.take(0, stamp(1, 9), at(11)));
        // One is missing before this one.
        assert!(tally.take(0, stamp(3, 11), at(14)));
        assert!(!tally.take(0, stamp(3, 11), at(15)));
        assert!(tally.take(1, stamp(0, 12), at(15)));
        assert_eq!(
            (tally.received, tally.repeated, tally.distinct()),
            (5, 1, 4)
        );
        assert_eq!((tally.counted, tally.latencies.count()), (4, 3));
        assert_eq!(tally.latencies.max_ms().round(), 4.0);
    }
}
