//! What a month costs: how often each thing happens, and what it costs each time. Pure.

use super::prices::Prices;
use crate::config::limits::aws as limits;

/// Days of a month.
const DAYS: f64 = 30.0;

/// Hours of a month.
const HOURS: f64 = DAYS * 24.0;

/// How long a poll waits for a message.
const POLL_SECONDS: f64 = 20.0;

/// Bytes that DynamoDB counts as one write.
const WRITE_BYTES: f64 = 1024.0;
/// The same of a consistent read.
const READ_BYTES: f64 = 4096.0;
/// The same of a scan that need not be consistent.
const SCANNED_BYTES: f64 = 8192.0;

/// Bytes of a row of history beside the message.
const HISTORY_ROW_BYTES: f64 = 250.0;

/// Bytes of a session's three rows: its own 1,600 with the token, its user's 700, its key's 200.
const SESSION_ROW_BYTES: f64 = 2500.0;

/// How many rows those are.
const SESSION_ROWS: f64 = 3.0;

/// Units that a session is written with, from its beginning to its end: three rows (2 + 1 + 1) and two indexes when it is made, a
/// lease of envelope counters (2), and the rows and indexes again when they are deleted.
const SESSION_WRITES: f64 = 6.0 + 2.0 + 6.0;

/// Units that new keys are written with: the session's row (2), its user's with its index (2), the new key's row and the
/// deletion of the old one's.
const RENEWAL_WRITES: f64 = 6.0;

/// Units read when a session is made, its rows found by its keys, and its own row.
const SESSION_READS: f64 = 3.0;

/// How sessions have their messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Transport {
    /// From queues at SQS, by long polls.
    Polling,
    /// From AWS IoT Core.
    Mqtt,
}

/// How much of what.
#[derive(Debug, Clone)]
pub(super) struct Load {
    pub(super) users: f64,
    pub(super) sessions_per_user: f64,
    pub(super) messages_per_day: f64,
    pub(super) message_bytes: f64,
    pub(super) hours_online: f64,
    pub(super) visits_per_day: f64,
    pub(super) transport: Transport,
    pub(super) stream: bool,
    pub(super) peak: f64,
    pub(super) key_lifetime: f64,
    pub(super) session_ttl: f64,
    pub(super) sweep_interval: f64,
    pub(super) nodes: f64,
}

/// One thing that costs.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    pub(super) service: &'static str,
    pub(super) what: &'static str,
    /// How the amount comes about, to be checked by hand.
    pub(super) arithmetic: String,
    pub(super) amount: f64,
    pub(super) unit: &'static str,
    pub(super) usd: f64,
}

/// What a month costs.
#[derive(Debug, Clone)]
pub(super) struct Estimate {
    pub(super) aws: Vec<Line>,
    pub(super) machine: Vec<Line>,
}

/// The sum of lines.
pub(super) fn total(lines: &[Line]) -> f64 {
    lines.iter().map(|line| line.usd).sum()
}

/// How often things happen in a month.
struct Month {
    /// Sessions that are online at the same time.
    sessions: f64,
    online_seconds: f64,
    /// Messages for users, each kept once.
    kept: f64,
    /// Messages for sessions.
    deliveries: f64,
    opened: f64,
    renewed: f64,
    /// Sessions that have not been removed, online or not.
    alive: f64,
    /// Messages a second at the busiest time.
    peak: f64,
}

impl Month {
    fn of(load: &Load) -> Self {
        let sessions = load.users * load.sessions_per_user;
        let kept = load.users * load.messages_per_day * DAYS;
        let opened = sessions * load.visits_per_day * DAYS;
        let visit_seconds = match load.visits_per_day > 0.0 {
            true => load.hours_online * 3600.0 / load.visits_per_day,
            false => 0.0,
        };
        let renewals = ((visit_seconds / load.key_lifetime).ceil() - 1.0).max(0.0);
        let life = visit_seconds + load.key_lifetime + load.session_ttl;
        Self {
            sessions,
            online_seconds: sessions * load.hours_online * 3600.0 * DAYS,
            kept,
            deliveries: kept * load.sessions_per_user,
            opened,
            renewed: opened * renewals,
            alive: opened / DAYS * life / 86_400.0,
            peak: load.users * load.messages_per_day / 86_400.0 * load.peak,
        }
    }
}

/// What a month of this load costs at these prices.
pub(super) fn estimate(load: &Load, prices: &Prices) -> Estimate {
    let month = Month::of(load);
    let mut aws = match load.transport {
        Transport::Polling => sqs(load, &month, prices),
        Transport::Mqtt => iot(load, &month, prices),
    };
    aws.extend(dynamodb(load, &month, prices));
    if load.stream {
        aws.extend(kinesis(load, &month, prices));
    }
    let usd = load.nodes * prices.machine.usd_per_month;
    let arithmetic = format!("{} that any may fail of", count(load.nodes));
    aws.push(line(
        ("Fanfare", "nodes"),
        arithmetic,
        (load.nodes, "machines"),
        usd,
    ));
    let machine = machine(&month, prices);
    Estimate { aws, machine }
}

