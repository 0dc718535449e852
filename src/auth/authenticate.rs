//! From a request to its caller.
//!
//! Session keys are looked up in the registry on every request, never remembered here: when a refresh, renewal
//! or destruction has been committed, the old keys are refused from the next request on. What is remembered
//! are derived signing keys, which are worthless without the record that names their secret.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::backends::SessionRegistry;
use crate::backends::plane::SessionDirectory;
use crate::config::limits;
use crate::domain::policy::Realm;
use crate::domain::session::Session;
use crate::domain::{Clock, SessionKey, StoreError, Timestamp};

use super::Caller;
use super::issue::{Claims, Who};
use super::login::Logins;
use super::rulebook::{InForce, Rulebook};
use super::seal::{Purpose, Seal};
use super::sigv4::{AuthError, Claim, Credential, Request, Rules, Stamp, Verifier};
use super::throttle::Throttle;
use super::versions::Versions;

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

/// Verifies signatures against the operator's and the sessions' keys, and those that carry their own claims. One for the
/// whole process.
pub struct Authenticator {
    operators: Vec<OperatorKey>,
    sessions: Sessions,
    verifier: Verifier,
    regions: Vec<String>,
    clock: Clock,
    realm: Realm,
    seal: Seal,
    in_force: RwLock<InForce>,
    versions: Arc<Versions>,
    logins: Logins,
    guest_rate: Throttle,
}

/// Where sessions are looked up.
enum Sessions {
    /// In this process: the answer comes at once.
    Here(Arc<dyn SessionRegistry>),
    /// By asking somebody: only [`Authenticator::admit`] knows them.
    Elsewhere(Arc<dyn SessionDirectory>),
}

/// Who has the access key of one request.
enum Holder<'a> {
    /// To be asked when it matters.
    Ask(&'a dyn SessionRegistry),
    /// Asked already.
    Known(Option<Box<Session>>),
}

impl Holder<'_> {
    fn of(self, access_key: &str) -> Result<Option<Session>, StoreError> {
        match self {
            Self::Ask(registry) => registry.by_access_key(access_key),
            Self::Known(session) => Ok(session.map(|session| *session)),
        }
    }
}

/// What decides about topics beside the sessions.
#[derive(Debug)]
pub struct Rights {
    /// The account number in ARNs.
    pub aws_account: String,
    /// What tokens are sealed with; without one, with a secret that ends with the process.
    pub seal: Option<Seal>,
    /// What the configuration allows.
    pub book: Arc<Rulebook>,
    /// Guests' keys that one address gets at once, and a minute.
    pub guest_rate: (u32, u32),
    /// Follows the commits.
    pub versions: Arc<Versions>,
}

impl Default for Rights {
    fn default() -> Self {
        Self {
            aws_account: "000000000000".to_owned(),
            seal: None,
            book: Arc::default(),
            guest_rate: (30, 60),
            versions: Arc::default(),
        }
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator")
            .field("operators", &self.operators)
            .field("regions", &self.regions)
            .finish_non_exhaustive()
    }
}

