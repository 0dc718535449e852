//! The decryption examples that client authors copy open what the library seals, and refuse what it refuses.
//!
//! Needs `node` (20 or later) and a Python with the package `cryptography`: `FANFARE_TEST_PYTHON` if set,
//! else `python3`. Missing ones fail the tests; a skipped test would prove nothing.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
};

use fanfare::envelope::{AesKey, Envelope, FIRST_COUNTER, MAX_COUNTER, SessionCipher, ascii_json};

const KEY: &str = "LkWUsGQKi8E9QoMJEeY1HLL8rdJNJr3fzDp+F9CpkCY=";
const SESSION_ID: &str = "browser/é|✓ 1";

/// One example program in one language.
struct Example {
    interpreter: String,
    script: &'static str,
}

fn examples() -> [Example; 2] {
    let python = std::env::var("FANFARE_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    [
        Example {
            interpreter: python,
            script: "examples/decrypt.py",
        },
        Example {
            interpreter: "node".into(),
            script: "examples/decrypt.mjs",
        },
    ]
}

impl Example {
    fn run(&self, arguments: &[&str], stdin: &str) -> Output {
        let mut child = Command::new(&self.interpreter)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/").to_owned() + self.script)
            .args(arguments)
            .env_remove("FANFARE_AES_KEY")
            .env("PYTHONUTF8", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{} is needed: {error}", self.interpreter));
        let mut input = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            // Beside reading the output, since both pipes are shorter than the longest message. A program
            // that stops at its arguments closes its input early: its output says why.
            scope.spawn(move || input.write_all(stdin.as_bytes()).is_ok());
            child.wait_with_output().unwrap()
        })
    }

    /// Opens envelopes, one per line, and expects these lines and success.
    fn opens(&self, arguments: &[&str], envelopes: &[String], expect: &[String]) {
        let output = self.run(&[arguments, &["-"]].concat(), &envelopes.join("\n"));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {stderr}", self.script);
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert_eq!(
            stdout.lines().collect::<Vec<_>>(),
            expect,
            "{}",
            self.script
        );
    }

    /// Expects this exit code, nothing on standard output and `reasons` lines on standard error.
    fn refuses(&self, arguments: &[&str], stdin: &str, code: i32, reasons: usize) {
        let output = self.run(arguments, stdin);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{} {arguments:?}: {stderr}",
            self.script
        );
        assert!(output.stdout.is_empty(), "{} {arguments:?}", self.script);
        assert_eq!(stderr.lines().count(), reasons, "{}: {stderr}", self.script);
    }
}

fn cipher(format: Envelope) -> SessionCipher {
    SessionCipher::new(&AesKey::from_base64(KEY).unwrap(), format)
}

fn v2() -> SessionCipher {
    cipher(Envelope::V2 {
        session_id: SESSION_ID.into(),
    })
}

/// Messages with the number each is sealed under: short, emoji, carries out of the lowest byte and the
/// lowest four bytes of the counter, 200 kB, the ends of the range.
fn messages() -> Vec<(u64, String)> {
    let long = format!("{{\"text\":\"{}\"}}", "fanfare ✓ ".repeat(13_000));
    [
        (0, "{}"),
        (5, r#"{"a":"é✓","b":"😀"}"#),
        (
            255,
            r#"{"text":"this message is longer than two blocks of the cipher"}"#,
        ),
        (
            u64::from(u32::MAX),
            r#"{"text":"and this carries into the fifth byte"}"#,
        ),
        (FIRST_COUNTER, r#"{"accountId":1,"userId":2}"#),
        (FIRST_COUNTER + 2, &long),
        (MAX_COUNTER, "[1,2,3]"),
    ]
    .map(|(number, json)| (number, ascii_json(json).into_owned()))
    .into()
}

#[test]
fn examples_open_what_the_library_seals() {
    let (v1, v2) = (cipher(Envelope::V1), v2());
    let expect: Vec<_> = messages().into_iter().map(|(_, json)| json).collect();
    let seal = |cipher: &SessionCipher| -> Vec<_> {
        messages()
            .iter()
            .map(|(number, json)| cipher.seal(*number, json.as_bytes()))
            .collect()
    };
    for example in examples() {
        example.opens(&["--key", KEY], &seal(&v1), &expect);
        example.opens(
            &["--key", KEY, "--session-id", SESSION_ID],
            &seal(&v2),
            &expect,
        );
        // The vectors of the contract, the second with text beyond ASCII.
        example.opens(
            &["--key", KEY],
            &[
                "9734675727|nw7xCnVR0m/YrGgG".into(),
                "5|hbTFISt3Qi0Irkci8w==".into(),
            ],
            &["this is test".into(), r#"{"a":"é✓"}"#.into()],
        );
    }
}

#[test]
fn examples_refuse_what_the_library_refuses() {
    let sealed = v2().seal(FIRST_COUNTER, br#"{"amount":1}"#);
    let (start, data) = sealed.rsplit_once('|').unwrap();
    let other_first = if data.starts_with('A') { "B" } else { "A" };
    let altered = [
        format!("{start}|{other_first}{}", &data[1..]),
        format!("{start}|{}", &data[..data.len() - 4]),
        sealed.replace("10000000000", "10000000001"),
        sealed.replace("10000000000", "010000000000"),
        format!("{sealed}|"),
        format!("{}|AAAA", MAX_COUNTER + 1),
        "05|AAAA".into(),
        "5|AAA".into(),
        "5|hbTFISt3Qi0Irkci8x==".into(), // the vector but for bits that base64 does not use
        String::new(),
        "5".into(),
    ];
    for envelope in &altered {
        let cipher = if envelope.starts_with("v2") {
            v2()
        } else {
            cipher(Envelope::V1)
        };
        assert!(cipher.open(envelope).is_err(), "{envelope}");
    }
    for example in examples() {
        let flags = ["--key", KEY, "--session-id", SESSION_ID, "-"];
        example.refuses(&flags, &altered.join("\n"), 1, altered.len());
        example.refuses(
            &["--key", KEY, "--session-id", "another", &sealed],
            "",
            1,
            1,
        );
        example.refuses(&["--key", KEY, &sealed], "", 1, 1);
        example.refuses(&["--key", "c2hvcnQ=", &sealed], "", 2, 2);
        example.refuses(&[&sealed], "", 2, 2);
    }
}
