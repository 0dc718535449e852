//! The presigned WebSocket URL of MQTT, as AWS IoT's own clients make it (`WIRE.md` 4.2).

use std::time::SystemTime;

use anyhow::Context as _;
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    SessionTokenMode, SignableBody, SignableRequest, SignatureLocation, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;

/// The service in the scope of the signature.
const SERVICE: &str = "iotdevicegateway";

/// `url` with a signature in its query; the session token, if there is one, is not part of what is signed.
///
/// Good for about five minutes from `now`. `url` is `ws://host[:port]/mqtt` or the same with `wss`, without a query.
///
/// # Errors
/// `url` is none.
pub(super) fn presign(
    url: &str,
    keys: &Credentials,
    region: &str,
    now: SystemTime,
) -> anyhow::Result<String> {
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.session_token_mode = SessionTokenMode::Exclude;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    let identity = keys.clone().into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(SERVICE)
        .time(now)
        .settings(settings)
        .build()?
        .into();
    let headers = std::iter::empty::<(&str, &str)>();
    let signable = SignableRequest::new("GET", url, headers, SignableBody::Bytes(b""))
        .with_context(|| format!("{url} can not be signed"))?;
    let (signed, _) = sign(signable, &params)?.into_parts();
    let mut presigned = url.to_owned();
    let (_, queries) = signed.into_parts();
    for (at, (name, value)) in queries.iter().enumerate() {
        let value = percent_encoding::utf8_percent_encode(value, crate::cli::client::RESERVED);
        presigned.push(if at == 0 { '?' } else { '&' });
        presigned.extend([name, "=", &value.to_string()]);
    }
    Ok(presigned)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn signed(token: Option<&str>) -> String {
        let token = token.map(str::to_owned);
        let keys = Credentials::new("AKIDEXAMPLE", "a secret/+", token, None, "test");
        let now = UNIX_EPOCH + Duration::from_secs(1_795_000_000);
        presign("ws://localhost:8080/mqtt", &keys, "eu-west-3", now).unwrap()
    }

    #[test]
    fn a_url_carries_what_a_verifier_needs() {
        let url = signed(Some("t/+="));
        assert!(url.starts_with("ws://localhost:8080/mqtt?X-Amz-"), "{url}");
        for part in [
            "X-Amz-Algorithm=AWS4-HMAC-SHA256",
            "X-Amz-Credential=AKIDEXAMPLE%2F20261118%2Feu-west-3%2Fiotdevicegateway%2Faws4_request",
            "X-Amz-SignedHeaders=host",
            "X-Amz-Security-Token=t%2F%2B%3D",
            "X-Amz-Signature=",
        ] {
            assert!(url.contains(part), "{part} in {url}");
        }
    }

    /// What AWS IoT asks for, and where its clients differ from presigned URLs of other services.
    #[test]
    fn the_token_is_not_signed() {
        let signature = |url: &str| {
            let (_, rest) = url.split_once("X-Amz-Signature=").unwrap();
            rest.split('&').next().unwrap().to_owned()
        };
        assert_eq!(signature(&signed(None)), signature(&signed(Some("token"))));
    }
}
