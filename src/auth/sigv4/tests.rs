//! The verifier against AWS's published vectors and the attack cases S1 to S14. The signer here is
//! naive on purpose: a test writes the canonical request out, letter by letter. `oracle` holds the
//! verifier against AWS's own signer.

mod oracle;
mod timing;

use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};

use super::*;

pub(super) const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
pub(super) const NOW: &str = "20150830T123600Z";
const EMPTY_HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

pub(super) fn stamp(text: &str) -> Stamp {
    Stamp::parse(text.as_bytes()).expect(text)
}

pub(super) fn regions() -> Vec<String> {
    vec!["us-east-1".to_owned()]
}

/// A request as it went over the wire.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) authority: Option<String>,
    pub(super) body: Vec<u8>,
}

impl Sent {
    pub(super) fn new(method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            authority: None,
            body: body.as_bytes().to_vec(),
        }
    }

    fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds the `Authorization` header for a canonical request that the test wrote out.
    fn signed(self, service: &str, signed_headers: &str, canonical: &str) -> Self {
        let signature = signature_of(NOW, service, canonical);
        self.authorized(service, signed_headers, &signature)
    }

    fn authorized(self, service: &str, signed_headers: &str, signature: &str) -> Self {
        let value = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/{service}/aws4_request, \
             SignedHeaders={signed_headers}, Signature={signature}"
        );
        self.header("Authorization", &value)
    }

    pub(super) fn with<T>(&self, look: impl FnOnce(&Request<'_>) -> T) -> T {
        let list: Vec<(&str, &str)> = self
            .headers
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        look(&Request {
            method: &self.method,
            raw_path: &self.path,
            raw_query: &self.query,
            headers: &HeaderList(&list),
            authority: self.authority.as_deref(),
            body: &self.body,
        })
    }

    pub(super) fn decide_for(
        &self,
        credential: Option<&Credential<'_>>,
        rules: &Rules<'_>,
    ) -> Result<(), AuthError> {
        self.with(|request| {
            let claim = Claim::parse(request)?.ok_or(AuthError::MissingAuthentication)?;
            // The look-up: there is one key, and every other is unknown.
            let found = credential.filter(|_| claim.access_key() == "AKIDEXAMPLE");
            Verifier::new(4).verify(request, &claim, found, rules)
        })
    }

    fn decide(&self, service: &str) -> Result<(), AuthError> {
        let regions = regions();
        self.decide_for(
            Some(&permanent()),
            &Rules::http(stamp(NOW), &[service], &regions),
        )
    }

    fn decide_mqtt(&self, now: &str, token: Option<&str>) -> Result<(), AuthError> {
        let regions = regions();
        let credential = Credential {
            session_token: token,
            ..permanent()
        };
        self.decide_for(Some(&credential), &Rules::mqtt(stamp(now), &regions))
    }
}

pub(super) fn permanent() -> Credential<'static> {
    Credential {
        secret_key: SECRET,
        session_token: None,
        expires: None,
    }
}

fn signature_of(time: &str, service: &str, canonical: &str) -> String {
    use sha2::Digest;
    let hash = hex::encode(sha2::Sha256::digest(canonical));
    let seconds = u64::try_from(stamp(time).epoch_seconds()).unwrap();
    let at = std::time::UNIX_EPOCH + Duration::from_secs(seconds);
    let key = generate_signing_key(SECRET, at, "us-east-1", service);
    let text = format!(
        "AWS4-HMAC-SHA256\n{time}\n{}/us-east-1/{service}/aws4_request\n{hash}",
        &time[..8]
    );
    calculate_signature(key, text.as_bytes())
}

const MISMATCH: Result<(), AuthError> = Err(AuthError::SignatureDoesNotMatch(Mismatch::Signature));

fn incomplete(got: Result<(), AuthError>) {
    assert!(
        matches!(got, Err(AuthError::IncompleteSignature(_))),
        "{got:?}"
    );
}

