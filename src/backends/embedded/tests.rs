//! The store on a real disk.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::backends::{
    Change, Delivery, HistoryStore, QueueCatalog, QueueStore, ReadMark, Receipt, Recipients,
    Renewal, SessionRegistry, Touched,
};
use crate::config::limits;
use crate::domain::history::{Audience, NewEntry, Receipts, Unread};
use crate::domain::message::{MessageState, NewMessage, Origin, QueueSource};
use crate::domain::queue::{QueueAttributes, QueueRecord};
use crate::domain::session::{AesKeyBytes, Credentials, EnvelopeVersion, OpenSession, Session};
use crate::domain::{
    AccountId, IdentityId, MessageId, QueueError, QueueName, QueueNo, SessionId, SessionKey,
    Timestamp, UserId,
};

mod catalog;
mod history;
mod messages;
mod rooms;
mod sessions;
mod topics;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

struct Fixture {
    dir: TempDir,
    store: Embedded,
    touched: Arc<Mutex<Vec<Touched>>>,
}

fn options(dir: &Path) -> StoreOptions {
    StoreOptions {
        dir: dir.to_owned(),
        min_free_bytes: 0,
        sizes: StoreSizes {
            cache_bytes: 4 << 20,
            write_buffer_bytes: 4 << 20,
            journal_bytes: 128 << 20,
        },
        sweep_interval: Duration::from_secs(3600),
        compact_after_bytes: 1 << 20,
        user_message_ttl: Duration::from_secs(86_400),
    }
}

fn open_with(options: &StoreOptions) -> (Embedded, Arc<Mutex<Vec<Touched>>>) {
    let touched = Arc::new(Mutex::new(Vec::new()));
    let seen = touched.clone();
    let on_touched: OnTouched = Arc::new(move |what| seen.lock().unwrap().extend_from_slice(what));
    let on_failure: OnFailure = Arc::new(|error| panic!("{error}"));
    (
        Embedded::open(options, Clock::start(), on_touched, on_failure).unwrap(),
        touched,
    )
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (store, touched) = open_with(&options(dir.path()));
        Self {
            dir,
            store,
            touched,
        }
    }

    fn reopen(self) -> Self {
        let Self { dir, store, .. } = self;
        drop(store);
        let (store, touched) = open_with(&options(dir.path()));
        Self {
            dir,
            store,
            touched,
        }
    }

    async fn session(&self, account: i64, id: &str, user: Option<i64>) -> Session {
        self.store
            .open(open_session(account, id, user, "A"))
            .await
            .unwrap()
            .session
    }

    fn texts(&self, session: &Session) -> Vec<String> {
        let loaded = self.store.load(source(session), NOW).unwrap();
        loaded
            .messages
            .iter()
            .map(|m| String::from_utf8(m.message.body.to_vec()).unwrap())
            .collect()
    }

    async fn queue(&self, name: &str) -> QueueRecord {
        self.store
            .create(queue_record(name))
            .await
            .unwrap()
            .unwrap()
            .0
    }
}

fn open_session(account: i64, id: &str, user: Option<i64>, key: &str) -> OpenSession {
    OpenSession {
        key: SessionKey {
            account: AccountId(account),
            session: SessionId::parse(id).unwrap(),
        },
        user: user.map(UserId),
        queue_name: QueueName::parse(&format!("q-{account}-{id}-{key}")).unwrap(),
        aes_key: AesKeyBytes([7; 32]),
        identity: IdentityId::parse(&format!("us-east-1:{:x}", account * 1000 + id.len() as i64))
            .unwrap(),
        envelope: EnvelopeVersion::V1,
        credentials: credentials(&format!("ASIA{account}{id}{key}")),
        ttl: NOW.plus(Duration::from_secs(100)),
        retention: None,
        topics: None,
        transport: None,
        now: NOW,
    }
}

fn credentials(access_key: &str) -> Credentials {
    Credentials {
        access_key: access_key.into(),
        secret_key: "secret".into(),
        session_token: "token".into(),
        expires: NOW.plus(Duration::from_secs(50)),
    }
}

fn queue_record(name: &str) -> QueueRecord {
    QueueRecord {
        no: QueueNo(0),
        name: QueueName::parse(name).unwrap(),
        attributes: QueueAttributes::default(),
        tags: Default::default(),
        created: NOW,
        modified: NOW,
        since: Seq(0),
        owner: None,
    }
}

fn source(session: &Session) -> QueueSource {
    QueueSource {
        queue: session.queue,
        account: Some(session.key.account),
    }
}

fn message(body: &str) -> NewMessage {
    NewMessage {
        id: Uuid::from_u128(5),
        body: Bytes::copy_from_slice(body.as_bytes()),
        seal: true,
        sent: NOW,
        expires: NOW.plus(Duration::from_secs(3600)),
        visible_at: NOW,
        sender: "s".into(),
        attributes: Arc::new([]),
        group: None,
        dedup: None,
        trace_header: None,
        dead_letter_source: None,
    }
}

fn queues(numbers: &[QueueNo]) -> Recipients {
    let expires = NOW.plus(Duration::from_secs(3600));
    Recipients::Queues(numbers.iter().map(|queue| (*queue, expires)).collect())
}

fn entry(id: &str) -> NewEntry {
    NewEntry {
        message_id: MessageId::parse(id).unwrap(),
        created: NOW,
        expires: NOW.plus(Duration::from_secs(60)),
        kind: None,
        json: Bytes::from_static(b"{}"),
    }
}

