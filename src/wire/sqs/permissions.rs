//! `AddPermission` and `RemovePermission`: edits of the queue's policy document, kept and shown as AWS does
//! (WIRE 1.7). Fanfare has one operator, so the policy grants nothing by itself.

use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::error::Fault;
use super::limits;
use super::queue_url::is_account;
use super::request::{Fields, Request};
use crate::domain::QueueError;
use crate::domain::queue::QueueRecord;

/// What a permission may allow.
const ACTIONS: [&str; 7] = [
    "*",
    "ChangeMessageVisibility",
    "DeleteMessage",
    "GetQueueAttributes",
    "GetQueueUrl",
    "ReceiveMessage",
    "SendMessage",
];

/// A statement to add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    label: String,
    accounts: Vec<String>,
    actions: Vec<String>,
}

impl Permission {
    /// Reads a request.
    ///
    /// # Errors
    /// `MissingParameter`, `InvalidParameterValue`, `OverLimit`.
    pub fn parse(fields: &mut Fields) -> Result<Self, Fault> {
        let label = parse_label(fields)?;
        let accounts = fields.texts("AWSAccountIds", "AWSAccountId")?;
        let actions = fields.texts("Actions", "ActionName")?;
        if accounts.is_empty() {
            return Err(Fault::missing("AWSAccountIds"));
        }
        if actions.is_empty() {
            return Err(Fault::missing("Actions"));
        }
        if let Some(unknown) = accounts.iter().find(|account| !is_account(account)) {
            return Err(Fault::invalid(format!(
                "Value [{unknown}] for parameter PrincipalId is invalid. Reason: Unable to verify."
            )));
        }
        if let Some(other) = actions
            .iter()
            .find(|action| !ACTIONS.contains(&action.as_str()))
        {
            return Err(Fault::invalid(format!(
                "Value SQS:{other} for parameter ActionName is invalid. Reason: Only the queue owner is allowed to invoke this action."
            )));
        }
        if actions.len() > limits::POLICY_ACTIONS {
            return Err(QueueError::OverLimit.into());
        }
        Ok(Self {
            label,
            accounts,
            actions,
        })
    }

    fn statement(&self, arn: &str) -> Value {
        let principals = self
            .accounts
            .iter()
            .map(|a| format!("arn:aws:iam::{a}:root"));
        let actions = self.actions.iter().map(|action| format!("SQS:{action}"));
        json!({
            "Sid": self.label,
            "Effect": "Allow",
            "Principal": { "AWS": one_or_list(principals.collect()) },
            "Action": one_or_list(actions.collect()),
            "Resource": arn,
        })
    }

    fn add_to(&self, record: &mut QueueRecord, arn: &str) -> Result<(), QueueError> {
        let mut policy = read_policy(record).unwrap_or_else(|| new_policy(arn));
        let statements = statements(&mut policy)?;
        if statements.iter().any(|s| s["Sid"] == self.label.as_str()) {
            return Err(invalid_label(&self.label, "Already exists."));
        }
        if statements.len() >= limits::POLICY_STATEMENTS {
            return Err(QueueError::OverLimit);
        }
        statements.push(self.statement(arn));
        record.attributes.policy = Some(Value::Object(policy).to_string());
        Ok(())
    }
}

fn parse_label(fields: &mut Fields) -> Result<String, Fault> {
    let label = fields.required_text("Label")?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if label.len() <= limits::LABEL_CHARS && label.bytes().all(allowed) {
        return Ok(label);
    }
    let reason =
        "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length";
    Err(invalid_label(&label, reason).into())
}

fn invalid_label(label: &str, reason: &str) -> QueueError {
    QueueError::InvalidParameter(format!(
        "Value {label} for parameter Label is invalid. Reason: {reason}"
    ))
}

/// AWS writes a single principal or action without a list.
fn one_or_list(mut texts: Vec<String>) -> Value {
    match texts.len() {
        1 => texts.swap_remove(0).into(),
        _ => texts.into(),
    }
}

fn new_policy(arn: &str) -> Map<String, Value> {
    let mut policy = Map::new();
    policy.insert("Version".into(), "2008-10-17".into());
    policy.insert("Id".into(), format!("{arn}/SQSDefaultPolicy").into());
    policy.insert("Statement".into(), json!([]));
    policy
}

fn read_policy(record: &QueueRecord) -> Option<Map<String, Value>> {
    serde_json::from_str(record.attributes.policy.as_deref()?).ok()
}

/// The policy's statements as a list: a document may also have a single one without a list.
fn statements(policy: &mut Map<String, Value>) -> Result<&mut Vec<Value>, QueueError> {
    let entry = policy.entry("Statement").or_insert_with(|| json!([]));
    if entry.is_object() {
        *entry = json!([entry.take()]);
    }
    entry.as_array_mut().ok_or_else(|| {
        QueueError::InvalidParameter("The queue's policy has no list of statements.".into())
    })
}

fn remove_from(record: &mut QueueRecord, label: &str) -> Result<(), QueueError> {
    let unknown = || invalid_label(label, "can't find label.");
    let mut policy = read_policy(record).ok_or_else(unknown)?;
    let statements = statements(&mut policy)?;
    let before = statements.len();
    statements.retain(|statement| statement["Sid"] != label);
    if statements.len() == before {
        return Err(unknown());
    }
    let empty = statements.is_empty();
    record.attributes.policy = (!empty).then(|| Value::Object(policy).to_string());
    Ok(())
}

