//! Default deny: whatever can be called × every kind of credential. `app` walks the real surface likewise.

use super::*;
use crate::auth::keys;
use crate::auth::testing::proofs::{Keyring, Proof};
use crate::domain::Timestamp;

/// Sessions in every state.
fn keyring(given: &Given) -> Keyring {
    let mut expired = testing::session(7, "expired", Some(3));
    expired.credentials.expires = Timestamp(1);
    given.registry.put(expired.clone());
    let mut renewed = testing::session(7, "renewed", Some(3));
    let replaced = renewed.credentials.clone();
    given.registry.put(renewed.clone());
    renewed.credentials = keys::issue(replaced.expires);
    given.registry.put(renewed);
    let destroyed = testing::session(7, "destroyed", Some(3));
    given.registry.put(destroyed.clone());
    given.registry.remove(&destroyed.key);
    let other = testing::session(7, "other", Some(3));
    given.registry.put(other.clone());
    Keyring {
        session: given.session.credentials.clone(),
        expired: expired.credentials,
        replaced,
        destroyed: destroyed.credentials,
        guest: testing::guest(&given.door.authenticator),
        other: other.credentials,
    }
}

#[actix::test]
async fn s16_every_route_and_operation_decides() {
    let given = given();
    let keyring = keyring(&given);
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
            for proof in Proof::ALL {
                let path = match proof.query() {
                    "" => path.clone(),
                    query => format!("{path}?{query}"),
                };
                let mut ask = Ask::of(method, &path);
                if entry.methods.is_empty() {
                    ask.headers = &rpc;
                }
                let line = (ask.method, ask.target);
                let headers = keyring.headers(proof, entry.service, line, ask.headers, b"");
                let answer = given.send(&ask, &headers).await;
                let case = format!("{entry:?} {proof:?} {answer:?}");
                match proof.refusal(entry.access) {
                    None => assert_eq!(answer.status, 200, "{case}"),
                    Some(refusal) => {
                        assert!(answer.status == 403 || answer.status == 400, "{case}");
                        assert!(answer.body.contains(refusal.told().code), "{case}");
                    }
                }
                walked += 1;
            }
        }
    }
    assert!(walked >= 10 * Proof::ALL.len(), "{walked}");
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
