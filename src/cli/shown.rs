//! Other people's text on a terminal: it must be readable there, and must not command it.

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// A text on one line, control characters escaped. Inside JSON the escapes stand for the same characters, so JSON stays
/// the same JSON.
pub(super) fn line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            // Between JSON's tokens a line break is only layout; inside strings JSON has none.
            '\n' | '\r' | '\t' => line.push(' '),
            c if c.is_control() => line.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => line.push(c),
        }
    }
    line
}

/// A time in epoch seconds as people read it, in UTC; what is no time stays as it is.
pub(super) fn time(epoch_seconds: &Value) -> String {
    const FORM: &[BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day] [hour]:[minute]:[second]Z");
    let time = epoch_seconds
        .as_f64()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds as i64).ok())
        .and_then(|time| time.format(FORM).ok());
    time.unwrap_or_else(|| line(&epoch_seconds.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_readable() {
        assert_eq!(time(&serde_json::json!(1795246019)), "2026-11-21 07:26:59Z");
        assert_eq!(time(&serde_json::json!(0.999999)), "1970-01-01 00:00:00Z");
        for other in [serde_json::json!(null), serde_json::json!(1e300)] {
            assert_eq!(time(&other), other.to_string());
        }
    }

    #[test]
    fn control_characters_are_escaped_and_json_stays_the_same() {
        let value = serde_json::json!({"a": "\u{9b}31m\u{7f}\n é"});
        let shown = line(&value.to_string());
        assert!(!shown.contains(char::is_control), "{shown:?}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&shown).ok(),
            Some(value)
        );
        assert_eq!(line("\u{1b}[2J\tx\n"), "\\u001b[2J x ");
    }
}
