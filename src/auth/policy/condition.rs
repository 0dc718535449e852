//! The `Condition` of a statement: `{operator: {key: value or values}}`.

use super::Malformed;
use super::json::Json;
use crate::domain::policy::{Condition, Key, Network, Operator, Quantifier, Template, Test};

/// Operators on texts: name, with wildcards, without regard to case, negated.
const TEXTS: [(&str, bool, bool, bool); 6] = [
    ("StringEquals", false, false, false),
    ("StringNotEquals", false, false, true),
    ("StringEqualsIgnoreCase", false, true, false),
    ("StringNotEqualsIgnoreCase", false, true, true),
    ("StringLike", true, false, false),
    ("StringNotLike", true, false, true),
];

pub(super) fn parse(value: &Json) -> Result<Vec<Condition>, Malformed> {
    let mut conditions = Vec::new();
    for (operator, keys) in value.members("Condition")? {
        for (key, values) in keys.members(&format!("Condition {operator}"))? {
            conditions.push(condition(operator, key, values)?);
        }
    }
    Ok(conditions)
}

fn condition(operator: &str, name: &str, values: &Json) -> Result<Condition, Malformed> {
    let (quantifier, rest) = match operator.split_once(':') {
        Some(("ForAllValues", rest)) => (Some(Quantifier::All), rest),
        Some(("ForAnyValue", rest)) => (Some(Quantifier::Any), rest),
        _ => (None, operator),
    };
    let (plain, if_exists) = match rest.strip_suffix("IfExists") {
        Some(plain) => (plain, true),
        None => (rest, false),
    };
    let key = Key::condition(name)
        .ok_or_else(|| Malformed::new(format!("Condition key {name:?} is not known")))?;
    // A text compared with several values at once would be taken for granted by one of them.
    if key == Key::ConnectAttributes && quantifier.is_none() {
        return Err(Malformed::new(format!(
            "Condition {operator}: {name} has several values, write ForAllValues: or ForAnyValue:"
        )));
    }
    let place = format!("Condition {operator} {name}");
    Ok(Condition {
        quantifier,
        if_exists,
        key,
        test: test(plain, &values.texts(&place)?).map_err(|error| error.at(&place))?,
    })
}

fn test(operator: &str, values: &[&str]) -> Result<Test, Malformed> {
    if let "IpAddress" | "NotIpAddress" = operator {
        let networks = values.iter().map(|text| {
            Network::parse(text)
                .ok_or_else(|| Malformed::new(format!("{text:?} is no address or network")))
        });
        return Ok(Test::Network {
            negated: operator == "NotIpAddress",
            networks: networks.collect::<Result<_, _>>()?,
        });
    }
    let Some(&(_, like, ignore_case, negated)) = TEXTS.iter().find(|(name, ..)| *name == operator)
    else {
        return Err(Malformed::new("the operator is not known"));
    };
    let templates = values.iter().map(|text| {
        let read = match like {
            true => Template::with_wildcards(text),
            false => Template::without_wildcards(text),
        };
        read.map_err(|error| Malformed::new(error.to_string()))
    });
    let operator = Operator {
        like,
        ignore_case,
        negated,
    };
    Ok(Test::Text(operator, templates.collect::<Result<_, _>>()?))
}
