//! Which of a node's filters stand at the broker, and what is to be sent so that the others do. Pure: the
//! [link](super::inbound) sends what this says.

use std::collections::{HashMap, HashSet, VecDeque};

use tokio::sync::oneshot;

use super::cover::{Change, Cover};
use crate::config::limits;
use crate::domain::StoreError;
use crate::domain::topic::{Hash, TopicFilter};

/// What is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ask {
    /// Subscribe to these.
    Subscribe(Vec<TopicFilter>),
    /// End this.
    Unsubscribe(TopicFilter),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Standings {
    cover: Cover,
    /// Filters that there may be at the broker.
    most: usize,
    /// By filter of the cover.
    standings: HashMap<TopicFilter, Standing>,
    /// To be subscribed to, and some that need it no more.
    wanted: VecDeque<TopicFilter>,
    /// To be ended, when what replaces them stands.
    ending: VecDeque<TopicFilter>,
    /// Those of earlier connections that are yet to be answered on this one.
    again: HashSet<TopicFilter>,
    /// One at a time, so that its answer needs no name.
    under_way: Option<Ask>,
    waiters: Vec<(TopicFilter, oneshot::Sender<Result<(), StoreError>>)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    Wanted,
    Stands,
    Refused(String),
}

impl Standings {
    pub(super) fn new(hash: Hash, most: usize) -> Self {
        Self {
            cover: Cover::new(hash),
            most,
            standings: HashMap::new(),
            wanted: VecDeque::new(),
            ending: VecDeque::new(),
            again: HashSet::new(),
            under_way: None,
            waiters: Vec::new(),
        }
    }

    /// One more wants this; it is told when the subscription stands or is refused.
    ///
    /// # Errors
    /// [`StoreError::Full`] if there are as many as may be.
    pub(super) fn add(
        &mut self,
        filter: &TopicFilter,
    ) -> Result<oneshot::Receiver<Result<(), StoreError>>, StoreError> {
        let is_new = self.cover.brings(filter).is_none();
        if is_new && self.cover.len() >= self.most && self.cover.overlapping(filter).is_empty() {
            metrics::counter!("fanfare_mqtt_refused_total", "reason" => "broker subscriptions")
                .increment(1);
            return Err(StoreError::Full(
                "this node has as many subscriptions at the broker as it may".into(),
            ));
        }
        let change = self.cover.add(filter);
        self.apply(change);
        let (tell, told) = oneshot::channel();
        self.waiters.push((filter.clone(), tell));
        self.settle();
        Ok(told)
    }

    /// One less wants this.
    pub(super) fn remove(&mut self, filter: &TopicFilter) {
        let change = self.cover.remove(filter);
        self.apply(change);
        self.settle();
    }

    fn apply(&mut self, change: Change) {
        for filter in change.subscribe {
            self.ending.retain(|ending| *ending != filter);
            self.standings.insert(filter.clone(), Standing::Wanted);
            self.wanted.push_back(filter);
        }
        for filter in change.unsubscribe {
            self.standings.remove(&filter);
            self.again.remove(&filter);
            self.ending.push_back(filter);
        }
        metrics::gauge!("fanfare_broker_subscriptions").set(self.cover.len() as f64);
    }

    /// There is a new connection. All is subscribed to again, which changes nothing where the broker still has it.
    pub(super) fn begin(&mut self, present: bool) {
        self.under_way = None;
        if !present {
            self.ending.clear();
        }
        self.wanted = self.standings.keys().cloned().collect();
        self.again = self.standings.keys().cloned().collect();
        for standing in self.standings.values_mut() {
            *standing = Standing::Wanted;
        }
    }

    /// Whether everything that stood on an earlier connection was answered on this one.
    pub(super) fn is_as_before(&self) -> bool {
        self.again.is_empty()
    }

    /// What is to be sent next, unless something is under way.
    pub(super) fn next(&mut self) -> Option<Ask> {
        if self.under_way.is_some() {
            return None;
        }
        let ask = self.subscribe().or_else(|| self.unsubscribe())?;
        self.under_way = Some(ask.clone());
        Some(ask)
    }

