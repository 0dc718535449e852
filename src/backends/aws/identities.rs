//! Sessions' identities in a pool of Cognito's: one for each session's queue, made when it is first asked for by the queue's
//! name, and found by that name from then on.
//!
//! Cognito takes no session policy. All identities have the pool's role, and what narrows their keys down stands in its
//! policy (`deploy/aws/policies/identity.json`): only the queue whose tag [`IDENTITY_TAG`] has the identity's id.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::signed::{CallError, Place, Signed};
use super::{AwsOptions, IdentityOptions};
use crate::domain::session::Credentials;
use crate::domain::{IdentityId, QueueName, StoreError, Timestamp};

/// The tag of a session's queue that says which identity's keys may use it.
pub const IDENTITY_TAG: &str = "fanfare:identity";

/// What names of its operations begin with.
pub const PREFIX: &str = "AWSCognitoIdentityService";

/// Entries of one call that lists or deletes (Cognito's own).
pub const PAGE: usize = 60;

/// Under what name Cognito takes its own tokens.
const OWN_PROVIDER: &str = "cognito-identity.amazonaws.com";

/// The pool that sessions' identities are in.
#[derive(Debug, Clone)]
pub struct Identities {
    signed: Signed,
    place: Place,
    options: IdentityOptions,
}

/// An identity as a pool lists it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Listed {
    /// Its id.
    pub identity_id: String,
    /// When it was made, in seconds; not every engine says.
    pub creation_date: Option<f64>,
}

