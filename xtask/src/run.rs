//! Runs steps one after the other and sums them up.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::env::Env;
use crate::steps::Step;

/// What the whole run may take on a small machine with nothing built.
const TOTAL: Duration = Duration::from_secs(60 * 44);

/// What one step came to. `note` is the reason of a failure, or what a passed step wants known.
struct Report {
    name: &'static str,
    verdict: Verdict,
    took: Duration,
    note: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Verdict {
    Passed,
    Failed,
    NotRun,
}

/// Prints the steps in the order in which they run.
pub fn list(steps: &[Step]) {
    for step in steps {
        println!("{:<10} {}", step.name, step.about);
    }
}

/// Runs `steps`, prints the table, and tells whether all of them passed.
pub fn run(env: &Env, steps: &[&'static Step], fail_fast: bool) -> Result<bool> {
    let mut reports = Vec::with_capacity(steps.len());
    let mut ended = false;
    let end = Instant::now() + TOTAL;
    for (index, step) in steps.iter().enumerate() {
        if ended {
            reports.push(not_run(step));
            continue;
        }
        println!(
            "\n==> [{}/{}] {}: {}",
            index + 1,
            steps.len(),
            step.name,
            step.about
        );
        let report = run_one(
            &Env {
                deadline: deadline(step, end),
                ..env.clone()
            },
            step,
        );
        println!(
            "<== {}: {} in {}",
            step.name,
            report.verdict.word(),
            seconds(report.took)
        );
        ended = fail_fast && report.verdict == Verdict::Failed;
        reports.push(report);
    }
    print!("{}", summary(&reports));
    Ok(reports
        .iter()
        .all(|report| report.verdict == Verdict::Passed))
}

/// When a step has to be over: nobody watches a run without a terminal, so it is not left to hang.
fn deadline(step: &Step, end: Instant) -> Option<Instant> {
    let own = Instant::now() + Duration::from_secs(60 * step.minutes);
    (!std::io::stdin().is_terminal()).then_some(own.min(end))
}

fn run_one(env: &Env, step: &Step) -> Report {
    let started = Instant::now();
    let (verdict, note) = match (step.run)(env) {
        Ok(note) => (Verdict::Passed, note),
        Err(failure) => (Verdict::Failed, format!("{failure:#}")),
    };
    if !note.is_empty() {
        println!("{note}");
    }
    Report {
        name: step.name,
        verdict,
        took: started.elapsed(),
        note,
    }
}

fn not_run(step: &Step) -> Report {
    let note = "an earlier step failed".to_owned();
    Report {
        name: step.name,
        verdict: Verdict::NotRun,
        took: Duration::ZERO,
        note,
    }
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "FAILED",
            Self::NotRun => "not run",
        }
    }
}

/// The table and, as its last line, `N passed, N failed`. Steps that did not run are in neither count.
fn summary(reports: &[Report]) -> String {
    let mut text = String::from("\nstep        verdict        took  note\n");
    for report in reports {
        let first_line = report.note.lines().next().unwrap_or_default();
        let row = format!(
            "{:<10}  {:<7}  {:>10}  {first_line}",
            report.name,
            report.verdict.word(),
            seconds(report.took)
        );
        writeln!(text, "{}", row.trim_end()).expect("a String takes every write");
    }
    let total: Duration = reports.iter().map(|report| report.took).sum();
    let count = |verdict| {
        reports
            .iter()
            .filter(|report| report.verdict == verdict)
            .count()
    };
    let (passed, failed) = (count(Verdict::Passed), count(Verdict::Failed));
    writeln!(
        text,
        "total {}\n{passed} passed, {failed} failed",
        seconds(total)
    )
    .expect("a String takes every write");
    text
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(name: &'static str, verdict: Verdict, note: &str) -> Report {
        Report {
            name,
            verdict,
            took: Duration::from_millis(1500),
            note: note.to_owned(),
        }
    }

    #[test]
    fn the_last_line_counts_passed_and_failed_steps() {
        let text = summary(&[
            report("fmt", Verdict::Passed, ""),
            report("deny", Verdict::Passed, "advisories: NOT CHECKED\nmore"),
            report("test", Verdict::Failed, "exit code 101"),
            report("node", Verdict::NotRun, "an earlier step failed"),
        ]);
        assert_eq!(text.lines().last(), Some("2 passed, 1 failed"));
        assert!(
            text.contains("deny        passed        1.5 s  advisories: NOT CHECKED\n"),
            "{text}"
        );
        assert!(
            text.contains("test        FAILED        1.5 s  exit code 101\n"),
            "{text}"
        );
        assert!(text.contains("total 6.0 s\n"), "{text}");
    }

    fn passes(_: &Env) -> Result<String> {
        Ok(String::new())
    }

    fn fails(_: &Env) -> Result<String> {
        anyhow::bail!("broken")
    }

    static GOOD: Step = Step {
        name: "good",
        about: "passes",
        minutes: 1,
        run: passes,
    };
    static BAD: Step = Step {
        name: "bad",
        about: "fails",
        minutes: 1,
        run: fails,
    };

    fn check(steps: &[&'static Step], expect: bool) {
        assert_eq!(run(&Env::find(), steps, false).unwrap(), expect);
    }

    #[test]
    fn one_failure_fails_the_run() {
        check(&[&GOOD], true);
        check(&[&GOOD, &BAD], false);
        check(&[&BAD, &GOOD], false);
    }
}
