//! A connection that may subscribe, as its shard knows it and whoever acts for it: what both need is there once.

use std::cell::{Ref, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::durable::Durable;
use super::fan::Link;
use super::shard::Key;
use crate::domain::policy::Access;
use crate::domain::publication::{ClientId, Subscription};
use crate::domain::topic::TopicFilter;

/// See the module.
pub(super) struct Subscriber {
    pub(super) key: Key,
    pub(super) client: ClientId,
    pub(super) link: Rc<dyn Link>,
    /// The session, if it has a queue on disk: what it gets with QoS 1 and 2 comes from there.
    pub(super) durable: Option<Arc<Durable>>,
    access: RefCell<Access>,
    /// In order of filter. There are few, and mostly one.
    subscriptions: RefCell<Vec<Subscription>>,
}

// As for `Attached`.
const _: () = assert!(size_of::<Subscriber>() + 2 * size_of::<usize>() <= 128);

impl Subscriber {
    pub(super) fn new(
        key: Key,
        client: ClientId,
        link: Rc<dyn Link>,
        access: Access,
        durable: Option<Arc<Durable>>,
    ) -> Self {
        Self {
            key,
            client,
            link,
            durable,
            access: RefCell::new(access),
            subscriptions: RefCell::default(),
        }
    }

    /// What the client may do now.
    pub(super) fn access(&self) -> Ref<'_, Access> {
        self.access.borrow()
    }

    /// That has changed.
    pub(super) fn set_access(&self, access: Access) {
        self.access.replace(access);
    }

    /// What it subscribes to.
    pub(super) fn subscriptions(&self) -> Vec<Subscription> {
        self.subscriptions.borrow().clone()
    }

    /// The same, to look at.
    pub(super) fn listed(&self) -> Ref<'_, Vec<Subscription>> {
        self.subscriptions.borrow()
    }

    /// All that it subscribed to: it subscribes to nothing from now on.
    pub(super) fn take(&self) -> Vec<Subscription> {
        self.subscriptions.take()
    }

    /// Whether it may have this subscription beside those it has, of which there may be `most`.
    pub(super) fn has_room(&self, filter: &TopicFilter, most: usize) -> bool {
        let subscriptions = self.subscriptions.borrow();
        subscriptions.len() < most || place(&subscriptions, filter).is_ok()
    }

    /// Adds a subscription, or replaces the one of the same filter. `true` if it is new.
    pub(super) fn add(&self, subscription: &Subscription) -> bool {
        let mut subscriptions = self.subscriptions.borrow_mut();
        match place(&subscriptions, &subscription.filter) {
            Ok(place) => {
                subscriptions[place] = subscription.clone();
                false
            }
            Err(place) => {
                // Room for one at first: a vector that grows by itself begins with four.
                if subscriptions.len() == subscriptions.capacity() {
                    let more = 1 + subscriptions.len() / 2;
                    subscriptions.reserve_exact(more);
                }
                subscriptions.insert(place, subscription.clone());
                true
            }
        }
    }

    /// Removes a subscription; `false` if there was none.
    pub(super) fn remove(&self, filter: &TopicFilter) -> bool {
        let mut subscriptions = self.subscriptions.borrow_mut();
        let found = place(&subscriptions, filter);
        found.map(|place| subscriptions.remove(place)).is_ok()
    }
}

/// Where a filter's subscription is, or belongs.
fn place(subscriptions: &[Subscription], filter: &TopicFilter) -> Result<usize, usize> {
    subscriptions.binary_search_by(|subscription| subscription.filter.cmp(filter))
}
