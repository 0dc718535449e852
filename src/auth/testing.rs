//! For tests: a registry in memory, and a signer that is not ours.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;

use crate::backends::{Commit, Opened, Renewal, SessionRegistry};
use crate::domain::session::{Credentials, EnvelopeVersion, OpenSession, Session, SessionRoute};
use crate::domain::{
    AccountId, Clock, IdentityId, QueueName, QueueNo, SessionId, SessionKey, StoreError, Timestamp,
    UserId,
};

use super::{Authenticator, OperatorKey, Rights, Rulebook, keys};

pub(crate) mod proofs;

/// Where the signed requests go.
pub(crate) const HOST: &str = "fanfare.test:8080";
/// The region that is served.
pub(crate) const REGION: &str = "us-east-1";

/// The operator's keys.
pub(crate) fn operator() -> Credentials {
    Credentials {
        access_key: "FANFAREDEV".into(),
        secret_key: "fanfare-dev-secret".into(),
        session_token: String::new(),
        expires: Timestamp(u64::MAX),
    }
}

/// An authenticator over `registry` that knows [`operator`], and guests who may use `/game/*`.
pub(crate) fn authenticator(registry: &Arc<FakeRegistry>) -> Arc<Authenticator> {
    let operator = operator();
    let authenticator = Authenticator::new(
        vec![OperatorKey {
            access_key: operator.access_key.into(),
            secret_key: operator.secret_key,
        }],
        Arc::clone(registry) as Arc<dyn SessionRegistry>,
        vec![REGION.into()],
        Clock::start(),
    );
    let mut config = crate::config::Config::default();
    config.guests.allow = vec!["/game/*".into()];
    config.guests.keys_burst = 1000;
    Arc::new(authenticator.with(Rights {
        book: Arc::new(Rulebook::of(&config).unwrap()),
        guest_rate: (1000, 1000),
        ..Rights::default()
    }))
}

/// Keys of a guest.
pub(crate) fn guest(authenticator: &Authenticator) -> Credentials {
    let identity = IdentityId::parse(&format!("us-east-1:{}", uuid::Uuid::new_v4())).unwrap();
    authenticator.guest_keys(&identity, None, None).unwrap()
}

/// A session with fresh keys for an hour.
pub(crate) fn session(account: i64, id: &str, user: Option<i64>) -> Session {
    let now = Clock::start().wall();
    Session {
        key: SessionKey {
            account: AccountId(account),
            session: SessionId::parse(id).unwrap(),
        },
        user: user.map(UserId),
        queue: QueueNo(1),
        queue_name: QueueName::parse(&format!("queue-{account}-{id}")).unwrap(),
        queue_url: None,
        aes_key: [7; 32],
        envelope: EnvelopeVersion::V1,
        credentials: keys::issue(now.plus(Duration::from_secs(3600))),
        identity: IdentityId::parse(&format!("us-east-1:{}", uuid::Uuid::new_v4())).unwrap(),
        created: now,
        ttl: now.plus(Duration::from_secs(7200)),
        retention: Duration::from_secs(3600),
        topics: Vec::new(),
        transport: crate::domain::session::Transport::default(),
    }
}

/// Sessions in a map; only what authentication and identities need.
#[derive(Default)]
pub(crate) struct FakeRegistry {
    sessions: Mutex<HashMap<SessionKey, Session>>,
    /// When set, every look-up fails with it.
    pub(crate) failure: Mutex<Option<StoreError>>,
}

impl FakeRegistry {
    pub(crate) fn put(&self, session: Session) {
        let mut sessions = self.sessions.lock().unwrap();
        sessions.insert(session.key.clone(), session);
    }

    pub(crate) fn remove(&self, key: &SessionKey) -> Option<Session> {
        self.sessions.lock().unwrap().remove(key)
    }

    fn find(&self, is: impl Fn(&Session) -> bool) -> Result<Vec<Session>, StoreError> {
        if let Some(error) = &*self.failure.lock().unwrap() {
            return Err(error.clone());
        }
        let sessions = self.sessions.lock().unwrap();
        Ok(sessions.values().filter(|s| is(s)).cloned().collect())
    }
}

impl SessionRegistry for FakeRegistry {
    fn get(&self, key: &SessionKey) -> Result<Option<Session>, StoreError> {
        Ok(self.find(|s| s.key == *key)?.pop())
    }

    fn by_access_key(&self, access_key: &str) -> Result<Option<Session>, StoreError> {
        Ok(self.find(|s| s.credentials.access_key == access_key)?.pop())
    }

    fn by_identity(&self, identity: &IdentityId) -> Result<Option<Session>, StoreError> {
        Ok(self.find(|s| s.identity == *identity)?.pop())
    }

    fn by_id(&self, session: &SessionId) -> Result<Vec<Session>, StoreError> {
        self.find(|s| s.key.session == *session)
    }

    fn list(
        &self,
        account: Option<AccountId>,
        _: Option<&SessionKey>,
        limit: usize,
    ) -> Result<Vec<Session>, StoreError> {
        let mut found = self.find(|s| account.is_none_or(|a| a == s.account()))?;
        found.truncate(limit);
        Ok(found)
    }

    fn routes(&self, _: &mut dyn FnMut(SessionRoute)) -> Result<(), StoreError> {
        Ok(())
    }

    fn open(&self, _: OpenSession) -> Commit<Opened> {
        unreachable!("tests put sessions in directly")
    }

    fn renew(&self, _: Renewal) -> Commit<Option<Session>> {
        unreachable!("tests put sessions in directly")
    }

    fn close(&self, key: SessionKey, _: Timestamp) -> Commit<Option<Session>> {
        let removed = self.remove(&key);
        Box::pin(async move { Ok(removed) })
    }

    fn reap(&self, _: SessionKey, _: Timestamp) -> Commit<Option<Session>> {
        unreachable!("nothing expires here")
    }

    fn expired(&self, _: Timestamp, _: usize) -> Result<Vec<SessionKey>, StoreError> {
        Ok(Vec::new())
    }
}

/// The headers that sign a request to [`HOST`], by the AWS SDK's own signer.
pub(crate) fn signed(
    keys: &Credentials,
    service: &str,
    line: (&str, &str),
    headers: &[(&str, &str)],
    body: &[u8],
) -> Vec<(String, String)> {
    signed_for(HOST, keys, service, line, headers, body)
}

/// The same for another host.
pub(crate) fn signed_for(
    host: &str,
    keys: &Credentials,
    service: &str,
    (method, target): (&str, &str),
    headers: &[(&str, &str)],
    body: &[u8],
) -> Vec<(String, String)> {
    let token = Some(keys.session_token.clone()).filter(|token| !token.is_empty());
    let identity = aws_credential_types::Credentials::new(
        keys.access_key.clone(),
        keys.secret_key.clone(),
        token,
        None,
        "test",
    )
    .into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(REGION)
        .name(service)
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()
        .unwrap()
        .into();
    let request = SignableRequest::new(
        method,
        format!("http://{host}{target}"),
        headers.iter().copied(),
        SignableBody::Bytes(body),
    )
    .unwrap();
    let (instructions, _) = sign(request, &params).unwrap().into_parts();
    let (added, _) = instructions.into_parts();
    let added = added
        .iter()
        .map(|h| (h.name().to_owned(), h.value().to_owned()));
    let given = headers.iter().map(|(n, v)| ((*n).into(), (*v).into()));
    let host = ("host".to_owned(), host.to_owned());
    std::iter::once(host).chain(given).chain(added).collect()
}