/// Whose signature holds.
pub(super) enum Signer {
    /// The operator's; `expires` if the keys are temporary.
    Operator {
        access_key: Arc<str>,
        expires: Option<Timestamp>,
    },
    Session(Arc<Session>),
    Issued(Arc<Claims>),
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
        Self::over(operators, Sessions::Here(registry), regions, clock)
    }

    /// The same for sessions that are looked up elsewhere: ask those methods that answer later.
    pub fn elsewhere(
        operators: Vec<OperatorKey>,
        directory: Arc<dyn SessionDirectory>,
        regions: Vec<String>,
        clock: Clock,
    ) -> Self {
        Self::over(operators, Sessions::Elsewhere(directory), regions, clock)
    }

    fn over(
        operators: Vec<OperatorKey>,
        sessions: Sessions,
        regions: Vec<String>,
        clock: Clock,
    ) -> Self {
        Self {
            operators,
            sessions,
            verifier: Verifier::new(limits::SIGNING_KEYS),
            regions,
            clock,
            realm: Realm::default(),
            seal: Seal::ephemeral(),
            in_force: RwLock::default(),
            versions: Arc::default(),
            logins: Logins::default(),
            guest_rate: Throttle::new(1, Duration::ZERO, 1),
        }
        .with(Rights::default())
    }

    /// The same with what decides about topics.
    #[must_use]
    pub fn with(mut self, rights: Rights) -> Self {
        self.realm = Realm {
            region: self.regions.first().map_or("", String::as_str).into(),
            account: rights.aws_account.into(),
        };
        if let Some(seal) = rights.seal {
            self.seal = seal;
        }
        self.in_force = RwLock::new(InForce::new(rights.book, &self.realm));
        let (burst, per_minute) = rights.guest_rate;
        let pause = Duration::from_secs(60) / per_minute.max(1);
        self.guest_rate = Throttle::new(burst, pause, limits::policy::WATCHED);
        self.versions = rights.versions;
        self
    }

    /// Puts another book in force, on open connections within a second.
    pub fn replace(&self, book: Arc<Rulebook>) {
        let book = InForce::new(book, &self.realm);
        *self
            .in_force
            .write()
            .unwrap_or_else(PoisonError::into_inner) = book;
        self.versions.replaced();
    }

    /// The book in force.
    pub(super) fn book(&self) -> Arc<Rulebook> {
        self.in_force().book
    }

    /// The same with what follows from it.
    pub(super) fn in_force(&self) -> InForce {
        // The lock covers a copy of pointers: whoever panicked under it left whole ones.
        let in_force = self.in_force.read().unwrap_or_else(PoisonError::into_inner);
        in_force.clone()
    }

    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    pub(super) fn seal(&self) -> &Seal {
        &self.seal
    }

    pub(super) fn realm(&self) -> &Realm {
        &self.realm
    }

    pub(super) fn regions(&self) -> &[String] {
        &self.regions
    }

    /// The session of this key, as topics look it up: at once.
    pub(super) fn session_of(&self, key: &SessionKey) -> Result<Option<Session>, StoreError> {
        match &self.sessions {
            Sessions::Here(registry) => registry.get(key),
            Sessions::Elsewhere(_) => Err(StoreError::Failed("sessions are elsewhere".into())),
        }
    }

    /// Who has a key, to be asked at once.
    fn ask(&self) -> Holder<'_> {
        match &self.sessions {
            Sessions::Here(registry) => Holder::Ask(&**registry),
            // Whoever does not wait for an answer finds none.
            Sessions::Elsewhere(_) => Holder::Known(None),
        }
    }

    /// Where sessions are asked for, if not in this process.
    pub(super) fn directory(&self) -> Option<&Arc<dyn SessionDirectory>> {
        match &self.sessions {
            Sessions::Here(_) => None,
            Sessions::Elsewhere(directory) => Some(directory),
        }
    }

    pub(super) fn versions(&self) -> &Versions {
        &self.versions
    }

    pub(super) fn guest_rate(&self) -> &Throttle {
        &self.guest_rate
    }

    pub(super) fn logins(&self) -> &Logins {
        &self.logins
    }

    /// Whether this is one of the operator's permanent keys.
    pub(super) fn is_operator(&self, access_key: &str) -> bool {
        self.operators
            .iter()
            .any(|operator| *operator.access_key == *access_key)
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
        let caller = self.caller(request, &claim, service, self.ask())?;
        Ok(Some(caller))
    }

    /// As [`Authenticator::authenticate`], for sessions wherever they are looked up.
    ///
    /// # Errors
    /// As [`Authenticator::authenticate`].
    pub async fn admit(
        &self,
        request: &Request<'_>,
        service: &str,
    ) -> Result<Option<Caller>, Unauthenticated> {
        let Sessions::Elsewhere(directory) = &self.sessions else {
            return self.authenticate(request, service);
        };
        let Some(claim) = Claim::parse(request)? else {
            return Ok(None);
        };
        let ask = || directory.holder(claim.access_key().to_owned());
        if self.is_operator(claim.access_key()) {
            let caller = self.caller(request, &claim, service, Holder::Known(None));
            if caller.is_err() {
                // What an unknown key costs: otherwise the clock tells who the operator is.
                ask().await?;
            }
            return caller.map(Some);
        }
        let holder = Holder::Known(ask().await?.map(Box::new));
        self.caller(request, &claim, service, holder).map(Some)
    }

    fn caller(
        &self,
        request: &Request<'_>,
        claim: &Claim<'_>,
        service: &str,
        holder: Holder<'_>,
    ) -> Result<Caller, Unauthenticated> {
        let now = stamp(self.clock.wall());
        let services = [service];
        let rules = if service == "sqs" {
            Rules::sqs(now, &self.regions)
        } else {
            Rules::http(now, &services, &self.regions)
        };
        Ok(match self.signed_by(request, claim, &rules, holder)? {
            Signer::Operator { access_key, .. } => Caller::Operator { access_key },
            Signer::Session(session) => Caller::Session(session),
            Signer::Issued(claims) => Caller::Issued(claims),
        })
    }

    /// Whose signature this is; `holder` is who has the key, if that was asked for elsewhere.
    pub(super) fn signer(
        &self,
        request: &Request<'_>,
        claim: &Claim<'_>,
        rules: &Rules<'_>,
        holder: Option<Session>,
    ) -> Result<Signer, Unauthenticated> {
        let holder = match holder {
            Some(session) => Holder::Known(Some(Box::new(session))),
            None => self.ask(),
        };
        self.signed_by(request, claim, rules, holder)
    }

    fn signed_by(
        &self,
        request: &Request<'_>,
        claim: &Claim<'_>,
        rules: &Rules<'_>,
        holder: Holder<'_>,
    ) -> Result<Signer, Unauthenticated> {
        let operator = self
            .operators
            .iter()
            .find(|operator| *operator.access_key == *claim.access_key());
        let Some(operator) = operator else {
            return self.temporary(request, claim, rules, holder);
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
            holder.of(claim.access_key())?;
            return Err(error.into());
        }
        Ok(Signer::Operator {
            access_key: Arc::clone(&operator.access_key),
            expires: None,
        })
    }

    fn temporary(
        &self,
        request: &Request<'_>,
        claim: &Claim<'_>,
        rules: &Rules<'_>,
        holder: Holder<'_>,
    ) -> Result<Signer, Unauthenticated> {
        let purpose = Purpose::Keys(claim.access_key());
        let opened = claim
            .session_token()
            .and_then(|token| Some((token, self.opened(purpose, token)?)));
        let Some((token, (secret, claims))) = opened else {
            return self.session(request, claim, rules, holder);
        };
        let credential = Credential {
            secret_key: &secret,
            session_token: Some(token),
            expires: Some(stamp(claims.expires())),
        };
        self.verifier
            .verify(request, claim, Some(&credential), rules)?;
        match &claims.who {
            // A key that was taken away takes along what was made with it.
            Who::Operator { access_key } if !self.is_operator(access_key) => {
                Err(AuthError::InvalidClientToken.into())
            }
            Who::Operator { .. } => Ok(Signer::Operator {
                access_key: claim.access_key().into(),
                expires: Some(claims.expires()),
            }),
            _ => Ok(Signer::Issued(claims)),
        }
    }

    fn session(
        &self,
        request: &Request<'_>,
        claim: &Claim<'_>,
        rules: &Rules<'_>,
        holder: Holder<'_>,
    ) -> Result<Signer, Unauthenticated> {
        let session = holder.of(claim.access_key())?;
        let credential = session.as_ref().map(credential);
        self.verifier
            .verify(request, claim, credential.as_ref(), rules)?;
        let session = session.expect("nothing verifies without a credential");
        Ok(Signer::Session(Arc::new(session)))
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

pub(super) fn stamp(time: Timestamp) -> Stamp {
    Stamp::from_epoch_seconds(i64::try_from(time.secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