/// Some of a pool's identities.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Page {
    /// These.
    pub identities: Vec<Listed>,
    /// Where to go on, if there are more.
    pub next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Token {
    identity_id: String,
    token: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Keys {
    credentials: Made,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Made {
    access_key_id: String,
    secret_key: String,
    session_token: String,
    expiration: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Deleted {
    #[serde(default)]
    unprocessed_identity_ids: Vec<Unprocessed>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Unprocessed {
    identity_id: String,
    error_code: String,
}

impl Identities {
    /// Those of the configured pool.
    pub fn new(signed: Signed, options: &AwsOptions, identities: &IdentityOptions) -> Self {
        Self {
            signed,
            place: place(options),
            options: identities.clone(),
        }
    }

    /// The identity of a queue, made if there is none, with keys that live as long as Cognito gives them, and end here at
    /// `expires` at the latest.
    ///
    /// # Errors
    /// [`StoreError`] if Cognito refuses or does not answer.
    pub async fn keys(
        &self,
        queue: &QueueName,
        expires: Timestamp,
    ) -> Result<(IdentityId, Credentials), StoreError> {
        let asked = json!({
            "IdentityPoolId": self.options.pool,
            "Logins": HashMap::from([(&self.options.provider, queue.as_str())]),
        });
        let operation = "GetOpenIdTokenForDeveloperIdentity";
        let answer = self.signed.json(&self.place, (PREFIX, operation), &asked);
        let token: Token = read(operation, answer.await)?;
        let asked = json!({
            "IdentityId": token.identity_id,
            "Logins": { OWN_PROVIDER: token.token },
        });
        let operation = "GetCredentialsForIdentity";
        // SDKs do not sign this one: the token is the proof.
        let call = (PREFIX, operation);
        let answer = self.signed.unsigned_json(&self.place, call, &asked).await;
        let Keys { credentials } = read(operation, answer)?;
        let identity = IdentityId::parse(&token.identity_id)
            .map_err(|error| StoreError::Failed(format!("{operation}: {error}")))?;
        let credentials = Credentials {
            access_key: credentials.access_key_id,
            secret_key: credentials.secret_key,
            session_token: credentials.session_token,
            expires: seconds(credentials.expiration).min(expires),
        };
        Ok((identity, credentials))
    }

    /// Deletes these, at most [`PAGE`], unless they are gone already. Their keys live to their end.
    ///
    /// # Errors
    /// [`StoreError`] if Cognito refuses, leaves some, or does not answer.
    pub async fn delete(&self, identities: &[&str]) -> Result<(), StoreError> {
        let asked = json!({ "IdentityIdsToDelete": identities });
        let operation = "DeleteIdentities";
        let answer = self.signed.json(&self.place, (PREFIX, operation), &asked);
        let deleted: Deleted = read(operation, answer.await)?;
        judged(&deleted.unprocessed_identity_ids)
    }

    /// Some of the pool's identities, from where the page before ended.
    ///
    /// # Errors
    /// [`StoreError`] if Cognito refuses or does not answer.
    pub async fn page(&self, from: Option<&str>) -> Result<Page, StoreError> {
        let mut asked = json!({ "IdentityPoolId": self.options.pool, "MaxResults": PAGE });
        if let Some(from) = from {
            asked["NextToken"] = from.into();
        }
        let operation = "ListIdentities";
        let answer = self.signed.json(&self.place, (PREFIX, operation), &asked);
        read(operation, answer.await)
    }
}

/// Where Cognito is.
pub fn place(options: &AwsOptions) -> Place {
    let endpoint = options.cognito_endpoint.as_deref();
    Place::of("cognito-identity", &options.region, endpoint)
}

/// A time as Cognito has it: seconds with a fraction.
pub fn seconds(time: f64) -> Timestamp {
    // A cast of what is no number, or below zero, is 0: long ago.
    Timestamp::from_secs(time as u64)
}

fn read<T: serde::de::DeserializeOwned>(
    operation: &'static str,
    answer: Result<Value, CallError>,
) -> Result<T, StoreError> {
    serde_json::from_value(answer?).map_err(|error| {
        StoreError::Failed(format!("{operation}: not the answer asked for: {error}"))
    })
}

/// What is left of a call that deletes. What is not there is as deleted as can be.
fn judged(unprocessed: &[Unprocessed]) -> Result<(), StoreError> {
    let left = |one: &&Unprocessed| one.error_code != "ResourceNotFoundException";
    let Some(first) = unprocessed.iter().find(left) else {
        return Ok(());
    };
    let (identity, code) = (&first.identity_id, &first.error_code);
    let text = format!("DeleteIdentities: {identity} was not deleted ({code})");
    Err(match code.as_str() {
        "InternalServerError" => StoreError::Unavailable(text),
        _ => StoreError::Failed(text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cognito_leaves_undeleted_is_told() {
        let check = |codes: &[&str], expect: fn(&Result<(), StoreError>) -> bool| {
            let unprocessed: Vec<Unprocessed> = codes
                .iter()
                .map(|code| Unprocessed {
                    identity_id: "eu-west-1:1".into(),
                    error_code: (*code).to_owned(),
                })
                .collect();
            let judged = judged(&unprocessed);
            assert!(expect(&judged), "{judged:?}");
        };
        let gone = "ResourceNotFoundException";
        check(&[], Result::is_ok);
        check(&[gone], Result::is_ok);
        check(&[gone, "InternalServerError"], |judged| {
            matches!(judged, Err(StoreError::Unavailable(_)))
        });
        check(&["AccessDenied"], |judged| {
            matches!(judged, Err(StoreError::Failed(_)))
        });
    }

    #[test]
    fn answers_are_read_as_cognito_gives_them() {
        let made = json!({ "IdentityId": "eu-west-1:1", "Credentials": {
            "AccessKeyId": "ASIA", "SecretKey": "s", "SessionToken": "t", "Expiration": 1_795_216_219.25,
        }});
        let Keys { credentials } = read("test", Ok(made)).expect("it is an answer");
        let end = Timestamp::from_secs(1_795_216_219);
        assert_eq!(seconds(credentials.expiration), end);
        assert_eq!(seconds(-1.0), Timestamp::default());
        let page: Page = read(
            "test",
            Ok(json!({ "Identities": [{ "IdentityId": "a:1" }] })),
        )
        .expect("engines may leave out what is not there");
        assert!(page.next_token.is_none() && page.identities[0].creation_date.is_none());
        let wrong = read::<Keys>("test", Ok(json!({})));
        assert!(matches!(wrong, Err(StoreError::Failed(text)) if text.contains("Credentials")));
    }
}
