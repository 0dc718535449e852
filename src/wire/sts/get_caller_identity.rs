//! `GetCallerIdentity`: whose keys these are. Any keys that hold may ask.

use super::StsState;
use super::answer::{Fault, Node};
use super::assume_role::role_id;
use super::form::Form;
use crate::auth::{Caller, Grant, Who};

pub(super) fn call(state: &StsState, grant: &Grant, _: &Form) -> Result<Node, Fault> {
    let account = &state.account;
    let assumed = |role: &str, name: &str| {
        let arn = format!("arn:aws:sts::{account}:assumed-role/{role}/{name}");
        (role_id(role, name), arn)
    };
    let (id, arn) = match grant.caller() {
        Caller::Operator { .. } => (account.clone(), format!("arn:aws:iam::{account}:root")),
        Caller::Session(session) => assumed(
            "fanfare-session",
            &format!("{}-{}", session.key.account, session.key.session),
        ),
        Caller::Issued(claims) => match &claims.who {
            Who::Role { role, session_name } => assumed(role, session_name),
            Who::Guest { identity } => assumed("fanfare-guest", identity),
            Who::Operator { .. } | Who::Session { .. } => {
                return Err(Fault::new(403, "AccessDenied", "Access denied."));
            }
        },
        Caller::Anonymous => return Err(Fault::new(403, "AccessDenied", "Access denied.")),
    };
    Ok(Node::Members(vec![
        ("Arn", Node::text(arn)),
        ("UserId", Node::text(id)),
        ("Account", Node::text(account)),
    ]))
}
