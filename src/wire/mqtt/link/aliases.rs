//! Topic aliases (MQTT 5.0 section 3.3.2.3.4): small numbers that stand for topics, for the life of a connection.

use std::collections::HashMap;
use std::num::NonZeroU16;

use crate::domain::topic::TopicName;

/// Aliases that the client has set.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    topics: HashMap<NonZeroU16, TopicName>,
}

/// Why an alias does not help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadAlias {
    /// It is above the maximum.
    TooHigh,
    /// It was not set.
    Unknown,
}

impl Inbound {
    /// The topic of a publication. A name and an alias together set the alias.
    pub(super) fn resolve(
        &mut self,
        name: Option<TopicName>,
        alias: Option<NonZeroU16>,
        most: u16,
    ) -> Result<TopicName, BadAlias> {
        let Some(alias) = alias else {
            return name.ok_or(BadAlias::Unknown);
        };
        if alias.get() > most {
            return Err(BadAlias::TooHigh);
        }
        match name {
            Some(name) => {
                let name = name.detached();
                self.topics.insert(alias, name.clone());
                Ok(name)
            }
            None => self.topics.get(&alias).cloned().ok_or(BadAlias::Unknown),
        }
    }
}

/// Aliases that the server has set: the first topics that it sends get one, as far as they go.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    most: u16,
    aliases: HashMap<TopicName, NonZeroU16>,
}

impl Outbound {
    /// As many as the client takes, and the server gives.
    pub(super) fn new(most: u16) -> Self {
        Self {
            most,
            aliases: HashMap::new(),
        }
    }

    /// Whether there are any.
    pub(super) fn are_used(&self) -> bool {
        self.most > 0
    }

    /// The client was not sent what would have told it this topic's alias.
    pub(super) fn forget(&mut self, topic: &TopicName) {
        self.aliases.remove(topic);
    }

    /// The alias of a topic, and whether the client knows it already.
    pub(super) fn of(&mut self, topic: &TopicName) -> Option<(NonZeroU16, bool)> {
        if let Some(alias) = self.aliases.get(topic) {
            return Some((*alias, true));
        }
        let next = u16::try_from(self.aliases.len() + 1).ok()?;
        let alias = NonZeroU16::new(next).filter(|_| next <= self.most)?;
        self.aliases.insert(topic.detached(), alias);
        Some((alias, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(text: &str) -> TopicName {
        TopicName::parse(text.to_owned().into()).unwrap()
    }

    #[test]
    fn clients_set_and_use_them() {
        let mut aliases = Inbound::default();
        let (one, two) = (NonZeroU16::new(1), NonZeroU16::new(2));
        assert_eq!(aliases.resolve(None, one, 2), Err(BadAlias::Unknown));
        assert_eq!(aliases.resolve(Some(topic("a")), one, 2), Ok(topic("a")));
        assert_eq!(aliases.resolve(None, one, 2), Ok(topic("a")));
        assert_eq!(aliases.resolve(Some(topic("b")), one, 2), Ok(topic("b")));
        assert_eq!(aliases.resolve(None, one, 2), Ok(topic("b")));
        assert_eq!(aliases.resolve(Some(topic("c")), None, 2), Ok(topic("c")));
        assert_eq!(
            aliases.resolve(Some(topic("c")), two, 1),
            Err(BadAlias::TooHigh)
        );
    }

    #[test]
    fn the_server_gives_as_many_as_the_client_takes() {
        let mut aliases = Outbound::new(1);
        assert!(aliases.are_used());
        let one = NonZeroU16::MIN;
        assert_eq!(aliases.of(&topic("a")), Some((one, false)));
        assert_eq!(aliases.of(&topic("a")), Some((one, true)));
        assert_eq!(aliases.of(&topic("b")), None);
        aliases.forget(&topic("a"));
        assert_eq!(aliases.of(&topic("b")), Some((one, false)));
        assert!(!Outbound::new(0).are_used());
        assert_eq!(Outbound::new(0).of(&topic("a")), None);
    }
}