#[actix_rt::test]
async fn bodies_beyond_the_limit_are_read_when_they_are_asked_for() {
    let f = Fixture::new();
    let queue = f.queue("q").await;
    let half = "x".repeat(limits::LOADED_BODY_BYTES / 2);
    for _ in 0..3 {
        let send = vec![Change::Send(message(&half))];
        f.store.commit(queue.no, send).await.unwrap();
    }
    let source = QueueSource {
        queue: queue.no,
        account: None,
    };
    let loaded = f.store.load(source, NOW).unwrap().messages;
    let lengths: Vec<_> = loaded.iter().map(|m| m.message.body.len()).collect();
    assert_eq!(lengths, [half.len(), half.len(), 0]);
    let last = f.store.body(queue.no, loaded[2].seq, Origin::Own).unwrap();
    assert_eq!(last.unwrap(), half);
}

#[test]
fn a_second_process_is_refused() {
    let f = Fixture::new();
    let on_touched: OnTouched = Arc::new(|_| {});
    let second = Embedded::open(
        &options(f.dir.path()),
        Clock::start(),
        on_touched,
        Arc::new(|_| {}),
    );
    assert!(matches!(second.err(), Some(OpenError::InUse(_))));
}

#[actix_rt::test]
async fn a_full_disk_refuses_growth_and_serves_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open_with(&options(dir.path()));
    let q = store
        .create(queue_record("orders"))
        .await
        .unwrap()
        .unwrap()
        .0;
    let seq = store
        .commit(q.no, vec![Change::Send(message("a"))])
        .await
        .unwrap()[0];
    drop(store);
    // More than any disk has: all that grows is refused. A quarter of it is still more, so deletion is too.
    let (store, _) = open_with(&StoreOptions {
        min_free_bytes: u64::MAX,
        ..options(dir.path())
    });
    let refused = store.commit(q.no, vec![Change::Send(message("b"))]).await;
    assert!(matches!(refused, Err(StoreError::Full(_))));
    assert_eq!(
        store
            .load(
                QueueSource {
                    queue: q.no,
                    account: None
                },
                NOW
            )
            .unwrap()
            .messages[0]
            .seq,
        seq
    );
}

#[actix_rt::test]
async fn expired_messages_and_deleted_queues_leave_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let fast = StoreOptions {
        sweep_interval: Duration::from_millis(50),
        ..options(dir.path())
    };
    let (store, _) = open_with(&fast);
    let now = Clock::start().now();
    let (gone, kept) = (
        store.create(queue_record("gone")).await.unwrap().unwrap().0,
        store.create(queue_record("kept")).await.unwrap().unwrap().0,
    );
    let filler = "x".repeat(100_000);
    // Long enough to write it all on a busy machine.
    let expires = now.plus(Duration::from_secs(4));
    for round in 0..30u32 {
        // Random-looking text, or compression would hide what is stored.
        let body: String = filler
            .bytes()
            .zip(0u32..)
            .map(|(_, i)| noise(i ^ (round << 17)))
            .collect();
        let short = NewMessage {
            sent: now,
            expires,
            ..message(&body)
        };
        store
            .commit(gone.no, vec![Change::Send(short)])
            .await
            .unwrap();
    }
    let forever = NewMessage {
        expires: now.plus(Duration::from_secs(600)),
        ..message("kept")
    };
    store
        .commit(kept.no, vec![Change::Send(forever)])
        .await
        .unwrap();
    let on_disk = || store.tables.keyspace(Table::Messages).disk_space();
    store
        .tables
        .keyspace(Table::Messages)
        .rotate_memtable_and_wait()
        .unwrap();
    let before = on_disk();
    let waited = std::time::Instant::now();
    while on_disk() > 1 << 19 && waited.elapsed() < Duration::from_secs(20) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(before > 2 << 20, "{before} bytes were on disk before");
    assert!(on_disk() < 1 << 19, "{} bytes are still on disk", on_disk());
    let source = QueueSource {
        queue: kept.no,
        account: None,
    };
    assert_eq!(store.load(source, now).unwrap().messages.len(), 1);
    while store.tables.waiting() != 1 && waited.elapsed() < Duration::from_secs(20) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(store.tables.waiting(), 1, "what has expired does not wait");
}

#[actix_rt::test]
async fn how_many_messages_wait_follows_what_is_committed() {
    let given = Fixture::new();
    let (one, two) = (given.queue("one").await, given.queue("two").await);
    let waiting = |given: &Fixture| given.store.tables.waiting();
    assert_eq!(waiting(&given), 0);
    let to = queues(&[one.no, two.no]);
    given.store.deliver(to, message("both")).await.unwrap();
    let send = vec![Change::Send(message("one"))];
    let seqs = given.store.commit(one.no, send).await.unwrap();
    let everyone = Recipients::Everyone;
    given.store.deliver(everyone, message("all")).await.unwrap();
    assert_eq!(
        waiting(&given),
        3,
        "a broadcast is stored once, and in no queue"
    );
    let delete = Change::Delete {
        seq: seqs[0],
        origin: Origin::Own,
    };
    given.store.commit(one.no, vec![delete]).await.unwrap();
    assert_eq!(waiting(&given), 2);
    let given = given.reopen();
    assert_eq!(waiting(&given), 2);
}

fn noise(i: u32) -> char {
    let mixed = i
        .wrapping_mul(0x9E37_79B9)
        .rotate_left(13)
        .wrapping_mul(0x85EB_CA6B);
    char::from(b'!' + ((mixed >> 24) % 90) as u8)
}
