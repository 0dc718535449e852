//! Who opens a connection by a signed URL or a token, and whether they still may.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use crate::domain::policy::Document;
use crate::domain::session::Session;
use crate::domain::{
    AccountId, IdentityId, QueueName, QueueNo, SessionId, SessionKey, StoreError, Timestamp,
};

use super::authenticate::{Signer, stamp};
use super::issue::{Claims, Narrowed, Who};
use super::principal::{Basis, session_grants, session_name};
use super::rulebook::{InForce, Rules};
use super::seal::Purpose;
use super::sigv4::{AuthError, Claim, Request, Rules as SignatureRules};
use super::{Authenticator, Caller, Principal, Unauthenticated, policy};

/// Whether a principal still is what it was.
#[derive(Debug, Clone)]
pub enum Recheck {
    /// Nothing has changed.
    Same,
    /// It may do something else from now on, or for another time.
    Changed(Arc<Principal>),
    /// It may do nothing any more.
    Revoked(Revoked),
}

/// Why a principal is none any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Revoked {
    /// Its keys have ended.
    #[error("the keys have expired")]
    Expired,
    /// The session was destroyed, or removed in time.
    #[error("the session is over")]
    SessionOver,
    /// The configuration has no guests, role or account of this name any more, or another password, or its key is not one of
    /// the operator's any more.
    #[error("the credentials were taken away")]
    Withdrawn,
}

impl Authenticator {
    /// Who asks for an upgrade: by a URL signed as for AWS IoT, or by `?token=`. `None` if the URL says nothing; then CONNECT's
    /// user name and password decide ([`Authenticator::login`], [`Authenticator::anonymous`]).
    ///
    /// # Errors
    /// [`Unauthenticated`], which is a 403 at the upgrade.
    pub fn upgrade(&self, request: &Request<'_>) -> Result<Option<Principal>, Unauthenticated> {
        self.upgrade_for(request, None)
    }

    /// As [`Authenticator::upgrade`], for sessions wherever they are looked up.
    ///
    /// # Errors
    /// As [`Authenticator::upgrade`].
    pub async fn admit_upgrade(
        &self,
        request: &Request<'_>,
    ) -> Result<Option<Principal>, Unauthenticated> {
        let Some(directory) = self.directory() else {
            return self.upgrade(request);
        };
        let holder = match (Claim::parse(request)?, connect_token(request.raw_query)?) {
            (Some(claim), _) => directory.holder(claim.access_key().to_owned()).await?,
            (None, Some(token)) => match self.session_in(token) {
                Some(key) => directory.find(key).await?,
                None => None,
            },
            (None, None) => None,
        };
        self.upgrade_for(request, holder)
    }

    /// `holder`: the session that the request's key or token may be of, if that was asked for elsewhere.
    fn upgrade_for(
        &self,
        request: &Request<'_>,
        holder: Option<Session>,
    ) -> Result<Option<Principal>, Unauthenticated> {
        let token = connect_token(request.raw_query)?;
        let Some(claim) = Claim::parse(request)? else {
            return token.map(|token| self.by_token(token, holder)).transpose();
        };
        if token.is_some() {
            let text = "Only one of a token and a signature may say who connects.";
            return Err(AuthError::IncompleteSignature(text).into());
        }
        let rules = SignatureRules::mqtt(stamp(self.clock().wall()), self.regions());
        let principal = match self.signer(request, &claim, &rules, holder)? {
            Signer::Operator { expires, .. } => self.operator(expires),
            Signer::Session(session) => self.session_principal(session),
            Signer::Issued(claims) => self.issued(claims).map_err(revoked)?,
        };
        Ok(Some(principal))
    }

    /// Who a verified request comes from, as far as topics go; `None` for nobody, and for keys that stand for nothing any
    /// more.
    pub fn principal(&self, caller: &Caller) -> Option<Principal> {
        match caller {
            Caller::Operator { .. } => Some(self.operator(None)),
            Caller::Session(session) => Some(self.session_principal(Arc::clone(session))),
            Caller::Issued(claims) => self.issued(Arc::clone(claims)).ok(),
            Caller::Anonymous => None,
        }
    }

    /// The session that a token is of.
    fn session_in(&self, token: &str) -> Option<SessionKey> {
        let (_, claims) = self.opened(Purpose::Connect, token)?;
        match &claims.who {
            Who::Session {
                account, session, ..
            } => Some(SessionKey {
                account: AccountId(*account),
                session: SessionId::parse(session).ok()?,
            }),
            _ => None,
        }
    }

