//! Cases of [`SessionDirectory`](super::super::SessionDirectory).

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::join_all;

use super::{Subject, fresh, key, open, parcel, post, session, texts, to_user};
use crate::auth::keys;
use crate::backends::Renewal;
use crate::domain::{Timestamp, UserId};

/// A refresh keeps queue, key, identity and what waits; it gives new keys, and the old ones are nobody's.
pub(crate) async fn a_refresh_keeps_what_a_client_has(subject: &impl Subject) {
    let (account, user, next_user) = (fresh(), fresh(), fresh());
    let now = subject.clock().wall();
    let directory = subject.directory();
    let first = directory
        .open(open(now, key(account, "s"), Some(user)))
        .await
        .unwrap();
    assert!(first.before.is_none());
    post(subject, parcel(subject, to_user(user), "waits")).await;
    let again = open(now, key(account, "s"), Some(next_user));
    let again = subject.other_directory().open(again).await.unwrap();
    let (first, second) = (first.session, again.session);
    assert_eq!(again.before.unwrap().key, first.key);
    assert_eq!(second.queue_name, first.queue_name);
    assert_eq!(second.aes_key, first.aes_key);
    assert_eq!(second.identity, first.identity);
    assert_eq!(second.created, first.created);
    assert_eq!(second.user, Some(UserId(next_user)));
    assert_ne!(second.credentials, first.credentials);
    let holder = |of: &str| directory.holder(of.to_owned());
    let found = holder(&second.credentials.access_key).await.unwrap();
    assert_eq!(found, Some(second.clone()));
    assert_eq!(holder(&first.credentials.access_key).await, Ok(None));
    assert_eq!(
        directory.find(first.key).await.unwrap(),
        Some(second.clone())
    );
    // It has the new user now, and no longer the old one.
    assert_eq!(
        post(subject, parcel(subject, to_user(user), "old"))
            .await
            .sessions,
        0
    );
    let relayed = post(subject, parcel(subject, to_user(next_user), "new")).await;
    assert_eq!(relayed.sessions, 1);
    let received = subject.received(&second).await;
    assert_eq!(texts(&received), ["new", "waits"]);
}