    fn subscribe(&mut self) -> Option<Ask> {
        let mut filters: Vec<TopicFilter> = Vec::new();
        while filters.len() < limits::broker::FILTERS
            && let Some(filter) = self.wanted.pop_front()
        {
            let is_wanted = self.standings.get(&filter) == Some(&Standing::Wanted);
            if is_wanted && !filters.contains(&filter) {
                filters.push(filter);
            }
        }
        (!filters.is_empty()).then_some(Ask::Subscribe(filters))
    }

    /// The first whose topics come another way, or are not wanted any more.
    fn unsubscribe(&mut self) -> Option<Ask> {
        let stands = |filter: &TopicFilter| self.standings.get(filter) == Some(&Standing::Stands);
        let is_replaced = |ending: &TopicFilter| self.cover.overlapping(ending).iter().all(stands);
        let place = self.ending.iter().position(is_replaced)?;
        self.ending.remove(place).map(Ask::Unsubscribe)
    }

    /// The broker has answered what is under way: for each filter, whether it stands.
    pub(super) fn answered(&mut self, outcomes: Vec<Result<(), String>>) {
        let Some(Ask::Subscribe(filters)) = self.under_way.take() else {
            return;
        };
        for (filter, outcome) in filters.into_iter().zip(outcomes) {
            if let Err(why) = &outcome {
                tracing::warn!(%filter, why, "the broker refuses a subscription");
                metrics::counter!("fanfare_broker_refused_total", "what" => "subscription")
                    .increment(1);
            }
            self.again.remove(&filter);
            if let Some(standing) = self.standings.get_mut(&filter) {
                *standing = match outcome {
                    Ok(()) => Standing::Stands,
                    Err(why) => Standing::Refused(why),
                };
            }
        }
        self.settle();
    }

