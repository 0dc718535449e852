//! The command line as people use it: the real binary against the real binary.

#![allow(clippy::unwrap_used, reason = "a test may end by a panic")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const FANFARE: &str = env!("CARGO_BIN_EXE_fanfare");

/// The binary without anything that the caller's environment would configure.
fn fanfare(arguments: &[&str]) -> Command {
    let mut command = Command::new(FANFARE);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FANFARE_") {
            command.env_remove(name);
        }
    }
    // Several servers run at a time.
    command.env("FANFARE_MQTT_LISTEN", "127.0.0.1:0");
    command.args(arguments).stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("the output is text")
}

/// A server on a port and a data directory of its own; killed when dropped.
struct Server {
    process: Child,
    endpoint: String,
    data: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        Self::start_with(&[]).0
    }

    /// Its commands reach it in TLS, and trust its own certificate. With the port of MQTT in TLS.
    fn start_in_tls() -> (Self, u16) {
        let (mut server, told) = Self::start_with(&["--dev-tls"]);
        let port = |name: &str| {
            let address = told.iter().find_map(|line| line.strip_prefix(name));
            let (_, port) = address.unwrap().rsplit_once(':').unwrap();
            port.parse::<u16>().unwrap()
        };
        server.endpoint = format!("https://localhost:{}", port("listening https "));
        (server, port("listening mqtts "))
    }

    /// With what it says about its listeners.
    fn start_with(arguments: &[&str]) -> (Self, Vec<String>) {
        let data = tempfile::tempdir().expect("a folder");
        let mut command = fanfare(&["--listen", "127.0.0.1:0", "--data"]);
        command.arg(data.path()).args(arguments);
        if !arguments.is_empty() {
            command.env("FANFARE_HTTP_TLS_LISTEN", "127.0.0.1:0");
            command.env("FANFARE_MQTT_TLS_LISTEN", "127.0.0.1:0");
        }
        let mut process = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary runs");
        let output = BufReader::new(process.stdout.take().expect("a pipe"));
        // The line after the listeners.
        let told = output.lines().map(Result::unwrap);
        let told: Vec<_> = told.take_while(|line| !line.starts_with("data ")).collect();
        let address = told
            .iter()
            .find_map(|line| line.strip_prefix("listening http "));
        let endpoint = format!("http://{}", address.expect("the server listens"));
        let server = Self {
            process,
            endpoint,
            data,
        };
        (server, told)
    }

    fn certificate(&self) -> String {
        let path = self.data.path().join("dev-tls/cert.pem");
        path.to_str().unwrap().to_owned()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = fanfare(arguments);
        command.env("FANFARE_ENDPOINT", &self.endpoint);
        command
    }

    /// Runs a command that succeeds; gives what it printed.
    fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().expect("the binary runs");
        let errors = text(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        text(&output.stdout)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let printed = self.run(&[arguments, &["--json"]].concat());
        serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _already_gone = self.process.kill();
        let _status = self.process.wait();
    }
}

/// It ends with this code and says this on standard error.
fn check_fails(output: &Output, code: i32, part: &str) {
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{errors}");
    assert!(errors.contains(part), "{errors} lacks {part}");
    assert!(!errors.contains("panicked"), "{errors}");
}

#[test]
fn a_session_lives_from_creation_to_destruction() {
    let server = Server::start();
    let created = server.json(&["session", "create", "1", "alice", "7", "--envelope", "gcm"]);
    let session = &created["session"];
    assert_eq!(
        (&session["userId"], &session["envelope"]),
        (&json!(7), &json!("gcm"))
    );
    let shown = server.run(&["session", "status", "1", "alice"]);
    assert!(
        shown.contains(session["sqsUrl"].as_str().unwrap()),
        "{shown}"
    );
    let renewed = server.json(&["session", "renew", "1", "alice"]);
    assert_ne!(renewed["session"]["accessKey"], session["accessKey"]);
    assert_eq!(renewed["session"]["sqsUrl"], session["sqsUrl"]);
    assert!(server.run(&["session", "status"]).ends_with("1 sessions\n"));
    assert_eq!(
        server.run(&["session", "destroy", "1", "alice"]),
        "session alice destroyed\n"
    );
    assert_eq!(
        server.run(&["session", "status", "1", "alice"]),
        "no such session\n"
    );
    let again = server
        .command(&["session", "destroy", "1", "alice"])
        .output();
    check_fails(&again.unwrap(), 1, "session not found");
}

