//! Retained messages are the broker's. For a client that subscribes they are asked for by a subscription of their own, on the
//! connection that publishes: on the other one it could bring live publications twice. It ends when nothing more comes.
//! Pure: the [link](super::outbound) does what this says.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::cover::overlap;
use crate::config::limits;
use crate::domain::publication::Publication;
use crate::domain::topic::{Hash, TopicFilter, TopicName};

/// How long nothing may come after the broker's answer until it is taken that nothing will.
pub(super) const QUIET: Duration = Duration::from_millis(500);

/// What is to be sent for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ask {
    /// Subscribe, and be sent what is retained.
    Subscribe(TopicFilter),
    /// It is over.
    Unsubscribe(TopicFilter),
}

/// What is being asked for.
#[derive(Debug)]
pub(super) struct Fetches {
    hash: Hash,
    by_filter: HashMap<TopicFilter, Fetch>,
    /// Filters that somebody waits for to be asked, in order.
    queue: VecDeque<TopicFilter>,
    /// Filters whose subscription is to end.
    ending: VecDeque<TopicFilter>,
    /// One at a time, so that its answer needs no name.
    under_way: Option<Ask>,
}

/// One filter's retained messages.
#[derive(Debug, Default)]
struct Fetch {
    /// Who wants them the next time they are asked for.
    waiting: Vec<Waiter>,
    /// Who gets what comes now.
    round: Option<Round>,
}

#[derive(Debug)]
struct Round {
    waiters: Vec<Waiter>,
    /// When something last came, since the broker's answer; `None`: that is due.
    last: Option<Instant>,
}

#[derive(Debug)]
struct Waiter {
    to: mpsc::Sender<Publication>,
    /// Topics that it has: after a break the broker is asked again.
    seen: HashSet<TopicName>,
}

impl Waiter {
    fn take(&mut self, publication: &Publication) {
        let topic = &publication.topic;
        if self.seen.contains(topic) || self.to.is_closed() {
            return;
        }
        let has_room = self.seen.len() < limits::broker::RETAINED;
        if has_room && self.to.try_send(publication.clone()).is_ok() {
            self.seen.insert(topic.detached());
        } else {
            metrics::counter!("fanfare_mqtt_dropped_total", "reason" => "retained messages")
                .increment(1);
        }
    }
}

/// Filters at the head of the queue that are looked at for one that can be asked for now.
const LOOKED_AT: usize = 64;

impl Fetches {
    pub(super) fn new(hash: Hash) -> Self {
        Self {
            hash,
            by_filter: HashMap::new(),
            queue: VecDeque::new(),
            ending: VecDeque::new(),
            under_way: None,
        }
    }

    /// Somebody wants what is retained for this filter.
    pub(super) fn add(&mut self, filter: &TopicFilter, to: mpsc::Sender<Publication>) {
        let fetch = self.by_filter.entry(filter.clone()).or_default();
        if fetch.waiting.is_empty() {
            self.queue.push_back(filter.clone());
        }
        fetch.waiting.push(Waiter {
            to,
            seen: HashSet::new(),
        });
    }

    /// There is a new connection: everything is asked for again.
    pub(super) fn begin(&mut self) {
        self.under_way = None;
        self.ending.clear();
        for (filter, fetch) in &mut self.by_filter {
            let Some(round) = fetch.round.take() else {
                continue;
            };
            if fetch.waiting.is_empty() {
                self.queue.push_back(filter.clone());
            }
            fetch.waiting.extend(round.waiters);
        }
    }

    /// What is to be sent next, unless something is under way.
    pub(super) fn next(&mut self) -> Option<Ask> {
        if self.under_way.is_some() {
            return None;
        }
        let ending = self.ending.pop_front().map(Ask::Unsubscribe);
        self.under_way = ending.or_else(|| self.subscribe());
        self.under_way.clone()
    }

    /// The first that shares no topic with what is coming now: what is retained for the one would be taken for the other's,
    /// and may be what that one's clients had live.
    fn subscribe(&mut self) -> Option<Ask> {
        let coming = self
            .by_filter
            .iter()
            .filter(|(_, fetch)| fetch.round.is_some());
        let coming: Vec<&TopicFilter> = coming.map(|(filter, _)| filter).collect();
        let is_apart = |filter: &TopicFilter| {
            let mut coming = coming.iter();
            coming.all(|other| !overlap(filter, other, self.hash))
        };
        let place = self.queue.iter().take(LOOKED_AT).position(is_apart)?;
        let filter = self.queue.remove(place)?;
        let fetch = self.by_filter.get_mut(&filter)?;
        fetch.round = Some(Round {
            waiters: std::mem::take(&mut fetch.waiting),
            last: None,
        });
        Some(Ask::Subscribe(filter))
    }

