//! The numbers that messages are sealed under: each is used once, whatever crashes.

/// The first number ever leased. The prior art's clients drew theirs at random from below it, so a
/// client that still encrypts under the same key cannot collide with us.
pub const FIRST_COUNTER: u64 = 10_000_000_000;

/// The highest number a client can read exactly: JavaScript's `Number.MAX_SAFE_INTEGER`.
pub const MAX_COUNTER: u64 = (1 << 53) - 1;

/// The end of every lease, exclusive. One below the end of what is readable, so that the high-water mark
/// itself stays exact everywhere too.
pub const COUNTER_LIMIT: u64 = MAX_COUNTER;

/// How many numbers a lease holds, unless one message needs more or fewer are left. One durable write
/// per 65,536 blocks (1 MiB of messages); a crash skips at most as many, of 9·10^15.
pub const LEASE_BLOCKS: u64 = 65_536;

const _: () = assert!(FIRST_COUNTER + LEASE_BLOCKS < COUNTER_LIMIT);

/// The session has no numbers left for a message: it must be destroyed and created anew, with a new key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session's envelope counters are used up: create the session anew")]
pub struct Exhausted;

/// Numbers that may be used without asking the store: `next..end`, of which nothing was ever used.
///
/// Comes from [`LeasePlan::made_durable`]; the [`Default`] is empty, what a session has after a start.
/// Lives in memory only, is not `Clone`, and goes away with the process: that is what makes a crash skip
/// the rest of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct CounterLease {
    next: u64,
    end: u64,
}

impl CounterLease {
    /// Takes `blocks` consecutive numbers and answers the first, or `None` if the lease has not as many.
    /// Then nothing is taken: a shorter message may still fit.
    ///
    /// `blocks` is what [`SessionCipher::blocks`](super::SessionCipher::blocks) says; 0 counts as 1, so
    /// that every answer is a different number.
    pub fn reserve(&mut self, blocks: u64) -> Option<u64> {
        let first = self.next;
        let next = first
            .checked_add(blocks.max(1))
            .filter(|next| *next <= self.end)?;
        self.next = next;
        Some(first)
    }

    /// Whether a message of `blocks` would not fit, so that a [`LeasePlan`] must be made durable first.
    /// Ask with a multiple of what comes next to renew ahead of need, without stopping for it.
    pub fn needs_more(&self, blocks: u64) -> bool {
        self.remaining() < blocks.max(1)
    }

    /// The numbers left.
    pub const fn remaining(&self) -> u64 {
        self.end - self.next
    }
}

/// The next lease of a session, and the high-water mark to store before it may be used.
///
/// The **high-water mark** is the one durable value: the end of the last lease, kept with the session (0 in
/// a new one). To renew a lease:
///
/// 1. plan: `LeasePlan::after(stored_mark, blocks)`;
/// 2. write [`high_water`](Self::high_water) to the session's record and wait until it is **durable**;
/// 3. only then [`made_durable`](Self::made_durable) gives the lease out, and the mark is the stored one.
///
/// Why no number repeats: every number in use is below the durable mark (step 3 follows step 2), and every
/// new lease starts at a mark that was durable when it was planned. A crash before step 2 completes leaves
/// either mark on disk, and of the numbers between the two none was used. A crash after it loses the lease in
/// memory, and the next one starts behind it: the rest of the old lease is skipped. Within one process leases
/// follow each other in the same way, for a lease that is replaced while it still has numbers gives those up.
///
/// Two conditions are the caller's. One owner per session plans, one plan at a time: two plans after the same
/// mark hold the same numbers. And a store that is set back to an old copy needs new session keys, since its
/// marks went back too.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a plan gives its numbers out only after its high-water mark is durable"]
pub struct LeasePlan {
    lease: CounterLease,
}

impl LeasePlan {
    /// Plans the lease that follows a durable high-water mark: [`LEASE_BLOCKS`] numbers, or `blocks` if
    /// one message needs more, or what is left if that is enough for it.
    ///
    /// # Errors
    /// [`Exhausted`] if fewer than `blocks` numbers are left above the mark.
    pub fn after(high_water: u64, blocks: u64) -> Result<Self, Exhausted> {
        let next = high_water.max(FIRST_COUNTER);
        let left = COUNTER_LIMIT.checked_sub(next).ok_or(Exhausted)?;
        let needed = blocks.max(1);
        if needed > left {
            return Err(Exhausted);
        }
        let end = next + needed.max(LEASE_BLOCKS).min(left);
        Ok(Self {
            lease: CounterLease { next, end },
        })
    }

    /// The mark to make durable before [`made_durable`](Self::made_durable) is called.
    pub const fn high_water(&self) -> u64 {
        self.lease.end
    }

