//! `PurgeQueue`.

use super::answer::Answer;
use super::error::Fault;
use super::request::Request;

/// `PurgeQueue`.
///
/// # Errors
/// `PurgeQueueInProgress`, and as [`Request::queue`].
pub async fn call(mut request: Request) -> Result<Answer, Fault> {
    let queue = request.queue()?;
    request.state.queues.purge(&queue).await?;
    Ok(None)
}
