//! Each limit is reached, and not passed, through the door.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::*;
use crate::app::testing::ACCOUNT;
use crate::config::limits::{self, cognito, http as web, kinesis as stream, sqs};

/// `count` things made of their numbers.
fn many(count: usize, make: impl Fn(usize) -> Value) -> Value {
    (0..count).map(make).collect()
}

/// What `make` gives for a limit, and for one more.
fn pair(limit: usize, make: impl Fn(usize) -> Value) -> [Value; 2] {
    [make(limit), make(limit + 1)]
}

/// An operation that takes the first body and refuses the second.
async fn check(given: &Composed, operation: &str, [most, more]: [Value; 2]) {
    let taken = given.sqs(&operator(), operation, &most).await;
    let refused = given.sqs(&operator(), operation, &more).await;
    let short =
        |answer: &super::super::testing::Answer| answer.text.chars().take(300).collect::<String>();
    assert_eq!(taken.status, 200, "{operation} {}", short(&taken));
    let told = (400..500).contains(&refused.status);
    assert!(told, "{operation} {} {}", refused.status, short(&refused));
}

/// A queue of this name and its attributes.
async fn queue(given: &Composed, name: &str, attributes: Value) -> Value {
    let create = json!({"QueueName": name, "Attributes": attributes});
    let created = given.sqs(&operator(), "CreateQueue", &create).await;
    assert_eq!(created.status, 200, "{created:?}");
    created.json()["QueueUrl"].take()
}

#[actix::test]
async fn of_messages_in_sqs() {
    let given = Composed::new();
    let url = &queue(&given, "q", json!({})).await;
    let fifo = &queue(&given, "q.fifo", json!({"FifoQueue": "true"})).await;
    let send = |mut more: Value| {
        more["QueueUrl"] = url.clone();
        more["MessageBody"] = "x".into();
        more
    };
    let attribute = json!({"DataType": "String", "StringValue": "x"});
    let attributes = |names: Vec<String>| {
        let named = names.into_iter().map(|name| (name, attribute.clone()));
        send(json!({"MessageAttributes": serde_json::Map::from_iter(named)}))
    };
    let batch = |ids: Vec<String>| {
        let entries = many(ids.len(), |n| json!({"Id": ids[n], "MessageBody": "x"}));
        json!({"QueueUrl": url, "Entries": entries})
    };
    let in_order = |field: &str, chars: usize| {
        let mut message = json!({
            "QueueUrl": fifo, "MessageBody": "x", "MessageGroupId": "g", "MessageDeduplicationId": "d",
        });
        message[field] = "t".repeat(chars).into();
        message
    };
    let numbered = |count: usize| (0..count).map(|n| format!("n{n}")).collect();
    for (operation, bodies) in [
        (
            "SendMessageBatch",
            pair(sqs::BATCH_ENTRIES, |n| batch(numbered(n))),
        ),
        (
            "SendMessageBatch",
            pair(sqs::BATCH_ID_CHARS, |n| batch(vec!["i".repeat(n)])),
        ),
        (
            "SendMessage",
            pair(
                sqs::MESSAGE_BYTES,
                |n| json!({"QueueUrl": url, "MessageBody": "x".repeat(n)}),
            ),
        ),
        (
            "SendMessage",
            pair(sqs::MESSAGE_ATTRIBUTES, |n| attributes(numbered(n))),
        ),
        (
            "SendMessage",
            pair(sqs::ATTRIBUTE_NAME_CHARS, |n| {
                attributes(vec!["a".repeat(n)])
            }),
        ),
        (
            "SendMessage",
            pair(sqs::TOKEN_CHARS, |n| in_order("MessageGroupId", n)),
        ),
        (
            "SendMessage",
            pair(sqs::TOKEN_CHARS, |n| in_order("MessageDeduplicationId", n)),
        ),
        (
            "SendMessage",
            pair(sqs::DELAY_SECONDS as usize, |n| {
                send(json!({ "DelaySeconds": n }))
            }),
        ),
        (
            "ReceiveMessage",
            pair(
                sqs::RECEIVE_MESSAGES as usize,
                |n| json!({"QueueUrl": url, "VisibilityTimeout": 0, "MaxNumberOfMessages": n}),
            ),
        ),
        (
            "ReceiveMessage",
            pair(
                sqs::WAIT_SECONDS as usize,
                |n| json!({"QueueUrl": url, "VisibilityTimeout": 0, "WaitTimeSeconds": n}),
            ),
        ),
        (
            "ReceiveMessage",
            pair(
                sqs::VISIBILITY_SECONDS as usize,
                |n| json!({"QueueUrl": url, "VisibilityTimeout": n}),
            ),
        ),
    ] {
        check(&given, operation, bodies).await;
    }
}

