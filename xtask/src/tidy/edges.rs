//! Which module may name which: the arrows `wire → actors → backends → domain`, wires apart, backends behind their traits.

use super::source;
use super::{File, Problem};

/// What each top-level module may name, beside itself. Reading it from the top is reading the design.
const ALLOWED: &[(&str, &[&str])] = &[
    // The composition root puts everything together; only the command line starts it.
    (
        "app",
        &[
            "domain", "envelope", "config", "observe", "auth", "backends", "actors", "wire",
        ],
    ),
    (
        "cli",
        &["domain", "envelope", "config", "observe", "auth", "app"],
    ),
    // Wires turn requests into messages to actors. They never see a store.
    ("wire", &["domain", "config", "observe", "auth", "actors"]),
    (
        "actors",
        &["domain", "envelope", "config", "observe", "backends"],
    ),
    // Who is calling is decided before any actor is asked; keys are looked up behind a trait.
    ("auth", &["domain", "config", "observe", "backends"]),
    // The counter lease is part of a stored row.
    ("backends", &["domain", "envelope", "config", "observe"]),
    ("observe", &["domain", "config"]),
    ("config", &["domain"]),
    ("envelope", &["domain"]),
    ("domain", &[]),
];

/// What all wires may name: the front door's side of a request. Every other module below `wire` is a wire, and nobody
/// there names it; `app` brings them together.
const SHARED_BY_WIRES: &[&str] = &["front", "inbound", "json11", "refusal"];

/// The backends behind the traits, which only their own files and `app` may name.
const CONCRETE_BACKENDS: &[&str] = &["embedded", "aws"];

/// Reports every path that goes against the arrows.
pub fn check(files: &[File]) -> Vec<Problem> {
    let modules: Vec<Vec<&str>> = files.iter().filter_map(|file| module(&file.path)).collect();
    let mut problems = Vec::new();
    for file in files {
        let Some(from) = module(&file.path).filter(|module| !module.is_empty()) else {
            continue;
        };
        if super::sizes::is_test(files, &file.path) {
            continue;
        }
        let (code, _) = source::without_tests(&source::code(&file.text));
        for (line, to) in source::paths(&code, &from) {
            if let Some(what) = complaint(&from, &to, &modules) {
                problems.push(Problem {
                    rule: "edge",
                    path: file.path.clone(),
                    line,
                    what,
                });
            }
        }
    }
    problems
}

/// The module that a file of the crate is: `src/a/b.rs` and `src/a/b/mod.rs` are `a::b`, the crate's roots are empty.
fn module(path: &str) -> Option<Vec<&str>> {
    let path = path.strip_prefix("src/")?.strip_suffix(".rs")?;
    let path = path.strip_suffix("/mod").unwrap_or(path);
    Some(if matches!(path, "lib" | "main") {
        Vec::new()
    } else {
        path.split('/').collect()
    })
}

