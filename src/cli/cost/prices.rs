//! Prices, and what one machine was measured to do: data in a file of this folder.

use figment::Figment;
use figment::providers::{Format as _, Toml};
use serde::Deserialize;

/// The file.
const PRICES: &str = include_str!("prices.toml");

/// Everything that an estimate goes by.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Prices {
    pub(super) region: String,
    pub(super) as_of: String,
    pub(super) sqs: Sqs,
    pub(super) iot: Iot,
    pub(super) dynamodb: DynamoDb,
    pub(super) kinesis: Kinesis,
    pub(super) machine: Machine,
    pub(super) measured: Measured,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Sqs {
    pub(super) free_requests: f64,
    pub(super) request_bytes: f64,
    tiers: Vec<Tier>,
}

/// A price, up to so many requests a month.
#[derive(Debug, Clone, Deserialize)]
struct Tier {
    up_to: Option<f64>,
    usd_per_million: f64,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Iot {
    pub(super) usd_per_million_minutes: f64,
    pub(super) usd_per_million_messages: f64,
    pub(super) message_bytes: f64,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct DynamoDb {
    pub(super) usd_per_million_writes: f64,
    pub(super) usd_per_million_reads: f64,
    pub(super) usd_per_gb_month: f64,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Kinesis {
    pub(super) usd_per_shard_hour: f64,
    pub(super) usd_per_million_put_units: f64,
    pub(super) put_unit_bytes: f64,
    pub(super) records_per_shard_second: f64,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Machine {
    pub(super) usd_per_month: f64,
    pub(super) memory_bytes: f64,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Measured {
    pub(super) messages_per_second: f64,
    pub(super) session_bytes: f64,
    pub(super) connection_bytes: f64,
}

impl Prices {
    /// The prices of the file.
    pub(super) fn load() -> Self {
        let read = Figment::from(Toml::string(PRICES)).extract();
        read.expect("the file is part of the program, and a test reads it")
    }
}

impl Sqs {
    /// What the requests after the first `before` of a month cost.
    pub(super) fn usd(&self, before: f64, requests: f64) -> f64 {
        self.total(before + requests) - self.total(before)
    }

    fn total(&self, requests: f64) -> f64 {
        let (mut usd, mut from) = (0.0, self.free_requests);
        for tier in &self.tiers {
            let to = tier.up_to.unwrap_or(f64::INFINITY).min(requests);
            usd += (to - from).max(0.0) / 1e6 * tier.usd_per_million;
            from = from.max(to);
        }
        usd
    }
}

#[cfg(test)]
mod tests {
    use super::super::estimate::count;
    use super::*;

    fn check(before: f64, requests: f64, usd: f64) {
        let found = Prices::load().sqs.usd(before, requests);
        assert!((found - usd).abs() < 1e-6, "{found} instead of {usd}");
    }

    #[test]
    fn the_first_million_requests_are_free_and_many_are_cheaper() {
        check(0.0, 1e6, 0.0);
        check(0.0, 3e6, 0.8);
        check(5e5, 1e6, 0.2);
        // 99,999 M at 0.40, 100,000 M at 0.30, 1,000 M at 0.24.
        check(0.0, 201e9, 39_999.6 + 30_000.0 + 240.0);
        check(200e9, 1e9, 240.0);
    }

    /// A newer measurement is written into three files.
    #[test]
    fn what_was_measured_is_what_the_readme_and_the_architecture_say() {
        let readme = include_str!("../../../README.md");
        let architecture = include_str!("../../../ARCHITECTURE.md");
        let measured = Prices::load().measured;
        for (row, number) in [
            (
                "| durable `notify` to one session",
                measured.messages_per_second,
            ),
            (
                "| resident memory of an idle session",
                measured.session_bytes,
            ),
            ("| | WebSocket", measured.connection_bytes),
        ] {
            let number = count(number);
            let mut rows = readme.lines().filter(|line| line.starts_with(row));
            let is_there = rows.any(|row| row.contains(&number));
            assert!(is_there, "prices.toml has {number}, README has not: {row}");
            assert!(architecture.contains(&number), "{number}");
        }
    }

    #[test]
    fn the_file_says_when_and_where() {
        let prices = Prices::load();
        assert_eq!(
            (prices.region.as_str(), prices.as_of.as_str()),
            ("us-east-1", "2026-06")
        );
    }
}
