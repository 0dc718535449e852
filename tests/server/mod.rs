//! The real binary as a child process.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

pub mod client;

/// How long a start may take, recovery included. The contract says seconds.
const START_LIMIT: Duration = Duration::from_secs(10);

/// How to start the server.
#[derive(Debug, Clone)]
pub struct Launch {
    data: PathBuf,
    wrapper: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
}

/// A server that is ready. Dropping it kills it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// Where it speaks MQTT over TCP, if it does.
    pub mqtt: Option<SocketAddr>,
    output: Arc<Mutex<String>>,
    /// From the start of the process to readiness.
    pub started_in: Duration,
}

/// A process that has ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    /// Everything it said on stderr.
    pub stderr: String,
    pub took: Duration,
}

impl Launch {
    /// The binary that cargo built, or `FANFARE_BIN`, on the data folder `data`.
    pub fn on(data: &Path) -> Self {
        Self {
            data: data.to_owned(),
            wrapper: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// Adds to the environment.
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment
            .push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Starts it through another command, which must `exec` it.
    pub fn through<T: AsRef<OsStr>>(mut self, wrapper: &[T]) -> Self {
        self.wrapper = wrapper
            .iter()
            .map(|word| word.as_ref().to_owned())
            .collect();
        self
    }

    fn spawn(&self) -> Child {
        let binary = env::var_os("FANFARE_BIN").unwrap_or(env!("CARGO_BIN_EXE_fanfare").into());
        let mut words = self.wrapper.iter().cloned().chain([binary, "serve".into()]);
        let mut command = Command::new(words.next().expect("the binary is always there"));
        command
            .args(words)
            .env("FANFARE_HTTP_LISTEN", "127.0.0.1:0")
            .env("FANFARE_MQTT_LISTEN", "127.0.0.1:0")
            .env("FANFARE_STORE_DIR", &self.data)
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().expect("the binary can be started")
    }

    /// Starts the server and waits until it is ready.
    ///
    /// # Panics
    /// With what it said, if it ends or is not ready in time.
    pub fn start(&self) -> Server {
        let begun = Instant::now();
        let mut child = self.spawn();
        let output = collect(child.stderr.take().expect("stderr is piped"));
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let mut http = None;
            for line in stdout.lines().map_while(Result::ok) {
                let address = |name| line.strip_prefix(name)?.trim().parse::<SocketAddr>().ok();
                http = http.or(address("listening http "));
                let mqtt = address("listening mqtt ");
                // The lines after the addresses begin with this one.
                if let Some(http) = http.filter(|_| mqtt.is_some() || line.starts_with("data ")) {
                    let _nobody_waits_any_more = sender.send((http, mqtt));
                }
            }
        });
        let Ok((address, mqtt)) = receiver.recv_timeout(START_LIMIT) else {
            let _already_gone = child.kill();
            let status = child.wait();
            thread::sleep(Duration::from_millis(100));
            panic!("did not start, {status:?}, stderr:\n{}", lock(&output));
        };
        let mut server = Server {
            child,
            address,
            mqtt,
            output,
            started_in: Duration::ZERO,
        };
        while !server.is_ready() {
            assert!(
                begun.elapsed() < START_LIMIT,
                "not ready, stderr:\n{}",
                server.stderr()
            );
            thread::sleep(Duration::from_millis(5));
        }
        server.started_in = begun.elapsed();
        server
    }

    /// Starts a server that is expected to end by itself within `limit`.
    pub fn start_and_wait(&self, limit: Duration) -> Ended {
        let child = self.spawn();
        wait(child, limit, None)
    }
}

impl Server {
    /// What it said on stderr so far.
    pub fn stderr(&self) -> String {
        lock(&self.output).clone()
    }

    /// Its process id.
    #[allow(dead_code, reason = "not every test of the server asks")]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its resident memory, in KiB.
    #[allow(dead_code, reason = "not every test of the server asks")]
    pub fn resident_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(path).expect("the server runs, on Linux");
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        let number = number.and_then(|number| number.parse().ok());
        number.expect("a number of KiB")
    }

    /// SIGKILL: nothing gets to clean up.
    pub fn kill(mut self) {
        self.child.kill().expect("the server still runs");
        self.child
            .wait()
            .expect("a killed process can be waited for");
    }

    /// SIGTERM, and wait for the end.
    pub fn terminate(self, limit: Duration) -> Ended {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it still runs");
        self.wait(limit)
    }

    /// Waits for it to end by itself.
    pub fn wait(mut self, limit: Duration) -> Ended {
        let output = Arc::clone(&self.output);
        let idle = Command::new("true").spawn().expect("`true` can be started");
        let child = std::mem::replace(&mut self.child, idle);
        wait(child, limit, Some(output))
    }

    fn is_ready(&self) -> bool {
        use std::io::Write;
        let Ok(mut stream) = TcpStream::connect(self.address) else {
            return false;
        };
        let request = "GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let mut answer = String::new();
        let sent = stream.write_all(request.as_bytes());
        let read = sent.and_then(|()| stream.read_to_string(&mut answer));
        read.is_ok() && answer.split(' ').nth(1) == Some("200")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing left to do.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

fn wait(mut child: Child, limit: Duration, output: Option<Arc<Mutex<String>>>) -> Ended {
    let begun = Instant::now();
    let output = output.unwrap_or_else(|| collect(child.stderr.take().expect("stderr is piped")));
    loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            // The reader may be a line behind the end of the process.
            thread::sleep(Duration::from_millis(50));
            return Ended {
                status,
                stderr: lock(&output).clone(),
                took: begun.elapsed(),
            };
        }
        if begun.elapsed() > limit {
            let _ended = child.kill();
            let _status = child.wait();
            panic!("did not end within {limit:?}, stderr:\n{}", lock(&output));
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn collect(stream: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let shared = Arc::clone(&text);
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut text = lock(&shared);
            text.push_str(&line);
            text.push('\n');
        }
    });
    text
}

fn lock(text: &Mutex<String>) -> std::sync::MutexGuard<'_, String> {
    text.lock().expect("no reader panics")
}
