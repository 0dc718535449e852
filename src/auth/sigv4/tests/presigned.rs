//! Signatures in the query, those of MQTT over WebSocket among them.

use super::*;

pub(super) fn presigned(service: &str, expires: &str) -> Sent {
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
