//! Sessions: created, refreshed, expired, listed.

use super::*;

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
