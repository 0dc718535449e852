//! Messages in queues: broadcasts, moves, states, deduplication.

use super::*;

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
