//! `GetQueueUrl`.

use super::answer::{Answer, Member};
use super::error::Fault;
use super::request::Request;

/// `GetQueueUrl`.
///
/// # Errors
/// As [`Request::queue_named`].
pub async fn call(mut request: Request) -> Result<Answer, Fault> {
    let name = request.fields.required_text("QueueName")?;
    let owner = request.fields.text("QueueOwnerAWSAccountId")?;
    let owner = owner.as_deref().filter(|owner| !owner.is_empty());
    let queue = request.queue_named(&name, owner)?;
    let url = request.queue_url(&queue.name);
    Ok(Some(vec![Member::text("QueueUrl", url)]))
}
