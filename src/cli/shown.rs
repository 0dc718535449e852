//! Other people's text on a terminal: it must be readable there, and must not command it.

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

#[cfg(test)]
mod tests {
    use super::*;

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
