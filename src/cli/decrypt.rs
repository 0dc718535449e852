//! `fanfare decrypt`: envelopes in, messages out; needs no server.

use std::{
    env, fs,
    io::{self, BufRead, Write},
    path::PathBuf,
};

use anyhow::{Context as _, bail};
use serde_json::json;

use super::shown;
use crate::envelope::{AesKey, Envelope, SessionCipher};

/// The variable that holds the key when no flag does.
const KEY_VARIABLE: &str = "FANFARE_AES_KEY";

/// The longest line read, about 40 times the largest message of SQS (256 KiB, here sealed and in base64).
const MAX_LINE_BYTES: u64 = 16 * 1024 * 1024;

/// Decrypt a session's messages.
///
/// Prints one message per line, in the order of the envelopes. Both formats are read: v1 (`counter|base64`)
/// and v2 (`v2|sequence|base64`, which needs --session-id). v1 has no integrity: with a wrong key it gives
/// unreadable text or, for a very short message, another one. v2 refuses a wrong key and every alteration.
///
/// The key is `aesKey` of the session description. Other users of this machine can see the arguments of
/// a command, so prefer --key-file or the environment variable FANFARE_AES_KEY to --key.
///
/// An envelope that cannot be opened is reported on standard error; the others are still printed, and the
/// exit code is not 0.
#[derive(clap::Args)]
pub struct DecryptArgs {
    /// The session's AES key: base64 of 32 bytes
    #[arg(
        long,
        value_name = "BASE64",
        conflicts_with = "key_file",
        allow_hyphen_values = true
    )]
    key: Option<String>,

    /// Read the key from this file
    #[arg(long, value_name = "PATH")]
    key_file: Option<PathBuf>,

    /// The session's id; needed for v2 envelopes
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    session_id: Option<String>,

    /// Print one JSON object per envelope: `ok`, then `format` and `message` (or `text`, if it is not
    /// JSON), or else `error`
    #[arg(long)]
    json: bool,

    /// Envelopes; without any, or with `-`, one per line of standard input
    #[arg(value_name = "ENVELOPE")]
    envelopes: Vec<String>,
}

/// Runs `fanfare decrypt` on the process's standard streams.
///
/// # Errors
/// A missing or malformed key, an envelope that cannot be opened (after all were tried), a stream that fails.
/// A reader that closes standard output early is no error.
pub fn run(args: DecryptArgs) -> anyhow::Result<()> {
    let key = args.find_key(env::var(KEY_VARIABLE).ok())?;
    let reader = Reader::new(&key, args.session_id, args.json);
    let mut output = io::stdout().lock();
    let mut errors = io::stderr().lock();
    let tally = if args.envelopes.is_empty() || args.envelopes == ["-"] {
        reader.read_lines(io::stdin().lock(), &mut output, &mut errors)
    } else {
        reader.read_all(&args.envelopes, &mut output, &mut errors)
    };
    match tally {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(error).context("reading envelopes"),
        Ok(Tally { refused: 0, .. }) => Ok(()),
        Ok(Tally { opened, refused }) => {
            bail!(
                "{refused} of {} envelopes could not be opened",
                opened + refused
            )
        }
    }
}

impl DecryptArgs {
    /// The flags win over the environment, whose value is passed in.
    fn find_key(&self, variable: Option<String>) -> anyhow::Result<AesKey> {
        let (text, origin) = match (&self.key, &self.key_file, variable) {
            (Some(key), _, _) => (key.clone(), "--key".to_owned()),
            (None, Some(path), _) => {
                let text = fs::read_to_string(path)
                    .with_context(|| format!("reading the key file {}", path.display()))?;
                (text, path.display().to_string())
            }
            (None, None, Some(key)) => (key, KEY_VARIABLE.to_owned()),
            (None, None, None) => {
                bail!("no key: give the session's aesKey with --key-file, {KEY_VARIABLE} or --key")
            }
        };
        AesKey::from_base64(text.trim()).with_context(|| format!("the key in {origin}"))
    }
}

/// How many envelopes were opened, how many were not.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    opened: u64,
    refused: u64,
}

/// Opens envelopes of one session, whichever format each has, and prints what they hold.
struct Reader {
    v1: SessionCipher,
    v2: Option<SessionCipher>,
    json: bool,
}

impl Reader {
    fn new(key: &AesKey, session_id: Option<String>, json: bool) -> Self {
        Self {
            v1: SessionCipher::new(key, Envelope::V1),
            v2: session_id.map(|session_id| SessionCipher::new(key, Envelope::V2 { session_id })),
            json,
        }
    }

