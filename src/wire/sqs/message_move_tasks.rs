//! `StartMessageMoveTask`, `CancelMessageMoveTask` and `ListMessageMoveTasks`.

use super::answer::{Answer, ListName, Member, Value};
use super::error::Fault;
use super::limits;
use super::request::{Fields, Request};
use crate::actors::queue::messages::{MoveStatus, MoveTask};
use crate::domain::QueueError;
use crate::domain::queue::QueueRecord;

const RESULTS: ListName = ListName {
    json: "Results",
    xml: "ListMessageMoveTasksResultEntry",
    query_json: "Results",
};

/// What `StartMessageMoveTask` asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Start {
    source_arn: String,
    destination_arn: Option<String>,
    max_per_second: Option<u32>,
}

impl Start {
    /// Reads a request.
    ///
    /// # Errors
    /// `MissingParameter`, `InvalidParameterValue`.
    pub fn parse(fields: &mut Fields) -> Result<Self, Fault> {
        let rate = fields.integer_within(
            "MaxNumberOfMessagesPerSecond",
            1..=limits::MOVE_RATE,
            "Must be between 1 and 500, if provided.",
        )?;
        Ok(Self {
            source_arn: fields.required_text("SourceArn")?,
            destination_arn: fields.text("DestinationArn")?.filter(|arn| !arn.is_empty()),
            max_per_second: rate.and_then(|rate| u32::try_from(rate).ok()),
        })
    }
}

/// `StartMessageMoveTask`.
///
/// # Errors
/// `ResourceNotFoundException` for queues that do not exist, and the queue's.
pub async fn start(mut request: Request) -> Result<Answer, Fault> {
    let start = Start::parse(&mut request.fields)?;
    let source = queue_of(&request, &start.source_arn, "SourceArn")?;
    if let Some(arn) = &start.destination_arn {
        queue_of(&request, arn, "DestinationArn")?;
    }
    let queues = &request.state.queues;
    let task = queues
        .start_move(&source, start.destination_arn, start.max_per_second)
        .await?;
    Ok(Some(vec![Member::text("TaskHandle", task.handle)]))
}

/// `CancelMessageMoveTask`.
///
/// # Errors
/// The queue's for the handle.
pub async fn cancel(mut request: Request) -> Result<Answer, Fault> {
    let handle = request.fields.required_text("TaskHandle")?;
    let moved = request.state.queues.cancel_move(&handle).await?;
    Ok(Some(vec![Member::integer(
        "ApproximateNumberOfMessagesMoved",
        moved,
    )]))
}

/// `ListMessageMoveTasks`, the newest first.
///
/// # Errors
/// `ResourceNotFoundException` for a queue that does not exist, `InvalidParameterValue`.
pub async fn list(mut request: Request) -> Result<Answer, Fault> {
    let (arn, max) = parse_list(&mut request.fields)?;
    let source = queue_of(&request, &arn, "SourceArn")?;
    let tasks = request.state.queues.list_moves(&source, max).await?;
    Ok(encode(tasks))
}

fn parse_list(fields: &mut Fields) -> Result<(String, usize), Fault> {
    let arn = fields.required_text("SourceArn")?;
    let reason = "Must be between 1 and 10, if provided.";
    let max = fields.integer_within("MaxResults", 1..=limits::MOVE_TASKS, reason)?;
    Ok((
        arn,
        max.and_then(|max| usize::try_from(max).ok()).unwrap_or(1),
    ))
}

fn queue_of(request: &Request, arn: &str, parameter: &str) -> Result<QueueRecord, Fault> {
    let name = request.state.name_in_arn(arn, parameter)?;
    request
        .queue_named(name.as_str(), None)
        .map_err(|fault| match fault {
            Fault::Queue(QueueError::DoesNotExist) => QueueError::ResourceNotFound(format!(
                "The resource that you specified for the {parameter} parameter doesn't exist."
            ))
            .into(),
            other => other,
        })
}

fn encode(tasks: Vec<MoveTask>) -> Answer {
    let results: Vec<_> = tasks
        .into_iter()
        .map(|task| Value::Struct(encode_task(task)))
        .collect();
    let list = (!results.is_empty()).then_some(Member::List(RESULTS, results));
    Some(list.into_iter().collect())
}

