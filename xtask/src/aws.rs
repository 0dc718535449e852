//! The step `aws`: the `aws` backend against servers that speak AWS's protocols, fetched and started here.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::env::Env;
use crate::tools;

/// The plugin that copies a program and what it needs from Maven Central.
const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";

/// How long a server may take to answer.
const START: Duration = Duration::from_secs(60);

/// What pytest runs: what is the `aws` backend's own; the scenarios that hold on both backends, but for those that take
/// long and for what no backend is asked about; and the files in `deploy/aws`.
const TOPICS: &[&str] = &["tests/aws", "-k", "topic or broker or stream"];
const AWS_ITSELF: &[&str] = &["tests/aws", "-k", "not (topic or broker or stream)"];
const SCENARIOS: &[&str] = &["tests/python", "-m", "not slow and not bad_input"];
const DEPLOY: &[&str] = &["tests/deploy"];

/// A server that runs until this is dropped.
struct Server {
    name: String,
    port: u16,
    child: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts a program that listens on `port`, and waits until it does. Its output goes to a file of its name.
    fn start(env: &Env, name: String, port: u16, command: &mut Command) -> Result<Self> {
        let log = env
            .test_env()
            .join(format!("{}.log", name.replace(' ', "-")));
        let out = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone().context("one file, two streams")?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let mut server = Self { name, port, child };
        let until = Instant::now() + START;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let ended = server
                .child
                .try_wait()
                .context("cannot wait for a server")?;
            if ended.is_some() || Instant::now() > until {
                let said = fs::read_to_string(&log).unwrap_or_default();
                bail!("{} does not start:\n{said}", server.name);
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(server)
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// The servers that stand for AWS's services.
struct Services {
    sqs: Server,
    db: Server,
    sts: Server,
    ministack: Server,
    kinesis: Server,
}

impl Services {
    fn start(env: &Env) -> Result<Self> {
        Ok(Self {
            sqs: elasticmq(env)?,
            db: dynamodb(env)?,
            sts: moto(env)?,
            ministack: ministack(env)?,
            kinesis: kinesis(env)?,
        })
    }

    /// What tells programs where they are.
    fn variables(&self) -> [(&'static str, String); 8] {
        [
            ("FANFARE_TEST_SQS", self.sqs.url()),
            ("FANFARE_TEST_DYNAMODB", self.db.url()),
            ("FANFARE_TEST_STS", self.sts.url()),
            ("FANFARE_TEST_MINISTACK", self.ministack.url()),
            ("FANFARE_TEST_KINESIS", self.kinesis.url()),
            // None of these servers looks at them, but no client calls without any.
            ("AWS_ACCESS_KEY_ID", "local".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "local".to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ]
    }

    /// What they are, with their versions.
    fn names(&self) -> String {
        let all = [
            &self.sqs,
            &self.db,
            &self.sts,
            &self.ministack,
            &self.kinesis,
        ];
        all.map(|server| server.name.as_str()).join(", ")
    }
}

/// Brokers for topics, and their programs: the tests start, kill and start others again.
struct Brokers {
    mosquitto: (PathBuf, Server),
    nats: (PathBuf, Server),
}

impl Brokers {
    fn start(env: &Env) -> Result<Self> {
        let programs = (tools::mosquitto(env)?, tools::nats(env)?);
        let servers = (mosquitto(env, &programs.0)?, nats(env, &programs.1)?);
        Ok(Self {
            mosquitto: (programs.0, servers.0),
            nats: (programs.1, servers.1),
        })
    }

    /// What tells programs where they are.
    fn variables(&self) -> [(&'static str, String); 4] {
        let program = |broker: &(PathBuf, Server)| broker.0.display().to_string();
        let url = |broker: &(PathBuf, Server)| format!("mqtt://127.0.0.1:{}", broker.1.port);
        [
            ("FANFARE_TEST_MOSQUITTO", program(&self.mosquitto)),
            ("FANFARE_TEST_MOSQUITTO_URL", url(&self.mosquitto)),
            ("FANFARE_TEST_NATS", program(&self.nats)),
            ("FANFARE_TEST_NATS_URL", url(&self.nats)),
        ]
    }

    /// What they are, with their versions.
    fn names(&self) -> String {
        format!("{} and {}", self.mosquitto.1.name, self.nats.1.name)
    }
}

/// Prints how fast a release build is on these servers.
pub fn speed(env: &Env) -> Result<bool> {
    let build = ["build", "--locked", "--release", "--bin", "fanfare"];
    tools::run(env, &mut tools::cargo(env, &build))?;
    let services = Services::start(env)?;
    println!("On {}.", services.names());
    let python = tools::python(env, "py", Path::new("tests/python/requirements.txt"))?;
    let mut speed = Command::new(python);
    speed
        .arg("tests/aws/speed.py")
        .current_dir(&env.root)
        .env("FANFARE_BIN", env.target.join("release/fanfare"))
        .envs(services.variables());
    tools::run(env, &mut speed)?;
    Ok(true)
}

/// Runs the step.
pub fn run(env: &Env) -> Result<String> {
    let services = Services::start(env)?;
    let brokers = Brokers::start(env)?;
    let variables: Vec<_> = services
        .variables()
        .into_iter()
        .chain(brokers.variables())
        .collect();
    let contract = [
        "test",
        "--locked",
        "--package",
        "fanfare",
        "--lib",
        "aws_servers",
    ];
    let mut cargo = tools::cargo(env, &contract);
    cargo
        .args(["--", "--include-ignored"])
        .envs(variables.clone());
    tools::run(env, &mut cargo)?;
    let build = ["build", "--locked", "--bin", "fanfare"];
    tools::run(env, &mut tools::cargo(env, &build))?;
    let suites = [
        ("py", "tests/python/requirements.txt", TOPICS),
        ("py", "tests/python/requirements.txt", AWS_ITSELF),
        ("py", "tests/python/requirements.txt", SCENARIOS),
        ("deploy", "tests/deploy/requirements.txt", DEPLOY),
    ];
    let mut commands = Vec::new();
    for (name, requirements, arguments) in suites {
        let python = tools::python(env, name, Path::new(requirements))?;
        let mut pytest = Command::new(python);
        pytest
            .args(["-m", "pytest", "-q"])
            .args(arguments)
            .current_dir(&env.root)
            .env("FANFARE_BIN", env.server())
            .env("FANFARE_BACKEND", "aws")
            .envs(variables.clone());
        commands.push(pytest);
    }
    // Each has nodes and tables of its own.
    tools::run_together(env, &mut commands)?;
    Ok(format!("on {}, {}", services.names(), brokers.names()))
}

/// What a program says its version is, after `before`.
fn version(program: &Path, flag: &str, before: &str) -> Result<String> {
    // Mosquitto ends with 1 after its help.
    let said = Command::new(program).arg(flag).output();
    let said = said.with_context(|| format!("cannot start {}", program.display()))?;
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let found = text.lines().find_map(|line| line.strip_prefix(before));
    let found = found.with_context(|| format!("{} does not say its version", program.display()))?;
    Ok(found.trim().to_owned())
}

/// Mosquitto, where nobody may publish below `closed`.
fn mosquitto(env: &Env, program: &Path) -> Result<Server> {
    let name = format!(
        "Mosquitto {}",
        version(program, "-h", "mosquitto version ")?
    );
    let port = free_port()?;
    let [rules, settings] =
        ["acl", "conf"].map(|file| env.test_env().join(format!("mosquitto.{file}")));
    fs::write(&rules, "topic readwrite #\ntopic deny closed/#\n").context("cannot write rules")?;
    let text = format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nmax_queued_messages 100000\n\
         acl_file {}\nuser root\n",
        rules.display()
    );
    fs::write(&settings, text).context("cannot write Mosquitto's settings")?;
    Server::start(
        env,
        name,
        port,
        Command::new(program).arg("-c").arg(settings),
    )
}

/// NATS with its MQTT.
fn nats(env: &Env, program: &Path) -> Result<Server> {
    let name = format!("NATS {}", version(program, "--version", "nats-server: v")?);
    let port = free_port()?;
    let [store, settings] =
        ["jetstream", "conf"].map(|file| env.test_env().join(format!("nats.{file}")));
    if store.exists() {
        fs::remove_dir_all(&store).context("cannot remove what NATS has kept")?;
    }
    let text = format!(
        "server_name: contract\nlisten: \"127.0.0.1:{}\"\njetstream {{ store_dir: {store:?} }}\n\
         mqtt {{ listen: \"127.0.0.1:{port}\" }}\n",
        free_port()?
    );
    fs::write(&settings, text).context("cannot write NATS's settings")?;
    Server::start(
        env,
        name,
        port,
        Command::new(program).arg("-c").arg(settings),
    )
}

fn elasticmq(env: &Env) -> Result<Server> {
    let (jars, version) = jars(env, "elasticmq", "elasticmq-server_2.13-")?;
    let port = free_port()?;
    let settings = env.test_env().join("elasticmq.conf");
    let text = format!(
        "include classpath(\"application.conf\")\n\
         node-address {{ protocol = http, host = \"127.0.0.1\", port = {port}, context-path = \"\" }}\n\
         rest-sqs {{ enabled = true, bind-port = {port}, bind-hostname = \"127.0.0.1\" }}\n\
         rest-stats {{ enabled = false }}\n"
    );
    fs::write(&settings, text).context("cannot write ElasticMQ's settings")?;
    let mut java = java(&jars);
    java.arg(format!("-Dconfig.file={}", settings.display()))
        .arg("org.elasticmq.server.Main");
    Server::start(env, format!("ElasticMQ {version}"), port, &mut java)
}

fn dynamodb(env: &Env) -> Result<Server> {
    let (jars, version) = jars(env, "dynamodb", "DynamoDBLocal-")?;
    let port = free_port()?;
    let mut java = java(&jars);
    java.arg(format!("-Djava.library.path={}", jars.display()))
        .arg("com.amazonaws.services.dynamodbv2.local.main.ServerRunner")
        .args(["-inMemory", "-disableTelemetry", "-port"])
        .arg(port.to_string());
    Server::start(env, format!("DynamoDB Local {version}"), port, &mut java)
}

fn moto(env: &Env) -> Result<Server> {
    let (mut moto, version) = of_python(env, "moto")?;
    let port = free_port()?;
    moto.args(["-m", "moto.server", "-H", "127.0.0.1", "-p"]);
    let name = format!("moto {version}");
    Server::start(env, name, port, moto.arg(port.to_string()))
}

/// MiniStack, which has identity pools with roles, and evaluates policies when IAM is asked to: moto does neither.
fn ministack(env: &Env) -> Result<Server> {
    let (mut ministack, version) = of_python(env, "ministack")?;
    let port = free_port()?;
    ministack
        .args(["-m", "ministack"])
        .env("BIND_HOST", "127.0.0.1")
        .env("GATEWAY_PORT", port.to_string());
    let name = format!("MiniStack {version}");
    Server::start(env, name, port, &mut ministack)
}

/// A server in Python, of what its list of requirements says: the interpreter that has it, and its version.
fn of_python(env: &Env, name: &str) -> Result<(Command, String)> {
    let requirements = format!("tests/aws/requirements-{name}.txt");
    let python = tools::python(env, name, Path::new(&requirements))?;
    let show = format!("import importlib.metadata as m; print(m.version('{name}'))");
    let version = tools::output(Command::new(&python).args(["-c", &show]))?;
    Ok((Command::new(python), version.trim().to_owned()))
}

/// Kinesis Mock, which splits and merges shards as Kinesis does: moto's Kinesis leaves the records of a shard that was
/// split where they were, and never ends it.
fn kinesis(env: &Env) -> Result<Server> {
    let folder = env.root.join("tests/aws/kinesis");
    tools::node_modules(env, "kinesis", &folder)?;
    let program = folder.join("node_modules/kinesis-local");
    let show = "console.log(require(process.argv[1]).version)";
    let package = program.join("package.json");
    let version = tools::output(Command::new("node").args(["-e", show]).arg(&package))?;
    let port = free_port()?;
    let mut node = Command::new("node");
    node.arg("main.js")
        .current_dir(&program)
        .env("KINESIS_MOCK_PLAIN_PORT", port.to_string())
        .env("KINESIS_MOCK_TLS_PORT", free_port()?.to_string())
        .env("SHARD_LIMIT", "1000")
        .env("LOG_LEVEL", "WARN");
    let name = format!("Kinesis Mock {}", version.trim());
    Server::start(env, name, port, &mut node)
}

fn java(jars: &Path) -> Command {
    let mut java = Command::new("java");
    java.args(["-Xmx256m", "-cp"]).arg(jars.join("*"));
    java
}

/// The folder of a program's jars, fetched once for what its `pom.xml` says; and the program's version, which its own
/// jar has in its name.
fn jars(env: &Env, name: &str, jar: &str) -> Result<(PathBuf, String)> {
    for program in ["java", "mvn"] {
        let found = Command::new(program).arg("-version").output();
        ensure!(
            found.is_ok_and(|found| found.status.success()),
            "the aws step needs {program} (Debian: default-jre-headless, maven)"
        );
    }
    let (pom, folder) = (
        format!("tests/aws/{name}.pom.xml"),
        env.test_env().join(name),
    );
    let pom = env.root.join(pom);
    tools::once(env, name, &pom, &folder, || {
        if folder.exists() {
            fs::remove_dir_all(&folder).context("cannot remove old jars")?;
        }
        let mut mvn = Command::new("mvn");
        mvn.args(["--batch-mode", "--quiet", "--file"])
            .arg(&pom)
            .arg(COPY);
        mvn.arg(format!("-DoutputDirectory={}", folder.display()));
        tools::run(env, &mut mvn)
    })?;
    let version = fs::read_dir(&folder).context("no jars")?.find_map(|entry| {
        let file = entry.ok()?.file_name().into_string().ok()?;
        let version = file.strip_prefix(jar)?.strip_suffix(".jar")?;
        Some(version.to_owned())
    });
    let version = version.with_context(|| format!("there is no {jar}*.jar after fetching"))?;
    Ok((folder, version))
}

/// A port that was free a moment ago: none of these servers can say which one it took.
fn free_port() -> Result<u16> {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(socket.local_addr().context("no address")?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_does_not_start_is_a_failure_that_shows_its_words() {
        let root = std::env::temp_dir().join(format!("xtask-aws-{}", std::process::id()));
        let env = Env {
            target: root.clone(),
            root: root.clone(),
            deadline: None,
        };
        fs::create_dir_all(env.test_env()).unwrap();
        let port = free_port().unwrap();
        let mut command = Command::new("sh");
        let started = Server::start(&env, "x".into(), port, command.args(["-c", "echo words"]));
        let Err(error) = started else {
            panic!("it can not have started")
        };
        assert!(error.to_string().contains("words"), "{error}");
        fs::remove_dir_all(&root).unwrap();
    }
}
