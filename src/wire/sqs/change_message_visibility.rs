//! `ChangeMessageVisibility` and `ChangeMessageVisibilityBatch`.

use std::time::Duration;

use super::answer::Answer;
use super::batch::{self, Batch};
use super::error::Fault;
use super::limits;
use super::request::{Fields, Request};
use crate::actors::queue::messages::ChangeVisibility;

const ENTRY: &str = "ChangeMessageVisibilityBatchRequestEntry";

/// Reads a receipt handle and its new time-out.
///
/// # Errors
/// `MissingParameter`, `InvalidParameterValue`.
pub fn parse(fields: &mut Fields) -> Result<(String, Duration), Fault> {
    let handle = fields.required_text("ReceiptHandle")?;
    let timeout = fields.integer_within(
        "VisibilityTimeout",
        0..=limits::VISIBILITY_SECONDS,
        "VisibilityTimeout must be an integer between 0 and 43200",
    )?;
    let timeout = timeout.ok_or_else(|| Fault::missing("VisibilityTimeout"))?;
    Ok((handle, Duration::from_secs(timeout)))
}

/// Reads `ChangeMessageVisibilityBatch`.
///
/// # Errors
/// As [`Batch::parse`].
pub fn parse_batch(fields: &mut Fields) -> Result<Batch<(String, Duration)>, Fault> {
    Batch::parse(fields, ENTRY, parse)
}

/// `ChangeMessageVisibility`.
///
/// # Errors
/// As [`parse`] and [`Request::queue`]; the queue's for the handle.
pub async fn one(mut request: Request) -> Result<Answer, Fault> {
    let queue = request.queue()?;
    let change = ChangeVisibility {
        entries: vec![parse(&mut request.fields)?],
    };
    let mut results = request
        .state
        .queues
        .change_visibility(&queue, change)
        .await?;
    results.pop().expect("the queue answers each entry")?;
    Ok(None)
}

/// `ChangeMessageVisibilityBatch`.
///
/// # Errors
/// As [`Batch::parse`] and [`Request::queue`].
pub async fn batch(mut request: Request) -> Result<Answer, Fault> {
    let queue = request.queue()?;
    let batch = parse_batch(&mut request.fields)?;
    let results = batch
        .run(async |entries| {
            let change = ChangeVisibility { entries };
            request.state.queues.change_visibility(&queue, change).await
        })
        .await?;
    let element = "ChangeMessageVisibilityBatchResultEntry";
    Ok(batch::plain_answer(request.protocol, element, results))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::request::both;
    use super::*;

    #[test]
    fn a_change_is_read_in_both_protocols() {
        let check = |timeout: i64, expect: Option<u64>| {
            let json = json!({"ReceiptHandle": "h", "VisibilityTimeout": timeout});
            let query = format!("ReceiptHandle=h&VisibilityTimeout={timeout}");
            let found = both(json, &query, parse).ok();
            let expect = expect.map(|secs| ("h".to_owned(), Duration::from_secs(secs)));
            assert_eq!(found, expect, "{timeout}");
        };
        check(0, Some(0));
        check(43_200, Some(43_200));
        check(43_201, None);
        check(-1, None);
        let missing = |name| Err(Fault::missing(name));
        let found = both(json!({"ReceiptHandle": "h"}), "ReceiptHandle=h", parse);
        assert_eq!(found, missing("VisibilityTimeout"));
        let found = both(
            json!({"VisibilityTimeout": 1}),
            "VisibilityTimeout=1",
            parse,
        );
        assert_eq!(found, missing("ReceiptHandle"));
    }

    #[test]
    fn a_batch_is_read_in_both_protocols() {
        let json = json!({"Entries": [
            {"Id": "a", "ReceiptHandle": "h", "VisibilityTimeout": 5},
            {"Id": "b", "ReceiptHandle": "i"},
        ]});
        let query = format!(
            "{ENTRY}.1.Id=a&{ENTRY}.1.ReceiptHandle=h&{ENTRY}.1.VisibilityTimeout=5\
             &{ENTRY}.2.Id=b&{ENTRY}.2.ReceiptHandle=i"
        );
        let found = both(json, &query, parse_batch).unwrap();
        assert_eq!(found.good().count(), 1);
    }
}
