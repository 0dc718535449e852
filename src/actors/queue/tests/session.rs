//! Session queues: envelopes, broadcasts, the end of a session.

use std::time::Instant;

use super::*;
use crate::actors::session::SessionKind;
use crate::backends::{QueueStore as _, Recipients, Touched};
use crate::domain::message::NewMessage;
use crate::domain::session::{Credentials, EnvelopeVersion, Session};
use crate::domain::{AccountId, IdentityId, QueueNo, Seq, SessionId, SessionKey, Timestamp};
use crate::envelope::{AesKey, Envelope, FIRST_COUNTER, SessionCipher};

const KEY: [u8; 32] = [7; 32];

fn session(queue: &QueueRecord) -> Session {
    Session {
        key: queue.owner.clone().unwrap(),
        user: None,
        queue: queue.no,
        queue_name: queue.name.clone(),
        queue_url: None,
        aes_key: KEY,
        envelope: EnvelopeVersion::V1,
        credentials: Credentials {
            access_key: "ASIA".into(),
            secret_key: "s".into(),
            session_token: "t".into(),
            expires: Timestamp(0),
        },
        identity: IdentityId::parse("r:0").unwrap(),
        created: Timestamp(0),
        ttl: Timestamp(0),
        retention: LONG,
        topics: Vec::new(),
        transport: crate::domain::session::Transport::default(),
    }
}

fn bench(idle_after: u64) -> Bench {
    let config = QueuesConfig {
        idle_after: Duration::from_millis(idle_after),
        ..config()
    };
    let sealers: Sealers = Arc::new(|queue, mark| {
        let owned = queue.owner.is_some();
        Ok(owned.then(|| SessionKind::new(&session(queue), mark)))
    });
    Bench::of_sessions(config, sealers)
}

fn open(bench: &Bench, name: &str, account: i64) -> QueueRecord {
    bench.store.add(QueueRecord {
        no: QueueNo(0),
        name: QueueName::parse(name).unwrap(),
        attributes: QueueAttributes::default(),
        tags: std::collections::BTreeMap::new(),
        created: Timestamp(0),
        modified: Timestamp(0),
        since: Seq(0),
        owner: Some(SessionKey {
            account: AccountId(account),
            session: SessionId::parse(name).unwrap(),
        }),
    })
}

fn only(queue: &QueueRecord) -> Recipients {
    let expires = Clock::start().now().plus(LONG);
    Recipients::Queues(vec![(queue.no, expires)])
}

async fn deliver(bench: &Bench, to: Recipients, json: &str) {
    let message = NewMessage {
        seal: true,
        ..stored(json)
    };
    bench.store.deliver(to, message).await.unwrap();
}

fn opened(received: &[Received]) -> Vec<String> {
    let cipher = SessionCipher::new(&AesKey::from_bytes(KEY), Envelope::V1);
    received
        .iter()
        .map(|message| std::str::from_utf8(&message.body).unwrap())
        .map(|text| String::from_utf8(cipher.open(text).unwrap()).unwrap())
        .collect()
}

#[actix::test]
async fn what_goes_out_is_sealed_under_durable_counters() {
    let bench = bench(30_000);
    let queue = open(&bench, "s", 1);
    bench.store.mischief.lock().unwrap().delay = Duration::from_millis(150);
    deliver(&bench, only(&queue), "{\"a\":\"é\"}").await;
    let started = Instant::now();
    let received = bench.receive(&queue).await;
    assert_eq!(opened(&received), ["{\"a\":\"\\u00e9\"}"]);
    assert!(
        started.elapsed() >= Duration::from_millis(150),
        "the first waits for its counters"
    );
    let mark = bench.store.lease(queue.no).unwrap();
    let counter = |message: &Received| -> u64 {
        let text = std::str::from_utf8(&message.body).unwrap();
        text.split_once('|').unwrap().0.parse().unwrap()
    };
    assert!((FIRST_COUNTER..mark).contains(&counter(&received[0])));
    deliver(&bench, only(&queue), "{}").await;
    let started = Instant::now();
    let second = bench.receive(&queue).await;
    assert!(
        started.elapsed() < Duration::from_millis(150),
        "later ones do not"
    );
    assert!(counter(&second[0]) > counter(&received[0]));
}

