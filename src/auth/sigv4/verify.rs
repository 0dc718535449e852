//! The decision: does the claim hold for this request, under these rules?

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::canonical::{self, HostForm, QueryForm, Scratch};
use super::claim::{ALGORITHM, Claim, TimeSource, decoded, pairs};
use super::error::{AuthError, Mismatch};
use super::key::{KeyCache, SigningKey};
use super::stamp::Stamp;
use super::{Form, Kind, Request, Rules};

const UNSIGNED_PAYLOAD: &[u8] = b"UNSIGNED-PAYLOAD";

/// What the server knows about an access key.
#[derive(Clone, Copy)]
pub struct Credential<'a> {
    /// The secret access key.
    pub secret_key: &'a str,
    /// The session token issued with it; `None` for a permanent key.
    pub session_token: Option<&'a str>,
    /// When it stops working; `None` for a permanent key.
    pub expires: Option<Stamp>,
}

impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// Stands in for a key that does not exist, so that the same work is done.
const STAND_IN: Credential<'_> = Credential {
    secret_key: "no access key has this secret, it opens nothing",
    session_token: None,
    expires: None,
};

/// Verifies requests and remembers signing keys. One for the whole process.
#[derive(Debug)]
pub struct Verifier {
    keys: KeyCache,
}

impl Verifier {
    /// A verifier that remembers at most `capacity` signing keys.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            keys: KeyCache::new(capacity),
        }
    }

    /// Decides on a request, given what the look-up of [`Claim::access_key`] found.
    ///
    /// Pass `None` for an unknown key instead of answering at once: the same work is done, and the
    /// answer is that of a wrong signature.
    ///
    /// # Errors
    /// In this order: scope, clock, signed headers and payload; the signature; then, for the holder
    /// of the secret only, [`AuthError::InvalidClientToken`] and [`AuthError::ExpiredToken`].
    pub fn verify(
        &self,
        request: &Request<'_>,
        claim: &Claim<'_>,
        credential: Option<&Credential<'_>>,
        rules: &Rules<'_>,
    ) -> Result<(), AuthError> {
        // Before the cache, so that only scopes served here can take a slot in it.
        let payload = check_rules(request, claim, rules)?;
        // Unknown keys share one slot: an empty access key is one that nobody can claim.
        let (access_key, known) = match credential {
            Some(known) => (claim.access_key(), known),
            None => ("", &STAND_IN),
        };
        let key = self
            .keys
            .signing_key(access_key, claim.scope(), known.secret_key);
        check_signature(request, claim, &key, rules.kind, &payload)?;
        if credential.is_none() {
            return Err(Mismatch::Signature.into());
        }
        claim.check_token(known.session_token)?;
        match known.expires {
            Some(expires) if rules.now >= expires => Err(AuthError::ExpiredToken),
            _ => Ok(()),
        }
    }
}

/// Verifies with a signing key at hand: rules and signature, but neither token nor key expiry.
///
/// # Errors
/// As [`Verifier::verify`], up to and including the signature.
pub fn verify(
    request: &Request<'_>,
    claim: &Claim<'_>,
    key: &SigningKey,
    rules: &Rules<'_>,
) -> Result<(), AuthError> {
    let payload = check_rules(request, claim, rules)?;
    check_signature(request, claim, key, rules.kind, &payload)
}

/// The last line of the canonical request.
enum Payload {
    Hash([u8; 64]),
    Unsigned,
}

impl Payload {
    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Hash(hash) => hash,
            Self::Unsigned => UNSIGNED_PAYLOAD,
        }
    }
}

/// Everything that can be decided without a key.
fn check_rules(
    request: &Request<'_>,
    claim: &Claim<'_>,
    rules: &Rules<'_>,
) -> Result<Payload, AuthError> {
    check_scope(claim, rules)?;
    check_time(claim, rules)?;
    check_signed(request, claim)?;
    payload(request, claim, rules)
}

