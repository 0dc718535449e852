//! The topic plane's rows on a real disk.

use proptest::prelude::*;

use super::*;
use crate::backends::topics::contract::{self, Step, Subject};
use crate::backends::topics::{DurablePublish, Placed, Recipient, TopicStore};
use crate::domain::publication::{ClientNo, Ordinal, Publication, QoS};

impl Subject for Fixture {
    fn store(&self) -> &dyn TopicStore {
        &self.store
    }

    fn reopen(self) -> Self {
        Self::reopen_with(self, &|options| {
            options.sweep_interval = Duration::from_millis(5)
        })
    }
}

impl Fixture {
    pub(super) fn reopen_with(self, change: &dyn Fn(&mut StoreOptions)) -> Self {
        let Self { dir, store, .. } = self;
        drop(store);
        let mut options = options(dir.path());
        change(&mut options);
        let (store, touched) = open_with(&options);
        Self {
            dir,
            store,
            touched,
        }
    }

    fn topics(&self) -> &dyn TopicStore {
        &self.store
    }

    async fn client(&self, number: u8) -> ClientNo {
        let record = contract::record(number, 1);
        self.topics().open(record).await.unwrap()
    }

    async fn publish(&self, publication: &Publication, to: &[ClientNo]) -> Placed {
        let publish = publish(publication, to);
        self.topics().publish(publish).await.unwrap()
    }

    pub(super) fn rows(&self, table: Table, prefix: &[u8]) -> usize {
        self.store.tables.view().prefix(table, prefix).count()
    }

    fn bodies(&self) -> usize {
        self.rows(Table::Shared, &[keys::scope::PUBLICATION])
    }

