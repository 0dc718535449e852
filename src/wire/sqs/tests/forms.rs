//! Requests and refusals in both protocols.

use super::*;

#[test]
fn operations_are_all_there_once() {
    let names: Vec<_> = OPERATIONS.iter().map(|operation| operation.name).collect();
    assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
    assert_eq!(names.len(), 23);
}

#[actix_rt::test]
async fn what_can_not_be_read_changes_nothing() {
    let f = Fixture::new();
    let malformed = (400, "SerializationException".to_owned());
    for body in [
        json!({"QueueName": 5}),
        json!([]),
        json!({"QueueName": "q", "tags": "x"}),
    ] {
        assert_eq!(f.json("CreateQueue", body).await.fault(), malformed);
    }
    let twice = f.query("/", "CreateQueue", "QueueName=q&QueueName=r").await;
    assert_eq!(twice.status, 400);
    assert!(
        twice.text.contains("<Code>MalformedInput</Code>"),
        "{}",
        twice.text
    );
    assert_eq!(f.ok("ListQueues", json!({})).await, json!({}));
}

#[test]
fn refusals_take_the_form_of_the_request() {
    let text = |inbound: &Inbound, refusal: &Refusal| {
        let response = SqsWire.refuser(inbound)(refusal);
        let status = response.status().as_u16();
        let body = response.into_body().try_into_bytes().unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    };
    let json = json_call("Nothing", &json!({}));
    assert!(SqsWire.claims(&json));
    assert_eq!(SqsWire.operation(&json).as_deref(), Some("Nothing"));
    let (status, body) = text(&json, &Refusal::UnknownOperation("Nothing".into()));
    assert_eq!(status, 400);
    assert!(
        body.contains("UnknownOperationException") && body.contains("Nothing"),
        "{body}"
    );

    let query = query_call("/", "Action=Nothing&Version=2012-11-05");
    let (status, body) = text(&query, &Refusal::UnknownOperation("Nothing".into()));
    assert_eq!(status, 400);
    assert!(body.contains("<Code>InvalidAction</Code>"), "{body}");

    let bare = inbound(
        Method::GET,
        &format!("/{ACCOUNT}/q"),
        "",
        HeaderMap::new(),
        "",
    );
    assert!(SqsWire.claims(&bare));
    assert_eq!(SqsWire.operation(&bare), None);
    let (status, body) = text(&bare, &Refusal::UnknownOperation(String::new()));
    assert_eq!((status, body.trim()), (404, "<UnknownOperationException/>"));

    let elsewhere = inbound(Method::GET, "/status", "", HeaderMap::new(), "");
    assert!(!SqsWire.claims(&elsewhere));
}
