//! Who gets in by which URL, what they may do, and what ends it.

use std::time::Duration;

use super::super::caller::Caller;
use super::super::login::LoginError;
use super::super::principal::Connection;
use super::super::rulebook::Rulebook;
use super::super::sigv4::HeaderList;
use super::super::testing::{self, FakeRegistry, HOST, REGION};
use super::super::{IssueError, Rights, keys};
use super::*;
use crate::backends::{SessionRegistry, Touched};
use crate::config::limits::policy as limits;
use crate::config::{self, Config};
use crate::domain::Clock;
use crate::domain::policy::Action;
use crate::domain::session::Credentials;

const PLAYER: &str = r#"{"Statement":[
    {"Effect":"Allow","Action":"iot:Connect","Resource":"*"},
    {"Effect":"Allow","Action":["iot:Publish","iot:Receive"],"Resource":"arn:aws:iot:us-east-1:*:topic/rooms/*"},
    {"Effect":"Allow","Action":"iot:Subscribe","Resource":"arn:aws:iot:us-east-1:*:topicfilter/rooms/*"}]}"#;

/// A hash that costs little, so that a busy machine does not make the pauses between logins longer than what is tested.
fn hash_password(password: &[u8]) -> String {
    use argon2::password_hash::{PasswordHasher as _, SaltString};
    let params = argon2::Params::new(8, 1, 1, None).unwrap();
    let argon = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let salt = SaltString::encode_b64(b"0123456789abcdef").unwrap();
    argon.hash_password(password, &salt).unwrap().to_string()
}

fn config() -> Config {
    let mut config = Config::default();
    config.guests.allow = vec!["/game/*".into()];
    config.guests.anonymous_policy = Some(PLAYER.into());
    config.roles = vec![config::Role {
        name: "player".into(),
        policy: PLAYER.into(),
    }];
    config.accounts = vec![config::Account {
        username: "sensor".into(),
        password_hash: config::Secret::new(hash_password(b"right")),
        policy: PLAYER.replace("rooms/*", "${fanfare:user}/*"),
    }];
    config
}

fn book(config: &Config) -> Arc<Rulebook> {
    Arc::new(Rulebook::of(config).unwrap())
}

struct Given {
    registry: Arc<FakeRegistry>,
    authenticator: Authenticator,
    session: Session,
    config: Config,
}

fn given() -> Given {
    let registry = Arc::new(FakeRegistry::default());
    let mut session = testing::session(7, "s", Some(3));
    session.topics = vec!["chat/+/x".into()];
    registry.put(session.clone());
    let operator = testing::operator();
    let config = config();
    let operators = vec![super::super::OperatorKey {
        access_key: operator.access_key.into(),
        secret_key: operator.secret_key,
    }];
    let authenticator = Authenticator::new(
        operators,
        Arc::clone(&registry) as Arc<dyn SessionRegistry>,
        vec![REGION.into()],
        Clock::start(),
    );
    Given {
        registry,
        authenticator: authenticator.with(Rights {
            book: book(&config),
            ..Rights::default()
        }),
        session,
        config,
    }
}

impl Given {
    /// Asks for an upgrade with a URL as the AWS IoT SDKs sign it: the token behind the signature.
    fn signed(
        &self,
        keys: &Credentials,
        service: &str,
    ) -> Result<Option<Principal>, Unauthenticated> {
        self.query(&presigned(keys, service))
    }

    fn query(&self, query: &str) -> Result<Option<Principal>, Unauthenticated> {
        let headers = [
            ("host", HOST),
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
        ];
        let list = HeaderList(&headers);
        self.authenticator.upgrade(&Request {
            method: "GET",
            raw_path: "/mqtt",
            raw_query: query,
            headers: &list,
            authority: None,
            body: b"",
        })
    }

    fn principal(&self, keys: &Credentials) -> Principal {
        self.signed(keys, "iotdevicegateway").unwrap().unwrap()
    }

    fn guest(&self, topics: Option<Vec<String>>) -> Result<Credentials, IssueError> {
        let identity = IdentityId::parse("us-east-1:e083f780-0000-4000-8000-000000000000").unwrap();
        self.authenticator.guest_keys(&identity, topics, None)
    }
}

