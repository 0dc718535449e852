//! `fanfare bench` against the real binary, for an instant each: that it measures, never how fast.

#![allow(clippy::unwrap_used, reason = "a test may end by a panic")]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

const FANFARE: &str = env!("CARGO_BIN_EXE_fanfare");

/// A server on a port and a data directory of its own; killed when dropped.
struct Server {
    process: Child,
    endpoint: String,
    data: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut process = Command::new(FANFARE)
            .env("FANFARE_HTTP_LISTEN", "127.0.0.1:0")
            .env("FANFARE_STORE_DIR", data.path().join("store"))
            .env("FANFARE_BENCH_ENABLED", "true")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let mut lines = output.lines().map(Result::unwrap);
        let address = lines.find_map(|line| {
            let address = line.strip_prefix("listening http ")?;
            Some(address.to_owned())
        });
        let endpoint = format!("http://{}", address.expect("the server listens"));
        // The pipe stays open and read, so that whatever the server prints later does not end it.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            process,
            endpoint,
            data,
        }
    }

    /// Runs a benchmark; its report must be the one line on standard output.
    fn bench(&self, arguments: &[&str]) -> Value {
        let output = Command::new(FANFARE)
            .arg("bench")
            .args(arguments)
            .args(["--json", "--endpoint", &self.endpoint])
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        assert_eq!(errors, "", "there is no terminal to draw on");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["bench"], arguments[0]);
        assert_eq!(report["endpoint"], *self.endpoint);
        report
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Every measure counted something and its latencies are in order; every ratio is a positive number.
fn check(report: &Value, measures: usize, ratios: usize) {
    let (found, compared) = (&report["measures"], &report["ratios"]);
    assert_eq!(found.as_array().unwrap().len(), measures, "{report}");
    assert_eq!(compared.as_array().unwrap().len(), ratios, "{report}");
    for measure in found.as_array().unwrap() {
        let number = |name: &str| measure[name].as_f64().unwrap();
        assert!(number("count") > 0.0, "{measure}");
        assert!(number("p50_ms") <= number("p99_ms"), "{measure}");
        assert!(number("p99_ms") <= number("max_ms") * 1.001, "{measure}");
        let rate = measure.get("per_second");
        assert!(
            rate.is_none_or(|rate| rate.as_f64().unwrap() > 0.0),
            "{measure}"
        );
    }
    for ratio in compared.as_array().unwrap() {
        assert!(ratio["value"].as_f64().unwrap() > 0.0, "{ratio}");
    }
}

#[test]
fn every_benchmark_measures() {
    let server = Server::start();
    let short = ["--duration", "0.2", "--rounds", "2", "--connections", "4"];

    let notify = server.bench(&[&["notify"], short.as_slice()].concat());
    check(&notify, 2, 1);
    assert_eq!(notify["ratios"][0]["rounds"].as_array().unwrap().len(), 2);

    let against = ["--against", &server.endpoint];
    let queue = server.bench(&[&["queue"], short.as_slice(), &against].concat());
    check(&queue, 2, 1);

    let broadcast = server.bench(&[
        "broadcast",
        "--sessions",
        "30",
        "--rounds",
        "2",
        "--singles",
        "2",
    ]);
    check(&broadcast, 2, 2);
    assert_eq!(broadcast["measures"][0]["count"], 4);
    assert!(broadcast["settings"]["sessions"].as_u64().unwrap() >= 30);

    let dir = server.data.path().to_str().unwrap();
    let wake = server.bench(&["wake", "--rounds", "3", "--dir", dir]);
    check(&wake, 3, 2);
    assert_eq!(wake["measures"][0]["count"], 3);

    let pid = server.process.id().to_string();
    let idle = server.bench(&["idle", "--sessions", "20", "--settle", "1", "--pid", &pid]);
    assert!(idle["settings"]["settled"].as_u64().unwrap() > 1_000_000);
    assert!(idle["ratios"][0]["value"].is_number());
}

/// With few messages; README has the figure for a million. The benchmark itself fails if a message is missing.
#[test]
fn a_killed_server_is_ready_again_with_all_its_messages() {
    let data = tempfile::tempdir().unwrap();
    let dir = data.path().join("store");
    let restart = || {
        let small = ["--messages", "3000", "--queues", "7", "--rounds", "2"];
        Command::new(FANFARE)
            .args(["bench", "restart", "--json", "--connections", "8", "--dir"])
            .arg(&dir)
            .args(small)
            .output()
            .unwrap()
    };
    let output = restart();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    check(&report, 2, 1);
    assert_eq!(report["measures"][0]["count"], 2);
    assert_eq!(report["ratios"][0]["met"], true, "{report}");
    assert!(!restart().status.success(), "the folder is not empty now");
}

#[test]
fn what_cannot_be_measured_is_said() {
    let run = |arguments: &[&str]| {
        let output = Command::new(FANFARE)
            .arg("bench")
            .args(arguments)
            .output()
            .unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), errors)
    };
    // Nobody listens on the port of "discard" any more.
    let (code, errors) = run(&["queue", "--endpoint", "http://127.0.0.1:9"]);
    assert_eq!(code, Some(69));
    assert!(errors.contains("http://127.0.0.1:9"), "{errors}");

    let server = Server::start();
    let (code, errors) = run(&[
        "notify",
        "--endpoint",
        &server.endpoint,
        "--secret-key",
        "wrong",
    ]);
    assert_eq!(code, Some(77));
    assert!(errors.contains("403"), "{errors}");

    assert_eq!(run(&["notify", "--duration", "0"]).0, Some(2));
}
