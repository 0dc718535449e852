//! Looking whether nodes can work: credentials, the clock, each service, what was provisioned, and permissions.

use std::time::Instant;

use aws_sdk_dynamodb::types::Select;
use serde_json::Value;
use time::OffsetDateTime;

use super::super::items;
use super::super::keys::Keys;
use super::super::outbox::is_gone;
use super::super::service::{self, Pauses};
use super::super::signed::{Answer, CallError, Place};
use super::{Kind, Part, Provisioner, State};
use crate::config::COGNITO_KEY_LIFETIME;
use crate::domain::{Clock, QueueName, StoreError};
use crate::observe::findings::Finding;

/// Seconds that clocks may be apart before AWS refuses signatures, and before it is told.
const CLOCKS_APART: (i64, i64) = (300, 30);

/// A session policy that takes everything from keys: whoever asks for them wants none.
const NOTHING: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}"#;

/// Actions that one call of `SimulatePrincipalPolicy` is asked about: more than the nodes' policy has in a statement.
const SIMULATED: usize = 50;

impl Provisioner {
    /// Everything, in the order in which it is needed. Without credentials there is nothing to look at.
    pub async fn examine(&self) -> Vec<Finding> {
        let started = OffsetDateTime::now_utc();
        let answer = match self.identity().await {
            Ok(answer) => answer,
            Err(error) => return vec![no_identity(&error)],
        };
        let mut findings = vec![self.account_found(&answer), clock(&answer, started)];
        let arn = answer.text("Arn").unwrap_or_default();
        let mut tables_are_there = true;
        let (parts, pool) = match self.pool_id().await {
            Ok(pool) => (self.parts_with(pool.as_deref()), pool),
            // What becomes of the pool's own part says why.
            Err(_) => (self.parts_with(None), None),
        };
        for part in parts {
            let state = self.look(&part).await;
            tables_are_there &= part.kind != Kind::Table || !matches!(state, Ok(State::Missing));
            findings.push(part_found(&part, state));
        }
        if tables_are_there {
            findings.push(self.reads_sessions().await);
            findings.push(self.reads_history().await);
        }
        findings.push(self.sends().await);
        findings.push(match self.services.options.identities {
            Some(_) => self.makes_identities().await,
            None => self.makes_keys().await,
        });
        findings.push(self.is_allowed(&arn, pool.as_deref()).await);
        findings
    }

    async fn identity(&self) -> Result<Answer, CallError> {
        let asked = ("GetCallerIdentity", "2011-06-15");
        self.services.signed.query(&self.sts, asked, &[]).await
    }

    fn account_found(&self, answer: &Answer) -> Finding {
        let (account, arn) = (answer.text("Account"), answer.text("Arn"));
        let account = account.unwrap_or_default();
        let found = format!("{} of account {account}", arn.unwrap_or_default());
        let configured = &self.services.options.account;
        match account == *configured {
            true => Finding::ok("credentials", found),
            false => Finding::fail(
                "credentials",
                format!("{found}, but aws_account is {configured}"),
                format!("set aws_account = \"{account}\", or use credentials of {configured}"),
            ),
        }
    }

    async fn reads_sessions(&self) -> Finding {
        let (started, table) = (Instant::now(), &self.services.options.sessions_table);
        let key = items::access_key("fanfare-doctor");
        let call = self.services.db.get_item().table_name(table);
        let call = call.set_key(Some(key));
        let read = service::persist("GetItem", self.pauses(), || call.clone().send()).await;
        let read = read
            .map(drop)
            .map_err(|error| service::trouble("GetItem", error));
        called("dynamodb", "a row of sessions can be read", started, read)
    }

    async fn reads_history(&self) -> Finding {
        let (started, table) = (Instant::now(), &self.services.options.messages_table);
        let call = self.services.db.query().table_name(table);
        let call = call
            .select(Select::Count)
            .key_condition_expression("userId = :user")
            .expression_attribute_values(":user", items::number(-1));
        let read = service::persist("Query", self.pauses(), || call.clone().send()).await;
        let read = read
            .map(drop)
            .map_err(|error| service::trouble("Query", error));
        called("dynamodb", "rows of history can be read", started, read)
    }

