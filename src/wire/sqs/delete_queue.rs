//! `DeleteQueue`.

use super::answer::Answer;
use super::error::Fault;
use super::request::Request;

/// `DeleteQueue`.
///
/// # Errors
/// As [`Request::queue`].
pub async fn call(mut request: Request) -> Result<Answer, Fault> {
    let queue = request.queue()?;
    request.state.queues.delete_queue(&queue).await?;
    Ok(None)
}
