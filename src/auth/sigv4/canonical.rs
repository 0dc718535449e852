//! The canonical request: the one text that signer and verifier must both arrive at.

use std::ops::Range;

use super::claim::{Claim, pairs};
use super::{Form, Request};

/// How the query entered the signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QueryForm {
    /// Decoded, encoded again, sorted: AWS's rule.
    Canonical,
    /// The same, but the session token was appended after signing (IoT).
    WithoutToken,
    /// Letter by letter, as curl did before 8.0. It binds more than the rule, never less.
    AsSent,
}

/// A host and what to write after it; see [`super::Kind::Mqtt`].
#[derive(Clone, Copy, Debug)]
pub(super) struct HostForm<'a> {
    pub(super) name: &'a [u8],
    pub(super) suffix: &'static [u8],
}

/// Buffers that survive from one request to the next.
#[derive(Default)]
pub(super) struct Scratch {
    /// The text under construction.
    pub(super) text: Vec<u8>,
    /// Encoded query parameters, and where each name and value lies.
    encoded: Vec<u8>,
    order: Vec<(Range<usize>, Range<usize>)>,
}

impl Scratch {
    /// Whether the buffers are small enough to be kept.
    pub(super) fn is_modest(&self) -> bool {
        const KEPT: usize = 64 * 1024;
        self.text.capacity() + self.encoded.capacity() + self.order.capacity() * 32 <= KEPT
    }
}

/// The host as the client addressed it: `Host`, or HTTP/2's `:authority`, whichever `name` asks for
/// first. `None` if there is none or more than one.
pub(super) fn host<'a>(request: &Request<'a>, name: &str) -> Option<&'a [u8]> {
    let duplicate = super::AuthError::MissingAuthentication;
    let header = request.only("host", duplicate).ok()?;
    let authority = request.authority.map(str::as_bytes);
    if name == "host" {
        header.or(authority)
    } else {
        authority.or(header)
    }
}

/// Writes the canonical request into `scratch.text`. `None` if a signed header was not received:
/// then nothing can match.
pub(super) fn write(
    scratch: &mut Scratch,
    request: &Request<'_>,
    claim: &Claim<'_>,
    query: QueryForm,
    host: HostForm<'_>,
    payload_hash: &[u8],
) -> Option<()> {
    scratch.text.clear();
    scratch.text.extend_from_slice(request.method.as_bytes());
    scratch.text.push(b'\n');
    // The path is encoded already; every service but S3 has it encoded a second time.
    let path = if request.raw_path.is_empty() {
        "/"
    } else {
        request.raw_path
    };
    for byte in path.bytes() {
        if byte == b'/' {
            scratch.text.push(byte)
        } else {
            encode(&mut scratch.text, byte)
        }
    }
    scratch.text.push(b'\n');
    write_query(scratch, request.raw_query, claim.form(), query);
    scratch.text.push(b'\n');
    let out = &mut scratch.text;
    for name in claim.signed_headers.split(';') {
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
        if name == "host" || name == ":authority" {
            collapse(out, host.name);
            out.extend_from_slice(host.suffix);
        } else {
            write_values(out, request, name)?;
        }
        out.push(b'\n');
    }
    out.push(b'\n');
    out.extend_from_slice(claim.signed_headers.as_bytes());
    out.push(b'\n');
    out.extend_from_slice(payload_hash);
    Some(())
}

/// All values of a header, joined by commas.
fn write_values(out: &mut Vec<u8>, request: &Request<'_>, name: &str) -> Option<()> {
    let mut found = false;
    request.headers.values(name, &mut |value| {
        if found {
            out.push(b',');
        }
        found = true;
        collapse(out, value);
    });
    found.then_some(())
}

/// Trims, and makes every run of spaces one space.
fn collapse(out: &mut Vec<u8>, value: &[u8]) {
    let mut blank = false;
    for &byte in value.trim_ascii() {
        let space = byte == b' ' || byte == b'\t';
        if !(space && blank) {
            out.push(if space { b' ' } else { byte });
        }
        blank = space;
    }
}

