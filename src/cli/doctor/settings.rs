//! Settings that are well-formed and still do not fit together.

use std::time::Duration;

use crate::auth::Rulebook;
use crate::config::{Backend, Config, Problem, limits};
use crate::observe::findings::Finding;

/// Everything that the start would refuse, and what it would not.
pub(super) fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let refused = |problem: Problem| {
        let advice = "the start is refused with this: change the setting";
        Finding::fail("settings", problem.to_string(), advice)
    };
    let rights = Rulebook::of(config).map_err(|error| {
        let advice = "the start is refused with this: correct the policy";
        Finding::fail("settings", error.to_string(), advice)
    });
    findings.extend(config.check_backend().map_err(refused).err());
    findings.extend(rights.err());
    match config.operator_keys().map_err(refused) {
        Err(finding) => findings.push(finding),
        Ok(keys) if keys.development => {
            let found = "the public development pair, which is accepted on loopback only";
            findings.push(Finding::ok("operator keys", found));
        }
        Ok(keys) => findings.push(Finding::ok("operator keys", keys.access_key)),
    }
    findings.extend(message_size(config));
    findings.extend(lifetimes(config));
    if findings.iter().all(|finding| finding.advice.is_none()) {
        let backend = match config.backend {
            Backend::Embedded => "embedded",
            Backend::Aws => "aws",
        };
        let found = format!("usable; backend {backend}, environment {}", config.env);
        findings.insert(0, Finding::ok("settings", found));
    }
    findings
}

/// The largest message that a queue takes must come through the door.
fn message_size(config: &Config) -> Option<Finding> {
    let (limit, longest) = (config.http.body_limit_bytes, limits::MESSAGE_BYTES);
    (limit < longest).then(|| {
        let found = format!("bodies of {limit} bytes, but messages may have {longest}");
        let advice = format!("set http.body_limit_bytes to {longest} or more");
        Finding::warn("message size", found, advice)
    })
}

/// Expired sessions are looked for now and then; a session that lives shorter than that outlives its end.
fn lifetimes(config: &Config) -> Option<Finding> {
    let life = config.sessions.key_lifetime + config.sessions.ttl;
    let interval: Duration = match config.backend {
        Backend::Embedded => config.sessions.sweep_interval,
        Backend::Aws => config.aws.sweep_interval,
    };
    (interval > life).then(|| {
        let found = format!(
            "expired sessions are looked for every {} s, but they live for {} s",
            interval.as_secs(),
            life.as_secs()
        );
        Finding::warn("session life", found, "look more often (sweep_interval)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::findings::Level;

    fn check(change: impl FnOnce(&mut Config), expect: (&str, Level)) {
        let mut config = Config::default();
        change(&mut config);
        let findings = examine(&config);
        let worst = findings.iter().max_by_key(|finding| finding.level);
        let worst = worst.expect("something is always found");
        let found = (worst.subject.as_str(), worst.level);
        assert_eq!(found.1, expect.1, "{findings:?}");
        if expect.1 != Level::Ok {
            assert_eq!(found.0, expect.0);
        }
    }

    #[test]
    fn what_does_not_fit_together_is_found() {
        check(|_| {}, ("settings", Level::Ok));
        check(
            |config| config.http.listen = "0.0.0.0:80".parse().expect("an address"),
            ("settings", Level::Fail),
        );
        check(
            |config| config.http.body_limit_bytes = 65_536,
            ("message size", Level::Warn),
        );
        check(
            |config| {
                config.sessions.key_lifetime = Duration::from_secs(5);
                config.sessions.ttl = Duration::ZERO;
            },
            ("session life", Level::Warn),
        );
        check(
            |config| config.guests.anonymous_policy = Some("{".into()),
            ("settings", Level::Fail),
        );
    }
}
