//! SigV4 verification, the server's side: who signed this request, and is every byte that matters
//! as it was signed? Pure: no I/O, no clock, no HTTP types.
//!
//! The order is fixed, because each step may only tell the caller what it is allowed to know:
//!
//! 1. [`Claim::parse`] reads what the request *says* about itself. Nothing in it is trusted.
//! 2. The caller looks the access key up; it may well be unknown.
//! 3. [`Verifier::verify`] checks scope and clock, then the signature, and only then the session
//!    token and the key's expiry. So nobody without the secret learns that a key exists: an unknown
//!    key takes the same path with a stand-in secret, costs the same and gets the same answer as a
//!    wrong signature. Whoever logs the difference must do so outside the reply.
//!
//! Both forms are read: the `Authorization` header and the presigned query, with the peculiarities
//! of `wss://…/mqtt` URLs under [`Kind::Mqtt`].
//!
//! What a signature binds here beyond the letter of AWS's rules: the session token and
//! `X-Amz-Target` must be signed when they are sent as headers. `+` in a query means a space, as it
//! does to whoever decodes the query afterwards; a path is bound exactly as it was sent.

mod canonical;
mod claim;
mod error;
mod key;
mod stamp;
mod verify;

#[cfg(test)]
mod tests;

pub use claim::{Claim, Form};
pub use error::{AuthError, Mismatch};
pub use key::{KeyCache, SigningKey};
pub use stamp::Stamp;
pub use verify::{Credential, Verifier, verify};

use std::time::Duration;

/// The headers of a request, in whatever type the HTTP library has them.
pub trait Headers {
    /// Calls `each` with every value of `name` (lower case), in the order received.
    fn values<'h>(&'h self, name: &str, each: &mut dyn FnMut(&'h [u8]));
}

/// Headers as a plain list; names compare without regard to case.
#[derive(Clone, Copy)]
pub struct HeaderList<'a>(pub &'a [(&'a str, &'a str)]);

impl Headers for HeaderList<'_> {
    fn values<'h>(&'h self, name: &str, each: &mut dyn FnMut(&'h [u8])) {
        for (key, value) in self.0 {
            if key.eq_ignore_ascii_case(name) {
                each(value.as_bytes());
            }
        }
    }
}

/// A borrowed view of the request exactly as it was received: nothing decoded, nothing normalised.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The method in upper case, for example `POST`.
    pub method: &'a str,
    /// The path as sent, still percent-encoded. Empty means `/`.
    pub raw_path: &'a str,
    /// The query as sent, without the `?`; empty if there is none.
    pub raw_query: &'a str,
    /// All headers.
    pub headers: &'a dyn Headers,
    /// HTTP/2's `:authority`, which stands in for `Host` and the other way round.
    pub authority: Option<&'a str>,
    /// The whole body.
    pub body: &'a [u8],
}

impl<'a> Request<'a> {
    /// The single value of a header that must not come twice.
    ///
    /// # Errors
    /// `duplicate` if the header was sent more than once.
    fn only(&self, name: &str, duplicate: AuthError) -> Result<Option<&'a [u8]>, AuthError> {
        let (mut found, mut count) = (None, 0_usize);
        self.headers.values(name, &mut |value| {
            found = Some(value);
            count += 1;
        });
        if count > 1 { Err(duplicate) } else { Ok(found) }
    }
}

/// Which peculiarities apply to the request at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A call of an HTTP API. A presigned URL must say how long it lives.
    Http,
    /// The upgrade request of MQTT over WebSocket: `X-Amz-Expires` may be missing, the session token
    /// may be outside the signed query, and `Host` may have been signed with or without `:443`.
    Mqtt,
}

/// What this listener and route accept.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// The server's time.
    pub now: Stamp,
    /// Service names allowed in the credential scope, for example `["sqs"]`.
    pub services: &'a [&'a str],
    /// Regions allowed in the credential scope.
    pub regions: &'a [String],
    /// How far the signer's clock may be off, either way, bound included.
    pub max_skew: Duration,
    /// The longest that a presigned URL may live, whatever its `X-Amz-Expires` says.
    pub max_presigned: Duration,
    /// Whether `UNSIGNED-PAYLOAD` is good enough. Only where TLS protects the body.
    pub allow_unsigned_payload: bool,
    /// Which peculiarities apply.
    pub kind: Kind,
}

/// AWS's window for HTTP APIs.
const HTTP_SKEW: Duration = Duration::from_secs(15 * 60);
/// AWS's window for the MQTT upgrade; a URL dies with it.
const MQTT_SKEW: Duration = Duration::from_secs(5 * 60);
/// The largest `X-Amz-Expires` that AWS defines: seven days.
const LONGEST_PRESIGNED: Duration = Duration::from_secs(604_800);

impl<'a> Rules<'a> {
    /// Rules for HTTP APIs: 15 minutes of skew, presigned URLs up to seven days.
    #[must_use]
    pub fn http(now: Stamp, services: &'a [&'a str], regions: &'a [String]) -> Self {
        Self {
            now,
            services,
            regions,
            max_skew: HTTP_SKEW,
            max_presigned: LONGEST_PRESIGNED,
            allow_unsigned_payload: false,
            kind: Kind::Http,
        }
    }

    /// Rules for SQS, which lets a presigned URL live 15 minutes at most.
    #[must_use]
    pub fn sqs(now: Stamp, regions: &'a [String]) -> Self {
        Self {
            max_presigned: HTTP_SKEW,
            ..Self::http(now, &["sqs"], regions)
        }
    }

    /// Rules for the upgrade on `/mqtt`: either service name that its clients sign, 5 minutes.
    #[must_use]
    pub fn mqtt(now: Stamp, regions: &'a [String]) -> Self {
        Self {
            max_skew: MQTT_SKEW,
            max_presigned: MQTT_SKEW,
            kind: Kind::Mqtt,
            ..Self::http(now, &["iotdevicegateway", "iotdata"], regions)
        }
    }
}
