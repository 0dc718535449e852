//! Every operation's parser on one request.

use std::fmt::Debug;

use fanfare::wire::sqs::attributes::{Changes, Wanted};
use fanfare::wire::sqs::batch::Batch;
use fanfare::wire::sqs::create_queue::NewQueue;
use fanfare::wire::sqs::message_move_tasks::Start;
use fanfare::wire::sqs::page::Page;
use fanfare::wire::sqs::permissions::Permission;
use fanfare::wire::sqs::queue_url::QueueAddress;
use fanfare::wire::sqs::receive_message::Poll;
use fanfare::wire::sqs::request::Fields;
use fanfare::wire::sqs::send_message::Message;
use fanfare::wire::sqs::{Fault, change_message_visibility, delete_message, tags};

/// Reads the request afresh for each operation.
pub fn check(read: impl Fn() -> Result<Fields, Fault>) {
    let Ok(_) = read() else {
        return;
    };
    one(&read, Message::parse);
    one(&read, |fields| {
        Batch::parse(fields, "SendMessageBatchRequestEntry", Message::parse)
    });
    one(&read, Poll::parse);
    one(&read, delete_message::parse);
    one(&read, delete_message::parse_batch);
    one(&read, change_message_visibility::parse);
    one(&read, change_message_visibility::parse_batch);
    one(&read, NewQueue::parse);
    one(&read, Changes::parse);
    one(&read, Wanted::parse);
    one(&read, Page::parse);
    one(&read, |fields| tags::parse(fields, tags::OF_TAG));
    one(&read, Permission::parse);
    one(&read, Start::parse);
    one(&read, |fields| match fields.text("QueueUrl")? {
        Some(url) => QueueAddress::parse(&url).map(Some),
        None => Ok(None),
    });
}

fn one<T: Debug>(
    read: &impl Fn() -> Result<Fields, Fault>,
    parse: impl Fn(&mut Fields) -> Result<T, Fault>,
) {
    let outcome = || {
        let mut fields = read().expect("it was read before");
        match parse(&mut fields) {
            Ok(read) => format!("{read:?}"),
            Err(fault) => {
                let status = fault.names().status;
                assert!(
                    (400..500).contains(&status),
                    "{fault:?} is the caller's fault"
                );
                fault.to_string()
            }
        }
    };
    assert_eq!(outcome(), outcome(), "one request has one meaning");
}
