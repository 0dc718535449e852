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

mod rooms;
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
async fn a_broadcast_reaches_the_sessions_that_exist_and_survives_a_restart() {
    let f = Fixture::new();
    let a = f.session(1, "a", None).await;
    let b = f.session(2, "b", None).await;
    f.store
        .deliver(Recipients::Everyone, message("all"))
        .await
        .unwrap();
    f.store
        .deliver(Recipients::Account(AccountId(1)), message("one"))
        .await
        .unwrap();
    let late = f.session(1, "late", None).await;
    f.store
        .deliver(queues(&[a.queue]), message("own"))
        .await
        .unwrap();
    f.store
        .deliver(queues(&[a.queue, late.queue]), message("both"))
        .await
        .unwrap();
    let touched: Vec<_> = f
        .touched
        .lock()
        .unwrap()
        .drain(..)
        .filter(|t| !matches!(t, Touched::Opened { .. }))
        .collect();
    assert_eq!(
        touched,
        [
            Touched::Everyone,
            Touched::Account(AccountId(1)),
            Touched::Queue(a.queue),
            Touched::Queue(a.queue),
            Touched::Queue(late.queue)
        ]
    );
    let f = f.reopen();
    assert_eq!(f.texts(&a), ["all", "one", "own", "both"]);
    assert_eq!(f.texts(&b), ["all"]);
    assert_eq!(f.texts(&late), ["both"]);
    assert!(!f.store.is_full(a.queue, 3, NOW).unwrap());
    assert!(f.store.is_full(a.queue, 2, NOW).unwrap());
}

#[actix_rt::test]
async fn newer_gives_what_came_after() {
    let f = Fixture::new();
    let a = f.session(1, "a", None).await;
    let first = f
        .store
        .deliver(Recipients::Everyone, message("1"))
        .await
        .unwrap();
    f.store
        .deliver(queues(&[a.queue]), message("2"))
        .await
        .unwrap();
    f.store
        .deliver(Recipients::Everyone, message("3"))
        .await
        .unwrap();
    let newer = f.store.newer(source(&a), first, NOW).unwrap();
    let bodies: Vec<_> = newer.iter().map(|m| &m.message.body[..]).collect();
    assert_eq!(bodies, [b"2", b"3"]);
    assert_eq!(
        f.store
            .body(a.queue, first, Origin::Everyone)
            .unwrap()
            .as_deref(),
        Some(&b"1"[..])
    );
}

#[actix_rt::test]
async fn behind_the_cursor_only_broadcasts_with_a_state_are_left() {
    let f = Fixture::new();
    let a = f.session(1, "a", None).await;
    let b = f.session(1, "b", None).await;
    let kept = f
        .store
        .deliver(Recipients::Everyone, message("kept"))
        .await
        .unwrap();
    let gone = f
        .store
        .deliver(Recipients::Everyone, message("gone"))
        .await
        .unwrap();
    let state = MessageState {
        visible_at: NOW,
        receive_count: 2,
        receipt: 9,
        counter: Some(3),
        ..Default::default()
    };
    let expires = NOW.plus(Duration::from_secs(60));
    let changes = vec![
        Change::State {
            seq: kept,
            origin: Origin::Everyone,
            expires,
            state,
        },
        Change::Cursor(gone),
    ];
    f.store.commit(a.queue, changes).await.unwrap();
    f.store
        .deliver(Recipients::Everyone, message("new"))
        .await
        .unwrap();
    let f = f.reopen();
    let loaded = f.store.load(source(&a), NOW).unwrap();
    assert_eq!(loaded.cursor, gone);
    assert_eq!(
        loaded.messages.iter().map(|m| m.state).collect::<Vec<_>>(),
        [Some(state), None]
    );
    assert_eq!(f.texts(&a), ["kept", "new"]);
    assert_eq!(f.texts(&b), ["kept", "gone", "new"]);
}

