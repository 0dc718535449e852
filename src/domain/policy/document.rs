//! Policies as they are written: documents of statements.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use super::action::Actions;
use super::context::{Context, Key};
use super::glob::Template;

/// A policy. Without statements it allows nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// What explanations call it.
    pub name: Arc<str>,
    /// Its statements, in order.
    pub statements: Vec<Statement>,
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Its `Sid`.
    pub sid: Option<Arc<str>>,
    /// What it does if it matches.
    pub effect: Effect,
    /// What it is about.
    pub actions: Actions,
    /// What it applies to.
    pub resources: Resources,
    /// All must hold.
    pub conditions: Vec<Condition>,
}

/// What a statement does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Allows what no Deny denies.
    Allow,
    /// Denies whatever else allows.
    Deny,
}

/// A statement's `Resource` or `NotResource`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resources {
    /// These.
    Only(Vec<Arn>),
    /// All but these.
    Except(Vec<Arn>),
}

/// A pattern of resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arn {
    /// `*`.
    Any,
    /// `arn:partition:service:region:account:resource`.
    Parts {
        /// Partition, service, region and account.
        place: Box<[Template; 4]>,
        /// The rest, such as `topic/a/*`.
        resource: Template,
    },
}

/// One test of a `Condition`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// For keys with several values: which of them must pass.
    pub quantifier: Option<Quantifier>,
    /// Whether a key without a value passes.
    pub if_exists: bool,
    /// What is looked at.
    pub key: Key,
    /// What is asked of it.
    pub test: Test,
}

/// Which of several values must pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantifier {
    /// `ForAllValues`: all; passed if there are none.
    All,
    /// `ForAnyValue`: at least one.
    Any,
}

/// What is asked of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// A comparison of texts with any of the values.
    Text(Operator, Vec<Template>),
    /// Whether an address is in any of the networks.
    Network {
        /// Or rather in none of them.
        negated: bool,
        /// The networks.
        networks: Vec<Network>,
    },
}

/// How texts are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operator {
    /// `*` and `?` are wildcards.
    pub like: bool,
    /// Case does not count.
    pub ignore_case: bool,
    /// It must not be so.
    pub negated: bool,
}

/// A range of addresses in CIDR notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Document {
    /// Whether what it says depends on the connection. If not, connections can share one
    /// [`Access`](super::Access).
    pub fn varies(&self) -> bool {
        self.statements.iter().any(Statement::varies)
    }
}

impl Statement {
    fn varies(&self) -> bool {
        let (Resources::Only(arns) | Resources::Except(arns)) = &self.resources;
        !self.conditions.is_empty()
            || arns
                .iter()
                .any(|arn| matches!(arn, Arn::Parts { resource, .. } if resource.varies()))
    }

    /// Whether its conditions let it match. What can not be told denies.
    pub(super) fn applies(&self, context: &Context) -> bool {
        let uncertain = self.effect == Effect::Deny;
        self.conditions
            .iter()
            .all(|condition| condition.holds(context).unwrap_or(uncertain))
    }
}

impl Condition {
    /// `None` if a value that it compares with is not known.
    fn holds(&self, context: &Context) -> Option<bool> {
        let values = context.values(self.key);
        if values.is_empty() {
            let passes = match self.quantifier {
                Some(Quantifier::All) => true,
                Some(Quantifier::Any) => false,
                // As IAM: what is not there is not equal to anything.
                None => self.test.negated(),
            };
            return Some(self.if_exists || passes);
        }
        let mut passed = 0;
        for value in &values {
            passed += usize::from(self.test.passes(value, context)?);
        }
        Some(match self.quantifier {
            Some(Quantifier::Any) => passed > 0,
            Some(Quantifier::All) | None => passed == values.len(),
        })
    }
}

impl Test {
    fn negated(&self) -> bool {
        match self {
            Self::Text(operator, _) => operator.negated,
            Self::Network { negated, .. } => *negated,
        }
    }

    fn passes(&self, value: &str, context: &Context) -> Option<bool> {
        let found = match self {
            Self::Text(operator, templates) => {
                let fold = |text: &str| {
                    match operator.ignore_case {
                        true => Cow::Owned(text.to_lowercase()),
                        false => Cow::Borrowed(text),
                    }
                    .into_owned()
                };
                let value = fold(value);
                let mut found = false;
                for template in templates {
                    let pattern = template
                        .resolve(context, false)?
                        .folded(operator.ignore_case);
                    found |= pattern.matches(&value);
                }
                found
            }
            Self::Network { networks, .. } => {
                let address: IpAddr = value.parse().ok()?;
                networks.iter().any(|network| network.contains(address))
            }
        };
        Some(found != self.negated())
    }
}

impl Arn {
    /// Reads `*`, or an ARN of six parts.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let parts: Vec<_> = text.splitn(6, ':').collect();
        let ["arn", partition, service, region, account, resource] = *parts else {
            return Err(format!(
                "{text:?} is neither \"*\" nor arn:aws:iot:REGION:ACCOUNT:topic/…, topicfilter/… or client/…"
            ));
        };
        let read = |part| Template::with_wildcards(part).map_err(|error| error.to_string());
        Ok(Self::Parts {
            place: Box::new([
                read(partition)?,
                read(service)?,
                read(region)?,
                read(account)?,
            ]),
            resource: read(resource)?,
        })
    }
}

impl Network {
    /// Reads an address, or `address/bits`.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        (bits <= most).then_some(Self { address, bits })
    }

    fn contains(&self, other: IpAddr) -> bool {
        // An IPv4 client of a listener for both comes as ::ffff:a.b.c.d.
        match (self.address, other.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let shift = 32 - u32::from(self.bits);
                (own.to_bits() ^ other.to_bits())
                    .checked_shr(shift)
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let shift = 128 - u32::from(self.bits);
                (own.to_bits() ^ other.to_bits())
                    .checked_shr(shift)
                    .unwrap_or(0)
                    == 0
            }
            _ => false,
        }
    }
}