fn line(
    (service, what): (&'static str, &'static str),
    arithmetic: String,
    (amount, unit): (f64, &'static str),
    usd: f64,
) -> Line {
    Line {
        service,
        what,
        arithmetic,
        amount,
        unit,
        usd,
    }
}

/// Bytes of a message as a client gets it: in base64, after its counter.
fn sealed(bytes: f64) -> f64 {
    (bytes / 3.0).ceil() * 4.0 + 18.0
}

fn sqs(load: &Load, month: &Month, prices: &Prices) -> Vec<Line> {
    let each = (sealed(load.message_bytes) / prices.sqs.request_bytes).ceil();
    let Month {
        online_seconds,
        deliveries,
        opened,
        ..
    } = *month;
    let (seconds, many, sessions) = (count(online_seconds), count(deliveries), count(opened));
    let wanted = [
        (
            "long polls",
            format!("{seconds} s online ÷ {POLL_SECONDS} s, and one for each of {many} messages"),
            online_seconds / POLL_SECONDS + deliveries * each,
        ),
        (
            "sends",
            format!("{many} messages × {each}"),
            deliveries * each,
        ),
        ("deletes", format!("{many} messages"), deliveries),
        (
            "queues made and deleted",
            format!("{sessions} sessions × 2"),
            opened * 2.0,
        ),
    ];
    let mut before = 0.0;
    let lines = wanted.map(|(what, arithmetic, requests)| {
        let usd = prices.sqs.usd(before, requests);
        before += requests;
        line(("SQS", what), arithmetic, (requests, "requests"), usd)
    });
    lines.into()
}

fn iot(load: &Load, month: &Month, prices: &Prices) -> Vec<Line> {
    let each = (sealed(load.message_bytes) / prices.iot.message_bytes).ceil();
    let minutes = month.online_seconds / 60.0;
    let messages = month.deliveries * (2.0 * each + 1.0);
    let connects = month.opened * 2.0;
    let per_message = prices.iot.usd_per_million_messages / 1e6;
    vec![
        line(
            ("IoT Core", "connection"),
            format!("{} s online ÷ 60", count(month.online_seconds)),
            (minutes, "minutes"),
            minutes / 1e6 * prices.iot.usd_per_million_minutes,
        ),
        line(
            ("IoT Core", "messages"),
            format!(
                "{} messages × ({each} in + {each} out + 1 acknowledged)",
                count(month.deliveries)
            ),
            (messages, "messages"),
            messages * per_message,
        ),
        line(
            ("IoT Core", "connects"),
            format!("{} sessions × (connect + subscribe)", count(month.opened)),
            (connects, "messages"),
            connects * per_message,
        ),
    ]
}

fn dynamodb(load: &Load, month: &Month, prices: &Prices) -> Vec<Line> {
    let row = load.message_bytes + HISTORY_ROW_BYTES;
    let units = (row / WRITE_BYTES).ceil();
    let per_write = prices.dynamodb.usd_per_million_writes / 1e6;
    let per_read = prices.dynamodb.usd_per_million_reads / 1e6;
    let history = month.kept * units * 2.0;
    let sessions = month.opened * SESSION_WRITES + month.renewed * RENEWAL_WRITES;
    let page = (load.messages_per_day * row / READ_BYTES).ceil();
    let lookups = month.kept + month.opened * (SESSION_READS + page);
    let scans = DAYS * 86_400.0 / sweep_pause(load, month);
    let scanned = scans * (month.alive * SESSION_ROW_BYTES / SCANNED_BYTES).ceil();
    let stored = load.users * load.messages_per_day * row + month.alive * SESSION_ROW_BYTES;
    let gigabytes = stored / 1e9;
    vec![
        line(
            ("DynamoDB", "history"),
            format!("{} messages × {units} × (kept + read)", count(month.kept)),
            (history, "writes"),
            history * per_write,
        ),
        line(
            ("DynamoDB", "sessions"),
            format!(
                "{} sessions × {SESSION_WRITES} + {} renewals × {RENEWAL_WRITES}",
                count(month.opened),
                count(month.renewed)
            ),
            (sessions, "writes"),
            sessions * per_write,
        ),
        line(
            ("DynamoDB", "look-ups"),
            format!(
                "{} messages + {} sessions × ({SESSION_READS} + {page} of history)",
                count(month.kept),
                count(month.opened)
            ),
            (lookups, "reads"),
            lookups * per_read,
        ),
        line(
            ("DynamoDB", "looking for expired sessions"),
            format!(
                "{} scans × {} sessions × {SESSION_ROW_BYTES} B ÷ 8 KiB",
                count(scans),
                count(month.alive)
            ),
            (scanned, "reads"),
            scanned * per_read,
        ),
        line(
            ("DynamoDB", "storage"),
            format!(
                "{} messages a day × {row} B, and the sessions",
                count(month.kept / DAYS)
            ),
            (gigabytes, "GB"),
            gigabytes * prices.dynamodb.usd_per_gb_month,
        ),
    ]
}

/// Seconds between two looks for expired sessions: longer where a look reads much.
fn sweep_pause(load: &Load, month: &Month) -> f64 {
    let rows = month.alive * SESSION_ROWS;
    let earned = rows * limits::SWEEP_ROW_PAUSE.as_secs_f64();
    let longest = limits::SWEEP_LONGEST_PAUSE.as_secs_f64();
    earned.min(longest).max(load.sweep_interval)
}

fn kinesis(load: &Load, month: &Month, prices: &Prices) -> Vec<Line> {
    let shards = (month.peak / prices.kinesis.records_per_shard_second)
        .ceil()
        .max(1.0);
    let each = (load.message_bytes / prices.kinesis.put_unit_bytes).ceil();
    let (shard_hours, units) = (shards * HOURS, month.kept * each);
    vec![
        line(
            ("Kinesis", "shards"),
            format!(
                "{shards} for {} records/s at the peak × {HOURS} h",
                count(month.peak)
            ),
            (shard_hours, "shard hours"),
            shard_hours * prices.kinesis.usd_per_shard_hour,
        ),
        line(
            ("Kinesis", "records"),
            format!("{} messages × {each}", count(month.kept)),
            (units, "units"),
            units / 1e6 * prices.kinesis.usd_per_million_put_units,
        ),
    ]
}

/// The embedded backend. It is one machine; a second line says so if one does not do.
fn machine(month: &Month, prices: &Prices) -> Vec<Line> {
    let measured = &prices.measured;
    let memory = month.alive * measured.session_bytes + month.sessions * measured.connection_bytes;
    let by_rate = (month.peak / measured.messages_per_second).ceil();
    let by_memory = (memory / prices.machine.memory_bytes).ceil();
    let needed = by_rate.max(by_memory).max(1.0);
    let arithmetic = format!(
        "{} messages/s at the peak of {} measured, {:.2} of {:.0} GiB",
        count(month.peak),
        count(measured.messages_per_second),
        memory / 1_073_741_824.0,
        prices.machine.memory_bytes / 1_073_741_824.0,
    );
    let usd = needed * prices.machine.usd_per_month;
    vec![line(
        ("Fanfare", "machine"),
        arithmetic,
        (needed, "machines"),
        usd,
    )]
}

/// A number with commas between thousands.
pub(super) fn count(number: f64) -> String {
    let digits = format!("{:.0}", number.round());
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load() -> Load {
        Load {
            users: 1000.0,
            sessions_per_user: 2.0,
            messages_per_day: 10.0,
            message_bytes: 500.0,
            hours_online: 8.0,
            visits_per_day: 2.0,
            transport: Transport::Polling,
            stream: false,
            peak: 10.0,
            key_lifetime: 14_400.0,
            session_ttl: 3600.0,
            sweep_interval: 300.0,
            nodes: 2.0,
        }
    }

    /// Amount and price of each line, in order.
    fn check(lines: &[Line], expect: &[(&str, f64, f64)]) {
        let found: Vec<&str> = lines.iter().map(|line| line.what).collect();
        let names: Vec<&str> = expect.iter().map(|(what, ..)| *what).collect();
        assert_eq!(found, names);
        for (line, (what, amount, usd)) in lines.iter().zip(expect) {
            let near = |a: f64, b: f64| (a - b).abs() <= b.abs() * 1e-9;
            assert!(
                near(line.amount, *amount),
                "{what}: {} of {amount}",
                line.amount
            );
            assert!(near(line.usd, *usd), "{what}: ${} of ${usd}", line.usd);
        }
    }

    /// 2,000 sessions for 8 h of 30 days are 1,728 M s; 300,000 messages, each for two sessions.
    #[test]
    fn a_month_of_polling_reckoned_by_hand() {
        let found = estimate(&load(), &Prices::load());
        check(
            &found.aws,
            &[
                // 86.4 M that wait in vain and 0.6 M that do not; the first million is free.
                ("long polls", 87e6, 34.4),
                ("sends", 6e5, 0.24),
                ("deletes", 6e5, 0.24),
                ("queues made and deleted", 2.4e5, 0.096),
                ("history", 6e5, 0.375),
                ("sessions", 1.68e6, 1.05),
                // Ten messages of 750 bytes are two units.
                ("look-ups", 9e5, 0.1125),
                // 1,500 sessions live: 4,000 a day for 9 h. 8,640 scans of 458 units.
                ("looking for expired sessions", 3_957_120.0, 0.49464),
                ("storage", 0.01125, 0.002_812_5),
                ("nodes", 2.0, 117.5),
            ],
        );
        assert!((total(&found.aws) - 154.510_952_5).abs() < 1e-6);
        check(&found.machine, &[("machine", 1.0, 58.75)]);
    }

    #[test]
    fn a_month_of_mqtt_reckoned_by_hand() {
        let mqtt = Load {
            transport: Transport::Mqtt,
            stream: true,
            ..load()
        };
        let found = estimate(&mqtt, &Prices::load()).aws;
        check(
            &found[..3],
            &[
                ("connection", 28.8e6, 2.304),
                ("messages", 1.8e6, 1.8),
                ("connects", 2.4e5, 0.24),
            ],
        );
        check(
            &found[8..10],
            &[("shards", 720.0, 10.8), ("records", 3e5, 0.0042)],
        );
    }

    /// WIRE 9: a client that is there for 30 days and gets nothing.
    #[test]
    fn an_idle_client_costs_what_it_is_known_to() {
        let mut prices = Prices::load();
        prices.sqs.free_requests = 0.0;
        let idle = |transport| Load {
            users: 1.0,
            sessions_per_user: 1.0,
            messages_per_day: 0.0,
            hours_online: 24.0,
            visits_per_day: 0.0,
            transport,
            ..load()
        };
        let polling = estimate(&idle(Transport::Polling), &prices).aws;
        check(&polling[..1], &[("long polls", 129_600.0, 0.05184)]);
        let mqtt = estimate(&idle(Transport::Mqtt), &prices).aws;
        check(&mqtt[..1], &[("connection", 43_200.0, 0.003_456)]);
    }

    #[test]
    fn long_messages_count_as_several() {
        let prices = Prices::load();
        // 50,000 bytes are sealed in 66,686: two requests, 14 messages of 5 KiB, 50 writes.
        let long = |transport| Load {
            message_bytes: 50_000.0,
            transport,
            ..load()
        };
        let polling = estimate(&long(Transport::Polling), &prices).aws;
        assert_eq!((polling[0].amount, polling[1].amount), (87.6e6, 1.2e6));
        assert_eq!(polling[4].amount, 3e5 * 50.0 * 2.0);
        let mqtt = estimate(&long(Transport::Mqtt), &prices).aws;
        assert_eq!(mqtt[1].amount, 6e5 * 29.0);
    }

    #[test]
    fn who_stays_longer_than_keys_live_renews_them() {
        let all_day = Load {
            hours_online: 24.0,
            visits_per_day: 1.0,
            ..load()
        };
        // 60,000 sessions of 24 h: five renewals each, and 29 h of life.
        let found = estimate(&all_day, &Prices::load()).aws;
        assert_eq!(found[5].amount, 60_000.0 * 14.0 + 300_000.0 * 6.0);
        let alive = 2000.0 * 29.0 / 24.0;
        assert_eq!(
            found[7].amount,
            8640.0 * (alive * 2500.0 / 8192.0_f64).ceil()
        );
    }

    /// Ten times the sessions are read ten times as seldom, until a day is between two looks.
    #[test]
    fn looking_for_expired_sessions_costs_the_same_however_many_there_are() {
        let sweep = |users, sweep_interval| {
            let load = Load {
                users,
                sweep_interval,
                ..load()
            };
            let found = estimate(&load, &Prices::load()).aws;
            let line = found
                .iter()
                .find(|line| line.what == "looking for expired sessions");
            line.expect("it is always there").usd
        };
        for users in [1e6, 10e6] {
            assert!(
                (32.95..32.97).contains(&sweep(users, 300.0)),
                "{}",
                sweep(users, 300.0)
            );
        }
        let many = sweep(1e9, 300.0);
        assert_eq!(many, sweep(1e9, 86_400.0));
        assert!(many > 500.0, "{many}");
        assert!(sweep(1e6, 86_400.0) < 2.0);
    }

    #[test]
    fn many_need_more_than_one_machine() {
        let many = Load {
            users: 10e6,
            ..load()
        };
        let [line] = &estimate(&many, &Prices::load()).machine[..] else {
            panic!("one line");
        };
        // 15 M sessions of 358 bytes and 20 M connections of 3,078: 66.9 GB.
        assert_eq!(line.amount, 8.0);
    }

    #[test]
    fn numbers_are_readable() {
        let check = |number, expect: &str| assert_eq!(count(number), expect);
        check(0.4, "0");
        check(999.5, "1,000");
        check(1_234_567.0, "1,234,567");
    }
}
