//! The Cognito identity wire (WIRE 3), as far as the identities of sessions and guests go: a client turns its session's
//! token into the session's current keys, a guest gets an identity and keys, the operator looks at identities and deletes
//! them.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;

use actix_web::HttpResponse;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::Value;
use uuid::Uuid;

use crate::auth::{Access, Authenticator, Grant};
use crate::config::limits::cognito as limits;
use crate::domain::session::Session;
use crate::domain::{Clock, IdentityId, SessionKey, StoreError, Timestamp};

use super::front::{Refuser, RpcWire};
use super::json11::{self, Fault};
use super::{Call, Inbound, Operation, Refusal};

pub mod delete_identities;
pub mod describe_identity;
pub mod get_credentials_for_identity;
pub mod get_id;
pub mod list_identity_pools;

#[cfg(test)]
mod tests;

const TARGET_PREFIX: &str = "AWSCognitoIdentityService.";

/// The login provider whose tokens are session tokens.
pub const PROVIDER: &str = "fanfare";

/// Finds the session of an identity.
pub type Find = Box<dyn Fn(&IdentityId) -> Result<Option<Session>, StoreError> + Send + Sync>;

/// Destroys a session with its queue and identity; resolves to whether there was one.
pub type Destroy =
    Box<dyn Fn(SessionKey) -> BoxFuture<'static, Result<bool, StoreError>> + Send + Sync>;

/// What the operations need.
pub struct CognitoState {
    /// Where sessions are found.
    pub find: Find,
    /// How a session ends.
    pub destroy: Destroy,
    /// The region in ids.
    pub region: String,
    /// The environment, which names the pool.
    pub env: String,
    /// The time.
    pub clock: Clock,
    /// Makes guests' keys.
    pub authenticator: Arc<Authenticator>,
}

impl fmt::Debug for CognitoState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CognitoState")
            .field("pool", &self.pool_id())
            .finish_non_exhaustive()
    }
}

impl CognitoState {
    /// Id of the one pool: the same on every start, another for every region and environment.
    pub fn pool_id(&self) -> String {
        let name = format!("fanfare/{}/{}", self.region, self.env);
        let uuid = Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes());
        format!("{}:{uuid}", self.region)
    }

    /// Name of the one pool.
    pub fn pool_name(&self) -> String {
        format!("{}-fanfare", self.env)
    }

    /// The session of an identity, unless its life is over.
    fn session(&self, id: &str) -> Result<Session, Fault> {
        let identity = parse_identity(id)?;
        self.known(&identity)?.ok_or_else(|| not_found(id))
    }

    fn known(&self, identity: &IdentityId) -> Result<Option<Session>, Fault> {
        let session = (self.find)(identity).map_err(store_fault)?;
        let now = self.clock.wall();
        Ok(session.filter(|session| session.ttl > now))
    }
}

/// One line per operation: its name, what it asks of the caller, and the function that does it.
macro_rules! operations {
    ($($name:literal $access:ident $call:path,)*) => {
        &[$(Operation {
            name: $name,
            access: Access::$access,
            handler: |state, call| Box::pin(serve(state, call, $call)),
        },)*]
    };
}

/// Every operation. SDKs never sign `GetCredentialsForIdentity`: it asks for its own proof.
pub static OPERATIONS: &[Operation<CognitoState>] = operations![
    "DeleteIdentities" Operator delete_identities::call,
    "DescribeIdentity" Operator describe_identity::call,
    "GetCredentialsForIdentity" Public get_credentials_for_identity::call,
    "GetId" Public get_id::call,
    "ListIdentityPools" Operator list_identity_pools::call,
];

/// What the front door asks of this wire.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wire;

impl RpcWire for Wire {
    fn name(&self) -> &'static str {
        "cognito"
    }

    fn signed_as(&self) -> &'static str {
        "cognito-identity"
    }

    fn body_limit_bytes(&self) -> usize {
        limits::BODY_BYTES
    }

    fn claims(&self, inbound: &Inbound) -> bool {
        json11::operation(inbound, TARGET_PREFIX).is_some()
    }

    fn operation<'a>(&self, inbound: &'a Inbound) -> Option<Cow<'a, str>> {
        json11::operation(inbound, TARGET_PREFIX).map(Cow::Borrowed)
    }

    fn refuser(&self, _: &Inbound) -> Refuser {
        Box::new(refuse)
    }
}

/// This service has names of its own for two refusals.
fn refuse(refusal: &Refusal) -> HttpResponse {
    match refusal {
        Refusal::AccessDenied => json11::answer(Err(Fault::sender(
            "NotAuthorizedException",
            "Access denied.",
        ))),
        Refusal::Internal => json11::answer(Err(internal())),
        other => json11::refuse(other),
    }
}

async fn serve<F: Future<Output = Result<Value, Fault>>>(
    state: Arc<CognitoState>,
    call: Call,
    run: impl FnOnce(Arc<CognitoState>, Grant, Bytes, Option<IpAddr>) -> F,
) -> HttpResponse {
    let source_ip = call.peer.map(|peer| peer.ip());
    json11::answer(run(state, call.grant, call.body, source_ip).await)
}

fn internal() -> Fault {
    Fault {
        status: 500,
        code: "InternalErrorException",
        message: "Internal error.".to_owned(),
    }
}

/// What a store error is to the caller; the log says more.
fn store_fault(error: StoreError) -> Fault {
    tracing::error!(%error, "a Cognito request failed");
    match error {
        StoreError::Overloaded | StoreError::Full(_) | StoreError::Unavailable(_) => Fault::sender(
            "TooManyRequestsException",
            "Too many requests, try again later.",
        ),
        StoreError::Failed(_) | StoreError::Corrupt(_) => internal(),
    }
}

fn not_found(id: &str) -> Fault {
    let text = format!("Identity '{id}' not found.");
    Fault::sender("ResourceNotFoundException", text)
}

fn parse_identity(id: &str) -> Result<IdentityId, Fault> {
    IdentityId::parse(id).map_err(|error| invalid(&error.to_string()))
}

fn required<T>(value: Option<T>, name: &str) -> Result<T, Fault> {
    value.ok_or_else(|| invalid(&format!("{name} is required.")))
}

fn invalid(text: &str) -> Fault {
    Fault::sender("InvalidParameterException", text)
}

/// Epoch seconds with milliseconds: an ISO string would crash the JavaScript SDK.
fn epoch_seconds(time: Timestamp) -> f64 {
    time.millis() as f64 / 1000.0
}
