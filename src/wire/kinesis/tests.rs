//! What clients send and get back.

use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::*;
use crate::domain::Timestamp;

/// Numbers records; refuses those whose data is one of these words.
#[derive(Default)]
struct Recorder(Mutex<Vec<IngestRecord>>);

impl Ingest for Recorder {
    fn put(
        &self,
        records: Vec<IngestRecord>,
    ) -> LocalBoxFuture<'static, Vec<Result<SequenceNumber, IngestError>>> {
        let mut taken = self.0.lock().unwrap();
        let outcomes: Vec<_> = records
            .into_iter()
            .map(|record| match &record.data[..] {
                b"throttle" => Err(IngestError::Throttled),
                b"fail" => Err(IngestError::Failed),
                _ => {
                    taken.push(record);
                    Ok(SequenceNumber(taken.len() as u64))
                }
            })
            .collect();
        Box::pin(async { outcomes })
    }
}

fn stream(shards: u32) -> Stream {
    Stream {
        name: "dev-sqs-browser-event-dispatcher".into(),
        region: "us-east-1".into(),
        account: "123456789012".into(),
        shards,
        created: Timestamp::from_millis(1_795_216_426_201),
        limits: Limits {
            record_bytes: 1024,
            call_bytes: 2000,
            call_records: 5,
        },
    }
}

struct Given {
    state: Arc<KinesisState>,
    recorder: Arc<Recorder>,
}

fn given(shards: u32) -> Given {
    let recorder = Arc::new(Recorder::default());
    Given {
        state: Arc::new(KinesisState {
            stream: stream(shards),
            ingest: recorder.clone(),
        }),
        recorder,
    }
}

/// Adds the stream's name.
fn with_stream(mut members: Value) -> Bytes {
    members["StreamName"] = "dev-sqs-browser-event-dispatcher".into();
    members.to_string().into()
}

fn record(data: &str, key: &str) -> Value {
    json!({ "Data": STANDARD.encode(data), "PartitionKey": key })
}

#[actix::test]
async fn put_record_answers_shard_and_number() {
    let given = given(1);
    let body = with_stream(record("{\"a\":1}", "k"));
    let answer = put_record::call(given.state.clone(), body).await.unwrap();
    assert_eq!(answer["ShardId"], "shardId-000000000000");
    let number = answer["SequenceNumber"].as_str().unwrap();
    assert_eq!(number.len(), 56);
    assert!(number.starts_with("49") && number.ends_with("0001"));
    let taken = given.recorder.0.lock().unwrap();
    assert_eq!(taken[0].data, "{\"a\":1}");
    assert_eq!(taken[0].partition_key, "k");
}

#[actix::test]
async fn put_records_names_what_was_not_taken() {
    let given = given(1);
    let words = ["one", "throttle", "fail", "two"];
    let records: Vec<_> = words.iter().map(|word| record(word, "k")).collect();
    let body = with_stream(json!({ "Records": records }));
    let answer = put_records::call(given.state.clone(), body).await.unwrap();
    assert_eq!(answer["FailedRecordCount"], 2);
    let entries = answer["Records"].as_array().unwrap();
    assert!(entries[0]["SequenceNumber"].as_str() < entries[3]["SequenceNumber"].as_str());
    assert_eq!(
        entries[1],
        json!({
            "ErrorCode": "ProvisionedThroughputExceededException",
            "ErrorMessage": "Rate exceeded for shard shardId-000000000000 in stream dev-sqs-browser-event-dispatcher under account 123456789012.",
        })
    );
    assert_eq!(entries[2]["ErrorCode"], "InternalFailure");
    let taken = given.recorder.0.lock().unwrap();
    let data: Vec<_> = taken.iter().map(|record| &record.data[..]).collect();
    assert_eq!(data, [b"one", b"two"]);
}

#[actix::test]
async fn a_single_record_that_is_not_taken_is_an_error() {
    for (word, status, code) in [
        ("throttle", 400, "ProvisionedThroughputExceededException"),
        ("fail", 500, "InternalFailureException"),
    ] {
        let body = with_stream(record(word, "k"));
        let fault = put_record::call(given(1).state, body).await.unwrap_err();
        assert_eq!((fault.status, fault.code), (status, code));
    }
}

#[track_caller]
fn check_fault(members: Value, code: &str, text: &str) {
    let body = members.to_string();
    let fault = put_record::parse(&stream(1), body.as_bytes()).expect_err(&body);
    assert_eq!(fault.code, code, "{body}");
    assert!(fault.message.contains(text), "{}", fault.message);
    assert_eq!(fault.status, 400);
}