/// AWS's published suite: what must pass, and with which signature.
#[test]
fn s06_published_vectors_pass() {
    let get = |target: &str| Sent::new("GET", target, &[], "");
    let plain = "host;x-amz-date";
    let check = |sent: Sent, signed: &str, signature: &str| {
        let name = format!("{} {}?{}", sent.method, sent.path, sent.query);
        let sent = sent
            .header("Host", "example.amazonaws.com")
            .header("X-Amz-Date", NOW)
            .authorized("service", signed, signature);
        assert_eq!(sent.decide("service"), Ok(()), "{name}");
    };
    check(
        get("/"),
        plain,
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    );
    check(
        Sent::new("POST", "/", &[], ""),
        plain,
        "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    );
    check(
        get("/?Param2=value2&Param1=value1"),
        plain,
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    );
    check(
        get("/ሴ"),
        plain,
        "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
    );
    check(
        get(
            "/?-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz=-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
        ),
        plain,
        "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
    );
    check(
        get("/")
            .header("My-Header1", " value1")
            .header("My-Header2", " \"a   b   c\""),
        "host;my-header1;my-header2;x-amz-date",
        "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
    );
    check(
        get("/")
            .header("My-Header1", "value2")
            .header("My-Header1", "value2")
            .header("My-Header1", "value1"),
        "host;my-header1;x-amz-date",
        "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
    );
    check(
        Sent::new(
            "POST",
            "/",
            &[("Content-Type", "application/x-www-form-urlencoded")],
            "Param1=value1",
        ),
        "content-type;host;x-amz-date",
        "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
    );
}

/// The documented example of an IAM call.
#[test]
fn the_documented_iam_call_passes() {
    let sent = Sent::new("GET", "/?Action=ListUsers&Version=2010-05-08", &[], "")
        .header(
            "Content-Type",
            "application/x-www-form-urlencoded; charset=utf-8",
        )
        .header("Host", "iam.amazonaws.com")
        .header("X-Amz-Date", NOW)
        .authorized(
            "iam",
            "content-type;host;x-amz-date",
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
        );
    assert_eq!(sent.decide("iam"), Ok(()));
}

fn sqs_get(target: &str) -> Sent {
    Sent::new(
        "GET",
        target,
        &[("Host", "localhost"), ("X-Amz-Date", NOW)],
        "",
    )
}

fn plain_canonical(path: &str, query: &str) -> String {
    format!(
        "GET\n{path}\n{query}\nhost:localhost\nx-amz-date:{NOW}\n\nhost;x-amz-date\n{EMPTY_HASH}"
    )
}

#[test]
fn paths_are_encoded_twice_and_bound_as_sent() {
    let signed = plain_canonical("/topics/a%252Fb%2520c", "");
    let good = sqs_get("/topics/a%2Fb%20c").signed("sqs", "host;x-amz-date", &signed);
    assert_eq!(good.decide("sqs"), Ok(()));
    for path in [
        "/topics/a/b%20c",
        "/topics/a%2fb%20c",
        "/topics//a%2Fb%20c",
        "/topics/./a%2Fb%20c",
        "/x/../topics/a%2Fb%20c",
        "/topics/a%252Fb%2520c",
    ] {
        assert_eq!(
            Sent {
                path: path.to_owned(),
                ..good.clone()
            }
            .decide("sqs"),
            MISMATCH,
            "{path}"
        );
    }
}

#[test]
fn a_query_signed_as_sent_passes_too() {
    let good =
        sqs_get("/?b=2&a=x+y").signed("sqs", "host;x-amz-date", &plain_canonical("/", "b=2&a=x+y"));
    assert_eq!(good.decide("sqs"), Ok(()));
    assert_eq!(
        Sent {
            query: "a=x+y&b=2".to_owned(),
            ..good
        }
        .decide("sqs"),
        MISMATCH
    );
}

#[test]
fn s01_a_credential_without_proof_is_no_authentication() {
    for query in [
        "X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fsqs%2Faws4_request",
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fsqs%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host",
        "X-Amz-Algorithm=AWS4-HMAC-SHA256",
        "%58-Amz-Signature=00",
        "X-Amz-Signature",
    ] {
        let got = sqs_get(&format!("/?{query}")).decide("sqs");
        assert_eq!(got, Err(AuthError::MissingAuthentication), "{query}");
    }
    let none = sqs_get("/?Action=ListQueues&X-Amz-Date=x").header("Authorization", "Bearer abc");
    assert!(none.with(|request| Claim::parse(request).is_ok_and(|claim| claim.is_none())));
}

#[test]
fn s02_header_and_query_together_or_twice_are_ambiguous() {
    let signed = sqs_get("/").signed("sqs", "host;x-amz-date", &plain_canonical("/", ""));
    assert_eq!(signed.decide("sqs"), Ok(()));
    let twice = signed.headers.last().unwrap().1.clone();
    incomplete(signed.clone().header("authorization", &twice).decide("sqs"));
    incomplete(signed.clone().header("x-amz-date", NOW).decide("sqs"));
    incomplete(
        signed
            .clone()
            .header("x-amz-security-token", "a")
            .header("x-amz-security-token", "a")
            .decide("sqs"),
    );
    incomplete(
        Sent {
            query: "X-Amz-Signature=00".to_owned(),
            ..signed.clone()
        }
        .decide("sqs"),
    );
    for (from, to) in [
        ("Signature=", "Signature=0, Signature="),
        (", Signature=", ", Extra=1, Signature="),
        ("AWS4-HMAC-SHA256 ", "AWS4-ECDSA-P256-SHA256 "),
        ("AWS4-HMAC-SHA256 ", "AWS "),
        ("/sqs/", "/"),
        ("/sqs/", "/sqs/sqs/"),
        ("AKIDEXAMPLE", ""),
        ("aws4_request", "aws4_requests"),
        ("host;x-amz-date", "x-amz-date;host"),
        ("host;x-amz-date", "host;host;x-amz-date"),
        ("host;x-amz-date", "Host;x-amz-date"),
        ("host;x-amz-date", ""),
    ] {
        let mut changed = signed.clone();
        let value = &mut changed.headers.last_mut().unwrap().1;
        assert!(value.contains(from), "{from}");
        *value = value.replacen(from, to, 1);
        incomplete(changed.decide("sqs"));
    }
}

#[test]
fn a_signature_has_one_spelling() {
    let mut signed = sqs_get("/").signed("sqs", "host;x-amz-date", &plain_canonical("/", ""));
    let value = &mut signed.headers.last_mut().unwrap().1;
    let at = value.rfind('=').unwrap();
    *value = format!("{}{}", &value[..at], value[at..].to_uppercase());
    incomplete(signed.decide("sqs"));
}

#[test]
fn every_digit_of_the_signature_counts() {
    let good = sqs_get("/").signed("sqs", "host;x-amz-date", &plain_canonical("/", ""));
    let start = good.headers.last().unwrap().1.len() - 64;
    for at in start..start + 64 {
        let mut changed = good.clone();
        let value = &mut changed.headers.last_mut().unwrap().1;
        let other = if &value[at..=at] == "0" { "1" } else { "0" };
        value.replace_range(at..=at, other);
        assert_eq!(changed.decide("sqs"), MISMATCH, "{at}");
    }
}

fn with_payload(declared: &str, body: &str) -> Sent {
    let canonical = format!(
        "POST\n/\n\nhost:localhost\nx-amz-content-sha256:{declared}\nx-amz-date:{NOW}\n\nhost;x-amz-content-sha256;x-amz-date\n{declared}"
    );
    Sent::new(
        "POST",
        "/",
        &[
            ("Host", "localhost"),
            ("X-Amz-Date", NOW),
            ("X-Amz-Content-Sha256", declared),
        ],
        body,
    )
    .signed("sqs", "host;x-amz-content-sha256;x-amz-date", &canonical)
}

#[test]
fn s03_unknown_payload_modes_are_refused() {
    for mode in [
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
        "unsigned-payload",
        "",
        "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
    ] {
        let got = with_payload(mode, "").decide("sqs");
        assert!(
            matches!(got, Err(AuthError::AccessDenied(_))),
            "{mode}: {got:?}"
        );
    }
}

#[test]
fn s04_what_must_be_signed() {
    let unsigned = |sent: Sent, name: &'static str| {
        assert_eq!(sent.decide("sqs"), Err(Mismatch::Unsigned(name).into()));
    };
    let text =
        |headers: &str, signed: &str| format!("GET\n/\n\n{headers}\n\n{signed}\n{EMPTY_HASH}");
    let date = format!("x-amz-date:{NOW}");
    unsigned(
        sqs_get("/").signed("sqs", "x-amz-date", &text(&date, "x-amz-date")),
        "Host' or ':authority",
    );
    unsigned(
        sqs_get("/").signed("sqs", "host", &text("host:localhost", "host")),
        "x-amz-date",
    );
    let plain = || sqs_get("/").signed("sqs", "host;x-amz-date", &plain_canonical("/", ""));
    assert_eq!(plain().decide("sqs"), Ok(()));
    unsigned(
        plain().header("X-Amz-Security-Token", "token"),
        "x-amz-security-token",
    );
    unsigned(
        plain().header("X-Amz-Target", "AmazonSQS.PurgeQueue"),
        "x-amz-target",
    );
    let dated = Sent::new(
        "GET",
        "/",
        &[
            ("Host", "localhost"),
            ("Date", "Sun, 30 Aug 2015 12:36:00 GMT"),
        ],
        "",
    );
    unsigned(
        dated
            .clone()
            .signed("sqs", "host", &text("host:localhost", "host")),
        "date",
    );
    let headers = "date:Sun, 30 Aug 2015 12:36:00 GMT\nhost:localhost";
    assert_eq!(
        dated
            .signed("sqs", "date;host", &text(headers, "date;host"))
            .decide("sqs"),
        Ok(())
    );
    // A header that is listed but was not received matches nothing.
    assert_eq!(
        sqs_get("/")
            .signed(
                "sqs",
                "host;x-a;x-amz-date",
                &text(
                    &format!("host:localhost\nx-a:\n{date}"),
                    "host;x-a;x-amz-date"
                )
            )
            .decide("sqs"),
        MISMATCH
    );
}