/// The old SDK's URL. The signing key and the hash are this crate's; that they are right is shown against the AWS crates in
/// `sigv4::tests::oracle`.
fn presigned(keys: &Credentials, service: &str) -> String {
    use super::super::sigv4::SigningKey;
    use sha2::{Digest as _, Sha256};
    let now = stamp(Clock::start().wall()).to_string();
    let scope = format!("{}/{REGION}/{service}/aws4_request", &now[..8]);
    let query = format!(
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={}%2F{}&X-Amz-Date={now}&X-Amz-SignedHeaders=host",
        keys.access_key,
        scope.replace('/', "%2F")
    );
    let empty = hex::encode(Sha256::digest(b""));
    let request = format!("GET\n/mqtt\n{query}\nhost:{HOST}\n\nhost\n{empty}");
    let hash = hex::encode(Sha256::digest(request));
    let text = format!("AWS4-HMAC-SHA256\n{now}\n{scope}\n{hash}");
    let signature = hex::encode(SigningKey::derive(&keys.secret_key, &scope).sign(text.as_bytes()));
    let mut query = format!("{query}&X-Amz-Signature={signature}");
    if !keys.session_token.is_empty() {
        query += &format!("&X-Amz-Security-Token={}", keys.session_token);
    }
    query
}

fn allows(principal: &Principal, action: Action, resource: &str) -> bool {
    principal
        .access(Connection {
            client_id: Some("c"),
            ..Connection::default()
        })
        .allows(action, resource)
}

#[track_caller]
fn check_refused<T: std::fmt::Debug>(outcome: Result<T, Unauthenticated>, expect: &AuthError) {
    match outcome {
        Err(Unauthenticated::Refused(error)) => assert_eq!(error, *expect),
        other => panic!("{other:?}"),
    }
}

#[test]
fn signed_urls_of_both_services_let_in() {
    let given = given();
    for service in ["iotdevicegateway", "iotdata"] {
        let operator = given
            .signed(&testing::operator(), service)
            .unwrap()
            .unwrap();
        assert_eq!(&*operator.name, "operator");
        let session = given
            .signed(&given.session.credentials, service)
            .unwrap()
            .unwrap();
        assert_eq!(&*session.name, "session:7/s");
        assert_eq!(session.expires, Some(given.session.credentials.expires));
    }
    assert!(given.query("").unwrap().is_none());
    assert!(given.query("x=y").unwrap().is_none());
    let wrong = given.signed(&testing::operator(), "sqs");
    assert!(wrong.is_err(), "{wrong:?}");
}

#[test]
fn a_session_has_its_own_topic_and_what_it_was_granted() {
    let given = given();
    let principal = given.principal(&given.session.credentials);
    let own = given.session.topic().to_string();
    for (action, resource, expect) in [
        (Action::Connect, "anything", true),
        (Action::Connect, "a+b", false),
        (Action::Subscribe, own.as_str(), true),
        (Action::Receive, &own, true),
        (Action::Publish, &own, false),
        (Action::Subscribe, "sessions/#", false),
        (Action::Publish, "chat/1/x", true),
        (Action::Subscribe, "chat/+/x", true),
        (Action::Subscribe, "chat/#", false),
        (Action::Publish, "chat/1/y", false),
    ] {
        assert_eq!(
            allows(&principal, action, resource),
            expect,
            "{action} {resource}"
        );
    }
}

#[test]
fn guests_may_what_the_configuration_says_narrowed_by_what_they_asked_for() {
    let given = given();
    let start = given.authenticator.clock().wall();
    let keys = given.guest(None).unwrap();
    let life = keys.expires.since(start);
    assert!(life >= limits::GUEST_LIFE && life < limits::GUEST_LIFE * 2);
    let guest = given.principal(&keys);
    assert!(guest.name.starts_with("guest:us-east-1:"), "{}", guest.name);
    assert!(allows(&guest, Action::Publish, "/game/x"));
    assert!(!allows(&guest, Action::Publish, "/other"));
    let topics = vec!["/game/x".to_owned(), "/other".to_owned()];
    let narrow = given.principal(&given.guest(Some(topics)).unwrap());
    assert!(allows(&narrow, Action::Publish, "/game/x"));
    assert!(!allows(&narrow, Action::Publish, "/game/y"));
    assert!(!allows(&narrow, Action::Publish, "/other"));
    for bad in [
        vec![],
        vec![String::new()],
        vec!["x".repeat(limits::TOPIC_BYTES + 1)],
        vec!["x".into(); limits::NARROWED_TOPICS + 1],
    ] {
        assert!(matches!(
            given.guest(Some(bad)),
            Err(IssueError::Malformed(_))
        ));
    }
    given.authenticator.replace(Arc::default());
    assert_eq!(given.guest(None), Err(IssueError::NoGuests));
}