    fn read_all(
        &self,
        envelopes: &[String],
        output: &mut impl Write,
        errors: &mut impl Write,
    ) -> io::Result<Tally> {
        let mut tally = Tally::default();
        for envelope in envelopes {
            self.read_one(envelope, &mut tally, output, errors)?;
        }
        Ok(tally)
    }

    /// Prints each message as soon as its line is there, so that a pipe can be followed live. Blank lines
    /// are skipped.
    fn read_lines(
        &self,
        mut input: impl BufRead,
        output: &mut impl Write,
        errors: &mut impl Write,
    ) -> io::Result<Tally> {
        let mut tally = Tally::default();
        let mut line = Vec::new();
        loop {
            line.clear();
            if io::Read::take(&mut input, MAX_LINE_BYTES).read_until(b'\n', &mut line)? == 0 {
                return Ok(tally);
            }
            if line.len() as u64 == MAX_LINE_BYTES && !line.ends_with(b"\n") {
                let reason = format!("a line is longer than {MAX_LINE_BYTES} bytes");
                return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
            }
            // Bytes that are not text become a text that is no envelope, and are reported as one.
            let line = String::from_utf8_lossy(&line);
            if !line.trim().is_empty() {
                self.read_one(line.trim(), &mut tally, output, errors)?;
                output.flush()?;
            }
        }
    }

    fn read_one(
        &self,
        envelope: &str,
        tally: &mut Tally,
        output: &mut impl Write,
        errors: &mut impl Write,
    ) -> io::Result<()> {
        match self.open(envelope) {
            Ok(opened) => {
                tally.opened += 1;
                if self.json {
                    writeln!(output, "{}", shown::line(&opened.to_json().to_string()))
                } else {
                    opened.print(output)
                }
            }
            Err(reason) => {
                tally.refused += 1;
                if self.json {
                    writeln!(output, "{}", json!({ "ok": false, "error": reason }))
                } else {
                    let number = tally.opened + tally.refused;
                    writeln!(errors, "envelope {number}: {reason}")
                }
            }
        }
    }

    fn open(&self, envelope: &str) -> Result<Opened, String> {
        let (format, cipher) = if envelope.starts_with("v2|") {
            (
                "v2",
                self.v2.as_ref().ok_or("a v2 envelope needs --session-id")?,
            )
        } else {
            ("v1", &self.v1)
        };
        let bytes = cipher.open(envelope).map_err(|error| error.to_string())?;
        let text = String::from_utf8(bytes)
            .map_err(|_| "it decrypts to no text: wrong key, or altered on the way")?;
        Ok(Opened { format, text })
    }
}

/// A decrypted message.
struct Opened {
    format: &'static str,
    text: String,
}

impl Opened {
    fn to_json(&self) -> serde_json::Value {
        match serde_json::from_str::<serde_json::Value>(&self.text) {
            Ok(message) => json!({ "ok": true, "format": self.format, "message": message }),
            Err(_) => json!({ "ok": true, "format": self.format, "text": self.text }),
        }
    }

    fn print(&self, output: &mut impl Write) -> io::Result<()> {
        writeln!(output, "{}", shown::line(&self.text))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    const KEY: &str = "LkWUsGQKi8E9QoMJEeY1HLL8rdJNJr3fzDp+F9CpkCY=";
    const OTHER_KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        args: DecryptArgs,
    }

    fn parse(arguments: &[&str]) -> Result<DecryptArgs, clap::Error> {
        Program::try_parse_from([&["decrypt"], arguments].concat()).map(|program| program.args)
    }

    fn key() -> AesKey {
        AesKey::from_base64(KEY).unwrap()
    }

    fn v2_envelope(text: &str) -> String {
        let format = Envelope::V2 {
            session_id: "sess-1".into(),
        };
        SessionCipher::new(&key(), format).seal(7, text.as_bytes())
    }

    /// Feeds `input` as lines; answers standard output, standard error and the tally.
    fn read(
        key: &str,
        session_id: Option<&str>,
        json: bool,
        input: &str,
    ) -> (String, String, Tally) {
        let key = AesKey::from_base64(key).unwrap();
        let reader = Reader::new(&key, session_id.map(Into::into), json);
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let tally = reader
            .read_lines(input.as_bytes(), &mut output, &mut errors)
            .unwrap();
        (
            String::from_utf8(output).unwrap(),
            String::from_utf8(errors).unwrap(),
            tally,
        )
    }

