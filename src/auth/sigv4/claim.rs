//! What a request says about itself: read from the `Authorization` header or the presigned query.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use percent_encoding::percent_decode_str;
use subtle::ConstantTimeEq;

use super::error::AuthError;
use super::stamp::Stamp;
use super::{LONGEST_PRESIGNED, Request};

/// The only algorithm spoken here. SigV4a and older versions are answered as malformed.
pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Where the signature was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// In the `Authorization` header.
    Header,
    /// In the query, with the seconds of `X-Amz-Expires` (1..=604800) if given.
    Query {
        /// How long the signer lets the URL live.
        expires_secs: Option<u32>,
    },
}

/// A signature as it was sent. It has no `==`: how long a comparison takes must not tell how much of it is right
/// (RELIABILITY S13).
#[derive(Clone)]
pub(super) struct Signature([u8; 32]);

impl Signature {
    #[cfg(test)]
    pub(super) fn sent(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Whether it is the right one, in constant time.
    pub(super) fn is(&self, right: &[u8; 32]) -> bool {
        self.0.ct_eq(right).into()
    }
}

/// Which header or parameter gave the time of the signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimeSource {
    AmzDate,
    Date,
    Query,
}

/// An untrusted statement: "I am this key, I signed these headers at this time".
///
/// Borrows from the request. Well-formed, and that is all: trust begins after [`super::Verifier::verify`].
pub struct Claim<'a> {
    /// `access key/date/region/service/aws4_request`.
    credential: Cow<'a, str>,
    /// Where date, region and service lie in it.
    date: Range<usize>,
    region: Range<usize>,
    service: Range<usize>,
    pub(super) signed_headers: Cow<'a, str>,
    pub(super) signature: Signature,
    pub(super) time_source: TimeSource,
    time: Stamp,
    token: Option<Cow<'a, str>>,
    pub(super) token_in_header: bool,
    form: Form,
}

impl<'a> Claim<'a> {
    /// Reads the claim, in either form. `Ok(None)` if the request carries no SigV4 data at all.
    ///
    /// # Errors
    /// [`AuthError::IncompleteSignature`] if it is malformed, comes in both forms at once, or names
    /// anything twice; [`AuthError::MissingAuthentication`] if the query names a credential but
    /// proves nothing.
    pub fn parse(request: &Request<'a>) -> Result<Option<Self>, AuthError> {
        let twice = AuthError::IncompleteSignature("Authorization was sent more than once.");
        let header = request.only("authorization", twice)?;
        match (QueryParts::collect(request.raw_query)?, header) {
            (None, None) => Ok(None),
            (None, Some(header)) => Self::from_header(request, header),
            (Some(parts), None) => Self::from_query(request, parts).map(Some),
            (Some(_), Some(_)) => Err(AuthError::IncompleteSignature(
                "Only one of the Authorization header and the query may carry a signature.",
            )),
        }
    }

    /// The access key id.
    #[must_use]
    pub fn access_key(&self) -> &str {
        &self.credential[..self.date.start - 1]
    }

    /// The whole scope, `date/region/service/aws4_request`.
    #[must_use]
    pub fn scope(&self) -> &str {
        &self.credential[self.date.start..]
    }

    /// The scope's day, eight digits.
    #[must_use]
    pub fn scope_date(&self) -> &str {
        &self.credential[self.date.clone()]
    }