#[test]
fn put_record_refuses() {
    let with = |name: &str, value: Value| {
        let mut members = record("x", "k");
        members["StreamName"] = "dev-sqs-browser-event-dispatcher".into();
        members[name] = value;
        members
    };
    check_fault(
        with("StreamName", "nope".into()),
        "ResourceNotFoundException",
        "Stream nope under account 123456789012 not found.",
    );
    check_fault(
        with("StreamName", Value::Null),
        "InvalidArgumentException",
        "StreamARN",
    );
    check_fault(
        with("StreamARN", "arn:aws:kinesis:us-east-1:1:stream/x".into()),
        "ResourceNotFoundException",
        "stream/x",
    );
    check_fault(with("Data", Value::Null), "ValidationException", "'data'");
    check_fault(with("Data", 7.into()), "SerializationException", "string");
    check_fault(
        with("Data", "*".into()),
        "SerializationException",
        "base 64",
    );
    check_fault(
        with("Data", STANDARD.encode([0; 1024]).into()),
        "ValidationException",
        "less than or equal to 1024",
    );
    check_fault(
        with("PartitionKey", Value::Null),
        "ValidationException",
        "'partitionKey'",
    );
    for key in [String::new(), "é".repeat(257)] {
        let text = "'partitionKey' failed to satisfy constraint";
        check_fault(
            with("PartitionKey", key.into()),
            "ValidationException",
            text,
        );
    }
    for key in [
        "",
        "-1",
        "+1",
        "01",
        "x",
        "340282366920938463463374607431768211456",
    ] {
        let text = "[0, 2^128-1]";
        check_fault(
            with("ExplicitHashKey", key.into()),
            "InvalidArgumentException",
            text,
        );
    }
}

#[test]
fn bodies_that_are_no_call_are_refused() {
    let deep = format!("{}{}", "[".repeat(129), "]".repeat(129));
    let name = "\"StreamName\":\"a\"";
    for body in [
        "nonsense",
        "[]",
        "null",
        "[\"a\",null,\"Yg==\",\"k\",null]",
        &format!("{{{name},{name}}}"),
        &format!("{{\"Data\":{deep}}}"),
        "{\"StreamName\":\"\\ud800\"}",
        "{\"StreamName\":\"a\"",
    ] {
        let fault = put_record::parse(&stream(1), body.as_bytes()).expect_err(body);
        assert_eq!(fault.code, "SerializationException", "{body}");
    }
    let fault = put_record::parse(&stream(1), b"\xff").expect_err("not UTF-8");
    assert_eq!(fault.code, "SerializationException");
}

#[test]
fn put_records_has_limits() {
    let check = |records: Vec<Value>, expect: Result<usize, &str>| {
        let body = with_stream(json!({ "Records": records }));
        let got = put_records::parse(&stream(1), &body);
        let got = got.map(|records| records.len());
        match expect {
            Ok(count) => assert_eq!(got, Ok(count)),
            Err(text) => {
                let fault = got.expect_err(text);
                assert!(fault.message.contains(text), "{}", fault.message);
            }
        }
    };
    check(vec![record("x", "k"); 5], Ok(5));
    check(vec![record("x", "k"); 6], Err("less than or equal to 5"));
    check(vec![], Err("greater than or equal to 1"));
    check(vec![record(&"x".repeat(999), "k"); 2], Ok(2));
    check(vec![record(&"x".repeat(1000), "k"); 2], Err("exceeds 2000"));
    let mut bad = vec![record("x", "k"); 2];
    bad[1]["PartitionKey"] = "".into();
    check(bad, Err("'records.2.member.partitionKey'"));
}

#[test]
fn shards_share_the_hash_keys() {
    let two = stream(2);
    let half = 170_141_183_460_469_231_731_687_303_715_884_105_727_u128;
    assert_eq!(two.shard_of(0), ShardNo(0));
    assert_eq!(two.shard_of(half), ShardNo(0));
    assert_eq!(two.shard_of(half + 1), ShardNo(1));
    assert_eq!(two.shard_of(u128::MAX), ShardNo(1));
    for shards in [1, 2, 3, 7, 100] {
        let stream = stream(shards);
        let (page, more) = stream.shards_page(None, 1000);
        assert_eq!((page.len(), more), (shards as usize, false));
        let key = |at: usize, name: &str| {
            let text = page[at]["HashKeyRange"][name].as_str().unwrap();
            text.parse::<u128>().unwrap()
        };
        assert_eq!(key(0, "StartingHashKey"), 0);
        assert_eq!(key(page.len() - 1, "EndingHashKey"), u128::MAX);
        for at in 0..page.len() {
            let (first, last) = (key(at, "StartingHashKey"), key(at, "EndingHashKey"));
            assert_eq!(stream.shard_of(first), ShardNo(at as u32));
            assert_eq!(stream.shard_of(last), ShardNo(at as u32));
            if at > 0 {
                assert_eq!(first, key(at - 1, "EndingHashKey") + 1);
            }
        }
    }
}

