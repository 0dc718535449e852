//! Properties: whatever AWS's own signer signs is accepted, any changed byte is refused, and no
//! input makes the verifier panic.

use std::time::UNIX_EPOCH;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, SessionTokenMode, SignableBody, SignableRequest, SignatureLocation,
    SigningSettings, UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4::SigningParams;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::prelude::*;

use super::*;

const AUTHORITY: &str = "localhost:8080";

/// Lets AWS's signer sign `sent` and adds what it tells to add.
fn sign_by_oracle(
    mut sent: Sent,
    token: Option<&str>,
    service: &str,
    settings: SigningSettings,
) -> Sent {
    let credentials = Credentials::new(
        "AKIDEXAMPLE",
        SECRET,
        token.map(str::to_owned),
        None,
        "test",
    );
    let identity = credentials.into();
    let seconds = u64::try_from(stamp(NOW).epoch_seconds()).unwrap();
    let params = SigningParams::builder()
        .identity(&identity)
        .region("us-east-1")
        .name(service)
        .time(UNIX_EPOCH + Duration::from_secs(seconds))
        .settings(settings)
        .build()
        .unwrap()
        .into();
    let question = if sent.query.is_empty() { "" } else { "?" };
    let uri = format!("http://{AUTHORITY}{}{question}{}", sent.path, sent.query);
    let headers = sent
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let signable =
        SignableRequest::new(&sent.method, uri, headers, SignableBody::Bytes(&sent.body)).unwrap();
    let (headers, query) = sign(signable, &params).unwrap().into_parts().0.into_parts();
    for header in headers {
        sent.headers
            .push((header.name().to_owned(), header.value().to_owned()));
    }
    for (name, value) in query {
        let ampersand = if sent.query.is_empty() { "" } else { "&" };
        sent.query += &format!(
            "{ampersand}{name}={}",
            utf8_percent_encode(&value, NON_ALPHANUMERIC)
        );
    }
    sent.headers.push(("host".to_owned(), AUTHORITY.to_owned()));
    sent
}

