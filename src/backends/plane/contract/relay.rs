//! Cases of [`MessageRelay`](super::super::MessageRelay).

use futures_util::future::join_all;

use super::{Subject, fresh, open, parcel, post, session, texts, to_user};
use crate::domain::history::Query;
use crate::domain::session::EnvelopeVersion;
use crate::domain::{AccountId, SessionId, Target, UserId};

/// Each target reaches the sessions that SEMANTICS 4 says, each once, and no other.
pub(crate) async fn targets_are_whom_they_say(subject: &impl Subject) {
    let (one, other, user) = (fresh(), fresh(), fresh());
    let a = session(subject, one, "a", Some(user)).await;
    let b = session(subject, one, "b", None).await;
    let c = session(subject, other, "a", Some(user)).await;
    let target = |account: Option<i64>, user: Option<i64>, id: Option<&str>| Target {
        account: account.map(AccountId),
        user: user.map(UserId),
        session: id.map(|id| SessionId::parse(id).unwrap()),
    };
    let targets = [
        (target(Some(one), None, None), "account", 2),
        (target(None, Some(user), None), "user", 2),
        (target(Some(other), Some(user), None), "user of account", 1),
        (target(None, Some(user), Some("a")), "sessions of user", 2),
        (target(Some(one), None, Some("b")), "session", 1),
        (target(Some(one), Some(user), Some("b")), "not theirs", 0),
        (target(Some(fresh()), None, None), "no such account", 0),
        (target(None, Some(fresh()), None), "no such user", 0),
        (target(Some(one), None, Some("z")), "no such session", 0),
    ];
    for (target, text, sessions) in targets {
        let relayed = post(subject, parcel(subject, target, text)).await;
        assert_eq!(relayed.sessions, sessions, "{text}");
        assert_eq!(relayed.queues.len() as u64, sessions, "{text}");
    }
    let everyone = post(subject, parcel(subject, Target::default(), "everyone")).await;
    assert!(everyone.sessions >= 3);
    let both = "sessions of user";
    let expected = ["account", "everyone", both, "user"];
    assert_eq!(texts(&subject.received(&a).await), expected);
    let expected = ["account", "everyone", "session"];
    assert_eq!(texts(&subject.received(&b).await), expected);
    let expected = ["everyone", both, "user", "user of account"];
    assert_eq!(texts(&subject.received(&c).await), expected);
}

/// Sessions of an id in whichever account. An index may follow after a moment.
pub(crate) async fn a_session_is_found_by_its_id_alone(subject: &impl Subject) {
    let id = format!("alone-{}", fresh());
    let found = session(subject, fresh(), &id, None).await;
    let target = Target {
        session: Some(SessionId::parse(&id).unwrap()),
        ..Target::default()
    };
    let relayed = post(subject, parcel(subject, target, "x")).await;
    assert_eq!(relayed.sessions, 1);
    assert_eq!(texts(&subject.received(&found).await), ["x"]);
}

/// History keeps a message once for each user it is for, and for nobody if it is not to be kept.
pub(crate) async fn history_has_it_once_for_each_user(subject: &impl Subject) {
    let (account, user, other, absent) = (fresh(), fresh(), fresh(), fresh());
    for (id, user) in [
        ("a", Some(user)),
        ("b", Some(user)),
        ("c", Some(other)),
        ("d", None),
    ] {
        session(subject, account, id, user).await;
    }
    let account = Target {
        account: Some(AccountId(account)),
        ..Target::default()
    };
    post(subject, parcel(subject, account.clone(), "kept")).await;
    let mut passing = parcel(subject, account, "passing");
    passing.keep = false;
    post(subject, passing).await;
    post(subject, parcel(subject, to_user(absent), "offline")).await;
    let query = || Query {
        limit: 10,
        ..Query::default()
    };
    for (user, expected) in [(user, "kept"), (other, "kept"), (absent, "offline")] {
        let page = subject.history().page(UserId(user), query()).await.unwrap();
        assert_eq!(page.entries.len(), 1, "{expected}");
        assert!(String::from_utf8_lossy(&page.entries[0].1).contains(expected));
    }
}