    /// The broker has answered what is under way; `refused` says why there will be nothing.
    pub(super) fn answered(&mut self, refused: Option<&str>, now: Instant) {
        let Some(Ask::Subscribe(filter)) = self.under_way.take() else {
            return;
        };
        if let Some(why) = refused {
            tracing::warn!(%filter, why, "the broker does not give retained messages");
            metrics::counter!("fanfare_broker_refused_total", "what" => "retained").increment(1);
            self.end(&filter);
        } else if let Some(round) = self.round(&filter) {
            round.last = Some(now);
        }
    }

    fn round(&mut self, filter: &TopicFilter) -> Option<&mut Round> {
        self.by_filter.get_mut(filter)?.round.as_mut()
    }

    /// A retained message has come.
    pub(super) fn arrived(&mut self, publication: &Publication, now: Instant) {
        let (topic, hash) = (&publication.topic, self.hash);
        let fetches = self.by_filter.iter_mut();
        let matching = fetches.filter(|(filter, _)| filter.matches_with(topic, hash));
        for round in matching.filter_map(|(_, fetch)| fetch.round.as_mut()) {
            if let Some(last) = &mut round.last {
                *last = now;
            }
            for waiter in &mut round.waiters {
                waiter.take(publication);
            }
        }
    }

    /// Ends those for which nothing more comes. Whether there may be something to send.
    pub(super) fn tick(&mut self, now: Instant) -> bool {
        let is_over = |fetch: &Fetch| {
            let last = fetch.round.as_ref().and_then(|round| round.last);
            last.is_some_and(|last| now - last >= QUIET)
        };
        let over = self.by_filter.iter().filter(|(_, fetch)| is_over(fetch));
        let over: Vec<TopicFilter> = over.map(|(filter, _)| filter.clone()).collect();
        for filter in &over {
            self.end(filter);
            self.ending.push_back(filter.clone());
        }
        !over.is_empty()
    }