    /// Tells whoever waits for what is known now.
    fn settle(&mut self) {
        for (filter, tell) in std::mem::take(&mut self.waiters) {
            let by = self.cover.brings(&filter);
            let outcome = match by.and_then(|by| self.standings.get(by)) {
                // Whoever asked has gone and ended it.
                None => continue,
                Some(Standing::Wanted) => {
                    if !tell.is_closed() {
                        self.waiters.push((filter, tell));
                    }
                    continue;
                }
                Some(Standing::Stands) => Ok(()),
                Some(Standing::Refused(why)) => Err(StoreError::Failed(format!(
                    "the broker refuses the subscription: {why}"
                ))),
            };
            // Whoever asked may have gone.
            let _ = tell.send(outcome);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::parse(text).unwrap()
    }

    fn subscribe(texts: &[&str]) -> Option<Ask> {
        Some(Ask::Subscribe(
            texts.iter().map(|text| filter(text)).collect(),
        ))
    }

    fn unsubscribe(text: &str) -> Option<Ask> {
        Some(Ask::Unsubscribe(filter(text)))
    }

    fn standings() -> Standings {
        let mut standings = Standings::new(Hash::WithParent, 10);
        standings.begin(false);
        standings
    }

    #[test]
    fn many_wait_for_one_subscription() {
        let mut standings = standings();
        let mut first = standings.add(&filter("a")).unwrap();
        let mut second = standings.add(&filter("a")).unwrap();
        assert_eq!(standings.next(), subscribe(&["a"]));
        assert_eq!(standings.next(), None, "one at a time");
        assert!(first.try_recv().is_err());
        standings.answered(vec![Ok(())]);
        assert_eq!(first.try_recv().unwrap(), Ok(()));
        assert_eq!(second.try_recv().unwrap(), Ok(()));
        let mut third = standings.add(&filter("a")).unwrap();
        assert_eq!(third.try_recv().unwrap(), Ok(()), "it stands already");
        for _ in 0..3 {
            assert_eq!(standings.next(), None);
            standings.remove(&filter("a"));
        }
        assert_eq!(standings.next(), unsubscribe("a"));
    }

    #[test]
    fn what_is_replaced_stays_until_what_replaces_it_stands() {
        let mut standings = standings();
        standings.add(&filter("a/b")).unwrap();
        standings.next();
        standings.answered(vec![Ok(())]);
        let mut wide = standings.add(&filter("a/#")).unwrap();
        assert_eq!(standings.next(), subscribe(&["a/#"]));
        standings.answered(vec![Err("NotAuthorized".into())]);
        assert!(matches!(
            wide.try_recv().unwrap(),
            Err(StoreError::Failed(_))
        ));
        assert_eq!(
            standings.next(),
            None,
            "a/b is still the only one that brings anything"
        );
        standings.remove(&filter("a/#"));
        assert_eq!(standings.next(), subscribe(&["a/b"]));
        standings.answered(vec![Ok(())]);
        assert_eq!(standings.next(), unsubscribe("a/#"));
        standings.answered(Vec::new());
        standings.add(&filter("a/#")).unwrap();
        standings.next();
        standings.answered(vec![Ok(())]);
        assert_eq!(standings.next(), unsubscribe("a/b"));
    }

    #[test]
    fn a_new_connection_subscribes_again() {
        let mut standings = standings();
        let mut told = standings.add(&filter("a")).unwrap();
        standings.add(&filter("b")).unwrap();
        standings.next();
        standings.begin(false);
        let Some(Ask::Subscribe(mut filters)) = standings.next() else {
            panic!("nothing is subscribed to");
        };
        filters.sort();
        assert_eq!(filters, [filter("a"), filter("b")]);
        assert!(told.try_recv().is_err() && !standings.is_as_before());
        standings.answered(vec![Ok(()), Ok(())]);
        assert!(standings.is_as_before());
        assert_eq!(told.try_recv().unwrap(), Ok(()));
    }

    #[test]
    fn who_leaves_before_it_is_answered_again_is_not_waited_for() {
        let mut standings = standings();
        for text in ["a", "b"] {
            standings.add(&filter(text)).unwrap();
        }
        standings.next();
        standings.answered(vec![Ok(()), Ok(())]);
        standings.begin(true);
        standings.remove(&filter("a"));
        assert!(!standings.is_as_before(), "b is not answered again");
        assert_eq!(standings.next(), subscribe(&["b"]));
        standings.answered(vec![Ok(())]);
        assert!(standings.is_as_before());
    }

    #[test]
    fn what_a_break_kept_from_ending_ends_where_the_broker_has_kept_it() {
        for present in [true, false] {
            let mut standings = standings();
            standings.add(&filter("a")).unwrap();
            standings.next();
            standings.answered(vec![Ok(())]);
            standings.remove(&filter("a"));
            standings.begin(present);
            let ended = standings.next();
            assert_eq!(ended, present.then(|| unsubscribe("a").unwrap()));
        }
    }

    #[test]
    fn one_subscribe_has_so_many_filters() {
        let mut standings = Standings::new(Hash::WithParent, 100);
        standings.begin(false);
        for number in 0..=limits::broker::FILTERS {
            standings.add(&filter(&format!("f/{number}"))).unwrap();
        }
        let filters = |ask: Option<Ask>| match ask {
            Some(Ask::Subscribe(filters)) => filters.len(),
            other => panic!("{other:?}"),
        };
        assert_eq!(filters(standings.next()), limits::broker::FILTERS);
        standings.answered(vec![Ok(()); limits::broker::FILTERS]);
        assert_eq!(filters(standings.next()), 1);
    }

    #[test]
    fn there_are_only_so_many() {
        let mut standings = Standings::new(Hash::WithParent, 2);
        standings.add(&filter("a/1")).unwrap();
        standings.add(&filter("b")).unwrap();
        assert!(matches!(
            standings.add(&filter("c")),
            Err(StoreError::Full(_))
        ));
        standings.add(&filter("b")).unwrap();
        standings.add(&filter("a/#")).unwrap();
        standings.remove(&filter("b"));
        standings.remove(&filter("b"));
        standings.add(&filter("c")).unwrap();
    }
}
