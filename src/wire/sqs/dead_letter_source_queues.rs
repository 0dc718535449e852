//! `ListDeadLetterSourceQueues`.

use super::answer::{Answer, ListName};
use super::error::Fault;
use super::page::Page;
use super::request::Request;

/// Lower-case in JSON, unlike that of `ListQueues`.
const QUEUE_URLS: ListName = ListName {
    json: "queueUrls",
    xml: "QueueUrl",
    query_json: "queueUrls",
};

/// `ListDeadLetterSourceQueues`: the queues whose dead letters go to this one.
///
/// # Errors
/// As [`Request::queue`] and [`Page::parse`].
pub async fn call(mut request: Request) -> Result<Answer, Fault> {
    let queue = request.queue()?;
    let page = Page::parse(&mut request.fields)?;
    let queues = &request.state.queues;
    let found = queues
        .dead_letter_sources(&queue, page.after(), page.limit())
        .await?;
    Ok(Some(page.answer(&request, QUEUE_URLS, &found)))
}
