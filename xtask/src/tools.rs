//! The tools of the steps: running commands, and making the environments they need once.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::env::Env;

/// What the differential test speaks with beside our own server, where Debian puts it.
const MOSQUITTO: &str = "/usr/sbin/mosquitto";

/// The browser, where Debian puts it; `tests/browser/harness.mjs` starts it from there.
const CHROMIUM: &str = "/usr/bin/chromium";

/// The cargo-deny that `deny.toml` was written for.
const CARGO_DENY: &str = "0.20.2";

/// Node must be at least this: the AWS SDK for JavaScript v3 needs it.
const NODE_MAJOR: u32 = 20;

/// How often a running command is looked at.
const POLL: Duration = Duration::from_millis(50);

/// How long a command may take to end by itself when its time is over.
const GRACE: Duration = Duration::from_secs(10);

/// A cargo command in the checkout, with the toolchain that runs xtask.
pub fn cargo(env: &Env, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(&env.root);
    // Set by `cargo run` for xtask itself; they would make every nested build of the workspace look changed.
    for inherited in [
        "CARGO_MANIFEST_DIR",
        "CARGO_MANIFEST_PATH",
        "CARGO_PKG_NAME",
    ] {
        command.env_remove(inherited);
    }
    command
}

/// Runs commands at the same time: suites that do not know of each other, and mostly wait. All of them end before a failure is
/// told.
pub fn run_together(env: &Env, commands: &mut [Command]) -> Result<()> {
    thread::scope(|scope| {
        let running: Vec<_> = commands
            .iter_mut()
            .map(|command| scope.spawn(|| run(env, command)))
            .collect();
        let ended = running.into_iter().map(|one| {
            let ended = one.join();
            ended.unwrap_or_else(|_| bail!("the thread of a command panicked"))
        });
        let ended: Vec<Result<()>> = ended.collect();
        ended.into_iter().collect()
    })
}

/// Runs a command with its output on our terminal; anything but success is an error that names it. At the deadline it
/// is ended together with everything it started: a server that hangs must not hang the run.
pub fn run(env: &Env, command: &mut Command) -> Result<()> {
    let shown = shown(command);
    println!("$ {shown}");
    if env.deadline.is_some() {
        // A group of its own can be ended as a whole. At a terminal it would not hear Ctrl-C, so there is none.
        command.process_group(0).stdin(Stdio::null());
    }
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot run `{shown}`"))?;
    let status = loop {
        if let Some(status) = child
            .try_wait()
            .with_context(|| format!("cannot wait for `{shown}`"))?
        {
            break status;
        }
        if env
            .deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
        {
            end(&mut child);
            bail!("`{shown}` was ended: it took longer than the step may");
        }
        thread::sleep(POLL);
    };
    ensure!(status.success(), "`{shown}` ended with {status}");
    Ok(())
}

/// Ends a process group: first as Ctrl-C would, so that the test runners stop the servers they started.
fn end(child: &mut Child) {
    let group = format!("-{}", child.id());
    for signal in ["-INT", "-KILL"] {
        // An error means that the group is gone already.
        let _ = Command::new("kill")
            .args([signal, "--", &group])
            .stderr(Stdio::null())
            .status();
        let until = Instant::now() + GRACE;
        while signal == "-INT" && Instant::now() < until && matches!(child.try_wait(), Ok(None)) {
            thread::sleep(POLL);
        }
    }
    let _ = child.wait();
}

/// What a command prints on standard output.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot run `{shown}`"))?;
    ensure!(
        output.status.success(),
        "`{shown}` ended with {}",
        output.status
    );
    String::from_utf8(output.stdout).with_context(|| format!("`{shown}` did not print UTF-8"))
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

/// cargo-deny, built once into `target/tools`. Its debug profile: two minutes of compiling instead of many, and
/// a check of this tree still takes two seconds.
pub fn cargo_deny(env: &Env) -> Result<PathBuf> {
    let program = env.tools().join("bin/cargo-deny");
    let expected = format!("cargo-deny {CARGO_DENY}");
    let version = program
        .exists()
        .then(|| output(Command::new(&program).arg("--version")));
    if version.is_some_and(|found| found.is_ok_and(|found| found.trim() == expected)) {
        return Ok(program);
    }
    let mut install = cargo(env, &["install", "cargo-deny", "--version", CARGO_DENY]);
    install
        .args(["--locked", "--debug", "--force", "--root"])
        .arg(env.tools());
    run(env, install.env("CARGO_PROFILE_DEV_DEBUG", "0"))
        .context("cargo-deny cannot be installed")?;
    Ok(program)
}

/// Mosquitto and its clients, from Debian's packages if they are not there.
pub fn mosquitto(env: &Env) -> Result<PathBuf> {
    debian(env, MOSQUITTO, &["mosquitto", "mosquitto-clients"])
}

/// NATS, whose MQTT is one of the brokers of the `aws` backend, from Debian's package if it is not there.
pub fn nats(env: &Env) -> Result<PathBuf> {
    debian(env, "/usr/sbin/nats-server", &["nats-server"])
}

/// The browser of the browser tests, from Debian's package if it is not there.
pub fn chromium(env: &Env) -> Result<PathBuf> {
    debian(env, CHROMIUM, &["chromium"])
}

/// A program at `path`, installed with Debian's `packages` if it is not there.
fn debian(env: &Env, path: &str, packages: &[&str]) -> Result<PathBuf> {
    let program = PathBuf::from(path);
    if !program.exists() {
        let apt = |arguments: &[&str]| {
            let mut command = Command::new("apt-get");
            command.env("DEBIAN_FRONTEND", "noninteractive");
            run(env, command.args(arguments))
        };
        apt(&["update"])?;
        apt(&[&["install", "--yes", "--no-install-recommends"], packages].concat())?;
    }
    ensure!(
        program.exists(),
        "there is no {path}: apt-get install {}",
        packages.join(" ")
    );
    Ok(program)
}

