//! `GetSessionToken`: temporary keys of the operator's own.

use super::StsState;
use super::answer::{Fault, Node};
use super::assume_role::fault;
use super::form::Form;
use crate::auth::Grant;

pub(super) fn call(state: &StsState, grant: &Grant, form: &Form) -> Result<Node, Fault> {
    let life = form.duration(900, 129_600, 43_200)?;
    let keys = state.authenticator.operator_keys(grant.caller(), life);
    let keys = keys.map_err(fault)?;
    Ok(Node::Members(vec![(
        "Credentials",
        Node::credentials(&keys),
    )]))
}