#[actix_rt::test]
async fn deleted_messages_stay_deleted_and_leases_rise() {
    let f = Fixture::new();
    let q = f.queue("orders").await;
    let own = QueueSource {
        queue: q.no,
        account: None,
    };
    let seqs = f
        .store
        .commit(
            q.no,
            vec![Change::Send(message("a")), Change::Send(message("b"))],
        )
        .await
        .unwrap();
    let delete = Change::Delete {
        seq: seqs[0],
        origin: Origin::Own,
    };
    f.store
        .commit(q.no, vec![delete, Change::Lease(77)])
        .await
        .unwrap();
    let f = f.reopen();
    let loaded = f.store.load(own, NOW).unwrap();
    assert_eq!(
        loaded.messages.iter().map(|m| m.seq).collect::<Vec<_>>(),
        [seqs[1]]
    );
    assert_eq!(loaded.lease, Some(77));
    let next = f
        .store
        .commit(q.no, vec![Change::Send(message("c"))])
        .await
        .unwrap();
    assert!(next[0] > seqs[1], "sequence numbers go on after a restart");
}

#[actix_rt::test]
async fn a_moved_message_keeps_its_id_and_receive_count() {
    let f = Fixture::new();
    let (from, to) = (f.queue("from").await, f.queue("to").await);
    let seq = f
        .store
        .commit(from.no, vec![Change::Send(message("x"))])
        .await
        .unwrap()[0];
    let state = MessageState {
        receive_count: 4,
        receipt: 1,
        ..Default::default()
    };
    let expires = NOW.plus(Duration::from_secs(60));
    f.store.commit_lazily(
        from.no,
        vec![Change::State {
            seq,
            origin: Origin::Own,
            expires,
            state,
        }],
    );
    let source_arn: Arc<str> = "arn:from".into();
    let change = Change::Move {
        seq,
        origin: Origin::Own,
        to: to.no,
        expires,
        dead_letter_source: Some(source_arn.clone()),
    };
    f.store.commit(from.no, vec![change.clone()]).await.unwrap();
    f.store.commit(from.no, vec![change]).await.unwrap();
    assert!(
        f.store
            .load(
                QueueSource {
                    queue: from.no,
                    account: None
                },
                NOW
            )
            .unwrap()
            .messages
            .is_empty()
    );
    let moved = f
        .store
        .load(
            QueueSource {
                queue: to.no,
                account: None,
            },
            NOW,
        )
        .unwrap()
        .messages;
    assert_eq!(moved.len(), 1);
    assert_eq!(moved[0].message.id, Uuid::from_u128(5));
    assert_eq!(moved[0].message.dead_letter_source, Some(source_arn));
    assert_eq!(moved[0].state.unwrap().receive_count, 4);
    let source = QueueSource {
        queue: to.no,
        account: None,
    };
    let newer = f.store.newer(source, Seq(0), NOW).unwrap();
    assert_eq!(newer, moved, "whoever is there already sees the same");
}

#[actix_rt::test]
async fn deduplication_ids_are_remembered_for_five_minutes() {
    let f = Fixture::new();
    let q = f.queue("orders.fifo").await;
    let sent = NewMessage {
        dedup: Some("d1".into()),
        group: Some("g".into()),
        ..message("a")
    };
    f.store
        .commit(q.no, vec![Change::Send(sent)])
        .await
        .unwrap();
    let f = f.reopen();
    let source = QueueSource {
        queue: q.no,
        account: None,
    };
    let remembered = f
        .store
        .load(source, NOW.plus(Duration::from_secs(299)))
        .unwrap()
        .remembered;
    assert_eq!(
        remembered.iter().map(|r| &*r.dedup).collect::<Vec<_>>(),
        ["d1"]
    );
    assert!(
        f.store
            .load(source, NOW.plus(Duration::from_secs(300)))
            .unwrap()
            .remembered
            .is_empty()
    );
}

