//! Default deny: whatever can be called × every kind of credential.

use super::*;
use crate::auth::keys;
use crate::domain::Timestamp;

/// What a caller can come with.
#[derive(Debug, Clone, Copy)]
enum Proof {
    Nothing,
    HalfAQuery,
    OtherScheme,
    Garbage,
    BadSignature,
    UnknownKey,
    ExpiredKey,
    ReplacedKey,
    TokenOfAnother,
    NoToken,
    OtherService,
    Session,
    Operator,
}

const PROOFS: [Proof; 13] = [
    Proof::Nothing,
    Proof::HalfAQuery,
    Proof::OtherScheme,
    Proof::Garbage,
    Proof::BadSignature,
    Proof::UnknownKey,
    Proof::ExpiredKey,
    Proof::ReplacedKey,
    Proof::TokenOfAnother,
    Proof::NoToken,
    Proof::OtherService,
    Proof::Session,
    Proof::Operator,
];

/// The code of the refusal; `None` where the handler runs.
fn expect(access: Access, proof: Proof) -> Option<&'static str> {
    match (proof, access) {
        (Proof::Operator, _)
        | (Proof::Session, Access::Public | Access::OperatorOrOwner)
        | (Proof::Nothing | Proof::OtherScheme, Access::Public) => None,
        (Proof::Session, Access::Operator) => Some("AccessDeniedException"),
        (Proof::Nothing | Proof::OtherScheme | Proof::HalfAQuery, _) => {
            Some("MissingAuthenticationTokenException")
        }
        (Proof::Garbage, _) => Some("IncompleteSignatureException"),
        (Proof::BadSignature | Proof::UnknownKey | Proof::ReplacedKey | Proof::OtherService, _) => {
            Some("InvalidSignatureException")
        }
        (Proof::TokenOfAnother | Proof::NoToken, _) => Some("UnrecognizedClientException"),
        (Proof::ExpiredKey, _) => Some("ExpiredTokenException"),
    }
}

fn headers(given: &Given, ask: &Ask<'_>, service: &str, proof: Proof) -> Vec<(String, String)> {
    let mut keys = given.session.credentials.clone();
    match proof {
        Proof::Nothing | Proof::HalfAQuery => return ask.unsigned(),
        Proof::OtherScheme | Proof::Garbage => {
            let text = match proof {
                Proof::Garbage => "AWS4-HMAC-SHA256 Credential=FANFAREDEV",
                _ => "Bearer FANFAREDEV",
            };
            let mut headers = ask.unsigned();
            headers.push(("authorization".into(), text.into()));
            return headers;
        }
        Proof::BadSignature => keys.secret_key.push('x'),
        Proof::UnknownKey => keys = keys::issue(Timestamp(u64::MAX)),
        Proof::ExpiredKey => {
            let mut expired = testing::session(7, "expired", Some(3));
            expired.credentials.expires = Timestamp(1);
            keys = expired.credentials.clone();
            given.registry.put(expired);
        }
        Proof::ReplacedKey => {
            let mut renewed = testing::session(7, "renewed", Some(3));
            keys = renewed.credentials.clone();
            given.registry.put(renewed.clone());
            renewed.credentials = keys::issue(keys.expires);
            given.registry.put(renewed);
        }
        Proof::TokenOfAnother => {
            let other = testing::session(7, "other", Some(3));
            keys.session_token = other.credentials.session_token.clone();
            given.registry.put(other);
        }
        Proof::NoToken => keys.session_token.clear(),
        Proof::OtherService => return ask.signed(&testing::operator(), "s3"),
        Proof::Session => {}
        Proof::Operator => keys = testing::operator(),
    }
    ask.signed(&keys, service)
}

#[actix::test]
async fn s16_every_route_and_operation_decides() {
    let given = given();
    let mut walked = 0;
    for entry in given.door.surface() {
        if entry.name == "/waits" || entry.name == "/panics" || entry.name == "Panic" {
            continue;
        }
        let path = entry.name.replace("{user}", "3").replace("{rest*}", "a/b");
        let methods: Vec<&str> = entry.methods.iter().map(Method::as_str).collect();
        let (methods, path) = if methods.is_empty() {
            (vec!["POST"], "/".to_owned())
        } else {
            (methods, path)
        };
        let target = format!("Echo.{}", entry.name);
        let rpc = [("x-amz-target", target.as_str())];
        for method in methods {
            for proof in PROOFS {
                let path = match proof {
                    Proof::HalfAQuery => format!("{path}?X-Amz-Credential=FANFAREDEV"),
                    _ => path.clone(),
                };
                let mut ask = Ask::of(method, &path);
                if entry.methods.is_empty() {
                    ask.headers = &rpc;
                }
                let headers = headers(&given, &ask, entry.service, proof);
                let answer = given.send(&ask, &headers).await;
                let case = format!("{entry:?} {proof:?} {answer:?}");
                match expect(entry.access, proof) {
                    None => assert_eq!(answer.status, 200, "{case}"),
                    Some(code) => {
                        assert!(answer.status == 403 || answer.status == 400, "{case}");
                        assert!(answer.body.contains(code), "{case}");
                    }
                }
                walked += 1;
            }
        }
    }
    assert!(walked >= 10 * PROOFS.len(), "{walked}");
}

/// A session may not reach what is another user's, whatever the route lets it try.
#[actix::test]
async fn a_session_reaches_only_its_own() {
    let given = given();
    for (user, expect) in [("3", 200), ("4", 403)] {
        let target = format!("/owner/{user}");
        let ask = Ask::of("GET", &target);
        let headers = ask.signed(&given.session.credentials, "execute-api");
        assert_eq!(given.send(&ask, &headers).await.status, expect, "{user}");
    }
}
