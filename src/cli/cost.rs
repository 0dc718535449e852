//! `fanfare cost`: what a month costs on AWS, and on one machine.

use std::io::Write as _;
use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use self::estimate::{Estimate, Line, Load, Transport, count, estimate, total};
use self::prices::Prices;
use crate::config::Config;

mod estimate;
mod prices;

/// Estimate what a month (30 days) costs: with backend = "aws", and on one machine with the embedded backend.
///
/// Each line says how its amount comes about, to be checked by hand. The prices are data of the given month and region
/// (src/cli/cost/prices.toml); what leaves AWS for the internet is not in them and costs the same both ways.
///
/// Examples:
///   fanfare cost --users 10000
///   fanfare cost --users 1000000 --messages 50 --transport mqtt --hours 2
///   fanfare cost --users 10000000 --sweep-interval 86400 --json
#[derive(Debug, Clone, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct CostArgs {
    /// Users
    #[arg(long, value_name = "N", value_parser = amount)]
    users: f64,

    /// Sessions of a user at the same time: tabs and devices
    #[arg(long, value_name = "N", default_value = "1", value_parser = amount)]
    sessions: f64,

    /// Messages for a user a day
    #[arg(long, value_name = "N", default_value = "20", value_parser = amount)]
    messages: f64,

    /// Bytes of a message
    #[arg(long, value_name = "BYTES", default_value = "500", value_parser = amount)]
    bytes: f64,

    /// Hours that a user is online a day
    #[arg(long, value_name = "HOURS", default_value = "8", value_parser = amount)]
    hours: f64,

    /// Sessions that a user opens a day, one after the other
    #[arg(long, value_name = "N", default_value = "2", value_parser = amount)]
    visits: f64,

    /// How sessions have their messages
    #[arg(long, value_enum, default_value = "polling")]
    transport: Transport,

    /// Messages come in by a Kinesis stream
    #[arg(long)]
    stream: bool,

    /// How many times as many messages there are in the busiest second as on average
    #[arg(long, value_name = "TIMES", default_value = "10", value_parser = amount)]
    peak: f64,

    /// Machines that Fanfare runs on, on AWS
    #[arg(long, value_name = "N", default_value = "2", value_parser = amount)]
    nodes: f64,

    /// What a machine costs a month
    #[arg(long, value_name = "USD", value_parser = amount)]
    machine_usd: Option<f64>,

    /// Seconds between two looks for expired sessions, at least: aws.sweep_interval
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(10..))]
    sweep_interval: Option<u32>,

    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

/// A number that something can be counted with.
fn amount(text: &str) -> anyhow::Result<f64> {
    let number: f64 = text.parse()?;
    ensure!((0.0..=1e12).contains(&number), "must be from 0 to 10^12");
    Ok(number)
}

impl CostArgs {
    fn load(&self) -> anyhow::Result<Load> {
        ensure!(self.hours <= 24.0, "--hours: a day has 24");
        let config = Config::default();
        let seconds = |time: Duration| time.as_secs_f64();
        let sweep = self.sweep_interval.map(f64::from);
        Ok(Load {
            users: self.users,
            sessions_per_user: self.sessions,
            messages_per_day: self.messages,
            message_bytes: self.bytes,
            hours_online: self.hours,
            visits_per_day: self.visits,
            transport: self.transport,
            stream: self.stream,
            peak: self.peak,
            key_lifetime: seconds(config.sessions.key_lifetime),
            session_ttl: seconds(config.sessions.ttl),
            sweep_interval: sweep.unwrap_or(seconds(config.aws.sweep_interval)),
            nodes: self.nodes,
        })
    }
}