#[test]
fn s05_a_changed_body_and_unsigned_payloads_are_refused() {
    let hash = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"; // of "x"
    let good = with_payload(hash, "x");
    assert_eq!(good.decide("sqs"), Ok(()));
    let changed = Sent {
        body: b"y".to_vec(),
        ..good
    };
    assert_eq!(changed.decide("sqs"), Err(Mismatch::Payload.into()));
    // Without the declaration the body is bound all the same.
    let bare = sqs_get("/").signed("sqs", "host;x-amz-date", &plain_canonical("/", ""));
    assert_eq!(
        Sent {
            body: b"y".to_vec(),
            ..bare
        }
        .decide("sqs"),
        MISMATCH
    );

    let open = with_payload("UNSIGNED-PAYLOAD", "anything");
    assert!(matches!(
        open.decide("sqs"),
        Err(AuthError::AccessDenied(_))
    ));
    let regions = regions();
    let over_tls = Rules {
        allow_unsigned_payload: true,
        ..Rules::sqs(stamp(NOW), &regions)
    };
    assert_eq!(open.decide_for(Some(&permanent()), &over_tls), Ok(()));
}

#[test]
fn s07_the_scope_must_be_ours() {
    let signed =
        |service: &str| sqs_get("/").signed(service, "host;x-amz-date", &plain_canonical("/", ""));
    assert_eq!(
        signed("sqs").decide("kinesis"),
        Err(Mismatch::Service.into())
    );
    let elsewhere = [String::from("eu-west-1")];
    let rules = Rules::sqs(stamp(NOW), &elsewhere);
    assert_eq!(
        signed("sqs").decide_for(Some(&permanent()), &rules),
        Err(Mismatch::Region.into())
    );
    let mut other_day = signed("sqs");
    let value = &mut other_day.headers.last_mut().unwrap().1;
    *value = value.replace("/20150830/", "/20150831/");
    assert_eq!(other_day.decide("sqs"), Err(Mismatch::Date.into()));
}