    /// The scope's region.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.credential[self.region.clone()]
    }

    /// The scope's service, which also tells which wire the client meant to talk to.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.credential[self.service.clone()]
    }

    /// When the request says that it was signed.
    #[must_use]
    pub fn time(&self) -> Stamp {
        self.time
    }

    /// Where the signature was.
    #[must_use]
    pub fn form(&self) -> Form {
        self.form
    }

    /// The signature: what a replay of this request would carry again.
    #[must_use]
    pub fn signature(&self) -> &[u8; 32] {
        &self.signature.0
    }

    /// The session token as sent.
    #[must_use]
    pub fn session_token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Whether `name` (lower case) is among the signed headers.
    #[must_use]
    pub fn signs(&self, name: &str) -> bool {
        self.signed_headers.split(';').any(|signed| signed == name)
    }

    /// Compares the session token with the one issued for the key, in constant time.
    ///
    /// # Errors
    /// [`AuthError::InvalidClientToken`] unless both are the same, or there is none on either side.
    pub fn check_token(&self, issued: Option<&str>) -> Result<(), AuthError> {
        match (self.session_token(), issued) {
            (None, None) => Ok(()),
            (Some(sent), Some(issued)) if bool::from(sent.as_bytes().ct_eq(issued.as_bytes())) => {
                Ok(())
            }
            _ => Err(AuthError::InvalidClientToken),
        }
    }

    fn from_header(request: &Request<'a>, header: &'a [u8]) -> Result<Option<Self>, AuthError> {
        let header =
            str::from_utf8(header).map_err(|_| incomplete("Authorization is not text."))?;
        let (scheme, fields) = header.split_once(' ').unwrap_or((header, ""));
        if scheme != ALGORITHM {
            // Other schemes are not ours to judge: to SigV4 such a request is anonymous.
            return if scheme.starts_with("AWS") {
                Err(incomplete(
                    "Unsupported AWS 'algorithm' in the Authorization header.",
                ))
            } else {
                Ok(None)
            };
        }
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for field in fields.split(',') {
            let (name, value) = field.trim().split_once('=').ok_or(incomplete(
                "Authorization header holds a part that is not 'name=value'.",
            ))?;
            let slot = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed_headers,
                "Signature" => &mut signature,
                _ => return Err(incomplete("Authorization header holds an unknown part.")),
            };
            if slot.replace(value).is_some() {
                return Err(incomplete("Authorization header names a part twice."));
            }
        }
        let missing = |part| move || incomplete(part);
        let credential = credential.ok_or_else(missing(
            "Authorization header requires 'Credential' parameter.",
        ))?;
        let signed_headers = signed_headers.ok_or_else(missing(
            "Authorization header requires 'SignedHeaders' parameter.",
        ))?;
        let signature = signature.ok_or_else(missing(
            "Authorization header requires 'Signature' parameter.",
        ))?;
        let (time, time_source) = header_time(request)?;
        Self::assemble(Parts {
            credential: credential.into(),
            signed_headers: signed_headers.into(),
            signature,
            time,
            time_source,
            token: header_token(request)?.map(Cow::Borrowed),
            token_in_header: true,
            form: Form::Header,
        })
        .map(Some)
    }

    fn from_query(request: &Request<'a>, parts: QueryParts<'a>) -> Result<Self, AuthError> {
        // CVE-2026-41145: a credential without a proof is no authentication.
        let signature = parts.signature.ok_or(AuthError::MissingAuthentication)?;
        let credential = parts.credential.ok_or(AuthError::MissingAuthentication)?;
        if parts.algorithm.as_deref() != Some(ALGORITHM) {
            return Err(incomplete("X-Amz-Algorithm must be AWS4-HMAC-SHA256."));
        }
        let signed_headers = parts
            .signed_headers
            .ok_or(incomplete("X-Amz-SignedHeaders is required."))?;
        let date = parts.date.ok_or(incomplete("X-Amz-Date is required."))?;
        let time = Stamp::parse(date.as_bytes()).ok_or(incomplete(
            "X-Amz-Date must be in the form YYYYMMDDTHHMMSSZ.",
        ))?;
        let header_token = header_token(request)?;
        if header_token.is_some() && parts.token.is_some() {
            return Err(incomplete("X-Amz-Security-Token was sent more than once."));
        }
        Self::assemble(Parts {
            credential,
            signed_headers,
            signature: &signature,
            time,
            time_source: TimeSource::Query,
            token_in_header: header_token.is_some(),
            token: parts.token.or(header_token.map(Cow::Borrowed)),
            form: Form::Query {
                expires_secs: parts.expires.as_deref().map(expires).transpose()?,
            },
        })
    }

    fn assemble(parts: Parts<'a, '_>) -> Result<Self, AuthError> {
        let scoped = incomplete("Credential must be key/date/region/service/aws4_request.");
        let mut ends = parts
            .credential
            .bytes()
            .enumerate()
            .filter(|(_, byte)| *byte == b'/')
            .map(|(at, _)| at);
        let mut next = || ends.next().ok_or(scoped.clone());
        let (key, date, region, service) = (next()?, next()?, next()?, next()?);
        let no_more = ends.next().is_none();
        if !no_more || key == 0 || parts.credential[service + 1..] != *"aws4_request" {
            return Err(scoped);
        }
        check_signed_headers(&parts.signed_headers)?;
        Ok(Self {
            credential: parts.credential,
            date: key + 1..date,
            region: date + 1..region,
            service: region + 1..service,
            signed_headers: parts.signed_headers,
            signature: lower_hex(parts.signature).map(Signature).ok_or(incomplete(
                "Signature must be 64 lower-case hexadecimal digits.",
            ))?,
            time_source: parts.time_source,
            time: parts.time,
            token: parts.token,
            token_in_header: parts.token_in_header,
            form: parts.form,
        })
    }
}

impl fmt::Debug for Claim<'_> {
    /// Leaves out signature and token: a log must not hold what a replay needs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim")
            .field("credential", &self.credential)
            .field("signed_headers", &self.signed_headers)
            .field("time", &self.time)
            .field("form", &self.form)
            .finish_non_exhaustive()
    }
}

/// Both forms, brought to one shape.
struct Parts<'a, 's> {
    credential: Cow<'a, str>,
    signed_headers: Cow<'a, str>,
    signature: &'s str,
    time: Stamp,
    time_source: TimeSource,
    token: Option<Cow<'a, str>>,
    token_in_header: bool,
    form: Form,
}

