//! Servers to speak with.

use std::env;
use std::fmt::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use fanfare::wire::mqtt::codec::{Connect, Version};
use tempfile::TempDir;

use crate::client::Client;
use crate::server::{Launch, Server};

/// A server with a configuration of its own.
pub struct Broker {
    pub server: Server,
    pub data: TempDir,
}

/// `right`, as `fanfare mqtt-password` hashes it.
const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$9rRiOHn6inUZY7lgfK3aJw$Dgn3dTF3i5JMLS0Qf7v2dwKxhi0ixuVfxycydWDAn9M";

/// What everybody may do in most tests: everything.
pub const EVERYTHING: &str = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}}"#;

/// Connect as whoever; `parts` of topics, with `*`, for `actions`.
pub fn statement(effect: &str, actions: &str, resources: &str) -> String {
    let list = |text: &str, prefix: &str| {
        let words: Vec<_> = text
            .split(' ')
            .map(|word| format!("\"{prefix}{word}\""))
            .collect();
        words.join(", ")
    };
    format!(
        r#"{{"Effect": "{effect}", "Action": [{}], "Resource": [{}]}}"#,
        list(actions, "iot:"),
        list(resources, "arn:aws:iot:*:*:"),
    )
}

/// A policy of statements.
pub fn policy(statements: &[String]) -> String {
    let statements = statements.join(", ");
    format!(r#"{{"Version": "2012-10-17", "Statement": [{statements}]}}"#)
}

/// The text of a configuration file.
pub struct Setup {
    anonymous: String,
    store: String,
    mqtt: String,
    accounts: Vec<(String, String)>,
    rooms: String,
}

impl Setup {
    pub fn new() -> Self {
        Self {
            anonymous: EVERYTHING.to_owned(),
            store: String::new(),
            mqtt: String::new(),
            accounts: Vec::new(),
            rooms: String::new(),
        }
    }

    /// What clients without credentials may do.
    pub fn anonymous(mut self, policy: &str) -> Self {
        policy.clone_into(&mut self.anonymous);
        self
    }

    /// A setting of `[store]`.
    pub fn store(mut self, key: &str, value: impl std::fmt::Display) -> Self {
        writeln!(self.store, "{key} = {value}").unwrap();
        self
    }

    /// A setting of `[mqtt]`.
    pub fn mqtt(mut self, key: &str, value: impl std::fmt::Display) -> Self {
        writeln!(self.mqtt, "{key} = {value}").unwrap();
        self
    }

    /// An account; its password is `right`.
    pub fn account(mut self, username: &str, policy: &str) -> Self {
        self.accounts.push((username.to_owned(), policy.to_owned()));
        self
    }

    /// Rooms instead of those that there are by default.
    pub fn room(mut self, filter: &str, settings: &str) -> Self {
        writeln!(self.rooms, "[[rooms]]\nfilter = \"{filter}\"\n{settings}").unwrap();
        self
    }

    fn text(&self) -> String {
        let mut text = format!(
            "[http]\nworkers = 2\n[store]\n{}[mqtt]\n{}[guests]\nanonymous_policy = '''{}'''\n",
            self.store, self.mqtt, self.anonymous
        );
        for (username, policy) in &self.accounts {
            write!(
                text,
                "[[accounts]]\nusername = \"{username}\"\npassword_hash = \"{HASH}\"\npolicy = '''{policy}'''\n"
            )
            .unwrap();
        }
        text + &self.rooms
    }

    pub fn start(self) -> Broker {
        self.start_on(tempfile::tempdir().unwrap())
    }

    /// Starts it on what an earlier server left.
    pub fn start_on(self, data: TempDir) -> Broker {
        self.write(&data);
        let server = Launch::on(&data.path().join("store"))
            .env("FANFARE_CONFIG", data.path().join("fanfare.toml"))
            .start();
        Broker { server, data }
    }

    /// Replaces the configuration of a server that runs.
    pub fn write(&self, data: &TempDir) {
        let draft = data.path().join("draft.toml");
        std::fs::write(&draft, self.text()).unwrap();
        std::fs::rename(draft, data.path().join("fanfare.toml")).unwrap();
    }
}

impl Broker {
    pub fn mqtt(&self) -> SocketAddr {
        self.server.mqtt.expect("it speaks MQTT")
    }

    /// A connected client with a clean session.
    pub fn client(&self, version: Version, id: &str) -> Client {
        Client::connected(self.mqtt(), Connect::new(version, id.to_owned())).0
    }

    /// What Prometheus is told of a metric with these words in its line; 0 if there is no such line.
    pub fn metric(&self, words: &[&str]) -> f64 {
        let text = crate::client::http_get(self.server.address, "/metrics");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let lines = lines.filter(|line| words.iter().all(|word| line.contains(word)));
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Waits until a metric is at least so high.
    pub fn await_metric(&self, words: &[&str], least: f64) {
        for _ in 0..60 {
            if self.metric(words) >= least {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{words:?} is {}", self.metric(words));
    }
}

/// A server that lets everybody do everything, for all tests that need nothing else. Client ids and topics must be the
/// test's own.
pub fn open() -> &'static Broker {
    static OPEN: OnceLock<(Broker, Child)> = OnceLock::new();
    let (broker, _guard) = OPEN.get_or_init(|| {
        let broker = Setup::new().start();
        let guard = guard(&broker);
        (broker, guard)
    });
    broker
}

/// What is static is never dropped, so somebody else ends that server and removes its data: a process that reads from this
/// one until this one is gone, however it went.
fn guard(broker: &Broker) -> Child {
    Command::new("sh")
        .args(["-c", "read -r _; kill -KILL \"$0\"; rm -r \"$1\""])
        .arg(broker.server.id().to_string())
        .arg(broker.data.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn the_shared_server_ends_with_the_tests() {
    const INNER: &str = "FANFARE_TEST_SHARED_SERVER";
    if env::var_os(INNER).is_some() {
        println!(" {} {}", open().mqtt(), open().data.path().display());
        return;
    }
    let this = "broker::the_shared_server_ends_with_the_tests";
    let mut tests = Command::new(env::current_exe().unwrap());
    let output = tests.args(["--exact", this, "--nocapture"]).env(INNER, "1");
    let output = String::from_utf8(output.output().unwrap().stdout).unwrap();
    let mut words = output.split_whitespace();
    let address = words.find_map(|word| word.parse::<SocketAddr>().ok());
    let (address, data) = (address.unwrap(), Path::new(words.next().unwrap()));
    for _ in 0..100 {
        if TcpStream::connect(address).is_err() && !data.exists() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!(
        "a server is left at {address}, or its data at {}",
        data.display()
    );
}