/// `AddPermission`.
///
/// # Errors
/// As [`Request::queue`] and [`Permission::parse`].
pub async fn add(mut request: Request) -> Result<Answer, Fault> {
    let queue = request.queue()?;
    let permission = Permission::parse(&mut request.fields)?;
    let arn = request.state.arn(&queue.name);
    let edit = Box::new(move |record: &mut QueueRecord| permission.add_to(record, &arn));
    request.state.queues.edit(&queue, edit).await?;
    Ok(None)
}

/// `RemovePermission`.
///
/// # Errors
/// As [`Request::queue`]; `InvalidParameterValue` for an unknown label.
pub async fn remove(mut request: Request) -> Result<Answer, Fault> {
    let queue = request.queue()?;
    let label = parse_label(&mut request.fields)?;
    let edit = Box::new(move |record: &mut QueueRecord| remove_from(record, &label));
    request.state.queues.edit(&queue, edit).await?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::super::request::both;
    use super::super::tests::test_queue;
    use super::*;

    const ARN: &str = "arn:aws:sqs:us-east-1:123456789012:q";

    fn permission(label: &str, accounts: &[&str], actions: &[&str]) -> Result<Permission, Fault> {
        let numbered = |name: &str, list: &[&str]| -> String {
            let item = |(i, text): (usize, &&str)| format!("&{name}.{}={text}", i + 1);
            list.iter().enumerate().map(item).collect()
        };
        let query = format!(
            "Label={label}{}{}",
            numbered("AWSAccountId", accounts),
            numbered("ActionName", actions)
        );
        let json = json!({"Label": label, "AWSAccountIds": accounts, "Actions": actions});
        both(json, &query, Permission::parse)
    }

    #[test]
    fn the_policy_is_that_of_aws() {
        let mut queue = test_queue("q");
        let accounts = ["111111111111", "668614515564"];
        let first = permission("a", &accounts, &["ReceiveMessage"]).unwrap();
        first.add_to(&mut queue, ARN).unwrap();
        let policy: Value =
            serde_json::from_str(queue.attributes.policy.as_deref().unwrap()).unwrap();
        assert_eq!(
            policy,
            json!({
                "Version": "2008-10-17",
                "Id": format!("{ARN}/SQSDefaultPolicy"),
                "Statement": [{
                    "Sid": "a", "Effect": "Allow",
                    "Principal": {"AWS": [
                        "arn:aws:iam::111111111111:root", "arn:aws:iam::668614515564:root"
                    ]},
                    "Action": "SQS:ReceiveMessage", "Resource": ARN,
                }],
            })
        );
    }

    #[test]
    fn one_statement_has_as_many_actions_as_allowed() {
        let actions = ["SendMessage"; limits::POLICY_ACTIONS + 1];
        let parse = |actions| permission("a", &["111111111111"], actions);
        assert!(parse(&actions[1..]).is_ok());
        let refused = parse(&actions).unwrap_err().to_string();
        assert_eq!(refused, QueueError::OverLimit.to_string());
    }

    #[test]
    fn labels_are_added_once_and_removed() {
        let mut queue = test_queue("q");
        let new = |label| permission(label, &["111111111111"], &["*", "SendMessage"]).unwrap();
        new("a").add_to(&mut queue, ARN).unwrap();
        assert_eq!(
            new("a").add_to(&mut queue, ARN).unwrap_err().to_string(),
            "Value a for parameter Label is invalid. Reason: Already exists."
        );
        new("b").add_to(&mut queue, ARN).unwrap();
        remove_from(&mut queue, "a").unwrap();
        assert_eq!(
            remove_from(&mut queue, "a").unwrap_err().to_string(),
            "Value a for parameter Label is invalid. Reason: can't find label."
        );
        assert!(
            queue
                .attributes
                .policy
                .as_deref()
                .unwrap()
                .contains("SQS:*")
        );
        remove_from(&mut queue, "b").unwrap();
        assert_eq!(queue.attributes.policy, None);
        assert!(remove_from(&mut queue, "b").is_err());
    }

    #[test]
    fn a_policy_set_by_hand_is_extended() {
        let mut queue = test_queue("q");
        queue.attributes.policy = Some(r#"{"Statement":{"Sid":"own"}}"#.into());
        let new = permission("a", &["111111111111"], &["SendMessage"]).unwrap();
        new.add_to(&mut queue, ARN).unwrap();
        remove_from(&mut queue, "own").unwrap();
        queue.attributes.policy = Some(r#"{"Statement":5}"#.into());
        assert!(new.add_to(&mut queue, ARN).is_err());
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let account = ["111111111111"];
        let send = ["SendMessage"];
        assert!(permission("a", &account, &send).is_ok());
        for (label, accounts, actions) in [
            ("", &account[..], &send[..]),
            ("a b", &account, &send),
            (&"x".repeat(81), &account, &send),
            ("a", &[], &send),
            ("a", &account, &[]),
            ("a", &["1"], &send),
            ("a", &account, &["CreateQueue"]),
            ("a", &account, &["SendMessage"; 8]),
        ] {
            assert!(
                permission(label, accounts, actions).is_err(),
                "{label} {accounts:?} {actions:?}"
            );
        }
    }
}