#[test]
fn s08_clock_skew_has_an_exact_window() {
    let http = sqs_get("/").signed("sqs", "host;x-amz-date", &plain_canonical("/", ""));
    let regions = regions();
    let at = |offset: i64| {
        let rules = Rules::sqs(stamp(NOW).offset(offset), &regions);
        http.decide_for(Some(&permanent()), &rules)
    };
    for offset in [-900, -899, 0, 899, 900] {
        assert_eq!(at(offset), Ok(()), "{offset}");
    }
    assert!(matches!(
        at(901),
        Err(AuthError::SignatureExpired {
            window_secs: 900,
            ..
        })
    ));
    assert!(matches!(
        at(-901),
        Err(AuthError::SignatureNotYetCurrent {
            window_secs: 900,
            ..
        })
    ));
    // Clocks at the end of time must not overflow.
    assert!(at(i64::MAX).is_err());
    assert!(at(i64::MIN).is_err());
}

fn presigned(service: &str, expires: &str) -> Sent {
    let expires = if expires.is_empty() {
        String::new()
    } else {
        format!("&X-Amz-Expires={expires}")
    };
    let query = format!(
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2F{service}%2Faws4_request&X-Amz-Date={NOW}{expires}&X-Amz-SignedHeaders=host"
    );
    let canonical = format!("GET\n/mqtt\n{query}\nhost:localhost\n\nhost\n{EMPTY_HASH}");
    let signature = signature_of(NOW, service, &canonical);
    Sent::new(
        "GET",
        &format!("/mqtt?{query}&X-Amz-Signature={signature}"),
        &[("Host", "localhost")],
        "",
    )
}

