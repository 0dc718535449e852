//! Whether what a principal published once it still might publish: asked before something that was kept is delivered
//! (RELIABILITY M15, M16).

use crate::domain::policy::{Action, Context};
use crate::domain::publication::Publisher;

use super::Authenticator;
use super::rulebook::Rules;

impl Authenticator {
    /// Whether the publisher's rights to a topic were not taken away since. Keys that have come to their natural end,
    /// and a session that is over, take nothing away.
    pub fn still_publishes(&self, publisher: &Publisher, topic: &str) -> bool {
        let book = self.book();
        let (kind, name) = publisher
            .principal
            .split_once(':')
            .unwrap_or((&publisher.principal, ""));
        let rules = match kind {
            "guest" => book.guests.clone(),
            "role" => {
                let role = name.split_once('/').map_or(name, |(role, _)| role);
                book.roles.get(role).map(|role| role.rules.clone())
            }
            "account" => book.accounts.get(name).map(|account| account.rules.clone()),
            "anonymous" => book.anonymous.clone(),
            // The operator, and sessions, whose topics are granted for good.
            _ => return true,
        };
        let context = Context {
            realm: self.realm().clone(),
            client_id: publisher.client.as_ref().map(|client| client.0.clone()),
            user: (kind == "account").then(|| name.into()),
            identity: (kind == "guest").then(|| name.into()),
            ..Context::default()
        };
        let allows = |rules: &Rules| rules.access(&context).allows(Action::Publish, topic);
        rules.is_some_and(|rules| allows(&rules))
    }
}
