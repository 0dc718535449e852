//! Who is taken for whom, and who is refused.

use super::super::keys;
use super::super::sigv4::{HeaderList, Mismatch};
use super::super::testing::{self, FakeRegistry, signed};
use super::*;
use crate::domain::session::Credentials;

struct Given {
    registry: Arc<FakeRegistry>,
    authenticator: Arc<Authenticator>,
    session: Session,
}

fn given() -> Given {
    let registry = Arc::new(FakeRegistry::default());
    let session = testing::session(7, "s", Some(3));
    registry.put(session.clone());
    registry.put(testing::session(7, "other", Some(4)));
    Given {
        authenticator: testing::authenticator(&registry),
        registry,
        session,
    }
}

impl Given {
    fn ask(&self, keys: &Credentials, service: &str) -> Result<Option<Caller>, Unauthenticated> {
        let headers = signed(keys, service, ("GET", "/status"), &[], b"");
        self.send(&headers)
    }

    fn send(&self, headers: &[(String, String)]) -> Result<Option<Caller>, Unauthenticated> {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let list = HeaderList(&headers);
        let request = Request {
            method: "GET",
            raw_path: "/status",
            raw_query: "",
            headers: &list,
            authority: None,
            body: b"",
        };
        self.authenticator.authenticate(&request, "execute-api")
    }
}

fn is_session(outcome: &Result<Option<Caller>, Unauthenticated>, session: &Session) -> bool {
    matches!(outcome, Ok(Some(Caller::Session(found))) if **found == *session)
}

#[track_caller]
fn check_refused(outcome: Result<Option<Caller>, Unauthenticated>, expect: AuthError) {
    assert_eq!(outcome.map(|_| ()), Err(Unauthenticated::Refused(expect)));
}

const WRONG: AuthError = AuthError::SignatureDoesNotMatch(Mismatch::Signature);

#[test]
fn knows_the_operator_the_sessions_and_nobody() {
    let given = given();
    let operator = given.ask(&testing::operator(), "execute-api");
    assert!(
        matches!(&operator, Ok(Some(Caller::Operator { access_key })) if **access_key == *"FANFAREDEV"),
        "{operator:?}"
    );
    let session = given.ask(&given.session.credentials, "execute-api");
    assert!(is_session(&session, &given.session));
    assert!(matches!(given.send(&[]), Ok(None)));
}

#[test]
fn s07_another_service_is_refused() {
    let given = given();
    let outcome = given.ask(&testing::operator(), "sqs");
    check_refused(outcome, Mismatch::Service.into());
}

#[test]
fn s14_unknown_keys_and_bad_signatures_get_one_answer() {
    let given = given();
    let mut keys = given.session.credentials.clone();
    keys.secret_key = "wrong".into();
    check_refused(given.ask(&keys, "execute-api"), WRONG);
    keys.access_key = "ASIAAAAAAAAAAAAAAAAA".into();
    check_refused(given.ask(&keys, "execute-api"), WRONG);
    let mut operator = testing::operator();
    operator.secret_key = "wrong".into();
    check_refused(given.ask(&operator, "execute-api"), WRONG);
    operator.access_key = "NOBODY".into();
    check_refused(given.ask(&operator, "execute-api"), WRONG);
}

#[test]
fn s09_a_token_belongs_to_its_key() {
    let given = given();
    let mut keys = given.session.credentials.clone();
    for token in ["", "made-up", &keys::issue(Timestamp(0)).session_token] {
        keys.session_token = token.to_owned();
        check_refused(
            given.ask(&keys, "execute-api"),
            AuthError::InvalidClientToken,
        );
    }
    let mut operator = testing::operator();
    operator.session_token = given.session.credentials.session_token.clone();
    check_refused(
        given.ask(&operator, "execute-api"),
        AuthError::InvalidClientToken,
    );
}

#[test]
fn s09_expired_keys_are_refused() {
    let given = given();
    let past = Timestamp(1);
    for (keys_end, session_ends) in [(past, None), (Timestamp(u64::MAX), Some(past))] {
        let mut session = given.session.clone();
        session.credentials.expires = keys_end;
        session.ttl = session_ends.unwrap_or(session.ttl);
        given.registry.put(session.clone());
        let outcome = given.ask(&session.credentials, "execute-api");
        check_refused(outcome, AuthError::ExpiredToken);
    }
}

#[test]
fn replaced_keys_stop_working_at_once() {
    let given = given();
    let before = given.session.credentials.clone();
    assert!(given.ask(&before, "execute-api").is_ok());
    let mut renewed = given.session.clone();
    renewed.credentials = keys::issue(before.expires);
    given.registry.put(renewed.clone());
    check_refused(given.ask(&before, "execute-api"), WRONG);
    assert!(is_session(
        &given.ask(&renewed.credentials, "execute-api"),
        &renewed
    ));
    given.registry.remove(&renewed.key);
    check_refused(given.ask(&renewed.credentials, "execute-api"), WRONG);
}

#[test]
fn a_store_that_fails_is_no_refusal() {
    let given = given();
    *given.registry.failure.lock().unwrap() = Some(StoreError::Overloaded);
    let outcome = given.ask(&given.session.credentials, "execute-api");
    assert_eq!(
        outcome.map(|_| ()),
        Err(Unauthenticated::Store(StoreError::Overloaded))
    );
}
