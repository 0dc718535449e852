//! Why a request was not accepted: one variant for each answer that AWS services tell apart.

use super::stamp::Stamp;

/// A refusal. Carries no status: each wire has its own code and status for every variant.
///
/// The text is AWS's and safe to send: it repeats nothing but what the sender wrote and the time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Nothing in the request says who is calling, or the half that proves it is missing.
    #[error("Missing Authentication Token")]
    MissingAuthentication,
    /// The authentication data is malformed, ambiguous or of another scheme.
    #[error("{0}")]
    IncompleteSignature(&'static str),
    /// The session token is missing, belongs to another key, or came with a key that has none.
    /// Only a caller who has proved to hold the secret is told so.
    #[error("The security token included in the request is invalid.")]
    InvalidClientToken,
    /// What was signed is not what was received, or was signed with another key, or with none that
    /// is known: the sender cannot tell these apart.
    #[error("{0}")]
    SignatureDoesNotMatch(Mismatch),
    /// Signed too long ago.
    #[error("Signature expired: {signed} is now earlier than {} ({now} - {}.)", now.offset(-window_secs), Window(*window_secs))]
    SignatureExpired {
        /// When the request says it was signed.
        signed: Stamp,
        /// The server's time.
        now: Stamp,
        /// How old it was allowed to be, in seconds.
        window_secs: i64,
    },
    /// Signed in the future.
    #[error("Signature not yet current: {signed} is still later than {} ({now} + {}.)", now.offset(*window_secs), Window(*window_secs))]
    SignatureNotYetCurrent {
        /// When the request says it was signed.
        signed: Stamp,
        /// The server's time.
        now: Stamp,
        /// How far ahead it was allowed to be, in seconds.
        window_secs: i64,
    },
    /// The temporary key's life is over. Only its holder is told so.
    #[error("The security token included in the request is expired")]
    ExpiredToken,
    /// Authentic or not, this is not accepted here.
    #[error("{0}")]
    AccessDenied(&'static str),
}

/// In which way a signature does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// The signature is not the one that this key gives for this request, or the key is unknown.
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
    )]
    Signature,
    /// `X-Amz-Content-Sha256` is not the hash of the body.
    #[error("The provided 'x-amz-content-sha256' header does not match what was computed.")]
    Payload,
    /// A header that must be signed is not.
    #[error("'{0}' must be a 'SignedHeader' in the AWS Authorization.")]
    Unsigned(&'static str),
    /// The scope names a region that is not served here.
    #[error("Credential should be scoped to a valid region.")]
    Region,
    /// The scope names another service than the one called.
    #[error("Credential should be scoped to correct service.")]
    Service,
    /// The scope's day is not the day of the signature.
    #[error(
        "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP."
    )]
    Date,
}

impl From<Mismatch> for AuthError {
    fn from(mismatch: Mismatch) -> Self {
        Self::SignatureDoesNotMatch(mismatch)
    }
}

/// A window as AWS writes it: minutes where they are whole.
struct Window(i64);

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0 % 60 == 0 {
            write!(f, "{} min", self.0 / 60)
        } else {
            write!(f, "{} sec", self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skew_is_told_in_the_words_of_aws() {
        let stamp = |text: &str| Stamp::parse(text.as_bytes()).expect(text);
        let now = stamp("20160610T181112Z");
        let late = AuthError::SignatureExpired {
            signed: stamp("20160610T180547Z"),
            now,
            window_secs: 300,
        };
        assert_eq!(
            late.to_string(),
            "Signature expired: 20160610T180547Z is now earlier than 20160610T180612Z (20160610T181112Z - 5 min.)"
        );
        let early = AuthError::SignatureNotYetCurrent {
            signed: stamp("20160610T182613Z"),
            now,
            window_secs: 900,
        };
        assert_eq!(
            early.to_string(),
            "Signature not yet current: 20160610T182613Z is still later than 20160610T182612Z (20160610T181112Z + 15 min.)"
        );
    }
}