    /// Nothing more comes now. Who came meanwhile is among those that wait.
    fn end(&mut self, filter: &TopicFilter) {
        if let Some(fetch) = self.by_filter.get_mut(filter) {
            fetch.round = None;
            if fetch.waiting.is_empty() {
                self.by_filter.remove(filter);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytestring::ByteString;

    use super::*;
    use crate::domain::publication::QoS;

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::parse(text).unwrap()
    }

    fn retained(topic: &'static str) -> Publication {
        Publication {
            topic: TopicName::parse(ByteString::from(topic)).unwrap(),
            payload: "x".into(),
            qos: QoS::AtLeastOnce,
            retain: true,
            properties: None,
            expires: None,
            publisher: None,
        }
    }

    fn topics(from: &mut mpsc::Receiver<Publication>) -> Vec<String> {
        std::iter::from_fn(|| from.try_recv().ok())
            .map(|publication| publication.topic.to_string())
            .collect()
    }

    fn is_over(from: &mut mpsc::Receiver<Publication>) -> bool {
        from.try_recv() == Err(mpsc::error::TryRecvError::Disconnected)
    }

    fn subscribe(text: &str) -> Option<Ask> {
        Some(Ask::Subscribe(filter(text)))
    }

    #[test]
    fn who_comes_before_it_is_asked_shares_the_answer_and_who_comes_later_gets_another() {
        let mut fetches = Fetches::new(Hash::WithParent);
        let now = Instant::now();
        let mut inboxes: Vec<_> = (0..3)
            .map(|_| {
                let (to, from) = mpsc::channel(8);
                (Some(to), from)
            })
            .collect();
        for (to, _) in &mut inboxes[..2] {
            fetches.add(&filter("a/#"), to.take().unwrap());
        }
        assert_eq!(fetches.next(), subscribe("a/#"));
        assert_eq!(fetches.next(), None, "one at a time");
        fetches.arrived(&retained("a/b"), now);
        let late = inboxes[2].0.take().unwrap();
        fetches.add(&filter("a/#"), late);
        fetches.arrived(&retained("a/c"), now);
        fetches.arrived(&retained("b"), now);
        assert!(!fetches.tick(now + QUIET), "the answer is due");
        fetches.answered(None, now);
        assert_eq!(fetches.next(), None, "something may still come");
        assert!(!fetches.tick(now + QUIET / 2));
        assert!(fetches.tick(now + QUIET));
        for inbox in &mut inboxes[..2] {
            assert_eq!(topics(&mut inbox.1), ["a/b", "a/c"]);
            assert!(is_over(&mut inbox.1));
        }
        assert_eq!(fetches.next(), Some(Ask::Unsubscribe(filter("a/#"))));
        fetches.answered(None, now);
        assert_eq!(fetches.next(), subscribe("a/#"));
        fetches.arrived(&retained("a/b"), now);
        fetches.answered(None, now);
        assert!(fetches.tick(now + QUIET));
        assert_eq!(topics(&mut inboxes[2].1), ["a/b"]);
        assert!(is_over(&mut inboxes[2].1) && fetches.by_filter.is_empty());
    }

    #[test]
    fn filters_that_share_topics_are_asked_for_one_after_the_other() {
        let mut fetches = Fetches::new(Hash::WithParent);
        let now = Instant::now();
        let mut inboxes = Vec::new();
        for text in ["a/#", "a/b", "c"] {
            let (to, from) = mpsc::channel(8);
            fetches.add(&filter(text), to);
            inboxes.push(from);
        }
        assert_eq!(fetches.next(), subscribe("a/#"));
        fetches.answered(None, now);
        assert_eq!(fetches.next(), subscribe("c"));
        fetches.answered(None, now + QUIET / 2);
        assert_eq!(fetches.next(), None);
        fetches.tick(now + QUIET);
        assert_eq!(fetches.next(), Some(Ask::Unsubscribe(filter("a/#"))));
        fetches.answered(None, now);
        assert_eq!(fetches.next(), subscribe("a/b"));
    }

    #[test]
    fn it_is_not_over_as_long_as_something_comes() {
        let mut fetches = Fetches::new(Hash::WithParent);
        let now = Instant::now();
        let (to, mut from) = mpsc::channel(8);
        fetches.add(&filter("a/#"), to);
        fetches.next().unwrap();
        fetches.answered(None, now);
        fetches.arrived(&retained("a/b"), now + QUIET / 2);
        assert!(!fetches.tick(now + QUIET));
        fetches.arrived(&retained("a/c"), now + QUIET);
        assert!(!fetches.tick(now + QUIET * 3 / 2));
        assert!(fetches.tick(now + QUIET * 2));
        assert_eq!(topics(&mut from), ["a/b", "a/c"]);
    }

    #[test]
    fn after_a_break_it_is_asked_again_and_everything_comes_once() {
        let mut fetches = Fetches::new(Hash::WithParent);
        let now = Instant::now();
        let (to, mut from) = mpsc::channel(8);
        fetches.add(&filter("a/#"), to);
        fetches.next().unwrap();
        fetches.arrived(&retained("a/b"), now);
        fetches.begin();
        assert_eq!(fetches.next(), subscribe("a/#"));
        fetches.arrived(&retained("a/b"), now);
        fetches.arrived(&retained("a/c"), now);
        fetches.answered(None, now);
        assert_eq!(topics(&mut from), ["a/b", "a/c"]);
    }

    #[test]
    fn one_subscribe_brings_so_many() {
        let mut fetches = Fetches::new(Hash::WithParent);
        let most = limits::broker::RETAINED;
        let (to, mut from) = mpsc::channel(most + 2);
        fetches.add(&filter("t/+"), to);
        fetches.next().unwrap();
        for number in 0..=most {
            let mut publication = retained("t");
            let topic = ByteString::from(format!("t/{number}"));
            publication.topic = TopicName::parse(topic).unwrap();
            fetches.arrived(&publication, Instant::now());
        }
        assert_eq!(topics(&mut from).len(), most);
    }

    #[test]
    fn a_refusal_ends_it() {
        let mut fetches = Fetches::new(Hash::WithParent);
        let (to, mut from) = mpsc::channel(8);
        fetches.add(&filter("a"), to);
        fetches.next().unwrap();
        fetches.answered(Some("NotAuthorized"), Instant::now());
        assert!(is_over(&mut from));
        assert_eq!(fetches.next(), None);
    }
}