    #[test]
    fn prints_messages_in_order() {
        let input = format!(
            "9734675727|nw7xCnVR0m/YrGgG\n\n 5|hbTFISt3Qi0Irkci8w== \r\n{}",
            v2_envelope(r#"{"b":1}"#)
        );
        let (output, errors, tally) = read(KEY, Some("sess-1"), false, &input);
        assert_eq!(output, "this is test\n{\"a\":\"é✓\"}\n{\"b\":1}\n");
        assert_eq!(
            (errors.as_str(), tally),
            (
                "",
                Tally {
                    opened: 3,
                    refused: 0
                }
            )
        );
    }

    #[test]
    fn reports_what_it_cannot_open_and_goes_on() {
        let input = format!("rubbish\n5|hbTFISt3Qi0Irkci8w==\n{}\n", v2_envelope("{}"));
        let (output, errors, tally) = read(KEY, None, false, &input);
        assert_eq!(output, "{\"a\":\"é✓\"}\n");
        assert_eq!(
            errors,
            "envelope 1: not a v1 (counter|base64) envelope\n\
             envelope 3: a v2 envelope needs --session-id\n"
        );
        assert_eq!(
            tally,
            Tally {
                opened: 1,
                refused: 2
            }
        );
    }

    #[test]
    fn json_says_which_format_and_why_not() {
        let input = format!(
            "9734675727|nw7xCnVR0m/YrGgG\n{}\n{}\n",
            v2_envelope(r#"{"b":"✓"}"#),
            v2_envelope("{}").replace("v2|7|", "v2|8|")
        );
        let (output, errors, tally) = read(KEY, Some("sess-1"), true, &input);
        let lines: Vec<serde_json::Value> = output
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(
            lines,
            [
                json!({ "ok": true, "format": "v1", "text": "this is test" }),
                json!({ "ok": true, "format": "v2", "message": { "b": "✓" } }),
                json!({ "ok": false, "error": "not sealed by this session, or altered since" }),
            ]
        );
        assert_eq!(
            (errors.as_str(), tally),
            (
                "",
                Tally {
                    opened: 2,
                    refused: 1
                }
            )
        );
    }

    #[test]
    fn a_wrong_key_is_told_where_it_shows() {
        let (output, errors, _) = read(OTHER_KEY, None, false, "9734675727|nw7xCnVR0m/YrGgG\n");
        assert_eq!(output, "");
        assert!(errors.contains("wrong key"), "{errors}");
    }

    #[test]
    fn decrypted_text_cannot_command_the_terminal() {
        let text = "{\"a\":\"\u{9b}31m\u{7f}\",\n\t\"b\":1} \u{1b}[2J";
        let envelope = SessionCipher::new(&key(), Envelope::V1).seal(1, text.as_bytes());
        let (output, _, _) = read(KEY, None, false, &envelope);
        assert_eq!(
            output,
            "{\"a\":\"\\u009b31m\\u007f\",  \"b\":1} \\u001b[2J\n"
        );
    }

    #[test]
    fn endless_line_is_refused() {
        let reader = Reader::new(&key(), None, false);
        let endless = io::BufReader::new(io::repeat(b'A'));
        let error = reader
            .read_lines(endless, &mut Vec::new(), &mut Vec::new())
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn key_comes_from_flag_file_or_environment() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), format!("{KEY}\n")).unwrap();
        let path = file.path().to_str().unwrap();
        let check = |arguments: &[&str], variable: Option<&str>, expect: &str| {
            let found = parse(arguments).unwrap().find_key(variable.map(Into::into));
            assert_eq!(
                found.unwrap().to_base64(),
                expect,
                "{arguments:?} {variable:?}"
            );
        };
        check(&["--key", KEY], Some(OTHER_KEY), KEY);
        check(&["--key-file", path], Some(OTHER_KEY), KEY);
        check(&["5|AAAA"], Some(OTHER_KEY), OTHER_KEY);
        assert!(parse(&["--key", KEY, "--key-file", path]).is_err());
    }

    #[test]
    fn key_errors_name_the_origin_and_not_the_key() {
        let check = |arguments: &[&str], variable: Option<&str>, expect: &str| {
            let found = parse(arguments).unwrap().find_key(variable.map(Into::into));
            let error = format!("{:#}", found.unwrap_err());
            assert!(
                error.contains(expect) && !error.contains("c2hvcnQ"),
                "{error}"
            );
        };
        check(&[], None, "no key");
        check(
            &["--key", "c2hvcnQ="],
            None,
            "--key: an AES key is the base64 of exactly 32 bytes",
        );
        check(&[], Some("c2hvcnQ="), "FANFARE_AES_KEY: an AES key");
        check(
            &["--key-file", "/nonexistent/key"],
            None,
            "/nonexistent/key",
        );
    }
}