    /// To a queue that nobody has: whoever may not send is told so, whoever may that there is none.
    async fn sends(&self) -> Finding {
        let started = Instant::now();
        let aws = &self.services.options;
        let name = format!("{}-doctor", self.options.queue_prefix);
        let place = Place::of("sqs", &aws.region, aws.sqs_endpoint.as_deref());
        let url = format!("{}/{}/{name}", place.url(), aws.account);
        let call = self.services.sqs.send_message().queue_url(url);
        let call = call.message_body("nobody has this queue");
        let sent = service::persist("SendMessage", self.pauses(), || call.clone().send()).await;
        let sent = match sent {
            Err(error) if is_gone(&error) => Ok(()),
            sent => sent
                .map(drop)
                .map_err(|error| service::trouble("SendMessage", error)),
        };
        called("sqs", "messages can be sent", started, sent)
    }

    /// Keys that may do nothing, for as long as sessions' keys live.
    async fn makes_keys(&self) -> Finding {
        let (started, aws) = (Instant::now(), &self.services.options);
        let role = self.session_role_arn();
        let life = self.options.key_lifetime.as_secs();
        let call = self.services.sts.assume_role().role_arn(&role);
        let call = call
            .role_session_name("fanfare-doctor")
            .duration_seconds(i32::try_from(life).unwrap_or(i32::MAX))
            .policy(NOTHING);
        let pauses = Pauses::lasting(aws.patience);
        let made = service::persist("AssumeRole", pauses, || call.clone().send()).await;
        let subject = "session keys";
        match made {
            Ok(_) => called(
                subject,
                &format!("{role} makes keys for {life} s"),
                started,
                Ok(()),
            ),
            Err(error) => Finding::fail(
                subject,
                service::trouble("AssumeRole", error).to_string(),
                format!(
                    "{role} must be there, trust this account and allow {life} s; `fanfare aws provision --only role` makes it so. Where \
                     these credentials are of a role themselves (on ECS, EC2), STS gives no more than 3600 s: set sessions.key_lifetime"
                ),
            ),
        }
    }

    /// An identity for a queue that nobody has, with its keys, and removed again.
    async fn makes_identities(&self) -> Finding {
        let (started, subject) = (Instant::now(), "session keys");
        let keys = Keys::new(self.services.clone());
        match self.try_identity(&keys).await {
            Ok(()) => {
                let what = "the identity pool makes keys for 3600 s";
                called(subject, what, started, Ok(()))
            }
            Err(error) => Finding::fail(
                subject,
                error.to_string(),
                "aws.identity_pool and aws.developer_provider must be the pool's, and its role must trust it; `fanfare aws provision` \
                 makes it so. Nodes need their policy",
            ),
        }
    }

    async fn try_identity(&self, keys: &Keys) -> Result<(), StoreError> {
        let name = format!("{}-doctor", self.options.queue_prefix);
        let name = QueueName::parse(&name).map_err(|error| StoreError::Failed(error.0))?;
        let now = Clock::start().wall();
        let issued = keys
            .issue(&name, now, now.plus(COGNITO_KEY_LIFETIME))
            .await?;
        match (keys.identities(), issued.identity) {
            (Some(identities), Some(identity)) => identities.delete(&[identity.as_str()]).await,
            _ => Ok(()),
        }
    }