#[test]
fn guests_keys_are_rationed_by_address() {
    let given = given();
    let outcomes: Vec<_> = (0..40).map(|_| given.guest(None)).collect();
    assert!(outcomes[..30].iter().all(Result::is_ok));
    assert!(matches!(outcomes[39], Err(IssueError::Throttled(_))));
}

#[test]
fn a_role_is_narrowed_by_its_session_policy() {
    let given = given();
    let hour = Duration::from_secs(3600);
    let role = |policy: Option<&str>| {
        given
            .authenticator
            .role_keys("player", "sess", policy, hour)
    };
    let wide = given.principal(&role(None).unwrap());
    assert_eq!(&*wide.name, "role:player/sess");
    assert!(allows(&wide, Action::Publish, "rooms/1"));
    let policy = r#"{"Statement":{"Effect":"Allow","Action":"iot:*","Resource":"arn:aws:iot:*:*:topic/*1"}}"#;
    let narrow = given.principal(&role(Some(policy)).unwrap());
    assert!(allows(&narrow, Action::Publish, "rooms/1"));
    assert!(!allows(&narrow, Action::Publish, "rooms/2"));
    assert!(!allows(&narrow, Action::Publish, "1"));
    assert!(!allows(&narrow, Action::Subscribe, "rooms/1"));
    assert!(matches!(role(Some("{}")), Err(IssueError::Malformed(_))));
    let long = |most: usize| format!("{policy}{}", " ".repeat(most - policy.len()));
    assert!(role(Some(&long(limits::SESSION_BYTES))).is_ok());
    assert!(role(Some(&long(limits::SESSION_BYTES + 1))).is_err());
    let other = given.authenticator.role_keys("nobody", "sess", None, hour);
    assert_eq!(other, Err(IssueError::NoSuchRole));
}

#[test]
fn s09_keys_that_carry_their_claims_need_their_own_token() {
    let given = given();
    let (keys, other) = (given.guest(None).unwrap(), given.guest(None).unwrap());
    let wrong = AuthError::SignatureDoesNotMatch(super::super::sigv4::Mismatch::Signature);
    for token in [
        "",
        "made-up",
        &other.session_token,
        &given.session.credentials.session_token,
    ] {
        let mut changed = keys.clone();
        changed.session_token = token.to_owned();
        check_refused(given.signed(&changed, "iotdata"), &wrong);
    }
    let mut changed = keys;
    changed.secret_key = other.secret_key;
    check_refused(given.signed(&changed, "iotdata"), &wrong);
    let ended = given
        .authenticator
        .role_keys("player", "sess", None, Duration::ZERO)
        .unwrap();
    check_refused(given.signed(&ended, "iotdata"), &AuthError::ExpiredToken);
}

#[test]
fn temporary_keys_of_the_operator_make_no_others() {
    let given = given();
    let operator = Caller::Operator {
        access_key: "FANFAREDEV".into(),
    };
    let hour = Duration::from_secs(3600);
    let keys = given.authenticator.operator_keys(&operator, hour).unwrap();
    let principal = given.principal(&keys);
    assert_eq!(
        (&*principal.name, principal.expires),
        ("operator", Some(keys.expires))
    );
    let temporary = Caller::Operator {
        access_key: keys.access_key.as_str().into(),
    };
    let session = Caller::Session(Arc::new(given.session.clone()));
    for caller in [&temporary, &session, &Caller::Anonymous] {
        let outcome = given.authenticator.operator_keys(caller, hour);
        assert_eq!(outcome, Err(IssueError::NotPermanent));
    }
    assert!(given.authenticator.connect_token(&temporary).is_err());
    assert!(
        given
            .authenticator
            .connect_token(&Caller::Anonymous)
            .is_err()
    );
}

