//! The operator's keys: one pair, two while they are being replaced, or the development pair.

use std::path::Path;

use super::{Config, Problem, Secret};

/// The public pair of operator keys, good for trying things out on one's own machine.
pub const DEVELOPMENT_KEYS: (&str, &str) = ("FANFAREDEV", "fanfare-dev-secret");

/// The operator's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorKeys {
    /// The access key id.
    pub access_key: String,
    /// The secret key.
    pub secret_key: Secret,
    /// A second pair, while the first is being replaced.
    pub second: Option<KeyPair>,
    /// Whether they are [`DEVELOPMENT_KEYS`], taken because none are configured.
    pub development: bool,
}

/// An access key and its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// The access key id.
    pub access_key: String,
    /// The secret key.
    pub secret_key: Secret,
}

impl Config {
    /// The operator's keys: those configured, else the development pair.
    ///
    /// # Errors
    /// [`Problem`] if only half of a pair is there, the secret's file can not be read, there is a second pair without a
    /// first or with the same access key, or there are none and not every listener is on loopback.
    pub fn operator_keys(&self) -> Result<OperatorKeys, Problem> {
        let first = key_pair(
            "",
            self.operator_access_key.as_ref(),
            self.operator_secret_key.as_ref(),
            self.operator_secret_key_file.as_deref(),
        )?;
        let second = key_pair(
            "_2",
            self.operator_access_key_2.as_ref(),
            self.operator_secret_key_2.as_ref(),
            self.operator_secret_key_2_file.as_deref(),
        )?;
        match (first, second) {
            (None, Some(_)) => Err(Problem(
                "operator_access_key_2 is set without operator_access_key".to_owned(),
            )),
            (Some(first), Some(second)) if first.access_key == second.access_key => Err(Problem(
                "operator_access_key and operator_access_key_2 are the same".to_owned(),
            )),
            (
                Some(KeyPair {
                    access_key,
                    secret_key,
                }),
                second,
            ) => Ok(OperatorKeys {
                access_key,
                secret_key,
                second,
                development: false,
            }),
            (None, None) if self.exposed().is_none() => {
                let (access_key, secret_key) = DEVELOPMENT_KEYS;
                Ok(OperatorKeys {
                    access_key: access_key.to_owned(),
                    secret_key: Secret::new(secret_key),
                    second: None,
                    development: true,
                })
            }
            (None, None) => Err(Problem(format!(
                "{} can be reached from other machines, and there are no operator keys: set \
                 operator_access_key and operator_secret_key (the public development keys are for loopback only)",
                self.exposed().unwrap_or_default()
            ))),
        }
    }

    /// A listener that other machines can reach, if there is one.
    pub(super) fn exposed(&self) -> Option<String> {
        let mqtt = self.mqtt.enabled;
        let listeners = [
            ("http.listen", Some(self.http.listen)),
            ("http.tls_listen", self.http.tls_listen),
            ("mqtt.listen", mqtt.then_some(self.mqtt.listen)),
            ("mqtt.tls_listen", self.mqtt.tls_listen.filter(|_| mqtt)),
        ];
        let mut exposed = listeners
            .into_iter()
            .filter_map(|(key, address)| Some((key, address?)));
        let (key, address) = exposed.find(|(_, address)| !address.ip().is_loopback())?;
        Some(format!("{key} = {address}"))
    }
}

/// One of the operator's pairs, whose keys' names end in `number`; `None` if it is not set.
fn key_pair(
    number: &str,
    access_key: Option<&String>,
    secret_key: Option<&Secret>,
    file: Option<&Path>,
) -> Result<Option<KeyPair>, Problem> {
    let (access, secret) = (
        format!("operator_access_key{number}"),
        format!("operator_secret_key{number}"),
    );
    let secret_key = match (secret_key, file) {
        (Some(_), Some(_)) => {
            let text = format!("{secret} and {secret}_file are both set, set one");
            return Err(Problem(text));
        }
        (Some(secret), None) => Some(secret.clone()),
        (None, Some(file)) => Some(Secret::read(&format!("{secret}_file"), file)?),
        (None, None) => None,
    };
    match (access_key.cloned(), secret_key) {
        (Some(access_key), Some(secret_key)) => Ok(Some(KeyPair {
            access_key,
            secret_key,
        })),
        (Some(_), None) => Err(Problem(format!("{access} is set without {secret}"))),
        (None, Some(_)) => Err(Problem(format!("{secret} is set without {access}"))),
        (None, None) => Ok(None),
    }
}
