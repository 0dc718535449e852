//! Every metric's name and meaning, and their rendering for Prometheus.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// Upper bounds of the buckets of durations, in seconds: a commit on a fast disk takes 100 µs, on a slow one 10 ms.
const SECONDS: [f64; 12] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5,
];

/// Upper bounds of the buckets of batch sizes.
const SIZES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 256.0, 1024.0];

/// See [`keep_up`].
const UPKEEP: Duration = Duration::from_secs(5);

/// Kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

use Kind::{Counter, Gauge, Histogram};

/// All metrics. A test holds that every metric the code uses is here.
const ALL: &[(&str, Kind, &str)] = &[
    (
        "fanfare_actor_respawns_total",
        Counter,
        "Dispatcher, history and user actors started anew after a panic",
    ),
    ("fanfare_actors", Gauge, "Active user actors"),
    (
        "fanfare_aws_calls_total",
        Counter,
        "Calls of the aws backend to its services, by operation and outcome",
    ),
    (
        "fanfare_aws_held_bytes",
        Gauge,
        "Bytes that wait for SQS, for history and for the broker in the aws backend",
    ),
    (
        "fanfare_aws_orphaned_identities_total",
        Counter,
        "Identities without a session that the aws backend removed",
    ),
    (
        "fanfare_aws_orphaned_queues_total",
        Counter,
        "Queues without a session that the aws backend removed",
    ),
    (
        "fanfare_aws_refused_total",
        Counter,
        "Messages, or entries of history, refused by the aws backend because too much waits",
    ),
    (
        "fanfare_aws_spill_bytes",
        Gauge,
        "Bytes of messages on this node's disk that AWS did not take in time",
    ),
    (
        "fanfare_aws_spill_ended_total",
        Counter,
        "Messages that waited on disk for AWS and do no more, by outcome",
    ),
    (
        "fanfare_aws_spill_failures_total",
        Counter,
        "Writes of messages that wait for AWS which the disk did not take",
    ),
    (
        "fanfare_aws_spill_messages",
        Gauge,
        "Messages on this node's disk that AWS did not take in time; one may count for its sessions and for history",
    ),
    (
        "fanfare_aws_spilled_total",
        Counter,
        "Messages that went to this node's disk because AWS did not take them in time",
    ),
    (
        "fanfare_broker_connected",
        Gauge,
        "Whether this node's connection to the broker of its topics stands, by connection",
    ),
    (
        "fanfare_broker_disconnects_total",
        Counter,
        "Connections to the broker that ended or did not come about, by connection",
    ),
    (
        "fanfare_broker_gaps_total",
        Counter,
        "Connections to the broker that did not go on with the session before: what came meanwhile is missing",
    ),
    (
        "fanfare_broker_refused_total",
        Counter,
        "What the broker refused, by what it was",
    ),
    (
        "fanfare_broker_skipped_total",
        Counter,
        "Publications from the broker to topics that no client can subscribe to",
    ),
    (
        "fanfare_broker_subscriptions",
        Gauge,
        "Topic filters that this node has at the broker",
    ),
    (
        "fanfare_delivery_seconds",
        Histogram,
        "From a message's acceptance to its hand-out, where a client was waiting for it by then",
    ),
    (
        "fanfare_dispatch_seconds",
        Histogram,
        "From a message's acceptance to the answer to its sender: it is on disk",
    ),
    (
        "fanfare_handler_panics_total",
        Counter,
        "Requests answered 500 because their handler panicked",
    ),
    (
        "fanfare_messages_dispatched_total",
        Counter,
        "Messages accepted for sessions, a broadcast counted once",
    ),
    (
        "fanfare_mqtt_closes_total",
        Counter,
        "MQTT connections closed by the server, by reason",
    ),
    ("fanfare_mqtt_connections", Gauge, "Open MQTT connections"),
    (
        "fanfare_actor_panics_total",
        Counter,
        "Messages to an actor that were given up because it panicked, by actor",
    ),
    (
        "fanfare_mqtt_connects_total",
        Counter,
        "MQTT clients connected",
    ),
    (
        "fanfare_mqtt_disconnects_total",
        Counter,
        "MQTT clients disconnected by the server, by reason",
    ),
    (
        "fanfare_mqtt_dropped_total",
        Counter,
        "Publications dropped on their way to a client, by reason",
    ),
    (
        "fanfare_mqtt_durable_sessions",
        Gauge,
        "MQTT sessions that outlive their connection",
    ),
    (
        "fanfare_mqtt_publications_received_total",
        Counter,
        "Publications from MQTT clients",
    ),
    (
        "fanfare_mqtt_publications_sent_total",
        Counter,
        "Publications to MQTT clients",
    ),
    (
        "fanfare_mqtt_refused_total",
        Counter,
        "What MQTT clients asked for and were refused, by reason",
    ),
    (
        "fanfare_mqtt_retained_bytes",
        Gauge,
        "Bytes of retained messages",
    ),
    (
        "fanfare_mqtt_retained_messages",
        Gauge,
        "Topics with a retained message",
    ),
    (
        "fanfare_mqtt_take_overs_total",
        Counter,
        "MQTT connections ended because another came with the client id",
    ),
    (
        "fanfare_mqtt_violations_total",
        Counter,
        "MQTT packets that broke a rule of the protocol",
    ),
    (
        "fanfare_mqtt_connections_refused_total",
        Counter,
        "MQTT connections refused because there are too many",
    ),
    (
        "fanfare_mqtt_received_bytes_total",
        Counter,
        "Bytes read from MQTT connections",
    ),
    (
        "fanfare_mqtt_sent_bytes_total",
        Counter,
        "Bytes written to MQTT connections",
    ),
    ("fanfare_rooms", Gauge, "Rooms in memory"),
    ("fanfare_room_members", Gauge, "Members of all rooms"),
    (
        "fanfare_room_publications_total",
        Counter,
        "Publications taken for a room's history",
    ),
    (
        "fanfare_room_recoveries_total",
        Counter,
        "Subscriptions that asked for what they missed, by whether they got all of it",
    ),
    (
        "fanfare_store_rooms",
        Gauge,
        "Rooms with a history on disk, as of the last sweep",
    ),
    (
        "fanfare_process_cpu_seconds",
        Gauge,
        "Processor time used since the start",
    ),
    ("fanfare_process_open_fds", Gauge, "Open file descriptors"),
    ("fanfare_process_resident_bytes", Gauge, "Resident memory"),
    (
        "fanfare_process_start_seconds",
        Gauge,
        "When the process started, in seconds since the epoch",
    ),
    ("fanfare_queue_active_actors", Gauge, "Queues in memory"),
    (
        "fanfare_queue_dead_letters_total",
        Counter,
        "Messages moved to a dead-letter queue",
    ),
    (
        "fanfare_queue_messages",
        Gauge,
        "Messages in all queues, broadcasts left out",
    ),
    (
        "fanfare_queue_messages_deleted_total",
        Counter,
        "Messages deleted by their receivers",
    ),
    (
        "fanfare_queue_messages_purged_total",
        Counter,
        "Messages removed by PurgeQueue",
    ),
    (
        "fanfare_queue_messages_received_total",
        Counter,
        "Messages handed out, redeliveries included",
    ),
    (
        "fanfare_queue_panics_total",
        Counter,
        "Queue actors that panicked",
    ),
    (
        "fanfare_queue_respawns_total",
        Counter,
        "Queue actors started anew after a panic",
    ),
    (
        "fanfare_queue_waiting_polls",
        Gauge,
        "Long polls that wait for a message",
    ),
    (
        "fanfare_receipt_messages_refused_total",
        Counter,
        "Receipt messages that a session did not get because its queue is full",
    ),
    ("fanfare_receipts_total", Counter, "Messages marked as read"),
    (
        "fanfare_requests_total",
        Counter,
        "Requests by wire, operation and status",
    ),
    (
        "fanfare_sessions",
        Gauge,
        "Sessions that exist, as of the last sweep",
    ),
    (
        "fanfare_sessions_created_total",
        Counter,
        "Sessions created, refreshes left out",
    ),
    (
        "fanfare_issued_keys_total",
        Counter,
        "Temporary keys made for guests, roles and the operator",
    ),
    (
        "fanfare_logins_failed_total",
        Counter,
        "MQTT logins with a wrong name or password",
    ),
    (
        "fanfare_policy_reloads_total",
        Counter,
        "Changed configurations of rights, by whether they were taken up",
    ),
    (
        "fanfare_sessions_expired_total",
        Counter,
        "Sessions removed because nobody renewed them",
    ),
    (
        "fanfare_store_commit_jobs",
        Histogram,
        "Jobs that shared a commit",
    ),
    (
        "fanfare_store_commit_seconds",
        Histogram,
        "Time of a commit, fdatasync included",
    ),
    ("fanfare_store_commits_total", Counter, "Commits"),
    (
        "fanfare_store_compactions_total",
        Counter,
        "Tables compacted to free the space of expired rows",
    ),
    (
        "fanfare_store_free_bytes",
        Gauge,
        "Free space of the store's file system",
    ),
    (
        "fanfare_store_refused_full_total",
        Counter,
        "Writes refused because the disk is nearly full",
    ),
    (
        "fanfare_store_topic_bodies",
        Gauge,
        "Publications stored once for several queues or retained",
    ),
    (
        "fanfare_store_topic_clients",
        Gauge,
        "Durable MQTT sessions",
    ),
    (
        "fanfare_store_topic_messages",
        Gauge,
        "Messages in the queues of durable MQTT sessions",
    ),
    (
        "fanfare_stream_behind_seconds",
        Gauge,
        "Age of the next record to be read at Kinesis, by shard that this node reads; 0: it has read all",
    ),
    (
        "fanfare_stream_held_bytes",
        Gauge,
        "Bytes of records that are being read at Kinesis or wait to be relayed",
    ),
    (
        "fanfare_stream_leases",
        Gauge,
        "Shards at Kinesis that this node reads",
    ),
    (
        "fanfare_stream_records_given_up_total",
        Counter,
        "Records read at Kinesis whose messages were refused for good, several times",
    ),
    (
        "fanfare_stream_records_total",
        Counter,
        "Records read at Kinesis",
    ),
    (
        "fanfare_stream_records_skipped_total",
        Counter,
        "Stream records that were no messages",
    ),
    (
        "fanfare_traces_left_out_total",
        Counter,
        "Messages that were not followed, or steps of them, because there were too many, by reason",
    ),
    (
        "fanfare_traces_total",
        Counter,
        "Messages that were followed for the console",
    ),
    (
        "fanfare_tls_reload_failures_total",
        Counter,
        "New certificates that could not be used; the last good one stayed",
    ),
];

