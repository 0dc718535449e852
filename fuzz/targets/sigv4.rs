//! SigV4: whatever a request says, it is verified or refused, and only the key that signed it verifies it.
//!
//! An input is a request as text: method, path and query on a line each, headers as `name: value`, an empty line,
//! the body.

#![no_main]

use std::sync::LazyLock;

use fanfare::auth::sigv4::{
    AuthError, Claim, Credential, Headers, Request, Rules, Stamp, Verifier,
};
use libfuzzer_sys::fuzz_target;

/// The secret that the seeds are signed with, one of AWS's examples.
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// 2015-08-30T12:36:00Z, when the seeds were signed.
const NOW: i64 = 1_440_938_160;

static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| Verifier::new(64));
static REGIONS: LazyLock<Vec<String>> = LazyLock::new(|| vec!["us-east-1".into()]);

/// Headers of any bytes.
struct Lines<'a>(Vec<(String, &'a [u8])>);

impl Headers for Lines<'_> {
    fn values<'h>(&'h self, name: &str, each: &mut dyn FnMut(&'h [u8])) {
        for (known, value) in &self.0 {
            if known == name {
                each(value);
            }
        }
    }
}

fn line<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let end = rest.iter().position(|byte| *byte == b'\n');
    let (line, after) = match end {
        Some(end) => (&rest[..end], &rest[end + 1..]),
        None => (*rest, &b""[..]),
    };
    *rest = after;
    line
}

fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(line(rest)).ok()
}

/// Whether `secret` verifies it.
fn outcome(
    request: &Request<'_>,
    claim: &Claim<'_>,
    secret: Option<&str>,
    rules: &Rules<'_>,
) -> Result<(), AuthError> {
    let credential = secret.map(|secret_key| Credential {
        secret_key,
        session_token: claim.session_token(),
        expires: None,
    });
    VERIFIER.verify(request, claim, credential.as_ref(), rules)
}

fn check(request: &Request<'_>, rules: &Rules<'_>) {
    let Ok(Some(claim)) = Claim::parse(request) else {
        return;
    };
    let verified = outcome(request, &claim, Some(SECRET), rules);
    assert_eq!(
        verified,
        outcome(request, &claim, Some(SECRET), rules),
        "two outcomes of one request"
    );
    assert!(outcome(request, &claim, None, rules).is_err(), "no key");
    assert!(
        outcome(request, &claim, Some("another"), rules).is_err(),
        "verified with a key that did not sign it"
    );
    if verified.is_ok() {
        let another = Request {
            method: if request.method == "PUT" {
                "GET"
            } else {
                "PUT"
            },
            ..*request
        };
        let claim = Claim::parse(&another);
        let claim = claim.expect("the method is no part of the claim");
        let claim = claim.expect("it claimed a signature");
        assert!(
            outcome(&another, &claim, Some(SECRET), rules).is_err(),
            "one signature for two requests"
        );
    }
}

fuzz_target!(|input: &[u8]| {
    let mut rest = input;
    let (Some(method), Some(raw_path), Some(raw_query)) =
        (text(&mut rest), text(&mut rest), text(&mut rest))
    else {
        return;
    };
    let mut headers = Lines(Vec::new());
    loop {
        let header = line(&mut rest);
        let Some(colon) = header.iter().position(|byte| *byte == b':') else {
            break;
        };
        let Ok(name) = std::str::from_utf8(&header[..colon]) else {
            return;
        };
        let value = header[colon + 1..].trim_ascii();
        headers.0.push((name.to_ascii_lowercase(), value));
    }
    let request = Request {
        method,
        raw_path,
        raw_query,
        headers: &headers,
        authority: None,
        body: rest,
    };
    let now = Stamp::from_epoch_seconds(NOW);
    check(&request, &Rules::http(now, &["service"], &REGIONS));
    check(&request, &Rules::mqtt(now, &REGIONS));
});
