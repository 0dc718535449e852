//! Functions of at most 70 lines, files of at most 500, tests not counted.

use super::source;
use super::{File, Problem};

/// From `fn` to the closing brace.
const FUNCTION_LINES: usize = 70;
/// Without `#[cfg(test)]` items.
const FILE_LINES: usize = 500;

/// Reports files and functions that have grown too long.
pub fn check(files: &[File]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in files
        .iter()
        .filter(|file| is_source(&file.path) && !is_test(files, &file.path))
    {
        let (code, test_lines) = source::without_tests(&source::code(&file.text));
        let lines = file.text.lines().count() - test_lines;
        if lines > FILE_LINES {
            let what = format!("{lines} lines without tests, at most {FILE_LINES}");
            problems.push(Problem {
                rule: "file-size",
                path: file.path.clone(),
                line: 0,
                what,
            });
        }
        for function in source::functions(&code) {
            if function.lines > FUNCTION_LINES {
                let what = format!(
                    "`{}` has {} lines, at most {FUNCTION_LINES}",
                    function.name, function.lines
                );
                problems.push(Problem {
                    rule: "function-size",
                    path: file.path.clone(),
                    line: function.line,
                    what,
                });
            }
        }
    }
    problems
}

/// Whether a file belongs to a library or program, and not to `tests`, `examples` or the fuzz targets.
fn is_source(path: &str) -> bool {
    path.ends_with(".rs") && (path.starts_with("src/") || path.contains("/src/"))
}

/// Whether a parent declares this file, or a folder above it, as `#[cfg(test)] mod NAME;`.
pub fn is_test(files: &[File], path: &str) -> bool {
    let Some(stem) = path.strip_suffix(".rs") else {
        return false;
    };
    files
        .iter()
        .filter(|file| is_source(&file.path))
        .any(|file| {
            let parent = file
                .path
                .strip_suffix(".rs")
                .expect("is_source asks for .rs");
            let folder = ["/mod", "/lib", "/main"]
                .iter()
                .find_map(|root| parent.strip_suffix(root))
                .unwrap_or(parent);
            let below = stem
                .strip_prefix(folder)
                .and_then(|below| below.strip_prefix('/'));
            let name = below.map(|below| below.split('/').next().unwrap_or(below));
            // Reading the parent is the dear part: only a file that could be the parent is read.
            name.is_some_and(|name| {
                file.text.contains("#[cfg(test)]")
                    && source::test_modules(&source::code(&file.text)).contains(&name)
            })
        })
}

#[cfg(test)]
mod tests {
    use super::super::tests::file;
    use super::*;

    fn check_one(path: &str, text: &str, expect: &[&str]) {
        let problems = check(&[file(path, text)]);
        let rules: Vec<&str> = problems.iter().map(|problem| problem.rule).collect();
        assert_eq!(rules, expect, "{path}");
    }

    #[test]
    fn functions_up_to_the_limit() {
        let function = |lines: usize| format!("fn f() {{\n{}}}\n", "    x();\n".repeat(lines - 2));
        check_one("src/a.rs", &function(70), &[]);
        check_one("src/a.rs", &function(71), &["function-size"]);
        check_one("xtask/src/a.rs", &function(71), &["function-size"]);
        check_one(
            "src/a.rs",
            &format!("#[cfg(test)]\nmod tests {{\n{}}}", function(71)),
            &[],
        );
        check_one("tests/a.rs", &function(71), &[]);
    }

    #[test]
    fn files_up_to_the_limit() {
        check_one("src/a.rs", &"x!();\n".repeat(500), &[]);
        check_one("src/a.rs", &"x!();\n".repeat(501), &["file-size"]);
        check_one(
            "src/a.rs",
            &format!("{}#[cfg(test)]\nmod t {{\n}}\n", "x!();\n".repeat(500)),
            &[],
        );
        check_one("tests/a.rs", &"x!();\n".repeat(501), &[]);
    }

    #[test]
    fn test_files_are_those_declared_as_tests() {
        let files = [
            file("src/lib.rs", "#[cfg(test)] mod oracle; mod a;"),
            file("src/a/mod.rs", "#[cfg(test)]\nmod tests;\nmod b;"),
            file("src/c.rs", "#[cfg(test)]\nmod cases;"),
        ];
        let check = |path: &str, expect: bool| assert_eq!(is_test(&files, path), expect, "{path}");
        check("src/a/tests.rs", true);
        check("src/a/tests/deep.rs", true);
        check("src/a/b.rs", false);
        check("src/b/tests.rs", false);
        check("src/c/cases.rs", true);
        check("src/oracle.rs", true);
        check("src/a/mod.rs", false);
    }
}
