//! Nothing in the repository belongs to one machine: no folders of its users, no package mirrors.

use std::path::Path;

use super::{File, Problem};

/// Folders of people, which exist on one machine only.
const PERSONAL_FOLDERS: &[&str] = &["/home/", "/root/", "/Users/"];

/// Where npm packages come from, for everybody.
const NPM_REGISTRY: &str = "https://registry.npmjs.org/";

/// Options of pip that point to other places than the public index.
const PIP_SOURCES: &[&str] = &[
    "--index-url",
    "--extra-index-url",
    "--find-links",
    "--trusted-host",
];

/// This file names what it looks for.
const ITSELF: &str = "xtask/src/tidy/portable.rs";

/// Reports what only works here. `root` is this checkout: its own absolute path must not appear either.
pub fn check(files: &[File], root: &Path) -> Vec<Problem> {
    let mut folders: Vec<String> = PERSONAL_FOLDERS
        .iter()
        .map(|&folder| folder.to_owned())
        .collect();
    // A single component such as `/app` is too common a word to search for.
    folders.extend(
        root.to_str()
            .filter(|root| root.matches('/').count() > 1)
            .map(str::to_owned),
    );
    let mut problems = Vec::new();
    for file in files.iter().filter(|file| file.path != ITSELF) {
        for (index, line) in file.text.lines().enumerate() {
            if let Some(what) = complaint(&file.path, line, &folders) {
                problems.push(Problem {
                    rule: "portable",
                    path: file.path.clone(),
                    line: index + 1,
                    what,
                });
            }
        }
    }
    problems
}

fn complaint(path: &str, line: &str, folders: &[String]) -> Option<String> {
    if let Some(folder) = folders.iter().find(|folder| names_folder(line, folder)) {
        return Some(format!("`{folder}` is a folder of one machine"));
    }
    if path.ends_with("package-lock.json")
        && let Some((_, url)) = line.split_once("\"resolved\": \"")
        && !url.starts_with(NPM_REGISTRY)
    {
        return Some(format!("packages come from {NPM_REGISTRY}"));
    }
    let is_requirements = path
        .rsplit('/')
        .next()
        .is_some_and(|name| name.starts_with("requirements"));
    let option = PIP_SOURCES
        .iter()
        .find(|option| is_requirements && line.trim_start().starts_with(**option));
    option.map(|option| format!("packages come from the public index, without {option}"))
}

/// Whether `folder` appears as the start of an absolute path, and not inside a longer one or a URL.
fn names_folder(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|before| before.is_alphanumeric() || "._-}*/~".contains(before))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_one(path: &str, text: &str, expect: usize) {
        let files = [File {
            path: path.to_owned(),
            text: text.to_owned(),
        }];
        let problems = check(&files, Path::new("/srv/someone/fanfare"));
        assert_eq!(problems.len(), expect, "{path}: {text}: {problems:?}");
    }

    #[test]
    fn folders_of_one_machine() {
        check_one("a.toml", "dir = \"/home/me/x\"", 1);
        check_one("a.md", "cd /srv/someone/fanfare", 1);
        check_one("a.md", "cd /srv/someone/else", 0);
        check_one("a.md", "https://example.org/home/me and ${X}/root/a", 0);
        check_one(ITSELF, "/home/me", 0);
    }

    #[test]
    fn a_short_root_is_not_searched_for() {
        let files = [File {
            path: "a.md".into(),
            text: "the folder /app".into(),
        }];
        assert_eq!(check(&files, Path::new("/app")), []);
    }

    #[test]
    fn packages_come_from_the_public_places() {
        check_one(
            "tests/node/package-lock.json",
            "\"resolved\": \"https://registry.npmjs.org/a/-/a-1.tgz\",",
            0,
        );
        check_one(
            "tests/node/package-lock.json",
            "\"resolved\": \"https://mirror.example/a-1.tgz\",",
            1,
        );
        check_one(
            "tests/python/requirements.txt",
            "boto3==1\n--index-url https://mirror.example",
            1,
        );
        check_one("README.md", "pip install --index-url x", 0);
    }
}