/// Starts recording. Metrics that code made handles of before are lost: call this first.
///
/// # Errors
/// If something is recording already.
pub fn record() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_jobs".into()), &SIZES)?
        .install_recorder()?;
    for (name, kind, meaning) in ALL {
        match kind {
            Counter => metrics::describe_counter!(*name, *meaning),
            Gauge => metrics::describe_gauge!(*name, *meaning),
            Histogram => metrics::describe_histogram!(*name, *meaning),
        }
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    metrics::gauge!("fanfare_process_start_seconds")
        .set(since.map_or(0.0, |since| since.as_secs_f64()));
    Ok(handle)
}

/// All metrics in Prometheus's text format.
pub fn render(handle: &PrometheusHandle) -> String {
    process();
    handle.run_upkeep();
    handle.render()
}

/// Folds what was measured into the buckets from time to time: until then every measurement is kept, and it may be
/// that nobody ever asks for the metrics.
pub async fn keep_up(handle: PrometheusHandle) {
    loop {
        tokio::time::sleep(UPKEEP).await;
        handle.run_upkeep();
    }
}

/// Reads what the kernel knows of the process.
fn process() {
    let pages = fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    if let Some(pages) = pages {
        let bytes = pages * rustix::param::page_size() as u64;
        metrics::gauge!("fanfare_process_resident_bytes").set(bytes as f64);
    }
    let used = fs::read_to_string("/proc/self/stat").ok();
    if let Some(ticks) = used.as_deref().and_then(processor_ticks) {
        let seconds = ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
        metrics::gauge!("fanfare_process_cpu_seconds").set(seconds);
    }
    if let Ok(fds) = fs::read_dir("/proc/self/fd") {
        metrics::gauge!("fanfare_process_open_fds").set(fds.count() as f64);
    }
}