#[actix::test]
async fn of_queues_in_sqs() {
    let given = Composed::new();
    let url = &queue(&given, "q", json!({})).await;
    let tag = |key: usize, value: usize| json!({"QueueUrl": url, "Tags": {"k".repeat(key): "v".repeat(value)}});
    let tags = |count: usize| {
        let tags = (0..count).map(|n| (n.to_string(), Value::from("v")));
        json!({"QueueName": "tagged", "tags": serde_json::Map::from_iter(tags)})
    };
    let sources = |count: usize| {
        let arns = many(count, |n| {
            format!("arn:aws:sqs:us-east-1:{ACCOUNT}:q{n}").into()
        });
        let policy = json!({"redrivePermission": "byQueue", "sourceQueueArns": arns}).to_string();
        json!({"QueueUrl": url, "Attributes": {"RedriveAllowPolicy": policy}})
    };
    let policy = |bytes: usize| {
        let policy = |id: usize| {
            json!({"Version": "2012-10-17", "Id": "i".repeat(id), "Statement": []}).to_string()
        };
        let policy = policy(bytes - policy(0).len());
        json!({"QueueUrl": url, "Attributes": {"Policy": policy}})
    };
    let permission = |label: &str| json!({"QueueUrl": url, "Label": label, "AWSAccountIds": [ACCOUNT], "Actions": ["SendMessage"]});
    let most = |field: &str, n: usize| {
        let arn = format!("arn:aws:sqs:us-east-1:{ACCOUNT}:q");
        json!({"SourceArn": arn, field: n})
    };
    for (operation, bodies) in [
        ("TagQueue", pair(sqs::TAG_KEY_CHARS, |n| tag(n, 1))),
        ("TagQueue", pair(sqs::TAG_VALUE_CHARS, |n| tag(1, n))),
        ("CreateQueue", pair(sqs::TAGS, tags)),
        ("SetQueueAttributes", pair(sqs::REDRIVE_SOURCES, sources)),
        ("SetQueueAttributes", pair(sqs::POLICY_BYTES, policy)),
        (
            "AddPermission",
            pair(sqs::LABEL_CHARS, |n| permission(&"l".repeat(n))),
        ),
        (
            "ListQueues",
            pair(sqs::LIST_RESULTS, |n| json!({ "MaxResults": n })),
        ),
        (
            "ListMessageMoveTasks",
            pair(sqs::MOVE_TASKS as usize, |n| most("MaxResults", n)),
        ),
    ] {
        check(&given, operation, bodies).await;
    }
    // One statement is there already.
    for n in 1..sqs::POLICY_STATEMENTS {
        let added = given
            .sqs(&operator(), "AddPermission", &permission(&n.to_string()))
            .await;
        assert_eq!(added.status, 200, "{added:?}");
    }
    let more = given
        .sqs(&operator(), "AddPermission", &permission("more"))
        .await;
    assert!(more.text.contains("OverLimit"), "{more:?}");
}

/// Sends a signed call of a wire other than SQS's; status and text.
async fn call(given: &Composed, service: &str, target: &str, body: &Value) -> (u16, String) {
    let (line, body) = (("POST", "/"), body.to_string());
    let named = [("x-amz-target", target)];
    let headers = crate::auth::testing::signed(&operator(), service, line, &named, body.as_bytes());
    let answer = given.send(line, &headers, body.as_bytes()).await;
    (answer.status, answer.text)
}