fn settings(location: SignatureLocation, declare_hash: bool) -> SigningSettings {
    let mut settings = SigningSettings::default();
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings.signature_location = location;
    if location == SignatureLocation::QueryParams {
        settings.expires_in = Some(Duration::from_secs(900));
    }
    if declare_hash {
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    }
    settings
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn any_request() -> impl Strategy<Value = Sent> {
    let segments = prop::collection::vec("\\PC{0,6}", 0..4);
    let query = prop::collection::vec(("\\PC{1,5}", prop::option::of("[ -~é✓]{0,6}")), 0..5);
    let headers =
        prop::collection::btree_map("x-[a-w]{1,4}", "[!-~]{1,3}( {0,3}[!-~]{1,4}){0,3}", 0..4);
    let body = prop::collection::vec(any::<u8>(), 0..80);
    ("GET|POST|PUT|DELETE", segments, query, headers, body).prop_map(
        |(method, segments, query, headers, body)| {
            let path = segments
                .iter()
                .map(|segment| format!("/{}", encoded(segment)))
                .collect::<String>();
            let query: Vec<String> = query
                .iter()
                .map(|(name, value)| match value {
                    Some(value) => {
                        format!("{}={}", encoded(name), encoded(value).replace("%20", "+"))
                    }
                    None => encoded(name),
                })
                .collect();
            let path = if path.is_empty() {
                "/".to_owned()
            } else {
                path
            };
            Sent {
                method,
                path,
                query: query.join("&"),
                headers: headers.into_iter().collect(),
                authority: None,
                body,
            }
        },
    )
}

fn decide(sent: &Sent, token: Option<&str>) -> Result<(), AuthError> {
    let regions = regions();
    let credential = Credential {
        session_token: token,
        ..permanent()
    };
    sent.decide_for(Some(&credential), &Rules::sqs(stamp(NOW), &regions))
}

/// Changes one byte at a relative place to a letter it was not; `false` if there is none to change.
fn mutate(text: &mut String, place: prop::sample::Index) -> bool {
    let spots: Vec<usize> = text
        .char_indices()
        .filter(|(_, c)| c.is_ascii())
        .map(|(at, _)| at)
        .collect();
    if spots.is_empty() {
        return false;
    }
    let at = spots[place.index(spots.len())];
    let other = if text.as_bytes()[at] == b'y' {
        "z"
    } else {
        "y"
    };
    text.replace_range(at..=at, other);
    true
}

proptest! {
    #[test]
    fn what_aws_signs_in_the_header_passes(
        sent in any_request(), token in prop::option::of("[!-~]{1,40}"), declare: bool,
    ) {
        let sent = sign_by_oracle(sent, token.as_deref(), "sqs", settings(SignatureLocation::Headers, declare));
        prop_assert_eq!(decide(&sent, token.as_deref()), Ok(()));
    }

    #[test]
    fn what_aws_presigns_passes(sent in any_request(), token in prop::option::of("[!-~]{1,40}")) {
        let sent = sign_by_oracle(sent, token.as_deref(), "sqs", settings(SignatureLocation::QueryParams, false));
        prop_assert_eq!(decide(&sent, token.as_deref()), Ok(()));
    }

    #[test]
    fn what_aws_presigns_for_mqtt_passes(token in "[!-~]{1,40}", signed_token: bool) {
        let mut settings = settings(SignatureLocation::QueryParams, false);
        if !signed_token {
            settings.session_token_mode = SessionTokenMode::Exclude;
        }
        let sent = Sent::new("GET", "/mqtt", &[], "");
        let mut sent = sign_by_oracle(sent, Some(&token), "iotdevicegateway", settings);
        if !sent.query.contains("Security-Token") {
            sent.query += &format!("&X-Amz-Security-Token={}", encoded(&token));
        }
        prop_assert_eq!(sent.decide_mqtt(NOW, Some(&token)), Ok(()));
    }

    #[test]
    fn s06_any_changed_byte_of_a_signed_header_form_is_refused(
        sent in any_request(), place: prop::sample::Index, which: prop::sample::Index,
    ) {
        let mut sent = sign_by_oracle(sent, Some("token"), "sqs", settings(SignatureLocation::Headers, false));
        prop_assert_eq!(decide(&sent, Some("token")), Ok(()));
        let changed = match which.index(4 + sent.headers.len()) {
            0 => mutate(&mut sent.method, place),
            1 => mutate(&mut sent.path, place),
            2 => mutate(&mut sent.query, place),
            3 if sent.body.is_empty() => false,
            3 => {
                let at = place.index(sent.body.len());
                sent.body[at] ^= 1;
                true
            }
            header => mutate(&mut sent.headers[header - 4].1, place),
        };
        prop_assert!(!changed || decide(&sent, Some("token")).is_err(), "{:?}", sent);
    }

    #[test]
    fn s06_any_changed_byte_of_a_presigned_url_is_refused(sent in any_request(), place: prop::sample::Index) {
        let mut sent = sign_by_oracle(sent, Some("token"), "sqs", settings(SignatureLocation::QueryParams, false));
        let query = sent.query.clone();
        mutate(&mut sent.query, place);
        prop_assert!(decide(&sent, Some("token")).is_err(), "{} {}", query, sent.query);
    }

    #[test]
    fn s06_a_parameter_more_or_less_is_refused(sent in any_request(), name in "[a-z]{1,3}") {
        let mut sent = sign_by_oracle(sent, None, "sqs", settings(SignatureLocation::Headers, false));
        sent.query = if sent.query.is_empty() { name } else { format!("{}&{name}", sent.query) };
        prop_assert_eq!(decide(&sent, None), MISMATCH);
    }

    #[test]
    fn arbitrary_requests_never_panic(
        method in "\\PC{0,4}",
        path in "\\PC{0,20}",
        query in "(X-Amz-(Algorithm|Credential|Date|Expires|SignedHeaders|Signature|Security-Token|Content-Sha256)=(AWS4-HMAC-SHA256|[a-f0-9]{64}|AK/20150830/us-east-1/sqs/aws4_request|20150830T123600Z|host|\\PC{0,20})&|\\PC{0,9}){0,9}",
        scheme in "AWS4-HMAC-SHA256|AWS4|\\PC{0,9}",
        fields in "((Credential|SignedHeaders|Signature)=(AK/20150830/us-east-1/sqs/aws4_request|host;x-amz-date|:authority;:|[a-f0-9]{64}|\\PC{0,20}),?|\\PC{0,9}){0,5}",
        headers in prop::collection::vec(("host|date|x-amz-date|x-amz-security-token|x-amz-content-sha256|x-amz-target", "20150830T123600Z|\\PC{0,20}"), 0..6),
        authorized: bool,
        body in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut sent = Sent { method, path, query, headers, authority: None, body };
        if authorized {
            sent.headers.push(("authorization".to_owned(), format!("{scheme} {fields}")));
        }
        let _ = decide(&sent, None);
        let _ = sent.decide_mqtt(NOW, None);
    }
}
