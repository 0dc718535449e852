//! Messages: in and out, in batches, and what becomes of a poll that nobody waits for any more.

use super::*;

#[actix_rt::test]
async fn a_message_goes_in_and_out_by_json() {
    let f = Fixture::new();
    let url = f.create("q").await;
    assert_eq!(url, format!("http://{HOST}/{ACCOUNT}/q"));
    let attributes = json!({"Foo": {"DataType": "String", "StringValue": "Bar"}});
    let sent = f
        .ok(
            "SendMessage",
            json!({"QueueUrl": url, "MessageBody": "hello", "MessageAttributes": attributes}),
        )
        .await;
    assert_eq!(sent["MD5OfMessageBody"], "5d41402abc4b2a76b9719d911017c592");
    assert_eq!(
        sent["MD5OfMessageAttributes"],
        "ae7155c6026991b6d54b11589678bf9c"
    );
    let ask = json!({
        "QueueUrl": url, "MessageAttributeNames": ["All"], "AttributeNames": ["All"],
    });
    let message = f.ok("ReceiveMessage", ask.clone()).await["Messages"][0].take();
    assert_eq!(message["Body"], "hello");
    assert_eq!(message["MessageId"], sent["MessageId"]);
    assert_eq!(
        message["MessageAttributes"],
        json!({"Foo": {"DataType": "String", "StringValue": "Bar"}})
    );
    assert_eq!(message["Attributes"]["ApproximateReceiveCount"], "1");
    assert_eq!(message["Attributes"]["SenderId"], ACCOUNT);

    let names = [
        "ApproximateNumberOfMessages",
        "ApproximateNumberOfMessagesNotVisible",
    ];
    let counts = json!({"QueueUrl": url, "AttributeNames": names});
    let shown = f.ok("GetQueueAttributes", counts.clone()).await;
    assert_eq!(shown["Attributes"], json!({names[0]: "0", names[1]: "1"}));

    let handle = message["ReceiptHandle"].clone();
    let now = json!({"QueueUrl": url, "ReceiptHandle": handle, "VisibilityTimeout": 0});
    assert_eq!(f.ok("ChangeMessageVisibility", now).await, json!({}));
    let again = f.ok("ReceiveMessage", ask.clone()).await["Messages"][0].take();
    let delete = json!({"QueueUrl": url, "ReceiptHandle": again["ReceiptHandle"]});
    assert_eq!(f.ok("DeleteMessage", delete).await, json!({}));
    assert_eq!(f.ok("ReceiveMessage", ask).await, json!({}));
    assert_eq!(
        f.ok("GetQueueAttributes", counts).await["Attributes"][names[1]],
        "0"
    );
}

#[actix_rt::test]
async fn a_message_goes_in_and_out_by_query() {
    let f = Fixture::new();
    let created = f.query("/", "CreateQueue", "QueueName=q").await;
    let url = format!("http://{HOST}/{ACCOUNT}/q");
    assert!(
        created
            .text
            .contains(&format!("<QueueUrl>{url}</QueueUrl>")),
        "{}",
        created.text
    );
    let content_type = created.headers.get("content-type").unwrap();
    assert_eq!(content_type, "text/xml");

    // To the queue's URL, without naming it again.
    let path = format!("/{ACCOUNT}/q");
    let sent = f
        .query(&path, "SendMessage", "MessageBody=%3Chello+%C3%A9%3E")
        .await;
    assert_eq!(sent.status, 200, "{}", sent.text);
    let received = f
        .query("/", "ReceiveMessage", &format!("QueueUrl={url}"))
        .await;
    assert!(
        received.text.contains("<Body>&lt;hello é&gt;</Body>"),
        "{}",
        received.text
    );
    let handle = received.text.split("<ReceiptHandle>").nth(1).unwrap();
    let handle = handle.split("</ReceiptHandle>").next().unwrap();
    let deleted = f
        .query(&path, "DeleteMessage", &format!("ReceiptHandle={handle}"))
        .await;
    assert!(
        deleted.text.contains("<DeleteMessageResponse"),
        "{}",
        deleted.text
    );

    // The same by GET and answered in JSON.
    let get = inbound(
        Method::GET,
        "/",
        "Action=ListQueues&Version=2012-11-05",
        headers(&[(ACCEPT, "application/json")]),
        "",
    );
    let listed = f.send(operator(), "ListQueues", get).await.json();
    assert_eq!(
        listed["ListQueuesResponse"]["ListQueuesResult"]["queueUrls"],
        json!([url])
    );
}

#[actix_rt::test]
async fn batches_answer_each_entry() {
    let f = Fixture::new();
    let url = f.create("q").await;
    let entries = json!([
        {"Id": "a", "MessageBody": "1"},
        {"Id": "b", "MessageBody": "2", "DelaySeconds": 901},
        {"Id": "c", "MessageBody": "3"},
    ]);
    let sent = f
        .ok(
            "SendMessageBatch",
            json!({"QueueUrl": url, "Entries": entries}),
        )
        .await;
    let ids = |list: &Value| -> Vec<String> {
        let entries = list.as_array().unwrap();
        entries
            .iter()
            .map(|e| e["Id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids(&sent["Successful"]), ["a", "c"]);
    assert_eq!(ids(&sent["Failed"]), ["b"]);
    assert_eq!(
        sent["Successful"][1]["MD5OfMessageBody"],
        "eccbc87e4b5ce2fe28308fd9f2a7baf3"
    );

    let ask = json!({"QueueUrl": url, "MaxNumberOfMessages": 10});
    let received = f.ok("ReceiveMessage", ask).await;
    let handles: Vec<_> = received["Messages"].as_array().unwrap().iter().collect();
    assert_eq!(handles.len(), 2);
    let longer = json!({"QueueUrl": url, "Entries": [
        {"Id": "x", "ReceiptHandle": handles[0]["ReceiptHandle"], "VisibilityTimeout": 60},
        {"Id": "y", "ReceiptHandle": "nonsense", "VisibilityTimeout": 60},
    ]});
    let changed = f.ok("ChangeMessageVisibilityBatch", longer).await;
    assert_eq!(ids(&changed["Successful"]), ["x"]);
    assert_eq!(changed["Failed"][0]["Code"], "ReceiptHandleIsInvalid");
    let delete = json!({"QueueUrl": url, "Entries": [
        {"Id": "x", "ReceiptHandle": handles[0]["ReceiptHandle"]},
        {"Id": "y", "ReceiptHandle": handles[1]["ReceiptHandle"]},
    ]});
    let deleted = f.ok("DeleteMessageBatch", delete).await;
    assert_eq!(deleted, json!({"Successful": [{"Id": "x"}, {"Id": "y"}]}));
}

#[actix_rt::test]
async fn a_dropped_poll_takes_no_message() {
    let f = Fixture::new();
    let url = f.create("q").await;
    let ask =
        |wait: u64| json!({"QueueUrl": url, "WaitTimeSeconds": wait, "AttributeNames": ["All"]});
    let poll = f.json("ReceiveMessage", ask(20));
    let dropped = actix_rt::time::timeout(Duration::from_millis(100), poll).await;
    assert!(dropped.is_err(), "the poll waits");
    f.ok("SendMessage", json!({"QueueUrl": url, "MessageBody": "x"}))
        .await;
    let received = f.ok("ReceiveMessage", ask(0)).await;
    let count = &received["Messages"][0]["Attributes"]["ApproximateReceiveCount"];
    assert_eq!(count, "1", "{received}");
}
