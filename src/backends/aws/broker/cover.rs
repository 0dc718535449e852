//! What a node subscribes to at the broker, so that each publication comes once.
//!
//! Brokers may send a copy for each filter of a connection that matches, and only some can say for which one it is: AWS IoT
//! Core and NATS can not. So no two filters that this node has at the broker match the same topic. A filter whose topics
//! another one has already is not subscribed to; two that share some topics are replaced by one that has the topics of both.

use std::collections::{BTreeSet, HashMap};

use crate::domain::topic::{Hash, TopicFilter};

/// Filters that somebody wants, and those at the broker that bring what they match.
#[derive(Debug)]
pub(super) struct Cover {
    hash: Hash,
    /// By filter: how many want it, and which one at the broker brings it.
    wanted: HashMap<TopicFilter, Wanted>,
    /// At the broker, without wildcards: for which of those that are wanted.
    plain: HashMap<TopicFilter, Members>,
    /// The same with wildcards.
    wild: HashMap<TopicFilter, Members>,
}

type Members = BTreeSet<TopicFilter>;

#[derive(Debug)]
struct Wanted {
    count: usize,
    by: TopicFilter,
}

/// What is to be done at the broker.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// First.
    pub(super) subscribe: Vec<TopicFilter>,
    /// When these stand, so that nothing is missed in between.
    pub(super) unsubscribe: Vec<TopicFilter>,
}

impl Cover {
    pub(super) fn new(hash: Hash) -> Self {
        Self {
            hash,
            wanted: HashMap::new(),
            plain: HashMap::new(),
            wild: HashMap::new(),
        }
    }

    /// Filters at the broker.
    pub(super) fn len(&self) -> usize {
        self.plain.len() + self.wild.len()
    }

    /// The filter at the broker that brings what a wanted one matches.
    pub(super) fn brings(&self, filter: &TopicFilter) -> Option<&TopicFilter> {
        self.wanted.get(filter).map(|wanted| &wanted.by)
    }

    /// Filters at the broker that match some of the same topics.
    pub(super) fn overlapping(&self, filter: &TopicFilter) -> Vec<TopicFilter> {
        let overlap = |other: &&TopicFilter| overlap(filter, other, self.hash);
        let wild = self.wild.keys().filter(overlap).cloned();
        if filter.is_wild() {
            return wild
                .chain(self.plain.keys().filter(overlap).cloned())
                .collect();
        }
        // Of those without wildcards it is itself or none.
        let same = self.plain.get_key_value(filter);
        wild.chain(same.map(|(same, _)| same.clone())).collect()
    }

    /// One more wants this.
    pub(super) fn add(&mut self, filter: &TopicFilter) -> Change {
        if let Some(wanted) = self.wanted.get_mut(filter) {
            wanted.count += 1;
            return Change::default();
        }
        let (by, replaced) = self.joined(filter);
        let mut members: Members = [filter.clone()].into();
        let is_there = replaced.contains(&by);
        for old in &replaced {
            members.extend(self.take(old));
        }
        self.wanted.insert(
            filter.clone(),
            Wanted {
                count: 1,
                by: by.clone(),
            },
        );
        self.put(by.clone(), members);
        Change {
            unsubscribe: replaced.into_iter().filter(|old| *old != by).collect(),
            subscribe: if is_there { Vec::new() } else { vec![by] },
        }
    }

    /// One less wants this.
    pub(super) fn remove(&mut self, filter: &TopicFilter) -> Change {
        let Some(wanted) = self.wanted.get_mut(filter) else {
            return Change::default();
        };
        wanted.count -= 1;
        if wanted.count > 0 {
            return Change::default();
        }
        let Some(Wanted { by, .. }) = self.wanted.remove(filter) else {
            return Change::default();
        };
        let mut members = self.take(&by);
        members.remove(filter);
        if members.contains(&by) {
            self.put(by, members);
            return Change::default();
        }
        // Those that are left need less, perhaps. As they were apart from all others before, they are now.
        let mut left = Self::new(self.hash);
        for member in &members {
            left.add(member);
        }
        let mut change = Change::default();
        let is_same = left.wild.contains_key(&by);
        for (by, members) in left.plain.into_iter().chain(left.wild) {
            if !is_same {
                change.subscribe.push(by.clone());
            }
            self.put(by, members);
        }
        if !is_same {
            change.unsubscribe.push(by);
        }
        change
    }