#[actix::test]
async fn of_kinesis_and_cognito() {
    use base64::Engine as _;
    let given = Composed::new();
    let data = |bytes: usize| base64::engine::general_purpose::STANDARD.encode(" ".repeat(bytes));
    let name = "dev-sqs-browser-event-dispatcher";
    let one = |key: usize, bytes: usize| json!({"StreamName": name, "PartitionKey": "k".repeat(key), "Data": data(bytes)});
    let records = |count: usize, bytes: usize| {
        let records = many(count, |_| json!({"PartitionKey": "k", "Data": data(bytes)}));
        json!({"StreamName": name, "Records": records})
    };
    let identity = "us-east-1:e083f780-0000-4000-8000-000000000000";
    let logins = |count: usize| {
        let logins = (0..count).map(|n| (n.to_string(), Value::from("t")));
        json!({"IdentityId": identity, "Logins": serde_json::Map::from_iter(logins)})
    };
    let identities =
        |count: usize| json!({"IdentityIdsToDelete": many(count, |_| identity.into())});
    let tenth = stream::CALL_BYTES / 10;
    let put = "Kinesis_20131202.PutRecord";
    let put_all = "Kinesis_20131202.PutRecords";
    let cognito_call = |operation: &str| format!("AWSCognitoIdentityService.{operation}");
    let (get, delete) = (
        cognito_call("GetCredentialsForIdentity"),
        cognito_call("DeleteIdentities"),
    );
    let too_long = "InvalidParameterException";
    for (service, target, [most, more], code) in [
        (
            "kinesis",
            put,
            pair(stream::PARTITION_KEY_CHARS, |n| one(n, 1)),
            "ValidationException",
        ),
        (
            "kinesis",
            put,
            pair(stream::RECORD_BYTES, |n| one(1, n - 1)),
            "ValidationException",
        ),
        (
            "kinesis",
            put_all,
            pair(stream::CALL_RECORDS, |n| records(n, 1)),
            "ValidationException",
        ),
        ("kinesis", put_all, pair(tenth, |n| records(10, n - 1)), ""),
        (
            "cognito-identity",
            &*get,
            pair(cognito::LOGINS, logins),
            too_long,
        ),
        (
            "cognito-identity",
            &*delete,
            pair(cognito::IDENTITIES, identities),
            too_long,
        ),
    ] {
        let (status, text) = call(&given, service, target, &most).await;
        // There is no such identity: what was sent was read.
        let found = status == 200 || text.contains("ResourceNotFoundException");
        assert!(found, "{target} {status} {text}");
        let (status, text) = call(&given, service, target, &more).await;
        assert!(
            status == 400 && text.contains(code),
            "{target} {status} {text}"
        );
    }
}

#[actix::test]
async fn of_requests() {
    let given = Composed::new();
    let answer = async |line: (&str, &str), headers: &[(&str, &str)], body: &[u8]| {
        let headers = crate::auth::testing::signed(&operator(), "execute-api", line, headers, body);
        given.send(line, &headers, body).await.status
    };
    let query = |length: usize| format!("/status?{}", "q".repeat(length));
    let [most, more] = [
        query(web::REST_QUERY_BYTES),
        query(web::REST_QUERY_BYTES + 1),
    ];
    assert_eq!(answer(("GET", &most), &[], b"").await, 200);
    assert_eq!(answer(("GET", &more), &[], b"").await, 414);

    // The benchmark's route takes any body.
    let body = vec![b'x'; web::REST_BODY_BYTES + 1];
    let route = ("POST", "/bench/verify");
    let json = [("content-type", "application/json")];
    assert_eq!(answer(route, &json, &body[1..]).await, 200);
    assert_eq!(answer(route, &json, &body).await, 413);

    let names: Vec<_> = (0..=web::HEADERS).map(|n| format!("x-{n}")).collect();
    let headers: Vec<_> = names.iter().map(|name| (name.as_str(), "v")).collect();
    let status = ("GET", "/status");
    // The signer adds three, and `Host`.
    assert_eq!(answer(status, &headers[..web::HEADERS - 4], b"").await, 200);
    assert_eq!(answer(status, &headers, b"").await, 431);
    let long = "v".repeat(web::HEADER_BYTES);
    assert_eq!(
        answer(status, &[("x-long", &long[..web::HEADER_BYTES / 2])], b"").await,
        200
    );
    assert_eq!(answer(status, &[("x-long", &long)], b"").await, 431);

    for (name, bytes) in [
        ("AmazonSQS.ListQueues", sqs::BODY_BYTES),
        ("Kinesis_20131202.ListStreams", stream::BODY_BYTES),
        (
            "AWSCognitoIdentityService.ListIdentityPools",
            cognito::BODY_BYTES,
        ),
    ] {
        // Refused before the signature is looked at.
        let headers = [("x-amz-target".to_owned(), name.to_owned())];
        let body = vec![b' '; bytes + 1];
        let most = given.send(("POST", "/"), &headers, &body[1..]).await;
        assert!(most.text.contains("MissingAuthenticationToken"), "{most:?}");
        assert_eq!(given.send(("POST", "/"), &headers, &body).await.status, 413);
    }
}

