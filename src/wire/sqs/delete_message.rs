//! `DeleteMessage` and `DeleteMessageBatch`.

use super::answer::Answer;
use super::batch::{self, Batch};
use super::error::Fault;
use super::request::{Fields, Request};
use crate::actors::queue::messages::Delete;
use crate::domain::queue::Transport;

const ENTRY: &str = "DeleteMessageBatchRequestEntry";

/// Reads a receipt handle.
///
/// # Errors
/// `MissingParameter`.
pub fn parse(fields: &mut Fields) -> Result<String, Fault> {
    fields.required_text("ReceiptHandle")
}

/// Reads `DeleteMessageBatch`.
///
/// # Errors
/// As [`Batch::parse`].
pub fn parse_batch(fields: &mut Fields) -> Result<Batch<String>, Fault> {
    Batch::parse(fields, ENTRY, parse)
}

/// `DeleteMessage`.
///
/// # Errors
/// As [`parse`] and [`Request::queue`]; the queue's for the handle.
pub async fn one(mut request: Request) -> Result<Answer, Fault> {
    let queue = request.queue()?;
    let delete = Delete {
        handles: vec![parse(&mut request.fields)?],
        via: Transport::Sqs,
    };
    let mut results = request.state.queues.delete(&queue, delete).await?;
    results.pop().expect("the queue answers each entry")?;
    Ok(None)
}

/// `DeleteMessageBatch`.
///
/// # Errors
/// As [`Batch::parse`] and [`Request::queue`].
pub async fn batch(mut request: Request) -> Result<Answer, Fault> {
    let queue = request.queue()?;
    let batch = parse_batch(&mut request.fields)?;
    let results = batch
        .run(async |handles| {
            let via = Transport::Sqs;
            let delete = Delete { handles, via };
            request.state.queues.delete(&queue, delete).await
        })
        .await?;
    let element = "DeleteMessageBatchResultEntry";
    Ok(batch::plain_answer(request.protocol, element, results))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::request::both;
    use super::*;

    #[test]
    fn handles_are_read_in_both_protocols() {
        let found = both(
            json!({"ReceiptHandle": "h/+="}),
            "ReceiptHandle=h%2F%2B%3D",
            parse,
        );
        assert_eq!(found.as_deref(), Ok("h/+="));
        assert_eq!(
            both(json!({}), "", parse),
            Err(Fault::missing("ReceiptHandle"))
        );
        let json = json!({"Entries": [{"Id": "a", "ReceiptHandle": "h"}, {"Id": "b"}]});
        let query = format!("{ENTRY}.1.Id=a&{ENTRY}.1.ReceiptHandle=h&{ENTRY}.2.Id=b");
        let found = both(json, &query, parse_batch).unwrap();
        assert_eq!(found.good().collect::<Vec<_>>(), ["h"]);
    }
}
