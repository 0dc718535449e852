//! Who reads what: which nodes live, which shards can be read, and this node's share of them.
//!
//! All nodes see the same rows and come to the same shares, so that none has to tell another. A node lives as long as its
//! counter changes, by the watch of whoever looks: no two clocks are compared. A lease is taken when nobody has it, or when
//! the node that has it lives no more; one too many is given back by the node that has it, after what it was at.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::rows::{Checkpoint, Lease};

/// How often a node says that it lives.
pub const BEAT: Duration = Duration::from_secs(2);

/// A node that has said nothing for so long lives no more, and its leases may be taken.
pub const SILENCE: Duration = Duration::from_secs(6);

/// How long a node counts on its leases after it last said that it lives: less than others wait before they take them.
pub const TENURE: Duration = Duration::from_secs(5);

/// When the row of a node that lives no more is removed.
const BURIAL: Duration = Duration::from_secs(60);

/// What to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Leases to take, as they were seen.
    pub take: Vec<Lease>,
    /// Shards that this node reads without having their leases any more.
    pub stop: Vec<String>,
    /// Leases to give back.
    pub give: Vec<Lease>,
    /// Nodes that have long been silent, and their counters.
    pub bury: Vec<(String, u64)>,
}

/// What this node has seen of the others.
#[derive(Debug)]
pub struct Watch {
    me: String,
    /// Each node's counter, and since when it is that.
    seen: HashMap<String, (u64, Instant)>,
}

impl Watch {
    /// Of a node that has seen nobody yet.
    pub fn new(me: String) -> Self {
        Self {
            me,
            seen: HashMap::new(),
        }
    }

    /// Takes in nodes and their counters.
    pub fn observe(&mut self, nodes: &BTreeMap<String, u64>, now: Instant) {
        self.seen.retain(|node, _| nodes.contains_key(node));
        for (node, counter) in nodes {
            match self.seen.get(node) {
                Some((known, _)) if known == counter => {}
                _ => {
                    self.seen.insert(node.clone(), (*counter, now));
                }
            }
        }
    }

    /// What to do, with `running` being the shards that this node reads and the `switches` of its leases.
    pub fn plan(&self, leases: &[Lease], running: &HashMap<String, u64>, now: Instant) -> Plan {
        let live = self.live(now);
        let ready = ready(leases);
        let mut mine: Vec<&Lease> = ready.clone();
        mine.retain(|lease| lease.owner.as_ref() == Some(&self.me));
        let share = share(&self.me, &live, ready.len());

        let mut plan = Plan {
            bury: self.silent(BURIAL, now),
            ..Plan::default()
        };
        // What it reads by a lease that it has no more, or that another has had since.
        let held: HashSet<(&str, u64)> = mine.iter().map(|lease| place(lease)).collect();
        let lost =
            |(shard, switches): &(&String, &u64)| !held.contains(&(shard.as_str(), **switches));
        plan.stop
            .extend(running.iter().filter(lost).map(|(shard, _)| shard.clone()));
        let surplus = mine.split_off(share.min(mine.len()));
        plan.give.extend(surplus.into_iter().cloned());

        // What it has without knowing: the answer to its taking was lost, or its reader ended.
        let unread = |lease: &&&Lease| !running.contains_key(&lease.shard);
        plan.take
            .extend(mine.iter().filter(unread).copied().cloned());
        let is_free = |lease: &&Lease| {
            let owner = lease.owner.as_deref();
            owner.is_none_or(|owner| !live.contains(owner))
        };
        let mut free: Vec<&Lease> = ready.into_iter().filter(is_free).collect();
        if !free.is_empty() {
            // Nodes that look at the same time begin at different ones.
            let rank = rank(&self.me, &live) % free.len();
            free.rotate_left(rank);
        }
        let room = share - mine.len();
        plan.take.extend(free.into_iter().take(room).cloned());
        plan
    }

    /// The nodes that live. This one does.
    fn live(&self, now: Instant) -> BTreeSet<&str> {
        let lives = |(_, since): &(u64, Instant)| now.duration_since(*since) < SILENCE;
        let seen = self.seen.iter().filter(|(_, seen)| lives(seen));
        let others = seen.map(|(node, _)| node.as_str());
        others.chain([self.me.as_str()]).collect()
    }

    fn silent(&self, span: Duration, now: Instant) -> Vec<(String, u64)> {
        let silent = |(node, (_, since)): &(&String, &(u64, Instant))| {
            **node != self.me && now.duration_since(*since) >= span
        };
        let silent = self.seen.iter().filter(silent);
        silent
            .map(|(node, (counter, _))| (node.clone(), *counter))
            .collect()
    }
}

fn place(lease: &Lease) -> (&str, u64) {
    (&lease.shard, lease.switches)
}

/// Leases of shards that can be read: not read to their end, and made of none that is not.
fn ready(leases: &[Lease]) -> Vec<&Lease> {
    let unfinished = |lease: &&Lease| lease.checkpoint != Checkpoint::ShardEnd;
    let open: HashSet<&str> = leases
        .iter()
        .filter(unfinished)
        .map(|lease| lease.shard.as_str())
        .collect();
    let waits = |lease: &&Lease| lease.parents.iter().any(|id| open.contains(id.as_str()));
    let ready = leases.iter().filter(unfinished);
    let mut ready: Vec<&Lease> = ready.filter(|lease| !waits(lease)).collect();
    ready.sort_by(|a, b| a.shard.cmp(&b.shard));
    ready
}

