//! What every [`TopicStore`] must do, written as plainly as possible, and random steps that hold a store to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::{DurablePublish, Placed, Queued, Recipient, TopicStore};
use crate::domain::publication::{
    ClientId, ClientNo, ClientRecord, Ordinal, Properties, Publication, Publisher, QoS,
    RetainHandling, Subscription, Will,
};
use crate::domain::topic::{TopicFilter, TopicName};
use crate::domain::{Seq, Timestamp};

/// The time at which each case starts.
pub(crate) const START: Timestamp = Timestamp::from_secs(1_800_000_000);

/// Messages that each queue may hold.
const LIMIT: u64 = 4;

/// How many clients and topics the steps are about.
const CLIENTS: u8 = 4;
const TOPICS: u8 = 3;

/// A store under test.
pub(crate) trait Subject: Sized {
    /// The store.
    fn store(&self) -> &dyn TopicStore;

    /// As after a restart of the process.
    fn reopen(self) -> Self;
}

/// One thing that happens. Clients and topics are numbered.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Open(u8),
    Save(u8),
    Close(u8),
    Publish {
        topic: u8,
        to: Vec<u8>,
        retain: bool,
        empty: bool,
        from: Option<(u8, u16)>,
        expires_secs: Option<u8>,
    },
    Sent(u8, usize),
    Received(u8, usize),
    Done(u8, Vec<usize>),
    Release(u8, u16),
    Later(u8),
    Reopen,
}

/// Lists of steps.
pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let client = || 0..CLIENTS;
    let publish = (
        0..TOPICS,
        prop::collection::vec(client(), 0..5),
        any::<bool>(),
        prop::bool::weighted(0.2),
        prop::option::of((client(), 1u16..4)),
        prop::option::of(1u8..20),
    );
    let publish =
        publish.prop_map(
            |(topic, to, retain, empty, from, expires_secs)| Step::Publish {
                topic,
                to,
                retain,
                empty,
                from,
                expires_secs,
            },
        );
    let step = prop_oneof![
        4 => client().prop_map(Step::Open),
        1 => client().prop_map(Step::Save),
        1 => client().prop_map(Step::Close),
        12 => publish,
        3 => (client(), 0..LIMIT as usize).prop_map(|(of, nth)| Step::Sent(of, nth)),
        3 => (client(), 0..LIMIT as usize).prop_map(|(of, nth)| Step::Received(of, nth)),
        4 => (client(), prop::collection::vec(0..LIMIT as usize, 1..3))
            .prop_map(|(of, which)| Step::Done(of, which)),
        2 => (client(), 1u16..4).prop_map(|(of, id)| Step::Release(of, id)),
        1 => (1u8..8).prop_map(Step::Later),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..40)
}

/// A store beside the simplest thing that does the same.
pub(crate) struct Bench<S> {
    pub(crate) subject: S,
    now: Timestamp,
    step: u64,
    clients: BTreeMap<u8, ClientRecord>,
    queues: BTreeMap<ClientNo, BTreeMap<Ordinal, Queued>>,
    packet_ids: BTreeSet<(ClientNo, u16)>,
    retained: BTreeMap<TopicName, (Publication, Timestamp)>,
    last_retained: Option<Seq>,
}

impl<S: Subject> Bench<S> {
    pub(crate) fn new(subject: S) -> Self {
        Self {
            subject,
            now: START,
            step: 0,
            clients: BTreeMap::new(),
            queues: BTreeMap::new(),
            packet_ids: BTreeSet::new(),
            retained: BTreeMap::new(),
            last_retained: None,
        }
    }