/// A renewal gives new keys and a new life to a session that has one.
pub(crate) async fn a_renewal_is_for_the_living(subject: &impl Subject) {
    let (account, now) = (fresh(), subject.clock().wall());
    let directory = subject.directory();
    let renewal = |id: &str| Renewal {
        key: key(account, id),
        credentials: keys::issue(now.plus(Duration::from_secs(1800))),
        ttl: now.plus(Duration::from_secs(7200)),
        now,
    };
    assert_eq!(directory.renew(renewal("none")).await, Ok(None));
    let first = session(subject, account, "s", None).await;
    let renewed = subject
        .other_directory()
        .renew(renewal("s"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(renewed.ttl, now.plus(Duration::from_secs(7200)));
    assert_eq!(renewed.queue_name, first.queue_name);
    assert_ne!(renewed.credentials, first.credentials);
    let holder = |of: String| directory.holder(of);
    assert_eq!(holder(first.credentials.access_key).await, Ok(None));
    let found = holder(renewed.credentials.access_key.clone())
        .await
        .unwrap();
    assert_eq!(found, Some(renewed));
    let mut over = open(now, key(account, "over"), None);
    over.ttl = Timestamp(now.micros() - 1);
    directory.open(over).await.unwrap();
    assert_eq!(directory.renew(renewal("over")).await, Ok(None));
}

/// What is closed is gone: session, keys, queue. The same key opens another.
pub(crate) async fn a_closed_session_is_gone(subject: &impl Subject) {
    let (account, user, now) = (fresh(), fresh(), subject.clock().wall());
    let directory = subject.directory();
    let first = session(subject, account, "s", Some(user)).await;
    post(subject, parcel(subject, to_user(user), "lost")).await;
    let closed = subject
        .other_directory()
        .close(first.key.clone(), now)
        .await;
    assert_eq!(closed.unwrap().unwrap().queue_name, first.queue_name);
    assert_eq!(directory.find(first.key.clone()).await, Ok(None));
    let holder = directory.holder(first.credentials.access_key).await;
    assert_eq!(holder, Ok(None));
    assert_eq!(directory.close(first.key.clone(), now).await, Ok(None));
    let relayed = post(subject, parcel(subject, to_user(user), "nobody")).await;
    assert_eq!((relayed.sessions, relayed.queues.len()), (0, 0));
    let anew = session(subject, account, "s", Some(user)).await;
    assert_ne!(anew.queue_name, first.queue_name);
    assert_ne!(anew.aes_key, first.aes_key);
    assert!(subject.received(&anew).await.is_empty());
}

/// An id is one session in each account, whoever its user is.
pub(crate) async fn accounts_are_apart(subject: &impl Subject) {
    let (one, other, user) = (fresh(), fresh(), fresh());
    let first = session(subject, one, "same/é", Some(user)).await;
    let second = session(subject, other, "same/é", Some(user)).await;
    assert_ne!(first.queue_name, second.queue_name);
    let relayed = post(subject, parcel(subject, to_user(user), "both")).await;
    assert_eq!(relayed.sessions, 2);
    let now = subject.clock().wall();
    subject.directory().close(first.key, now).await.unwrap();
    let found = subject.directory().find(second.key.clone()).await.unwrap();
    assert_eq!(found.map(|found| found.queue_name), Some(second.queue_name));
}

/// A listing has each session once, in pages that are full but for the last.
pub(crate) async fn a_listing_has_each_once(subject: &impl Subject) {
    let account = fresh();
    for at in 0..5 {
        let user = (at % 2 == 0).then(fresh);
        session(subject, account, &format!("s{at}"), user).await;
    }
    let directory = subject.directory();
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = directory.after(after, 2).await.unwrap();
        after = page.last().map(|last| last.key.clone());
        let full = page.len() == 2;
        seen.extend(page.into_iter().map(|found| found.key));
        if !full {
            break;
        }
    }
    let ours: Vec<_> = seen.iter().filter(|key| key.account.0 == account).collect();
    let unique: HashSet<_> = ours.iter().collect();
    assert_eq!((ours.len(), unique.len()), (5, 5));
}

/// A session whose time has passed is found by the sweep, and opening it makes a new one.
pub(crate) async fn an_expired_session_counts_as_none(subject: &impl Subject) {
    let (account, user) = (fresh(), fresh());
    let now = subject.clock().wall();
    let directory = subject.directory();
    let mut over = open(now, key(account, "over"), Some(user));
    over.ttl = Timestamp(now.micros() - 1);
    let over = directory.open(over).await.unwrap().session;
    let lapsed = directory.lapsed(now, None, 1000).await.unwrap();
    assert!(lapsed.sessions.contains(&over.key));
    let anew = directory
        .open(open(now, over.key.clone(), Some(user)))
        .await
        .unwrap();
    assert!(anew.before.is_none());
    assert_ne!(anew.session.queue_name, over.queue_name);
    let lapsed = directory.lapsed(now, None, 1000).await.unwrap();
    assert!(!lapsed.sessions.contains(&over.key));
    // Who found it when it was over comes too late.
    assert_eq!(directory.reap(over.key.clone(), now).await, Ok(None));
    let relayed = post(subject, parcel(subject, to_user(user), "here")).await;
    assert_eq!(relayed.sessions, 1);
    assert_eq!(texts(&subject.received(&anew.session).await), ["here"]);
}

/// The sweep removes what is over, with its rows, once.
pub(crate) async fn what_is_over_is_removed_once(subject: &impl Subject) {
    let (account, user) = (fresh(), fresh());
    let now = subject.clock().wall();
    let directory = subject.directory();
    let mut over = open(now, key(account, "over"), Some(user));
    over.ttl = Timestamp(now.micros() - 1);
    let over = directory.open(over).await.unwrap().session;
    let reaped = subject.other_directory().reap(over.key.clone(), now).await;
    assert_eq!(
        reaped.unwrap().map(|reaped| reaped.queue_name),
        Some(over.queue_name)
    );
    assert_eq!(directory.find(over.key.clone()).await, Ok(None));
    assert_eq!(directory.reap(over.key.clone(), now).await, Ok(None));
    let lapsed = directory.lapsed(now, None, 1000).await.unwrap();
    assert!(!lapsed.sessions.contains(&over.key));
    let holder = directory.holder(over.credentials.access_key).await;
    assert_eq!(holder, Ok(None));
}

/// What is over is found part by part, each once, and reaped on the way.
pub(crate) async fn what_is_over_is_found_part_by_part(subject: &impl Subject) {
    let account = fresh();
    let now = subject.clock().wall();
    let directory = subject.directory();
    let mut expected = HashSet::new();
    for n in 0..7 {
        let mut open = open(now, key(account, &format!("s{n}")), None);
        if n < 5 {
            open.ttl = Timestamp(now.micros() - 1);
            expected.insert(open.key.clone());
        }
        directory.open(open).await.unwrap();
    }
    let (mut found, mut rows, mut parts, mut after) = (Vec::new(), 0, 0, None);
    loop {
        let part = directory.lapsed(now, after, 2).await.unwrap();
        assert!(part.sessions.len() <= 2);
        for key in &part.sessions {
            directory.reap(key.clone(), now).await.unwrap();
        }
        (rows, parts) = (rows + part.rows, parts + 1);
        found.extend(part.sessions);
        after = part.next;
        if after.is_none() {
            break;
        }
    }
    let ours = found.iter().filter(|key| key.account.0 == account);
    assert_eq!(ours.clone().count(), expected.len(), "each once");
    assert_eq!(ours.cloned().collect::<HashSet<_>>(), expected);
    assert!(
        rows >= found.len() as u64 && parts >= 3,
        "{rows} rows, {parts} parts"
    );
}

/// Of many who open one session at a time, on two nodes, all get the same session, and one has made it.
pub(crate) async fn who_opens_at_a_time_gets_one_session(subject: &impl Subject) {
    let (account, now) = (fresh(), subject.clock().wall());
    let directories = [subject.directory(), subject.other_directory()];
    let opening = (0..6).map(|at| {
        let open = open(now, key(account, "s"), None);
        directories[at % 2].open(open)
    });
    let opened: Vec<_> = join_all(opening)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let made = opened.iter().filter(|opened| opened.before.is_none());
    assert_eq!(made.count(), 1);
    let queues: HashSet<_> = opened
        .iter()
        .map(|o| o.session.queue_name.clone())
        .collect();
    assert_eq!(queues.len(), 1);
    let aes_keys: HashSet<_> = opened.iter().map(|o| o.session.aes_key).collect();
    assert_eq!(aes_keys.len(), 1);
    let mut holders = 0;
    for opened in &opened {
        let access_key = opened.session.credentials.access_key.clone();
        holders += usize::from(directories[0].holder(access_key).await.unwrap().is_some());
    }
    assert_eq!(holders, 1, "the last one's keys, and no other's");
}
