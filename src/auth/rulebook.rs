//! What the configuration says about who may do what with topics: guests, roles, accounts, anonymous clients.
//!
//! One book is in force at a time. A new one replaces it as a whole, once all of it has been understood.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::config::limits::policy as limits;
use crate::config::{Config, Problem, Problems};
use crate::domain::policy::{Access, Context, Document, Layer, Realm};

use super::login::is_password_hash;
use super::policy;
use super::principal::{Basis, Principal};

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

/// The book that is in force, and what follows from it.
#[derive(Debug, Clone, Default)]
pub(super) struct InForce {
    pub(super) book: Arc<Rulebook>,
    /// One for all connections without credentials: there may be very many.
    pub(super) anonymous: Option<Arc<Principal>>,
}

impl InForce {
    pub(super) fn new(book: Arc<Rulebook>, realm: &Realm) -> Self {
        let anonymous = book.anonymous.as_ref().map(|rules| Principal {
            name: "anonymous".into(),
            session: None,
            expires: None,
            realm: realm.clone(),
            basis: Basis::Anonymous {
                rules: Arc::clone(rules),
            },
        });
        Self {
            anonymous: anonymous.map(Arc::new),
            book,
        }
    }
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
            let rules = match is_password_hash(account.password_hash.expose()) {
                true => rules(&format!("account {:?}", account.username), &account.policy),
                false => Err(
                    "password_hash is not Argon2id in PHC form, of at most 256 MiB and 16 passes; \
                     `fanfare mqtt-password` prints one"
                        .to_owned(),
                ),
            };
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

#[cfg(test)]
mod tests {
    use super::super::login::hash_password;
    use super::*;
    use crate::config::{Account, Role, Secret};
    use crate::domain::policy::Action;

    const ALL: &str = r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;

    fn role(name: &str, policy: &str) -> Role {
        Role {
            name: name.to_owned(),
            policy: policy.to_owned(),
        }
    }

    #[track_caller]
    fn check_refused(change: impl FnOnce(&mut Config), parts: &[&str]) {
        let mut config = Config::default();
        change(&mut config);
        let error = Rulebook::of(&config).expect_err("a complaint").to_string();
        for part in parts {
            assert!(error.contains(part), "{error} lacks {part}");
        }
    }

    #[test]
    fn nobody_is_let_in_by_default() {
        let book = Rulebook::of(&Config::default()).unwrap();
        assert!(book.guests.is_none() && book.anonymous.is_none());
        assert!(book.roles.is_empty() && book.accounts.is_empty());
    }

    #[test]
    fn everything_wrong_is_told_with_its_place() {
        let change = |config: &mut Config| {
            config.guests.allow = vec!["${x}".into()];
            config.guests.anonymous_policy = Some("/nonexistent.json".into());
            config.roles = vec![role("a", "{}"), role("b", ALL), role("b", ALL)];
            config.accounts = vec![Account {
                username: "u".into(),
                password_hash: Secret::new("c4nary"),
                policy: ALL.into(),
            }];
        };
        let parts = [
            "guests.allow: the variable ${x}",
            "guests.anonymous_policy: /nonexistent.json",
            "roles: \"a\": Statement is missing",
            "roles: \"b\" is there twice",
            "accounts: \"u\": password_hash",
        ];
        check_refused(change, &parts);
        let mut config = Config::default();
        change(&mut config);
        let shown = format!("{:?}", Rulebook::of(&config));
        assert!(!shown.contains("c4nary"), "{shown}");
    }

    #[test]
    fn entries_are_counted() {
        let roles = |count: usize| {
            let named = |number: usize| role(&number.to_string(), r#"{"Statement":[]}"#);
            (0..count).map(named).collect()
        };
        let config = Config {
            roles: roles(limits::ENTRIES),
            ..Config::default()
        };
        assert!(Rulebook::of(&config).is_ok());
        check_refused(
            |c| c.roles = roles(limits::ENTRIES + 1),
            &["roles: more than"],
        );
    }

    #[test]
    fn m19_an_empty_file_denies_all_and_one_that_is_not_there_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().display().to_string();
        let config = Config {
            roles: vec![role("a", &path)],
            ..Config::default()
        };
        let allows = |config: &Config| {
            let book = Rulebook::of(config).unwrap();
            let access = book.roles["a"].rules.access(&Context::default());
            access.allows(Action::Publish, "x")
        };
        assert!(!allows(&config));
        std::fs::write(&path, ALL).unwrap();
        assert!(allows(&config));
        drop(file);
        check_refused(|c| c.roles = vec![role("a", &path)], &[&path]);
    }

    #[test]
    fn hashes_that_cost_too_much_are_refused() {
        assert!(is_password_hash(&hash_password(b"x")));
        let salted = "$aaaaaaaaaaaaaaaaaaaaaa$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        for bad in [
            String::new(),
            "plain".to_owned(),
            format!("$argon2i$v=19$m=19456,t=2,p=1{salted}"),
            format!("$argon2id$v=19$m=4194304,t=2,p=1{salted}"),
            format!("$argon2id$v=19$m=19456,t=999,p=1{salted}"),
        ] {
            assert!(!is_password_hash(&bad), "{bad}");
        }
        assert!(is_password_hash(&format!(
            "$argon2id$v=19$m=19456,t=2,p=1{salted}"
        )));
    }
}