    /// Asks IAM about every action of the nodes' policy, where it lets itself be asked.
    async fn is_allowed(&self, arn: &str, pool: Option<&str>) -> Finding {
        let subject = "permissions";
        let Some(principal) = principal(arn) else {
            let advice =
                "run nodes with credentials that may do what their policy says and no more";
            return Finding::warn(subject, format!("{arn} may do everything"), advice);
        };
        let policy = self.node_policy(pool);
        let statements = policy["policy"]["Statement"].as_array();
        let (mut denied, mut asked) = (Vec::new(), 0);
        for statement in statements.into_iter().flatten() {
            let answer = match self.simulate(&principal, statement).await {
                Ok(answer) => answer,
                Err(error) => {
                    let advice = "the lines above have tried some of them; allow iam:SimulatePrincipalPolicy to see all";
                    return Finding::warn(subject, format!("IAM does not tell: {error}"), advice);
                }
            };
            let names = answer.texts("EvalActionName");
            asked += names.len();
            let decisions = answer.texts("EvalDecision");
            let refused = names.into_iter().zip(decisions);
            denied.extend(
                refused
                    .filter(|(_, said)| said != "allowed")
                    .map(|(name, _)| name),
            );
        }
        match denied.is_empty() {
            true => Finding::ok(subject, format!("all {asked} actions of the nodes' policy")),
            false => Finding::fail(
                subject,
                format!("{principal} may not: {}", denied.join(", ")),
                format!("attach the policy {}", self.node_policy_name()),
            ),
        }
    }

    async fn simulate(&self, principal: &str, statement: &Value) -> Result<Answer, CallError> {
        let listed = |name: &str, values: &Value| -> Vec<(String, String)> {
            let values = values.as_array().into_iter().flatten();
            let texts = values.filter_map(Value::as_str).take(SIMULATED).enumerate();
            texts
                .map(|(at, text)| (format!("{name}.member.{}", at + 1), text.to_owned()))
                .collect()
        };
        let mut parameters = vec![("PolicySourceArn".to_owned(), principal.to_owned())];
        parameters.extend(listed("ActionNames", &statement["Action"]));
        parameters.extend(listed("ResourceArns", &statement["Resource"]));
        let parameters: Vec<(&str, &str)> = parameters
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        self.ask("SimulatePrincipalPolicy", &parameters).await
    }

    fn pauses(&self) -> Pauses {
        Pauses::lasting(self.services.options.patience)
    }
}

fn no_identity(error: &CallError) -> Finding {
    let advice = match error {
        CallError::Credentials(_) => {
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or run where a role is given"
        }
        CallError::Unreachable { .. } => {
            "is the network there, and aws.sts_endpoint or the region right?"
        }
        CallError::Refused { .. } => "these credentials have ended or never were: take others",
    };
    Finding::fail("credentials", error.to_string(), advice)
}

/// The service's clock beside ours. Its answer says seconds, so it is asked about no less.
fn clock(answer: &Answer, started: OffsetDateTime) -> Finding {
    let subject = "clock";
    let Some(there) = answer.date else {
        let advice = "compare the clock with another by hand";
        return Finding::warn(subject, "STS does not say what time it is", advice);
    };
    let ended = OffsetDateTime::now_utc();
    let apart = match there {
        _ if there.unix_timestamp() < started.unix_timestamp() => there - started,
        _ if there > ended => there - ended,
        _ => time::Duration::ZERO,
    };
    judged_clock(apart.whole_seconds())
}

fn judged_clock(apart: i64) -> Finding {
    let (subject, (refused, told)) = ("clock", CLOCKS_APART);
    let found = format!("{} s apart from STS's", apart.abs());
    let advice = "let the clock follow a time server (chrony, systemd-timesyncd)";
    match apart.abs() {
        apart if apart >= refused => {
            Finding::fail(subject, format!("{found}: signatures are refused"), advice)
        }
        apart if apart >= told => Finding::warn(subject, found, advice),
        _ => Finding::ok(subject, found),
    }
}

