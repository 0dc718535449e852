//! What session keys may do, and what only operators may.

use super::*;

#[test]
fn session_keys_may_use_only_what_the_contract_grants() {
    let open: Vec<_> = OPERATIONS
        .iter()
        .filter(|operation| operation.access != Access::Operator)
        .map(|operation| (operation.name, operation.access))
        .collect();
    let expect = [
        "ChangeMessageVisibility",
        "ChangeMessageVisibilityBatch",
        "DeleteMessage",
        "DeleteMessageBatch",
        "GetQueueAttributes",
        "GetQueueUrl",
        "PurgeQueue",
        "ReceiveMessage",
    ];
    assert_eq!(open, expect.map(|name| (name, Access::OperatorOrOwner)));
}

#[actix_rt::test]
async fn a_session_reaches_its_own_queue_only() {
    let f = Fixture::new();
    let (own, other) = (f.create("own").await, f.create("other").await);
    let missing = own.replace("own", "missing");
    let invalid = own.replace("own", "in.valid");
    let denied = (403, "AccessDeniedException".to_owned());
    let owned = OPERATIONS.iter().filter(|o| o.access != Access::Operator);
    for operation in owned.map(|o| o.name) {
        let body = |url: &str| {
            let name = url.rsplit('/').next();
            json!({
                "QueueUrl": url, "QueueName": name, "ReceiptHandle": "x", "VisibilityTimeout": 1,
                "Entries": [{"Id": "a", "ReceiptHandle": "x", "VisibilityTimeout": 1}],
            })
        };
        // Whether a queue exists that is not the session's own, the session does not learn.
        for url in [&other, &missing, &invalid] {
            let answered = f.json_as(session("own"), operation, body(url)).await;
            assert_eq!(answered.fault(), denied, "{operation} {url}");
        }
        let answered = f.json_as(session("own"), operation, body(&own)).await;
        assert_ne!(answered.status, 403, "{operation}: {}", answered.text);
    }
    let only_operators = OPERATIONS.iter().filter(|o| o.access == Access::Operator);
    for operation in only_operators.map(|o| o.name) {
        let body = json!({"QueueUrl": own, "QueueName": "own", "MessageBody": "x"});
        let answered = f.json_as(session("own"), operation, body.clone()).await;
        assert_eq!(answered.fault(), denied, "{operation}");
        let answered = f.json_as(Caller::Anonymous, operation, body).await;
        assert_eq!(answered.fault(), denied, "{operation}");
    }
}
