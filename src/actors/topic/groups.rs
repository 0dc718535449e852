//! Shared subscriptions (MQTT 5.0 section 4.8.2): each publication goes to one member of the group.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use super::durable::Durable;
use super::shard::{Key, ShardHandle};
use super::target::Options;
use super::trie::Trie;
use crate::domain::policy::{Access, Action};
use crate::domain::publication::{ClientId, Publication, QoS};
use crate::domain::topic::{Hash, TopicFilter};

/// A client's place in a group.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) client: ClientId,
    pub(super) options: Options,
    /// Where it is connected, and what it may do.
    pub(super) seat: Option<(ShardHandle, Key, Access)>,
    /// Its session, if that outlives the connection.
    pub(super) durable: Option<Arc<Durable>>,
}

/// All groups.
#[derive(Debug)]
pub(super) struct Groups {
    filters: RwLock<Trie<Arc<Group>>>,
    /// Number of groups, so that a publication takes no lock when there are none.
    count: AtomicUsize,
}

#[derive(Debug)]
struct Group {
    /// With `$share/name/`.
    filter: TopicFilter,
    members: Mutex<Members>,
}

#[derive(Debug, Default)]
struct Members {
    list: Vec<Member>,
    /// Whose turn it is.
    next: usize,
}

impl Groups {
    pub(super) fn new(hash: Hash) -> Self {
        Self {
            filters: RwLock::new(Trie::new(hash)),
            count: AtomicUsize::default(),
        }
    }

    /// Adds a member, or replaces what is known of the client. `true` if it is new.
    pub(super) fn join(&self, filter: &TopicFilter, member: Member) -> bool {
        let mut filters = self
            .filters
            .write()
            .expect("nobody panics while holding it");
        let found = filters.find(filter, |group| group.filter == *filter);
        let group = match found {
            Some(group) => group.clone(),
            None => {
                let group = Arc::new(Group {
                    filter: filter.clone(),
                    members: Mutex::default(),
                });
                filters.insert(filter, group.clone());
                self.count.store(filters.len(), Ordering::Release);
                group
            }
        };
        let mut members = group
            .members
            .lock()
            .expect("nobody panics while holding it");
        let known = members
            .list
            .iter_mut()
            .find(|known| known.client == member.client);
        match known {
            Some(known) => {
                *known = member;
                false
            }
            None => {
                members.list.push(member);
                true
            }
        }
    }

    /// Removes a member; `false` if it was none.
    pub(super) fn leave(&self, filter: &TopicFilter, client: &ClientId) -> bool {
        self.change(filter, |members| {
            let before = members.list.len();
            members.list.retain(|member| member.client != *client);
            members.list.len() < before
        })
    }

    /// The connection of a member is gone, its session is not.
    pub(super) fn unseat(&self, filter: &TopicFilter, client: &ClientId) {
        self.change(filter, |members| {
            let member = members
                .list
                .iter_mut()
                .find(|member| member.client == *client);
            if let Some(member) = member {
                member.seat = None;
            }
            true
        });
    }

    fn change(&self, filter: &TopicFilter, change: impl FnOnce(&mut Members) -> bool) -> bool {
        let mut filters = self
            .filters
            .write()
            .expect("nobody panics while holding it");
        let Some(group) = filters.find(filter, |group| group.filter == *filter) else {
            return false;
        };
        let group = group.clone();
        let mut members = group
            .members
            .lock()
            .expect("nobody panics while holding it");
        let changed = change(&mut members);
        if members.list.is_empty() {
            filters.remove(filter, |other| Arc::ptr_eq(other, &group));
            self.count.store(filters.len(), Ordering::Release);
        }
        changed
    }

    /// One member of each group whose filter matches.
    pub(super) fn pick(&self, publication: &Publication) -> Vec<Member> {
        if self.count.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let mut picked = Vec::new();
        let filters = self.filters.read().expect("nobody panics while holding it");
        filters.matching(&publication.topic, &mut |group: &Arc<Group>| {
            let mut members = group
                .members
                .lock()
                .expect("nobody panics while holding it");
            picked.extend(members.pick(publication));
        });
        picked
    }
}

impl Members {
    /// In turn, connected members first; a session that is away gets only what is worth keeping.
    fn pick(&mut self, publication: &Publication) -> Option<Member> {
        let count = self.list.len();
        let in_turn = || (0..count).map(|step| (self.next + step) % count);
        let connected = in_turn().find(|place| self.list[*place].may_receive(publication));
        let place = connected.or_else(|| {
            in_turn().find(|place| {
                let member = &self.list[*place];
                let qos = member.options.qos.min(publication.qos);
                member.seat.is_none() && member.durable.is_some() && qos != QoS::AtMostOnce
            })
        })?;
        self.next = (place + 1) % count;
        Some(self.list[place].clone())
    }
}

impl Member {
    fn may_receive(&self, publication: &Publication) -> bool {
        let seat = self.seat.as_ref();
        seat.is_some_and(|(_, _, access)| {
            access.allows(Action::Receive, publication.topic.as_str())
        })
    }
}