/// Creates `count` sessions of user 5, past the session manager and its limit.
async fn crowd(given: &Composed, count: usize, ttl: Timestamp) {
    let now = given.core.clock.wall();
    let open = (0..count).map(|n| {
        given.core.store.open(OpenSession {
            key: SessionKey {
                account: AccountId(7),
                session: SessionId::parse(&format!("crowd-{n}")).unwrap(),
            },
            user: Some(crate::domain::UserId(5)),
            queue_name: QueueName::parse(&format!("crowd-{n}")).unwrap(),
            aes_key: AesKeyBytes([7; 32]),
            identity: IdentityId::parse(&format!("us-east-1:e083f780-0000-4000-8000-{n:012}"))
                .unwrap(),
            envelope: EnvelopeVersion::V1,
            credentials: keys::issue(ttl),
            ttl,
            retention: None,
            topics: None,
            transport: None,
            now,
        })
    });
    for opened in join_all(open).await {
        opened.unwrap();
    }
}

#[actix::test]
async fn of_what_is_done_at_a_time() {
    let given = Composed::new();
    let count = limits::ANSWERED_QUEUE_URLS.max(limits::STATUS_PAGE) + 1;
    let soon = given.core.clock.wall().plus(Duration::from_secs(10));
    crowd(&given, count, soon).await;
    for path in ["/notify", "/notify/7", "/notify/user/5"] {
        let answer = given.ok(("POST", path), "{}").await;
        assert_eq!(answer["sessions"], count, "{path}");
        let urls = answer["sqsUrls"].as_array().unwrap().len();
        assert_eq!(urls, limits::ANSWERED_QUEUE_URLS, "{path}");
    }
    let listed = given.ok(("GET", "/status"), "").await;
    assert_eq!(listed["sessions"].as_array().unwrap().len(), count);
    let page = given
        .ok(
            ("GET", &format!("/status?limit={}", limits::STATUS_PAGE)),
            "",
        )
        .await;
    assert_eq!(
        page["sessions"].as_array().unwrap().len(),
        limits::STATUS_PAGE
    );
    assert!(page["nextToken"].is_string());

    let left = soon.since(given.core.clock.wall()) + Duration::from_millis(20);
    tokio::time::sleep(left).await;
    let cleaned = given.ok(("POST", "/cleanup"), "").await;
    assert!(count > 2 * limits::SWEEP_BATCH);
    assert_eq!(cleaned["queues_removed"], count);
}

#[actix::test]
async fn of_a_receipt() {
    let given = Composed::new();
    let session = given.ok(("POST", "/create/7/s/3"), "").await["session"].take();
    let count = limits::RECEIPT_BATCH + 1;
    let send = (0..count).map(async |n| {
        let message = json!({ "messageId": n.to_string() }).to_string();
        given.ok(("POST", "/notify/user/3"), &message).await
    });
    join_all(send).await;
    let now = given.core.clock.wall().secs() + 1;
    let path = format!("/messages/set-read/user/3/asof/{now}");
    let receipted = given.ok(("GET", &path), "").await;
    assert_eq!(
        receipted["messages_receipted"].as_array().unwrap().len(),
        count
    );
    // Two batches, a message for each.
    let ask =
        json!({"QueueUrl": session["sqsUrl"], "AttributeNames": ["ApproximateNumberOfMessages"]});
    let expect = (count + 2).to_string();
    for _ in 0..200 {
        let answer = given
            .sqs(&operator(), "GetQueueAttributes", &ask)
            .await
            .json();
        if answer["Attributes"]["ApproximateNumberOfMessages"] == *expect {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("there are not two receipt messages");
}
