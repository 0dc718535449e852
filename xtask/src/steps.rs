//! The steps of `cargo xtask test`, cheapest first, so that what breaks most often is seen first.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::env::Env;
use crate::{aws, fuzz, tidy, tools};

/// One step: it passes with a note (empty for nothing to say) or fails with the reason. A step never skips itself:
/// what cannot be checked is either a failure or a note that says so.
#[derive(Debug)]
pub struct Step {
    /// The name for `--only`.
    pub name: &'static str,
    /// What it checks, in a few words.
    pub about: &'static str,
    /// How long it may take on two slow cores with nothing built, before it is ended and counts as failed.
    pub minutes: u64,
    /// Runs it.
    pub run: fn(&Env) -> Result<String>,
}

/// Every step, in the order in which they run.
pub const ALL: &[Step] = &[
    Step {
        name: "tidy",
        about: "the structure of the source",
        minutes: 2,
        run: tidy::run,
    },
    Step {
        name: "fmt",
        about: "formatting",
        minutes: 2,
        run: fmt,
    },
    Step {
        name: "clippy",
        about: "lints, warnings are errors",
        minutes: 10,
        run: clippy,
    },
    Step {
        name: "doc",
        about: "rustdoc, warnings are errors",
        minutes: 10,
        run: doc,
    },
    Step {
        name: "test",
        about: "unit, property and integration tests",
        minutes: 20,
        run: test,
    },
    Step {
        name: "deny",
        about: "licences, bans, sources and advisories of the dependencies",
        minutes: 10,
        run: deny,
    },
    Step {
        name: "py",
        about: "the Python clients (JSON protocol), MQTT clients",
        minutes: 20,
        run: py,
    },
    Step {
        name: "py-legacy",
        about: "the old Python client (Query protocol)",
        minutes: 6,
        run: py_legacy,
    },
    Step {
        name: "node",
        about: "the JavaScript clients",
        minutes: 10,
        run: node,
    },
    Step {
        name: "client",
        about: "our own JavaScript client in Node, its types and its size",
        minutes: 10,
        run: client,
    },
    Step {
        name: "browser",
        about: "pages in Chromium: AWS's and MQTT's clients for browsers",
        minutes: 10,
        run: browser,
    },
    Step {
        name: "aws",
        about: "the aws backend on ElasticMQ, DynamoDB Local and moto",
        minutes: 20,
        run: aws::run,
    },
    Step {
        name: "fuzz",
        about: "a short run of every fuzz target",
        minutes: 12,
        run: fuzz::run,
    },
    Step {
        name: "crash",
        about: "kills, power cuts, full disks, failing syncs",
        minutes: 18,
        run: crash,
    },
];

/// The integration test that takes minutes and has a step of its own.
const CRASH_TEST: &str = "crash";

/// The step called `name`.
pub fn find(name: &str) -> Option<&'static Step> {
    ALL.iter().find(|step| step.name == name)
}

fn fmt(env: &Env) -> Result<String> {
    tools::run(env, &mut tools::cargo(env, &["fmt", "--all", "--check"]))?;
    silent()
}

fn clippy(env: &Env) -> Result<String> {
    let arguments = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ];
    tools::run(env, &mut tools::cargo(env, &arguments))?;
    silent()
}