    fn by_token(&self, token: &str, holder: Option<Session>) -> Result<Principal, Unauthenticated> {
        let Some((_, claims)) = self.opened(Purpose::Connect, token) else {
            return Err(AuthError::InvalidClientToken.into());
        };
        if self.clock().wall() >= claims.expires() {
            return Err(AuthError::ExpiredToken.into());
        }
        match &claims.who {
            // The token is for connecting: the connection lasts as long as what the token was made with.
            Who::Operator { access_key } if self.is_operator(access_key) => Ok(self.operator(None)),
            Who::Session { queue, .. } => {
                let found = match self.directory() {
                    Some(_) => holder,
                    None => match self.session_in(token) {
                        Some(key) => self.session_of(&key)?,
                        None => None,
                    },
                };
                let found = found.filter(|found| {
                    found.queue.0 == *queue && self.clock().wall() < key_end(found)
                });
                let session = found.ok_or(AuthError::InvalidClientToken)?;
                Ok(self.session_principal(Arc::new(session)))
            }
            Who::Operator { .. } | Who::Guest { .. } | Who::Role { .. } => {
                Err(AuthError::InvalidClientToken.into())
            }
        }
    }

    /// A number that rises when [`Authenticator::recheck`] may have something new to say about this principal, whose expiry
    /// aside. Two loads: ask as often as you like.
    pub fn version(&self, principal: &Principal) -> u64 {
        let session = principal.session.as_deref();
        self.versions().of(session.map(counted_as))
    }

    /// Somebody says, on this node or another, that the session of this queue was renewed or destroyed.
    pub fn session_changed(&self, queue: &QueueName) {
        self.versions().changed(number_of(queue));
    }

    /// Whether [`Authenticator::recheck`] can not tell about this principal, but [`Authenticator::recheck_elsewhere`] can.
    pub fn is_elsewhere(&self, principal: &Principal) -> bool {
        principal.session.is_some() && self.directory().is_some()
    }

    /// As [`Authenticator::recheck`], for sessions wherever they are looked up.
    pub async fn recheck_elsewhere(&self, principal: &Principal) -> Recheck {
        match (self.directory(), &principal.session) {
            (Some(directory), Some(session)) => {
                let found = directory.find(session.key.clone()).await;
                self.recheck_session(principal, session, found)
            }
            _ => self.recheck(principal),
        }
    }

    /// Whether this principal may still do what it may. To be asked when its keys end, and when
    /// [`Authenticator::version`] has risen; reads the store for a session's.
    pub fn recheck(&self, principal: &Principal) -> Recheck {
        let now = self.clock().wall();
        // A session that was renewed in the meantime has keys that last longer.
        if let Some(session) = &principal.session {
            return self.recheck_session(principal, session, self.session_of(&session.key));
        }
        if principal.expires.is_some_and(|expires| now >= expires) {
            return Recheck::Revoked(Revoked::Expired);
        }
        let InForce { book, anonymous } = self.in_force();
        match &principal.basis {
            Basis::Operator | Basis::Session { .. } => Recheck::Same,
            Basis::Issued { claims, rules, .. } => match self.issued(Arc::clone(claims)) {
                Ok(now) => {
                    let same =
                        matches!(&now.basis, Basis::Issued { rules: new, .. } if same(rules, new));
                    if same {
                        Recheck::Same
                    } else {
                        Recheck::Changed(Arc::new(now))
                    }
                }
                Err(why) => Recheck::Revoked(why),
            },
            Basis::Account {
                username,
                password_hash,
                rules,
            } => match book.accounts.get(&**username) {
                Some(account) if account.password_hash != *password_hash => {
                    Recheck::Revoked(Revoked::Withdrawn)
                }
                Some(account) if same(rules, &account.rules) => Recheck::Same,
                Some(account) => Recheck::Changed(Arc::new(self.account(username, account))),
                None => Recheck::Revoked(Revoked::Withdrawn),
            },
            Basis::Anonymous { rules } => match (&book.anonymous, anonymous) {
                (Some(new), _) if same(rules, new) => Recheck::Same,
                (_, Some(now)) => Recheck::Changed(now),
                (_, None) => Recheck::Revoked(Revoked::Withdrawn),
            },
        }
    }