#[actix_rt::test]
async fn queue_names_are_unique_and_rest_for_a_minute() {
    let f = Fixture::new();
    let q = f.queue("orders").await;
    let (again, new) = f
        .store
        .create(queue_record("orders"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((again.no, new), (q.no, false));
    assert!(QueueCatalog::delete(&f.store, q.no, NOW).await.unwrap());
    assert!(!QueueCatalog::delete(&f.store, q.no, NOW).await.unwrap());
    assert_eq!(
        f.store.create(queue_record("orders")).await.unwrap(),
        Err(QueueError::DeletedRecently)
    );
    let later = QueueRecord {
        created: NOW.plus(Duration::from_secs(60)),
        ..queue_record("orders")
    };
    assert!(f.store.create(later).await.unwrap().unwrap().1);
}

#[actix_rt::test]
async fn queues_are_listed_by_prefix_in_pages() {
    let f = Fixture::new();
    for name in ["a1", "b1", "b2", "b3", "c1"] {
        f.queue(name).await;
    }
    let names = |prefix: &str, after: Option<&str>, limit| -> Vec<String> {
        let found = QueueCatalog::list(&f.store, prefix, after, limit).unwrap();
        found.iter().map(|q| q.name.to_string()).collect()
    };
    assert_eq!(names("b", None, 2), ["b1", "b2"]);
    assert_eq!(names("b", Some("b2"), 2), ["b3"]);
    assert_eq!(names("", Some("b3"), 10), ["c1"]);
    assert_eq!(names("b", Some("c1"), 10), ["b1", "b2", "b3"]);
}

#[actix_rt::test]
async fn a_refresh_keeps_queue_and_key_and_ends_the_old_keys() {
    let f = Fixture::new();
    let first = f.session(1, "a", Some(7)).await;
    let again = f
        .store
        .open(open_session(1, "a", Some(7), "B"))
        .await
        .unwrap();
    assert_eq!(
        (again.session.queue, again.session.aes_key),
        (first.queue, first.aes_key)
    );
    assert_eq!(
        again.before.as_ref().map(|old| &old.credentials),
        Some(&first.credentials)
    );
    let f = f.reopen();
    assert_eq!(f.store.by_access_key("ASIA1aA").unwrap(), None);
    assert_eq!(
        f.store.by_access_key("ASIA1aB").unwrap().unwrap().key,
        first.key
    );
    assert_eq!(
        f.store.by_identity(&first.identity).unwrap().unwrap().key,
        first.key
    );
    assert_eq!(f.store.by_id(&first.key.session).unwrap().len(), 1);
}

#[actix_rt::test]
async fn two_creates_in_one_commit_make_one_session() {
    let f = Fixture::new();
    let (a, b) = (
        f.store.open(open_session(1, "a", None, "A")),
        f.store.open(open_session(1, "a", None, "B")),
    );
    let (a, b) = (a.await.unwrap(), b.await.unwrap());
    assert_eq!(a.session.queue, b.session.queue);
    assert!(a.before.is_none() && b.before.is_some());
    assert_eq!(f.store.by_access_key("ASIA1aA").unwrap(), None);
}

#[actix_rt::test]
async fn expired_sessions_are_found_and_can_not_be_renewed() {
    let f = Fixture::new();
    let a = f.session(1, "a", None).await;
    let late = NOW.plus(Duration::from_secs(100));
    let renewal = |now| Renewal {
        key: a.key.clone(),
        credentials: credentials("ASIANEW"),
        ttl: late,
        now,
    };
    assert!(f.store.renew(renewal(NOW)).await.unwrap().is_some());
    assert_eq!(f.store.expired(NOW, 10).unwrap(), []);
    assert_eq!(
        f.store.expired(late, 10).unwrap(),
        std::slice::from_ref(&a.key)
    );
    assert!(f.store.renew(renewal(late)).await.unwrap().is_none());
    let anew = f
        .store
        .open(OpenSession {
            now: late,
            ..open_session(1, "a", None, "B")
        })
        .await
        .unwrap();
    assert!(anew.before.is_none(), "an expired session counts as none");
    assert_ne!(anew.session.queue, a.queue);
    let touched = f.touched.lock().unwrap().split_off(1);
    let closed = Touched::Closed(a.route());
    assert_eq!(
        touched,
        [
            Touched::Opened {
                session: a.route(),
                before: Some(a.route())
            },
            closed,
            Touched::Opened {
                session: anew.session.route(),
                before: None
            }
        ]
    );
    assert!(f.store.close(a.key.clone(), late).await.unwrap().is_some());
    assert_eq!(f.store.by_access_key("ASIANEW").unwrap(), None);
    assert_eq!(f.store.find(&a.queue_name).unwrap(), None);
    assert_eq!(SessionRegistry::list(&f.store, None, None, 10).unwrap(), []);
}

#[actix_rt::test]
async fn sessions_are_listed_in_order() {
    let f = Fixture::new();
    for (account, id) in [(2, "x"), (-1, "y"), (1, "bb"), (1, "a")] {
        f.session(account, id, None).await;
    }
    let ids = |account: Option<i64>, after: Option<&SessionKey>, limit| -> Vec<String> {
        let found = SessionRegistry::list(&f.store, account.map(AccountId), after, limit).unwrap();
        found.iter().map(|s| s.key.session.to_string()).collect()
    };
    assert_eq!(ids(None, None, 10), ["y", "a", "bb", "x"]);
    let after = SessionKey {
        account: AccountId(1),
        session: SessionId::parse("a").unwrap(),
    };
    assert_eq!(ids(None, Some(&after), 1), ["bb"]);
    assert_eq!(ids(Some(1), Some(&after), 10), ["bb"]);
    let mut routes = 0;
    f.store.routes(&mut |_| routes += 1).unwrap();
    assert_eq!(routes, 4);
}

#[actix_rt::test]
async fn a_broadcast_is_in_the_history_of_users_that_had_a_session() {
    let f = Fixture::new();
    let ids = |f: &Fixture, user| -> Vec<String> {
        let entries = f.store.entries(UserId(user), Seq(0), NOW).unwrap();
        entries.iter().map(|e| e.message_id.to_string()).collect()
    };
    f.store
        .append(Audience::Everyone, entry("before"))
        .await
        .unwrap();
    let s = f.session(1, "a", Some(7)).await;
    f.session(1, "b", Some(7)).await;
    f.store
        .append(Audience::Everyone, entry("all"))
        .await
        .unwrap();
    f.store
        .append(Audience::Account(AccountId(1)), entry("account"))
        .await
        .unwrap();
    f.store
        .append(Audience::Account(AccountId(2)), entry("other"))
        .await
        .unwrap();
    f.store
        .append(Audience::Users(vec![UserId(7), UserId(8)]), entry("own"))
        .await
        .unwrap();
    f.store.close(s.key, NOW).await.unwrap();
    f.store
        .append(Audience::Everyone, entry("one session left"))
        .await
        .unwrap();
    let b = SessionKey {
        account: AccountId(1),
        session: SessionId::parse("b").unwrap(),
    };
    f.store.close(b, NOW).await.unwrap();
    f.store
        .append(Audience::Everyone, entry("after"))
        .await
        .unwrap();
    f.session(1, "c", Some(7)).await;
    f.store
        .append(Audience::Everyone, entry("back"))
        .await
        .unwrap();
    let f = f.reopen();
    assert_eq!(
        ids(&f, 7),
        ["all", "account", "own", "one session left", "back"]
    );
    assert_eq!(ids(&f, 8), ["own"]);
    assert!(
        f.store
            .entries(UserId(7), Seq(0), NOW.plus(Duration::from_secs(60)))
            .unwrap()
            .is_empty()
    );
}

#[actix_rt::test]
async fn read_marks_last() {
    let f = Fixture::new();
    let seq = f
        .store
        .append(Audience::Users(vec![UserId(7)]), entry("a"))
        .await
        .unwrap();
    let mark = ReadMark {
        seq,
        origin: Origin::Own,
        expires: NOW.plus(Duration::from_secs(60)),
    };
    let receipt = |marks, notice, keeps| Receipt {
        marks,
        notice,
        keeps,
    };
    let read = receipt(vec![mark], None, None);
    f.store.mark_read(UserId(7), read).await.unwrap();
    let f = f.reopen();
    assert!(f.store.entries(UserId(7), Seq(0), NOW).unwrap()[0].read);
    assert_eq!(
        f.store
            .text(UserId(7), seq, Origin::Own)
            .unwrap()
            .as_deref(),
        Some(&b"{}"[..])
    );
    let receipts = Receipts {
        user: UserId(7),
        which: Unread::Ids(vec![MessageId::parse("a").unwrap()]),
    };
    let promise = f.store.promise(receipts.clone()).await.unwrap();
    let f = f.reopen();
    assert_eq!(f.store.promised().unwrap(), [(promise, receipts)]);
    let session = f.session(1, "a", Some(7)).await;
    let notice = Delivery {
        to: queues(&[session.queue]),
        message: message("read"),
    };
    let kept = receipt(Vec::new(), Some(notice), Some(promise));
    f.store.mark_read(UserId(7), kept).await.unwrap();
    let f = f.reopen();
    assert_eq!(f.store.promised().unwrap(), []);
    assert_eq!(f.texts(&session), ["read"]);
    f.store.forget(UserId(7), vec![seq]).await.unwrap();
    assert!(f.store.entries(UserId(7), Seq(0), NOW).unwrap().is_empty());
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
}

fn noise(i: u32) -> char {
    let mixed = i
        .wrapping_mul(0x9E37_79B9)
        .rotate_left(13)
        .wrapping_mul(0x85EB_CA6B);
    char::from(b'!' + ((mixed >> 24) % 90) as u8)
}