#[actix::test]
async fn a_redelivery_is_the_same_byte_for_byte_even_after_a_reload() {
    let bench = bench(20);
    let queue = open(&bench, "s", 1);
    deliver(&bench, only(&queue), "{\"a\":1}").await;
    let again = || Receive {
        visibility: Some(Duration::ZERO),
        ..short()
    };
    let first = bench.queues.receive(&queue, again()).await.unwrap();
    let second = bench.queues.receive(&queue, again()).await.unwrap();
    assert_eq!(
        (&first[0].body, second[0].receive_count),
        (&second[0].body, 2)
    );
    let loads = *bench.store.loads.lock().unwrap();
    pause(120).await;
    let third = bench.queues.receive(&queue, again()).await.unwrap();
    assert_eq!(
        (&first[0].body, third[0].receive_count),
        (&third[0].body, 3)
    );
    assert!(*bench.store.loads.lock().unwrap() > loads);
    deliver(&bench, only(&queue), "{\"b\":1}").await;
    // What has a counter need not wait; the fresh actor's counters for others are on their way.
    let mut other = Vec::new();
    for _ in 0..200 {
        other = bench.queues.receive(&queue, again()).await.unwrap();
        if other.len() == 2 {
            break;
        }
        pause(10).await;
    }
    assert_eq!(opened(&other), ["{\"a\":1}", "{\"b\":1}"]);
    assert_ne!(
        other[1].body[..11],
        other[0].body[..11],
        "a counter is not used twice"
    );
}

#[actix::test]
async fn broadcasts_wake_those_they_concern() {
    let bench = bench(30_000);
    let (a, b) = (open(&bench, "a", 1), open(&bench, "b", 2));
    let wait = || long(Duration::from_millis(250));
    let (first, second, ()) = tokio::join!(
        bench.queues.receive(&a, long(LONG)),
        bench.queues.receive(&b, wait()),
        async {
            pause(30).await;
            deliver(&bench, Recipients::Account(AccountId(1)), "{\"to\":1}").await;
        }
    );
    assert_eq!(opened(&first.unwrap()), ["{\"to\":1}"]);
    assert!(second.unwrap().is_empty());
    let (first, second, ()) = tokio::join!(
        bench.queues.receive(&a, long(LONG)),
        bench.queues.receive(&b, long(LONG)),
        async {
            pause(30).await;
            deliver(&bench, Recipients::Everyone, "{}").await;
        }
    );
    assert_eq!(opened(&first.unwrap()), ["{}"]);
    assert_eq!(opened(&second.unwrap()), ["{}"]);
}

#[actix::test]
async fn a_broadcast_is_there_once_it_is_acknowledged() {
    let bench = bench(30_000);
    let queue = open(&bench, "s", 1);
    for count in 1..50 {
        deliver(&bench, Recipients::Everyone, "{}").await;
        assert_eq!(bench.counts(&queue).await, (count, 0, 0));
    }
}

#[actix::test]
async fn a_deleted_broadcast_stays_deleted_and_the_others_stay() {
    let bench = bench(20);
    let queue = open(&bench, "s", 1);
    for json in ["{\"n\":1}", "{\"n\":2}", "{\"n\":3}"] {
        deliver(&bench, Recipients::Everyone, json).await;
    }
    let one = Receive { max: 1, ..short() };
    let first = bench.queues.receive(&queue, one).await.unwrap().remove(0);
    bench.delete(&queue, &first.handle).await.unwrap();
    pause(120).await;
    assert_eq!(bench.counts(&queue).await, (2, 0, 0));
    assert!(*bench.store.loads.lock().unwrap() > 1);
    bench.queues.purge(&queue).await.unwrap();
    deliver(&bench, Recipients::Everyone, "{\"n\":4}").await;
    assert_eq!(opened(&bench.receive(&queue).await), ["{\"n\":4}"]);
    let late = open(&bench, "late", 1);
    assert_eq!(bench.counts(&late).await, (0, 0, 0), "came after them");
}

#[actix::test]
async fn when_counters_can_not_be_leased_nothing_goes_out() {
    let bench = bench(30_000);
    let queue = open(&bench, "s", 1);
    deliver(&bench, only(&queue), "{}").await;
    let error = crate::domain::StoreError::Overloaded;
    bench.store.mischief.lock().unwrap().fail = Some(error.clone());
    let refused = bench.queues.receive(&queue, long(LONG)).await;
    assert_eq!(refused.map(|_| ()), Err(error.into()));
    bench.store.mischief.lock().unwrap().fail = None;
    assert_eq!(bench.receive(&queue).await[0].receive_count, 1);
}

#[actix::test]
async fn a_destroyed_session_ends_its_polls() {
    let bench = bench(30_000);
    let queue = open(&bench, "s", 1);
    let (poll, ()) = tokio::join!(bench.queues.receive(&queue, long(LONG)), async {
        pause(20).await;
        bench
            .queues
            .touched(&Touched::Closed(session(&queue).route()));
    });
    assert_eq!(poll.map(|_| ()), Err(QueueError::DoesNotExist));
    let refused = bench.queues.delete_queue(&queue).await;
    assert!(matches!(refused, Err(QueueError::UnsupportedOperation(_))));
}