    fn recheck_session(
        &self,
        principal: &Principal,
        session: &Arc<Session>,
        found: Result<Option<Session>, StoreError>,
    ) -> Recheck {
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                // Whoever was let in stays in until the store can tell.
                tracing::warn!(%error, principal = %principal.name, "can not look up a session");
                return Recheck::Same;
            }
        };
        let Some(found) = found.filter(|found| found.queue_name == session.queue_name) else {
            return Recheck::Revoked(Revoked::SessionOver);
        };
        if self.clock().wall() >= key_end(&found) {
            return Recheck::Revoked(Revoked::Expired);
        }
        if found == **session {
            return Recheck::Same;
        }
        let now = self.session_principal(Arc::new(found));
        Recheck::Changed(Arc::new(now))
    }

    fn operator(&self, expires: Option<Timestamp>) -> Principal {
        Principal {
            name: "operator".into(),
            session: None,
            expires,
            realm: self.realm().clone(),
            basis: Basis::Operator,
        }
    }

    fn session_principal(&self, session: Arc<Session>) -> Principal {
        Principal {
            name: session_name(&session),
            expires: Some(key_end(&session)),
            realm: self.realm().clone(),
            basis: Basis::Session {
                grants: session_grants(&session),
            },
            session: Some(session),
        }
    }

    /// The principal of keys that carry their claims, by the book in force.
    fn issued(&self, claims: Arc<Claims>) -> Result<Principal, Revoked> {
        let book = self.book();
        let (name, rules, identity) = match &claims.who {
            Who::Guest { identity } => (
                format!("guest:{identity}"),
                book.guests.clone(),
                IdentityId::parse(identity).ok(),
            ),
            Who::Role { role, session_name } => (
                format!("role:{role}/{session_name}"),
                book.roles.get(role).map(|role| Arc::clone(&role.rules)),
                None,
            ),
            Who::Operator { .. } | Who::Session { .. } => return Err(Revoked::Withdrawn),
        };
        let session_policy = match &claims.narrowed {
            Some(narrowed) => Some(Arc::new(narrow(narrowed).ok_or(Revoked::Withdrawn)?)),
            None => None,
        };
        Ok(Principal {
            name: name.into(),
            session: None,
            expires: Some(claims.expires()),
            realm: self.realm().clone(),
            basis: Basis::Issued {
                rules: rules.ok_or(Revoked::Withdrawn)?,
                session_policy,
                identity,
                claims,
            },
        })
    }
}

/// What narrows a token, which was read once before it was sealed.
fn narrow(narrowed: &Narrowed) -> Option<Document> {
    match narrowed {
        Narrowed::Policy(text) => policy::parse("the session policy", text, text.len()),
        Narrowed::Topics(topics) => policy::allow_topics("the topics asked for", topics),
    }
    .ok()
}

fn same(old: &Arc<Rules>, new: &Arc<Rules>) -> bool {
    Arc::ptr_eq(old, new) || old == new
}

/// When a session's keys end: never later than the session.
fn key_end(session: &Session) -> Timestamp {
    session.credentials.expires.min(session.ttl)
}

/// The number that a session's changes are counted by: its queue's, or one made of the queue's name if that has none.
fn counted_as(session: &Session) -> QueueNo {
    match session.queue {
        QueueNo::ELSEWHERE => number_of(&session.queue_name),
        queue => queue,
    }
}

fn number_of(queue: &QueueName) -> QueueNo {
    let mut hasher = DefaultHasher::new();
    queue.as_str().hash(&mut hasher);
    QueueNo(hasher.finish())
}

fn revoked(why: Revoked) -> Unauthenticated {
    let error = match why {
        Revoked::Expired => AuthError::ExpiredToken,
        Revoked::SessionOver | Revoked::Withdrawn => AuthError::InvalidClientToken,
    };
    error.into()
}

/// The value of the one `token` in a query. Tokens need no percent-encoding.
fn connect_token(query: &str) -> Result<Option<&str>, AuthError> {
    let mut tokens = query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("token="));
    match (tokens.next(), tokens.next()) {
        (token, None) => Ok(token),
        (_, Some(_)) => Err(AuthError::IncompleteSignature(
            "token was sent more than once.",
        )),
    }
}

#[cfg(test)]
mod tests;
