//! The decision.

use std::fmt;
use std::sync::Arc;

use super::action::Action;
use super::context::{Context, is_plain};
use super::document::{Arn, Document, Effect, Resources, Statement};
use super::glob::Pattern;
use super::grants::Grants;

/// What a principal may do with topics, in the context of one connection. A copy costs a counter.
#[derive(Debug, Clone)]
pub struct Access(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Everything,
    Nothing,
    Rules(Arc<[Compiled]>),
}

/// The outcome of a decision; displayed, it says which statement decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Allowed.
    Allowed {
        /// What allows it.
        by: StatementRef,
    },
    /// Denied explicitly.
    Denied {
        /// What denies it.
        by: StatementRef,
    },
    /// Nothing allows it.
    NotAllowed,
}

impl Decision {
    /// Whether it is [`Decision::Allowed`].
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed { .. })
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allowed { by } => write!(f, "allowed by {by}"),
            Self::Denied { by } => write!(f, "denied by {by}"),
            Self::NotAllowed => f.write_str("not allowed by any statement"),
        }
    }
}

/// Names a statement, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementRef {
    /// The name of the document, or what else decides.
    pub document: Arc<str>,
    /// The statement's number in it, from 1; 0 if it is not a statement.
    pub number: usize,
    /// Its `Sid`.
    pub sid: Option<Arc<str>>,
}

impl StatementRef {
    fn special(name: &str) -> Self {
        Self {
            document: name.into(),
            number: 0,
            sid: None,
        }
    }
}

impl fmt::Display for StatementRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.number, &self.sid) {
            (0, _) => f.write_str(&self.document),
            (number, Some(sid)) => write!(f, "statement {number} ({sid:?}) of {}", self.document),
            (number, None) => write!(f, "statement {number} of {}", self.document),
        }
    }
}

/// One of the things that must all allow.
#[derive(Debug, Clone, Copy)]
pub struct Layer<'a> {
    /// Policies: any of them may allow.
    pub documents: &'a [Arc<Document>],
    /// Rights by topic filter, which allow, too.
    pub grants: Option<&'a Arc<Grants>>,
}

#[derive(Debug)]
struct Compiled {
    rules: Box<[Rule]>,
    grants: Option<Arc<Grants>>,
}

/// A statement, as far as it is about one kind of resource.
#[derive(Debug)]
struct Rule {
    /// One bit for each action that it is about.
    actions: u16,
    effect: Effect,
    /// It matches what the patterns do not.
    except: bool,
    patterns: Box<[Pattern]>,
    by: StatementRef,
}

const fn bit(action: Action) -> u16 {
    1 << action as u8
}

impl Access {
    /// Everything: the operator's.
    pub fn everything() -> Self {
        Self(Kind::Everything)
    }

    /// Nothing.
    pub fn nothing() -> Self {
        Self(Kind::Nothing)
    }

    /// What these layers, of which there is at least one, allow together on this connection.
    pub fn of(layers: &[Layer<'_>], context: &Context) -> Self {
        if layers.is_empty() {
            return Self::nothing();
        }
        let compiled = layers.iter().map(|layer| Compiled {
            rules: layer
                .documents
                .iter()
                .flat_map(|document| rules(document, context))
                .collect(),
            grants: layer.grants.cloned(),
        });
        Self(Kind::Rules(compiled.collect()))
    }

    /// Decides. `resource` is a client id, a topic name or a topic filter as plain text, by the action; a shared
    /// subscription's filter may have its `$share/name/`, which changes nothing about what it needs (M8).
    pub fn decide(&self, action: Action, resource: &str) -> Decision {
        let layers = match &self.0 {
            Kind::Everything => {
                return Decision::Allowed {
                    by: StatementRef::special("the operator's keys"),
                };
            }
            Kind::Nothing => return Decision::NotAllowed,
            Kind::Rules(layers) => layers,
        };
        let asked = Asked::new(action, resource);
        if let Some(rule) = layers.iter().find_map(|layer| layer.denies(&asked)) {
            return Decision::Denied {
                by: rule.by.clone(),
            };
        }
        let mut first = None;
        for layer in layers.iter() {
            match layer.allows(&asked) {
                Some(by) => first = first.or(Some(by)),
                None => return Decision::NotAllowed,
            }
        }
        match first {
            Some(Some(rule)) => Decision::Allowed {
                by: rule.by.clone(),
            },
            Some(None) => Decision::Allowed {
                by: StatementRef::special("the session's topics"),
            },
            None => Decision::NotAllowed,
        }
    }

    /// Whether [`Access::decide`] allows it, and cheaper.
    pub fn allows(&self, action: Action, resource: &str) -> bool {
        match &self.0 {
            Kind::Everything => true,
            Kind::Nothing => false,
            Kind::Rules(layers) => {
                let asked = Asked::new(action, resource);
                layers
                    .iter()
                    .all(|layer| layer.denies(&asked).is_none() && layer.allows(&asked).is_some())
            }
        }
    }
}

/// What is asked for.
struct Asked<'a> {
    action: Action,
    /// Without `$share/name/`.
    resource: &'a str,
    /// With it, if it is a shared subscription.
    shared: Option<&'a str>,
    /// Whether nobody but the operator may do it.
    reserved: bool,
}

