//! Who may do what with topics: IAM-style statements, evaluated as AWS IoT does (WIRE 4.4).
//!
//! A [`Document`] is what an operator wrote. Together with what is known of a connection ([`Context`]) it becomes an
//! [`Access`], in which variables are replaced, conditions are decided and statements are sorted by action. So a
//! decision, which is made for every delivery, compares texts and nothing else.
//!
//! The rules: a matching Deny wins, wherever it stands. Otherwise every layer (the principal's own policies; the
//! session policy, if there is one) must have an Allow that matches: a layer never widens another.

mod access;
mod action;
mod context;
mod document;
mod glob;
mod grants;

pub use access::{Access, Decision, Layer, StatementRef};
pub use action::{Action, ActionPattern, Actions};
pub use context::{ConnectAttribute, Context, Key, Realm, is_plain};
pub use document::{
    Arn, Condition, Document, Effect, Network, Operator, Quantifier, Resources, Statement, Test,
};
pub use glob::{InvalidTemplate, Template};
pub use grants::Grants;