fn complaint(from: &[&str], to: &[&str], modules: &[Vec<&str>]) -> Option<String> {
    let (&from_top, &to_top) = (from.first()?, to.first()?);
    let allowed = ALLOWED.iter().find(|(name, _)| *name == from_top);
    let Some((_, allowed)) = allowed else {
        return Some(format!(
            "`{from_top}` has no row in the table of allowed edges"
        ));
    };
    let is_module = |path: &[&str]| modules.iter().any(|module| module.starts_with(path));
    if from_top != to_top && !allowed.contains(&to_top) && is_module(&to[..1]) {
        return Some(format!(
            "`{from_top}` must not name `{to_top}` (`{}`)",
            to.join("::")
        ));
    }
    if let (["backends", concrete, ..], true) = (to, from_top != "app")
        && CONCRETE_BACKENDS.contains(concrete)
        && !from.starts_with(&to[..2])
    {
        return Some(format!("only `app` names the backend `{concrete}`"));
    }
    if let (["wire", here, ..], ["wire", there, ..]) = (from, to)
        && here != there
        && is_module(&to[..2])
        && ![here, there]
            .iter()
            .any(|name| SHARED_BY_WIRES.contains(name))
    {
        return Some(format!(
            "the wires `{here}` and `{there}` must not know each other"
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The modules that exist in these tests, as empty files.
    const OTHERS: &[&str] = &[
        "src/lib.rs",
        "src/app.rs",
        "src/domain/mod.rs",
        "src/actors/mod.rs",
        "src/backends/mod.rs",
        "src/backends/embedded/mod.rs",
        "src/wire/mod.rs",
        "src/wire/sqs/mod.rs",
        "src/wire/kinesis.rs",
        "src/wire/front/mod.rs",
    ];

    fn check_one(path: &str, text: &str, expect: Option<&str>) {
        let mut files: Vec<File> = OTHERS
            .iter()
            .filter(|other| **other != path)
            .map(|other| File {
                path: (*other).to_owned(),
                text: String::new(),
            })
            .collect();
        files.push(File {
            path: path.to_owned(),
            text: text.to_owned(),
        });
        let problems = check(&files);
        match expect {
            None => assert_eq!(problems, [], "{path}: {text}"),
            Some(part) => {
                assert_eq!(problems.len(), 1, "{path}: {text}: {problems:?}");
                assert!(
                    problems[0].what.contains(part),
                    "{path}: {text}: {problems:?}"
                );
            }
        }
    }

    #[test]
    fn arrows_point_inward() {
        check_one(
            "src/wire/sqs/send.rs",
            "use crate::actors::Dispatcher;",
            None,
        );
        check_one(
            "src/wire/sqs/send.rs",
            "use crate::backends::QueueStore;",
            Some("`wire` must not name `backends`"),
        );
        check_one(
            "src/domain/topic.rs",
            "use crate::{domain::Id, actors::Session};",
            Some("must not name `actors`"),
        );
        check_one(
            "src/domain/topic.rs",
            "fn f() { super::super::actors::go() }",
            Some("must not name `actors`"),
        );
        check_one(
            "src/domain/topic.rs",
            "use crate::Anything; // crate::actors",
            None,
        );
        check_one(
            "src/domain/topic.rs",
            "#[cfg(test)]\nmod tests { use crate::actors::A; }",
            None,
        );
        check_one("src/surprise.rs", "use crate::domain::Id;", Some("no row"));
    }

    #[test]
    fn only_app_names_a_backend() {
        check_one("src/app.rs", "use crate::backends::embedded::Store;", None);
        check_one(
            "src/backends/embedded/rows.rs",
            "use super::Store; use crate::backends::embedded::x;",
            None,
        );
        check_one("src/actors/user.rs", "use crate::backends::History;", None);
        check_one(
            "src/actors/user.rs",
            "use crate::backends::{History, embedded::Store};",
            Some("only `app`"),
        );
        check_one(
            "src/backends/contract.rs",
            "use super::embedded::Store;",
            Some("only `app`"),
        );
    }

    #[test]
    fn wires_are_apart() {
        check_one(
            "src/wire/sqs/send.rs",
            "use crate::wire::sqs::errors; use super::errors;",
            None,
        );
        check_one(
            "src/wire/sqs/send.rs",
            "use crate::wire::kinesis::Record;",
            Some("`sqs` and `kinesis`"),
        );
        check_one(
            "src/wire/sqs/send.rs",
            "use super::super::kinesis::Record;",
            Some("`sqs` and `kinesis`"),
        );
        check_one("src/wire/sqs/send.rs", "use crate::wire::RequestId;", None);
        check_one(
            "src/wire/mod.rs",
            "use crate::wire::kinesis; use self::sqs;",
            None,
        );
    }

    #[test]
    fn a_test_module_in_its_own_file_may_name_anything() {
        let files = [
            File {
                path: "src/actors/mod.rs".into(),
                text: "#[cfg(test)]\nmod tests;".into(),
            },
            File {
                path: "src/actors/tests.rs".into(),
                text: "use crate::wire::A;".into(),
            },
            File {
                path: "src/wire/mod.rs".into(),
                text: String::new(),
            },
        ];
        assert_eq!(check(&files), []);
    }
}