    /// Does one step with both and compares everything that can be seen.
    pub(crate) async fn step(mut self, step: Step) -> Self {
        self.step += 1;
        match step {
            Step::Open(client) => self.open(client).await,
            Step::Save(client) => self.save(client).await,
            Step::Close(client) => self.close(client).await,
            Step::Publish {
                topic,
                to,
                retain,
                empty,
                from,
                expires_secs,
            } => {
                let mut publication = publication(topic, if empty { 0 } else { self.step });
                let life = expires_secs.map(|secs| Duration::from_secs(secs.into()));
                publication.expires = life.map(|life| self.now.plus(life));
                publication.retain = retain;
                self.publish(publication, &to, from).await;
            }
            Step::Sent(client, nth) => self.sent(client, nth),
            Step::Received(client, nth) => self.received(client, nth).await,
            Step::Done(client, which) => self.done(client, &which),
            Step::Release(client, packet_id) => {
                let no = self.no(client);
                self.subject
                    .store()
                    .release(no, packet_id)
                    .await
                    .expect("released");
                self.packet_ids.remove(&(no, packet_id));
            }
            Step::Later(secs) => self.now = self.now.plus(Duration::from_secs(secs.into())),
            Step::Reopen => self.subject = self.subject.reopen(),
        }
        self.compare().await;
        self
    }

    /// Ends every session and removes every retained message: nothing must be left.
    pub(crate) async fn clear(mut self) -> Self {
        for client in 0..CLIENTS {
            self = self.step(Step::Close(client)).await;
        }
        for topic in 0..TOPICS {
            let nothing = Step::Publish {
                topic,
                to: Vec::new(),
                retain: true,
                empty: true,
                from: None,
                expires_secs: None,
            };
            self = self.step(nothing).await;
        }
        self
    }

    /// The number of a client's session, or one that nobody has.
    fn no(&self, client: u8) -> ClientNo {
        self.clients
            .get(&client)
            .map_or(ClientNo(u64::MAX), |record| record.no)
    }

    async fn open(&mut self, client: u8) {
        self.forget(client);
        let mut record = record(client, self.step);
        record.no = self
            .subject
            .store()
            .open(record.clone())
            .await
            .expect("opened");
        let fresh = self.queues.insert(record.no, BTreeMap::new()).is_none();
        assert!(fresh, "a session's number is new");
        self.clients.insert(client, record);
    }

    async fn save(&mut self, client: u8) {
        let mut changed = record(client, self.step);
        changed.no = self.no(client);
        changed.disconnected = Some(self.now);
        let saved = self.subject.store().save(changed.clone()).await;
        saved.expect("saved");
        if let Some(record) = self.clients.get_mut(&client) {
            *record = changed;
        }
    }

    async fn close(&mut self, client: u8) {
        let closed = self.subject.store().close(self.no(client)).await;
        closed.expect("closed");
        self.forget(client);
    }

    fn forget(&mut self, client: u8) {
        if let Some(record) = self.clients.remove(&client) {
            self.queues.insert(record.no, BTreeMap::new());
            self.packet_ids.retain(|(no, _)| *no != record.no);
        }
    }

