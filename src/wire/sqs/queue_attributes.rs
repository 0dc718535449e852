//! `GetQueueAttributes` and `SetQueueAttributes`.

use super::answer::{ATTRIBUTES, Answer, Member};
use super::attributes::{Changes, Wanted};
use super::error::Fault;
use super::request::Request;
use crate::domain::queue::QueueCounts;

/// `GetQueueAttributes`. Without names there is nothing to answer.
///
/// # Errors
/// As [`Request::queue`] and [`Wanted::parse`].
pub async fn get(mut request: Request) -> Result<Answer, Fault> {
    let queue = request.queue()?;
    let wanted = Wanted::parse(&mut request.fields)?;
    let counts = if wanted.counts() {
        request.state.queues.counts(&queue).await?
    } else {
        QueueCounts::default()
    };
    let list = wanted.of(&queue, request.state.arn(&queue.name), counts);
    let map = (!list.is_empty()).then_some(Member::Map(ATTRIBUTES, list));
    Ok(Some(map.into_iter().collect()))
}

/// `SetQueueAttributes`.
///
/// # Errors
/// As [`Request::queue`] and [`Changes`].
pub async fn set(mut request: Request) -> Result<Answer, Fault> {
    let queue = request.queue()?;
    let changes = Changes::parse(&mut request.fields)?;
    if changes.is_empty() {
        return Err(Fault::missing("Attribute.Name"));
    }
    changes.check(&queue.attributes)?;
    let edit = Box::new(move |record: &mut crate::domain::queue::QueueRecord| {
        changes.apply(&mut record.attributes);
        Ok(())
    });
    request.state.queues.edit(&queue, edit).await?;
    Ok(None)
}
