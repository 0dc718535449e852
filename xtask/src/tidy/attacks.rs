//! The list of attacks: each number is in it, and leads to tests that exist and carry the number.

use super::{File, Problem};

/// Where the list is.
const LIST: &str = "tests/attacks.md";

/// The tables, and how many rows each has.
const TABLES: &[(char, u32)] = &[('M', 27), ('S', 14), ('W', 7)];

/// Reports attacks that the list lacks, and rows that lead nowhere.
pub fn check(files: &[File]) -> Vec<Problem> {
    let problem = |line, what| Problem {
        rule: "attack",
        path: LIST.to_owned(),
        line,
        what,
    };
    let Some(list) = files.iter().find(|file| file.path == LIST) else {
        return vec![problem(0, "there is no list of attacks".to_owned())];
    };
    let rows: Vec<_> = rows(&list.text).collect();
    let mut problems = Vec::new();
    for (table, count) in TABLES {
        for number in 1..=*count {
            let attack = format!("{table}{number}");
            match rows.iter().filter(|row| row.attack == attack).count() {
                1 => {}
                0 => problems.push(problem(0, format!("{attack} is not there"))),
                _ => problems.push(problem(0, format!("{attack} is there twice"))),
            }
        }
    }
    let sources = || files.iter().filter(|file| is_source(&file.path));
    for row in &rows {
        if row.tests.is_empty() {
            problems.push(problem(row.line, format!("{} names no test", row.attack)));
        }
        for test in &row.tests {
            let ways = [format!("fn {test}("), format!("def {test}(")];
            let is_in = |file: &File| ways.iter().any(|way| file.text.contains(way));
            if !sources().any(is_in) {
                problems.push(problem(row.line, format!("there is no test `{test}`")));
            }
            if !carries(test, row.attack) {
                let what = format!("`{test}` does not carry the number of {}", row.attack);
                problems.push(problem(row.line, what));
            }
        }
    }
    problems
}

struct Row<'a> {
    line: usize,
    attack: &'a str,
    tests: Vec<&'a str>,
}

/// The rows of all tables: number, what it is, tests.
fn rows(text: &str) -> impl Iterator<Item = Row<'_>> {
    text.lines().enumerate().filter_map(|(index, line)| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let attack = cells.next()?;
        let is_attack = attack.len() > 1 && attack[1..].bytes().all(|byte| byte.is_ascii_digit());
        is_attack.then(|| Row {
            line: index + 1,
            attack,
            tests: cells
                .nth(1)
                .unwrap_or_default()
                .split('`')
                .skip(1)
                .step_by(2)
                .collect(),
        })
    })
}

fn is_source(path: &str) -> bool {
    (path.starts_with("src/") || path.starts_with("tests/"))
        && (path.ends_with(".rs") || path.ends_with(".py"))
}

/// Whether a test's name has the number, with two digits.
fn carries(test: &str, attack: &str) -> bool {
    let (table, number) = attack.split_at(1);
    let number = format!("{}{number:0>2}", table.to_lowercase());
    test.split('_').any(|word| word == number)
}

#[cfg(test)]
mod tests {
    use super::super::tests::file;
    use super::*;

    /// A list in which every attack has a test, but for what is replaced.
    fn whole(replace: &str, with: &str) -> Vec<String> {
        let all = TABLES
            .iter()
            .flat_map(|(table, count)| (1..=*count).map(move |number| (*table, number)));
        let name = |table: char, number| format!("{}{number:02}_x", table.to_lowercase());
        let row =
            |(table, number)| format!("| {table}{number} | what | `{}` |\n", name(table, number));
        let list: String = all.clone().map(row).collect();
        let tests = all.map(|(table, number)| format!("fn {}() {{}}\n", name(table, number)));
        let tests: String = tests.collect();
        assert!(list.contains(replace));
        let files = [
            file(LIST, &list.replacen(replace, with, 1)),
            file("tests/mqtt/attacks.rs", &tests),
        ];
        check(&files).into_iter().map(|one| one.what).collect()
    }

    #[test]
    fn each_attack_leads_to_tests_with_its_number() {
        let row = "| M8 | what | `m08_x` |\n";
        assert!(whole(row, row).is_empty());
        assert_eq!(whole(row, ""), ["M8 is not there"]);
        assert_eq!(whole(row, &row.repeat(2)), ["M8 is there twice"]);
        assert_eq!(whole("`m08_x`", ""), ["M8 names no test"]);
        assert_eq!(whole("`m08_x`", "`m08_y`"), ["there is no test `m08_y`"]);
        let other = whole("`m08_x`", "`m08_x`, `m09_x`");
        assert_eq!(other, ["`m09_x` does not carry the number of M8"]);
    }
}
