//! `[demo]`: whether there are pages to try it out with.

use serde::{Deserialize, Serialize};

use super::{Backend, Config};

/// `[demo]`: the pages to try it out with, and their backend.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demo {
    /// Whether they are there.
    pub enabled: DemoEnabled,
}

/// Whether the demos are there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DemoEnabled {
    /// As long as nobody but this machine can reach the server.
    #[default]
    Auto,
    /// In any case.
    On,
    /// In no case.
    Off,
}

impl Config {
    /// Whether the demos are served. Their backend believes whatever name it is given, so that by default nobody but this
    /// machine may reach it.
    pub fn demo(&self) -> bool {
        // The pages are about rooms, which the other backend does not have.
        self.backend == Backend::Embedded
            && match self.demo.enabled {
                DemoEnabled::Auto => self.exposed().is_none(),
                DemoEnabled::On => true,
                DemoEnabled::Off => false,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demos_are_for_loopback_unless_asked_for() {
        let check = |enabled, listen: &str, expect| {
            let mut config = Config::default();
            config.demo.enabled = enabled;
            config.http.listen = listen.parse().expect("an address");
            assert_eq!(config.demo(), expect, "{enabled:?} on {listen}");
        };
        check(DemoEnabled::Auto, "127.0.0.1:80", true);
        check(DemoEnabled::Auto, "0.0.0.0:80", false);
        check(DemoEnabled::On, "0.0.0.0:80", true);
        check(DemoEnabled::Off, "127.0.0.1:80", false);
    }
}
