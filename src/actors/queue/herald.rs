//! Tells active sessions of broadcasts, off the committing thread: that must not walk through all of them.

use std::collections::HashSet;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};

use super::directory::Directory;
use crate::domain::AccountId;

/// What is to be told.
#[derive(Debug, Default)]
struct News {
    everyone: bool,
    accounts: HashSet<AccountId>,
    ended: bool,
}

#[derive(Debug, Default)]
struct Desk {
    news: Mutex<News>,
    changed: Condvar,
}

/// The handle through which news are handed in; never waits for the telling.
#[derive(Debug)]
pub(super) struct Herald {
    desk: Arc<Desk>,
}

impl Herald {
    /// Starts the thread.
    pub(super) fn start(directory: Weak<Directory>) -> Self {
        let desk = Arc::new(Desk::default());
        let own = desk.clone();
        std::thread::Builder::new()
            .name("queue-herald".into())
            .spawn(move || own.work(&directory))
            .expect("the system gives a thread at start");
        Self { desk }
    }

    /// There is a broadcast to everyone, or to an account.
    pub(super) fn tell(&self, account: Option<AccountId>) {
        self.desk.post(|news| match account {
            None => news.everyone = true,
            Some(account) => drop(news.accounts.insert(account)),
        });
    }
}

impl Drop for Herald {
    fn drop(&mut self) {
        self.desk.post(|news| news.ended = true);
    }
}

impl Desk {
    fn post(&self, change: impl FnOnce(&mut News)) {
        // Nothing that holds the lock can panic halfway through a change.
        change(&mut self.news.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_one();
    }

    fn work(&self, directory: &Weak<Directory>) {
        loop {
            let news = {
                let guard = self.news.lock().unwrap_or_else(PoisonError::into_inner);
                let quiet =
                    |news: &mut News| !news.ended && !news.everyone && news.accounts.is_empty();
                let mut guard = self
                    .changed
                    .wait_while(guard, quiet)
                    .unwrap_or_else(PoisonError::into_inner);
                std::mem::take(&mut *guard)
            };
            let Some(directory) = directory.upgrade().filter(|_| !news.ended) else {
                return;
            };
            directory.wake_sessions(|account| news.everyone || news.accounts.contains(&account));
        }
    }
}
