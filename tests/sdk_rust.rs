//! The AWS SDK for Rust against the real binary: SQS as an operator uses it, and a session's queue with its keys.

#![allow(clippy::unwrap_used, reason = "a test may end by a panic")]

use std::collections::HashMap;
use std::time::{Duration, Instant};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry as Visibility,
    DeleteMessageBatchRequestEntry as Delete, Message, MessageAttributeValue,
    MessageSystemAttributeName as System, QueueAttributeName, SendMessageBatchRequestEntry as Send,
};
use serde_json::{Value, json};
use tempfile::TempDir;

#[expect(dead_code, reason = "the crash tests need the rest")]
mod server;

use server::{Launch, Server};

/// A server on a folder of its own, and the operator's client.
struct Given {
    server: Server,
    sqs: Client,
    _data: TempDir,
}

fn given() -> Given {
    let data = tempfile::tempdir().unwrap();
    let server = Launch::on(&data.path().join("data")).start();
    let sqs = client(&server, "FANFAREDEV", "fanfare-dev-secret", None);
    Given {
        server,
        sqs,
        _data: data,
    }
}

/// The SDK with nothing changed but the endpoint and what is needed to do without TLS.
fn client(server: &Server, access_key: &str, secret_key: &str, token: Option<String>) -> Client {
    let keys = Credentials::new(access_key, secret_key, token, None, "test");
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(keys)
        .endpoint_url(format!("http://{}", server.address))
        .http_client(aws_smithy_http_client::Builder::new().build_http());
    Client::from_conf(config.build())
}

impl Given {
    async fn create(&self, name: &str, attributes: &[(QueueAttributeName, &str)]) -> String {
        let attributes = attributes.iter().cloned();
        let attributes = attributes.map(|(name, value)| (name, value.to_owned()));
        let create = self.sqs.create_queue().queue_name(name);
        let create = create.set_attributes(Some(attributes.collect()));
        create.send().await.unwrap().queue_url.unwrap()
    }

    async fn receive(&self, url: &str) -> Vec<Message> {
        receive(&self.sqs, url).await
    }

    async fn count(&self, url: &str, name: QueueAttributeName) -> String {
        let ask = self.sqs.get_queue_attributes().queue_url(url);
        let answer = ask.attribute_names(name.clone()).send().await.unwrap();
        answer.attributes.unwrap().remove(&name).unwrap()
    }

    /// A session of account 7 and user 3, and a client with its keys.
    async fn session(&self, name: &str) -> (Value, Client) {
        let rest = server::client::Client::to(self.server.address);
        let path = format!("/create/7/{name}/3");
        let answer = rest.post(&path, &json!({})).await.unwrap();
        assert!(answer.is_success(), "{answer:?}");
        let session = answer.body["session"].clone();
        let text = |name: &str| session[name].as_str().unwrap().to_owned();
        let (access, secret) = (text("accessKey"), text("secretKey"));
        let client = client(&self.server, &access, &secret, Some(text("sessionToken")));
        (session, client)
    }
}

async fn receive(sqs: &Client, url: &str) -> Vec<Message> {
    let receive = sqs.receive_message().queue_url(url);
    let receive = receive.max_number_of_messages(10).wait_time_seconds(1);
    let receive = receive
        .message_attribute_names("All")
        .message_system_attribute_names(System::All);
    receive.send().await.unwrap().messages.unwrap_or_default()
}

/// The error's code, as the SDK understood it.
#[track_caller]
fn code<T: std::fmt::Debug, E: ProvideErrorMetadata + std::fmt::Debug>(
    outcome: Result<T, SdkError<E>>,
) -> String {
    let error = outcome.unwrap_err();
    let service = error.as_service_error();
    let service = service.unwrap_or_else(|| panic!("not the service's error: {error:?}"));
    service.code().unwrap().to_owned()
}

