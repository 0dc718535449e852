//! `fanfare bench` against the real binary, for an instant each: that it measures, never how fast.

#![allow(clippy::unwrap_used, reason = "a test may end by a panic")]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const FANFARE: &str = env!("CARGO_BIN_EXE_fanfare");

/// A server on a port and a data directory of its own; killed when dropped.
struct Server {
    process: Child,
    endpoint: String,
    data: tempfile::TempDir,
    /// What it says about its listeners.
    told: Vec<String>,
}

/// Lets everybody in, for MQTT over TCP.
const ANYBODY: &str = r#"{"Statement":{"Effect":"Allow","Action":"iot:*","Resource":"*"}}"#;

impl Server {
    fn start() -> Self {
        Self::start_with(&[], &[])
    }

    /// With a certificate of its own; its `endpoint` is in TLS.
    fn start_in_tls() -> Self {
        let settings = [
            ("FANFARE_HTTP_TLS_LISTEN", "127.0.0.1:0"),
            ("FANFARE_MQTT_TLS_LISTEN", "127.0.0.1:0"),
            ("FANFARE_GUESTS_ANONYMOUS_POLICY", ANYBODY),
        ];
        let mut server = Self::start_with(&["serve", "--dev-tls"], &settings);
        server.endpoint = format!("https://localhost:{}", server.port("https"));
        server
    }

    /// The port of one listener.
    fn port(&self, name: &str) -> u16 {
        let prefix = format!("listening {name} ");
        let mut addresses = self
            .told
            .iter()
            .filter_map(|line| line.strip_prefix(&prefix));
        let address = addresses.next().expect("it listens there");
        let (_, port) = address.rsplit_once(':').expect("a port");
        port.parse().expect("a port")
    }

    /// Its certificate.
    fn certificate(&self) -> String {
        let path = self.data.path().join("store/dev-tls/cert.pem");
        path.to_str().unwrap().to_owned()
    }

    fn start_with(arguments: &[&str], settings: &[(&str, &str)]) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut process = Command::new(FANFARE)
            .args(arguments)
            .envs(settings.iter().copied())
            .env("FANFARE_HTTP_LISTEN", "127.0.0.1:0")
            .env("FANFARE_MQTT_LISTEN", "127.0.0.1:0")
            .env("FANFARE_STORE_DIR", data.path().join("store"))
            .env("FANFARE_BENCH_ENABLED", "true")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let mut lines = output.lines().map(Result::unwrap);
        // The line after the listeners.
        let told: Vec<_> = lines
            .by_ref()
            .take_while(|line| !line.starts_with("data "))
            .collect();
        let address = told
            .iter()
            .find_map(|line| line.strip_prefix("listening http "));
        let endpoint = format!("http://{}", address.expect("the server listens"));
        // The pipe stays open and read, so that whatever the server prints later does not end it.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            process,
            endpoint,
            data,
            told,
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
    check(&wake, 4, 3);
    assert_eq!(wake["measures"][0]["count"], 3);

    let pid = server.process.id().to_string();
    let idle = server.bench(&["idle", "--sessions", "20", "--settle", "1", "--pid", &pid]);
    assert!(idle["settings"]["settled"].as_u64().unwrap() > 1_000_000);
    assert!(idle["ratios"][0]["value"].is_number());
}

/// The minimal server of the MQTT benchmarks; killed when dropped.
struct Floor {
    process: Child,
    address: String,
}

