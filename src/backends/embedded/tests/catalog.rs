//! Names of queues.

use super::*;

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