    async fn publish(&mut self, publication: Publication, to: &[u8], from: Option<(u8, u16)>) {
        let publication = Arc::new(publication);
        let to: Vec<_> = to.iter().map(|client| self.recipient(*client)).collect();
        let from = from.map(|(client, packet_id)| (self.no(client), packet_id));
        let publish = DurablePublish {
            publication: publication.clone(),
            to: to.clone(),
            retain: publication.retain.then_some(self.now),
            from: from.filter(|(no, _)| *no != ClientNo(u64::MAX)),
            history: None,
        };
        let from = publish.from;
        let repeated = from.is_some_and(|from| self.packet_ids.contains(&from));
        let placed = self.subject.store().publish(publish).await;
        let placed: Placed = placed.expect("published");
        assert_eq!(placed.repeated, repeated);
        if repeated {
            assert!(placed.places.iter().all(Option::is_none));
            return;
        }
        assert_eq!(placed.places.len(), to.len());
        let refused = !to.is_empty() && placed.places.iter().all(Option::is_none);
        assert_eq!(placed.retained.is_some(), publication.retain && !refused);
        if placed.retained.is_some() {
            assert!(self.last_retained < placed.retained, "in order of commits");
            self.last_retained = placed.retained;
        }
        for (to, place) in to.into_iter().zip(placed.places) {
            let open = self.clients.values().any(|record| record.no == to.client);
            let queue = self.queues.entry(to.client).or_default();
            assert_eq!(place.is_some(), open && (queue.len() as u64) < LIMIT);
            let Some(ordinal) = place else { continue };
            let last = queue.last_key_value().map(|(last, _)| *last);
            assert!(last < Some(ordinal) && ordinal > Ordinal(0), "places rise");
            let queued = Queued {
                ordinal,
                publication: publication.clone(),
                qos: to.qos,
                retain: to.retain,
                ids: to.ids,
                sent: false,
                received: false,
            };
            queue.insert(ordinal, queued);
        }
        if refused {
            return;
        }
        self.packet_ids.extend(from);
        if publication.retain && publication.payload.is_empty() {
            self.retained.remove(&publication.topic);
        } else if publication.retain {
            let topic = publication.topic.clone();
            self.retained
                .insert(topic, ((*publication).clone(), self.now));
        }
    }

    fn recipient(&self, client: u8) -> Recipient {
        Recipient {
            client: self.no(client),
            qos: match client % 2 {
                0 => QoS::AtLeastOnce,
                _ => QoS::ExactlyOnce,
            },
            retain: client == 1,
            ids: (0..u32::from(client)).collect(),
            limit: LIMIT,
        }
    }

    /// The ordinal of the nth message in a client's queue, or one that nobody has.
    fn nth(&self, client: u8, nth: usize) -> Ordinal {
        let queue = self.queues.get(&self.no(client));
        let found = queue.and_then(|queue| queue.keys().nth(nth));
        found.copied().unwrap_or(Ordinal(u64::MAX))
    }

    fn sent(&mut self, client: u8, nth: usize) {
        let (no, ordinal) = (self.no(client), self.nth(client, nth));
        self.subject.store().sent(no, ordinal);
        let queue = self.queues.entry(no).or_default();
        if let Some(queued) = queue.get_mut(&ordinal) {
            queued.sent = queued.publication.expires.is_some();
        }
    }

    async fn received(&mut self, client: u8, nth: usize) {
        let (no, ordinal) = (self.no(client), self.nth(client, nth));
        let received = self.subject.store().received(no, ordinal).await;
        received.expect("noted");
        let queue = self.queues.entry(no).or_default();
        if let Some(queued) = queue.get_mut(&ordinal) {
            queued.received = true;
        }
    }

    fn done(&mut self, client: u8, which: &[usize]) {
        let no = self.no(client);
        // One may be named twice.
        let gone: Vec<_> = which.iter().map(|nth| self.nth(client, *nth)).collect();
        self.subject.store().done(no, gone.clone());
        let queue = self.queues.entry(no).or_default();
        queue.retain(|ordinal, _| !gone.contains(ordinal));
    }

    async fn compare(&self) {
        let store = self.subject.store();
        // What nobody waits for is done in order with what somebody waits for.
        store.close(ClientNo(u64::MAX)).await.expect("a barrier");
        let mut records = Vec::new();
        store
            .clients(&mut |record| records.push(record))
            .expect("read");
        records.sort_by_key(|record| record.id.clone());
        assert!(records.iter().eq(self.clients.values()));
        let mut retained = BTreeMap::new();
        let each = &mut |found: Publication, at| {
            retained.insert(found.topic.clone(), (found, at));
        };
        store.retained(self.now, each).expect("read");
        let mut expected = self.retained.clone();
        expected.retain(|_, (publication, _)| self.lives(publication));
        assert_eq!(retained, expected);
        for record in self.clients.values() {
            self.compare_queue(record.no);
        }
    }

