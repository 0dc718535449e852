//! `statements.md` is complete, and leads to tests and rules that exist.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use fanfare::wire::mqtt::codec::rules;

/// How many statements each section of 3.1.1 has. They are numbered from 1.
const V311: &[(&str, u16)] = &[
    ("1.5.3", 3),
    ("2.2.2", 2),
    ("2.3.1", 7),
    ("3.1.0", 2),
    ("3.1.2", 24),
    ("3.1.3", 11),
    ("3.1.4", 5),
    ("3.2.0", 1),
    ("3.2.2", 6),
    ("3.3.1", 12),
    ("3.3.2", 3),
    ("3.3.4", 1),
    ("3.3.5", 2),
    ("3.6.1", 1),
    ("3.8.1", 1),
    ("3.8.3", 4),
    ("3.8.4", 6),
    ("3.9.3", 2),
    ("3.10.1", 1),
    ("3.10.3", 2),
    ("3.10.4", 6),
    ("3.12.4", 1),
    ("3.14.1", 1),
    ("3.14.4", 3),
    ("4.1.0", 2),
    ("4.3.1", 1),
    ("4.3.2", 2),
    ("4.3.3", 2),
    ("4.4.0", 1),
    ("4.5.0", 2),
    ("4.6.0", 6),
    ("4.7.1", 3),
    ("4.7.2", 1),
    ("4.7.3", 4),
    ("4.8.0", 2),
    ("6.0.0", 4),
    ("7.0.0", 2),
    ("7.1.1", 2),
    ("7.1.2", 2),
];

/// The same of 5; section 2.2.1 has no first.
const V5: &[(&str, u16)] = &[
    ("1.5.4", 3),
    ("1.5.5", 1),
    ("1.5.7", 1),
    ("2.1.3", 1),
    ("2.2.1", 6),
    ("2.2.2", 1),
    ("3.1.0", 2),
    ("3.1.2", 30),
    ("3.1.3", 12),
    ("3.1.4", 6),
    ("3.2.0", 2),
    ("3.2.2", 22),
    ("3.3.1", 13),
    ("3.3.2", 20),
    ("3.3.4", 10),
    ("3.4.2", 3),
    ("3.5.2", 3),
    ("3.6.1", 1),
    ("3.6.2", 3),
    ("3.7.2", 3),
    ("3.8.1", 1),
    ("3.8.3", 5),
    ("3.8.4", 8),
    ("3.9.2", 2),
    ("3.9.3", 2),
    ("3.10.1", 1),
    ("3.10.3", 2),
    ("3.10.4", 6),
    ("3.11.2", 2),
    ("3.11.3", 2),
    ("3.12.4", 1),
    ("3.14.0", 1),
    ("3.14.1", 1),
    ("3.14.2", 4),
    ("3.14.4", 3),
    ("3.15.1", 1),
    ("3.15.2", 3),
    ("4.1.0", 2),
    ("4.2.0", 1),
    ("4.3.1", 1),
    ("4.3.2", 5),
    ("4.3.3", 13),
    ("4.4.0", 2),
    ("4.5.0", 2),
    ("4.6.0", 6),
    ("4.7.0", 1),
    ("4.7.1", 2),
    ("4.7.2", 1),
    ("4.7.3", 4),
    ("4.8.2", 6),
    ("4.9.0", 3),
    ("4.12.0", 7),
    ("4.12.1", 2),
    ("4.13.1", 1),
    ("4.13.2", 1),
    ("6.0.0", 4),
];

/// The rows of one version.
fn rows(version: &str) -> BTreeMap<&'static str, &'static str> {
    let text = include_str!("statements.md");
    let start = text
        .find(&format!("## MQTT {version}\n"))
        .expect("a section");
    let section = &text[start + 3..];
    let section = section.split("\n## ").next().expect("there is always one");
    let mut rows = BTreeMap::new();
    for line in section.lines().filter(|line| line.starts_with("| MQTT-")) {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        assert!(
            rows.insert(cells[1], cells[2]).is_none(),
            "{} twice",
            cells[1]
        );
    }
    rows
}

#[test]
fn each_statement_is_listed_once() {
    for (version, sections) in [("3.1.1", V311), ("5.0", V5)] {
        let listed: BTreeSet<String> = rows(version).keys().map(|id| (*id).to_owned()).collect();
        let all = sections.iter().flat_map(|(section, count)| {
            (1..=*count).map(move |number| format!("MQTT-{section}-{number}"))
        });
        let all: BTreeSet<String> = all
            .filter(|id| version != "5.0" || id != "MQTT-2.2.1-1")
            .collect();
        assert_eq!(listed, all);
    }
}

/// Every test's name in the sources.
fn tests(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("its entries can be read").path();
        if path.is_dir() {
            tests(&path, names);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source is text");
            let lines = text.lines().filter_map(|line| {
                let line = line.trim_start().trim_start_matches("async ");
                line.strip_prefix("fn ")?.split('(').next()
            });
            names.extend(lines.map(str::to_owned));
        }
    }
}

#[test]
fn whatever_is_named_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut names = BTreeSet::new();
    tests(&root.join("src"), &mut names);
    tests(&root.join("tests"), &mut names);
    let source = std::fs::read_to_string(root.join("src/wire/mqtt/codec/rules.rs")).unwrap();
    for version in ["3.1.1", "5.0"] {
        for (id, cell) in rows(version) {
            if cell == "client" || cell.starts_with('–') {
                continue;
            }
            for part in cell.split(';') {
                let named: Vec<_> = part.split('`').skip(1).step_by(2).collect();
                assert!(!named.is_empty(), "{id}: {cell}");
                for name in named {
                    let exists = if part.trim_start().starts_with("rule") {
                        source.contains(&format!(" {name}: "))
                    } else {
                        names.contains(name)
                    };
                    assert!(exists, "{id}: there is no {name}");
                }
            }
        }
    }
}

#[test]
fn a_rules_statement_is_listed_with_it() {
    let (old, new) = (rows("3.1.1"), rows("5.0"));
    for rule in rules::ALL {
        for (statement, rows) in [(rule.v311, &old), (rule.v5, &new)] {
            let Some(statement) = statement else { continue };
            assert!(
                rows.contains_key(statement),
                "{statement} of {:?}",
                rule.what
            );
        }
    }
}