fn write_query(scratch: &mut Scratch, raw_query: &str, form: Form, query: QueryForm) {
    if raw_query.is_empty() {
        return;
    }
    if query == QueryForm::AsSent {
        scratch.text.extend_from_slice(raw_query.as_bytes());
        return;
    }
    let Scratch {
        text,
        encoded,
        order,
    } = scratch;
    encoded.clear();
    order.clear();
    for (name, value) in pairs(raw_query) {
        let start = encoded.len();
        recode(encoded, name);
        let middle = encoded.len();
        let left_out = match &encoded[start..] {
            b"X-Amz-Signature" => form != Form::Header,
            b"X-Amz-Security-Token" => query == QueryForm::WithoutToken,
            _ => false,
        };
        if left_out {
            encoded.truncate(start);
            continue;
        }
        recode(encoded, value);
        order.push((start..middle, middle..encoded.len()));
    }
    let at = |range: &Range<usize>| &encoded[range.clone()];
    order.sort_unstable_by(|a, b| (at(&a.0), at(&a.1)).cmp(&(at(&b.0), at(&b.1))));
    for (index, (name, value)) in order.iter().enumerate() {
        if index > 0 {
            text.push(b'&');
        }
        text.extend_from_slice(at(name));
        text.push(b'=');
        text.extend_from_slice(at(value));
    }
}

/// Decodes form encoding and encodes AWS's way, in one pass.
fn recode(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let hex = |offset: usize| {
            bytes
                .get(at + offset)
                .and_then(|byte| char::from(*byte).to_digit(16))
        };
        match (bytes[at], hex(1), hex(2)) {
            (b'%', Some(high), Some(low)) => {
                encode(
                    out,
                    u8::try_from(high * 16 + low).expect("two hexadecimal digits fill a byte"),
                );
                at += 3;
                continue;
            }
            (b'+', ..) => encode(out, b' '),
            (byte, ..) => encode(out, byte),
        }
        at += 1;
    }
}

/// Percent-encodes all but RFC 3986's unreserved characters.
fn encode(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
        out.push(byte);
    } else {
        out.extend_from_slice(&[
            b'%',
            DIGITS[usize::from(byte >> 4)],
            DIGITS[usize::from(byte & 15)],
        ]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_query(raw: &str, expect: &str) {
        let mut scratch = Scratch::default();
        write_query(&mut scratch, raw, Form::Header, QueryForm::Canonical);
        assert_eq!(String::from_utf8(scratch.text).unwrap(), expect, "{raw}");
    }

    #[test]
    fn queries_are_sorted_and_encoded_once() {
        check_query("", "");
        check_query("b=2&a=1", "a=1&b=2");
        check_query("a", "a=");
        check_query("a=b=c", "a=b%3Dc");
        check_query("a&&b", "a=&b=");
        check_query("a=2&a=1&a=10", "a=1&a=10&a=2");
        check_query("a-b=1&a=2&aa=3", "a=2&a-b=1&aa=3");
        check_query("x=%7e%2f&y=a+b", "x=~%2F&y=a%20b");
        check_query("x=%zz%2&y=%", "x=%25zz%252&y=%25");
        check_query("ሴ=bar", "%E1%88%B4=bar");
        check_query("B=1&a=2&A=3", "A=3&B=1&a=2");
    }

    #[test]
    fn header_values_are_trimmed_and_collapsed() {
        for (raw, expect) in [
            ("  a   b\t c ", "a b c"),
            ("", ""),
            ("   ", ""),
            ("\"a   b\"", "\"a b\""),
            ("é  é", "é é"),
        ] {
            let mut out = Vec::new();
            collapse(&mut out, raw.as_bytes());
            assert_eq!(String::from_utf8(out).unwrap(), expect, "{raw:?}");
        }
    }
}
