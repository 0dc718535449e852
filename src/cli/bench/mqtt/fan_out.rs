//! `fanfare bench mqtt fan-out`: one publisher, many subscribers.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::crowd::Crowd;
use super::drive::{Found, Load, Schedule, Timed, drive};
use super::link::Client;
use super::packet::{self, Version};
use super::stamp::{Stamp, payload};
use super::{Broker, run_id};

/// One publisher, many subscribers of its topic, QoS 0.
///
/// Without --rate or --in-flight the publisher runs ahead: up to 256 messages are on their way that not all
/// subscribers have yet. With --in-flight 1 the next message is sent when all have the one before.
#[derive(clap::Args)]
pub(super) struct FanOutArgs {
    /// Subscribers, each on a connection of its own
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    subscribers: u32,

    /// Messages a second
    #[arg(long, value_name = "HZ", value_parser = rate)]
    rate: Option<f64>,

    /// Messages on their way that not all subscribers have yet
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "rate")]
    in_flight: u32,

    /// The publisher runs ahead, as if nothing were said
    #[arg(long, conflicts_with_all = ["rate", "in_flight"])]
    ahead: bool,

    /// Bytes of a message's payload, at least 20
    #[arg(long, value_name = "BYTES", default_value_t = 128, value_parser = clap::value_parser!(u16).range(20..=16_384))]
    size: u16,

    #[command(flatten)]
    timed: Timed,
}

/// Reads a rate: more than nothing, no more than a million a second.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.01..=1e6).contains(&rate) => Ok(rate),
        _ => Err("must be a number of messages a second, 0.01 to 1000000".into()),
    }
}

/// Stop writing ahead when the broker does not take this much.
const UNSENT_BYTES: usize = 128 * 1024;

/// How long nothing need be done while deliveries are awaited.
const IDLE: Duration = Duration::from_millis(100);

impl FanOutArgs {
    /// How it was measured.
    pub(super) fn settings(&self) -> Vec<(&'static str, serde_json::Value)> {
        let pace = match self.rate {
            Some(rate) => ("messages per second", rate.into()),
            None => ("in flight", self.in_flight.into()),
        };
        vec![
            ("subscribers", self.subscribers.into()),
            pace,
            ("payload bytes", self.size.into()),
        ]
    }

    /// Whether many messages are on their way at a time.
    pub(super) fn is_ahead(&self) -> bool {
        self.rate.is_none() && self.in_flight > 1
    }
}

pub(super) fn run(args: &FanOutArgs, broker: &Broker) -> anyhow::Result<Found> {
    let subscribers = args.subscribers as usize;
    let run = run_id();
    let topic = format!("bench/{run}/fan");
    let mut crowd = Crowd::new(&broker.target, subscribers + 1)?;
    let subscriber = |number| Client {
        id: format!("bench-{run}-{number}"),
        clean: true,
        subscription: Some((topic.clone(), 0)),
    };
    crowd.open((0..subscribers).map(subscriber).collect())?;
    let publisher = Client {
        subscription: None,
        ..subscriber(subscribers)
    };
    crowd.open(vec![publisher])?;
    let mut load = FanOut {
        subscribers,
        topic: topic.into_bytes(),
        version: broker.target.version,
        payload: payload(args.size.into()),
        schedule: args.rate.map(Schedule::new),
        window: args.in_flight.into(),
        published: 0,
        whole: 0,
        arrived: VecDeque::new(),
    };
    let found = drive(&mut crowd, &mut load, subscribers, args.timed, broker.pid)?;
    crowd.leave();
    Ok(found)
}

struct FanOut {
    subscribers: usize,
    topic: Vec<u8>,
    version: Version,
    payload: Vec<u8>,
    /// None: as many as the window allows.
    schedule: Option<Schedule>,
    window: u64,
    published: u64,
    /// Messages, from the first, that all subscribers have (or that were given up).
    whole: u64,
    /// How many have the messages after these.
    arrived: VecDeque<u32>,
}

impl FanOut {
    fn publish_one(&mut self, crowd: &mut Crowd, sent: Duration) -> anyhow::Result<()> {
        let stamp = Stamp {
            sent,
            publisher: 0,
            sequence: self.published,
        };
        stamp.write(&mut self.payload);
        let Self {
            topic,
            payload,
            version,
            ..
        } = self;
        crowd.put(self.subscribers, |out| {
            packet::publish(out, topic, 0, payload, *version)
        })?;
        self.published += 1;
        self.arrived.push_back(0);
        Ok(())
    }
}

impl Load for FanOut {
    fn publish(
        &mut self,
        crowd: &mut Crowd,
        start: Instant,
        now: Instant,
    ) -> anyhow::Result<Instant> {
        let publisher = self.subscribers;
        let mut next = now + IDLE;
        if let Some(mut schedule) = self.schedule.take() {
            while crowd.unsent(publisher) < UNSENT_BYTES && schedule.take(now).is_some() {
                self.publish_one(crowd, now - start)?;
            }
            next = schedule.next(now);
            self.schedule = Some(schedule);
        } else {
            while self.published - self.whole < self.window
                && crowd.unsent(publisher) < UNSENT_BYTES
            {
                self.publish_one(crowd, start.elapsed())?;
            }
        }
        crowd.flush(publisher)?;
        Ok(next)
    }

    fn pair(&self, receiver: usize, stamp: Stamp) -> Option<usize> {
        (receiver < self.subscribers && stamp.publisher == 0 && stamp.sequence < self.published)
            .then_some(receiver)
    }

    fn expected(&self) -> u64 {
        self.published * self.subscribers as u64
    }

    fn delivered(&mut self, _receiver: usize, stamp: Stamp) {
        // What was given up may come late.
        let Some(at) = stamp.sequence.checked_sub(self.whole) else {
            return;
        };
        if let Some(arrived) = self.arrived.get_mut(at as usize) {
            *arrived += 1;
        }
        while self
            .arrived
            .front()
            .is_some_and(|&arrived| arrived as usize == self.subscribers)
        {
            self.arrived.pop_front();
            self.whole += 1;
        }
    }

    fn give_up(&mut self) {
        self.whole = self.published;
        self.arrived.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_whole_when_all_have_it() {
        let mut load = FanOut {
            subscribers: 2,
            topic: Vec::new(),
            version: Version::V311,
            payload: payload(20),
            schedule: None,
            window: 4,
            published: 3,
            whole: 0,
            arrived: VecDeque::from([0; 3]),
        };
        let stamp = |sequence| Stamp {
            sent: Duration::ZERO,
            publisher: 0,
            sequence,
        };
        let mut check = |receiver, sequence, whole| {
            assert_eq!(load.pair(receiver, stamp(sequence)), Some(receiver));
            load.delivered(receiver, stamp(sequence));
            assert_eq!(load.whole, whole);
        };
        check(0, 0, 0);
        check(0, 1, 0);
        check(1, 0, 1);
        check(1, 1, 2);
        assert_eq!(load.pair(0, stamp(3)), None, "was never published");
        assert_eq!(load.pair(2, stamp(0)), None, "is the publisher");
        load.give_up();
        load.delivered(0, stamp(2));
        assert_eq!((load.whole, load.expected()), (3, 6));
    }
}