    fn lives(&self, publication: &Publication) -> bool {
        publication.expires.is_none_or(|at| at > self.now)
    }

    fn compare_queue(&self, no: ClientNo) {
        let (store, queue) = (self.subject.store(), &self.queues[&no]);
        assert_eq!(store.depth(no), Ok(queue.len() as u64));
        let expected: Vec<_> = queue
            .values()
            .filter(|queued| queued.sent || queued.received || self.lives(&queued.publication))
            .cloned()
            .collect();
        let mut found = store.queued(no, None, 100, self.now).expect("read");
        for (found, expected) in found.iter_mut().zip(&expected) {
            if found.received {
                // Nobody needs what was published.
                found.publication = expected.publication.clone();
                found.sent = expected.sent;
            }
        }
        assert_eq!(found, expected);
        if let [first, second, ..] = &expected[..] {
            let next = store.queued(no, Some(first.ordinal), 1, self.now);
            assert_eq!(next.expect("read")[0].ordinal, second.ordinal);
        }
        let mut packet_ids = store.packet_ids(no).expect("read");
        packet_ids.sort_unstable();
        let expected = self.packet_ids.iter().filter(|(of, _)| *of == no);
        assert!(packet_ids.iter().eq(expected.map(|(_, id)| id)));
    }
}

/// Runs the steps, and clears up.
pub(crate) async fn run<S: Subject>(subject: S, steps: Vec<Step>) -> S {
    let mut bench = Bench::new(subject);
    for step in steps {
        bench = bench.step(step).await;
    }
    bench.clear().await.subject
}

/// A publication whose payload tells it from others; 0 for an empty payload.
pub(crate) fn publication(topic: u8, mark: u64) -> Publication {
    let text = |text: &str| Some(text.into());
    let properties = Properties {
        payload_format: Some(1),
        content_type: text("text/plain"),
        response_topic: text("answers"),
        correlation_data: Some(Bytes::from_static(b"\0\xff")),
        user: vec![("a".into(), "1".into()), ("a".into(), "".into())],
    };
    Publication {
        topic: TopicName::parse(format!("rooms/{topic}/é").into()).expect("valid"),
        payload: match mark {
            0 => Bytes::new(),
            mark => Bytes::from(format!("payload {mark}")),
        },
        qos: QoS::ExactlyOnce,
        retain: false,
        properties: (mark % 2 == 1).then(|| Box::new(properties)),
        expires: None,
        publisher: (!mark.is_multiple_of(3)).then(|| Publisher {
            client: (mark % 3 == 1).then(|| ClientId("sender".into())),
            principal: "someone".into(),
        }),
    }
}

/// A record in which everything is set that can be, one way or another.
pub(crate) fn record(client: u8, step: u64) -> ClientRecord {
    let filter = |text: &str| TopicFilter::parse(text).expect("valid");
    let subscription = |text: &str, retain_handling, id| Subscription {
        filter: filter(text),
        qos: QoS::AtLeastOnce,
        no_local: step.is_multiple_of(2),
        retain_as_published: step.is_multiple_of(3),
        retain_handling,
        id,
    };
    ClientRecord {
        no: ClientNo(0),
        id: ClientId(format!("client-{client}").into()),
        owner: format!("owner-{}", step % 2).into(),
        expiry: (step.is_multiple_of(2)).then(|| Duration::from_secs(step)),
        disconnected: None,
        subscriptions: vec![
            subscription("rooms/+/é", RetainHandling::Always, None),
            subscription("$share/g/#", RetainHandling::New, Some(268_435_455)),
            subscription("a", RetainHandling::Never, Some(1)),
        ],
        will: (step % 3 == 1).then(|| Will {
            publication: publication(0, step),
            delay: Duration::from_millis(1500),
            message_expiry: (step.is_multiple_of(2)).then(|| Duration::from_secs(9)),
        }),
    }
}
