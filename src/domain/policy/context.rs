//! What is known of a connection when it is decided what it may do.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

/// Where the resources are: the parts of an ARN before the last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Realm {
    /// The region.
    pub region: Arc<str>,
    /// The account's number, 12 digits.
    pub account: Arc<str>,
}

/// A connection, as far as policies can ask about it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Context {
    /// Where the resources are.
    pub realm: Realm,
    /// The client id; `None` over HTTP.
    pub client_id: Option<Arc<str>>,
    /// Where the connection comes from.
    pub source_ip: Option<IpAddr>,
    /// What the CONNECT asked for.
    pub attributes: Vec<ConnectAttribute>,
    /// The Cognito identity of a guest or a session.
    pub identity: Option<Arc<str>>,
    /// The account of a session.
    pub account: Option<Arc<str>>,
    /// The user of a session, or an MQTT account's name.
    pub user: Option<Arc<str>>,
    /// The session's id.
    pub session: Option<Arc<str>>,
}

/// A value of `iot:ConnectAttributes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectAttribute {
    /// The client's session outlives the connection.
    PersistentConnect,
    /// The CONNECT has a will.
    LastWill,
}

impl ConnectAttribute {
    /// As policies write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PersistentConnect => "PersistentConnect",
            Self::LastWill => "LastWill",
        }
    }
}

/// What a condition or a variable asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// `iot:ClientId`.
    ClientId,
    /// `aws:SourceIp`.
    SourceIp,
    /// `iot:ConnectAttributes`, in conditions only: it has several values.
    ConnectAttributes,
    /// `cognito-identity.amazonaws.com:sub`.
    Identity,
    /// `fanfare:account`.
    Account,
    /// `fanfare:user`.
    User,
    /// `fanfare:session`.
    Session,
}

impl Key {
    /// Those that have one value, with their names.
    const VARIABLES: [(Self, &'static str); 6] = [
        (Self::ClientId, "iot:ClientId"),
        (Self::SourceIp, "aws:SourceIp"),
        (Self::Identity, "cognito-identity.amazonaws.com:sub"),
        (Self::Account, "fanfare:account"),
        (Self::User, "fanfare:user"),
        (Self::Session, "fanfare:session"),
    ];

    /// The variable of this name, in any case.
    pub fn variable(name: &str) -> Option<Self> {
        Self::VARIABLES
            .into_iter()
            .find(|(_, known)| known.eq_ignore_ascii_case(name))
            .map(|(key, _)| key)
    }

    /// The key of a condition of this name, in any case.
    pub fn condition(name: &str) -> Option<Self> {
        if name.eq_ignore_ascii_case("iot:ConnectAttributes") {
            return Some(Self::ConnectAttributes);
        }
        Self::variable(name)
    }
}

impl Context {
    /// The value of a key that has one.
    pub fn value(&self, key: Key) -> Option<Cow<'_, str>> {
        let text = match key {
            Key::SourceIp => return self.source_ip.map(|ip| ip.to_string().into()),
            Key::ClientId => &self.client_id,
            Key::Identity => &self.identity,
            Key::Account => &self.account,
            Key::User => &self.user,
            Key::Session => &self.session,
            Key::ConnectAttributes => return None,
        };
        text.as_deref().map(Cow::Borrowed)
    }

    /// All values of a key; none if there are none.
    pub(super) fn values(&self, key: Key) -> Vec<Cow<'_, str>> {
        match key {
            Key::ConnectAttributes => self
                .attributes
                .iter()
                .map(|attribute| attribute.name().into())
                .collect(),
            key => self.value(key).into_iter().collect(),
        }
    }
}

/// Whether a text may stand in a topic or a policy without meaning more than itself. Client ids and names that are not
/// plain get no rights: as `+`, a client id would turn the grant of one's own topic into a grant of everybody's, and
/// with `/` it would reach below somebody else's (M4, CVE-2017-7650).
pub fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && !text.contains(['+', '#', '*', '?', '$', '/'])
        && !text.chars().any(char::is_control)
}
