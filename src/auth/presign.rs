//! The presigned WebSocket URL of MQTT, as AWS IoT's own clients make it (`WIRE.md` 4.2).
//!
//! Not with an AWS signer: those insist on `X-Amz-Expires`, which AWS IoT's clients do not send.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use hyper::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest as _, Sha256};

use super::sigv4::{SigningKey, Stamp};

/// What is percent-encoded in a URL's parts: everything but RFC 3986's unreserved characters.
pub const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Why a URL is not signed.
#[derive(Debug, thiserror::Error)]
pub enum NotSigned {
    /// It is no URL, or names no host.
    #[error("{0} is no URL with a host")]
    NotAUrl(String),
    /// It has a query, which the signature would have to cover.
    #[error("{0} has a query: it can not be signed")]
    HasQuery(String),
    /// The time is none that a signature can name.
    #[error("the clock is wrong")]
    Clock,
}

/// The service in the scope of the signature.
const SERVICE: &str = "iotdevicegateway";

/// `url` with a signature in its query; the session token, if there is one, follows it and is not signed.
///
/// Good for five minutes from `now`. `url` is `ws://host[:port]/mqtt` or the same with `wss`, without a query; its
/// path is signed as it stands.
///
/// # Errors
/// [`NotSigned`], saying why.
pub fn presign(
    url: &str,
    keys: &Credentials,
    region: &str,
    now: SystemTime,
) -> Result<String, NotSigned> {
    let not_a_url = || NotSigned::NotAUrl(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| not_a_url())?;
    let host = uri.authority().ok_or_else(not_a_url)?;
    if uri.query().is_some() {
        return Err(NotSigned::HasQuery(url.to_owned()));
    }
    let stamp = Stamp::from(now).text().ok_or(NotSigned::Clock)?;
    let stamp = std::str::from_utf8(&stamp).expect("digits and two letters");
    let scope = format!("{}/{region}/{SERVICE}/aws4_request", &stamp[..8]);
    let credential = format!("{}/{scope}", keys.access_key_id());
    let credential = utf8_percent_encode(&credential, RESERVED);
    // In the order of the names, as the signature wants it.
    let query = format!(
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={credential}&X-Amz-Date={stamp}&X-Amz-SignedHeaders=host"
    );
    let nothing = hex::encode(Sha256::digest(b""));
    let path = uri.path();
    let canonical = format!("GET\n{path}\n{query}\nhost:{host}\n\nhost\n{nothing}");
    let text = format!(
        "AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}",
        hex::encode(Sha256::digest(canonical))
    );
    let signature =
        hex::encode(SigningKey::derive(keys.secret_access_key(), &scope).sign(text.as_bytes()));
    let mut signed = format!("{url}?{query}&X-Amz-Signature={signature}");
    if let Some(token) = keys.session_token() {
        let token = utf8_percent_encode(token, RESERVED).to_string();
        signed.extend(["&X-Amz-Security-Token=", &token]);
    }
    Ok(signed)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::auth::sigv4::{Claim, HeaderList, Request, Rules, verify};

    const NOW: u64 = 1_795_000_000;

    fn signed(url: &str, token: Option<&str>) -> String {
        let token = token.map(str::to_owned);
        let keys = Credentials::new("AKIDEXAMPLE", "a secret/+", token, None, "test");
        let now = UNIX_EPOCH + Duration::from_secs(NOW);
        presign(url, &keys, "eu-west-3", now).unwrap()
    }

    /// Whether the server's own verifier takes it, at so many seconds after it was signed.
    fn is_accepted(url: &str, host: &str, seconds: i64) -> bool {
        let (_, query) = url.split_once('?').unwrap();
        let request = Request {
            method: "GET",
            raw_path: "/mqtt",
            raw_query: query,
            headers: &HeaderList(&[("host", host)]),
            authority: None,
            body: b"",
        };
        let claim = Claim::parse(&request).unwrap().unwrap();
        let regions = ["eu-west-3".to_owned()];
        let rules = Rules::mqtt(Stamp::from_epoch_seconds(NOW as i64 + seconds), &regions);
        verify(
            &request,
            &claim,
            &SigningKey::derive("a secret/+", claim.scope()),
            &rules,
        )
        .is_ok()
    }

    #[test]
    fn a_signed_url_is_accepted_for_a_while() {
        for token in [None, Some("t/+=")] {
            let url = signed("ws://localhost:8080/mqtt", token);
            assert!(
                url.starts_with("ws://localhost:8080/mqtt?X-Amz-Algorithm="),
                "{url}"
            );
            assert!(is_accepted(&url, "localhost:8080", 1), "{url}");
            assert!(!is_accepted(&url, "localhost:8081", 1), "another host");
            assert!(!is_accepted(&url, "localhost:8080", 600), "too late");
        }
        let url = signed("ws://localhost/mqtt", Some("t/+="));
        assert!(url.ends_with("&X-Amz-Security-Token=t%2F%2B%3D"), "{url}");
    }

    #[test]
    fn what_can_not_be_signed_is_refused() {
        let keys = Credentials::new("a", "s", None, None, "test");
        for url in ["/mqtt", "", "ws://h/mqtt?a=b"] {
            assert!(presign(url, &keys, "r", UNIX_EPOCH).is_err(), "{url}");
        }
    }
}
