//! Policy documents as JSON: what IAM takes, within bounds, and an error that names the statement and the field.

use std::sync::Arc;

use crate::config::limits::policy as limits;
use crate::domain::policy::{
    ActionPattern, Actions, Arn, Document, Effect, Layer, Resources, Statement,
};

mod condition;
mod json;

#[cfg(test)]
mod tests;

use json::Json;

/// A document can not be used; the text says where and why, and quotes nothing that is longer than a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(String);

impl Malformed {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    fn at(self, place: &str) -> Self {
        Self(format!("{place}: {}", self.0))
    }
}

/// Reads a document of at most `most` bytes and calls it `name`.
///
/// # Errors
/// [`Malformed`]. An unknown member, operator, condition key or variable is an error, too: what is not understood must
/// not be taken for granted.
pub fn parse(name: &str, text: &str, most: usize) -> Result<Document, Malformed> {
    if text.len() > most {
        return Err(Malformed::new(format!(
            "the policy has {} bytes, at most {most} are allowed",
            text.len()
        )));
    }
    let json: Json = serde_json::from_str(text)
        .map_err(|error| Malformed::new(format!("the policy is not JSON: {error}")))?;
    let mut statements = None;
    for (key, value) in json.members("the policy")? {
        match key.as_str() {
            "Version" => check_version(value)?,
            "Id" => drop(value.text("Id")?),
            "Statement" => statements = Some(value.one_or_many()),
            other => {
                return Err(Malformed::new(format!(
                    "{other:?} is no member of a policy"
                )));
            }
        }
    }
    let statements = statements.ok_or_else(|| Malformed::new("Statement is missing"))?;
    if statements.len() > limits::STATEMENTS {
        return Err(Malformed::new(format!(
            "there are {} statements, at most {} are allowed",
            statements.len(),
            limits::STATEMENTS
        )));
    }
    let statements = statements.iter().enumerate().map(|(index, value)| {
        statement(value).map_err(|error| error.at(&format!("statement {}", index + 1)))
    });
    Ok(Document {
        name: name.into(),
        statements: statements.collect::<Result<_, _>>()?,
    })
}

fn check_version(value: &Json) -> Result<(), Malformed> {
    match value.text("Version")? {
        "2012-10-17" => Ok(()),
        // The older version has no variables: the same text would mean something else.
        other => Err(Malformed::new(format!(
            "Version {other:?} is not 2012-10-17"
        ))),
    }
}

fn statement(value: &Json) -> Result<Statement, Malformed> {
    let (mut sid, mut effect, mut actions, mut resources) = (None, None, None, None);
    let mut conditions = Vec::new();
    for (key, value) in value.members("the statement")? {
        let taken = match key.as_str() {
            "Sid" => sid.replace(Arc::from(value.text(key)?)).is_some(),
            "Effect" => effect.replace(effect_of(value)?).is_some(),
            "Action" => actions
                .replace(Actions::Only(patterns(key, value)?))
                .is_some(),
            "NotAction" => actions
                .replace(Actions::Except(patterns(key, value)?))
                .is_some(),
            "Resource" => resources
                .replace(Resources::Only(arns(key, value)?))
                .is_some(),
            "NotResource" => resources
                .replace(Resources::Except(arns(key, value)?))
                .is_some(),
            "Condition" => {
                conditions = condition::parse(value)?;
                false
            }
            other => {
                return Err(Malformed::new(format!(
                    "{other:?} is no member of a statement"
                )));
            }
        };
        if taken {
            let text = format!("{key} and its opposite are both there");
            return Err(Malformed::new(text));
        }
    }
    let missing = |name: &str| Malformed::new(format!("{name} is missing"));
    Ok(Statement {
        sid,
        effect: effect.ok_or_else(|| missing("Effect"))?,
        actions: actions.ok_or_else(|| missing("Action"))?,
        resources: resources.ok_or_else(|| missing("Resource"))?,
        conditions,
    })
}

fn effect_of(value: &Json) -> Result<Effect, Malformed> {
    match value.text("Effect")? {
        "Allow" => Ok(Effect::Allow),
        "Deny" => Ok(Effect::Deny),
        other => Err(Malformed::new(format!(
            "Effect {other:?} is neither Allow nor Deny"
        ))),
    }
}

fn patterns(key: &str, value: &Json) -> Result<Vec<ActionPattern>, Malformed> {
    let texts = value.texts(key)?;
    let patterns = texts.iter().map(|text| {
        ActionPattern::parse(text)
            .ok_or_else(|| Malformed::new(format!("{key} {text:?} is no action")))
    });
    patterns.collect()
}

fn arns(key: &str, value: &Json) -> Result<Vec<Arn>, Malformed> {
    let texts = value.texts(key)?;
    let arns = texts
        .iter()
        .map(|text| Arn::parse(text).map_err(|error| Malformed::new(format!("{key}: {error}"))));
    arns.collect()
}

/// A document that allows to connect, and to publish to, subscribe to and receive the topics that these patterns match
/// (`/game/*`). `*` and `?` are wildcards, and nothing else is special.
///
/// # Errors
/// [`Malformed`] if a pattern has a variable that is not known.
pub fn allow_topics(name: &str, patterns: &[String]) -> Result<Document, Malformed> {
    let arns = |kind: &str| {
        let arns = patterns.iter().map(|pattern| {
            Arn::parse(&format!("arn:aws:iot:*:*:{kind}/{pattern}")).map_err(Malformed::new)
        });
        arns.collect::<Result<Vec<_>, _>>()
    };
    let allow = |actions: &[&str], resources: Vec<Arn>| Statement {
        sid: None,
        effect: Effect::Allow,
        actions: Actions::Only(
            actions
                .iter()
                .map(|text| ActionPattern::parse(text).expect("a name of an action"))
                .collect(),
        ),
        resources: Resources::Only(resources),
        conditions: Vec::new(),
    };
    Ok(Document {
        name: name.into(),
        statements: vec![
            allow(&["iot:Connect"], vec![Arn::Any]),
            allow(&["iot:Publish", "iot:Receive"], arns("topic")?),
            allow(&["iot:Subscribe"], arns("topicfilter")?),
        ],
    })
}

/// A layer of documents without grants.
pub(super) fn layer(documents: &[Arc<Document>]) -> Layer<'_> {
    Layer {
        documents,
        grants: None,
    }
}
