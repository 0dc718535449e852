//! Load for a time: warms up, counts, and waits for what is still on its way.

use std::time::{Duration, Instant};

use anyhow::bail;

use super::crowd::Crowd;
use super::link::Event;
use super::process;
use super::stamp::{Stamp, Tally};
use crate::cli::bench::load::Slot;

/// Nothing arrived for so long: what is missing counts as lost.
const QUIET: Duration = Duration::from_secs(2);

/// Below this the load generator does not sleep: the system wakes it to the millisecond only.
const SHORT: Duration = Duration::from_millis(1);

/// How long a load runs.
#[derive(Clone, Copy, clap::Args)]
pub(super) struct Timed {
    /// Seconds that are counted
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, value_parser = crate::cli::bench::seconds)]
    pub(super) seconds: f64,

    /// Seconds before, to warm up
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = crate::cli::bench::seconds)]
    pub(super) warm_up: f64,
}

/// What is published when, and what must become of it.
pub(super) trait Load {
    /// Sends what is due; answers when to be asked again at the latest. `start` is what stamps count from.
    ///
    /// # Errors
    /// A connection has ended.
    fn publish(
        &mut self,
        crowd: &mut Crowd,
        start: Instant,
        now: Instant,
    ) -> anyhow::Result<Instant>;

    /// Numbers the pair of receiver and publisher; nothing if the message should not have come there.
    fn pair(&self, receiver: usize, stamp: Stamp) -> Option<usize>;

    /// Deliveries that must come of all that was published so far.
    fn expected(&self) -> u64;

    /// A message has come to a receiver for the first time.
    fn delivered(&mut self, _receiver: usize, _stamp: Stamp) {}

    /// The broker has taken over a message with QoS 1.
    fn acknowledged(&mut self, _publisher: usize, _packet_id: u16, _now: Instant) {}

    /// Nothing came for a while: what is on its way is given up.
    fn give_up(&mut self) {}
}

/// What a load has shown.
pub(super) struct Found {
    /// Deliveries: latencies of those sent while counting, rate of all that came while counting.
    pub(super) deliveries: Slot,
    /// Deliveries while counting.
    pub(super) counted: u64,
    /// Deliveries that never came.
    pub(super) lost: u64,
    pub(super) repeated: u64,
    /// Processor time of the server while counting.
    pub(super) server: Option<Duration>,
    /// Of the load generator: near the time that was counted, it was the bottleneck.
    pub(super) own: Duration,
    pub(super) resident_bytes: Option<u64>,
}

impl Found {
    /// Processor time of the server per delivery, in microseconds.
    pub(super) fn cpu_us(&self) -> Option<f64> {
        let deliveries = self.counted.max(1) as f64;
        self.server.map(|cpu| cpu.as_secs_f64() * 1e6 / deliveries)
    }

    /// Deliveries each second, all that came while counting.
    pub(super) fn per_second(&self) -> f64 {
        self.counted as f64 / self.deliveries.time.as_secs_f64()
    }
}

/// Puts `load` on the broker, `pairs` pairs of receiver and publisher. `pid` is the server's, if it is known.
///
/// # Errors
/// A connection ends, a message comes where it should not, or nothing comes at all.
pub(super) fn drive(
    crowd: &mut Crowd,
    load: &mut impl Load,
    pairs: usize,
    timed: Timed,
    pid: Option<u32>,
) -> anyhow::Result<Found> {
    let start = Instant::now();
    let mut run = Run {
        crowd,
        load,
        tally: Tally::new(start, pairs),
        start,
        heard: start,
    };
    run.until(start + Duration::from_secs_f64(timed.warm_up))?;
    let used = || {
        anyhow::Ok((
            pid.map(process::cpu).transpose()?,
            process::cpu(std::process::id())?,
        ))
    };
    let before = used()?;
    let begin = Instant::now();
    run.tally.count_from(begin);
    run.until(begin + Duration::from_secs_f64(timed.seconds))?;
    let time = begin.elapsed();
    let after = used()?;
    let counted = run.tally.counted;
    let resident_bytes = pid.map(process::resident_bytes).transpose()?;
    run.drain()?;

    let Run { load, tally, .. } = run;
    if counted == 0 {
        bail!(
            "not one message was delivered in {:.1} s",
            time.as_secs_f64()
        );
    }
    let mut deliveries = Slot::new();
    deliveries.latencies.add(&tally.latencies);
    deliveries.time = time;
    Ok(Found {
        deliveries,
        counted,
        lost: load.expected().saturating_sub(tally.distinct()),
        repeated: tally.repeated,
        server: after
            .0
            .zip(before.0)
            .map(|(after, before)| after.saturating_sub(before)),
        own: after.1.saturating_sub(before.1),
        resident_bytes,
    })
}