fn encode_task(task: MoveTask) -> Vec<Member> {
    let (status, running) = match task.status {
        MoveStatus::Running => ("RUNNING", true),
        MoveStatus::Completed => ("COMPLETED", false),
        MoveStatus::Cancelling => ("CANCELLING", false),
        MoveStatus::Cancelled => ("CANCELLED", false),
        MoveStatus::Failed => ("FAILED", false),
    };
    let optional = [
        // Only a running task can be cancelled, so only it shows its handle.
        running.then(|| Member::text("TaskHandle", task.handle)),
        Some(Member::text("Status", status)),
        Some(Member::text("SourceArn", task.source_arn)),
        task.destination_arn
            .map(|arn| Member::text("DestinationArn", arn)),
        task.max_per_second
            .map(|rate| Member::integer("MaxNumberOfMessagesPerSecond", rate.into())),
        Some(Member::integer(
            "ApproximateNumberOfMessagesMoved",
            task.moved,
        )),
        Some(Member::integer(
            "ApproximateNumberOfMessagesToMove",
            task.to_move,
        )),
        task.failure
            .map(|reason| Member::text("FailureReason", reason)),
        Some(Member::integer("StartedTimestamp", task.started.millis())),
    ];
    optional.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::answer::rendered;
    use super::super::protocol::Protocol;
    use super::super::request::both;
    use super::*;
    use crate::domain::Timestamp;

    const ARN: &str = "arn:aws:sqs:us-east-1:123456789012:d";

    #[test]
    fn a_start_is_read_in_both_protocols() {
        let found = both(
            json!({"SourceArn": ARN, "DestinationArn": "x", "MaxNumberOfMessagesPerSecond": 500}),
            &format!("SourceArn={ARN}&DestinationArn=x&MaxNumberOfMessagesPerSecond=500"),
            Start::parse,
        );
        let expect = Start {
            source_arn: ARN.into(),
            destination_arn: Some("x".into()),
            max_per_second: Some(500),
        };
        assert_eq!(found, Ok(expect));
        assert_eq!(
            both(json!({}), "", Start::parse),
            Err(Fault::missing("SourceArn"))
        );
        let too_fast = json!({"SourceArn": ARN, "MaxNumberOfMessagesPerSecond": 501});
        let query = format!("SourceArn={ARN}&MaxNumberOfMessagesPerSecond=501");
        assert!(both(too_fast, &query, Start::parse).is_err());
    }

    #[test]
    fn a_list_is_read_in_both_protocols() {
        let check = |max: Option<i64>, expect: Option<usize>| {
            let mut json = json!({ "SourceArn": ARN });
            let mut query = format!("SourceArn={ARN}");
            if let Some(max) = max {
                json["MaxResults"] = json!(max);
                query += &format!("&MaxResults={max}");
            }
            let found = both(json, &query, parse_list).ok().map(|(_, max)| max);
            assert_eq!(found, expect, "{max:?}");
        };
        check(None, Some(1));
        check(Some(10), Some(10));
        check(Some(11), None);
        check(Some(0), None);
    }

    #[test]
    fn a_task_shows_its_handle_while_it_runs() {
        let mut task = MoveTask {
            handle: "H".into(),
            status: MoveStatus::Running,
            source_arn: ARN.into(),
            destination_arn: None,
            max_per_second: Some(1),
            moved: 2,
            to_move: 10,
            failure: None,
            started: Timestamp::from_millis(1_795_216_061_078),
        };
        let shown = |task: &MoveTask| -> serde_json::Value {
            let answer = encode(vec![task.clone()]);
            serde_json::from_str(&rendered(Protocol::Json, "Op", answer)).unwrap()
        };
        assert_eq!(
            shown(&task)["Results"][0],
            json!({
                "TaskHandle": "H", "Status": "RUNNING", "SourceArn": ARN,
                "MaxNumberOfMessagesPerSecond": 1, "ApproximateNumberOfMessagesMoved": 2,
                "ApproximateNumberOfMessagesToMove": 10, "StartedTimestamp": 1_795_216_061_078_u64,
            })
        );
        for (status, text) in [
            (MoveStatus::Completed, "COMPLETED"),
            (MoveStatus::Cancelling, "CANCELLING"),
            (MoveStatus::Cancelled, "CANCELLED"),
            (MoveStatus::Failed, "FAILED"),
        ] {
            task.status = status;
            let entry = &shown(&task)["Results"][0];
            assert_eq!(
                (&entry["Status"], entry.get("TaskHandle")),
                (&json!(text), None)
            );
        }
        assert_eq!(rendered(Protocol::Json, "Op", encode(vec![])), "{}");
    }
}
