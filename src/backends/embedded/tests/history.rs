//! What users had, and have read.

use super::*;

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
