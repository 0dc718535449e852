//! Queues: their URLs, lists, attributes, tags and permissions, dead letters.

use super::*;

#[actix_rt::test]
async fn queue_urls_are_read_by_account_and_name() {
    let f = Fixture::new();
    let url = f.create("q").await;
    let check = async |url: &str, expect: (u16, &str)| {
        let answered = f.json("ReceiveMessage", json!({ "QueueUrl": url })).await;
        assert_eq!(answered.fault(), (expect.0, expect.1.to_owned()), "{url}");
    };
    check(&url, (200, "")).await;
    check(&format!("https://elsewhere/x/{ACCOUNT}/q"), (200, "")).await;
    let no_queue = (400, "QueueDoesNotExist");
    check(&url.replace(ACCOUNT, "210987654321"), no_queue).await;
    check(&url.replace("/q", "/r"), no_queue).await;
    check(&url.replace("/q", "/q.q"), no_queue).await;
    check("http://host/", (404, "InvalidAddress")).await;
    check("", (400, "MissingRequiredParameterException")).await;

    let of_another = json!({"QueueName": "q", "QueueOwnerAWSAccountId": "210987654321"});
    let answered = f.json("GetQueueUrl", of_another).await;
    assert_eq!(answered.fault(), (400, "QueueDoesNotExist".into()));
    let own = json!({"QueueName": "q", "QueueOwnerAWSAccountId": ACCOUNT});
    assert_eq!(f.ok("GetQueueUrl", own).await["QueueUrl"], url.as_str());

    for operation in ["CreateQueue", "ListQueues"] {
        let path = format!("/{ACCOUNT}/q");
        let answered = f.query(&path, operation, "QueueName=r").await;
        assert_eq!(answered.status, 400);
        let text = format!(
            "<Code>InvalidAction</Code><Message>The action {operation} is not valid for this endpoint.</Message>"
        );
        assert!(answered.text.contains(&text), "{}", answered.text);
    }
}

#[actix_rt::test]
async fn lists_come_in_pages() {
    let f = Fixture::new();
    for name in ["a1", "a2", "a3", "b1"] {
        f.create(name).await;
    }
    let page = f
        .ok(
            "ListQueues",
            json!({"QueueNamePrefix": "a", "MaxResults": 2}),
        )
        .await;
    assert_eq!(page["QueueUrls"].as_array().unwrap().len(), 2);
    let token = page["NextToken"].clone();
    let rest = json!({"QueueNamePrefix": "a", "MaxResults": 2, "NextToken": token});
    let rest = f.ok("ListQueues", rest).await;
    assert_eq!(
        rest,
        json!({"QueueUrls": [format!("http://{HOST}/{ACCOUNT}/a3")]})
    );
    let all = f.ok("ListQueues", json!({})).await;
    assert_eq!(all["QueueUrls"].as_array().unwrap().len(), 4);
    assert_eq!(
        f.ok("ListQueues", json!({"QueueNamePrefix": "c"})).await,
        json!({})
    );
}

