//! `fanfare bench mqtt durable`: QoS 1 to sessions that outlive their connections.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::crowd::Crowd;
use super::drive::{Found, Load, Timed, drive};
use super::link::Client;
use super::packet::{self, Version};
use super::stamp::{Stamp, payload};
use super::{Broker, run_id, storm};
use crate::cli::bench::load::Latencies;

/// QoS 1 to persistent sessions: deliveries a second when nothing acknowledged may be lost.
///
/// Each publisher has a topic with so many subscribers of its own. It has at most --in-flight messages on their way:
/// not acknowledged to it, or not with all of its subscribers.
#[derive(clap::Args)]
pub(super) struct DurableArgs {
    /// Publishers, each with a topic of its own
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
    publishers: u16,

    /// Persistent subscribers of each topic
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    subscribers: u16,

    /// Messages of each publisher that are on their way
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    in_flight: u16,

    /// Bytes of a message's payload, at least 20
    #[arg(long, value_name = "BYTES", default_value_t = 128, value_parser = clap::value_parser!(u16).range(20..=16_384))]
    size: u16,

    #[command(flatten)]
    timed: Timed,
}

const IDLE: Duration = Duration::from_millis(100);

impl DurableArgs {
    /// How it was measured.
    pub(super) fn settings(&self) -> Vec<(&'static str, serde_json::Value)> {
        vec![
            ("publishers", self.publishers.into()),
            ("persistent subscribers of each", self.subscribers.into()),
            ("in flight each", self.in_flight.into()),
            ("payload bytes", self.size.into()),
        ]
    }
}

pub(super) fn run(args: &DurableArgs, broker: &Broker) -> anyhow::Result<(Found, Latencies)> {
    let publishers = usize::from(args.publishers);
    let each = usize::from(args.subscribers);
    let subscribers = publishers * each;
    let run = run_id();
    let topic = |publisher: usize| format!("bench/{run}/durable/{publisher}");
    let mut crowd = Crowd::new(&broker.target, 2 * (publishers + subscribers))?;
    let subscriber = |number: usize| Client {
        id: format!("bench-{run}-{number}"),
        clean: false,
        subscription: Some((topic(number / each), 1)),
    };
    let publisher = |number: usize| Client {
        id: format!("bench-{run}-p{number}"),
        clean: true,
        subscription: None,
    };
    crowd.open((0..subscribers).map(subscriber).collect())?;
    crowd.open((0..publishers).map(publisher).collect())?;
    let mut load = Durable {
        each,
        subscribers,
        window: args.in_flight.into(),
        version: broker.target.version,
        payload: payload(args.size.into()),
        topics: (0..publishers)
            .map(|number| Topic::new(topic(number), each))
            .collect(),
        acknowledged: Latencies::new(),
    };
    let found = drive(&mut crowd, &mut load, subscribers, args.timed, broker.pid)?;
    storm::forget(&mut crowd)?;
    crowd.leave();
    Ok((found, load.acknowledged))
}

struct Durable {
    /// Subscribers of each topic.
    each: usize,
    subscribers: usize,
    window: u64,
    version: Version,
    payload: Vec<u8>,
    topics: Vec<Topic>,
    acknowledged: Latencies,
}

struct Topic {
    name: Vec<u8>,
    published: u64,
    /// When those were sent that are not acknowledged yet, with their packet ids.
    waiting: VecDeque<(u16, Instant)>,
    /// By subscriber of the topic, how many it has.
    delivered: Vec<u64>,
}

impl Topic {
    fn new(name: String, subscribers: usize) -> Self {
        Self {
            name: name.into_bytes(),
            published: 0,
            waiting: VecDeque::new(),
            delivered: vec![0; subscribers],
        }
    }

    /// How many more may be sent.
    fn room(&self, window: u64) -> u64 {
        let with_all = self.delivered.iter().min().copied().unwrap_or(0);
        let on_their_way = (self.published - with_all).max(self.waiting.len() as u64);
        window.saturating_sub(on_their_way)
    }
}

