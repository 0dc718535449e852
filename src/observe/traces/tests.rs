//! What is followed, for how long, and no more than the limits.

use super::*;
use crate::domain::{AccountId, SessionId};

const LONG: Duration = Duration::from_secs(60);

fn id(text: &str) -> MessageId {
    MessageId::parse(text).unwrap()
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + millis)
}

fn user(user: i64) -> Target {
    Target {
        user: Some(UserId(user)),
        ..Target::default()
    }
}

fn read() -> What {
    What::Read { user: UserId(7) }
}

#[test]
fn nothing_is_noted_until_somebody_asks_and_not_for_ever() {
    let traces = Traces::new(10);
    assert!(traces.accept(&id("a"), &user(7), 1, at(0)).is_none());
    assert!(!traces.is_noting(at(0)));
    traces.watch(user(7), LONG, at(0)).unwrap();
    assert!(traces.accept(&id("b"), &user(7), 1, at(1)).is_some());
    assert!(traces.is_noting(at(1)));
    let over = at(60_000);
    assert!(traces.accept(&id("c"), &user(7), 1, over).is_none());
    assert_eq!(traces.watches(over), []);
    // What began goes on for a while, so that a slow client's acknowledgement is seen, too.
    assert!(traces.is_noting(over));
    assert!(!traces.is_noting(at(1).plus(LIFE)));
    assert!(traces.get(&id("a")).is_none() && traces.get(&id("c")).is_none());
    assert!(traces.get(&id("b")).is_some());
}

#[test]
fn a_target_is_watched_with_everything_that_may_reach_it() {
    let session = |account, session: &str| Target {
        account: Some(AccountId(account)),
        session: Some(SessionId::parse(session).unwrap()),
        ..Target::default()
    };
    let account = |account| Target {
        account: Some(AccountId(account)),
        ..Target::default()
    };
    for (watched, target, expect) in [
        (Target::default(), user(7), true),
        (user(7), Target::default(), true),
        (user(7), user(7), true),
        (user(7), user(8), false),
        (session(1, "s"), account(1), true),
        (session(1, "s"), account(2), false),
        (session(1, "s"), session(1, "t"), false),
    ] {
        let traces = Traces::new(10);
        traces.watch(watched.clone(), LONG, at(0)).unwrap();
        let found = traces.accept(&id("m"), &target, 1, at(1)).is_some();
        assert_eq!(found, expect, "{watched:?} {target:?}");
    }
}

#[test]
fn steps_come_by_either_id_in_order() {
    let traces = Traces::new(10);
    let followed = traces.announce(&id("m"), at(0));
    let (queue_id, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    assert!(traces.accept(&id("m"), &user(7), 5, at(1)).is_some());
    followed.is_in_queues_as(queue_id);
    traces.note_in_queue(queue_id, at(2), read);
    traces.note_in_queue(other, at(3), || unreachable!("it is not followed"));
    traces.note(&id("m"), at(4), read());
    let trace = traces.get(&id("m")).unwrap();
    let times: Vec<_> = trace.steps.iter().map(|step| step.at).collect();
    assert_eq!(times, [at(1), at(2), at(4)]);
    let to = Destination::Sessions(user(7));
    assert_eq!(trace.steps[0].what, What::Accepted { to, bytes: 5 });
}

#[test]
fn so_many_messages_are_kept_and_the_oldest_goes() {
    let traces = Traces::new(3);
    for n in 0..5_u128 {
        let followed = traces.announce(&id(&n.to_string()), at(0));
        followed.is_in_queues_as(Uuid::from_u128(n));
    }
    let newest: Vec<_> = traces
        .newest(10)
        .into_iter()
        .map(|trace| trace.message)
        .collect();
    assert_eq!(newest, [id("4"), id("3"), id("2")]);
    let kept = traces.kept();
    assert_eq!((kept.by_message.len(), kept.by_queue_id.len()), (3, 3));
    drop(kept);
    assert!(traces.get(&id("1")).is_none());
    traces.note_in_queue(Uuid::from_u128(4), at(1), read);
    assert_eq!(traces.get(&id("4")).unwrap().steps.len(), 1);
    // A message that comes again under its id goes on where it was.
    traces
        .announce(&id("4"), at(2))
        .is_in_queues_as(Uuid::from_u128(9));
    assert_eq!(traces.kept().by_queue_id.len(), 3);
}

#[test]
fn steps_watches_and_beginnings_are_bounded() {
    let traces = Traces::new(1000);
    traces.announce(&id("m"), at(0));
    for _ in 0..limits::STEPS + 7 {
        traces.note(&id("m"), at(1), read());
    }
    let trace = traces.get(&id("m")).unwrap();
    assert_eq!((trace.steps.len(), trace.left_out), (limits::STEPS, 7));

    for n in 0..limits::WATCHES {
        traces.watch(user(n as i64), LONG, at(0)).unwrap();
    }
    assert_eq!(
        traces.watch(user(-1), LONG, at(0)),
        Err(TooManyWatches(limits::WATCHES))
    );
    traces.watch(user(0), 2 * LONG, at(0)).unwrap();
    traces.watch(user(-1), LONG, at(60_000)).unwrap();
    assert_eq!(traces.watches(at(60_000)).len(), 2);

    let begin = |n: usize, at| {
        traces
            .accept(&id(&format!("r{n}")), &user(0), 1, at)
            .is_some()
    };
    let began = (0..limits::PER_SECOND + 5)
        .filter(|n| begin(*n, at(0)))
        .count();
    assert_eq!(began, limits::PER_SECOND);
    assert!(
        begin(limits::PER_SECOND + 5, at(1000)),
        "in the next second there is time again"
    );
}
