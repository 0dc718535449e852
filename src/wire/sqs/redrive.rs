//! `RedrivePolicy` and `RedriveAllowPolicy`: small JSON documents in attributes (WIRE 1.5).

use serde_json::{Map, Value, json};

use super::error::Fault;
use super::limits;
use crate::domain::queue::RedrivePolicy;

/// Reads a `RedrivePolicy`; the empty text is none.
///
/// # Errors
/// `InvalidParameterValue`. Whether the dead-letter queue exists is not known here.
pub fn parse_policy(text: &str) -> Result<Option<RedrivePolicy>, Fault> {
    if text.is_empty() {
        return Ok(None);
    }
    let refuse = |reason: &str| refused("RedrivePolicy", text, reason);
    let map = object(text).ok_or_else(|| refuse("Redrive policy is not a valid JSON map."))?;
    let mandatory = |name: &str| {
        map.get(name).ok_or_else(|| {
            refuse(&format!(
                "Redrive policy does not contain mandatory attribute: {name}."
            ))
        })
    };
    let arn = mandatory("deadLetterTargetArn")?;
    let count = mandatory("maxReceiveCount")?;
    if let Some(name) = map.keys().find(|name| !is_policy_key(name)) {
        return Err(refuse(&format!(
            "Redrive policy contains unknown attribute: {name}."
        )));
    }
    let arn = arn.as_str().filter(|arn| is_queue_arn(arn));
    let arn = arn.ok_or_else(|| refuse("Invalid value for deadLetterTargetArn."))?;
    let number = match count {
        // Older clients and templates quote the number.
        Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    };
    match number
        .and_then(|n| u32::try_from(n).ok())
        .filter(|n| (1..=1000).contains(n))
    {
        Some(max_receive_count) => Ok(Some(RedrivePolicy {
            dead_letter_target_arn: arn.to_owned(),
            max_receive_count,
        })),
        None => Err(refuse(&format!(
            "Invalid value for maxReceiveCount: {count}, valid values are from 1 to 1000 both inclusive."
        ))),
    }
}

/// Writes a `RedrivePolicy`.
pub fn policy_text(policy: &RedrivePolicy) -> String {
    json!({
        "deadLetterTargetArn": policy.dead_letter_target_arn,
        "maxReceiveCount": policy.max_receive_count,
    })
    .to_string()
}

/// Checks a `RedriveAllowPolicy`, which is kept as it is; the empty text is none.
///
/// # Errors
/// `InvalidParameterValue`.
pub fn parse_allow_policy(text: &str) -> Result<Option<String>, Fault> {
    if text.is_empty() {
        return Ok(None);
    }
    let refuse = |reason: &str| refused("RedriveAllowPolicy", text, reason);
    let map = object(text).ok_or_else(|| refuse("Amazon SQS can't parse it as a JSON map."))?;
    let sources = match map.get("sourceQueueArns") {
        None => None,
        Some(Value::Array(list))
            if list.len() <= limits::REDRIVE_SOURCES
                && list
                    .iter()
                    .all(|arn| arn.as_str().is_some_and(is_queue_arn)) =>
        {
            Some(list)
        }
        Some(_) => return Err(refuse("sourceQueueArns must list at most 10 queue ARNs.")),
    };
    let permission = map.get("redrivePermission").and_then(Value::as_str);
    match (permission, sources) {
        (Some("allowAll" | "denyAll"), None) => {}
        (Some("byQueue"), Some(list)) if !list.is_empty() => {}
        (Some("byQueue"), _) => return Err(refuse("byQueue needs sourceQueueArns.")),
        (Some("allowAll" | "denyAll"), Some(_)) => {
            return Err(refuse("sourceQueueArns is for byQueue only."));
        }
        _ => {
            return Err(refuse(
                "redrivePermission must be allowAll, denyAll or byQueue.",
            ));
        }
    }
    Ok(Some(text.to_owned()))
}

fn object(text: &str) -> Option<Map<String, Value>> {
    serde_json::from_str(text).ok()
}

fn is_policy_key(name: &str) -> bool {
    name == "deadLetterTargetArn" || name == "maxReceiveCount"
}

fn is_queue_arn(arn: &str) -> bool {
    let fields: Vec<_> = arn.split(':').collect();
    matches!(fields[..], ["arn", "aws", "sqs", region, account, name]
        if !region.is_empty() && !account.is_empty() && !name.is_empty())
}

fn refused(parameter: &str, text: &str, reason: &str) -> Fault {
    Fault::invalid(format!(
        "Value {text} for parameter {parameter} is invalid. Reason: {reason}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:sqs:us-east-1:123456789012:dlq";

    #[test]
    fn policies_are_read_and_written() {
        let check = |count: &str, expect: Option<u32>| {
            let text = format!(r#"{{"deadLetterTargetArn": "{ARN}", "maxReceiveCount": {count}}}"#);
            let found = parse_policy(&text).ok().flatten();
            let number = found.as_ref().map(|policy| policy.max_receive_count);
            assert_eq!(number, expect, "{count}");
            if let Some(policy) = found {
                assert_eq!(parse_policy(&policy_text(&policy)), Ok(Some(policy)));
            }
        };
        check("1", Some(1));
        check("1000", Some(1000));
        check("\"5\"", Some(5));
        for bad in ["0", "1001", "-1", "1.5", "\"x\"", "null", "4294967297"] {
            check(bad, None);
        }
        assert_eq!(parse_policy(""), Ok(None));
    }

    #[test]
    fn a_bad_policy_is_named() {
        let check = |text: &str, reason: &str| {
            let whole =
                format!("Value {text} for parameter RedrivePolicy is invalid. Reason: {reason}");
            assert_eq!(parse_policy(text), Err(Fault::invalid(whole)));
        };
        check(
            r#"{"deadLetterTargetArn": "dummy", "maxReceiveCount": 42}"#,
            "Invalid value for deadLetterTargetArn.",
        );
        check("[]", "Redrive policy is not a valid JSON map.");
        check(
            r#"{"maxReceiveCount":1}"#,
            "Redrive policy does not contain mandatory attribute: deadLetterTargetArn.",
        );
        check(
            r#"{"deadLetterTargetArn":"x"}"#,
            "Redrive policy does not contain mandatory attribute: maxReceiveCount.",
        );
    }

    #[test]
    fn allow_policies_are_checked() {
        let by_queue = |list: String| {
            format!(r#"{{"redrivePermission":"byQueue","sourceQueueArns":[{list}]}}"#)
        };
        let arns = |count: usize| vec![format!("\"{ARN}\""); count].join(",");
        for good in [
            r#"{"redrivePermission":"allowAll"}"#.to_owned(),
            r#"{"redrivePermission":"denyAll"}"#.to_owned(),
            by_queue(arns(10)),
        ] {
            assert_eq!(parse_allow_policy(&good), Ok(Some(good.clone())));
        }
        for bad in [
            "[]".to_owned(),
            "{}".to_owned(),
            r#"{"redrivePermission":"x"}"#.to_owned(),
            r#"{"redrivePermission":"byQueue"}"#.to_owned(),
            r#"{"redrivePermission":"allowAll","sourceQueueArns":["x"]}"#.to_owned(),
            by_queue(String::new()),
            by_queue("\"x\"".into()),
            by_queue(arns(11)),
        ] {
            assert!(parse_allow_policy(&bad).is_err(), "{bad}");
        }
        assert_eq!(parse_allow_policy(""), Ok(None));
    }
}
