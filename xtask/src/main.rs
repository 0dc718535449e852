//! `cargo xtask`: the project's own tooling. `test` runs everything CI runs, `tidy` checks the structure of the source.

mod aws;
mod env;
mod fuzz;
mod run;
mod steps;
mod tidy;
mod tools;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::env::Env;

const HELP: &str = "\
cargo xtask test [OPTIONS]   run the steps below, cheapest first; the last line is `N passed, N failed`
    --list                   name the steps and end
    --only STEP              run this step; repeat for several
    --fail-fast              end at the first failure instead of running every step
cargo xtask speed            how fast the `aws` backend is on local servers, and what calls it makes
cargo xtask tidy             check the structure of the source (also the first step of `test`)

Exit code: 0 all passed, 1 something failed, 2 the command line is wrong.";

/// What the command line asks for.
#[derive(Debug, PartialEq)]
enum Command {
    Help,
    List,
    Test { only: Vec<String>, fail_fast: bool },
    Speed,
    Tidy,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = parse(&arguments).map(|command| match command {
        Command::Help => {
            println!("{HELP}");
            Ok(true)
        }
        Command::List => {
            run::list(steps::ALL);
            Ok(true)
        }
        Command::Speed => aws::speed(&Env::find()),
        Command::Tidy => tidy::run(&Env::find()).map(|summary| {
            println!("tidy: {summary}");
            true
        }),
        Command::Test { only, fail_fast } => run::run(&Env::find(), &select(&only)?, fail_fast),
    });
    match outcome {
        Ok(Ok(true)) => ExitCode::SUCCESS,
        Ok(Ok(false)) => ExitCode::from(1),
        Ok(Err(failure)) => {
            eprintln!("xtask: {failure:#}");
            ExitCode::from(1)
        }
        Err(usage) => {
            eprintln!("xtask: {usage:#}\n\n{HELP}");
            ExitCode::from(2)
        }
    }
}

fn parse(arguments: &[String]) -> Result<Command> {
    let mut arguments = arguments.iter().map(String::as_str);
    let command = match arguments.next() {
        None | Some("help" | "--help" | "-h") => Command::Help,
        Some("speed") => Command::Speed,
        Some("tidy") => Command::Tidy,
        Some("test") => return parse_test(arguments),
        Some(other) => bail!("unknown command `{other}`"),
    };
    match arguments.next() {
        None => Ok(command),
        Some(extra) => bail!("unexpected `{extra}`"),
    }
}

fn parse_test<'a>(mut arguments: impl Iterator<Item = &'a str>) -> Result<Command> {
    let mut only = Vec::new();
    let mut fail_fast = false;
    while let Some(argument) = arguments.next() {
        match argument {
            "--list" => return Ok(Command::List),
            "--help" | "-h" => return Ok(Command::Help),
            "--fail-fast" => fail_fast = true,
            "--only" => match arguments.next() {
                Some(step) if steps::find(step).is_some() => only.push(step.to_owned()),
                Some(step) => bail!("there is no step `{step}`; --list names them"),
                None => bail!("--only needs a step"),
            },
            other => bail!("unknown option `{other}`"),
        }
    }
    Ok(Command::Test { only, fail_fast })
}

/// The named steps in their own order, or all of them when none is named.
fn select(only: &[String]) -> Result<Vec<&'static steps::Step>> {
    let wanted = |step: &&steps::Step| only.is_empty() || only.iter().any(|name| name == step.name);
    Ok(steps::ALL.iter().filter(wanted).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expect: Option<Command>) {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        assert_eq!(parse(&arguments).ok(), expect, "{line}");
    }

    #[test]
    fn command_lines() {
        let test = |only: &[&str], fail_fast| {
            let only = only.iter().map(|&step| step.to_owned()).collect();
            Some(Command::Test { only, fail_fast })
        };
        check("", Some(Command::Help));
        check("tidy", Some(Command::Tidy));
        check("tidy now", None);
        check("speed", Some(Command::Speed));
        check("test", test(&[], false));
        check("test --fail-fast", test(&[], true));
        check("test --list", Some(Command::List));
        check("test --only fmt --only tidy", test(&["fmt", "tidy"], false));
        check("test --only nothing", None);
        check("test --only", None);
        check("test fmt", None);
        check("deploy", None);
    }

    #[test]
    fn selected_steps_keep_the_order_of_the_list() {
        let names = |only: &[&str]| -> Vec<&str> {
            let only: Vec<String> = only.iter().map(|&step| step.to_owned()).collect();
            select(&only)
                .unwrap()
                .iter()
                .map(|step| step.name)
                .collect()
        };
        assert_eq!(names(&["clippy", "fmt"]), ["fmt", "clippy"]);
        assert_eq!(names(&[]).len(), steps::ALL.len());
    }
}