/// How many leases a node should have: as many as every other, and the first nodes one more each if they do not come out
/// even.
fn share(me: &str, live: &BTreeSet<&str>, leases: usize) -> usize {
    leases / live.len() + usize::from(rank(me, live) < leases % live.len())
}

fn rank(me: &str, live: &BTreeSet<&str>) -> usize {
    live.range(..me).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(shard: &str, owner: &str) -> Lease {
        Lease {
            shard: shard.into(),
            owner: Some(owner.to_owned()).filter(|owner| !owner.is_empty()),
            switches: 1,
            checkpoint: Checkpoint::TrimHorizon,
            parents: Vec::new(),
        }
    }

    fn leases(pairs: &[(&str, &str)]) -> Vec<Lease> {
        pairs
            .iter()
            .map(|(shard, owner)| lease(shard, owner))
            .collect()
    }

    fn shards(leases: Vec<Lease>) -> Vec<String> {
        let mut shards: Vec<String> = leases.into_iter().map(|lease| lease.shard).collect();
        shards.sort();
        shards
    }

    /// What the node takes and gives back that sees these nodes for the first time and reads what it has.
    fn plan(me: &str, others: &[&str], leases: &[Lease]) -> (Vec<String>, Vec<String>) {
        let now = Instant::now();
        let mut watch = Watch::new(me.into());
        let nodes = others.iter().map(|node| ((*node).to_owned(), 1)).collect();
        watch.observe(&nodes, now);
        let mine = leases
            .iter()
            .filter(|lease| lease.owner.as_deref() == Some(me));
        let running = mine
            .map(|lease| (lease.shard.clone(), lease.switches))
            .collect();
        let plan = watch.plan(leases, &running, now);
        assert!(plan.stop.is_empty());
        (shards(plan.take), shards(plan.give))
    }

    fn check(me: &str, others: &[&str], given: &[(&str, &str)], take: &[&str], give: &[&str]) {
        let (taken, given_back) = plan(me, others, &leases(given));
        assert_eq!(taken, take, "{me} of {others:?} takes of {given:?}");
        assert_eq!(given_back, give, "{me} of {others:?} gives of {given:?}");
    }

    #[test]
    fn each_node_has_its_share() {
        let free = [("0", ""), ("1", ""), ("2", ""), ("3", ""), ("4", "")];
        check("a", &[], &free, &["0", "1", "2", "3", "4"], &[]);
        check("a", &["b"], &free, &["0", "1", "2"], &[]);
        check("b", &["a"], &free, &["1", "2"], &[]);
        check("c", &["a", "b"], &free, &["2"], &[]);
        check("f", &["a", "b", "c", "d", "e"], &free, &[], &[]);
        check("a", &["b"], &[("0", "a"), ("1", "b")], &[], &[]);
    }

    #[test]
    fn who_has_too_many_gives_back_and_nobody_is_robbed() {
        let all = [("0", "a"), ("1", "a"), ("2", "a"), ("3", "a")];
        check("a", &["b"], &all, &[], &["2", "3"]);
        check("b", &["a"], &all, &[], &[]);
        let given = [("0", "a"), ("1", "a"), ("2", ""), ("3", "")];
        check("a", &["b"], &given, &[], &[]);
        check("b", &["a"], &given, &["2", "3"], &[]);
    }

    #[test]
    fn children_wait_for_all_their_parents() {
        let mut given = leases(&[("0", ""), ("1", ""), ("2", ""), ("3", "")]);
        given[2].parents = vec!["0".into(), "1".into()];
        given[3].parents = vec!["left the stream long ago".into()];
        let taken = |given: &[Lease]| plan("a", &[], given).0;
        assert_eq!(taken(&given), ["0", "1", "3"]);
        given[0].checkpoint = Checkpoint::ShardEnd;
        assert_eq!(taken(&given), ["1", "3"]);
        given[1].checkpoint = Checkpoint::ShardEnd;
        assert_eq!(taken(&given), ["2", "3"]);
    }

    #[test]
    fn a_silent_node_loses_its_leases_and_in_the_end_its_row() {
        let begin = Instant::now();
        let mut watch = Watch::new("a".into());
        let given = leases(&[("0", "b"), ("1", "b")]);
        let mut at = |seconds, counter, taken: usize, buried: usize| {
            let now = begin + Duration::from_secs(seconds);
            watch.observe(&BTreeMap::from([("b".to_owned(), counter)]), now);
            let plan = watch.plan(&given, &HashMap::new(), now);
            assert_eq!(plan.take.len(), taken, "after {seconds} s");
            assert_eq!(plan.bury.len(), buried, "after {seconds} s");
        };
        at(0, 7, 0, 0);
        at(5, 7, 0, 0);
        at(6, 8, 0, 0);
        at(11, 8, 0, 0);
        at(12, 8, 2, 0);
        at(66, 8, 2, 1);
    }

    #[test]
    fn what_is_held_without_being_read_is_taken_anew_and_what_is_read_without_being_held_ends() {
        let now = Instant::now();
        let watch = Watch::new("a".into());
        let given = leases(&[("0", "a"), ("1", "a"), ("2", "a")]);
        // Of the lease of 1 another had the one between.
        let running = HashMap::from([("0".into(), 1), ("1".into(), 0), ("9".into(), 1)]);
        let mut plan = watch.plan(&given, &running, now);
        plan.stop.sort();
        assert_eq!(plan.stop, ["1", "9"]);
        assert_eq!(shards(plan.take), ["2"]);
    }
}