fn part_found(part: &Part, state: Result<State, StoreError>) -> Finding {
    let subject = format!("{} {}", part.kind.name(), part.name);
    let provision = format!("`fanfare aws provision --only {}`", part.kind.name());
    let needed = part.kind != Kind::Policy;
    let judge = |needed, found: &str, advice: String| match needed {
        true => Finding::fail(subject.as_str(), found, advice),
        false => Finding::warn(subject.as_str(), found, advice),
    };
    match state {
        Ok(State::There) => Finding::ok(subject.as_str(), "as it must be"),
        Ok(State::Missing) => judge(needed, "is not there", format!("{provision} makes it")),
        Ok(State::Differs(differences)) => {
            let texts = differences.iter().map(|difference| {
                format!(
                    "{} is {}, must be {}",
                    difference.what, difference.is, difference.wanted
                )
            });
            let found = texts.collect::<Vec<_>>().join("; ");
            let mendable = differences.iter().all(|difference| difference.mendable);
            match mendable {
                true => judge(false, &found, format!("{provision} puts it right")),
                false => {
                    let advice =
                        "it can not be put right where it is: name another in the settings";
                    judge(
                        matches!(part.kind, Kind::Table | Kind::Pool),
                        &found,
                        advice.to_owned(),
                    )
                }
            }
        }
        Err(error) => {
            let advice = "look with credentials that may describe it; nodes need not";
            judge(!is_denial(&error), &error.to_string(), advice.to_owned())
        }
    }
}

/// What became of a call that changes nothing.
fn called(subject: &str, what: &str, started: Instant, done: Result<(), StoreError>) -> Finding {
    let ms = started.elapsed().as_millis();
    match done {
        Ok(()) => Finding::ok(subject, format!("{what} ({ms} ms)")),
        Err(error) if is_denial(&error) => {
            let advice = "attach the nodes' policy to these credentials";
            Finding::fail(subject, error.to_string(), advice)
        }
        Err(error) => {
            let advice = "is the network there, and the region or the endpoint in [aws] right?";
            Finding::fail(subject, error.to_string(), advice)
        }
    }
}

fn is_denial(error: &StoreError) -> bool {
    error.to_string().contains("AccessDenied")
}

/// Whose policies IAM is asked about: the role of an assumed role. `None` for an account's root, which may do everything.
fn principal(arn: &str) -> Option<String> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let [_, partition, service, _, account, name] = parts[..] else {
        return Some(arn.to_owned());
    };
    match (service, name.split('/').collect::<Vec<_>>().as_slice()) {
        ("sts", ["assumed-role", role, ..]) => {
            Some(format!("arn:{partition}:iam::{account}:role/{role}"))
        }
        (_, ["root"]) => None,
        _ => Some(arn.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::findings::Level;

    #[test]
    fn an_assumed_role_is_asked_about_as_its_role() {
        let check = |arn: &str, expect: Option<&str>| {
            assert_eq!(principal(arn).as_deref(), expect);
        };
        let user = "arn:aws:iam::123456789012:user/a/b";
        check(user, Some(user));
        check(
            "arn:aws-cn:sts::123456789012:assumed-role/node/i-0",
            Some("arn:aws-cn:iam::123456789012:role/node"),
        );
        check("arn:aws:iam::123456789012:root", None);
        check("nonsense", Some("nonsense"));
    }

    #[test]
    fn clocks_may_be_apart_a_little() {
        let check = |apart, expect| assert_eq!(judged_clock(apart).level, expect);
        check(0, Level::Ok);
        check(-29, Level::Ok);
        check(30, Level::Warn);
        check(-299, Level::Warn);
        check(300, Level::Fail);
        check(-300, Level::Fail);
    }

    #[test]
    fn the_time_of_a_call_is_no_difference() {
        let now = OffsetDateTime::now_utc();
        let at = |date| Answer {
            body: String::new(),
            date,
        };
        let hour = time::Duration::HOUR;
        // The answer has no fractions of a second.
        let cut = now.replace_nanosecond(0).expect("a time");
        assert_eq!(clock(&at(Some(cut)), now).level, Level::Ok);
        assert_eq!(clock(&at(Some(now - hour)), now).level, Level::Fail);
        assert_eq!(clock(&at(Some(now + hour)), now).level, Level::Fail);
        assert_eq!(clock(&at(None), now).level, Level::Warn);
    }
}