#[tokio::test]
async fn a_message_is_sent_received_hidden_and_deleted() {
    let given = given();
    let url = given.create("plain", &[]).await;
    let found = given.sqs.get_queue_url().queue_name("plain").send().await;
    assert_eq!(found.unwrap().queue_url.unwrap(), url);
    let listed = given.sqs.list_queues().queue_name_prefix("pl").send().await;
    assert_eq!(
        listed.unwrap().queue_urls.unwrap(),
        std::slice::from_ref(&url)
    );

    let attribute = MessageAttributeValue::builder()
        .data_type("String")
        .string_value("Bär 🎺")
        .build()
        .unwrap();
    let body = "text with 🎺, <&> and \u{85}".to_owned() + &"x".repeat(200_000);
    let sent = given.sqs.send_message().queue_url(&url).message_body(&body);
    let sent = sent
        .message_attributes("kind", attribute.clone())
        .send()
        .await
        .unwrap();

    let messages = given.receive(&url).await;
    let [message] = &messages[..] else {
        panic!("{messages:?}")
    };
    assert_eq!(message.message_id, sent.message_id);
    assert_eq!(message.body.as_deref(), Some(&*body));
    assert_eq!(message.md5_of_body, sent.md5_of_message_body);
    let attributes = HashMap::from([("kind".to_owned(), attribute)]);
    assert_eq!(message.message_attributes, Some(attributes));
    let received = &message.attributes.as_ref().unwrap()[&System::ApproximateReceiveCount];
    assert_eq!(received, "1");
    assert!(given.receive(&url).await.is_empty(), "it is hidden");

    let handle = message.receipt_handle.as_deref().unwrap();
    let show = given.sqs.change_message_visibility().queue_url(&url);
    let show = show.receipt_handle(handle).visibility_timeout(0);
    show.send().await.unwrap();
    let again = given.receive(&url).await;
    assert_eq!(again[0].message_id, sent.message_id);
    let delete = given.sqs.delete_message().queue_url(&url);
    let handle = again[0].receipt_handle.as_deref().unwrap();
    delete.receipt_handle(handle).send().await.unwrap();
    for name in [
        QueueAttributeName::ApproximateNumberOfMessages,
        QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
    ] {
        assert_eq!(given.count(&url, name).await, "0");
    }
    given
        .sqs
        .delete_queue()
        .queue_url(&url)
        .send()
        .await
        .unwrap();
    let gone = given.sqs.get_queue_url().queue_name("plain").send().await;
    assert!(
        gone.unwrap_err()
            .into_service_error()
            .is_queue_does_not_exist()
    );
}

#[tokio::test]
async fn batches_are_taken_entry_by_entry() {
    let given = given();
    let url = given.create("batch", &[]).await;
    let send = (0..10).map(|n| {
        let entry = Send::builder().id(format!("e{n}"));
        entry.message_body(format!("body {n}")).build().unwrap()
    });
    let batch = given.sqs.send_message_batch().queue_url(&url);
    let sent = batch
        .set_entries(Some(send.collect()))
        .send()
        .await
        .unwrap();
    assert_eq!((sent.successful.len(), sent.failed.len()), (10, 0));

    let mut messages = Vec::new();
    while messages.len() < 10 {
        messages.extend(given.receive(&url).await);
    }
    let handles: Vec<_> = messages
        .iter()
        .map(|message| message.receipt_handle.clone().unwrap())
        .collect();
    let visible = handles[..5].iter().enumerate().map(|(n, handle)| {
        let entry = Visibility::builder().id(n.to_string());
        entry
            .receipt_handle(handle)
            .visibility_timeout(0)
            .build()
            .unwrap()
    });
    let batch = given.sqs.change_message_visibility_batch().queue_url(&url);
    let shown = batch
        .set_entries(Some(visible.collect()))
        .send()
        .await
        .unwrap();
    assert_eq!((shown.successful.len(), shown.failed.len()), (5, 0));
    assert_eq!(given.receive(&url).await.len(), 5);

    let bad = "AQEB+nonsense";
    let delete = handles[5..]
        .iter()
        .map(String::as_str)
        .chain([bad])
        .enumerate();
    let delete = delete.map(|(n, handle)| {
        let entry = Delete::builder().id(n.to_string());
        entry.receipt_handle(handle).build().unwrap()
    });
    let batch = given.sqs.delete_message_batch().queue_url(&url);
    let deleted = batch
        .set_entries(Some(delete.collect()))
        .send()
        .await
        .unwrap();
    assert_eq!(deleted.successful.len(), 5);
    let [failed] = &deleted.failed[..] else {
        panic!("{deleted:?}")
    };
    assert_eq!((failed.id.as_str(), failed.sender_fault), ("5", true));
    assert_eq!(failed.code, "ReceiptHandleIsInvalid");

    given
        .sqs
        .purge_queue()
        .queue_url(&url)
        .send()
        .await
        .unwrap();
    let hidden = QueueAttributeName::ApproximateNumberOfMessagesNotVisible;
    assert_eq!(given.count(&url, hidden).await, "0");
    let none = given.sqs.send_message_batch().queue_url(&url);
    let none = none.set_entries(Some(Vec::new())).send().await;
    assert!(
        none.unwrap_err()
            .into_service_error()
            .is_empty_batch_request()
    );
}