#[test]
fn a_connect_token_lets_in_whom_it_was_made_for() {
    let given = given();
    let session = Caller::Session(Arc::new(given.session.clone()));
    let start = given.authenticator.clock().wall();
    let (token, expires) = given.authenticator.connect_token(&session).unwrap();
    assert!(expires.since(start) >= limits::CONNECT_TOKEN_LIFE);
    assert!(expires.since(start) < limits::CONNECT_TOKEN_LIFE * 2);
    let query = format!("token={token}");
    let principal = given.query(&query).unwrap().unwrap();
    assert_eq!(&*principal.name, "session:7/s");
    for bad in ["token=", "token=F1AAAA", &format!("{query}x")] {
        check_refused(given.query(bad), &AuthError::InvalidClientToken);
    }
    assert!(given.query(&format!("{query}&{query}")).is_err());
    let both = format!("{}&{query}", presigned(&testing::operator(), "iotdata"));
    assert!(given.query(&both).is_err());
    // A session token is no connect token.
    let keys = given.guest(None).unwrap();
    let query_of_keys = format!("token={}", keys.session_token);
    check_refused(given.query(&query_of_keys), &AuthError::InvalidClientToken);
    given.registry.remove(&given.session.key);
    check_refused(given.query(&query), &AuthError::InvalidClientToken);
}

#[test]
fn a_connect_token_ends_with_the_keys_it_was_made_with() {
    let given = given();
    let now = given.authenticator.clock().wall();
    let mut ending = given.session.clone();
    ending.credentials.expires = now.plus(Duration::from_millis(50));
    let caller = Caller::Session(Arc::new(ending.clone()));
    let (token, expires) = given.authenticator.connect_token(&caller).unwrap();
    assert_eq!(expires, ending.credentials.expires);
    std::thread::sleep(Duration::from_millis(60));
    // The session has new keys by now; the token was made with the old ones.
    given.registry.put(given.session.clone());
    let query = format!("token={token}");
    check_refused(given.query(&query), &AuthError::ExpiredToken);
}

#[track_caller]
fn check_revoked(outcome: &Recheck, expect: Revoked) {
    assert!(
        matches!(outcome, Recheck::Revoked(why) if *why == expect),
        "{outcome:?}"
    );
}

#[test]
fn s11_a_renewed_session_goes_on_and_a_destroyed_one_ends() {
    let given = given();
    let principal = given.principal(&given.session.credentials);
    let before = given.authenticator.version(&principal);
    assert!(matches!(
        given.authenticator.recheck(&principal),
        Recheck::Same
    ));
    let mut renewed = given.session.clone();
    renewed.credentials = keys::issue(
        given
            .session
            .credentials
            .expires
            .plus(Duration::from_secs(9)),
    );
    renewed.topics.clear();
    given.registry.put(renewed.clone());
    given.authenticator.versions().touched(&Touched::Opened {
        session: renewed.route(),
        before: Some(given.session.route()),
    });
    assert!(given.authenticator.version(&principal) > before);
    let Recheck::Changed(changed) = given.authenticator.recheck(&principal) else {
        panic!("renewed");
    };
    assert_eq!(changed.expires, Some(renewed.credentials.expires));
    assert!(!allows(&changed, Action::Publish, "chat/1/x"));
    let before = given.authenticator.version(&principal);
    given.registry.remove(&given.session.key);
    given
        .authenticator
        .versions()
        .touched(&Touched::Closed(renewed.route()));
    assert!(given.authenticator.version(&principal) > before);
    check_revoked(
        &given.authenticator.recheck(&principal),
        Revoked::SessionOver,
    );
}

#[test]
fn s11_keys_that_have_ended_end_the_principal() {
    let given = given();
    let mut session = given.session.clone();
    let principal = given.principal(&session.credentials);
    session.credentials.expires = Timestamp(1);
    given.registry.put(session);
    check_revoked(&given.authenticator.recheck(&principal), Revoked::Expired);
    let mut guest = given.principal(&given.guest(None).unwrap());
    assert!(matches!(given.authenticator.recheck(&guest), Recheck::Same));
    guest.expires = Some(Timestamp(1));
    check_revoked(&given.authenticator.recheck(&guest), Revoked::Expired);
}

/// Every kind of principal whose rights are in the configuration.
async fn configured(given: &Given) -> [Principal; 4] {
    let role = given
        .authenticator
        .role_keys("player", "sess", None, Duration::from_secs(900));
    let login = given.authenticator.login("sensor", b"right", None);
    [
        given.principal(&given.guest(None).unwrap()),
        given.principal(&role.unwrap()),
        login.await.unwrap(),
        Principal::clone(&given.authenticator.anonymous().unwrap()),
    ]
}

