//! What is allowed for each key that is no number (numbers: [`limits::SETTINGS`]), in words and as a check.

use std::net::SocketAddr;

use figment::value::Value;

use super::{Account, BrokerUrl, Role, Room, broker, limits, rooms};
use crate::domain::IdentityId;

/// A key's value must pass the check; the words say what passes.
pub(super) struct Text {
    pub(super) key: &'static str,
    pub(super) allowed: &'static str,
    pub(super) check: fn(&str) -> bool,
}

const fn access_key(key: &'static str) -> Text {
    Text {
        key,
        allowed: "1 to 128 letters, digits and underscores",
        check: |text| is_name(text, 128, "_"),
    }
}

const fn endpoint(key: &'static str) -> Text {
    Text {
        key,
        allowed: "a URL without a path that begins with http:// or https://",
        check: |text| {
            let host = text
                .strip_prefix("http://")
                .or_else(|| text.strip_prefix("https://"));
            host.is_some_and(|host| !host.is_empty() && !host.contains(['/', ' ', '?', '#']))
        },
    }
}

const fn table(key: &'static str) -> Text {
    Text {
        key,
        allowed: "3 to 128 letters, digits, dots, hyphens, underscores and {env}",
        check: |text| {
            let text = text.replace("{env}", "sixteen_letters_");
            text.len() >= 3 && is_name(&text, 128, "-_.")
        },
    }
}

const fn filled(key: &'static str, allowed: &'static str) -> Text {
    Text {
        key,
        allowed,
        check: |text| !text.is_empty(),
    }
}

/// Keys whose values are texts.
pub(super) const TEXTS: &[Text] = &[
    Text {
        key: "region",
        allowed: "1 to 32 letters, digits and hyphens, such as us-east-1",
        check: |text| is_name(text, 32, "-"),
    },
    Text {
        key: "env",
        allowed: "1 to 16 letters, digits, hyphens and underscores",
        check: |text| is_name(text, 16, "-_"),
    },
    Text {
        key: "aws_account",
        allowed: "12 digits (a text: put it in quotes)",
        check: |text| text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit()),
    },
    Text {
        key: "backend",
        allowed: "embedded or aws",
        check: |text| matches!(text, "embedded" | "aws"),
    },
    endpoint("aws.sqs_endpoint"),
    endpoint("aws.dynamodb_endpoint"),
    endpoint("aws.sts_endpoint"),
    endpoint("aws.kinesis_endpoint"),
    endpoint("aws.cognito_endpoint"),
    endpoint("aws.iam_endpoint"),
    table("aws.sessions_table"),
    table("aws.messages_table"),
    table("aws.leases_table"),
    Text {
        key: "aws.consume",
        allowed: "off, latest or trim_horizon",
        check: |text| matches!(text, "off" | "latest" | "trim_horizon"),
    },
    Text {
        key: "aws.session_keys",
        allowed: "sts or cognito",
        check: |text| matches!(text, "sts" | "cognito"),
    },
    Text {
        key: "aws.identity_pool",
        allowed: "the id of an identity pool, such as us-east-1:11111111-2222-4333-8444-555555555555",
        check: |text| IdentityId::parse(text).is_ok(),
    },
    Text {
        key: "aws.developer_provider",
        allowed: "1 to 128 letters, digits, dots, hyphens, underscores and {env}",
        check: |text| is_name(&text.replace("{env}", "sixteen_letters_"), 128, "-_."),
    },
    Text {
        key: "aws.session_role",
        allowed: "the ARN of a role, such as arn:aws:iam::123456789012:role/fanfare-session",
        check: |text| text.starts_with("arn:") && text.contains(":role/") && text.len() <= 2048,
    },
    Text {
        key: "aws.broker_url",
        allowed: broker::ALLOWED,
        check: |text| BrokerUrl::parse(text).is_some(),
    },
    filled("aws.broker_username", "a text that is not empty"),
    filled(SECRET_KEYS[2], "a text that is not empty"),
    filled("aws.broker_password_file", "a path"),
    filled("aws.broker_ca_file", "a path"),
    Text {
        key: "aws.broker_client_id",
        allowed: "1 to 64 letters, digits, hyphens and underscores",
        check: |text| is_name(text, 64, "-_"),
    },
    access_key("operator_access_key"),
    filled(SECRET_KEYS[0], "a text that is not empty"),
    filled("operator_secret_key_file", "a path"),
    access_key("operator_access_key_2"),
    filled(SECRET_KEYS[1], "a text that is not empty"),
    filled("operator_secret_key_2_file", "a path"),
    Text {
        key: "http.listen",
        allowed: "an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080",
        check: |text| text.parse::<SocketAddr>().is_ok(),
    },
    Text {
        key: "http.tls_listen",
        allowed: "an IP address and a port, such as 127.0.0.1:8443 or [::1]:8443",
        check: |text| text.parse::<SocketAddr>().is_ok(),
    },
    filled("tls.cert_file", "a path"),
    filled("tls.key_file", "a path"),
    Text {
        key: "mqtt.tls_listen",
        allowed: "an IP address and a port, such as 127.0.0.1:8883 or [::1]:8883",
        check: |text| text.parse::<SocketAddr>().is_ok(),
    },
    filled("store.dir", "a path"),
    Text {
        key: "sessions.queue_prefix",
        allowed: "letters, digits, hyphens, underscores and {env}, at most 36 characters",
        check: |text| {
            // The longest environment, so that what is allowed here does not depend on another key.
            let text = text.replace("{env}", "sixteen_letters_");
            is_name(&text, limits::QUEUE_PREFIX_CHARACTERS, "-_")
        },
    },
    Text {
        key: "kinesis.stream",
        allowed: "letters, digits, dots, hyphens, underscores and {env}, at most 128 characters",
        check: |text| is_name(&text.replace("{env}", "sixteen_letters_"), 128, "-_."),
    },
    Text {
        key: "mqtt.listen",
        allowed: "an IP address and port, such as 127.0.0.1:1883",
        check: |text| text.parse::<SocketAddr>().is_ok(),
    },
    Text {
        key: "mqtt.profile",
        allowed: "open or aws",
        check: |text| matches!(text, "open" | "aws"),
    },
    Text {
        key: "mqtt.allowed_origins",
        allowed: "*, or origins such as https://game.example with spaces between them",
        check: |text| !text.trim().is_empty() && text.len() <= 4096,
    },
    Text {
        key: "guests.anonymous_policy",
        allowed: "a policy as JSON, or the path of a file that has one",
        check: |text| !text.is_empty(),
    },
    Text {
        key: "demo.enabled",
        allowed: "auto, on or off",
        check: |text| matches!(text, "auto" | "on" | "off"),
    },
    Text {
        key: "log.format",
        allowed: "text or json",
        check: |text| matches!(text, "text" | "json"),
    },
    Text {
        key: "log.filter",
        allowed: "a level (error, warn, info, debug, trace) or target=level pairs separated by commas",
        check: |text| tracing_subscriber::EnvFilter::builder().parse(text).is_ok(),
    },
];

