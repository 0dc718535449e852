//! Topic aliases (MQTT 5.0 section 3.3.2.3.4): small numbers that stand for topics, for the life of a connection.

use std::collections::HashMap;
use std::num::NonZeroU16;

use crate::domain::topic::TopicName;

/// The aliases of a connection.
#[derive(Debug)]
pub(super) struct Aliases {
    /// Most connections never have any.
    set: Option<Box<Set>>,
    most_inbound: u16,
    most_outbound: u16,
}

#[derive(Debug, Default)]
struct Set {
    /// By the client.
    inbound: HashMap<NonZeroU16, TopicName>,
    /// By the server: the first topics that it sends get one, as far as they go.
    outbound: HashMap<TopicName, NonZeroU16>,
}

/// Why an alias does not help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadAlias {
    /// It is above the maximum.
    TooHigh,
    /// It was not set.
    Unknown,
}

impl Aliases {
    /// None yet. The client may set so many, and takes so many.
    pub(super) fn new(most_inbound: u16, most_outbound: u16) -> Self {
        Self {
            set: None,
            most_inbound,
            most_outbound,
        }
    }

    /// The topic of a publication. A name and an alias together set the alias.
    pub(super) fn resolve(
        &mut self,
        name: Option<TopicName>,
        alias: Option<NonZeroU16>,
    ) -> Result<TopicName, BadAlias> {
        let Some(alias) = alias else {
            return name.ok_or(BadAlias::Unknown);
        };
        if alias.get() > self.most_inbound {
            return Err(BadAlias::TooHigh);
        }
        let topics = &mut self.set.get_or_insert_default().inbound;
        match name {
            Some(name) => {
                let name = name.detached();
                topics.insert(alias, name.clone());
                Ok(name)
            }
            None => topics.get(&alias).cloned().ok_or(BadAlias::Unknown),
        }
    }

    /// Whether the server sets any.
    pub(super) fn are_sent(&self) -> bool {
        self.most_outbound > 0
    }

    /// The client was not sent what would have told it this topic's alias.
    pub(super) fn forget(&mut self, topic: &TopicName) {
        if let Some(set) = &mut self.set {
            set.outbound.remove(topic);
        }
    }

    /// The alias that the server sets for a topic, and whether the client knows it already.
    pub(super) fn of(&mut self, topic: &TopicName) -> Option<(NonZeroU16, bool)> {
        if self.most_outbound == 0 {
            return None;
        }
        let aliases = &mut self.set.get_or_insert_default().outbound;
        if let Some(alias) = aliases.get(topic) {
            return Some((*alias, true));
        }
        let next = u16::try_from(aliases.len() + 1).ok()?;
        let alias = NonZeroU16::new(next).filter(|_| next <= self.most_outbound)?;
        aliases.insert(topic.detached(), alias);
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
        let mut aliases = Aliases::new(2, 0);
        let (one, two) = (NonZeroU16::new(1), NonZeroU16::new(2));
        assert_eq!(aliases.resolve(None, one), Err(BadAlias::Unknown));
        assert_eq!(aliases.resolve(Some(topic("a")), one), Ok(topic("a")));
        assert_eq!(aliases.resolve(None, one), Ok(topic("a")));
        assert_eq!(aliases.resolve(Some(topic("b")), one), Ok(topic("b")));
        assert_eq!(aliases.resolve(None, one), Ok(topic("b")));
        assert_eq!(aliases.resolve(Some(topic("c")), None), Ok(topic("c")));
        let three = NonZeroU16::new(3);
        assert_eq!(
            aliases.resolve(Some(topic("c")), three),
            Err(BadAlias::TooHigh)
        );
        assert_eq!(aliases.resolve(Some(topic("c")), two), Ok(topic("c")));
    }

    #[test]
    fn the_server_gives_as_many_as_the_client_takes() {
        let mut aliases = Aliases::new(0, 1);
        assert!(aliases.are_sent());
        let one = NonZeroU16::MIN;
        assert_eq!(aliases.of(&topic("a")), Some((one, false)));
        assert_eq!(aliases.of(&topic("a")), Some((one, true)));
        assert_eq!(aliases.of(&topic("b")), None);
        aliases.forget(&topic("a"));
        assert_eq!(aliases.of(&topic("b")), Some((one, false)));
        assert!(!Aliases::new(9, 0).are_sent());
        assert_eq!(Aliases::new(9, 0).of(&topic("a")), None);
    }
}