#[actix::test]
async fn m17_a_changed_configuration_reaches_open_connections() {
    let given = given();
    let principals = configured(&given).await;
    let topics = ["/game/x", "rooms/1", "sensor/1", "rooms/1"];
    let before: Vec<_> = principals
        .iter()
        .map(|p| given.authenticator.version(p))
        .collect();
    for (principal, topic) in principals.iter().zip(topics) {
        assert!(matches!(
            given.authenticator.recheck(principal),
            Recheck::Same
        ));
        assert!(
            allows(principal, Action::Publish, topic),
            "{}",
            principal.name
        );
    }
    // The same configuration, read again.
    given.authenticator.replace(book(&given.config));
    for principal in &principals {
        assert!(matches!(
            given.authenticator.recheck(principal),
            Recheck::Same
        ));
    }
    let mut other = given.config.clone();
    other.guests.allow = vec!["/lobby".into()];
    let closed = r#"{"Statement":[]}"#.to_owned();
    other.guests.anonymous_policy = Some(closed.clone());
    other.roles[0].policy = closed.clone();
    other.accounts[0].policy = closed;
    given.authenticator.replace(book(&other));
    for ((principal, topic), before) in principals.iter().zip(topics).zip(&before) {
        assert!(given.authenticator.version(principal) > *before);
        let Recheck::Changed(now) = given.authenticator.recheck(principal) else {
            panic!("{} has changed", principal.name);
        };
        assert!(!allows(&now, Action::Publish, topic), "{}", principal.name);
        assert_eq!(now.name, principal.name);
    }
    given.authenticator.replace(Arc::default());
    for principal in &principals {
        check_revoked(&given.authenticator.recheck(principal), Revoked::Withdrawn);
    }
}

#[actix::test]
async fn a_login_needs_the_right_password() {
    let given = given();
    let from = Some("10.0.0.1".parse().unwrap());
    let good = given
        .authenticator
        .login("sensor", b"right", from)
        .await
        .unwrap();
    assert_eq!(&*good.name, "account:sensor");
    for (name, password) in [
        ("sensor", &b"wrong"[..]),
        ("nobody", b"right"),
        ("+", b"right"),
        ("", b""),
    ] {
        let outcome = given.authenticator.login(name, password, from).await;
        assert_eq!(outcome.map(|p| p.name), Err(LoginError::Refused), "{name}");
    }
    let mut other = given.config.clone();
    other.accounts[0].password_hash = config::Secret::new(hash_password(b"other"));
    given.authenticator.replace(book(&other));
    check_revoked(&given.authenticator.recheck(&good), Revoked::Withdrawn);
    given.authenticator.replace(Arc::default());
    let outcome = given.authenticator.login("sensor", b"right", from).await;
    assert_eq!(outcome.map(|p| p.name), Err(LoginError::Refused));
}

#[actix::test]
async fn failed_logins_are_rationed_by_address_and_name() {
    let given = given();
    let from = |last: u8| Some(std::net::IpAddr::from([10, 0, 0, last]));
    // Hashing takes its time, in which another login is granted now and then.
    let mut tries = 0;
    loop {
        tries += 1;
        let outcome = given.authenticator.login("sensor", b"wrong", from(1)).await;
        match outcome {
            Err(LoginError::Throttled(wait)) => {
                assert!(wait <= limits::LOGIN_PAUSE);
                break;
            }
            outcome => assert_eq!(outcome.map(|p| p.name), Err(LoginError::Refused)),
        }
        assert!(tries < 100, "never throttled");
    }
    assert!(tries > limits::LOGIN_FAILURES, "{tries}");
    assert!(
        given
            .authenticator
            .login("sensor", b"right", from(1))
            .await
            .is_err()
    );
    assert!(
        given
            .authenticator
            .login("sensor", b"right", from(2))
            .await
            .is_ok()
    );
}

#[actix::test]
async fn few_passwords_are_checked_at_once_and_not_many_wait() {
    let given = given();
    let logins = given.authenticator.logins();
    assert_eq!(
        logins.free(),
        (limits::PARALLEL_HASHES, limits::WAITING_HASHES)
    );
    let ask = || given.authenticator.login("sensor", b"right", None);
    let all = (0..limits::WAITING_HASHES + 10).map(|_| ask());
    let outcomes = futures_util::future::join_all(all).await;
    let busy = outcomes
        .iter()
        .filter(|o| matches!(o, Err(LoginError::Busy)));
    assert_eq!(busy.count(), 10);
    assert_eq!(
        logins.free(),
        (limits::PARALLEL_HASHES, limits::WAITING_HASHES)
    );
}
