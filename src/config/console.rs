//! `[console]`: what an operator sees in a browser.

use serde::{Deserialize, Serialize};

use super::{Backend, Config};

/// `[console]`: the operator's console at `/console`, and the routes behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Console {
    /// Whether they are there. The page shows nothing to whoever has not the operator's keys.
    pub enabled: bool,
    /// Whether test messages can be sent from it; everything else only looks.
    pub publish: bool,
    /// Messages that are followed at most; of more, the oldest is forgotten.
    pub traces: usize,
}

impl Default for Console {
    fn default() -> Self {
        Self {
            enabled: true,
            publish: false,
            traces: 1000,
        }
    }
}

impl Config {
    /// Whether there is a console. What it shows is in this process, which on the other backend it is not.
    pub fn console(&self) -> bool {
        self.console.enabled && self.backend == Backend::Embedded
    }
}
