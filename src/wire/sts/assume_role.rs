//! `AssumeRole`: keys for one of the configured roles, narrowed by a session policy. Only the operator may.

use super::StsState;
use super::answer::{Fault, Node};
use super::form::Form;
use crate::auth::{Grant, IssueError};
use crate::config::limits::policy::SESSION_BYTES;

pub(super) fn call(state: &StsState, _: &Grant, form: &Form) -> Result<Node, Fault> {
    let arn = form
        .get("RoleArn")
        .ok_or_else(|| Fault::invalid("RoleArn is required."))?;
    let role = role_name(arn).ok_or_else(|| Fault::invalid(&format!("{arn:?} is invalid")))?;
    let name = form
        .get("RoleSessionName")
        .filter(|name| is_session_name(name))
        .ok_or_else(|| Fault::invalid("RoleSessionName must be 2 to 64 of [A-Za-z0-9_+=,.@-]."))?;
    if form.has_any("PolicyArns.") {
        return Err(Fault::invalid("There are no managed policies here."));
    }
    let policy = form.get("Policy");
    if policy.is_some_and(|policy| policy.chars().count() > SESSION_BYTES) {
        return Err(Fault::invalid("Policy must have at most 2048 characters."));
    }
    let life = form.duration(900, 43_200, 3600)?;
    let keys = state.authenticator.role_keys(role, name, policy, life);
    let keys = keys.map_err(fault)?;
    let account = &state.account;
    Ok(Node::Members(vec![
        ("Credentials", Node::credentials(&keys)),
        (
            "AssumedRoleUser",
            Node::Members(vec![
                ("AssumedRoleId", Node::text(role_id(role, name))),
                (
                    "Arn",
                    Node::text(format!("arn:aws:sts::{account}:assumed-role/{role}/{name}")),
                ),
            ]),
        ),
    ]))
}

/// The name at the end of `arn:aws:iam::123456789012:role/path/name`.
fn role_name(arn: &str) -> Option<&str> {
    let parts: Vec<_> = arn.splitn(6, ':').collect();
    let ["arn", "aws", "iam", "", account, resource] = *parts else {
        return None;
    };
    let digits = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    let name = resource.strip_prefix("role/")?.rsplit('/').next()?;
    (digits && !name.is_empty()).then_some(name)
}

fn is_session_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
    (2..=64).contains(&name.len()) && name.bytes().all(allowed)
}

/// An id as AWS has them, the same for a role at any time.
pub(super) fn role_id(role: &str, session_name: &str) -> String {
    let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, role.as_bytes());
    let id = id.simple().to_string().to_ascii_uppercase();
    format!("AROA{}:{session_name}", &id[..17])
}

/// What AWS says; that there is no such role is told as that it may not be assumed.
pub(super) fn fault(error: IssueError) -> Fault {
    match error {
        IssueError::Malformed(_) => Fault::new(400, "MalformedPolicyDocument", error.to_string()),
        IssueError::TooLarge => Fault::new(400, "PackedPolicyTooLarge", error.to_string()),
        IssueError::NoSuchRole | IssueError::NoGuests | IssueError::NotPermanent => {
            Fault::new(403, "AccessDenied", error.to_string())
        }
        IssueError::Throttled(_) => Fault::new(400, "Throttling", error.to_string()),
    }
}
