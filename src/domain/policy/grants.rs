//! What a principal has been given by topic filter, beside documents: a session's topics (SEMANTICS 3).

use crate::domain::topic::{TopicFilter, TopicName};

use super::action::Action;
use super::context::is_plain;

/// Rights by MQTT topic filter. They may be narrowed by a Deny or by a session policy, as an Allow may.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grants {
    /// Topics to subscribe to and receive.
    pub read: Vec<TopicFilter>,
    /// Topics to publish to, subscribe to and receive.
    pub full: Vec<TopicFilter>,
}

impl Grants {
    /// Whether they allow this: any plain client id, a filter that asks for no more than one of theirs, a topic that
    /// one of theirs matches.
    pub(super) fn allow(&self, action: Action, resource: &str) -> bool {
        match action {
            Action::Connect => is_plain(resource),
            Action::Subscribe => {
                let Ok(asked) = TopicFilter::parse(resource.into()) else {
                    return false;
                };
                self.all().any(|granted| covers(granted, &asked))
            }
            Action::Receive | Action::GetRetainedMessage => matches(self.all(), resource),
            Action::Publish | Action::RetainPublish => matches(self.full.iter(), resource),
            // What a session is granted are topics; other clients are none of its business.
            Action::ListRetainedMessages
            | Action::GetConnection
            | Action::DeleteConnection
            | Action::ListSubscriptions
            | Action::SendDirectMessage => false,
        }
    }

    fn all(&self) -> impl Iterator<Item = &TopicFilter> {
        self.read.iter().chain(&self.full)
    }
}

fn matches<'g>(mut granted: impl Iterator<Item = &'g TopicFilter>, topic: &str) -> bool {
    let Ok(topic) = TopicName::parse(topic.into()) else {
        return false;
    };
    granted.any(|filter| filter.matches(&topic))
}

/// Whether every topic that `asked` matches is one that `granted` matches.
fn covers(granted: &TopicFilter, asked: &TopicFilter) -> bool {
    let (mut granted, mut asked) = (granted.levels(), asked.levels());
    let mut first = true;
    loop {
        let pair = (granted.next(), asked.next());
        // A wildcard in the first level stands for no name that starts with `$`.
        if first
            && matches!(pair.0, Some("#" | "+"))
            && pair.1.is_some_and(|level| level.starts_with('$'))
        {
            return false;
        }
        first = false;
        match pair {
            (Some("#"), _) | (None, None) => return true,
            (Some(_), Some("#")) => return false,
            (Some("+"), Some(_)) => {}
            (Some(own), Some(other)) if own == other => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::parse(text.into()).unwrap()
    }

    #[track_caller]
    fn check(granted: &str, asked: &str, expect: bool) {
        assert_eq!(
            covers(&filter(granted), &filter(asked)),
            expect,
            "{granted} {asked}"
        );
    }

    #[test]
    fn a_filter_covers_what_is_narrower() {
        for (granted, asked) in [
            ("a", "a"),
            ("chat/+/x", "chat/+/x"),
            ("chat/+/x", "chat/7/x"),
            ("chat/#", "chat"),
            ("chat/#", "chat/#"),
            ("chat/#", "chat/+/x/#"),
            ("#", "+/a"),
            ("+", "a"),
            ("$share/g/a", "a"),
            ("a", "$share/g/a"),
            ("$aws/#", "$aws/x"),
        ] {
            check(granted, asked, true);
        }
        for (granted, asked) in [
            ("a", "b"),
            ("chat/+/x", "chat/#"),
            ("chat/+/x", "chat/+/+"),
            ("chat/7/x", "chat/+/x"),
            ("chat/+", "chat/#"),
            ("chat/+", "chat"),
            ("chat/+", "chat/a/b"),
            ("chat/#", "#"),
            ("chat/#", "+/#"),
            ("#", "$aws/x"),
            ("+/x", "$aws/x"),
            ("a", "$share/g/#"),
        ] {
            check(granted, asked, false);
        }
    }

    fn levels() -> impl proptest::strategy::Strategy<Value = String> {
        proptest::string::string_regex("([ab+]/){0,2}([ab+#]|\\$a)").unwrap()
    }

    proptest::proptest! {
        #[test]
        fn what_is_covered_receives_no_more(granted in levels(), asked in levels(), topic in "([ab]|\\$a)(/[ab]){0,3}") {
            let (granted, asked) = (filter(&granted), filter(&asked));
            let topic = TopicName::parse(topic.into()).unwrap();
            if covers(&granted, &asked) && asked.matches(&topic) {
                proptest::prop_assert!(granted.matches(&topic));
            }
        }
    }
}