#[test]
fn s08_presigned_urls_end_when_they_say() {
    let regions = regions();
    let at = |expires: &str, offset: i64, sqs: bool| {
        let now = stamp(NOW).offset(offset);
        let rules = if sqs {
            Rules::sqs(now, &regions)
        } else {
            Rules::http(now, &["sqs"], &regions)
        };
        presigned("sqs", expires).decide_for(Some(&permanent()), &rules)
    };
    for bad in ["0", "-1", "604801", "+5", "5.0", "4294967297", "x", ""] {
        incomplete(at(bad, 0, false));
    }
    assert_eq!(at("60", 60, false), Ok(()));
    assert!(matches!(
        at("60", 61, false),
        Err(AuthError::SignatureExpired {
            window_secs: 60,
            ..
        })
    ));
    assert_eq!(at("604800", 604_800, false), Ok(()));
    assert!(matches!(
        at("604800", 604_801, false),
        Err(AuthError::SignatureExpired { .. })
    ));
    assert_eq!(
        at("604800", 900, true),
        Ok(()),
        "SQS allows a quarter of an hour"
    );
    assert!(matches!(
        at("604800", 901, true),
        Err(AuthError::SignatureExpired {
            window_secs: 900,
            ..
        })
    ));
    assert_eq!(at("60", -900, false), Ok(()));
    assert!(matches!(
        at("60", -901, false),
        Err(AuthError::SignatureNotYetCurrent { .. })
    ));
}

#[test]
fn s09_a_temporary_key_needs_its_own_token_and_its_time() {
    let with_token = |token: &str| {
        let canonical = format!(
            "GET\n/\n\nhost:localhost\nx-amz-date:{NOW}\nx-amz-security-token:{token}\n\nhost;x-amz-date;x-amz-security-token\n{EMPTY_HASH}"
        );
        sqs_get("/").header("X-Amz-Security-Token", token).signed(
            "sqs",
            "host;x-amz-date;x-amz-security-token",
            &canonical,
        )
    };
    let without = sqs_get("/").signed("sqs", "host;x-amz-date", &plain_canonical("/", ""));
    let regions = regions();
    let rules = Rules::sqs(stamp(NOW), &regions);
    let temporary = |expires: i64| Credential {
        session_token: Some("mine"),
        expires: Some(stamp(NOW).offset(expires)),
        ..permanent()
    };
    let decide =
        |sent: &Sent, credential: &Credential<'_>| sent.decide_for(Some(credential), &rules);
    assert_eq!(decide(&with_token("mine"), &temporary(1)), Ok(()));
    assert_eq!(
        decide(&without, &temporary(1)),
        Err(AuthError::InvalidClientToken)
    );
    assert_eq!(
        decide(&with_token("theirs"), &temporary(1)),
        Err(AuthError::InvalidClientToken)
    );
    assert_eq!(
        decide(&with_token("mine"), &permanent()),
        Err(AuthError::InvalidClientToken)
    );
    assert_eq!(
        decide(&with_token("mine"), &temporary(0)),
        Err(AuthError::ExpiredToken)
    );
    // Whoever lacks the secret is told neither.
    let wrong = Credential {
        secret_key: "wrong",
        ..temporary(0)
    };
    assert_eq!(decide(&with_token("theirs"), &wrong), MISMATCH);
}

