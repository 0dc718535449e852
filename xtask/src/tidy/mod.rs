//! The structure checks: what the house rules ask for and a program can see. One file per kind of rule.

mod attacks;
mod edges;
mod exceptions;
mod named;
mod portable;
mod reached;
mod sizes;
mod source;

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::env::Env;
use crate::tools;
use exceptions::Exception;

/// A file of the checkout, by its path from the root with `/` between the parts.
#[derive(Debug)]
struct File {
    path: String,
    text: String,
}

/// One broken rule.
#[derive(Debug, PartialEq)]
struct Problem {
    rule: &'static str,
    path: String,
    /// Counted from 1; 0 when the whole file is meant.
    line: usize,
    what: String,
}

/// Checks every file git knows or would know. Passes with a summary, fails with all problems at once.
pub fn run(env: &Env) -> Result<String> {
    let files = files(env)?;
    let mut problems = Vec::new();
    problems.extend(edges::check(&files));
    problems.extend(sizes::check(&files));
    problems.extend(named::check(&files));
    problems.extend(reached::check(&files));
    problems.extend(attacks::check(&files));
    problems.extend(portable::check(&files, &env.root));
    let problems = excuse(problems, exceptions::ALL);
    if problems.is_empty() {
        return Ok(format!(
            "{} files, {} exceptions",
            files.len(),
            exceptions::ALL.len()
        ));
    }
    for Problem {
        rule,
        path,
        line,
        what,
    } in &problems
    {
        println!("{path}:{line}: {rule}: {what}");
    }
    bail!("{} problems with the structure", problems.len())
}

/// The text files that are tracked, or new and not ignored. Read from the disk, so uncommitted work is checked too.
fn files(env: &Env) -> Result<Vec<File>> {
    let mut list = Command::new("git");
    list.args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ])
    .current_dir(&env.root);
    let list = tools::output(&mut list).context("tidy asks git which files there are")?;
    let mut files = Vec::new();
    for path in list.split_terminator('\0') {
        let bytes = match fs::read(env.root.join(path)) {
            Ok(bytes) => bytes,
            // Deleted and not yet committed, or a link to a folder.
            Err(_) => continue,
        };
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(File {
                path: path.to_owned(),
                text,
            });
        }
    }
    Ok(files)
}

/// Takes away what an exception allows, and adds a problem for every exception that allows nothing any more.
fn excuse(mut problems: Vec<Problem>, exceptions: &[Exception]) -> Vec<Problem> {
    for exception in exceptions {
        let before = problems.len();
        problems.retain(|problem| problem.rule != exception.rule || problem.path != exception.path);
        if problems.len() == before {
            problems.push(Problem {
                rule: "exceptions",
                path: exception.path.to_owned(),
                line: 0,
                what: format!(
                    "needs no exception from `{}` any more: remove it",
                    exception.rule
                ),
            });
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of a tree that a test makes up.
    pub(super) fn file(path: &str, text: &str) -> File {
        File {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    fn problem(rule: &'static str, path: &str) -> Problem {
        Problem {
            rule,
            path: path.to_owned(),
            line: 1,
            what: String::new(),
        }
    }

    #[test]
    fn an_exception_excuses_its_rule_and_path_only() {
        let excused = [Exception {
            rule: "file-size",
            path: "src/a.rs",
            reason: "a table",
        }];
        let left = excuse(
            vec![
                problem("file-size", "src/a.rs"),
                problem("file-size", "src/b.rs"),
                problem("edge", "src/a.rs"),
            ],
            &excused,
        );
        assert_eq!(
            left,
            [
                problem("file-size", "src/b.rs"),
                problem("edge", "src/a.rs")
            ]
        );
    }

    #[test]
    fn an_exception_that_excuses_nothing_is_a_problem() {
        let excused = [Exception {
            rule: "file-size",
            path: "src/a.rs",
            reason: "a table",
        }];
        let left = excuse(vec![problem("edge", "src/a.rs")], &excused);
        assert_eq!(
            left.iter().map(|problem| problem.rule).collect::<Vec<_>>(),
            ["edge", "exceptions"]
        );
    }
}