fn doc(env: &Env) -> Result<String> {
    let arguments = [
        "doc",
        "--workspace",
        "--no-deps",
        "--document-private-items",
        "--locked",
    ];
    tools::run(
        env,
        tools::cargo(env, &arguments).env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    silent()
}

/// Everything `cargo test --workspace` runs except the crash tests. The tests of the server are named one by one,
/// because cargo cannot leave one out.
fn test(env: &Env) -> Result<String> {
    let python = python(env, "py", "requirements.txt")?;
    let mosquitto = tools::mosquitto(env)?;
    let run = |arguments: &[&str]| {
        let mut command = tools::cargo(env, &["test", "--locked"]);
        tools::run(
            env,
            command
                .args(arguments)
                .env("FANFARE_TEST_PYTHON", &python)
                .env("FANFARE_TEST_MOSQUITTO", &mosquitto),
        )
    };
    run(&["--workspace", "--exclude", "fanfare"])?;
    let names = integration_tests(&env.root.join("tests"))?;
    let mut arguments = vec!["--package", "fanfare", "--lib", "--bins"];
    for name in names.iter().filter(|name| *name != CRASH_TEST) {
        arguments.extend(["--test", name]);
    }
    run(&arguments)?;
    run(&["--package", "fanfare", "--doc"])?;
    silent()
}

/// The crash tests, with their progress and the seeds to repeat them.
fn crash(env: &Env) -> Result<String> {
    let test = [
        "test",
        "--locked",
        "--package",
        "fanfare",
        "--test",
        CRASH_TEST,
    ];
    let mut command = tools::cargo(env, &test);
    tools::run(
        env,
        command.args(["--", "--include-ignored", "--nocapture"]),
    )?;
    silent()
}

/// The integration tests that cargo finds in a `tests` folder: `NAME.rs` and `NAME/main.rs`.
fn integration_tests(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).context("cannot list tests")? {
        let path = entry.context("cannot list tests")?.path();
        let is_test = path.extension().is_some_and(|extension| extension == "rs")
            || path.join("main.rs").exists();
        if let (true, Some(name)) = (is_test, path.file_stem()) {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Licences, bans and sources need only the lock file. Advisories need a database from the network: where it cannot
/// be fetched that is said, and nothing stale is used in its place.
fn deny(env: &Env) -> Result<String> {
    let program = tools::cargo_deny(env)?;
    let deny = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.args(arguments).current_dir(&env.root);
        command
    };
    let check = [
        "check",
        "--hide-inclusion-graph",
        "licenses",
        "bans",
        "sources",
    ];
    tools::run(env, &mut deny(&check))?;
    // Git's own message says why it cannot be fetched.
    if tools::run(env, &mut deny(&["fetch", "db"])).is_err() {
        return Ok("advisories: NOT CHECKED, database unreachable".to_owned());
    }
    tools::run(
        env,
        &mut deny(&["check", "--hide-inclusion-graph", "advisories"]),
    )?;
    Ok("advisories: checked against a database fetched just now".to_owned())
}

fn py(env: &Env) -> Result<String> {
    // For mosquitto_pub and mosquitto_sub.
    tools::mosquitto(env)?;
    let python = python(env, "py", "requirements.txt")?;
    build_server(env)?;
    let mut halves = ["sqs_query", "not sqs_query"].map(|cases| pytest(env, &python, cases));
    tools::run_together(env, &mut halves)?;
    silent()
}

fn py_legacy(env: &Env) -> Result<String> {
    let python = python(env, "py-legacy", "requirements-legacy.txt")?;
    build_server(env)?;
    tools::run(env, &mut pytest(env, &python, "sqs_query"))?;
    silent()
}

/// The interpreter with the packages that `tests/python/REQUIREMENTS` pins.
fn python(env: &Env, name: &str, requirements: &str) -> Result<std::path::PathBuf> {
    tools::python(env, name, &Path::new("tests/python").join(requirements))
}

/// Those of the cases in `tests/python` with these marks.
fn pytest(env: &Env, python: &Path, marks: &str) -> Command {
    let mut command = Command::new(python);
    command
        .args(["-m", "pytest", "tests/python", "-q", "-m", marks])
        .current_dir(&env.root)
        .env("FANFARE_BIN", env.server());
    command
}

fn node(env: &Env) -> Result<String> {
    let folder = clients(env)?;
    node_test(env, &folder)
}

/// Our own client needs nothing but what checks and bundles it; the example backends need what their users install.
fn client(env: &Env) -> Result<String> {
    let folder = env.root.join("tests/client");
    tools::node_modules(env, "client", &folder)?;
    tools::node_modules(env, "example-express", &env.root.join("examples/express"))?;
    let requirements = Path::new("examples/fastapi/requirements.txt");
    let python = tools::python(env, "examples", requirements)?;
    build_server(env)?;
    tools::run(
        env,
        node_tests(env, &folder).env("FANFARE_TEST_PYTHON", python),
    )?;
    silent()
}

/// The pages in `tests/browser` use the clients that are installed for `tests/node`.
fn browser(env: &Env) -> Result<String> {
    tools::chromium(env)?;
    clients(env)?;
    let folder = env.root.join("tests/browser");
    tools::node_modules(env, "browser", &folder)?;
    node_test(env, &folder)
}

/// The folder of the JavaScript clients, with them installed.
fn clients(env: &Env) -> Result<std::path::PathBuf> {
    let folder = env.root.join("tests/node");
    tools::node_modules(env, "node", &folder)?;
    Ok(folder)
}

fn node_test(env: &Env, folder: &Path) -> Result<String> {
    build_server(env)?;
    tools::run(env, &mut node_tests(env, folder))?;
    silent()
}

/// Runs the tests in a folder of JavaScript.
fn node_tests(env: &Env, folder: &Path) -> Command {
    let mut command = Command::new("node");
    command
        .arg("--test")
        .current_dir(folder)
        .env("FANFARE_BIN", env.server());
    command
}

fn build_server(env: &Env) -> Result<()> {
    tools::run(
        env,
        &mut tools::cargo(env, &["build", "--locked", "--bin", "fanfare"]),
    )?;
    ensure!(
        env.server().exists(),
        "the build left no {}",
        env.server().display()
    );
    Ok(())
}

fn silent() -> Result<String> {
    Ok(String::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for (index, step) in ALL.iter().enumerate() {
            assert!(
                ALL[..index].iter().all(|earlier| earlier.name != step.name),
                "{}",
                step.name
            );
            assert!(find(step.name).is_some());
        }
        assert!(find("nothing").is_none());
    }

    #[test]
    fn integration_tests_are_files_and_folders_with_a_main() {
        let folder = std::env::temp_dir().join(format!("xtask-steps-{}", std::process::id()));
        fs::create_dir_all(folder.join("served")).unwrap();
        fs::create_dir_all(folder.join("python")).unwrap();
        for file in [
            "crash.rs",
            "served/main.rs",
            "python/conftest.py",
            "README.md",
        ] {
            fs::write(folder.join(file), "").unwrap();
        }
        assert_eq!(integration_tests(&folder).unwrap(), ["crash", "served"]);
        fs::remove_dir_all(&folder).unwrap();
    }
}