struct Run<'a, L> {
    crowd: &'a mut Crowd,
    load: &'a mut L,
    tally: Tally,
    start: Instant,
    /// When the last delivery came.
    heard: Instant,
}

impl<L: Load> Run<'_, L> {
    fn until(&mut self, end: Instant) -> anyhow::Result<()> {
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            let due = self.load.publish(self.crowd, self.start, now)?;
            self.turn(sleep(due.min(end), Instant::now()))?;
            if now.saturating_duration_since(self.heard) > QUIET {
                self.load.give_up();
                self.heard = now;
            }
        }
    }

    fn drain(&mut self) -> anyhow::Result<()> {
        self.heard = Instant::now();
        while self.tally.distinct() < self.load.expected() && self.heard.elapsed() < QUIET {
            self.turn(Duration::from_millis(50))?;
        }
        Ok(())
    }

    fn turn(&mut self, timeout: Duration) -> anyhow::Result<()> {
        let Self {
            load, tally, heard, ..
        } = self;
        let mut stray = None;
        self.crowd
            .turn(Some(timeout), |link, event, now| match event {
                Event::Delivery { payload } => {
                    let stamp = Stamp::read(payload);
                    let Some((stamp, pair)) =
                        stamp.and_then(|stamp| Some((stamp, load.pair(link, stamp)?)))
                    else {
                        stray = Some(link);
                        return;
                    };
                    *heard = now;
                    if tally.take(pair, stamp, now) {
                        load.delivered(link, stamp);
                    }
                }
                Event::Acknowledged { packet_id } => load.acknowledged(link, packet_id, now),
                Event::Ready => {}
            })?;
        match stray {
            None => Ok(()),
            Some(link) => bail!("connection {link} was delivered a message that is not for it"),
        }
    }
}

/// How long to wait for events when something is due then.
fn sleep(due: Instant, now: Instant) -> Duration {
    let left = due.saturating_duration_since(now);
    if left < SHORT {
        return Duration::ZERO;
    }
    // Whole milliseconds, rounded down: the rest is waited for awake.
    Duration::from_millis(left.as_millis() as u64)
}

/// So many messages a second, at even distances.
pub(super) struct Schedule {
    start: Option<Instant>,
    interval: f64,
    count: u64,
    /// How late the latest one was.
    pub(super) latest: Duration,
}

impl Schedule {
    pub(super) fn new(per_second: f64) -> Self {
        Self {
            start: None,
            interval: per_second.recip(),
            count: 0,
            latest: Duration::ZERO,
        }
    }

    /// The number of the message that is due now, if one is; counted from 0.
    pub(super) fn take(&mut self, now: Instant) -> Option<u64> {
        let due = self.next(now);
        if now < due {
            return None;
        }
        self.latest = self.latest.max(now - due);
        self.count += 1;
        Some(self.count - 1)
    }

    /// When the next one is due; the first is due at once.
    pub(super) fn next(&mut self, now: Instant) -> Instant {
        let start = *self.start.get_or_insert(now);
        start + Duration::from_secs_f64(self.count as f64 * self.interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_keeps_its_rate_even_when_it_is_late() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut schedule = Schedule::new(100.0);
        assert_eq!(schedule.take(at(0)), Some(0));
        assert_eq!(schedule.take(at(0)), None);
        assert_eq!(schedule.take(at(9)), None);
        // Two are due, one by now 10 ms late.
        assert_eq!(schedule.take(at(20)), Some(1));
        assert_eq!(schedule.take(at(20)), Some(2));
        assert_eq!(schedule.take(at(20)), None);
        assert_eq!(schedule.next(at(20)), at(30));
        assert_eq!(schedule.latest.as_millis(), 10);
    }

    #[test]
    fn it_sleeps_less_rather_than_more() {
        let now = Instant::now();
        let check = |micros, expect| {
            let due = now + Duration::from_micros(micros);
            assert_eq!(sleep(due, now).as_micros(), expect, "{micros}");
        };
        check(0, 0);
        check(999, 0);
        check(5_999, 5_000);
        assert_eq!(sleep(now - SHORT, now), Duration::ZERO);
    }
}