#[test]
fn s10_a_replayed_mqtt_url_dies_after_five_minutes() {
    for service in ["iotdevicegateway", "iotdata"] {
        let url = presigned(service, "");
        assert_eq!(
            url.decide_mqtt("20150830T124100Z", None),
            Ok(()),
            "{service}"
        );
        let late = url.decide_mqtt("20150830T124101Z", None);
        assert!(
            matches!(
                late,
                Err(AuthError::SignatureExpired {
                    window_secs: 300,
                    ..
                })
            ),
            "{late:?}"
        );
    }
    let long = presigned("iotdata", "86400").decide_mqtt("20150830T124101Z", None);
    assert!(
        matches!(long, Err(AuthError::SignatureExpired { .. })),
        "AWS ignores X-Amz-Expires here"
    );
    assert_eq!(
        presigned("sqs", "60").decide_mqtt(NOW, None),
        Err(Mismatch::Service.into())
    );
}

#[test]
fn mqtt_takes_the_token_outside_and_inside_the_signature() {
    let mut outside = presigned("iotdevicegateway", "");
    outside
        .query
        .push_str("&X-Amz-Security-Token=TOK%2FEN%2B%3D");
    assert_eq!(outside.decide_mqtt(NOW, Some("TOK/EN+=")), Ok(()));
    assert_eq!(
        outside.decide_mqtt(NOW, Some("other")),
        Err(AuthError::InvalidClientToken)
    );
    // The same trick on an ordinary API is a changed request.
    let mut sqs = presigned("sqs", "60");
    sqs.query.push_str("&X-Amz-Security-Token=TOK");
    assert_eq!(sqs.decide("sqs"), MISMATCH);
}

#[test]
fn mqtt_tries_the_default_port_on_the_host() {
    let signed_for = |host: &str, sent_host: &str| {
        let mut sent = presigned("iotdata", "");
        let unsigned = sent
            .query
            .split("&X-Amz-Signature")
            .next()
            .unwrap()
            .to_owned();
        let canonical = format!("GET\n/mqtt\n{unsigned}\nhost:{host}\n\nhost\n{EMPTY_HASH}");
        sent.query = format!(
            "{unsigned}&X-Amz-Signature={}",
            signature_of(NOW, "iotdata", &canonical)
        );
        sent.headers = vec![("host".to_owned(), sent_host.to_owned())];
        sent.decide_mqtt(NOW, None)
    };
    for (signed, sent, expect) in [
        ("h", "h", Ok(())),
        ("h:443", "h", Ok(())),
        ("h", "h:443", Ok(())),
        ("h:8443", "h:8443", Ok(())),
        ("[::1]:443", "[::1]", Ok(())),
        ("h", "h:8443", MISMATCH),
        ("h:443", "h:8443", MISMATCH),
    ] {
        assert_eq!(signed_for(signed, sent), expect, "{signed} {sent}");
    }
}

#[test]
fn crt_clients_sign_connection_too() {
    let mut sent = presigned("iotdata", "").header("Connection", "Upgrade");
    let query = sent
        .query
        .split("&X-Amz-Signature")
        .next()
        .unwrap()
        .replace("=host", "=connection%3Bhost");
    let canonical = format!(
        "GET\n/mqtt\n{query}\nconnection:Upgrade\nhost:localhost\n\nconnection;host\n{EMPTY_HASH}"
    );
    sent.query = format!(
        "{query}&X-Amz-Signature={}",
        signature_of(NOW, "iotdata", &canonical)
    );
    assert_eq!(sent.decide_mqtt(NOW, None), Ok(()));
}

