//! Topic filters as a tree of levels: which entries match a topic is found without looking at those that do not.

use std::collections::HashMap;

use crate::domain::topic::{Hash, TopicFilter, TopicName};

/// Entries by topic filter. A filter's group, if it is shared, is not part of its place.
#[derive(Debug)]
pub(super) struct Trie<T> {
    root: Node<T>,
    len: usize,
    hash: Hash,
}

#[derive(Debug)]
struct Node<T> {
    /// By the next level's text; `+` is among them.
    children: HashMap<Box<str>, Node<T>>,
    /// Entries whose filter ends here.
    here: Vec<T>,
    /// Entries whose filter goes on with `#`.
    rest: Vec<T>,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self {
            children: HashMap::new(),
            here: Vec::new(),
            rest: Vec::new(),
        }
    }
}

impl<T> Trie<T> {
    pub(super) fn new(hash: Hash) -> Self {
        Self {
            root: Node::default(),
            len: 0,
            hash,
        }
    }

    /// Number of entries.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds an entry; a filter may have several.
    pub(super) fn insert(&mut self, filter: &TopicFilter, entry: T) {
        let mut node = &mut self.root;
        self.len += 1;
        for level in filter.levels() {
            if level == "#" {
                node.rest.push(entry);
                return;
            }
            if !node.children.contains_key(level) {
                node.children.insert(level.into(), Node::default());
            }
            node = node.children.get_mut(level).expect("just inserted");
        }
        node.here.push(entry);
    }

    /// Removes the filter's entries that `is_it` picks; says how many there were.
    pub(super) fn remove(
        &mut self,
        filter: &TopicFilter,
        mut is_it: impl FnMut(&T) -> bool,
    ) -> usize {
        let levels: Vec<&str> = filter.levels().collect();
        let removed = remove(&mut self.root, &levels, &mut is_it);
        self.len -= removed;
        removed
    }

    /// The first of the filter's entries that `is_it` picks.
    pub(super) fn find(&self, filter: &TopicFilter, is_it: impl Fn(&T) -> bool) -> Option<&T> {
        let mut node = &self.root;
        for level in filter.levels() {
            if level == "#" {
                return node.rest.iter().find(|entry| is_it(entry));
            }
            node = node.children.get(level)?;
        }
        node.here.iter().find(|entry| is_it(entry))
    }

    /// Calls `each` with every entry whose filter matches the topic.
    pub(super) fn matching<'a>(&'a self, topic: &TopicName, each: &mut impl FnMut(&'a T)) {
        if self.len == 0 {
            return;
        }
        let levels: Vec<&str> = topic.levels().collect();
        if topic.is_reserved() {
            // A wildcard in the first level matches no reserved topic.
            if let Some(child) = self.root.children.get(levels[0]) {
                matching(child, &levels[1..], self.hash, each);
            }
            return;
        }
        matching(&self.root, &levels, self.hash, each);
    }
}

fn remove<T>(node: &mut Node<T>, levels: &[&str], is_it: &mut impl FnMut(&T) -> bool) -> usize {
    let entries = match levels {
        [] => &mut node.here,
        ["#"] => &mut node.rest,
        [level, deeper @ ..] => {
            let Some(child) = node.children.get_mut(*level) else {
                return 0;
            };
            let removed = remove(child, deeper, is_it);
            if child.is_empty() {
                node.children.remove(*level);
            }
            return removed;
        }
    };
    let before = entries.len();
    entries.retain(|entry| !is_it(entry));
    before - entries.len()
}

impl<T> Node<T> {
    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.here.is_empty() && self.rest.is_empty()
    }
}

fn matching<'a, T>(node: &'a Node<T>, levels: &[&str], hash: Hash, each: &mut impl FnMut(&'a T)) {
    if !levels.is_empty() || hash == Hash::WithParent {
        node.rest.iter().for_each(&mut *each);
    }
    let Some((level, deeper)) = levels.split_first() else {
        node.here.iter().for_each(each);
        return;
    };
    if let Some(child) = node.children.get(*level) {
        matching(child, deeper, hash, each);
    }
    if let Some(child) = node.children.get("+") {
        matching(child, deeper, hash, each);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::parse(text.into()).unwrap()
    }

    fn topic(text: &str) -> TopicName {
        TopicName::parse(text.into()).unwrap()
    }

    fn found(trie: &Trie<usize>, name: &str) -> Vec<usize> {
        let mut found = Vec::new();
        trie.matching(&topic(name), &mut |entry| found.push(*entry));
        found.sort_unstable();
        found
    }

    #[test]
    fn removing_leaves_nothing_behind() {
        let mut trie = Trie::new(Hash::WithParent);
        for (entry, text) in ["a/b/c", "a/+/c", "a/#", "a", "#"].into_iter().enumerate() {
            trie.insert(&filter(text), entry);
        }
        trie.insert(&filter("a"), 9);
        assert_eq!(found(&trie, "a/b/c"), [0, 1, 2, 4]);
        assert_eq!(found(&trie, "a"), [2, 3, 4, 9]);
        assert_eq!(trie.remove(&filter("a"), |entry| *entry == 9), 1);
        assert_eq!(trie.remove(&filter("a"), |entry| *entry == 9), 0);
        assert_eq!(trie.remove(&filter("x/y"), |_| true), 0);
        for text in ["a/b/c", "a/+/c", "a/#", "a", "#"] {
            assert!(trie.find(&filter(text), |_| true).is_some(), "{text}");
            assert_eq!(trie.remove(&filter(text), |_| true), 1, "{text}");
        }
        assert_eq!(trie.len(), 0);
        assert!(trie.root.is_empty());
    }

    fn level() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec!["a", "b", "", "$x", "+"])
    }

    proptest! {
        /// The tree finds what comparing filter by filter finds.
        #[test]
        fn finds_what_matches(
            filters in prop::collection::vec((prop::collection::vec(level(), 1..4), any::<bool>()), 0..12),
            hash in prop::sample::select(vec![Hash::WithParent, Hash::WithoutParent]),
            name in prop::collection::vec(prop::sample::select(vec!["a", "b", "", "$x"]), 1..4),
        ) {
            let name = name.join("/");
            prop_assume!(!name.is_empty());
            let filters: Vec<String> = filters
                .into_iter()
                .map(|(levels, rest)| levels.join("/") + if rest { "/#" } else { "" })
                .filter(|text| !text.is_empty())
                .collect();
            let mut trie = Trie::new(hash);
            let mut expect = Vec::new();
            for (entry, text) in filters.iter().enumerate() {
                trie.insert(&filter(text), entry);
                if filter(text).matches_with(&topic(&name), hash) {
                    expect.push(entry);
                }
            }
            prop_assert_eq!(found(&trie, &name), expect);
        }
    }
}