impl Load for Durable {
    fn publish(
        &mut self,
        crowd: &mut Crowd,
        start: Instant,
        now: Instant,
    ) -> anyhow::Result<Instant> {
        for (number, topic) in self.topics.iter_mut().enumerate() {
            let room = topic.room(self.window);
            if room == 0 {
                continue;
            }
            for _ in 0..room {
                let stamp = Stamp {
                    sent: now - start,
                    publisher: number as u32,
                    sequence: topic.published,
                };
                stamp.write(&mut self.payload);
                // From 1 to 65,535 and round again; the window is smaller than that.
                let packet_id = (topic.published % 65_535) as u16 + 1;
                topic.published += 1;
                topic.waiting.push_back((packet_id, now));
                let write = |out: &mut Vec<u8>| {
                    packet::publish(out, &topic.name, packet_id, &self.payload, self.version)
                };
                crowd.put(self.subscribers + number, write)?;
            }
            crowd.flush(self.subscribers + number)?;
        }
        Ok(now + IDLE)
    }

    fn pair(&self, receiver: usize, stamp: Stamp) -> Option<usize> {
        let publisher = stamp.publisher as usize;
        let published = self.topics.get(publisher)?.published;
        let fits = receiver < self.subscribers
            && receiver / self.each == publisher
            && stamp.sequence < published;
        fits.then_some(receiver)
    }

    fn expected(&self) -> u64 {
        self.topics
            .iter()
            .map(|topic| topic.published * self.each as u64)
            .sum()
    }

    fn delivered(&mut self, receiver: usize, stamp: Stamp) {
        // What was given up may come late.
        let topic = &mut self.topics[receiver / self.each];
        let delivered = &mut topic.delivered[receiver % self.each];
        *delivered = (stamp.sequence + 1).max(*delivered);
    }

    fn acknowledged(&mut self, publisher: usize, packet_id: u16, now: Instant) {
        let waiting = &mut self.topics[publisher - self.subscribers].waiting;
        // Brokers answer in order, mostly.
        let at = waiting
            .iter()
            .position(|&(waiting, _)| waiting == packet_id);
        if let Some((_, sent)) = at.and_then(|at| waiting.remove(at)) {
            self.acknowledged.record(now - sent);
        }
    }

    fn give_up(&mut self) {
        for topic in &mut self.topics {
            topic.waiting.clear();
            topic.delivered.fill(topic.published);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_opens_when_all_have_it_and_it_is_acknowledged() {
        let now = Instant::now();
        let mut load = Durable {
            each: 2,
            subscribers: 4,
            window: 2,
            version: Version::V311,
            payload: payload(20),
            topics: vec![Topic::new("a".into(), 2), Topic::new("b".into(), 2)],
            acknowledged: Latencies::new(),
        };
        let stamp = |sequence| Stamp {
            sent: Duration::ZERO,
            publisher: 1,
            sequence,
        };
        assert_eq!(load.topics[1].room(2), 2);
        load.topics[1].published = 2;
        load.topics[1].waiting.extend([(1, now), (2, now)]);
        assert_eq!(load.topics[1].room(2), 0);
        load.acknowledged(5, 1, now);
        load.delivered(2, stamp(0));
        assert_eq!(load.topics[1].room(2), 0, "the other one does not have it");
        load.delivered(3, stamp(0));
        assert_eq!(load.topics[1].room(2), 1);
        load.delivered(2, stamp(1));
        load.delivered(3, stamp(1));
        assert_eq!(load.topics[1].room(2), 1, "the second is not acknowledged");
        load.give_up();
        assert_eq!(load.topics[1].room(2), 2);
        assert_eq!(load.pair(2, stamp(1)), Some(2));
        assert_eq!(
            (
                load.pair(2, stamp(2)),
                load.pair(1, stamp(0)),
                load.pair(5, stamp(0))
            ),
            (None, None, None)
        );
        assert_eq!(load.expected(), 4);
    }
}