/// A key's value is a list whose entries must be readable as what they are; the words say what that is.
pub(super) struct List {
    pub(super) key: &'static str,
    pub(super) allowed: &'static str,
    pub(super) check: fn(&Value) -> bool,
}

/// Keys whose values are lists.
pub(super) const LISTS: &[List] = &[
    List {
        key: "guests.allow",
        allowed: "a list of at most 100 topics of at most 256 characters, such as [\"/game/*\"]",
        check: |value| {
            let texts = value.deserialize::<Vec<String>>();
            texts.is_ok_and(|texts| {
                texts.len() <= limits::policy::VALUES
                    && texts
                        .iter()
                        .all(|text| (1..=limits::policy::TOPIC_BYTES).contains(&text.len()))
            })
        },
    },
    List {
        key: "roles",
        allowed: "[[roles]] with name (1 to 64 letters, digits and any of + = , . @ - _) and policy",
        check: |value| {
            let roles = value.deserialize::<Vec<Role>>();
            roles.is_ok_and(|roles| roles.iter().all(|role| is_name(&role.name, 64, "+=,.@-_")))
        },
    },
    List {
        key: "accounts",
        allowed: "[[accounts]] with username (1 to 128 letters, digits and any of . @ - _), password_hash and policy",
        check: |value| {
            let accounts = value.deserialize::<Vec<Account>>();
            accounts.is_ok_and(|accounts| {
                accounts
                    .iter()
                    .all(|account| is_name(&account.username, 128, ".@-_"))
            })
        },
    },
    List {
        key: "rooms",
        allowed: rooms::ALLOWED,
        check: |value| {
            let rules = value.deserialize::<Vec<Room>>();
            rules.is_ok_and(|rules| rooms::are_allowed(&rules))
        },
    },
];

/// Keys whose values are `true` or `false`.
pub(super) const SWITCHES: &[&str] = &[
    "aws.broker_presign",
    "bench.enabled",
    "console.enabled",
    "console.publish",
    "mqtt.enabled",
    "mqtt.lifecycle_events",
];

/// The keys whose values no message shows, and no flag takes.
pub const SECRET_KEYS: [&str; 3] = [
    "operator_secret_key",
    "operator_secret_key_2",
    "aws.broker_password",
];

/// Variables that start like settings and are none: what the command line uses as a client, and what tests of this
/// program go by. One that ends in `_` stands for all that start with it.
pub const NOT_SETTINGS: &[&str] = &[
    "FANFARE_CONFIG",
    "FANFARE_ENDPOINT",
    "FANFARE_AES_KEY",
    "FANFARE_BIN",
    "FANFARE_TEST_",
    "FANFARE_CRASH_",
    "FANFARE_POWER_CUTS",
];

fn is_name(text: &str, most: usize, others: &str) -> bool {
    (1..=most).contains(&text.len())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || others.contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_has_at_most_so_many_characters_with_its_environment() {
        let prefix = TEXTS
            .iter()
            .find(|text| text.key == "sessions.queue_prefix");
        let fits = prefix.expect("it is a setting").check;
        let text = |length: usize| "p".repeat(length);
        let most = limits::QUEUE_PREFIX_CHARACTERS;
        assert!(fits(&text(most)) && !fits(&text(most + 1)));
        let with_env = |rest: usize| format!("{{env}}{}", text(rest));
        assert!(fits(&with_env(most - 16)) && !fits(&with_env(most - 15)));
    }
}