#[actix_rt::test]
async fn attributes_tags_and_permissions_are_kept() {
    let f = Fixture::new();
    let url = f.create("q").await;
    let set = json!({"QueueUrl": url, "Attributes": {"VisibilityTimeout": "7"}});
    assert_eq!(f.ok("SetQueueAttributes", set).await, json!({}));
    let get = |name: &str| json!({"QueueUrl": url, "AttributeNames": [name]});
    let shown = f.ok("GetQueueAttributes", get("VisibilityTimeout")).await;
    assert_eq!(shown["Attributes"], json!({"VisibilityTimeout": "7"}));
    let arn = f.ok("GetQueueAttributes", get("QueueArn")).await;
    let expect = format!("arn:aws:sqs:us-east-1:{ACCOUNT}:q");
    assert_eq!(arn["Attributes"]["QueueArn"], expect.as_str());
    assert_eq!(
        f.ok("GetQueueAttributes", json!({ "QueueUrl": url })).await,
        json!({})
    );

    let differs = json!({"QueueName": "q", "Attributes": {"VisibilityTimeout": "8"}});
    let answered = f.json("CreateQueue", differs).await;
    assert_eq!(answered.fault(), (400, "QueueNameExists".into()));
    let code = answered.headers.get("x-amzn-query-error").unwrap();
    assert_eq!(code, "QueueAlreadyExists;Sender");

    f.ok(
        "TagQueue",
        json!({"QueueUrl": url, "Tags": {"a": "1", "b": ""}}),
    )
    .await;
    f.ok(
        "UntagQueue",
        json!({"QueueUrl": url, "TagKeys": ["a", "z"]}),
    )
    .await;
    let tags = f.ok("ListQueueTags", json!({ "QueueUrl": url })).await;
    assert_eq!(tags, json!({"Tags": {"b": ""}}));

    let permission = json!({
        "QueueUrl": url, "Label": "l", "AWSAccountIds": ["111111111111"], "Actions": ["SendMessage"],
    });
    f.ok("AddPermission", permission.clone()).await;
    let shown = f.ok("GetQueueAttributes", get("Policy")).await;
    assert!(
        shown["Attributes"]["Policy"]
            .as_str()
            .unwrap()
            .contains("SQS:SendMessage")
    );
    let again = f.json("AddPermission", permission).await;
    assert_eq!(
        again.fault(),
        (400, "InvalidParameterValueException".into())
    );
    f.ok("RemovePermission", json!({"QueueUrl": url, "Label": "l"}))
        .await;
    assert_eq!(f.ok("GetQueueAttributes", get("Policy")).await, json!({}));

    assert_eq!(
        f.ok("PurgeQueue", json!({ "QueueUrl": url })).await,
        json!({})
    );
    let again = f.json("PurgeQueue", json!({ "QueueUrl": url })).await;
    assert_eq!(again.fault(), (403, "PurgeQueueInProgress".into()));
    assert_eq!(
        f.ok("DeleteQueue", json!({ "QueueUrl": url })).await,
        json!({})
    );
    let soon = f.json("CreateQueue", json!({"QueueName": "q"})).await;
    assert_eq!(soon.fault(), (400, "QueueDeletedRecently".into()));
}

#[actix_rt::test]
async fn dead_letters_have_sources_and_move_tasks() {
    let f = Fixture::new();
    let dead = f.create("dead").await;
    let arn = format!("arn:aws:sqs:us-east-1:{ACCOUNT}:dead");
    let policy = json!({"deadLetterTargetArn": arn, "maxReceiveCount": 1}).to_string();
    let live = json!({"QueueName": "live", "Attributes": {"RedrivePolicy": policy}});
    let live = f.ok("CreateQueue", live).await["QueueUrl"].take();
    let sources = f
        .ok("ListDeadLetterSourceQueues", json!({ "QueueUrl": dead }))
        .await;
    assert_eq!(sources, json!({"queueUrls": [live]}));

    let started = f
        .ok("StartMessageMoveTask", json!({ "SourceArn": arn }))
        .await;
    assert!(started["TaskHandle"].is_string(), "{started}");
    let tasks = f
        .ok("ListMessageMoveTasks", json!({ "SourceArn": arn }))
        .await;
    assert_eq!(tasks["Results"][0]["SourceArn"], arn.as_str());

    let missing = arn.replace("dead", "missing");
    let not_found = (404, "ResourceNotFoundException".to_owned());
    let answered = f
        .json("StartMessageMoveTask", json!({ "SourceArn": missing }))
        .await;
    assert_eq!(answered.fault(), not_found);
    let to = json!({"SourceArn": arn, "DestinationArn": missing});
    assert_eq!(f.json("StartMessageMoveTask", to).await.fault(), not_found);
    let no_arn = f
        .json("ListMessageMoveTasks", json!({"SourceArn": "dead"}))
        .await;
    assert_eq!(
        no_arn.fault(),
        (400, "InvalidParameterValueException".into())
    );
    let unknown = f
        .json("CancelMessageMoveTask", json!({"TaskHandle": "x"}))
        .await;
    assert!((400..500).contains(&unknown.status), "{}", unknown.text);
}
