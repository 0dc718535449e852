//! The verifier against AWS's published vectors and the attack cases S1 to S14. The signer here is
//! naive on purpose: a test writes the canonical request out, letter by letter. `oracle` holds the
//! verifier against AWS's own signer.

mod header;
mod oracle;
mod presigned;
mod timing;

use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};

use super::*;
use presigned::presigned;

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