/// Prints the estimate.
///
/// # Errors
/// What is asked for can not be.
pub fn run(args: CostArgs) -> anyhow::Result<()> {
    let load = args.load()?;
    let mut prices = Prices::load();
    if let Some(usd) = args.machine_usd {
        prices.machine.usd_per_month = usd;
    }
    let found = estimate(&load, &prices);
    let text = match args.json {
        true => format!("{:#}\n", as_json(&found, &prices)),
        false => as_text(&load, &found, &prices),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

fn as_text(load: &Load, found: &Estimate, prices: &Prices) -> String {
    let transport = match load.transport {
        Transport::Polling => "polling",
        Transport::Mqtt => "MQTT",
    };
    let mut text = format!(
        "{} users with {} sessions, {} messages of {} bytes a day, {} h online a day, {transport}\n\
         30 days, {}, prices of {}\n\nOn AWS\n",
        count(load.users),
        load.sessions_per_user,
        load.messages_per_day,
        load.message_bytes,
        load.hours_online,
        prices.region,
        prices.as_of,
    );
    rows(&mut text, &found.aws);
    text.push_str("\nOn one machine, embedded\n");
    rows(&mut text, &found.machine);
    let (aws, machine) = (total(&found.aws), total(&found.machine));
    let needed = found.machine.iter().map(|line| line.amount).sum::<f64>();
    if needed > 1.0 {
        text.push_str(&format!(
            "\nOne such machine is not enough: {} would be, and the embedded backend is no cluster. Take a larger one, or AWS.\n",
            count(needed)
        ));
    } else if machine > 0.0 {
        text.push_str(&format!(
            "\nAWS costs {:.1} times as much.\n",
            aws / machine
        ));
    }
    text
}

fn rows(text: &mut String, lines: &[Line]) {
    for line in lines {
        let Line {
            service,
            what,
            arithmetic,
            amount,
            unit,
            usd,
        } = line;
        let amount = match *amount < 10.0 && amount.fract() != 0.0 {
            true => format!("{amount:.2}"),
            false => count(*amount),
        };
        let name = format!("{service} {what}");
        text.push_str(&format!(
            "  {name:38} {amount:>19} {unit:11} {:>14}   {arithmetic}\n",
            dollars(*usd)
        ));
    }
    let sum = dollars(total(lines));
    text.push_str(&format!(
        "  {:38} {:>19} {:11} {sum:>14}\n",
        "together", "", ""
    ));
}

fn dollars(usd: f64) -> String {
    let cents = (usd * 100.0).round();
    format!(
        "{}.{:02} USD",
        count((cents / 100.0).floor()),
        cents % 100.0
    )
}

fn as_json(found: &Estimate, prices: &Prices) -> Value {
    let lines = |lines: &[Line]| -> Vec<Value> {
        lines
            .iter()
            .map(|line| {
                json!({
                    "service": line.service,
                    "what": line.what,
                    "arithmetic": line.arithmetic,
                    "amount": line.amount,
                    "unit": line.unit,
                    "usd": line.usd,
                })
            })
            .collect()
    };
    json!({
        "region": prices.region,
        "prices_of": prices.as_of,
        "days": 30,
        "aws": { "lines": lines(&found.aws), "usd": total(&found.aws) },
        "machine": { "lines": lines(&found.machine), "usd": total(&found.machine) },
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        args: CostArgs,
    }

    fn asked(arguments: &[&str]) -> anyhow::Result<Load> {
        let program = Program::try_parse_from([&["cost"], arguments].concat())?;
        program.args.load()
    }

    #[test]
    fn what_can_not_be_is_refused() {
        let check =
            |arguments: &[&str], fits| assert_eq!(asked(arguments).is_ok(), fits, "{arguments:?}");
        check(&["--users", "10"], true);
        check(&[], false);
        check(&["--users", "-1"], false);
        check(&["--users", "NaN"], false);
        check(&["--users", "inf"], false);
        check(&["--users", "1", "--hours", "25"], false);
        check(&["--users", "1", "--transport", "pigeon"], false);
        check(&["--users", "1", "--sweep-interval", "9"], false);
    }

    #[test]
    fn settings_that_are_not_asked_for_are_the_defaults() {
        let load = asked(&["--users", "10"]).unwrap();
        assert_eq!((load.key_lifetime, load.sweep_interval), (14_400.0, 300.0));
        let load = asked(&["--users", "10", "--sweep-interval", "86400"]).unwrap();
        assert_eq!(load.sweep_interval, 86_400.0);
    }

    #[test]
    fn the_table_has_every_line_and_the_sum() {
        let (load, prices) = (asked(&["--users", "10000"]).unwrap(), Prices::load());
        let found = estimate(&load, &prices);
        let text = as_text(&load, &found, &prices);
        for line in found.aws.iter().chain(&found.machine) {
            assert!(text.contains(&line.arithmetic), "{text}");
        }
        assert!(text.contains(&dollars(total(&found.aws))), "{text}");
        assert!(text.contains("times as much"), "{text}");
        let many = asked(&["--users", "10000000"]).unwrap();
        let text = as_text(&many, &estimate(&many, &prices), &prices);
        assert!(text.contains("is not enough"), "{text}");
    }

    #[test]
    fn money_is_rounded_to_cents() {
        let check = |usd, expect: &str| assert_eq!(dollars(usd), expect);
        check(0.004, "0.00 USD");
        check(0.999, "1.00 USD");
        check(1234.5, "1,234.50 USD");
    }
}
