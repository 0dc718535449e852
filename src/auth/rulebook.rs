//! What the configuration says about who may do what with topics: guests, roles, accounts, anonymous clients.
//!
//! One book is in force at a time. A new one replaces it as a whole, once all of it has been understood.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::config::limits::policy as limits;
use crate::config::{Config, Problem, Problems};
use crate::domain::policy::{Access, Context, Document, Layer};

use super::policy;

/// Policies that belong together, and what they come to on every connection, if it is the same on all.
#[derive(Debug)]
pub struct Rules {
    documents: Vec<Arc<Document>>,
    /// `None` if it depends on the connection.
    shared: Option<OnceLock<Access>>,
}

impl Rules {
    /// The rules of these documents.
    pub fn new(documents: Vec<Arc<Document>>) -> Self {
        let varies = documents.iter().any(|document| document.varies());
        Self {
            documents,
            shared: (!varies).then(OnceLock::new),
        }
    }

    /// The documents.
    pub fn documents(&self) -> &[Arc<Document>] {
        &self.documents
    }

    /// What they allow. Connections share it where they can: it is larger than an idle connection should be.
    pub fn access(&self, context: &Context) -> Access {
        let compile = || {
            let layer = Layer {
                documents: &self.documents,
                grants: None,
            };
            Access::of(&[layer], context)
        };
        match &self.shared {
            Some(shared) => shared.get_or_init(compile).clone(),
            None => compile(),
        }
    }
}

impl PartialEq for Rules {
    fn eq(&self, other: &Self) -> bool {
        self.documents == other.documents
    }
}

/// A role that keys can be made for.
#[derive(Debug, Clone, PartialEq)]
pub struct Role {
    /// What its keys may do.
    pub rules: Arc<Rules>,
}

/// An account for MQTT's user name and password.
#[derive(Clone, PartialEq)]
pub struct Account {
    /// Argon2id, in PHC form.
    pub password_hash: Arc<str>,
    /// What it may do.
    pub rules: Arc<Rules>,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").finish_non_exhaustive()
    }
}

/// Everything of the configuration that decides about topics.
#[derive(Debug, Default)]
pub struct Rulebook {
    /// What guests may do; `None`: there are no guests.
    pub guests: Option<Arc<Rules>>,
    /// Roles by name.
    pub roles: HashMap<String, Role>,
    /// Accounts by user name.
    pub accounts: HashMap<String, Account>,
    /// What clients without any credentials may do; `None`: they may not connect.
    pub anonymous: Option<Arc<Rules>>,
}

impl Rulebook {
    /// The book that a configuration stands for. Reads the files that it names.
    ///
    /// # Errors
    /// [`Problems`], all of them, each with its place.
    pub fn of(config: &Config) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let mut taken = |place: String, outcome: Result<Arc<Rules>, String>| {
            outcome
                .map_err(|error| problems.push(Problem(format!("{place}: {error}"))))
                .ok()
        };
        let guests = &config.guests.allow;
        let mut book = Self::default();
        if !guests.is_empty() {
            let document = policy::allow_topics("guests.allow", guests);
            let rules = document.map(one).map_err(|error| error.to_string());
            book.guests = taken("guests.allow".to_owned(), rules);
        }
        if let Some(text) = &config.guests.anonymous_policy {
            let rules = rules("the policy for anonymous clients", text);
            book.anonymous = taken("guests.anonymous_policy".to_owned(), rules);
        }
        for role in &config.roles {
            let rules = rules(&format!("role {:?}", role.name), &role.policy);
            if let Some(rules) = taken(format!("roles: {:?}", role.name), rules) {
                book.roles.insert(role.name.clone(), Role { rules });
            }
        }
        for account in &config.accounts {
            let rules = rules(&format!("account {:?}", account.username), &account.policy);
            if let Some(rules) = taken(format!("accounts: {:?}", account.username), rules) {
                let account_of = Account {
                    password_hash: account.password_hash.expose().into(),
                    rules,
                };
                book.accounts.insert(account.username.clone(), account_of);
            }
        }
        problems.extend(doubles(
            "roles",
            config.roles.iter().map(|role| role.name.as_str()),
        ));
        problems.extend(doubles(
            "accounts",
            config
                .accounts
                .iter()
                .map(|account| account.username.as_str()),
        ));
        match problems.is_empty() {
            true => Ok(book),
            false => Err(Problems(problems)),
        }
    }
}

/// A policy, or where it is: a text that does not begin with a brace is a path. An empty file denies all (M19).
fn rules(name: &str, text: &str) -> Result<Arc<Rules>, String> {
    let read;
    let (name, text) = if text.trim_start().starts_with('{') {
        (name.to_owned(), text)
    } else {
        read = std::fs::read_to_string(text).map_err(|error| format!("{text}: {error}"))?;
        (format!("{name} ({text})"), read.as_str())
    };
    if text.trim().is_empty() {
        return Ok(Arc::new(Rules::new(Vec::new())));
    }
    let document = policy::parse(&name, text, limits::CONFIGURED_BYTES);
    document.map(one).map_err(|error| error.to_string())
}

fn one(document: Document) -> Arc<Rules> {
    Arc::new(Rules::new(vec![Arc::new(document)]))
}

/// A name that is there twice would be a policy that is not in force.
fn doubles<'a>(list: &str, names: impl Iterator<Item = &'a str>) -> Vec<Problem> {
    let (mut seen, mut problems) = (std::collections::HashSet::new(), Vec::new());
    for (index, name) in names.enumerate() {
        if !seen.insert(name) {
            problems.push(Problem(format!("{list}: {name:?} is there twice")));
        }
        if index == limits::ENTRIES {
            let text = format!("{list}: more than {} entries", limits::ENTRIES);
            problems.push(Problem(text));
            break;
        }
    }
    problems
}
