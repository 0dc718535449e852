//! From a request to its caller.
//!
//! Session keys are looked up in the registry on every request, never remembered here: when a refresh, renewal
//! or destruction has been committed, the old keys are refused from the next request on. What is remembered
//! are derived signing keys, which are worthless without the record that names their secret.

use std::fmt;
use std::sync::Arc;

use crate::backends::SessionRegistry;
use crate::domain::session::Session;
use crate::domain::{Clock, StoreError, Timestamp};

use super::Caller;
use super::sigv4::{AuthError, Claim, Credential, Request, Rules, Stamp, Verifier};

/// Signing keys that are kept, about 0.5 KiB each: a day's keys of as many callers as are busy at a time.
const SIGNING_KEYS_KEPT: usize = 16 * 1024;

/// A pair of permanent keys of the operator.
#[derive(Clone)]
pub struct OperatorKey {
    /// The access key id.
    pub access_key: Arc<str>,
    /// The secret.
    pub secret_key: String,
}

impl fmt::Debug for OperatorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperatorKey")
            .field("access_key", &self.access_key)
            .finish_non_exhaustive()
    }
}

/// No caller could be made out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unauthenticated {
    /// The signature does not hold.
    #[error(transparent)]
    Refused(#[from] AuthError),
    /// The registry can not be asked: nothing is known about the signature.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Verifies signatures against the operator's and the sessions' keys. One for the whole process.
pub struct Authenticator {
    operators: Vec<OperatorKey>,
    registry: Arc<dyn SessionRegistry>,
    verifier: Verifier,
    regions: Vec<String>,
    clock: Clock,
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator")
            .field("operators", &self.operators)
            .field("regions", &self.regions)
            .finish_non_exhaustive()
    }
}

impl Authenticator {
    /// An authenticator that knows these operator keys (two, while they are being rotated), the registry's
    /// sessions, and accepts these regions.
    pub fn new(
        operators: Vec<OperatorKey>,
        registry: Arc<dyn SessionRegistry>,
        regions: Vec<String>,
        clock: Clock,
    ) -> Self {
        Self {
            operators,
            registry,
            verifier: Verifier::new(SIGNING_KEYS_KEPT),
            regions,
            clock,
        }
    }

    /// Who signed this call of an HTTP API whose credential scope must name `service`; `None` if nobody did.
    ///
    /// # Errors
    /// [`Unauthenticated`]. An unknown key and a wrong signature are told apart by neither answer nor work.
    pub fn authenticate(
        &self,
        request: &Request<'_>,
        service: &str,
    ) -> Result<Option<Caller>, Unauthenticated> {
        let Some(claim) = Claim::parse(request)? else {
            return Ok(None);
        };
        let now = stamp(self.clock.wall());
        let services = [service];
        let rules = if service == "sqs" {
            Rules::sqs(now, &self.regions)
        } else {
            Rules::http(now, &services, &self.regions)
        };
        self.caller(request, &claim, &rules).map(Some)
    }

    fn caller(
        &self,
        request: &Request<'_>,
        claim: &Claim<'_>,
        rules: &Rules<'_>,
    ) -> Result<Caller, Unauthenticated> {
        let operator = self
            .operators
            .iter()
            .find(|operator| *operator.access_key == *claim.access_key());
        let Some(operator) = operator else {
            return self.session(request, claim, rules);
        };
        let credential = Credential {
            secret_key: &operator.secret_key,
            session_token: None,
            expires: None,
        };
        let verified = self
            .verifier
            .verify(request, claim, Some(&credential), rules);
        if let Err(error) = verified {
            // What an unknown key costs: otherwise the clock tells who the operator is.
            self.registry.by_access_key(claim.access_key())?;
            return Err(error.into());
        }
        Ok(Caller::Operator {
            access_key: Arc::clone(&operator.access_key),
        })
    }

    fn session(
        &self,
        request: &Request<'_>,
        claim: &Claim<'_>,
        rules: &Rules<'_>,
    ) -> Result<Caller, Unauthenticated> {
        let session = self.registry.by_access_key(claim.access_key())?;
        let credential = session.as_ref().map(credential);
        self.verifier
            .verify(request, claim, credential.as_ref(), rules)?;
        let session = session.expect("nothing verifies without a credential");
        Ok(Caller::Session(Arc::new(session)))
    }
}

/// The keys of a session that was not swept yet may outlive it by no moment.
fn credential(session: &Session) -> Credential<'_> {
    let keys = &session.credentials;
    Credential {
        secret_key: &keys.secret_key,
        session_token: Some(&keys.session_token),
        expires: Some(stamp(keys.expires.min(session.ttl))),
    }
}

fn stamp(time: Timestamp) -> Stamp {
    Stamp::from_epoch_seconds(i64::try_from(time.secs()).unwrap_or(i64::MAX))
}