#[test]
fn http2_signs_the_authority_instead_of_the_host() {
    let canonical = format!(
        "POST\n/\n\n:authority:localhost:1\nx-amz-date:{NOW}\n\n:authority;x-amz-date\n{EMPTY_HASH}"
    );
    let sent = Sent::new("POST", "/", &[("x-amz-date", NOW)], "").signed(
        "kinesis",
        ":authority;x-amz-date",
        &canonical,
    );
    let with = |authority: &str| {
        Sent {
            authority: Some(authority.to_owned()),
            ..sent.clone()
        }
        .decide("kinesis")
    };
    assert_eq!(with("localhost:1"), Ok(()));
    assert_eq!(with("localhost:2"), MISMATCH);
    assert_eq!(sent.decide("kinesis"), MISMATCH);
    assert_eq!(
        sent.clone().header("host", "localhost:1").decide("kinesis"),
        Ok(())
    );
    // A client on HTTP/2 that signs `host` sends it as the authority (curl).
    let mut curl = sqs_get("/").signed("sqs", "host;x-amz-date", &plain_canonical("/", ""));
    curl.headers.remove(0);
    curl.authority = Some("localhost".to_owned());
    assert_eq!(curl.decide("sqs"), Ok(()));
    // Two hosts are one too many.
    let two = sqs_get("/").header("Host", "localhost").signed(
        "sqs",
        "host;x-amz-date",
        &plain_canonical("/", ""),
    );
    assert_eq!(two.decide("sqs"), MISMATCH);
}

#[test]
fn s14_an_unknown_key_answers_like_a_wrong_signature() {
    let regions = regions();
    let rules = Rules::sqs(stamp(NOW), &regions);
    let good = sqs_get("/").signed("sqs", "host;x-amz-date", &plain_canonical("/", ""));
    let wrong = Credential {
        secret_key: "wrong",
        ..permanent()
    };
    assert_eq!(good.decide_for(Some(&wrong), &rules), MISMATCH);
    assert_eq!(good.decide_for(None, &rules), MISMATCH);
    // What can be said without a key is said to both.
    let late = Rules::sqs(stamp(NOW).offset(901), &regions);
    assert_eq!(
        good.decide_for(None, &late),
        good.decide_for(Some(&permanent()), &late)
    );
    // Even the stand-in's own signature opens nothing.
    let stand_in = good.with(|request| {
        let claim = Claim::parse(request).unwrap().unwrap();
        SigningKey::derive(
            "no access key has this secret, it opens nothing",
            claim.scope(),
        )
    });
    use sha2::Digest;
    let hash = hex::encode(sha2::Sha256::digest(plain_canonical("/", "")));
    let text = format!("AWS4-HMAC-SHA256\n{NOW}\n20150830/us-east-1/sqs/aws4_request\n{hash}");
    let forged = sqs_get("/").authorized(
        "sqs",
        "host;x-amz-date",
        &hex::encode(stand_in.sign(text.as_bytes())),
    );
    assert_eq!(
        forged.with(|request| verify(
            request,
            &Claim::parse(request).unwrap().unwrap(),
            &stand_in,
            &rules
        )),
        Ok(())
    );
    assert_eq!(forged.decide_for(None, &rules), MISMATCH);
}

#[test]
fn logs_show_no_secret() {
    let sent = presigned("iotdata", "");
    sent.with(|request| {
        let claim = Claim::parse(request).unwrap().unwrap();
        let text = format!(
            "{claim:?} {:?} {:?}",
            permanent(),
            SigningKey::derive(SECRET, claim.scope())
        );
        assert!(text.contains("AKIDEXAMPLE"));
        assert!(!text.contains(SECRET) && !text.contains(&hex::encode(claim.signature())));
    });
}