impl<'a> Asked<'a> {
    fn new(action: Action, resource: &'a str) -> Self {
        let unshared = (action == Action::Subscribe)
            .then(|| resource.strip_prefix("$share/")?.split_once('/'))
            .flatten();
        Self {
            action,
            resource: unshared.map_or(resource, |(_, filter)| filter),
            shared: unshared.map(|_| resource),
            // M4: whoever has such a client id could be taken for somebody else by a policy with variables.
            reserved: action == Action::Connect && !is_plain(resource),
        }
    }
}

impl Compiled {
    fn denies(&self, asked: &Asked<'_>) -> Option<&Rule> {
        self.rules.iter().find(|rule| {
            rule.effect == Effect::Deny
                && (rule.matches(asked.action, asked.resource)
                    || asked
                        .shared
                        .is_some_and(|text| rule.matches(asked.action, text)))
        })
    }

    /// What allows it: a rule, or the grants.
    fn allows(&self, asked: &Asked<'_>) -> Option<Option<&Rule>> {
        if asked.reserved {
            return None;
        }
        let rule = self.rules.iter().find(|rule| {
            rule.effect == Effect::Allow
                && (rule.matches(asked.action, asked.resource)
                    || asked.shared.is_some_and(|text| rule.names_shared(text)))
        });
        if rule.is_some() {
            return Some(rule);
        }
        let grants = self.grants.as_deref()?;
        grants.allow(asked.action, asked.resource).then_some(None)
    }
}

impl Rule {
    fn matches(&self, action: Action, resource: &str) -> bool {
        self.actions & bit(action) != 0
            && self
                .patterns
                .iter()
                .any(|pattern| pattern.matches(resource))
                != self.except
    }

    /// AWS wants `topicfilter/$share/name/filter` to be allowed by that name. A pattern that only happens to match
    /// it, such as `*/x`, is no answer to whether `x` may be subscribed to.
    fn names_shared(&self, filter: &str) -> bool {
        self.actions & bit(Action::Subscribe) != 0
            && !self.except
            && self
                .patterns
                .iter()
                .any(|pattern| pattern.begins_with("$share/") && pattern.matches(filter))
    }
}

/// The kinds of resources, by the actions that they are for.
const KINDS: [&[Action]; 3] = [
    &[
        Action::Connect,
        Action::GetConnection,
        Action::DeleteConnection,
        Action::ListSubscriptions,
        Action::SendDirectMessage,
    ],
    &[Action::Subscribe],
    &[
        Action::Publish,
        Action::RetainPublish,
        Action::Receive,
        Action::GetRetainedMessage,
        Action::ListRetainedMessages,
    ],
];

fn rules(document: &Document, context: &Context) -> Vec<Rule> {
    let mut rules = Vec::new();
    for (index, statement) in document.statements.iter().enumerate() {
        if !statement.applies(context) {
            continue;
        }
        let by = StatementRef {
            document: Arc::clone(&document.name),
            number: index + 1,
            sid: statement.sid.clone(),
        };
        for kind in KINDS {
            let covered = kind
                .iter()
                .filter(|action| statement.actions.cover(**action));
            let actions = covered.fold(0, |bits, action| bits | bit(*action));
            if actions == 0 {
                continue;
            }
            let (except, patterns) = patterns(statement, kind[0].resource_prefix(), context);
            if patterns.is_empty() && !except {
                continue;
            }
            // M7: who may not subscribe to a topic by its name is not sent it through a wildcard either. (A
            // NotResource lists filters, and says nothing about the topics that they match.)
            let also = statement.effect == Effect::Deny && kind == KINDS[1] && !except;
            let actions = if also {
                actions | bit(Action::Receive)
            } else {
                actions
            };
            rules.push(Rule {
                actions,
                effect: statement.effect,
                except,
                patterns,
                by: by.clone(),
            });
        }
    }
    rules
}

fn patterns(statement: &Statement, prefix: &str, context: &Context) -> (bool, Box<[Pattern]>) {
    let (except, arns) = match &statement.resources {
        Resources::Only(arns) => (false, arns),
        Resources::Except(arns) => (true, arns),
    };
    // What can not be told makes an Allow match less and a Deny match more.
    let unknown_is_any = (statement.effect == Effect::Deny) != except;
    let mut patterns: Vec<_> = arns
        .iter()
        .flat_map(|arn| arn_patterns(arn, prefix, context, unknown_is_any))
        .collect();
    if patterns.iter().any(Pattern::is_any) {
        patterns = vec![Pattern::plain("*")];
    }
    (except, patterns.into())
}

/// What is left of an ARN for the text after `topic/` and the like.
fn arn_patterns(arn: &Arn, prefix: &str, context: &Context, unknown_is_any: bool) -> Vec<Pattern> {
    let Arn::Parts { place, resource } = arn else {
        return vec![Pattern::plain("*")];
    };
    let here = ["aws", "iot", &context.realm.region, &context.realm.account];
    let is_here = place.iter().zip(here).all(|(part, here)| {
        let pattern = part.resolve(context, unknown_is_any);
        pattern.is_some_and(|pattern| pattern.pattern().matches(here))
    });
    if !is_here {
        return Vec::new();
    }
    let resolved = resource.resolve(context, unknown_is_any);
    resolved.map_or_else(Vec::new, |resolved| resolved.after(prefix))
}

#[cfg(test)]
mod tests;
