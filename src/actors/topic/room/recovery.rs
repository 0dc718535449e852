//! What a client that was away has missed, and whether it can have it: pure.

use crate::backends::rooms::Head;
use crate::config::limits;
use crate::domain::room::{Epoch, Place};

/// What a client asks for when it subscribes to a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recover {
    /// The newest that it has.
    pub since: Option<Place>,
    /// How many of the newest it wants if it can not be given all that it missed.
    pub last: u64,
}

/// Why what was missed can not be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    New,
    Epoch,
    TooOld,
    TooMany,
    Ahead,
    NoHistory,
    Busy,
}

impl Lost {
    /// As clients are told.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Epoch => "epoch",
            Self::TooOld => "too-old",
            Self::TooMany => "too-many",
            Self::Ahead => "ahead",
            Self::NoHistory => "no-history",
            Self::Busy => "busy",
        }
    }
}

/// What to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    /// Whether it is all that was missed.
    pub(super) lost: Option<Lost>,
    /// From this offset on; past `to`: nothing.
    pub(super) from: u64,
    /// To this one: what comes later comes live.
    pub(super) to: u64,
}

/// Decides. `head` is the history as of what everyone has been sent, if there is one.
pub(super) fn plan(asked: &Recover, head: Option<Head>) -> Plan {
    let lost = |lost, head: Option<Head>| {
        let (first, last) = head.map_or((1, 0), |head| (head.first, head.last));
        let wanted = asked.last.min(limits::rooms::REPLAYED);
        Plan {
            lost: Some(lost),
            from: (last + 1).saturating_sub(wanted).max(first),
            to: last,
        }
    };
    let Some(since) = asked.since else {
        return lost(Lost::New, head);
    };
    let Some(head) = head.filter(|head| head.epoch == since.epoch) else {
        return lost(Lost::Epoch, head);
    };
    let why = if since.offset > head.last {
        Lost::Ahead
    } else if since.offset + 1 < head.first {
        Lost::TooOld
    } else if head.last - since.offset > limits::rooms::REPLAYED {
        Lost::TooMany
    } else {
        return Plan {
            lost: None,
            from: since.offset + 1,
            to: head.last,
        };
    };
    lost(why, Some(head))
}

/// The history as of `reached`, the newest that everyone has been sent: what is newer on disk comes to them live.
pub(super) fn as_of(head: Option<Head>, reached: Option<Place>) -> Option<Head> {
    let head = head?;
    let last = match reached {
        Some(reached) if reached.epoch == head.epoch => reached.offset.min(head.last),
        // It has only just begun, or begun anew, and nobody has been sent anything of it.
        _ => 0,
    };
    Some(Head {
        epoch: head.epoch,
        first: head.first.min(last + 1),
        last,
    })
}

/// The epoch that is told: of no history it is empty.
pub(super) fn epoch(head: Option<Head>) -> Option<Epoch> {
    head.map(|head| head.epoch)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EPOCH: Epoch = Epoch(7);

    fn head(first: u64, last: u64) -> Option<Head> {
        Some(Head {
            epoch: EPOCH,
            first,
            last,
        })
    }

    #[track_caller]
    fn check(
        since: Option<(u64, u64)>,
        last: u64,
        head: Option<Head>,
        expect: (Option<Lost>, u64, u64),
    ) {
        let since = since.map(|(epoch, offset)| Place {
            epoch: Epoch(epoch),
            offset,
        });
        let plan = plan(&Recover { since, last }, head);
        assert_eq!((plan.lost, plan.from, plan.to), expect);
    }

    #[test]
    fn what_was_missed_is_sent_if_it_is_all_there() {
        check(Some((7, 3)), 9, head(2, 5), (None, 4, 5));
        check(Some((7, 1)), 9, head(2, 5), (None, 2, 5));
        check(Some((7, 5)), 9, head(2, 5), (None, 6, 5));
        check(Some((7, 5)), 9, head(6, 5), (None, 6, 5));
        check(Some((7, 0)), 2, head(2, 5), (Some(Lost::TooOld), 4, 5));
        check(Some((7, 6)), 0, head(2, 5), (Some(Lost::Ahead), 6, 5));
        check(Some((8, 3)), 9, head(2, 5), (Some(Lost::Epoch), 2, 5));
        check(Some((7, 3)), 9, None, (Some(Lost::Epoch), 1, 0));
        check(None, 1, head(2, 5), (Some(Lost::New), 5, 5));
        check(None, 0, None, (Some(Lost::New), 1, 0));
        let many = limits::rooms::REPLAYED + 1;
        check(
            Some((7, 0)),
            1,
            head(1, many),
            (Some(Lost::TooMany), many, many),
        );
        check(Some((7, 1)), 1, head(1, many), (None, 2, many));
        check(None, u64::MAX, head(1, many), (Some(Lost::New), 2, many));
    }

    #[test]
    fn what_is_on_its_way_is_not_missed() {
        let reached = |epoch, offset| {
            Some(Place {
                epoch: Epoch(epoch),
                offset,
            })
        };
        assert_eq!(as_of(head(2, 5), reached(7, 4)), head(2, 4));
        assert_eq!(as_of(head(2, 5), reached(7, 5)), head(2, 5));
        assert_eq!(as_of(head(2, 5), reached(6, 90)), head(1, 0));
        assert_eq!(as_of(head(1, 1), None), head(1, 0));
        assert_eq!(as_of(None, reached(7, 4)), None);
    }

    proptest! {
        #[test]
        fn a_client_either_has_everything_or_knows_that_it_has_not(
            said in 0..3000_u64, kept in 0..1500_u64, since in 0..3100_u64, last in 0..1200_u64,
        ) {
            let head = Head { epoch: EPOCH, first: said.saturating_sub(kept) + 1, last: said };
            let asked = Recover { since: Some(Place { epoch: EPOCH, offset: since }), last };
            let plan = plan(&asked, Some(head));
            prop_assert!(plan.to == said && plan.from >= head.first);
            prop_assert!((plan.to + 1).saturating_sub(plan.from) <= limits::rooms::REPLAYED);
            if plan.lost.is_none() {
                prop_assert_eq!(plan.from, since + 1);
            } else {
                prop_assert!((plan.to + 1).saturating_sub(plan.from) <= last);
                let has_all = since <= said && since + 1 >= head.first;
                prop_assert!(!has_all || said - since > limits::rooms::REPLAYED);
            }
        }
    }
}
