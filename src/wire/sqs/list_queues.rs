//! `ListQueues`.

use super::answer::{Answer, ListName};
use super::error::Fault;
use super::page::Page;
use super::protocol::Protocol;
use super::request::Request;

const QUEUE_URLS: ListName = ListName {
    json: "QueueUrls",
    xml: "QueueUrl",
    query_json: "queueUrls",
};

/// `ListQueues`.
///
/// # Errors
/// As [`Page::parse`].
pub async fn call(mut request: Request) -> Result<Answer, Fault> {
    if request.protocol != Protocol::Json && request.path_queue.is_some() {
        return Err(Fault::InvalidAction("ListQueues"));
    }
    let prefix = request.fields.text("QueueNamePrefix")?.unwrap_or_default();
    let page = Page::parse(&mut request.fields)?;
    let found = request
        .state
        .queues
        .list(&prefix, page.after(), page.limit())?;
    Ok(Some(page.answer(&request, QUEUE_URLS, &found)))
}
