//! Whether the process lives, and whether it is ready for work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Why the process is not ready.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unready {
    /// It is ending.
    #[error("draining")]
    Draining,
    /// New messages are refused; the text says why.
    #[error("{0}")]
    Store(String),
}

/// Tells whether new messages can be stored now.
pub type CheckStore = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The process's health. Live means that an event loop answers, so there is nothing to ask for that.
#[derive(Clone)]
pub struct Health {
    draining: Arc<AtomicBool>,
    store: Arc<CheckStore>,
}

impl Health {
    /// Healthy as long as the store is.
    pub fn new(store: CheckStore) -> Self {
        Self {
            draining: Arc::default(),
            store: Arc::new(store),
        }
    }

    /// From now on the process is not ready: it is ending.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether requests that change something would be accepted.
    ///
    /// # Errors
    /// [`Unready`], with the reason.
    pub fn ready(&self) -> Result<(), Unready> {
        if self.draining.load(Ordering::Acquire) {
            return Err(Unready::Draining);
        }
        (self.store)().map_err(Unready::Store)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_follows_the_store_until_the_end() {
        let full = Arc::new(AtomicBool::new(false));
        let seen = full.clone();
        let check: CheckStore = Box::new(move || {
            if seen.load(Ordering::Relaxed) {
                Err("full".into())
            } else {
                Ok(())
            }
        });
        let health = Health::new(check);
        assert_eq!(health.ready(), Ok(()));
        full.store(true, Ordering::Relaxed);
        assert_eq!(health.ready(), Err(Unready::Store("full".into())));
        full.store(false, Ordering::Relaxed);
        health.drain();
        assert_eq!(health.ready(), Err(Unready::Draining));
    }
}