impl Floor {
    fn start() -> Self {
        let mut process = Command::new(FANFARE)
            .args(["bench", "mqtt", "floor"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = process.stdout.take().unwrap();
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening mqtt ");
        Self {
            address: address.expect("it says where it listens").to_owned(),
            process,
        }
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn mqtt(arguments: &[&str]) -> Value {
    let output = Command::new(FANFARE)
        .args(["bench", "--json", "mqtt"])
        .args(arguments)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    assert_eq!(errors, "", "{arguments:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Every MQTT benchmark for an instant, against the broker at `url` with this process id. `way_in` is how it lets
/// clients in.
fn every_mqtt_benchmark(url: &str, pid: u32, way_in: &[&str]) {
    let pid = pid.to_string();
    let run = |load: &[&str]| mqtt(&[&["--url", url, "--pid", &pid], way_in, load].concat());
    let short = ["--seconds", "0.3", "--warm-up", "0.1"];
    let lossless = |report: &Value| {
        assert_eq!(report["counts"]["deliveries lost"], 0, "{report}");
        assert_eq!(report["counts"]["deliveries repeated"], 0, "{report}");
    };

    for pace in [
        &["--ahead"] as &[&str],
        &["--in-flight", "1"],
        &["--rate", "200"],
    ] {
        let load = [&["fan-out", "--subscribers", "7"], pace, &short].concat();
        let report = run(&load);
        check(&report, 1, 1);
        lossless(&report);
        let count = report["measures"][0]["count"].as_u64().unwrap();
        assert_eq!(report["bench"], "mqtt fan-out");
        match pace {
            // 0.3 s at 200 Hz to 7, and what the machine is late.
            ["--rate", _] => assert!((7..=7 * 62).contains(&count), "{report}"),
            _ => assert!(count >= 7, "{report}"),
        }
    }

    let load = [
        &["rooms", "--rooms", "3", "--players", "4", "--rate", "50"] as &[&str],
        &short,
    ]
    .concat();
    let report = run(&load);
    check(&report, 1, 1);
    lossless(&report);
    assert!(report["counts"]["server resident, KiB"].as_u64().unwrap() > 100);

    let load = [
        &[
            "durable",
            "--publishers",
            "3",
            "--subscribers",
            "2",
            "--in-flight",
            "4",
        ] as &[&str],
        &short,
    ]
    .concat();
    let report = run(&load);
    check(&report, 2, 1);
    lossless(&report);

    let idle = run(&[
        "idle",
        "--connections",
        "60",
        "--subscribe",
        "--seconds",
        "0.1",
    ]);
    assert_eq!(idle["settings"]["connections"], 60);
    assert_eq!(idle["ratios"].as_array().unwrap().len(), 2, "{idle}");

    let storm = run(&["storm", "--clients", "40"]);
    check(&storm, 1, 3);
    assert_eq!(storm["measures"][0]["count"], 40);
    assert_eq!(storm["counts"]["errors"], 0);
}

#[test]
fn every_mqtt_benchmark_measures() {
    let floor = Floor::start();
    let pid = floor.process.id();
    every_mqtt_benchmark(&format!("mqtt://{}", floor.address), pid, &["--v5"]);
    every_mqtt_benchmark(&format!("ws://{}/mqtt", floor.address), pid, &["--presign"]);
}

#[test]
fn benchmarks_measure_in_tls() {
    let server = Server::start_in_tls();
    let certificate = server.certificate();
    let trust = ["--cacert", certificate.as_str()];
    let short = ["--duration", "0.2", "--rounds", "1", "--connections", "4"];
    let notify = server.bench(&[&["notify"], short.as_slice(), &trust].concat());
    check(&notify, 2, 1);

    let pid = server.process.id().to_string();
    let way_in = ["--pid", &pid, "--v5", "--cacert", &certificate];
    let wss = server.endpoint.replacen("https", "wss", 1) + "/mqtt";
    let mqtts = format!("mqtts://127.0.0.1:{}", server.port("mqtts"));
    for (url, more) in [(&mqtts, &[] as &[&str]), (&wss, &["--presign"])] {
        let run = |load: &[&str]| mqtt(&[&["--url", url] as &[&str], &way_in, more, load].concat());
        // Many messages in one record as fast as they go, and messages as large as a record.
        for pace in [
            ["--size", "64", "--ahead", "--subscribers", "3"],
            ["--size", "16384", "--subscribers=3", "--in-flight", "1"],
        ] {
            let load = [&["fan-out"], pace.as_slice()].concat();
            let report =
                run(&[&load, ["--seconds", "0.3", "--warm-up", "0.1"].as_slice()].concat());
            check(&report, 1, 1);
            assert_eq!(report["counts"]["deliveries lost"], 0, "{report}");
            assert_eq!(report["counts"]["deliveries repeated"], 0, "{report}");
        }
        let storm = run(&["storm", "--clients", "20"]);
        assert_eq!(storm["counts"]["errors"], 0, "{storm}");
    }

    // Whom nobody vouches for is not measured.
    let output = Command::new(FANFARE)
        .args([
            "bench",
            "mqtt",
            "--url",
            &mqtts,
            "fan-out",
            "--seconds",
            "0.1",
        ])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && errors.contains("certificate"),
        "{errors}"
    );
}

#[test]
fn every_mqtt_benchmark_measures_the_real_server() {
    let server = Server::start();
    let url = server.endpoint.replacen("http", "ws", 1) + "/mqtt";
    every_mqtt_benchmark(&url, server.process.id(), &["--presign", "--v5"]);
}

#[test]
fn a_broker_is_compared_with_the_least_a_server_can_do() {
    let floor = Floor::start();
    let url = format!("ws://{}/mqtt", floor.address);
    let pid = floor.process.id().to_string();
    let load = [
        "fan-out",
        "--subscribers",
        "5",
        "--in-flight",
        "1",
        "--seconds",
        "0.3",
        "--warm-up",
        "0.1",
    ];
    let report = mqtt(&[&["--url", &url, "--pid", &pid, "--limit"] as &[&str], &load].concat());
    check(&report, 2, 3);
    assert_eq!(report["ratios"][2]["goal"]["at_most"], 1.3);
}

/// Not a benchmark; here, because the minimal server is.
#[test]
fn topics_can_be_used_from_a_terminal() {
    let floor = Floor::start();
    let url = format!("mqtt://{}", floor.address);
    let command = |arguments: &[&str]| {
        let mut command = Command::new(FANFARE);
        command.args(["mqtt", "--broker", &url]).args(arguments);
        command
    };
    let mut subscriber = command(&["sub", "chat/lobby", "--count", "2"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut errors = BufReader::new(subscriber.stderr.take().unwrap());
    let mut line = String::new();
    errors.read_line(&mut line).unwrap();
    assert_eq!(line, "subscribed to chat/lobby; Ctrl-C ends\n");
    for message in [
        &["pub", "chat/lobby", "{\"a\":1}"] as &[&str],
        &["pub", "chat/lobby", "two", "--qos", "1"],
    ] {
        let output = command(message).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let patience = Instant::now() + Duration::from_secs(20);
    while subscriber.try_wait().unwrap().is_none() {
        if Instant::now() > patience {
            subscriber.kill().unwrap();
            panic!("the messages did not come");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = subscriber.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout, b"chat/lobby {\"a\":1}\nchat/lobby two\n");

    let refused = command(&["pub", "a/#", "x"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    drop(floor);
    let nobody = command(&["pub", "a", "x"]).output().unwrap();
    assert_eq!(nobody.status.code(), Some(69), "{nobody:?}");
}

#[test]
fn a_broker_that_is_not_there_or_no_broker_is_said() {
    let run = |url: &str| {
        let output = Command::new(FANFARE)
            .args([
                "bench",
                "mqtt",
                "fan-out",
                "--subscribers",
                "1",
                "--url",
                url,
            ])
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    // Nobody listens on the port of "discard" any more.
    let (code, errors) = run("mqtt://127.0.0.1:9");
    assert_eq!(code, Some(69), "{errors}");
    // An HTTP server upgrades nothing at a path that it does not have.
    let server = Server::start();
    let address = server.endpoint.strip_prefix("http://").unwrap();
    let (code, errors) = run(&format!("ws://{address}/no-such-path"));
    assert!(matches!(code, Some(1 | 77)), "{errors}");
    assert!(errors.contains("HTTP/1.1 4"), "{errors}");
    assert_eq!(run("http://127.0.0.1").0, Some(1));
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