    /// The lease. Calling this states that [`high_water`](Self::high_water) is on disk, synced; the name
    /// is long so that no call site can overlook it.
    #[must_use = "a lease that is dropped skips its numbers"]
    pub fn made_durable(self) -> CounterLease {
        self.lease
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lease(high_water: u64, blocks: u64) -> CounterLease {
        LeasePlan::after(high_water, blocks).unwrap().made_durable()
    }

    #[test]
    fn plan_follows_the_mark() {
        let check = |mark, blocks, expect: Result<(u64, u64), Exhausted>| {
            let plan = LeasePlan::after(mark, blocks).map(|plan| {
                let high_water = plan.high_water();
                let lease = plan.made_durable();
                assert_eq!(lease.end, high_water);
                (lease.next, lease.end)
            });
            assert_eq!(plan, expect, "after {mark}, {blocks} blocks");
        };
        check(0, 1, Ok((10_000_000_000, 10_000_065_536)));
        check(FIRST_COUNTER, 0, Ok((10_000_000_000, 10_000_065_536)));
        check(10_000_065_536, 1, Ok((10_000_065_536, 10_000_131_072)));
        check(
            10_000_000_005,
            100_000,
            Ok((10_000_000_005, 10_000_100_005)),
        );
        check(
            COUNTER_LIMIT - 10,
            10,
            Ok((COUNTER_LIMIT - 10, COUNTER_LIMIT)),
        );
        check(
            COUNTER_LIMIT - 10,
            1,
            Ok((COUNTER_LIMIT - 10, COUNTER_LIMIT)),
        );
        check(COUNTER_LIMIT - 10, 11, Err(Exhausted));
        check(COUNTER_LIMIT, 1, Err(Exhausted));
        check(COUNTER_LIMIT + 1, 1, Err(Exhausted));
        check(u64::MAX, u64::MAX, Err(Exhausted));
        check(0, u64::MAX, Err(Exhausted));
    }

    #[test]
    fn reserve_takes_consecutive_numbers() {
        let mut lease = lease(0, 1);
        assert_eq!(lease.reserve(3), Some(FIRST_COUNTER));
        assert_eq!(lease.reserve(0), Some(FIRST_COUNTER + 3));
        assert_eq!(lease.reserve(1), Some(FIRST_COUNTER + 4));
        assert_eq!(lease.remaining(), LEASE_BLOCKS - 5);
        assert!(!lease.needs_more(LEASE_BLOCKS - 5));
        assert!(lease.needs_more(LEASE_BLOCKS - 4));
        assert_eq!(lease.reserve(LEASE_BLOCKS), None);
        assert_eq!(lease.reserve(u64::MAX), None);
        assert_eq!(lease.reserve(LEASE_BLOCKS - 5), Some(FIRST_COUNTER + 5));
        assert_eq!(lease.reserve(0), None);
        assert!(lease.needs_more(0));
        assert_eq!(CounterLease::default().reserve(1), None);
    }

    #[test]
    fn last_block_is_within_the_range() {
        let mut lease = lease(COUNTER_LIMIT - 10, 10);
        let first = lease.reserve(10).unwrap();
        assert!(first + 9 <= MAX_COUNTER);
        assert_eq!(lease.reserve(1), None);
    }

    /// When a crash strikes, in terms of the three steps on [`LeasePlan`].
    #[derive(Debug, Clone, Copy)]
    enum Crash {
        No,
        BeforeWrite,
        AfterWrite,
        AfterUse,
    }

    /// A session over many crashes. With `write_first` it follows the steps as documented; without, it uses
    /// a lease before its mark is durable, which shows that the property can fail.
    #[derive(Default)]
    struct Model {
        write_first: bool,
        durable_mark: u64,
        lease: CounterLease,
        used: Vec<std::ops::Range<u64>>,
    }

    impl Model {
        fn send(&mut self, blocks: u64, crash: Crash) {
            let mut unwritten = None;
            if self.lease.needs_more(blocks) {
                let plan = LeasePlan::after(self.durable_mark, blocks).unwrap();
                if self.write_first && !matches!(crash, Crash::BeforeWrite) {
                    self.durable_mark = plan.high_water();
                }
                if matches!(crash, Crash::BeforeWrite | Crash::AfterWrite) {
                    self.lease = CounterLease::default();
                    return;
                }
                unwritten = Some(plan.high_water());
                self.lease = plan.made_durable();
            }
            let first = self.lease.reserve(blocks).unwrap();
            self.used.push(first..first + blocks);
            if matches!(crash, Crash::AfterUse) {
                self.lease = CounterLease::default();
            } else if let Some(mark) = unwritten {
                self.durable_mark = mark;
            }
        }

        fn repeats(mut self) -> bool {
            self.used.sort_by_key(|range| range.start);
            self.used.windows(2).any(|pair| pair[0].end > pair[1].start)
        }
    }

    fn steps() -> impl Strategy<Value = Vec<(u64, Crash)>> {
        let blocks = prop_oneof![8 => 1..100_u64, 1 => 1..200_000_u64];
        let crash = prop_oneof![
            6 => Just(Crash::No),
            1 => Just(Crash::BeforeWrite),
            1 => Just(Crash::AfterWrite),
            1 => Just(Crash::AfterUse),
        ];
        proptest::collection::vec((blocks, crash), 1..400)
    }

    proptest! {
        #[test]
        fn no_crash_repeats_a_block(steps in steps()) {
            let mut model = Model { write_first: true, ..Model::default() };
            for (blocks, crash) in steps {
                model.send(blocks, crash);
            }
            prop_assert!(model.used.iter().all(|range| range.start >= FIRST_COUNTER));
            prop_assert!(!model.repeats());
        }
    }

    #[test]
    fn writing_the_mark_late_would_repeat_blocks() {
        let mut model = Model::default();
        model.send(5, Crash::AfterUse);
        model.send(3, Crash::No);
        assert!(model.repeats());
    }
}