#[test]
fn an_explicit_hash_key_overrides_the_partition_key() {
    // MD5("k") begins with 8c: the upper half.
    for (explicit, expect) in [
        (None, 1),
        (Some("0"), 0),
        (Some(&*u128::MAX.to_string()), 1),
    ] {
        let mut members = record("x", "k");
        members["ExplicitHashKey"] = explicit.into();
        let got = put_record::parse(&stream(2), &with_stream(members)).unwrap();
        assert_eq!(got.shard, ShardNo(expect), "{explicit:?}");
    }
}

#[actix::test]
async fn streams_are_described_and_listed() {
    let state = given(3).state;
    let full = describe_stream::full(state.clone(), with_stream(json!({ "Limit": 2 })));
    let full = &full.await.unwrap()["StreamDescription"];
    assert_eq!(full["StreamStatus"], "ACTIVE");
    assert_eq!(full["StreamCreationTimestamp"], 1_795_216_426.201);
    assert_eq!(full["Shards"].as_array().map(Vec::len), Some(2));
    assert_eq!(full["HasMoreShards"], true);
    let arn = json!({ "StreamARN": state.stream.arn() }).to_string();
    let summary = describe_stream::summary(state.clone(), arn.into());
    let summary = &summary.await.unwrap()["StreamDescriptionSummary"];
    assert_eq!(summary["OpenShardCount"], 3);
    let list = async |body: &str| list_streams::call(state.clone(), body.to_owned().into()).await;
    let names = list("").await.unwrap()["StreamNames"].clone();
    assert_eq!(names, json!(["dev-sqs-browser-event-dispatcher"]));
    let after = list("{\"ExclusiveStartStreamName\":\"e\"}").await.unwrap();
    assert_eq!(after["StreamNames"], json!([]));
    assert!(list("{\"Limit\":0}").await.is_err());
}

#[actix::test]
async fn shards_are_listed_page_by_page() {
    let state = given(3).state;
    let mut seen = Vec::new();
    let mut body = with_stream(json!({ "MaxResults": 2 }));
    loop {
        let page = list_shards::call(state.clone(), body).await.unwrap();
        let shards = page["Shards"].as_array().unwrap();
        seen.extend(shards.iter().map(|shard| shard["ShardId"].clone()));
        let Some(token) = page["NextToken"].as_str() else {
            break;
        };
        body = json!({ "NextToken": token, "MaxResults": 2 })
            .to_string()
            .into();
    }
    let expect: Vec<Value> = (0..3).map(|n| ShardNo(n).id().into()).collect();
    assert_eq!(seen, expect);
    for token in ["", "x", "bm9wZQ", "eC9zaGFyZElkLTAwMDAwMDAwMDAwMA"] {
        let body = json!({ "NextToken": token }).to_string();
        let fault = list_shards::call(state.clone(), body.into()).await;
        assert_eq!(
            fault.unwrap_err().code,
            "InvalidArgumentException",
            "{token}"
        );
    }
}

/// Through the door: signed by the operator only, JSON only.
#[actix::test]
async fn calls_come_through_the_door() {
    use actix_web::body::to_bytes;
    use actix_web::test::TestRequest;

    use crate::auth::testing::{self, FakeRegistry};

    let given = given(1);
    let registry = Arc::new(FakeRegistry::default());
    let session = testing::session(7, "s", None);
    registry.put(session.clone());
    let door = super::super::front::Door::new(
        testing::authenticator(&registry),
        Default::default(),
        "http",
    )
    .rpc(Wire, &given.state, OPERATIONS);
    let body = with_stream(record("{}", "k"));
    for (keys, content_type, status, expect) in [
        (
            testing::operator(),
            "application/x-amz-json-1.1",
            200,
            "ShardId",
        ),
        (
            testing::operator(),
            "application/x-amz-cbor-1.1",
            400,
            "AWS_CBOR_DISABLE",
        ),
        (
            session.credentials,
            "application/x-amz-json-1.1",
            400,
            "AccessDeniedException",
        ),
    ] {
        let headers = [
            ("x-amz-target", "Kinesis_20131202.PutRecord"),
            ("content-type", content_type),
        ];
        let headers = testing::signed(&keys, "kinesis", ("POST", "/"), &headers, &body);
        let mut request = TestRequest::post().uri("/").set_payload(body.clone());
        for (name, value) in &headers {
            request = request.append_header((name.as_str(), value.as_str()));
        }
        let (_, response) = door.handle(request.to_srv_request()).await.into_parts();
        assert_eq!(response.status().as_u16(), status, "{expect}");
        let text = to_bytes(response.into_body()).await.unwrap();
        let text = String::from_utf8_lossy(&text);
        assert!(text.contains(expect), "{text}");
    }
    assert_eq!(given.recorder.0.lock().unwrap().len(), 1);
}
