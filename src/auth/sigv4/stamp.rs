//! Instants as SigV4 writes them: whole seconds, `20261121T020304Z`.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time};

/// The one format of `Date` that HTTP still allows to be sent (RFC 9110, section 5.6.7).
const HTTP_DATE: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);

/// Whole seconds since the Unix epoch; shown in ISO 8601 basic form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(i64);

impl Stamp {
    /// The instant `seconds` after the Unix epoch.
    #[must_use]
    pub fn from_epoch_seconds(seconds: i64) -> Self {
        Self(seconds)
    }

    /// Seconds since the Unix epoch.
    #[must_use]
    pub fn epoch_seconds(self) -> i64 {
        self.0
    }

    /// This instant moved by `seconds`. Saturates, because the sender chooses the instant.
    #[must_use]
    pub fn offset(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// Reads exactly `YYYYMMDDTHHMMSSZ`.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() != 16 || text[8] != b'T' || text[15] != b'Z' {
            return None;
        }
        let number = |from: usize, to: usize| -> Option<u16> {
            text[from..to].iter().try_fold(0_u16, |sum, byte| {
                byte.is_ascii_digit()
                    .then(|| sum * 10 + u16::from(byte - b'0'))
            })
        };
        let two = |from: usize| number(from, from + 2).and_then(|n| u8::try_from(n).ok());
        let month = Month::try_from(two(4)?).ok()?;
        let date = Date::from_calendar_date(i32::from(number(0, 4)?), month, two(6)?).ok()?;
        let time = Time::from_hms(two(9)?, two(11)?, two(13)?).ok()?;
        Some(Self(
            PrimitiveDateTime::new(date, time)
                .assume_utc()
                .unix_timestamp(),
        ))
    }

    /// Reads a `Date` header.
    #[must_use]
    pub fn parse_http_date(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let date = PrimitiveDateTime::parse(text, HTTP_DATE).ok()?;
        Some(Self(date.assume_utc().unix_timestamp()))
    }
}

impl Stamp {
    /// The sixteen characters that SigV4 signs; `None` outside the years 0 to 9999.
    #[must_use]
    pub fn text(self) -> Option<[u8; 16]> {
        let t = OffsetDateTime::from_unix_timestamp(self.0).ok()?;
        let year = u32::try_from(t.year()).ok().filter(|year| *year <= 9999)?;
        let mut text = *b"00000000T000000Z";
        let mut put = |at: usize, number: u32| {
            for (place, power) in [(at, 10), (at + 1, 1)] {
                text[place] = b'0' + u8::try_from(number / power % 10).expect("a digit");
            }
        };
        put(0, year / 100);
        put(2, year % 100);
        put(4, u8::from(t.month()).into());
        put(6, t.day().into());
        put(9, t.hour().into());
        put(11, t.minute().into());
        put(13, t.second().into());
        Some(text)
    }
}

impl From<SystemTime> for Stamp {
    fn from(time: SystemTime) -> Self {
        // A clock before 1970 is as wrong as one at 1970: both refuse every signature.
        let seconds = time
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        Self(i64::try_from(seconds).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text() {
            Some(text) => f.write_str(&String::from_utf8_lossy(&text)),
            None => write!(f, "@{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_survives_its_text() {
        for text in [
            "20261121T020304Z",
            "19700101T000000Z",
            "20240229T235959Z",
            "99991231T235959Z",
        ] {
            let stamp = Stamp::parse(text.as_bytes()).expect(text);
            assert_eq!(stamp.to_string(), text);
        }
        assert_eq!(
            Stamp::parse(b"20160610T180547Z"),
            Some(Stamp(1_465_581_947))
        );
    }

    #[test]
    fn anything_but_the_exact_form_is_refused() {
        for text in [
            "",
            "20261121T020304",
            "20261121 020304Z",
            "2026-11-21T02:03:04Z",
            "20261321T020304Z",
            "20260229T020304Z",
            "20261121T240304Z",
            "20261121T020360Z",
            "+0261121T020304Z",
            "2026112\u{661}T02030Z",
        ] {
            assert_eq!(Stamp::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn an_http_date_is_read_and_extremes_do_not_overflow() {
        let read = Stamp::parse_http_date(b"Fri, 10 Jun 2016 18:05:47 GMT");
        assert_eq!(read, Some(Stamp(1_465_581_947)));
        assert_eq!(
            Stamp::parse_http_date(b"Fri, 10 Jun 2016 18:05:47 +0100"),
            None
        );
        assert_eq!(Stamp(i64::MAX).offset(1), Stamp(i64::MAX));
        assert_eq!(Stamp(i64::MAX).to_string(), "@9223372036854775807");
    }
}
