//! Who a connection belongs to, and what it may do with topics.

use std::net::IpAddr;
use std::sync::Arc;

use crate::domain::policy::{Access, ConnectAttribute, Context, Document, Grants, Layer, Realm};
use crate::domain::session::Session;
use crate::domain::topic::TopicFilter;
use crate::domain::{IdentityId, Timestamp};

use super::issue::Claims;
use super::policy::layer;
use super::rulebook::Rules;

/// Somebody who may connect. A client id belongs to one principal, by [`Principal::name`] (M1).
#[derive(Debug, Clone)]
pub struct Principal {
    /// The same for every connection of the same principal, and of nobody else: `operator`,
    /// `session:{account}/{session}`, `guest:{identity}`, `account:{user name}`, `role:{role}/{session name}`,
    /// `anonymous`.
    pub name: Arc<str>,
    /// The session, if it is one's.
    pub session: Option<Arc<Session>>,
    /// When its keys end; `None`: never.
    pub expires: Option<Timestamp>,
    pub(super) realm: Realm,
    pub(super) basis: Basis,
}

/// What a principal's rights come from.
#[derive(Debug, Clone)]
pub(super) enum Basis {
    Operator,
    /// The session's own topic, and those that it was granted.
    Session {
        grants: Arc<Grants>,
    },
    /// Keys that carry what they stand for.
    Issued {
        claims: Arc<Claims>,
        rules: Arc<Rules>,
        /// Narrows, if there is one.
        session_policy: Option<Arc<Document>>,
        identity: Option<IdentityId>,
    },
    Account {
        username: Arc<str>,
        password_hash: Arc<str>,
        rules: Arc<Rules>,
    },
    Anonymous {
        rules: Arc<Rules>,
    },
}

/// What is known of a connection beside who it belongs to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Connection<'a> {
    /// The client id; `None` over HTTP.
    pub client_id: Option<&'a str>,
    /// Where it comes from.
    pub source_ip: Option<IpAddr>,
    /// What its CONNECT asked for.
    pub attributes: &'a [ConnectAttribute],
}

impl Principal {
    /// What it may do on this connection. Cheap for whoever has no variables or conditions in its policies, and shared
    /// between their connections.
    pub fn access(&self, connection: Connection<'_>) -> Access {
        match &self.basis {
            Basis::Operator => Access::everything(),
            Basis::Session { grants } => {
                let layer = Layer {
                    documents: &[],
                    grants: Some(grants),
                };
                Access::of(&[layer], &self.context(connection))
            }
            Basis::Issued {
                rules,
                session_policy: Some(session_policy),
                ..
            } => {
                let own = layer(rules.documents());
                let narrowed = layer(std::slice::from_ref(session_policy));
                Access::of(&[own, narrowed], &self.context(connection))
            }
            Basis::Issued { rules, .. }
            | Basis::Account { rules, .. }
            | Basis::Anonymous { rules } => rules.access(&self.context(connection)),
        }
    }

    fn context(&self, connection: Connection<'_>) -> Context {
        let mut context = Context {
            realm: self.realm.clone(),
            client_id: connection.client_id.map(Arc::from),
            source_ip: connection.source_ip,
            attributes: connection.attributes.to_vec(),
            ..Context::default()
        };
        if let Some(session) = &self.session {
            context.identity = Some(session.identity.as_str().into());
            context.account = Some(session.account().to_string().into());
            context.session = Some(session.key.session.as_str().into());
            context.user = session.user.map(|user| user.to_string().into());
        }
        match &self.basis {
            Basis::Issued { identity, .. } => {
                context.identity = identity.as_ref().map(|id| id.as_str().into());
            }
            Basis::Account { username, .. } => context.user = Some(Arc::clone(username)),
            _ => {}
        }
        context
    }
}

/// The name of a session's principal.
pub fn session_name(session: &Session) -> Arc<str> {
    format!("session:{}/{}", session.key.account, session.key.session).into()
}

/// What a session may do. A granted filter that can not be read grants nothing.
pub(super) fn session_grants(session: &Session) -> Arc<Grants> {
    let parse = |text: &str| TopicFilter::parse(text).ok();
    Arc::new(Grants {
        read: parse(session.topic().as_str()).into_iter().collect(),
        full: session
            .topics
            .iter()
            .filter_map(|text| parse(text))
            .collect(),
    })
}
