//! The same random sequences of two clients' packets against Mosquitto and Fanfare: whatever the clients see must be the
//! same, but for what [`EXPLAINED`] says.
//!
//! `FANFARE_TEST_MQTT_SEED` repeats a run, `FANFARE_TEST_MQTT_SECONDS` (20) sets how long it lasts. Where there is no
//! Mosquitto the test does nothing, except in CI, where that is a failure.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::broker::Setup;

use mosquitto::Mosquitto;
use script::Script;
use side::Side;

mod mosquitto;
mod script;
mod side;

/// What may differ, and how it is made the same before the comparison.
pub const EXPLAINED: &[(&str, &str)] = &[
    (
        "packet ids",
        "either side chooses its own; they are left out",
    ),
    (
        "copies",
        "Mosquitto sends one copy for each subscription that matches, or only the first one's; we send one with the highest \
         QoS and all identifiers (both allowed, MQTT-3.3.4-2 to -5): copies of one message in one step are joined",
    ),
    (
        "order of different topics",
        "nobody promises it: what comes in one step is sorted",
    ),
    (
        "0x10",
        "Mosquitto says that there were no matching subscribers, which is optional: taken for success",
    ),
    (
        "a take-over's will",
        "Mosquitto 2.0 forgets the will of a connection that is taken over if its session goes on; with a delay of 0 it is \
         due when the connection is closed (MQTT-3.1.2-8): such connections have none here",
    ),
    (
        "one's own will",
        "Mosquitto still sends it to the connection that it is the will of, if that subscribes to it and is taken over; \
         here such a connection is closed first: left out",
    ),
    (
        "options of a subscription that is replaced",
        "Mosquitto 2.0 keeps the first No Local and Retain As Published, against MQTT-3.8.4-3: they never change here",
    ),
    (
        "one's own retained messages",
        "Mosquitto 2.0 sends them in spite of No Local, against MQTT-3.8.3-3: who asks for No Local asks for none here",
    ),
    (
        "DISCONNECT 0x8E",
        "Mosquitto 2.0 closes a connection that is taken over without it, against MQTT-3.1.4-3: left out",
    ),
    (
        "properties of CONNACK",
        "each server has its own bounds: not compared",
    ),
];

/// Runs one sequence; answers the first difference.
fn differ(number: u64, seed: u64, servers: [SocketAddr; 2]) -> Option<String> {
    let prefix = format!("s{number}");
    let mut script = Script::new(seed, &prefix);
    let versions = script.versions;
    let mut sides = servers.map(|address| Side::new(address, &prefix, versions));
    let mut history = Vec::new();
    for _ in 0..30 {
        let step = script.next();
        history.push(format!("{step:?}"));
        sides.iter_mut().for_each(|side| side.make(&step));
        let since = Instant::now();
        loop {
            sides.iter_mut().for_each(Side::look_at_both);
            let [one, other] = &sides;
            let settled = since.elapsed() > Duration::from_millis(30);
            if settled && one.seen == other.seen {
                break;
            }
            if since.elapsed() > Duration::from_secs(10) {
                return Some(format!(
                    "versions {versions:?}\n{}\nMosquitto {:#?}\nFanfare {:#?}",
                    history.join("\n"),
                    one.seen,
                    other.seen
                ));
            }
        }
        sides
            .iter_mut()
            .for_each(|side| side.seen = Default::default());
    }
    None
}

#[test]
fn clients_see_the_same_as_with_mosquitto() {
    let Some(mosquitto) = Mosquitto::start() else {
        return;
    };
    let broker = Setup::new().mqtt("max_in_flight", 1000).start();
    let number = |name: &str, default: u64| {
        let text = std::env::var(name).ok();
        text.map_or(default, |text| text.parse().expect("a number"))
    };
    let seed = number("FANFARE_TEST_MQTT_SEED", 20_261_121);
    let limit = Duration::from_secs(number("FANFARE_TEST_MQTT_SECONDS", 20));
    let since = Instant::now();
    let mut found = Vec::new();
    let mut sequences = 0;
    while since.elapsed() < limit {
        let own = seed.wrapping_add(sequences * 0x9e37_79b9).max(1);
        let servers = [mosquitto.address, broker.mqtt()];
        if let Some(difference) = differ(sequences, own, servers) {
            found.push(format!("sequence {sequences}, {difference}"));
            if found.len() >= 5 {
                break;
            }
        }
        sequences += 1;
    }
    println!("{sequences} sequences from seed {seed}");
    assert!(found.is_empty(), "{}", found.join("\n\n"));
    assert!(sequences >= 3, "too few to mean anything: {sequences}");
}

#[test]
fn every_explanation_says_what_and_why() {
    assert!(
        EXPLAINED
            .iter()
            .all(|(what, why)| !what.is_empty() && why.len() > 20)
    );
}
