//! Calls to services: made again after a pause as long as somebody waits, and what their failures mean to us.

use std::future::Future;
use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::display::DisplayErrorContext;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use tokio::time::Instant;

use crate::domain::StoreError;

/// First pause before a service is asked again; doubled with each failure, and cut at random.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Longest pause before a service is asked again.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long one call may take before it is given up, and made again.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Codes that mean "not now", whatever status they come with.
const THROTTLED: &[&str] = &[
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "TooManyRequestsException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "LimitExceededException",
    "SlowDown",
    "OverLimit",
];

/// Codes that mean "failed, try again".
const FAILED: &[&str] = &[
    "InternalServerError",
    "InternalError",
    "InternalFailure",
    "ServiceUnavailable",
    "RequestTimeout",
    "TransactionInProgressException",
];

/// Pauses between tries: each up to twice as long as the one before, at random, so that many who failed together do
/// not come back together.
#[derive(Debug)]
pub struct Pauses {
    /// `None`: whoever pauses knows when to end.
    until: Option<Instant>,
    next: Duration,
}

impl Pauses {
    /// Pauses until patience ends.
    pub fn until(until: Instant) -> Self {
        Self {
            until: Some(until),
            next: FIRST_PAUSE,
        }
    }

    /// Pauses for as long as this from now on.
    pub fn lasting(patience: Duration) -> Self {
        Self::until(Instant::now() + patience)
    }

    /// Pauses for whoever knows when to end.
    pub fn endless() -> Self {
        Self {
            until: None,
            next: FIRST_PAUSE,
        }
    }

    /// Waits. `false`, at once, if that would be longer than patience lasts.
    pub async fn pause(&mut self) -> bool {
        let longest = self.next;
        self.next = (self.next * 2).min(LONGEST_PAUSE);
        let random = getrandom::u32().expect("the operating system gives random bytes");
        let pause = longest.mul_f64(f64::from(random) / f64::from(u32::MAX));
        if self
            .until
            .is_some_and(|until| Instant::now() + pause >= until)
        {
            return false;
        }
        tokio::time::sleep(pause).await;
        true
    }
}

/// Whether the same call may succeed soon.
pub fn is_temporary<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    match error {
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => {
            true
        }
        SdkError::ServiceError(refused) => {
            let code = refused.err().code().unwrap_or_default();
            is_temporary_code(code) || refused.raw().status().is_server_error()
        }
        _ => false,
    }
}

/// Whether a code, as batches name it for each of their entries, means that the same may succeed soon.
pub fn is_temporary_code(code: &str) -> bool {
    let code = code.strip_prefix("AWS.SimpleQueueService.").unwrap_or(code);
    THROTTLED.contains(&code) || FAILED.contains(&code)
}

/// Whether a code means "not now".
pub fn is_throttling_code(code: &str) -> bool {
    THROTTLED.contains(&code)
}

/// Makes a call until it succeeds, fails for good, or patience ends.
///
/// # Errors
/// The last one.
pub async fn persist<T, E, F>(
    operation: &'static str,
    mut pauses: Pauses,
    call: impl Fn() -> F,
) -> Result<T, SdkError<E, HttpResponse>>
where
    E: ProvideErrorMetadata,
    F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
{
    loop {
        let error = match call().await {
            Ok(done) => {
                count(operation, "done");
                return Ok(done);
            }
            Err(error) => error,
        };
        if !is_temporary(&error) {
            count(operation, "refused");
            return Err(error);
        }
        count(operation, "failed");
        if !pauses.pause().await {
            return Err(error);
        }
    }
}

/// Counts a call.
pub fn count(operation: &'static str, outcome: &'static str) {
    metrics::counter!("fanfare_aws_calls_total", "operation" => operation, "outcome" => outcome)
        .increment(1);
}

/// What a failure means to whoever asked us. The service's own words are for the log.
pub fn trouble<E>(operation: &'static str, error: SdkError<E, HttpResponse>) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let code = error.code().unwrap_or_default().to_owned();
    let (throttled, temporary) = (is_throttling_code(&code), is_temporary(&error));
    let words = format!("{operation}: {}", DisplayErrorContext(error));
    match (throttled, temporary) {
        (true, _) => StoreError::Overloaded,
        (false, true) => StoreError::Unavailable(words),
        (false, false) => StoreError::Failed(words),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use aws_sdk_sqs::operation::send_message::SendMessageError;

    use super::*;

    type Failure = SdkError<SendMessageError, HttpResponse>;

    #[tokio::test]
    async fn a_call_is_made_again_until_patience_ends() {
        let calls = Cell::new(0);
        let never = persist("test", Pauses::lasting(Duration::from_millis(400)), || {
            calls.set(calls.get() + 1);
            async { Err::<(), Failure>(SdkError::timeout_error("late")) }
        });
        let error = never.await.expect_err("it never succeeds");
        assert!(matches!(trouble("test", error), StoreError::Unavailable(_)));
        assert!((2..100).contains(&calls.get()), "{}", calls.get());
    }

    #[tokio::test]
    async fn what_fails_for_good_is_not_tried_again() {
        let calls = Cell::new(0);
        let outcome = persist("test", Pauses::lasting(Duration::from_secs(20)), || {
            calls.set(calls.get() + 1);
            async { Err::<(), Failure>(SdkError::construction_failure("wrong")) }
        });
        let error = outcome.await.expect_err("it fails");
        assert_eq!(calls.get(), 1);
        assert!(matches!(trouble("test", error), StoreError::Failed(_)));
    }

    #[test]
    fn codes_that_pass_are_known() {
        for code in [
            "ProvisionedThroughputExceededException",
            "AWS.SimpleQueueService.RequestThrottled",
            "InternalError",
        ] {
            assert!(is_temporary_code(code), "{code}");
        }
        assert!(!is_temporary_code("AccessDenied"));
    }
}
