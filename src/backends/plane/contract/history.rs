//! Cases of [`UserHistory`](super::super::UserHistory).

use std::time::Duration;

use super::{HISTORY_LIFE, Subject, fresh, parcel, post, session, to_user};
use crate::backends::plane::Parcel;
use crate::domain::history::{Page, Query, Unread};
use crate::domain::{MessageId, Timestamp, UserId};

/// A message to a user, accepted so many seconds ago.
fn ago(subject: &impl Subject, user: i64, text: &str, seconds: u64) -> Parcel {
    let mut parcel = parcel(subject, to_user(user), text);
    parcel.now = Timestamp(parcel.now.micros() - seconds * 1_000_000);
    parcel
}

fn query() -> Query {
    Query {
        limit: 100,
        ..Query::default()
    }
}

fn shown(page: &Page) -> Vec<String> {
    let text = |(_, text): &(_, bytes::Bytes)| {
        let json: serde_json::Value = serde_json::from_slice(text).unwrap();
        json["text"].as_str().unwrap().to_owned()
    };
    page.entries.iter().map(text).collect()
}

/// Newest first, in pages, by time and by type.
pub(crate) async fn pages_are_what_is_asked_for(subject: &impl Subject) {
    let user = fresh();
    let mut times = Vec::new();
    for (at, seconds) in [40, 30, 20, 10].into_iter().enumerate() {
        let mut parcel = ago(subject, user, &at.to_string(), seconds);
        parcel.kind = Some(["even", "odd"][at % 2].into());
        times.push(parcel.now);
        post(subject, parcel).await;
    }
    let page = async |query: Query| subject.history().page(UserId(user), query).await.unwrap();
    assert_eq!(shown(&page(query()).await), ["3", "2", "1", "0"]);
    let first = page(Query {
        limit: 3,
        ..query()
    })
    .await;
    assert_eq!(shown(&first), ["3", "2", "1"]);
    let rest = page(Query {
        before: first.next,
        limit: 3,
        ..query()
    })
    .await;
    assert_eq!((shown(&rest), rest.next), (vec!["0".to_owned()], None));
    let between = Query {
        start: Some(times[1]),
        end: Some(times[2]),
        ..query()
    };
    assert_eq!(shown(&page(between).await), ["2", "1"]);
    let odd = Query {
        kinds: vec!["odd".into()],
        ..query()
    };
    assert_eq!(shown(&page(odd).await), ["3", "1"]);
    let (entry, _) = &page(query()).await.entries[0];
    assert_eq!((entry.created, entry.read), (times[3], false));
    assert_eq!(entry.expires, times[3].plus(HISTORY_LIFE));
}

/// An id that comes again replaces the entry, which is unread then.
pub(crate) async fn an_id_that_comes_again_replaces(subject: &impl Subject) {
    let user = fresh();
    let first = parcel(subject, to_user(user), "first");
    let mut second = parcel(subject, to_user(user), "second");
    second.message_id = first.message_id.clone();
    let ids = vec![first.message_id.clone()];
    post(subject, first).await;
    let read = subject
        .history()
        .set_read(UserId(user), Unread::Ids(ids))
        .await;
    assert_eq!(read.unwrap().len(), 1);
    post(subject, second).await;
    let page = subject.history().page(UserId(user), query()).await.unwrap();
    assert_eq!(shown(&page), ["second"]);
    assert_eq!(subject.history().unread(UserId(user)).await, Ok(1));
}

/// An entry whose time has passed is not shown, not counted and not receipted.
pub(crate) async fn what_has_expired_is_gone(subject: &impl Subject) {
    let user = fresh();
    let over = ago(subject, user, "over", HISTORY_LIFE.as_secs() + 1);
    let ids = vec![over.message_id.clone()];
    post(subject, over).await;
    post(
        subject,
        ago(subject, user, "nearly", HISTORY_LIFE.as_secs() - 60),
    )
    .await;
    let page = subject.history().page(UserId(user), query()).await.unwrap();
    assert_eq!(shown(&page), ["nearly"]);
    assert_eq!(subject.history().unread(UserId(user)).await, Ok(1));
    let read = subject
        .history()
        .set_read(UserId(user), Unread::Ids(ids))
        .await;
    assert_eq!(read, Ok(Vec::new()));
}

/// Receipts change what is unread, once, and the user's sessions are told of what changed.
pub(crate) async fn receipts_are_made_once_and_told(subject: &impl Subject) {
    let (user, unknown) = (fresh(), MessageId::parse("unknown").unwrap());
    let client = session(subject, fresh(), "s", Some(user)).await;
    let parcels: Vec<Parcel> = [30, 20, 10]
        .into_iter()
        .map(|seconds| ago(subject, user, "x", seconds))
        .collect();
    let ids: Vec<MessageId> = parcels
        .iter()
        .map(|parcel| parcel.message_id.clone())
        .collect();
    let second = parcels[1].now;
    for parcel in parcels {
        post(subject, parcel).await;
    }
    assert_eq!(subject.received(&client).await.len(), 3);
    let history = subject.history();
    let set = |which| history.set_read(UserId(user), which);
    let named = Unread::Ids(vec![ids[0].clone(), unknown]);
    assert_eq!(set(named.clone()).await, Ok(vec![ids[0].clone()]));
    assert_eq!(set(named).await, Ok(Vec::new()));
    assert_eq!(history.unread(UserId(user)).await, Ok(2));
    assert_eq!(set(Unread::AsOf(second)).await, Ok(vec![ids[1].clone()]));
    history
        .set_read_later(UserId(user), Unread::Ids(vec![ids[2].clone()]))
        .await
        .unwrap();
    let mut notices = Vec::new();
    for _ in 0..100 {
        notices.extend(subject.received(&client).await);
        if notices.len() >= 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let told: Vec<_> = notices
        .iter()
        .map(|notice| &notice["messages-receipted"])
        .collect();
    assert_eq!(told.len(), 3, "{notices:?}");
    for (at, told) in told.iter().enumerate() {
        assert_eq!(**told, serde_json::json!([ids[at].as_str()]));
    }
    assert!(
        notices
            .iter()
            .all(|notice| notice["_type"] == "message-read-receipt")
    );
    assert_eq!(history.unread(UserId(user)).await, Ok(0));
    let page = history.page(UserId(user), query()).await.unwrap();
    assert_eq!(page.entries.len(), 3, "a notice is kept by no history");
    assert!(page.entries.iter().all(|(entry, _)| entry.read));
}
