//! Sessions' keys: STS makes them of one role, narrowed down to what a session may do with its own queue; or Cognito does, of
//! an identity of the session's own.

use std::sync::Arc;

use super::Services;
use super::identities::{IDENTITY_TAG, Identities};
use super::service::{Pauses, persist, trouble};
use super::sessions::Sessions;
use crate::config::STS_KEY_LIFETIME;
use crate::domain::session::{Credentials, Session};
use crate::domain::{IdentityId, QueueName, StoreError, Timestamp};

/// What a session may do with its queue (SEMANTICS 3). `DeleteMessage` and `ChangeMessageVisibility` cover their batches.
const ACTIONS: [&str; 6] = [
    "sqs:ReceiveMessage",
    "sqs:GetQueueAttributes",
    "sqs:GetQueueUrl",
    "sqs:DeleteMessage",
    "sqs:ChangeMessageVisibility",
    "sqs:PurgeQueue",
];

/// The longest name of a role's session (STS's own).
const SESSION_NAME_CHARACTERS: usize = 64;

/// Makes sessions' keys.
#[derive(Debug, Clone)]
pub struct Keys {
    services: Arc<Services>,
    identities: Option<Identities>,
}

/// Keys that were made.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The keys.
    pub credentials: Credentials,
    /// Whose they are at Cognito, if it made them.
    pub identity: Option<IdentityId>,
}

impl Keys {
    /// Keys of the configured role or pool.
    pub fn new(services: Arc<Services>) -> Self {
        let options = &services.options;
        let identities = options.identities.as_ref();
        let identities =
            identities.map(|pool| Identities::new(services.signed.clone(), options, pool));
        Self {
            identities,
            services,
        }
    }

    /// The pool of identities, if Cognito makes the keys.
    pub fn identities(&self) -> Option<&Identities> {
        self.identities.as_ref()
    }

    /// Keys for this queue that end at `expires`, or as near to it as whoever makes them can.
    ///
    /// # Errors
    /// [`StoreError`] if STS or Cognito refuses or does not answer.
    pub async fn issue(
        &self,
        queue: &QueueName,
        now: Timestamp,
        expires: Timestamp,
    ) -> Result<Issued, StoreError> {
        let Some(identities) = &self.identities else {
            let credentials = self.assume(queue, now, expires).await?;
            return Ok(Issued {
                credentials,
                identity: None,
            });
        };
        let (identity, credentials) = identities.keys(queue, expires).await?;
        Ok(Issued {
            credentials,
            identity: Some(identity),
        })
    }

    async fn assume(
        &self,
        queue: &QueueName,
        now: Timestamp,
        expires: Timestamp,
    ) -> Result<Credentials, StoreError> {
        let (least, most) = STS_KEY_LIFETIME;
        let life = expires.since(now).clamp(least, most);
        let seconds = i32::try_from(life.as_secs()).expect("12 hours fit");
        let name = queue.as_str();
        let name = &name[name.len().saturating_sub(SESSION_NAME_CHARACTERS)..];
        let call = self
            .services
            .sts
            .assume_role()
            .role_arn(&self.services.options.session_role)
            .role_session_name(name)
            .duration_seconds(seconds)
            .policy(self.policy(queue));
        let pauses = Pauses::lasting(self.services.options.patience);
        let made = persist("AssumeRole", pauses, || call.clone().send()).await;
        let made = made.map_err(|error| trouble("AssumeRole", error))?;
        let keys = made.credentials.ok_or_else(|| {
            StoreError::Failed("AssumeRole: STS gave an answer without credentials".into())
        })?;
        let end = u64::try_from(keys.expiration.secs()).unwrap_or_default();
        Ok(Credentials {
            access_key: keys.access_key_id,
            secret_key: keys.secret_access_key,
            session_token: keys.session_token,
            // Never longer here than was asked for, whatever STS gives.
            expires: Timestamp::from_secs(end).min(expires),
        })
    }

    fn policy(&self, queue: &QueueName) -> String {
        let options = &self.services.options;
        // The role's partition: aws, aws-cn, aws-us-gov.
        let partition = options.session_role.split(':').nth(1).unwrap_or("aws");
        let (region, account) = (&options.region, &options.account);
        serde_json::json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow",
                "Action": ACTIONS,
                "Resource": format!("arn:{partition}:sqs:{region}:{account}:{queue}"),
            }],
        })
        .to_string()
    }
}

impl Sessions {
    /// Gives a session new keys. Cognito finds its identity by its queue; one that had none, or has lost it, is given
    /// another, which the queue must know before anybody has its keys.
    pub(super) async fn rekey(
        &self,
        session: &mut Session,
        now: Timestamp,
        expires: Timestamp,
    ) -> Result<(), StoreError> {
        let issued = self.keys.issue(&session.queue_name, now, expires).await?;
        session.credentials = issued.credentials;
        let identity = issued.identity.filter(|found| *found != session.identity);
        if let Some(identity) = identity {
            self.tag(session, &identity).await?;
            session.identity = identity;
        }
        Ok(())
    }

    async fn tag(&self, session: &Session, identity: &IdentityId) -> Result<(), StoreError> {
        let call = self.services.sqs.tag_queue();
        let call = call.set_queue_url(session.queue_url.as_deref().map(str::to_owned));
        let call = call.tags(IDENTITY_TAG, identity.as_str());
        let tagged = persist("TagQueue", self.pauses(), || call.clone().send()).await;
        tagged.map(drop).map_err(|error| trouble("TagQueue", error))
    }

    /// Deletes a session's identity, if it has one at Cognito.
    pub(super) async fn delete_identity(&self, session: &Session) -> Result<(), StoreError> {
        match self.keys.identities() {
            Some(identities) => identities.delete(&[session.identity.as_str()]).await,
            None => Ok(()),
        }
    }
}
