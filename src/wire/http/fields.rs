//! Parameters of REST requests: path segments, the query, a JSON body; each error names the field.

use std::borrow::Cow;

use serde::Deserialize;

use super::answer::Refused;
use crate::domain::{AccountId, SessionId, Timestamp, UserId};
use crate::wire::Call;

/// Names and values of the query, decoded as a form; the parameters of a presigned URL left out.
pub(super) fn query(call: &Call) -> Result<Vec<(String, String)>, Refused> {
    let pairs = call.raw_query.split('&').filter(|pair| !pair.is_empty());
    let decoded = pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((decode(name)?, decode(value)?))
    });
    decoded.filter(|pair| !matches!(pair, Ok((name, _)) if name.to_ascii_lowercase().starts_with("x-amz-"))).collect()
}

fn decode(text: &str) -> Result<String, Refused> {
    let spaced = text.replace('+', " ");
    let decoded = percent_encoding::percent_decode_str(&spaced)
        .decode_utf8()
        .map(Cow::into_owned);
    decoded.map_err(|_| Refused::invalid("the query is not UTF-8"))
}

/// A body that is a JSON object.
pub(super) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refused> {
    // serde reads a struct from a list, too.
    if body.trim_ascii().first() != Some(&b'{') {
        return Err(Refused::invalid("the body must be a JSON object"));
    }
    serde_json::from_slice(body)
        .map_err(|error| Refused::invalid(format!("the body is not as it must be: {error}")))
}

/// A parameter's only value; given twice is an error.
pub(super) fn one<'a>(
    query: &'a [(String, String)],
    name: &str,
) -> Result<Option<&'a str>, Refused> {
    let mut values = query
        .iter()
        .filter(|(known, _)| known == name)
        .map(|(_, value)| value.as_str());
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(Refused::invalid(format!("{name} is given twice"))),
    }
}

/// A path segment.
pub(super) fn segment<'a>(call: &'a Call, name: &str) -> Option<&'a str> {
    call.params.get(name)
}

/// An account from the path.
pub(super) fn account(text: &str) -> Result<AccountId, Refused> {
    text.parse()
        .map(AccountId)
        .map_err(|_| Refused::invalid("accountId must be an integer of 64 bits"))
}

/// A user from the path.
pub(super) fn user(text: &str) -> Result<UserId, Refused> {
    text.parse()
        .map(UserId)
        .map_err(|_| Refused::invalid("userId must be an integer of 64 bits"))
}

/// A session id from the path.
pub(super) fn session(text: &str) -> Result<SessionId, Refused> {
    SessionId::parse(text).map_err(|error| Refused::invalid(error.0))
}

/// A whole number within bounds.
pub(super) fn number(name: &str, text: &str, least: u64, most: u64) -> Result<u64, Refused> {
    text.parse()
        .ok()
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| {
            Refused::invalid(format!("{name} must be an integer from {least} to {most}"))
        })
}

/// Epoch seconds, with or without a fraction, to the microsecond.
pub(super) fn epoch(name: &str, text: &str) -> Result<Timestamp, Refused> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let invalid = || Refused::invalid(format!("{name} must be epoch seconds"));
    if !digits(whole) || !digits(fraction) || whole.len() > 12 {
        return Err(invalid());
    }
    let micros: String = fraction.chars().chain("000000".chars()).take(6).collect();
    let secs: u64 = whole.parse().map_err(|_| invalid())?;
    let micros: u64 = micros.parse().map_err(|_| invalid())?;
    Ok(Timestamp(secs * 1_000_000 + micros))
}

/// A time as epoch seconds with six decimals.
pub(super) fn epoch_text(at: Timestamp) -> String {
    format!("{}.{:06}", at.secs(), at.micros() % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epoch_seconds_may_have_a_fraction() {
        for (text, micros) in [
            ("0", 0),
            ("12", 12_000_000),
            ("1.5", 1_500_000),
            ("1.1234567", 1_123_456),
        ] {
            assert_eq!(
                epoch("t", text).map_err(|_| ()),
                Ok(Timestamp(micros)),
                "{text}"
            );
        }
        for text in ["", ".5", "1.", "-1", "1e3", "9999999999999", "NaN", "1.2.3"] {
            assert!(epoch("t", text).is_err(), "{text}");
        }
        assert_eq!(epoch_text(Timestamp(1_000_042)), "1.000042");
    }
}
