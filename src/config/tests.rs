//! What follows from several settings together.

use super::*;

/// What comes of these settings on top of the defaults: who the operator is, or what the complaint says.
fn check(change: impl FnOnce(&mut Config), expect: Result<(&str, bool), &str>) {
    let mut config = Config::default();
    change(&mut config);
    match (config.operator_keys(), expect) {
        (Ok(keys), Ok(expect)) => {
            assert_eq!((keys.access_key.as_str(), keys.development), expect);
        }
        (Err(problem), Err(part)) => assert!(problem.0.contains(part), "{problem}"),
        (found, _) => panic!("{found:?}"),
    }
}

fn operator(access: Option<&str>, secret: Option<&str>) -> impl FnOnce(&mut Config) {
    let access = access.map(str::to_owned);
    let secret = secret.map(Secret::new);
    move |config| {
        config.operator_access_key = access;
        config.operator_secret_key = secret;
    }
}

#[test]
fn development_keys_are_for_loopback_only() {
    check(|_| {}, Ok(("FANFAREDEV", true)));
    let listen = |text: &'static str| {
        move |config: &mut Config| config.http.listen = text.parse().expect("an address")
    };
    check(listen("[::1]:80"), Ok(("FANFAREDEV", true)));
    check(listen("0.0.0.0:80"), Err("operator_access_key"));
    check(listen("10.1.2.3:80"), Err("10.1.2.3:80"));
    check(listen("[::]:80"), Err("operator_access_key"));
    let in_tls = |config: &mut Config| config.http.tls_listen = "0.0.0.0:81".parse().ok();
    check(in_tls, Err("http.tls_listen = 0.0.0.0:81"));
    let mqtts = |config: &mut Config| config.mqtt.tls_listen = "0.0.0.0:81".parse().ok();
    check(mqtts, Err("mqtt.tls_listen = 0.0.0.0:81"));
}

#[test]
fn tls_needs_both_files() {
    let mut config = Config::default();
    assert_eq!(config.certificate(), Ok(None));
    config.mqtt.tls_listen = Some(config.mqtt.listen);
    config.tls.cert_file = Some("c".into());
    let problem = config.certificate().expect_err("half a pair");
    assert!(
        problem.0.contains("mqtt.tls_listen is set without"),
        "{problem}"
    );
    config.tls.key_file = Some("k".into());
    assert_eq!(config.certificate(), Ok(Some(("c".into(), "k".into()))));
    config.mqtt.enabled = false;
    assert_eq!(config.certificate(), Ok(None));
}

#[test]
fn operator_keys_come_in_pairs() {
    check(operator(Some("A"), Some("s")), Ok(("A", false)));
    check(
        operator(Some("A"), None),
        Err("without operator_secret_key"),
    );
    check(
        operator(None, Some("s")),
        Err("without operator_access_key"),
    );
    let everything = |config: &mut Config| {
        operator(Some("A"), Some("s"))(config);
        config.operator_secret_key_file = Some("x".into());
    };
    check(everything, Err("set one"));
}

#[test]
fn a_second_pair_stands_beside_the_first() {
    let second = |access: Option<&str>, secret: Option<&str>| {
        let (access, secret) = (access.map(str::to_owned), secret.map(Secret::new));
        move |config: &mut Config| {
            operator(Some("A"), Some("s"))(config);
            config.operator_access_key_2 = access;
            config.operator_secret_key_2 = secret;
        }
    };
    check(second(Some("B"), Some("s")), Ok(("A", false)));
    let mut config = Config::default();
    second(Some("B"), Some("t"))(&mut config);
    let keys = config.operator_keys().expect("two pairs");
    let pair = keys.second.expect("the second");
    assert_eq!((&*pair.access_key, pair.secret_key.expose()), ("B", "t"));
    check(
        second(Some("B"), None),
        Err("without operator_secret_key_2"),
    );
    check(
        second(None, Some("t")),
        Err("without operator_access_key_2"),
    );
    check(second(Some("A"), Some("t")), Err("are the same"));
    let alone = |config: &mut Config| {
        second(Some("B"), Some("t"))(config);
        config.operator_access_key = None;
        config.operator_secret_key = None;
    };
    check(alone, Err("without operator_access_key"));
    let both = |config: &mut Config| {
        second(Some("B"), Some("t"))(config);
        config.operator_secret_key_2_file = Some("x".into());
    };
    check(both, Err("operator_secret_key_2_file are both set"));
}

#[test]
fn the_secret_may_come_from_a_file() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "from the file\n").expect("written");
    let mut config = Config::default();
    operator(Some("A"), None)(&mut config);
    config.operator_secret_key_file = Some(file.path().to_owned());
    let keys = config.operator_keys().expect("a pair");
    assert_eq!(keys.secret_key.expose(), "from the file");
    std::fs::write(file.path(), "\n").expect("written");
    assert!(
        config.operator_keys().is_err(),
        "an empty file is no secret"
    );
    config.operator_secret_key_file = Some("/nonexistent/secret".into());
    let problem = config.operator_keys().expect_err("no such file");
    assert!(problem.0.contains("/nonexistent/secret"), "{problem}");
}

#[test]
fn names_carry_the_environment() {
    let config = Config {
        env: "prod".to_owned(),
        ..Config::default()
    };
    assert_eq!(config.queue_prefix(), "prod-fanfare");
    assert_eq!(config.kinesis_stream(), "prod-sqs-browser-event-dispatcher");
}

#[test]
fn no_secret_is_shown() {
    let mut config = Config::default();
    operator(Some("A"), Some("c4nary"))(&mut config);
    let keys = config.operator_keys();
    let shown = format!("{config:?} {config:#?} {keys:?}");
    assert!(!shown.contains("c4nary"), "{shown}");
}