    /// Waits for upkeep.
    pub(super) async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let started = std::time::Instant::now();
        while !is_so(self) {
            assert!(started.elapsed() < Duration::from_secs(30), "{what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn publish(publication: &Publication, to: &[ClientNo]) -> DurablePublish {
    let to = to.iter().map(|client| Recipient {
        client: *client,
        qos: QoS::AtLeastOnce,
        retain: false,
        ids: Vec::new(),
        limit: 100,
    });
    DurablePublish {
        publication: Arc::new(publication.clone()),
        to: to.collect(),
        retain: publication.retain.then_some(NOW),
        from: None,
        history: None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_store_does_what_the_contract_says(steps in contract::steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let fixture = Subject::reopen(Fixture::new());
            let fixture = contract::run(fixture, steps).await;
            fixture.until("rows are left behind", |f| f.rows(Table::Topics, &[]) == 0).await;
            assert_eq!(fixture.bodies(), 0);
            let counts = &fixture.store.tables.counts;
            assert_eq!((counts.clients(), counts.bodies()), (0, 0));
        });
    }
}

#[actix_rt::test]
async fn a_publication_is_on_disk_once_until_nobody_needs_it() {
    let f = Fixture::new();
    let clients = [f.client(0).await, f.client(1).await, f.client(2).await];
    let mut publication = contract::publication(0, 1);
    let first = f.publish(&publication, &clients[..1]).await;
    assert_eq!(f.bodies(), 0, "one row needs no other");
    publication.retain = true;
    let placed = f.publish(&publication, &clients).await;
    assert_eq!(f.bodies(), 1);
    let f = f.reopen();
    for (client, place) in clients.into_iter().zip(&placed.places) {
        f.topics().done(client, vec![place.unwrap()]);
    }
    f.store.flush().await.unwrap();
    assert_eq!(f.bodies(), 1, "it is retained");
    f.publish(&publication, &[]).await;
    assert_eq!(f.bodies(), 0, "replaced by another");
    let two = f.publish(&publication, &clients[..2]).await;
    assert_eq!(f.bodies(), 1);
    publication.payload = Bytes::new();
    f.publish(&publication, &[]).await;
    f.topics()
        .received(clients[0], two.places[0].unwrap())
        .await
        .unwrap();
    assert_eq!(f.bodies(), 1, "the other has it still");
    f.topics()
        .received(clients[1], two.places[1].unwrap())
        .await
        .unwrap();
    assert_eq!(f.bodies(), 0, "both have it");
    assert_eq!(
        f.topics().queued(clients[0], None, 9, NOW).unwrap().len(),
        2
    );
    f.topics().done(clients[0], vec![first.places[0].unwrap()]);
}

#[actix_rt::test]
async fn expired_messages_leave_and_those_in_exchange_stay() {
    let f = Fixture::new();
    let (a, b) = (f.client(0).await, f.client(1).await);
    let mut short = contract::publication(0, 1);
    short.expires = Some(Clock::start().now().plus(Duration::from_millis(20)));
    short.retain = true;
    let placed = f.publish(&short, &[a, b]).await;
    let lasting = contract::publication(1, 2);
    f.publish(&lasting, &[a, b]).await;
    f.topics()
        .received(a, placed.places[0].unwrap())
        .await
        .unwrap();
    assert_eq!(f.bodies(), 2);
    tokio::time::sleep(Duration::from_millis(40)).await;
    let f = Subject::reopen(f);
    f.until("expired rows are left", |f| {
        f.rows(Table::Topics, &[keys::plane::RETAINED]) == 0
    })
    .await;
    f.until("its body is left", |f| f.bodies() == 1).await;
    let depths = (f.topics().depth(a), f.topics().depth(b));
    assert_eq!(depths, (Ok(2), Ok(1)));
    let now = Clock::start().now();
    let found = f.topics().queued(a, None, 9, now).unwrap();
    let received: Vec<_> = found.iter().map(|queued| queued.received).collect();
    assert_eq!(received, [true, false]);
}

#[actix_rt::test]
async fn what_was_sent_outlives_its_expiry() {
    let f = Fixture::new();
    let (a, b) = (f.client(0).await, f.client(1).await);
    let mut short = contract::publication(0, 1);
    short.expires = Some(Clock::start().now().plus(Duration::from_millis(20)));
    let alone = f.publish(&short, &[a]).await;
    let shared = f.publish(&short, &[a, b]).await;
    for placed in [alone, shared] {
        f.topics().sent(a, placed.places[0].unwrap());
    }
    f.store.flush().await.unwrap();
    tokio::time::sleep(Duration::from_millis(40)).await;
    let f = Subject::reopen(f);
    f.until("expired rows are left", |f| f.topics().depth(b) == Ok(0))
        .await;
    f.until("their body is left", |f| f.bodies() == 0).await;
    let found = f.topics().queued(a, None, 9, Clock::start().now()).unwrap();
    assert_eq!(found.len(), 2);
    for queued in found {
        assert!(queued.sent && *queued.publication == short);
        f.topics().done(a, vec![queued.ordinal]);
    }
    f.store.flush().await.unwrap();
    assert_eq!(f.topics().depth(a), Ok(0));
}

#[actix_rt::test]
async fn a_session_that_is_replaced_leaves_nothing() {
    let f = Fixture::new();
    let before = f.client(0).await;
    let other = f.client(1).await;
    let mut publish = publish(&contract::publication(0, 1), &[before, other]);
    publish.from = Some((before, 7));
    f.topics().publish(publish).await.unwrap();
    let after = f.client(0).await;
    assert_ne!(before, after);
    assert_eq!(f.topics().depth(after), Ok(0));
    assert_eq!(f.topics().packet_ids(after), Ok(vec![]));
    // The process ends before upkeep has come by.
    let f = Subject::reopen(f.reopen());
    f.until("its rows are left", |f| {
        f.rows(Table::Topics, &[keys::plane::PURGE]) == 0
    })
    .await;
    assert_eq!(f.rows(Table::Topics, &[keys::plane::PLACE]), 1);
    assert_eq!(f.rows(Table::Topics, &[keys::plane::PACKET_ID]), 0);
    assert_eq!(f.bodies(), 1, "the other has it still");
}

#[actix_rt::test]
async fn places_do_not_repeat_over_a_restart_while_messages_wait() {
    let f = Fixture::new();
    let client = f.client(0).await;
    for mark in 1..4 {
        f.publish(&contract::publication(0, mark), &[client]).await;
    }
    f.topics().done(client, vec![Ordinal(1), Ordinal(2)]);
    let f = f.reopen();
    let placed = f.publish(&contract::publication(0, 4), &[client]).await;
    assert_eq!(placed.places, [Some(Ordinal(4))]);
    assert_eq!(f.topics().depth(client), Ok(2));
}

#[actix_rt::test]
async fn a_refused_publication_counts_for_nothing() {
    let f = Fixture::new();
    let client = f.client(0).await;
    let mut large = contract::publication(0, 1);
    large.payload = vec![1; limits::STORED_PUBLICATION_BYTES].into();
    let refused = f.topics().publish(publish(&large, &[client])).await;
    assert!(matches!(refused, Err(StoreError::Failed(_))), "{refused:?}");
    let mut many = contract::record(1, 1);
    many.subscriptions = vec![many.subscriptions[0].clone(); limits::STORED_CLIENT_BYTES / 32];
    let refused = f.topics().open(many).await;
    assert!(matches!(refused, Err(StoreError::Failed(_))), "{refused:?}");
    // The largest that is taken can be read again.
    large.payload = vec![1; limits::STORED_PUBLICATION_BYTES - 400].into();
    f.publish(&large, &[client]).await;
    let properties = large.properties.as_mut().unwrap();
    large.payload = Bytes::new();
    properties.user = vec![("".into(), "".into()); limits::STORED_PUBLICATION_BYTES / 32 - 20];
    f.publish(&large, &[client]).await;
    let mut many = contract::record(1, 1);
    many.subscriptions = vec![many.subscriptions[2].clone(); limits::STORED_CLIENT_BYTES / 48];
    f.topics().open(many.clone()).await.unwrap();
    let f = f.reopen();
    let found = f.topics().queued(client, None, 9, NOW).unwrap();
    assert_eq!(*found[1].publication, large);
    assert_eq!(
        found[0].publication.payload.len(),
        limits::STORED_PUBLICATION_BYTES - 400
    );
    let mut records = 0;
    f.topics().clients(&mut |_| records += 1).unwrap();
    assert_eq!(records, 2);
}

#[actix_rt::test]
async fn what_a_failed_job_counted_is_taken_back() {
    let f = Fixture::new();
    let (a, b) = (f.client(0).await, f.client(1).await);
    let key = keys::key(
        keys::plane::RETAINED,
        &[contract::publication(0, 1).topic.as_bytes()],
    );
    // A retained message that can not be read makes the job fail after it has given out places.
    f.store
        .tables
        .keyspace(Table::Topics)
        .insert(key, b"damaged")
        .unwrap();
    let mut publication = contract::publication(0, 1);
    publication.retain = true;
    let refused = f.topics().publish(publish(&publication, &[a, b])).await;
    assert!(
        matches!(refused, Err(StoreError::Corrupt(_))),
        "{refused:?}"
    );
    assert_eq!(f.topics().depth(a), Ok(0));
    assert_eq!(f.store.tables.counts.bodies(), 0);
    let placed = f.publish(&contract::publication(1, 1), &[a, b]).await;
    assert_eq!(placed.places, [Some(Ordinal(1)); 2]);
}

#[actix_rt::test]
async fn a_full_disk_takes_no_message_and_lets_them_go() {
    let f = Fixture::new();
    let client = f.client(0).await;
    let publication = contract::publication(0, 1);
    let placed = f.publish(&publication, &[client]).await;
    let f = f.reopen_with(&|options| options.min_free_bytes = free_bytes(&options.dir) * 2);
    let full = |result: Result<(), StoreError>| assert!(matches!(result, Err(StoreError::Full(_))));
    full(
        f.topics()
            .publish(publish(&publication, &[client]))
            .await
            .map(drop),
    );
    full(f.topics().open(contract::record(1, 1)).await.map(drop));
    let mut gone = contract::record(0, 1);
    gone.no = client;
    gone.disconnected = Some(NOW);
    f.topics().save(gone.clone()).await.unwrap();
    for _ in 0..3 {
        gone.subscriptions.extend_from_within(..);
    }
    full(f.topics().save(gone).await);
    f.topics()
        .received(client, placed.places[0].unwrap())
        .await
        .unwrap();
    f.topics().release(client, 1).await.unwrap();
    f.topics().done(client, vec![placed.places[0].unwrap()]);
    f.topics().close(client).await.unwrap();
}

fn free_bytes(dir: &Path) -> u64 {
    let stat = rustix::fs::statvfs(dir).unwrap();
    stat.f_bavail * stat.f_frsize
}

#[actix_rt::test]
async fn a_directory_from_before_topics_gets_their_table() {
    let f = Fixture::new();
    let session = f.session(1, "a", None).await;
    let Fixture { dir, store, .. } = f;
    drop(store);
    {
        let db = fjall::Database::builder(dir.path().join("fjall"))
            .open()
            .unwrap();
        let table = db
            .keyspace(Table::Topics.name(), fjall::KeyspaceCreateOptions::default)
            .unwrap();
        db.delete_keyspace(table).unwrap();
        assert!(!db.keyspace_exists(Table::Topics.name()));
    }
    let (store, touched) = open_with(&options(dir.path()));
    let f = Fixture {
        dir,
        store,
        touched,
    };
    let found = SessionRegistry::get(&f.store, &session.key).unwrap();
    assert_eq!(found.map(|found| found.queue), Some(session.queue));
    let client = f.client(0).await;
    let f = f.reopen();
    f.publish(&contract::publication(0, 1), &[client]).await;
    assert_eq!(f.topics().depth(client), Ok(1));
}

#[actix_rt::test]
async fn many_in_one_commit_see_each_other() {
    let f = Fixture::new();
    let client = f.client(0).await;
    let publication = contract::publication(0, 1);
    let mut one = publish(&publication, &[client]);
    one.from = Some((client, 9));
    let both = futures_util::join!(
        f.topics().publish(one.clone()),
        f.topics().publish(one.clone())
    );
    assert_eq!(
        (both.0.unwrap().repeated, both.1.unwrap().repeated),
        (false, true)
    );
    let steps = vec![Step::Open(0), Step::Reopen];
    contract::run(Fixture::new(), steps).await;
}

#[actix_rt::test]
async fn a_long_batch_is_looked_through_by_its_newest_writes() {
    let f = Fixture::new();
    let row = |n: u32| n.to_be_bytes().to_vec();
    let read = move |tx: &super::tx::Tx<'_>, n: u32| {
        let value = tx.get(Table::Topics, &row(n)).unwrap();
        value.map(|value| value.to_vec())
    };
    let job = f.store.committer.submit(Growth::Grows, 0, move |tx| {
        for n in 0..200 {
            tx.put(Table::Topics, row(n), "old");
        }
        assert_eq!(read(tx, 150).as_deref(), Some(&b"old"[..]));
        let mark = tx.mark();
        tx.put(Table::Topics, row(150), "new");
        tx.remove(Table::Topics, row(1));
        assert_eq!(read(tx, 150).as_deref(), Some(&b"new"[..]));
        assert_eq!(read(tx, 1), None);
        tx.roll_back(mark);
        assert_eq!(read(tx, 150).as_deref(), Some(&b"old"[..]), "taken back");
        assert_eq!(read(tx, 1).as_deref(), Some(&b"old"[..]));
        assert_eq!(tx.get(Table::Shared, &row(1)), Ok(None), "another table");
        assert_eq!(read(tx, 200), None);
        Ok(())
    });
    job.await.unwrap();
}