#[tokio::test]
async fn a_fifo_queue_keeps_order_and_drops_duplicates() {
    let given = given();
    let fifo = [
        (QueueAttributeName::FifoQueue, "true"),
        (QueueAttributeName::ContentBasedDeduplication, "true"),
    ];
    let url = given.create("line.fifo", &fifo).await;
    let mut numbers = Vec::new();
    for body in ["a", "b", "b", "c"] {
        let send = given.sqs.send_message().queue_url(&url).message_body(body);
        let sent = send.message_group_id("g").send().await.unwrap();
        numbers.push(sent.sequence_number.unwrap());
    }
    assert_eq!(
        numbers[1], numbers[2],
        "the repeated one is the same message"
    );
    assert!(numbers[0] < numbers[1] && numbers[2] < numbers[3]);
    let messages = given.receive(&url).await;
    let bodies: Vec<_> = messages
        .iter()
        .map(|m| m.body.as_deref().unwrap())
        .collect();
    assert_eq!(bodies, ["a", "b", "c"]);
    assert!(
        given.receive(&url).await.is_empty(),
        "the group waits for its messages"
    );
}

#[tokio::test]
async fn session_keys_open_their_own_queue_and_nothing_else() {
    let given = given();
    let (session, own) = given.session("own").await;
    let (other, _) = given.session("other").await;
    let url = session["sqsUrl"].as_str().unwrap();
    let rest = server::client::Client::to(given.server.address);
    let message = json!({"n": 1});
    let posted = rest
        .post("/notify/7/user/3/session/own", &message)
        .await
        .unwrap();
    assert!(posted.is_success(), "{posted:?}");

    let messages = receive(&own, url).await;
    let [message] = &messages[..] else {
        panic!("{messages:?}")
    };
    assert!(
        message.body.as_deref().unwrap().contains('|'),
        "an envelope"
    );
    let handle = message.receipt_handle.as_deref().unwrap();
    let delete = own.delete_message().queue_url(url).receipt_handle(handle);
    delete.send().await.unwrap();

    let foreign = other["sqsUrl"].as_str().unwrap();
    // The codes that SDKs of the Query protocol know, from the header `x-amzn-query-error`.
    let denied = "AccessDenied";
    assert_eq!(
        code(own.receive_message().queue_url(foreign).send().await),
        denied
    );
    assert_eq!(code(own.list_queues().send().await), denied);
    assert_eq!(
        code(own.create_queue().queue_name("mine").send().await),
        denied
    );
    let send = own.send_message().queue_url(url).message_body("x");
    assert_eq!(code(send.send().await), denied);

    // A refresh ends the old keys at once.
    let (_, renewed) = given.session("own").await;
    assert_eq!(
        code(own.receive_message().queue_url(url).send().await),
        "SignatureDoesNotMatch"
    );
    assert!(receive(&renewed, url).await.is_empty());
}

#[tokio::test]
async fn a_long_poll_wakes_at_once() {
    let given = given();
    let url = given.create("poll", &[]).await;
    let poll = given
        .sqs
        .receive_message()
        .queue_url(&url)
        .wait_time_seconds(20);
    let begun = Instant::now();
    let send = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let send = given
            .sqs
            .send_message()
            .queue_url(&url)
            .message_body("wake");
        send.send().await.unwrap();
    };
    let (received, ()) = tokio::join!(poll.send(), send);
    assert_eq!(received.unwrap().messages().len(), 1);
    let took = begun.elapsed();
    assert!(
        took > Duration::from_millis(500) && took < Duration::from_secs(10),
        "{took:?}"
    );
}
