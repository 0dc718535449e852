//! JSON that survives clients which mangle UTF-8.

use std::{borrow::Cow, fmt::Write as _};

/// Rewrites JSON text so that it is ASCII: every other character becomes `\uXXXX`, a surrogate pair
/// where one unit is not enough. The value it stands for stays the same.
///
/// Old front ends decode bytes one by one, and aes-js garbles characters of four bytes; escapes pass
/// through all of them (CLIENTS 4). Valid JSON has characters beyond ASCII only inside strings, where an
/// escape may always stand for a character, so no parsing is needed. Text that is ASCII already, the
/// common case, comes back as it is.
pub fn ascii_json<'a>(json: impl Into<Cow<'a, str>>) -> Cow<'a, str> {
    let json = json.into();
    if json.is_ascii() {
        return json;
    }
    let mut ascii = String::with_capacity(json.len() * 2);
    let mut rest = &*json;
    while let Some(at) = rest.find(|c: char| !c.is_ascii()) {
        let (plain, foreign) = rest.split_at(at);
        ascii.push_str(plain);
        let mut chars = foreign.chars();
        let character = chars
            .next()
            .expect("`find` answered the start of a character");
        for unit in character.encode_utf16(&mut [0; 2]) {
            write!(ascii, "\\u{unit:04x}").expect("a String accepts every write");
        }
        rest = chars.as_str();
    }
    ascii.push_str(rest);
    Cow::Owned(ascii)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_what_is_not_ascii() {
        let check = |json: &str, expect: &str| assert_eq!(ascii_json(json), expect);
        check(r#"{"a":"plain"}"#, r#"{"a":"plain"}"#);
        check(r#"{"a":"é✓"}"#, r#"{"a":"\u00e9\u2713"}"#);
        check(r#"{"é":"x😀y"}"#, r#"{"\u00e9":"x\ud83d\ude00y"}"#);
        check(
            "\"\u{80}\u{7ff}\u{ffff}\u{10000}\u{10ffff}\"",
            r#""\u0080\u07ff\uffff\ud800\udc00\udbff\udfff""#,
        );
        check("\"\\\\é\\n\u{7f}\"", "\"\\\\\\u00e9\\n\u{7f}\"");
        check("", "");
    }

    #[test]
    fn ascii_text_is_not_copied() {
        assert!(matches!(ascii_json("{}"), Cow::Borrowed("{}")));
        let owned = String::from(r#"{"a":1}"#);
        let address = owned.as_ptr();
        let same = ascii_json(owned).into_owned();
        assert_eq!(same.as_ptr(), address);
    }

    proptest! {
        #[test]
        fn the_value_stays_the_same(key in any::<String>(), text in any::<String>()) {
            let value = serde_json::json!({ key: [text, 1, null] });
            let ascii = ascii_json(value.to_string());
            prop_assert!(ascii.is_ascii());
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&ascii).unwrap(), value);
        }
    }
}