#[test]
fn a_message_is_followed_live_and_kept() {
    for envelope in ["v1", "gcm"] {
        let server = Server::start();
        let create = [
            "session",
            "create",
            "1",
            "alice",
            "7",
            "--json",
            "--envelope",
            envelope,
        ];
        let file = server.data.path().join("alice.json");
        std::fs::write(&file, server.run(&create)).unwrap();
        // Without the operator's keys: the description is enough.
        let mut tail = server
            .command(&["tail", "--count", "2", "--session-file"])
            .arg(&file)
            .env("FANFARE_OPERATOR_SECRET_KEY", "wrong")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
        let mut next =
            || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };

        let said = server.run(&["notify", "--user", "7", r#"{"text":"é😀","_type":"chat"}"#]);
        assert!(said.ends_with("delivered to 1 session\n"), "{said}");
        assert_eq!(next()["text"], "é😀");
        server.run(&["notify", "--field", "text=\u{1b}[2J", "--no-history"]);
        assert_eq!(next()["text"], "\u{1b}[2J");
        assert!(tail.wait().unwrap().success());

        let page = server.json(&["history", "7", "--type", "chat"]);
        let [message] = page["messages"].as_array().unwrap().as_slice() else {
            panic!("{page}");
        };
        assert_eq!(
            (&message["text"], &message["is_read"]),
            (&json!("é😀"), &json!(0))
        );
        assert_eq!(server.run(&["history", "7", "--unread"]), "1 unread\n");
        let read = [
            "history",
            "7",
            "--read",
            message["messageId"].as_str().unwrap(),
        ];
        assert_eq!(server.run(&read), "1 marked as read\n");
        assert_eq!(server.run(&["history", "7", "--unread"]), "0 unread\n");
        server.run(&["notify", "--user", "7", "{}"]);
        assert!(
            server
                .run(&["history", "7", "--limit", "1"])
                .starts_with("* 2")
        );
        assert_eq!(
            server.run(&["history", "7", "--read-all"]),
            "1 marked as read\n"
        );
    }
}

#[test]
fn topics_are_published_to_and_followed() {
    let server = Server::start();
    let publish = [
        "mqtt",
        "pub",
        "chat/lobby",
        "kept",
        "--qos",
        "1",
        "--retain",
    ];
    server.run(&publish);
    let subscribe = [
        "mqtt", "sub", "chat/#", "--qos", "1", "--count", "3", "--json",
    ];
    let mut sub = server
        .command(&subscribe)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(sub.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    // The retained message tells that the subscription stands.
    let kept = next();
    assert_eq!(
        (&kept["payload"], &kept["retain"]),
        (&"kept".into(), &true.into())
    );
    for (text, qos) in [("é😀", "0"), ("twice", "2")] {
        server.run(&["mqtt", "pub", "chat/room", text, "--qos", qos]);
        let live = next();
        assert_eq!(
            (&live["topic"], &live["payload"]),
            (&"chat/room".into(), &text.into())
        );
    }
    assert!(sub.wait().unwrap().success());

    // A session may do what it was granted, and is told what it may not.
    let create = [
        "session", "create", "1", "alice", "7", "--json", "--topic", "chat/#",
    ];
    let file = server.data.path().join("alice.json");
    std::fs::write(&file, server.run(&create)).unwrap();
    let session = |topic: &str| {
        server
            .command(&["mqtt", "pub", topic, "x", "--qos", "1", "--session-file"])
            .arg(&file)
            .env("FANFARE_OPERATOR_SECRET_KEY", "wrong")
            .output()
            .unwrap()
    };
    assert!(session("chat/lobby").status.success());
    let refused = session("elsewhere");
    assert!(!refused.status.success());
    assert!(
        text(&refused.stderr).contains("may not publish"),
        "{}",
        text(&refused.stderr)
    );
}

#[test]
fn every_command_speaks_tls_to_whom_it_is_told_to_trust() {
    let (server, mqtts) = Server::start_in_tls();
    let certificate = server.certificate();
    let trusting =
        |arguments: &[&str]| server.run(&[arguments, &["--cacert", &certificate]].concat());

    let create = ["session", "create", "1", "alice", "7", "--json"];
    let file = server.data.path().join("alice.json");
    std::fs::write(&file, trusting(&create)).unwrap();
    trusting(&["notify", "--user", "7", r#"{"text":"by TLS"}"#]);
    let tail = ["tail", "1", "alice", "--count", "1"];
    assert!(trusting(&tail).contains("by TLS"));
    assert!(trusting(&["history", "7"]).contains("by TLS"));

    // MQTT by the endpoint's WebSocket, and by the listener of its own, where this client is not let in.
    let publish = ["mqtt", "pub", "a/b", "kept", "--qos", "1", "--retain"];
    trusting(&publish);
    let subscribe = ["mqtt", "sub", "a/#", "--count", "1"];
    assert_eq!(trusting(&subscribe), "a/b kept\n");
    let broker = format!("mqtts://127.0.0.1:{mqtts}");
    let by_tcp = ["--broker", &broker, "--cacert", &certificate];
    let refused = server.command(&[&subscribe, by_tcp.as_slice()].concat());
    check_fails(
        &{ refused }.output().unwrap(),
        77,
        "does not let this client in",
    );

    // Whom nobody vouches for hears nothing.
    let status = ["session", "status"];
    let tail = ["tail", "--session-file", file.to_str().unwrap()];
    for command in [&status as &[&str], &tail, &subscribe] {
        let output = server.command(command).output().unwrap();
        check_fails(&output, 69, &server.endpoint.replace("https", ""));
        let nowhere = [command, &["--cacert", "/nowhere.pem"]].concat();
        let output = server.command(&nowhere).output().unwrap();
        check_fails(&output, 1, "/nowhere.pem");
    }
    let other = [&status as &[&str], &["--endpoint", "ftp://x"]].concat();
    check_fails(&server.command(&other).output().unwrap(), 1, "https://");
}

#[test]
fn a_description_may_come_through_a_pipe_and_messages_may_stay() {
    let server = Server::start();
    let description = server.run(&["session", "create", "1", "alice", "--json"]);
    server.run(&["notify", "--account", "1", r#"{"n":1}"#]);
    let mut tail = server
        .command(&[
            "tail",
            "--session-file",
            "-",
            "--keep",
            "--json",
            "--count",
            "1",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = tail.stdin.take().unwrap();
    input.write_all(description.as_bytes()).unwrap();
    drop(input);
    let printed = tail.wait_with_output().unwrap();
    let line: Value = serde_json::from_slice(&printed.stdout).unwrap();
    assert_eq!(
        (&line["message"]["n"], printed.status.code()),
        (&json!(1), Some(0))
    );

    // The envelope can be opened without any server, too.
    let description: Value = serde_json::from_str(&description).unwrap();
    let key = description["session"]["aesKey"].as_str().unwrap();
    let opened = fanfare(&["decrypt", line["envelope"].as_str().unwrap()])
        .env("FANFARE_AES_KEY", key)
        .output()
        .unwrap();
    assert!(text(&opened.stdout).contains("\"n\":1"), "{opened:?}");
}

#[test]
fn failures_have_documented_codes() {
    let server = Server::start();
    let run = |arguments: &[&str], settings: &[(&str, &str)]| {
        let mut command = server.command(arguments);
        command.envs(settings.iter().copied()).output().unwrap()
    };
    let status = ["session", "status"];
    let wrong = [("FANFARE_OPERATOR_SECRET_KEY", "wrong")];
    check_fails(&run(&status, &wrong), 77, "signature");
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    check_fails(
        &run(&status, &[("FANFARE_ENDPOINT", &nobody)]),
        69,
        "refused",
    );
    check_fails(&run(&["notify", "[1]"], &[]), 1, "JSON object");
    check_fails(&run(&["notify"], &[]), 2, "Usage");

    let description = server.run(&["session", "create", "1", "s", "--json"]);
    let file = server.data.path().join("s.json");
    std::fs::write(&file, description).unwrap();
    server.run(&["session", "renew", "1", "s"]);
    let tail = ["tail", "--session-file", file.to_str().unwrap()];
    check_fails(&run(&tail, &[]), 77, "session renew");

    let data = server.data.path().to_str().unwrap();
    check_fails(
        &run(&["--listen", "127.0.0.1:0", "--data", data], &[]),
        75,
        "in use",
    );
    let taken = server.endpoint.trim_start_matches("http://");
    let other = server.data.path().join("other");
    let other = ["--listen", taken, "--data", other.to_str().unwrap()];
    check_fails(&run(&other, &[]), 69, "can not listen");
    check_fails(
        &run(&["serve", "--set", "http.worker=1"], &[]),
        78,
        "http.worker",
    );
    check_fails(
        &run(&["serve", "--check", "--listen", "0.0.0.0:1"], &[]),
        78,
        "operator",
    );
    let usable = run(&["serve", "--check"], &[]);
    assert_eq!(text(&usable.stdout), "the configuration is usable\n");
}

#[test]
fn help_teaches() {
    let help = |arguments: &[&str]| {
        let output = fanfare(&[arguments, &["--help"]].concat())
            .output()
            .unwrap();
        assert!(output.status.success());
        text(&output.stdout)
    };
    let top = help(&[]);
    for part in [
        "session",
        "notify",
        "tail",
        "history",
        "decrypt",
        "bench",
        "Exit codes",
        "  75  ",
    ] {
        assert!(top.contains(part), "{part} is missing:\n{top}");
    }
    for command in ["serve", "session", "notify", "tail", "history"] {
        assert!(help(&[command]).contains("Examples:\n"), "{command}");
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut server = Server::start();
    // A request that does not end: its body never comes.
    let address = server.endpoint.trim_start_matches("http://");
    let mut stuck = std::net::TcpStream::connect(address).unwrap();
    stuck
        .write_all(b"POST /notify HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        .unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let pid = rustix::process::Pid::from_child(&server.process);
    let signal = || rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    signal();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(
        server.process.try_wait().unwrap(),
        None,
        "it waits for the request"
    );
    signal();
    let begun = Instant::now();
    assert_eq!(server.process.wait().unwrap().code(), Some(143));
    assert!(begun.elapsed() < Duration::from_secs(5));
}