/// Processor time in `/proc/self/stat`, the program's own and the kernel's for it, in clock ticks (proc_pid_stat(5)).
fn processor_ticks(stat: &str) -> Option<u64> {
    // The second field is the program's name in parentheses, and may contain anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let (user, system) = (fields.next()?, fields.next()?);
    Some(user.parse::<u64>().ok()? + system.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// Names of metrics in quotes after one of the macros, in all source files.
    fn used(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).expect("the source is there") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                used(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("readable");
                for part in ["counter!(", "gauge!(", "histogram!("] {
                    for after in text.split(part).skip(1) {
                        let name = after
                            .trim_start()
                            .strip_prefix('"')
                            .and_then(|text| text.split('"').next());
                        found.extend(
                            name.filter(|name| name.starts_with("fanfare_"))
                                .map(str::to_owned),
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn processor_time_is_found_whatever_the_program_is_called() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 40 2 0 0 20 0 5 0 9 1 2";
        assert_eq!(processor_ticks(stat), Some(42));
        assert_eq!(processor_ticks("7 (a) S"), None);
    }

    #[test]
    fn every_metric_is_described() {
        let mut found = BTreeSet::new();
        used(
            Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")),
            &mut found,
        );
        assert!(found.len() > 20, "the search finds metrics");
        let described: BTreeSet<String> =
            ALL.iter().map(|(name, _, _)| (*name).to_owned()).collect();
        assert_eq!(found, described);
    }
}