/// What is handed over together is sealed, and so sent, in the order in which it was handed over, whomever it is for.
pub(crate) async fn a_group_keeps_its_order(subject: &impl Subject) {
    let (account, user) = (fresh(), fresh());
    let seen = session(subject, account, "seen", Some(user)).await;
    session(subject, account, "other", Some(fresh())).await;
    let of_account = Target {
        account: Some(AccountId(account)),
        ..Target::default()
    };
    let by_id = Target {
        session: Some(SessionId::parse("seen").unwrap()),
        ..of_account.clone()
    };
    let targets = [
        to_user(user),
        of_account,
        to_user(fresh()),
        by_id,
        Target::default(),
        to_user(user),
    ];
    let count = 10 * targets.len();
    let parcels = (0..count).map(|at| {
        let target = targets[at % targets.len()].clone();
        parcel(subject, target, &at.to_string())
    });
    let under_way = subject.relay().relay_all(parcels.collect());
    let relayed = join_all(under_way.into_iter().map(Result::unwrap)).await;
    let of_nobody: Vec<usize> = (0..count)
        .filter(|at| relayed[*at].as_ref().unwrap().sessions == 0)
        .collect();
    let not_seen = |at: &usize| at % targets.len() == 2;
    assert_eq!(of_nobody, (0..count).filter(not_seen).collect::<Vec<_>>());

    let cipher = super::cipher(&seen);
    let mut sent: Vec<(u64, usize)> = Vec::new();
    for envelope in subject.envelopes(&seen).await {
        let counter = envelope.split('|').next().unwrap().parse().unwrap();
        let message: serde_json::Value =
            serde_json::from_slice(&cipher.open(&envelope).unwrap()).unwrap();
        sent.push((counter, message["text"].as_str().unwrap().parse().unwrap()));
    }
    sent.sort_unstable();
    let sent: Vec<usize> = sent.into_iter().map(|(_, at)| at).collect();
    let expected: Vec<usize> = (0..count).filter(|at| !not_seen(at)).collect();
    assert_eq!(sent, expected);
}

/// No two messages of a session are sealed under one counter block, whichever node sends them.
pub(crate) async fn no_counter_is_used_twice(subject: &impl Subject) {
    const MESSAGES: usize = 40;
    let user = fresh();
    let v1 = session(subject, fresh(), "v1", Some(user)).await;
    let mut gcm = open(
        subject.clock().wall(),
        super::key(fresh(), "gcm"),
        Some(user),
    );
    gcm.envelope = EnvelopeVersion::V2;
    let gcm = subject.directory().open(gcm).await.unwrap().session;
    let relays = [subject.relay(), subject.other_relay()];
    let sending = (0..MESSAGES).map(|at| {
        let text = "x".repeat(at * 7);
        relays[at % 2]
            .relay(parcel(subject, to_user(user), &text))
            .unwrap()
    });
    for relayed in join_all(sending).await {
        assert_eq!(relayed.unwrap().sessions, 2);
    }
    for (session, number) in [(&v1, 0), (&gcm, 1)] {
        let envelopes = subject.envelopes(session).await;
        assert_eq!(envelopes.len(), MESSAGES);
        let cipher = super::cipher(session);
        let mut used: Vec<(u64, u64)> = envelopes
            .iter()
            .map(|envelope| {
                let counter = envelope.split('|').nth(number).unwrap();
                let first: u64 = counter.parse().unwrap();
                let length = cipher.open(envelope).unwrap().len();
                (first, first + cipher.blocks(length).max(1))
            })
            .collect();
        used.sort_unstable();
        assert!(used[0].0 >= crate::envelope::FIRST_COUNTER);
        assert!(
            used.windows(2).all(|pair| pair[0].1 <= pair[1].0),
            "{used:?}"
        );
    }
}