    /// A filter that has the topics of this one and of all that overlap with it, and those.
    fn joined(&self, filter: &TopicFilter) -> (TopicFilter, BTreeSet<TopicFilter>) {
        let mut by = filter.clone();
        loop {
            let found: BTreeSet<TopicFilter> = self.overlapping(&by).into_iter().collect();
            let whole = found
                .iter()
                .fold(by.clone(), |whole, other| join(&whole, other));
            if whole == by {
                return (by, found);
            }
            by = whole;
        }
    }

    fn take(&mut self, by: &TopicFilter) -> Members {
        let found = self.plain.remove(by).or_else(|| self.wild.remove(by));
        found.unwrap_or_default()
    }

    fn put(&mut self, by: TopicFilter, members: Members) {
        for member in &members {
            if let Some(wanted) = self.wanted.get_mut(member) {
                wanted.by = by.clone();
            }
        }
        let table = if by.is_wild() {
            &mut self.wild
        } else {
            &mut self.plain
        };
        table.insert(by, members);
    }
}

/// Whether a wildcard in the first level leaves this level out: those that begin with `$` (MQTT 5.0 section 4.7.2).
fn is_left_out(at: usize, level: &str) -> bool {
    at == 0 && level.starts_with('$')
}

/// Whether there is a topic that both match.
pub(super) fn overlap(one: &TopicFilter, other: &TopicFilter, hash: Hash) -> bool {
    let (mut one, mut other) = (one.levels(), other.levels());
    for at in 0.. {
        match (one.next(), other.next()) {
            (Some("#"), Some(level)) | (Some(level), Some("#")) => return !is_left_out(at, level),
            (Some("#"), None) | (None, Some("#")) => return hash == Hash::WithParent,
            (None, None) => return true,
            (None, Some(_)) | (Some(_), None) => return false,
            (Some("+"), Some(level)) | (Some(level), Some("+")) if !is_left_out(at, level) => {}
            (Some(level), Some(same)) if level == same => {}
            _ => return false,
        }
    }
    false
}

/// The least filter that matches what either of two that overlap does.
fn join(one: &TopicFilter, other: &TopicFilter) -> TopicFilter {
    let (mut left, mut right) = (one.levels(), other.levels());
    let mut joined: Vec<&str> = Vec::new();
    loop {
        match (left.next(), right.next()) {
            (None, None) => break,
            (Some(level), Some(same)) if level == same => joined.push(level),
            (Some("#"), _) | (_, Some("#")) | (None, _) | (_, None) => {
                joined.push("#");
                break;
            }
            _ => joined.push("+"),
        }
    }
    TopicFilter::parse(&joined.join("/")).expect("levels of filters and wildcards in place")
}

#[cfg(test)]
mod tests {
    use bytestring::ByteString;
    use proptest::prelude::*;