/// The Python interpreter of a virtual environment that holds what `requirements` pins; remade when that file changes.
pub fn python(env: &Env, name: &str, requirements: &Path) -> Result<PathBuf> {
    let folder = env.test_env().join(name);
    let interpreter = folder.join("bin/python");
    let requirements = env.root.join(requirements);
    once(env, name, &requirements, &interpreter, || {
        if folder.exists() {
            fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        run(
            env,
            Command::new("python3").args(["-m", "venv"]).arg(&folder),
        )
        .context("the Python suites need python3 with its venv module (Debian: python3-venv)")?;
        let mut install = Command::new(&interpreter);
        install.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]);
        run(env, install.arg("--requirement").arg(&requirements))
    })?;
    Ok(interpreter)
}

/// Installs the packages of the Node suite in `folder`; again when their lock file changes. `name` is its stamp's.
pub fn node_modules(env: &Env, name: &str, folder: &Path) -> Result<()> {
    let version = output(Command::new("node").arg("--version"));
    let version = version.context("the Node suites need node and npm")?;
    match node_major(&version) {
        Some(major) if major >= NODE_MAJOR => {}
        _ => bail!(
            "the Node suites need node {NODE_MAJOR} or newer, found {}",
            version.trim()
        ),
    }
    let lock = folder.join("package-lock.json");
    once(env, name, &lock, &folder.join("node_modules"), || {
        let mut install = Command::new("npm");
        run(
            env,
            install
                .args(["ci", "--no-audit", "--no-fund"])
                .current_dir(folder),
        )
    })
}

fn node_major(version: &str) -> Option<u32> {
    version
        .trim()
        .strip_prefix('v')?
        .split('.')
        .next()?
        .parse()
        .ok()
}

/// Calls `make` unless it succeeded before for the same content of `input` and `product` is still there.
/// The stamp is written last, so an interrupted `make` is repeated.
pub fn once(
    env: &Env,
    name: &str,
    input: &Path,
    product: &Path,
    make: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let stamp = env.test_env().join(format!("{name}.stamp"));
    let wanted = fs::read(input).with_context(|| format!("cannot read {}", input.display()))?;
    if product.exists() && fs::read(&stamp).is_ok_and(|made| made == wanted) {
        return Ok(());
    }
    fs::create_dir_all(env.test_env()).context("cannot create target/test-env")?;
    match fs::remove_file(&stamp) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).context("cannot remove an old stamp");
        }
        _ => {}
    }
    make()?;
    fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_versions() {
        let check = |version: &str, expect| assert_eq!(node_major(version), expect, "{version}");
        check("v20.20.2\n", Some(20));
        check("v8", Some(8));
        check("20.1.0", None);
        check("", None);
    }

    #[test]
    fn commands_that_run_together_all_end_before_a_failure_is_told() {
        let env = Env {
            deadline: Some(Instant::now() + Duration::from_secs(20)),
            ..Env::find()
        };
        let told = std::env::temp_dir().join(format!("xtask-together-{}", std::process::id()));
        let shell = |script: String| {
            let mut command = Command::new("sh");
            command.args(["-c", &script]);
            command
        };
        // The first does not end before the second has begun.
        let told_of = told.display();
        let fails = shell(format!(
            "until [ -e {told_of} ]; do sleep 0.1; done; exit 3"
        ));
        let tells = shell(format!("touch {told_of}"));
        let outcome = run_together(&env, &mut [fails, tells]);
        assert!(outcome.unwrap_err().to_string().contains("exit status: 3"));
        fs::remove_file(&told).unwrap();
    }

    #[test]
    fn a_command_past_its_deadline_is_ended_with_what_it_started() {
        let env = Env {
            deadline: Some(Instant::now() + Duration::from_millis(300)),
            ..Env::find()
        };
        let started = Instant::now();
        // The shell waits for its own child; ending only the shell would leave that running.
        let outcome = run(
            &env,
            Command::new("sh").args(["-c", "sleep 60 & wait; echo not reached"]),
        );
        assert!(outcome.unwrap_err().to_string().contains("was ended"));
        assert!(started.elapsed() < GRACE + Duration::from_secs(20));
        assert!(run(&Env::find(), &mut Command::new("true")).is_ok());
        assert!(run(&Env::find(), &mut Command::new("false")).is_err());
    }

    #[test]
    fn an_environment_is_made_again_when_its_input_changes() {
        let root = std::env::temp_dir().join(format!("xtask-once-{}", std::process::id()));
        let env = Env {
            target: root.join("target"),
            root: root.clone(),
            deadline: None,
        };
        fs::create_dir_all(&root).unwrap();
        let (input, product) = (root.join("lock"), root.join("product"));
        let make = |content: &str, succeed: bool| {
            fs::write(&input, content).unwrap();
            let mut made = false;
            let outcome = once(&env, "x", &input, &product, || {
                made = true;
                ensure!(succeed, "broken");
                Ok(fs::write(&product, "")?)
            });
            assert_eq!(outcome.is_ok(), succeed || !made);
            made
        };
        assert!(make("1", true), "nothing was there");
        assert!(!make("1", true), "nothing changed");
        assert!(make("2", true), "the input changed");
        assert!(make("3", false), "the input changed again");
        assert!(make("2", true), "a failed attempt leaves no stamp");
        fs::remove_file(&product).unwrap();
        assert!(make("2", true), "the product is gone");
        fs::remove_dir_all(&root).unwrap();
    }
}
