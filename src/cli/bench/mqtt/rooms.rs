//! `fanfare bench mqtt rooms`: games, in which every player hears of every other one.

use std::time::{Duration, Instant};

use super::crowd::Crowd;
use super::drive::{Found, Load, Schedule, Timed, drive};
use super::fan_out::rate;
use super::link::Client;
use super::packet::{self, Version};
use super::stamp::{Stamp, payload};
use super::{Broker, run_id};

/// Rooms of players; each publishes to its room and hears all of it, itself included, QoS 0.
///
/// The publishes of all players are spread evenly over time.
#[derive(clap::Args)]
pub(super) struct RoomsArgs {
    /// Rooms
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..))]
    rooms: u16,

    /// Players of each room, each on a connection of its own
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    players: u16,

    /// Messages of each player a second
    #[arg(long, value_name = "HZ", default_value_t = 10.0, value_parser = rate)]
    rate: f64,

    /// Bytes of a message's payload, at least 20
    #[arg(long, value_name = "BYTES", default_value_t = 128, value_parser = clap::value_parser!(u16).range(20..=16_384))]
    size: u16,

    #[command(flatten)]
    timed: Timed,
}

/// After so many publishes in a row it is time to read again.
const BURST: usize = 256;

impl RoomsArgs {
    /// How it was measured.
    pub(super) fn settings(&self) -> Vec<(&'static str, serde_json::Value)> {
        vec![
            ("rooms", self.rooms.into()),
            ("players each", self.players.into()),
            ("messages per second of each", self.rate.into()),
            ("payload bytes", self.size.into()),
        ]
    }
}

pub(super) fn run(args: &RoomsArgs, broker: &Broker) -> anyhow::Result<(Found, Duration)> {
    let players = usize::from(args.players);
    let all = players * usize::from(args.rooms);
    let run = run_id();
    let mut crowd = Crowd::new(&broker.target, all)?;
    let player = |number| Client {
        id: format!("bench-{run}-{number}"),
        clean: true,
        subscription: Some((topic(&run, number / players), 0)),
    };
    crowd.open((0..all).map(player).collect())?;
    let mut load = Rooms {
        players,
        topics: (0..args.rooms.into())
            .map(|room| topic(&run, room).into_bytes())
            .collect(),
        version: broker.target.version,
        payload: payload(args.size.into()),
        schedule: Schedule::new(args.rate * all as f64),
        stride: stride(all),
        published: vec![0; all],
    };
    let found = drive(&mut crowd, &mut load, all * players, args.timed, broker.pid)?;
    crowd.leave();
    Ok((found, load.schedule.latest))
}

fn topic(run: &str, room: usize) -> String {
    format!("bench/{run}/room/{room}")
}

/// A step that visits all of `count` once, and not in order: near the golden section, without a common divisor.
fn stride(count: usize) -> usize {
    let divisor = |mut a: usize, mut b: usize| {
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let near = (count as f64 * 0.618) as usize;
    let mut steps = (1..=near.max(1)).rev();
    steps.find(|&step| divisor(count, step) == 1).unwrap_or(1)
}

struct Rooms {
    players: usize,
    topics: Vec<Vec<u8>>,
    version: Version,
    payload: Vec<u8>,
    schedule: Schedule,
    stride: usize,
    /// By player.
    published: Vec<u64>,
}

impl Load for Rooms {
    fn publish(
        &mut self,
        crowd: &mut Crowd,
        start: Instant,
        now: Instant,
    ) -> anyhow::Result<Instant> {
        for _ in 0..BURST {
            let Some(count) = self.schedule.take(now) else {
                break;
            };
            let all = self.published.len() as u64;
            let player = (count % all * self.stride as u64 % all) as usize;
            let stamp = Stamp {
                sent: start.elapsed(),
                publisher: player as u32,
                sequence: self.published[player],
            };
            stamp.write(&mut self.payload);
            self.published[player] += 1;
            let topic = &self.topics[player / self.players];
            crowd.send(player, |out| {
                packet::publish(out, topic, 0, &self.payload, self.version)
            })?;
        }
        Ok(self.schedule.next(now))
    }

    fn pair(&self, receiver: usize, stamp: Stamp) -> Option<usize> {
        let publisher = stamp.publisher as usize;
        let published = *self.published.get(publisher)?;
        let fits =
            publisher / self.players == receiver / self.players && stamp.sequence < published;
        fits.then_some(receiver * self.players + publisher % self.players)
    }

    fn expected(&self) -> u64 {
        self.published.iter().sum::<u64>() * self.players as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_player_has_a_turn() {
        for count in [1, 2, 3, 10, 12, 1000] {
            let step = stride(count);
            let mut turns: Vec<usize> = (0..count).map(|at| at * step % count).collect();
            turns.sort_unstable();
            assert!(turns.into_iter().eq(0..count), "{count}");
        }
        assert!(stride(1000) > 500);
    }

    #[test]
    fn messages_belong_to_their_room() {
        let load = Rooms {
            players: 3,
            topics: Vec::new(),
            version: Version::V311,
            payload: Vec::new(),
            schedule: Schedule::new(1.0),
            stride: 1,
            published: vec![1; 6],
        };
        let check = |receiver, publisher, sequence, expect| {
            let stamp = Stamp {
                sent: Duration::ZERO,
                publisher,
                sequence,
            };
            assert_eq!(load.pair(receiver, stamp), expect);
        };
        check(0, 0, 0, Some(0));
        check(2, 1, 0, Some(7));
        check(5, 5, 0, Some(17));
        check(0, 3, 0, None);
        check(0, 6, 0, None);
        check(0, 0, 1, None);
        assert_eq!(load.expected(), 18);
    }
}
