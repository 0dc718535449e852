//! Operations from the call to the answer, with real queues on a real store, as each kind of caller.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use actix_web::body::MessageBody as _;
use actix_web::http::Method;
use actix_web::http::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::actors::queue::QueuesConfig;
use crate::auth::Caller;
use crate::backends::embedded::{Embedded, StoreOptions, StoreSizes};
use crate::domain::queue::{QueueAttributes, QueueRecord};
use crate::domain::session::{Credentials, EnvelopeVersion, Session};
use crate::domain::{
    AccountId, Clock, IdentityId, QueueName, QueueNo, Seq, SessionId, SessionKey, Timestamp,
};
use crate::observe::traces::Traces;
use crate::wire::{Params, Refusal};

const ACCOUNT: &str = "123456789012";
const HOST: &str = "queues.example:8080";

/// A standard queue without anything, for the tests of the operations.
pub(super) fn test_queue(name: &str) -> QueueRecord {
    QueueRecord {
        no: QueueNo(1),
        name: QueueName::parse(name).unwrap(),
        attributes: QueueAttributes::default(),
        tags: BTreeMap::new(),
        created: Timestamp::from_secs(10),
        modified: Timestamp::from_secs(20),
        since: Seq(0),
        owner: None,
    }
}

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

#[test]
fn operations_are_all_there_once() {
    let names: Vec<_> = OPERATIONS.iter().map(|operation| operation.name).collect();
    assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
    assert_eq!(names.len(), 23);
}

struct Fixture {
    state: Arc<SqsState>,
    _dir: tempfile::TempDir,
}

/// An answer: status, headers and body.
struct Answered {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Answered {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    /// Status and short type of a JSON error.
    fn fault(&self) -> (u16, String) {
        let kind = self.json()["__type"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        (self.status, kind.rsplit('#').next().unwrap().to_owned())
    }
}

fn operator() -> Caller {
    Caller::Operator {
        access_key: "OPERATOR".into(),
    }
}

/// The keys of a session that owns the queue of this name.
fn session(queue: &str) -> Caller {
    Caller::Session(Arc::new(Session {
        key: SessionKey {
            account: AccountId(1),
            session: SessionId::parse("s").unwrap(),
        },
        user: None,
        queue: QueueNo(1),
        queue_name: QueueName::parse(queue).unwrap(),
        queue_url: None,
        aes_key: [0; 32],
        envelope: EnvelopeVersion::V1,
        credentials: Credentials {
            access_key: "ASIA".into(),
            secret_key: String::new(),
            session_token: String::new(),
            expires: Timestamp(u64::MAX),
        },
        identity: IdentityId::parse("us-east-1:e083f780-0000-4000-8000-000000000000").unwrap(),
        created: Timestamp(0),
        ttl: Timestamp(u64::MAX),
        retention: Duration::from_secs(3600),
        topics: Vec::new(),
        transport: crate::domain::session::Transport::default(),
    }))
}

fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.insert(name.clone(), HeaderValue::from_str(value).unwrap());
    }
    map
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = StoreOptions {
            dir: dir.path().to_owned(),
            min_free_bytes: 0,
            sizes: StoreSizes {
                cache_bytes: 4 << 20,
                write_buffer_bytes: 4 << 20,
                journal_bytes: 128 << 20,
            },
            sweep_interval: Duration::from_secs(3600),
            compact_after_bytes: 1 << 20,
            user_message_ttl: Duration::from_secs(86_400),
        };
        let clock = Clock::start();
        // The store tells the queues what it committed, and the queues need the store.
        let told: Arc<OnceLock<Queues>> = Arc::default();
        let tell = Arc::clone(&told);
        let on_touched: crate::backends::OnTouched = Arc::new(move |touched| {
            if let Some(queues) = tell.get() {
                touched.iter().for_each(|one| queues.touched(one));
            }
        });
        let on_failure: crate::backends::embedded::OnFailure = Arc::new(|error| panic!("{error}"));
        let store = Arc::new(Embedded::open(&options, clock, on_touched, on_failure).unwrap());
        let config = QueuesConfig {
            region: "us-east-1".into(),
            account: ACCOUNT.into(),
            idle_after: Duration::from_secs(30),
            mailbox: 64,
            max_messages: 1_000,
            max_in_flight: 1_000,
            max_waiting: 64,
            cached_body_bytes: 1 << 20,
        };
        let sealers: crate::actors::queue::Sealers = Arc::new(|_, _| Ok(None));
        let queues = Queues::new(config, store.clone(), store, sealers, Traces::new(1), clock);
        assert!(told.set(queues.clone()).is_ok());
        let state = Arc::new(SqsState {
            queues,
            region: "us-east-1".into(),
            account: ACCOUNT.into(),
        });
        Self { state, _dir: dir }
    }

    /// Sends a call through the operation's access decision and handler.
    async fn send(&self, caller: Caller, operation: &str, call: Inbound) -> Answered {
        let operation = OPERATIONS.iter().find(|o| o.name == operation).unwrap();
        let response = match operation.access.decide(caller) {
            Ok(grant) => {
                let call = Call::new(call, Params::default(), grant);
                (operation.handler)(Arc::clone(&self.state), call).await
            }
            Err(_) => SqsWire.refuser(&call)(&Refusal::AccessDenied),
        };
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.into_body().try_into_bytes().unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        Answered {
            status,
            headers,
            text,
        }
    }

    async fn json_as(&self, caller: Caller, operation: &str, body: Value) -> Answered {
        self.send(caller, operation, json_call(operation, &body))
            .await
    }

    async fn json(&self, operation: &str, body: Value) -> Answered {
        self.json_as(operator(), operation, body).await
    }

    /// As [`Fixture::json`], and what must succeed.
    async fn ok(&self, operation: &str, body: Value) -> Value {
        let answered = self.json(operation, body).await;
        assert_eq!(answered.status, 200, "{operation}: {}", answered.text);
        answered.json()
    }

    async fn query(&self, path: &str, operation: &str, rest: &str) -> Answered {
        let form = format!("Action={operation}&Version=2012-11-05&{rest}");
        self.send(operator(), operation, query_call(path, &form))
            .await
    }

    async fn create(&self, name: &str) -> String {
        let answer = self.ok("CreateQueue", json!({ "QueueName": name })).await;
        answer["QueueUrl"].as_str().unwrap().to_owned()
    }
}

fn inbound(method: Method, path: &str, query: &str, headers: HeaderMap, body: &str) -> Inbound {
    Inbound {
        method,
        raw_path: path.into(),
        raw_query: query.into(),
        headers,
        scheme: "http",
        peer: None,
        host: HOST.into(),
        http2: false,
        body: body.to_owned().into(),
        request_id: Uuid::nil(),
    }
}

fn json_call(operation: &str, body: &Value) -> Inbound {
    let target = HeaderName::from_static("x-amz-target");
    let headers = headers(&[(target, &format!("AmazonSQS.{operation}"))]);
    inbound(Method::POST, "/", "", headers, &body.to_string())
}

fn query_call(path: &str, form: &str) -> Inbound {
    inbound(Method::POST, path, "", HeaderMap::new(), form)
}

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
