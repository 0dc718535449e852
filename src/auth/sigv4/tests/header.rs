//! Signatures in the header: what must be signed, over what, for what.

use super::*;

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
