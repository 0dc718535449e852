//! What several connections of a worker get in one turn of its event loop, copied once for all of them.
//!
//! A publication to a thousand subscribers is a thousand outboxes that say "from here to there" in this log. When they are
//! written, each to its socket, the log is emptied. The publications of one topic that come in one turn stand side by side,
//! so they are one piece, and one write, for each of its subscribers.

use std::ops::Range;

use bytes::Bytes;

use crate::config::limits::links as limits;

#[derive(Default)]
pub(super) struct TurnLog {
    bytes: Vec<u8>,
    /// What came last, and where it stands: two, for the two versions of MQTT. Kept, so that nothing else can be at the
    /// same address.
    last: [Option<(Bytes, Range<u32>)>; 2],
}

impl TurnLog {
    /// Where these bytes stand; `None` if there is no more room. They are recognised by their address, and copied if they
    /// are not among the newest.
    pub(super) fn place(&mut self, bytes: &Bytes) -> Option<Range<u32>> {
        let is_same = |last: &Bytes| last.as_ptr() == bytes.as_ptr() && last.len() == bytes.len();
        if let Some((_, run)) = self.last.iter().flatten().find(|(last, _)| is_same(last)) {
            return Some(run.clone());
        }
        let start = self.bytes.len();
        let end = start + bytes.len();
        if end > limits::TURN_LOG_BYTES {
            return None;
        }
        self.bytes.extend_from_slice(bytes);
        let run = u32::try_from(start).ok()?..u32::try_from(end).ok()?;
        self.last.swap(0, 1);
        self.last[0] = Some((bytes.clone(), run.clone()));
        Some(run)
    }

    /// What stands there.
    pub(super) fn bytes(&self, run: &Range<u32>) -> &[u8] {
        &self.bytes[run.start as usize..run.end as usize]
    }

    /// Begins anew. Nobody may have a run any more.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.last = [None, None];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_stand_once() {
        let mut log = TurnLog::default();
        let (one, other) = (Bytes::from(vec![1; 10]), Bytes::from(vec![1; 10]));
        let first = log.place(&one).unwrap();
        assert_eq!(log.place(&other), Some(10..20));
        assert_eq!(log.place(&one), Some(first));
        assert_eq!(log.place(&other), Some(10..20));
        assert_eq!(log.bytes(&(0..10)), &one[..]);
    }

    #[test]
    fn what_came_long_ago_is_copied_again() {
        let mut log = TurnLog::default();
        let bytes: Vec<Bytes> = (0..3).map(|byte| Bytes::from(vec![byte; 4])).collect();
        let runs: Vec<_> = bytes.iter().map(|bytes| log.place(bytes)).collect();
        assert_eq!(runs, [Some(0..4), Some(4..8), Some(8..12)]);
        assert_eq!(log.place(&bytes[0]), Some(12..16));
        log.clear();
        assert_eq!(log.place(&bytes[0]), Some(0..4));
    }

    #[test]
    fn there_is_an_end_to_it() {
        let mut log = TurnLog::default();
        let half = limits::TURN_LOG_BYTES / 2;
        assert!(log.place(&Bytes::from(vec![0; half])).is_some());
        assert_eq!(log.place(&Bytes::from(vec![0; half + 1])), None);
        assert!(log.place(&Bytes::from(vec![0; half])).is_some());
        assert_eq!(log.place(&Bytes::from(vec![0; 1])), None);
    }
}
