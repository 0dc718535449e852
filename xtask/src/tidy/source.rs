//! Just enough of Rust's syntax for the checks: comments and literals taken out, tests taken out, functions and paths found.
//! Every transformation keeps length and line breaks, so an offset in its result is an offset in the file.

use std::ops::Range;

/// A function with a body.
#[derive(Debug, PartialEq)]
pub struct Function<'a> {
    pub name: &'a str,
    /// The line of `fn`, counted from 1.
    pub line: usize,
    /// From the line of `fn` to that of the closing brace, both included.
    pub lines: usize,
}

/// The code of `text`: comments, strings and character literals become spaces.
pub fn code(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_or_comment(bytes, at);
        match end {
            Some(end) => {
                blank(&mut code, at..end);
                at = end;
            }
            // A whole word at once, so that the `r` of `for"` is not taken for a raw string.
            None => at += word(bytes, at).max(1),
        }
    }
    // Only identifiers could be non-ASCII now, and those do not matter to any check.
    code.iter()
        .map(|&byte| {
            if byte.is_ascii() {
                char::from(byte)
            } else {
                '_'
            }
        })
        .collect()
}

/// Where the comment or literal that starts at `at` ends; `None` if none starts there.
fn literal_or_comment(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    match rest {
        [b'/', b'/', ..] => Some(
            at + rest
                .iter()
                .position(|&byte| byte == b'\n')
                .unwrap_or(rest.len()),
        ),
        [b'/', b'*', ..] => Some(at + block_comment(rest)),
        [b'\'', ..] => character(rest).map(|length| at + length),
        [b'"', ..] => Some(at + string(rest)),
        [b'b' | b'c', b'"', ..] => Some(at + 1 + string(&rest[1..])),
        [b'b', b'\'', ..] => character(&rest[1..]).map(|length| at + 1 + length),
        [b'b' | b'c', b'r', ..] => raw_string(&rest[2..]).map(|length| at + 2 + length),
        [b'r', ..] => raw_string(&rest[1..]).map(|length| at + 1 + length),
        _ => None,
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at + 1 < rest.len() {
        match &rest[at..at + 2] {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn string(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// `rest` begins after the `r`: hashes and a quote, else this is an ordinary word such as `r#fn` or `red`.
fn raw_string(rest: &[u8]) -> Option<usize> {
    let hashes = rest.iter().take_while(|&&byte| byte == b'#').count();
    if rest.get(hashes) != Some(&b'"') {
        return None;
    }
    let close: Vec<u8> = std::iter::once(b'"')
        .chain(std::iter::repeat_n(b'#', hashes))
        .collect();
    let body = &rest[hashes + 1..];
    let end = body.windows(close.len()).position(|window| window == close);
    Some(end.map_or(rest.len(), |end| hashes + 1 + end + close.len()))
}

/// A character literal, or `None` for a lifetime.
fn character(rest: &[u8]) -> Option<usize> {
    let close = match rest.get(1)? {
        // The escaped character may itself be a quote: look behind it.
        b'\\' => 3 + rest.get(3..)?.iter().position(|&byte| byte == b'\'')?,
        lead => 1 + utf8_length(*lead),
    };
    (rest.get(close) == Some(&b'\'')).then_some(close + 1)
}

fn utf8_length(lead: u8) -> usize {
    match lead {
        0xF0.. => 4,
        0xE0.. => 3,
        0xC0.. => 2,
        _ => 1,
    }
}

/// The length of the identifier, keyword or number at `at`.
fn word(bytes: &[u8], at: usize) -> usize {
    bytes[at..]
        .iter()
        .take_while(|&&byte| is_word(byte))
        .count()
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

fn blank(code: &mut [u8], range: Range<usize>) {
    for byte in &mut code[range] {
        if *byte != b'\n' {
            *byte = b' ';
        }
    }
}

/// Splits `code` into the code without its `#[cfg(test)]` items, and the number of lines those took.
pub fn without_tests(code: &str) -> (String, usize) {
    let mut kept = code.as_bytes().to_vec();
    let mut lines = 0;
    for item in test_items(code) {
        lines += code[item.clone()].matches('\n').count() + 1;
        blank(&mut kept, item);
    }
    (
        String::from_utf8(kept).expect("blanking keeps ASCII"),
        lines,
    )
}

/// The names of the modules that `#[cfg(test)] mod NAME;` declares: their files are tests.
pub fn test_modules(code: &str) -> Vec<&str> {
    let declared = |item: Range<usize>| {
        let item = code[item].trim_end().strip_suffix(';')?;
        let (before, name) = item.rsplit_once(char::is_whitespace)?;
        before.trim_end().ends_with("mod").then_some(name)
    };
    test_items(code).into_iter().filter_map(declared).collect()
}

fn test_items(code: &str) -> Vec<Range<usize>> {
    let mut items: Vec<Range<usize>> = Vec::new();
    for (start, attribute) in code.match_indices("#[cfg(test)]") {
        if items.last().is_some_and(|item| item.contains(&start)) {
            continue;
        }
        let after = start + attribute.len();
        items.push(
            start..item_end(&code.as_bytes()[after..]).map_or(code.len(), |length| after + length),
        );
    }
    items
}

/// Where an item ends: after its first `;` or closing brace outside of parentheses and brackets.
fn item_end(rest: &[u8]) -> Option<usize> {
    let (mut braces, mut others) = (0, 0);
    for (at, byte) in rest.iter().enumerate() {
        match byte {
            b'{' => braces += 1,
            b'(' | b'[' => others += 1,
            b')' | b']' => others -= 1,
            b'}' => {
                braces -= 1;
                if braces == 0 && others == 0 {
                    return Some(at + 1);
                }
            }
            b';' if braces == 0 && others == 0 => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// The functions of `code` that have a body, nested ones too.
pub fn functions(code: &str) -> Vec<Function<'_>> {
    let bytes = code.as_bytes();
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        if at > 0 && is_word(bytes[at - 1]) {
            continue;
        }
        let name = &code[at + 3..at + 3 + word(bytes, at + 3)];
        let end = at + item_end(&bytes[at..]).unwrap_or(bytes.len() - at);
        if name.is_empty() || bytes[end - 1] != b'}' {
            continue;
        }
        let lines = code[at..end].matches('\n').count() + 1;
        found.push(Function {
            name,
            line: line_of(code, at),
            lines,
        });
    }
    found
}

/// The line of an offset, counted from 1.
pub fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// Every path of `code` that starts at `crate` or `super`, made absolute for a file of module `module`, with its line.
/// Groups are taken apart: `crate::{a::B, c}` is `a::B` and `c`.
pub fn paths<'a>(code: &'a str, module: &[&'a str]) -> Vec<(usize, Vec<&'a str>)> {
    let bytes = code.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let length = word(bytes, at);
        let prefix: Option<Vec<&str>> = match &code[at..at + length] {
            "crate" => Some(Vec::new()),
            // The later words of `super::super::x` are reached only through its first.
            "super" => Some(module[..module.len().saturating_sub(1)].to_vec()),
            _ => None,
        };
        match prefix {
            Some(prefix) if code[at + length..].starts_with("::") => {
                let line = line_of(code, at);
                let mut leaves = Vec::new();
                at = tree(code, at + length + 2, prefix, &mut leaves);
                found.extend(leaves.into_iter().map(|leaf| (line, leaf)));
            }
            _ => at += length.max(1),
        }
    }
    found
}

/// Reads what follows a `::`; returns where it ends.
fn tree<'a>(
    code: &'a str,
    mut at: usize,
    mut prefix: Vec<&'a str>,
    leaves: &mut Vec<Vec<&'a str>>,
) -> usize {
    let bytes = code.as_bytes();
    loop {
        if bytes.get(at) == Some(&b'{') {
            at = skip_space(bytes, at + 1);
            while at < bytes.len() && bytes[at] != b'}' {
                at = tree(code, at, prefix.clone(), leaves);
                // Over the rest of this entry, such as `as name` or the star of a glob.
                at += bytes[at..]
                    .iter()
                    .take_while(|&&byte| !matches!(byte, b',' | b'}'))
                    .count();
                if bytes.get(at) == Some(&b',') {
                    at = skip_space(bytes, at + 1);
                }
            }
            return (at + 1).min(bytes.len());
        }
        let length = word(bytes, at);
        match &code[at..at + length] {
            "" => break,
            "super" => drop(prefix.pop()),
            "self" => {}
            name => prefix.push(name),
        }
        at += length;
        if !code[at..].starts_with("::") {
            break;
        }
        at += 2;
    }
    leaves.push(prefix);
    at
}

fn skip_space(bytes: &[u8], at: usize) -> usize {
    at + bytes[at..]
        .iter()
        .take_while(|byte| byte.is_ascii_whitespace())
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_become_spaces() {
        let check = |text: &str, expect: &str| {
            let code = code(text);
            assert_eq!(code.len(), text.len(), "{text}");
            assert_eq!(
                code.split_whitespace().collect::<Vec<_>>().join(" "),
                expect,
                "{text}"
            );
        };
        check("a // b {\nc", "a c");
        check("a /* b /* { */ c */ d", "a d");
        check(r#"a("b { \" {") d"#, "a( ) d");
        check(r##"a(r#"b " { "#) d"##, "a( ) d");
        check(r#"a(br"\") d"#, "a( ) d");
        check(r"a('{', '\'', b'}', '\u{7d}', 'é') d", "a( , , , , ) d");
        check("fn f<'a>(b: &'a str) {}", "fn f<'a>(b: &'a str) {}");
        check("r#fn(bar, crate)", "r#fn(bar, crate)");
        check("\"never closed {", "");
    }

    #[test]
    fn tests_are_taken_out_and_counted() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n";
        let (kept, lines) = without_tests(text);
        assert_eq!(
            kept.split_whitespace().collect::<Vec<_>>().join(" "),
            "fn a() {} fn c() {}"
        );
        assert_eq!((kept.len(), lines), (text.len(), 4));
        assert_eq!(
            without_tests("#[cfg(test)]\nuse a::{b, c};\nfn d() {}").1,
            2
        );
        assert_eq!(without_tests("#[cfg(feature)] mod a {}").1, 0);
    }

    #[test]
    fn test_modules_in_files_of_their_own() {
        let check = |text: &str, expect: &[&str]| assert_eq!(test_modules(text), expect, "{text}");
        check("#[cfg(test)]\nmod tests;\nmod other;", &["tests"]);
        check(
            "#[cfg(test)]\n#[path = x]\npub mod contract;",
            &["contract"],
        );
        check("#[cfg(test)] mod tests { mod inner; }", &[]);
        check("mod tests;", &[]);
    }

    #[test]
    fn functions_with_their_length() {
        let check = |text: &str, expect: &[(&str, usize, usize)]| {
            let found = functions(text);
            let found: Vec<_> = found
                .iter()
                .map(|found| (found.name, found.line, found.lines))
                .collect();
            assert_eq!(found, expect, "{text}");
        };
        check("fn a() {}", &[("a", 1, 1)]);
        check(
            "\npub async fn a(\n    b: [u8; 4],\n) -> fn(u8) {\n    {}\n}\n",
            &[("a", 2, 5)],
        );
        check(
            "trait T {\n    fn a();\n    fn b() {\n    }\n}",
            &[("b", 3, 2)],
        );
        check(
            "fn a() {\n    fn b() {\n    }\n}",
            &[("a", 1, 4), ("b", 2, 2)],
        );
        check("type F = fn (u8); often fny", &[]);
    }

    #[test]
    fn paths_are_made_absolute() {
        let check = |text: &str, module: &[&str], expect: &[&str]| {
            let found = paths(text, module);
            let found: Vec<_> = found.iter().map(|(_, path)| path.join("::")).collect();
            assert_eq!(found, expect, "{text}");
        };
        check("use crate::a::B;", &["m"], &["a::B"]);
        check(
            "use crate::{a::{B, c::D}, e::*, f};",
            &["m"],
            &["a::B", "a::c::D", "e", "f"],
        );
        check(
            "use crate::{\n    a::{self, B},\n    c,\n};",
            &["m"],
            &["a", "a::B", "c"],
        );
        check(
            "pub(crate) fn a() { crate::b::c(); $crate::d!() }",
            &["m"],
            &["b::c", "d"],
        );
        check("use super::a::B;", &["m", "n"], &["m::a::B"]);
        check("use super::super::a;", &["m", "n", "o"], &["m::a"]);
        check(
            "use super::{super::a, b};",
            &["m", "n", "o"],
            &["m::a", "m::n::b"],
        );
        check("use supercrate::a; crates::b; crate", &["m"], &[]);
        check(
            "use crate::{a as b, c}; use crate::d as e;",
            &["m"],
            &["a", "c", "d"],
        );
        check("use crate::{a", &["m"], &["a"]);
        check("use crate::{a,", &["m"], &["a"]);
    }
}