fn check_scope(claim: &Claim<'_>, rules: &Rules<'_>) -> Result<(), AuthError> {
    if !rules.services.contains(&claim.service()) {
        return Err(Mismatch::Service.into());
    }
    if !rules.regions.iter().any(|region| region == claim.region()) {
        return Err(Mismatch::Region.into());
    }
    match claim.time().text() {
        Some(text) if text[..8] == *claim.scope_date().as_bytes() => Ok(()),
        _ => Err(Mismatch::Date.into()),
    }
}

fn check_time(claim: &Claim<'_>, rules: &Rules<'_>) -> Result<(), AuthError> {
    let (signed, now) = (claim.time(), rules.now);
    let ahead = seconds(rules.max_skew);
    if signed > now.offset(ahead) {
        return Err(AuthError::SignatureNotYetCurrent {
            signed,
            now,
            window_secs: ahead,
        });
    }
    let window_secs = match claim.form() {
        Form::Header => ahead,
        Form::Query {
            expires_secs: Some(expires),
        } => seconds(rules.max_presigned).min(i64::from(expires)),
        Form::Query { expires_secs: None } if rules.kind == Kind::Mqtt => {
            seconds(rules.max_presigned)
        }
        Form::Query { expires_secs: None } => {
            return Err(AuthError::IncompleteSignature("X-Amz-Expires is required."));
        }
    };
    if signed < now.offset(-window_secs) {
        return Err(AuthError::SignatureExpired {
            signed,
            now,
            window_secs,
        });
    }
    Ok(())
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

/// A header that changes what a request means must be signed, or it could be exchanged.
fn check_signed(request: &Request<'_>, claim: &Claim<'_>) -> Result<(), AuthError> {
    let unsigned = |name| Err(Mismatch::Unsigned(name).into());
    if !claim.signs("host") && !claim.signs(":authority") {
        return unsigned("Host' or ':authority");
    }
    match claim.time_source {
        TimeSource::AmzDate if !claim.signs("x-amz-date") => return unsigned("x-amz-date"),
        TimeSource::Date if !claim.signs("date") => return unsigned("date"),
        _ => {}
    }
    if claim.token_in_header
        && claim.session_token().is_some()
        && !claim.signs("x-amz-security-token")
    {
        return unsigned("x-amz-security-token");
    }
    // The target selects the operation: unsigned, a captured read could be replayed as a deletion.
    let mut targets = false;
    request
        .headers
        .values("x-amz-target", &mut |_| targets = true);
    if targets && !claim.signs("x-amz-target") {
        return unsigned("x-amz-target");
    }
    Ok(())
}

/// Hashes the body and holds it against what the request says about it.
fn payload(
    request: &Request<'_>,
    claim: &Claim<'_>,
    rules: &Rules<'_>,
) -> Result<Payload, AuthError> {
    let twice = AuthError::IncompleteSignature("X-Amz-Content-Sha256 was sent more than once.");
    let header = request.only("x-amz-content-sha256", twice.clone())?;
    let mut declared = header.map(|value| Cow::Borrowed(value.trim_ascii()));
    if claim.form() != Form::Header {
        for (name, value) in pairs(request.raw_query) {
            if &*decoded(name) == b"X-Amz-Content-Sha256"
                && declared.replace(decoded(value)).is_some()
            {
                return Err(twice);
            }
        }
    }
    let Some(declared) = declared else {
        return Ok(Payload::Hash(hash_text(request.body)));
    };
    if &*declared == UNSIGNED_PAYLOAD {
        return if rules.allow_unsigned_payload {
            Ok(Payload::Unsigned)
        } else {
            Err(AuthError::AccessDenied(
                "UNSIGNED-PAYLOAD is accepted over TLS only.",
            ))
        };
    }
    let is_hash = declared.len() == 64
        && declared
            .iter()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !is_hash {
        // Streaming and trailer modes end here, and whatever is invented next (CVE-2026-40344).
        return Err(AuthError::AccessDenied(
            "This payload signing mode is not supported.",
        ));
    }
    let hash = hash_text(request.body);
    if *declared == hash {
        Ok(Payload::Hash(hash))
    } else {
        Err(Mismatch::Payload.into())
    }
}

fn hash_text(bytes: &[u8]) -> [u8; 64] {
    let mut text = [0; 64];
    hex::encode_to_slice(Sha256::digest(bytes), &mut text).expect("32 bytes make 64 digits");
    text
}

thread_local! {
    /// Taken while in use and put back after: a signature check allocates nothing once warm.
    static SCRATCH: Cell<Scratch> = Cell::default();
}

fn check_signature(
    request: &Request<'_>,
    claim: &Claim<'_>,
    key: &SigningKey,
    kind: Kind,
    payload: &Payload,
) -> Result<(), AuthError> {
    let mut scratch = SCRATCH.take();
    let matches = matches_any_form(&mut scratch, request, claim, key, kind, payload.as_bytes());
    if scratch.is_modest() {
        SCRATCH.set(scratch);
    }
    if matches {
        Ok(())
    } else {
        Err(Mismatch::Signature.into())
    }
}

/// Tries each way in which this kind of client may have signed; the usual one first. Which ways
/// there are depends on the request alone, so a failure takes as long for every key.
fn matches_any_form(
    scratch: &mut Scratch,
    request: &Request<'_>,
    claim: &Claim<'_>,
    key: &SigningKey,
    kind: Kind,
    payload: &[u8],
) -> bool {
    let signed = if claim.signs("host") {
        "host"
    } else {
        ":authority"
    };
    let Some(host) = canonical::host(request, signed) else {
        return false;
    };
    let (first, second) = query_forms(request, claim, kind);
    let hosts = std::iter::once(HostForm {
        name: host,
        suffix: b"",
    })
    .chain(
        (kind == Kind::Mqtt)
            .then(|| other_port_form(host))
            .flatten(),
    );
    hosts.into_iter().any(|host| {
        std::iter::once(first).chain(second).any(|query| {
            canonical::write(scratch, request, claim, query, host, payload).is_some()
                && signature_is(scratch, claim, key)
        })
    })
}

fn query_forms(
    request: &Request<'_>,
    claim: &Claim<'_>,
    kind: Kind,
) -> (QueryForm, Option<QueryForm>) {
    match (claim.form(), kind) {
        (Form::Header, _) if request.raw_query.is_empty() => (QueryForm::Canonical, None),
        (Form::Header, _) => (QueryForm::Canonical, Some(QueryForm::AsSent)),
        (Form::Query { .. }, Kind::Mqtt) if claim.session_token().is_some() => {
            (QueryForm::WithoutToken, Some(QueryForm::Canonical))
        }
        (Form::Query { .. }, _) => (QueryForm::Canonical, None),
    }
}

/// Browsers drop the default port from `Host`, some signers write it all the same.
fn other_port_form(host: &[u8]) -> Option<HostForm<'_>> {
    if let Some(name) = host.strip_suffix(b":443") {
        return Some(HostForm { name, suffix: b"" });
    }
    // After the bracket of an IPv6 address, a colon can only start a port.
    let after_address = host.rsplit(|byte| *byte == b']').next().unwrap_or(host);
    (!after_address.contains(&b':')).then_some(HostForm {
        name: host,
        suffix: b":443",
    })
}

fn signature_is(scratch: &mut Scratch, claim: &Claim<'_>, key: &SigningKey) -> bool {
    let request_hash = hash_text(&scratch.text);
    let Some(time) = claim.time().text() else {
        return false;
    };
    let text = &mut scratch.text;
    text.clear();
    for part in [
        ALGORITHM.as_bytes(),
        b"\n",
        &time,
        b"\n",
        claim.scope().as_bytes(),
        b"\n",
        &request_hash,
    ] {
        text.extend_from_slice(part);
    }
    claim.signature.is(&key.sign(text))
}
