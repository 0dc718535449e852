//! What a statement is about.

use std::fmt;

use super::glob::Pattern;

/// What somebody wants to do with a topic, a filter or a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Connect with a client id.
    Connect,
    /// Publish to a topic.
    Publish,
    /// Publish to a topic with the retain flag; asked in addition to [`Action::Publish`].
    RetainPublish,
    /// Subscribe to a filter.
    Subscribe,
    /// Be sent a message of a topic; asked with every delivery.
    Receive,
    /// Read the retained message of a topic over HTTP.
    GetRetainedMessage,
    /// List retained messages over HTTP.
    ListRetainedMessages,
    /// See over HTTP whether and how a client is connected.
    GetConnection,
    /// End a client's connection over HTTP.
    DeleteConnection,
    /// List a client's subscriptions over HTTP.
    ListSubscriptions,
    /// Send a message to one client over HTTP.
    SendDirectMessage,
}

impl Action {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::Connect,
        Self::Publish,
        Self::RetainPublish,
        Self::Subscribe,
        Self::Receive,
        Self::GetRetainedMessage,
        Self::ListRetainedMessages,
        Self::GetConnection,
        Self::DeleteConnection,
        Self::ListSubscriptions,
        Self::SendDirectMessage,
    ];

    /// As policies write it, such as `iot:Publish`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "iot:Connect",
            Self::Publish => "iot:Publish",
            Self::RetainPublish => "iot:RetainPublish",
            Self::Subscribe => "iot:Subscribe",
            Self::Receive => "iot:Receive",
            Self::GetRetainedMessage => "iot:GetRetainedMessage",
            Self::ListRetainedMessages => "iot:ListRetainedMessages",
            Self::GetConnection => "iot:GetConnection",
            Self::DeleteConnection => "iot:DeleteConnection",
            Self::ListSubscriptions => "iot:ListSubscriptions",
            Self::SendDirectMessage => "iot:SendDirectMessage",
        }
    }

    /// The action of this name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|action| action.name().eq_ignore_ascii_case(name))
    }

    /// What the last part of the ARN of its resource begins with.
    pub const fn resource_prefix(self) -> &'static str {
        match self {
            Self::Connect
            | Self::GetConnection
            | Self::DeleteConnection
            | Self::ListSubscriptions
            | Self::SendDirectMessage => "client/",
            Self::Subscribe => "topicfilter/",
            Self::Publish
            | Self::RetainPublish
            | Self::Receive
            | Self::GetRetainedMessage
            | Self::ListRetainedMessages => "topic/",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A pattern of actions' names, such as `iot:*`. Case does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionPattern(Pattern);

impl ActionPattern {
    /// Takes `*` or `service:Name` with `*` and `?` for wildcards; `None` for anything else. Other services' actions
    /// are taken, and match nothing.
    pub fn parse(text: &str) -> Option<Self> {
        let word = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'*' | b'?' | b'-' | b'_'))
        };
        let valid = text == "*"
            || text
                .split_once(':')
                .is_some_and(|(service, name)| word(service) && word(name));
        valid.then(|| Self(Pattern::plain(&text.to_ascii_lowercase())))
    }

    fn covers(&self, action: Action) -> bool {
        self.0.matches(&action.name().to_ascii_lowercase())
    }
}

/// A statement's `Action` or `NotAction`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actions {
    /// These.
    Only(Vec<ActionPattern>),
    /// All but these.
    Except(Vec<ActionPattern>),
}

impl Actions {
    /// Whether the statement is about this action.
    pub fn cover(&self, action: Action) -> bool {
        match self {
            Self::Only(patterns) => patterns.iter().any(|pattern| pattern.covers(action)),
            Self::Except(patterns) => !patterns.iter().any(|pattern| pattern.covers(action)),
        }
    }
}
