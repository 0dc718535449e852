//! Names and what they promise: modules that say what they are, files named after what they hold, pages whose paths exist.

use super::{File, Problem};

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["util", "utils", "helper", "helpers", "misc"];

/// Pages that describe the tree; every path they name must exist.
const PAGES: &[&str] = &["ARCHITECTURE.md", "CONTRIBUTING.md"];

/// Endings that make a word a file name even when its folder is unknown.
const FILE_ENDINGS: &[&str] = &[".rs", ".toml", ".md", ".py", ".mjs", ".js", ".ts", ".lock"];

/// Reports modules without a sentence of their own, empty names, and paths that lead nowhere.
pub fn check(files: &[File]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in files {
        let mut add = |rule, line, what| {
            problems.push(Problem {
                rule,
                path: file.path.clone(),
                line,
                what,
            })
        };
        if file.path.ends_with(".rs") && !opens_with_documentation(&file.text) {
            add(
                "module-doc",
                1,
                "the file does not open with `//!`: say what it is for".to_owned(),
            );
        }
        if let Some(part) = file
            .path
            .split('/')
            .find(|part| EMPTY_NAMES.contains(&stem(part)))
        {
            add(
                "name",
                0,
                format!("`{part}` says nothing: name it after what it holds"),
            );
        }
        if PAGES.contains(&file.path.as_str()) {
            for (line, path) in named_paths(&file.text, files) {
                if !exists(&path, files) {
                    add("path", line, format!("`{path}` does not exist"));
                }
            }
        }
    }
    problems
}

/// The first line that is neither empty nor an attribute of the crate is `//!`.
fn opens_with_documentation(text: &str) -> bool {
    let first = text
        .lines()
        .map(str::trim_start)
        .find(|line| !line.is_empty() && !line.starts_with("#!"));
    first.is_some_and(|line| line.starts_with("//!"))
}

fn stem(part: &str) -> &str {
    part.split_once('.').map_or(part, |(stem, _)| stem)
}

/// What a page names between backticks or as a link's target, where it looks like a path of the checkout.
fn named_paths(page: &str, files: &[File]) -> Vec<(usize, String)> {
    let mut paths = Vec::new();
    for (index, line) in page.lines().enumerate() {
        let code = line.split('`').skip(1).step_by(2);
        let links = line
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next());
        for word in code.chain(links) {
            let word = word.split('#').next().unwrap_or(word).trim_end_matches('/');
            if looks_like_a_path(word, files) {
                paths.push((index + 1, word.to_owned()));
            }
        }
    }
    paths
}

fn looks_like_a_path(word: &str, files: &[File]) -> bool {
    let plain = word
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte));
    let Some((top, _)) = word.split_once('/') else {
        return plain
            && FILE_ENDINGS
                .iter()
                .any(|ending| word.len() > ending.len() && word.ends_with(ending));
    };
    let in_the_tree = files.iter().any(|file| {
        file.path
            .split_once('/')
            .is_some_and(|(folder, _)| folder == top)
    });
    plain
        && !top.is_empty()
        && (in_the_tree || FILE_ENDINGS.iter().any(|ending| word.ends_with(ending)))
}

/// A path exists as a file or a folder; a bare file name exists if any folder has such a file.
fn exists(path: &str, files: &[File]) -> bool {
    files.iter().any(|file| match file.path.strip_prefix(path) {
        Some(rest) => rest.is_empty() || rest.starts_with('/'),
        None => !path.contains('/') && file.path.rsplit('/').next() == Some(path),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::file;
    use super::*;

    fn check_one(path: &str, text: &str, expect: &[&str]) {
        let tree = [
            "src/app.rs",
            "src/wire/sqs/mod.rs",
            "src/actors/state.rs",
            "clippy.toml",
        ];
        let mut files: Vec<File> = tree.iter().map(|path| file(path, "//! Said.")).collect();
        files.push(file(path, text));
        let problems: Vec<String> = check(&files)
            .into_iter()
            .map(|problem| format!("{}: {}", problem.rule, problem.what))
            .collect();
        assert_eq!(problems.len(), expect.len(), "{path}: {problems:?}");
        for (problem, expect) in problems.iter().zip(expect) {
            assert!(problem.starts_with(expect), "{path}: {problem}");
        }
    }

    #[test]
    fn modules_open_with_documentation() {
        check_one("src/a.rs", "//! Why.\nfn a() {}", &[]);
        check_one("src/a.rs", "\n#![cfg(unix)]\n//! Why.\n", &[]);
        check_one("src/a.rs", "fn a() {}\n//! Late.", &["module-doc"]);
        check_one("tests/a.rs", "", &["module-doc"]);
        check_one("tests/a.py", "", &[]);
    }

    #[test]
    fn names_say_something() {
        check_one("src/utils.rs", "//! x", &["name: `utils.rs`"]);
        check_one("src/helpers/mod.rs", "//! x", &["name: `helpers`"]);
        check_one("tests/python/util.py", "", &["name: `util.py`"]);
        check_one("src/utilisation.rs", "//! x", &[]);
    }

    #[test]
    fn pages_name_paths_that_exist() {
        check_one(
            "ARCHITECTURE.md",
            "`src/app.rs`, `src/wire/`, `src/wire/sqs`, [here](src/app.rs#top)",
            &[],
        );
        check_one(
            "ARCHITECTURE.md",
            "`state.rs`, `clippy.toml`, `POST /notify`, `text/plain`, `a::b`",
            &[],
        );
        check_one("ARCHITECTURE.md", "see `src/ap.rs`", &["path: `src/ap.rs`"]);
        check_one(
            "ARCHITECTURE.md",
            "see `scr/app.rs` and `gone.rs`",
            &["path: `scr/app.rs`", "path: `gone.rs`"],
        );
        check_one(
            "ARCHITECTURE.md",
            "see [it](src/nowhere)",
            &["path: `src/nowhere`"],
        );
        check_one("NOTES.md", "see `src/nowhere`", &[]);
    }
}