/// The authentication parameters of a query, decoded.
#[derive(Default)]
struct QueryParts<'a> {
    algorithm: Option<Cow<'a, str>>,
    credential: Option<Cow<'a, str>>,
    date: Option<Cow<'a, str>>,
    expires: Option<Cow<'a, str>>,
    signed_headers: Option<Cow<'a, str>>,
    signature: Option<Cow<'a, str>>,
    token: Option<Cow<'a, str>>,
}

impl<'a> QueryParts<'a> {
    /// `None` if no parameter claims an identity: `X-Amz-Date` alone may belong to the application.
    fn collect(raw_query: &'a str) -> Result<Option<Self>, AuthError> {
        let mut parts = Self::default();
        for (name, value) in pairs(raw_query) {
            // Names are compared decoded, so that no spelling slips past this list.
            let slot = match &*decoded(name) {
                b"X-Amz-Algorithm" => &mut parts.algorithm,
                b"X-Amz-Credential" => &mut parts.credential,
                b"X-Amz-Date" => &mut parts.date,
                b"X-Amz-Expires" => &mut parts.expires,
                b"X-Amz-SignedHeaders" => &mut parts.signed_headers,
                b"X-Amz-Signature" => &mut parts.signature,
                b"X-Amz-Security-Token" => &mut parts.token,
                _ => continue,
            };
            let value = match decoded(value) {
                Cow::Borrowed(bytes) => str::from_utf8(bytes).ok().map(Cow::Borrowed),
                Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
            };
            let value = value.ok_or(incomplete("An authentication parameter is not text."))?;
            if slot.replace(value).is_some() {
                return Err(incomplete(
                    "An authentication parameter was sent more than once.",
                ));
            }
        }
        let claims =
            parts.algorithm.is_some() || parts.credential.is_some() || parts.signature.is_some();
        Ok(claims.then_some(parts))
    }
}

/// The `name=value` pairs of a raw query, undecoded; a name without `=` has an empty value.
pub(super) fn pairs(raw_query: &str) -> impl Iterator<Item = (&str, &str)> {
    raw_query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// Undoes form encoding: `+` is a space, a stray `%` stands for itself.
pub(super) fn decoded(text: &str) -> Cow<'_, [u8]> {
    if text.contains('+') {
        Cow::Owned(percent_decode_str(&text.replace('+', " ")).collect())
    } else {
        percent_decode_str(text).into()
    }
}

fn incomplete(reason: &'static str) -> AuthError {
    AuthError::IncompleteSignature(reason)
}

/// `X-Amz-Date` before `Date`, as AWS does.
fn header_time(request: &Request<'_>) -> Result<(Stamp, TimeSource), AuthError> {
    let twice = incomplete("X-Amz-Date or Date was sent more than once.");
    if let Some(date) = request.only("x-amz-date", twice.clone())? {
        let time = Stamp::parse(date.trim_ascii()).ok_or(incomplete(
            "X-Amz-Date must be in the form YYYYMMDDTHHMMSSZ.",
        ))?;
        return Ok((time, TimeSource::AmzDate));
    }
    let date = request.only("date", twice)?.ok_or(incomplete(
        "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
    ))?;
    let date = date.trim_ascii();
    let time = Stamp::parse(date)
        .or_else(|| Stamp::parse_http_date(date))
        .ok_or(incomplete(
            "Date must be an HTTP date or in the form YYYYMMDDTHHMMSSZ.",
        ))?;
    Ok((time, TimeSource::Date))
}

fn header_token<'a>(request: &Request<'a>) -> Result<Option<&'a str>, AuthError> {
    let twice = incomplete("X-Amz-Security-Token was sent more than once.");
    let Some(token) = request.only("x-amz-security-token", twice)? else {
        return Ok(None);
    };
    let token =
        str::from_utf8(token).map_err(|_| incomplete("X-Amz-Security-Token is not text."))?;
    Ok(Some(token.trim()))
}

fn expires(text: &str) -> Result<u32, AuthError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|seconds| {
            digits && (1..=LONGEST_PRESIGNED.as_secs()).contains(&u64::from(*seconds))
        })
        .ok_or(incomplete(
            "X-Amz-Expires must be between 1 and 604800 seconds.",
        ))
}

/// The list must be lower case and strictly ascending, which also rules out anything twice.
fn check_signed_headers(list: &str) -> Result<(), AuthError> {
    let mut previous = "";
    for name in list.split(';') {
        let token = name.strip_prefix(':').unwrap_or(name);
        let plain = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte)
        };
        if token.is_empty() || !token.bytes().all(plain) || name <= previous {
            return Err(incomplete(
                "SignedHeaders must be lower case, sorted and without repetition.",
            ));
        }
        previous = name;
    }
    Ok(())
}

/// Only lower case, so that a signature has one spelling.
fn lower_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let lower = text.bytes().all(|byte| !byte.is_ascii_uppercase());
    (lower && hex::decode_to_slice(text, &mut bytes).is_ok()).then_some(bytes)
}