    use super::*;
    use crate::domain::topic::TopicName;

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::parse(text).unwrap()
    }

    fn texts(filters: &[TopicFilter]) -> Vec<&str> {
        filters.iter().map(TopicFilter::as_str).collect()
    }

    #[track_caller]
    fn check(change: &Change, subscribe: &[&str], unsubscribe: &[&str]) {
        assert_eq!(texts(&change.subscribe), subscribe, "subscribe");
        assert_eq!(texts(&change.unsubscribe), unsubscribe, "unsubscribe");
    }

    #[test]
    fn the_same_filter_is_there_once_until_the_last_one_leaves() {
        let mut cover = Cover::new(Hash::WithParent);
        check(&cover.add(&filter("a/b")), &["a/b"], &[]);
        check(&cover.add(&filter("a/b")), &[], &[]);
        check(&cover.add(&filter("a/c")), &["a/c"], &[]);
        check(&cover.remove(&filter("a/b")), &[], &[]);
        check(&cover.remove(&filter("a/b")), &[], &["a/b"]);
        check(&cover.remove(&filter("a/b")), &[], &[]);
        assert_eq!(cover.len(), 1);
    }

    #[test]
    fn a_wider_filter_brings_what_narrower_ones_want_and_gives_it_back() {
        let mut cover = Cover::new(Hash::WithParent);
        cover.add(&filter("a/b"));
        cover.add(&filter("a"));
        check(&cover.add(&filter("a/#")), &["a/#"], &["a", "a/b"]);
        check(&cover.add(&filter("a/c")), &[], &[]);
        assert_eq!(cover.brings(&filter("a/c")), Some(&filter("a/#")));
        check(&cover.remove(&filter("a")), &[], &[]);
        let change = cover.remove(&filter("a/#"));
        let mut subscribe = texts(&change.subscribe);
        subscribe.sort_unstable();
        assert_eq!(subscribe, ["a/b", "a/c"]);
        assert_eq!(texts(&change.unsubscribe), ["a/#"]);
    }

    #[test]
    fn two_that_share_topics_become_one_that_has_them_all() {
        let mut cover = Cover::new(Hash::WithParent);
        cover.add(&filter("a/+"));
        check(&cover.add(&filter("+/b")), &["+/+"], &["a/+"]);
        check(&cover.remove(&filter("+/b")), &["a/+"], &["+/+"]);
        // What begins with $ is apart from wildcards in the first level.
        check(&cover.add(&filter("$aws/+")), &["$aws/+"], &[]);
        check(&cover.add(&filter("#")), &["#"], &["a/+"]);
    }

    #[test]
    fn where_a_hash_leaves_out_its_parent_that_is_subscribed_to_itself() {
        let mut cover = Cover::new(Hash::WithoutParent);
        cover.add(&filter("a/#"));
        check(&cover.add(&filter("a")), &["a"], &[]);
    }

    fn any_filter() -> impl Strategy<Value = TopicFilter> {
        let level = prop::sample::select(vec!["a", "b", "$a", "+"]);
        let levels = prop::collection::vec(level, 0..4);
        (levels, any::<bool>()).prop_map(|(mut levels, hash)| {
            if hash || levels.is_empty() {
                levels.push("#");
            }
            filter(&levels.join("/"))
        })
    }

    /// All topics of up to four levels that such filters can tell apart.
    fn topics() -> Vec<TopicName> {
        let levels = ["a", "b", "$a", "x"];
        let mut found: Vec<String> = levels.map(String::from).to_vec();
        let mut longest = found.clone();
        for _ in 1..4 {
            let longer = |topic: &String| levels.map(|level| format!("{topic}/{level}"));
            longest = longest.iter().flat_map(longer).collect();
            found.extend_from_slice(&longest);
        }
        let parse = |text| TopicName::parse(ByteString::from(text)).unwrap();
        found.into_iter().map(parse).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn each_topic_that_is_wanted_comes_once(
            steps in prop::collection::vec((any_filter(), any::<bool>()), 1..12),
            with_parent in any::<bool>(),
        ) {
            let hash = if with_parent { Hash::WithParent } else { Hash::WithoutParent };
            let mut cover = Cover::new(hash);
            let mut wanted: Vec<TopicFilter> = Vec::new();
            let mut at_broker: BTreeSet<TopicFilter> = BTreeSet::new();
            for (filter, leave) in steps {
                let place = wanted.iter().position(|one| *one == filter);
                let change = match place.filter(|_| leave) {
                    Some(place) => {
                        wanted.swap_remove(place);
                        cover.remove(&filter)
                    }
                    None => {
                        wanted.push(filter.clone());
                        cover.add(&filter)
                    }
                };
                for one in change.subscribe {
                    prop_assert!(at_broker.insert(one), "it was there already");
                }
                for one in change.unsubscribe {
                    prop_assert!(at_broker.remove(&one), "it was not there");
                }
                prop_assert_eq!(at_broker.len(), cover.len());
                for topic in topics() {
                    let count = |filters: &mut dyn Iterator<Item = &TopicFilter>| {
                        filters.filter(|one| one.matches_with(&topic, hash)).count()
                    };
                    let copies = count(&mut at_broker.iter());
                    prop_assert!(copies <= 1, "{topic} comes {copies} times by {at_broker:?}");
                    let is_wanted = count(&mut wanted.iter()) > 0;
                    prop_assert!(copies == 1 || !is_wanted, "{topic} does not come by {at_broker:?}");
                }
                for one in &wanted {
                    let by = cover.brings(one);
                    prop_assert!(by.is_some_and(|by| at_broker.contains(by)), "{one} by {by:?}");
                }
            }
        }
    }
}
