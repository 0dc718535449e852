//! What goes wrong, in the words of SQS (WIRE 1.6, 7): one exhaustive table from faults to types and codes.

use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::{HttpResponse, HttpResponseBuilder};
use serde_json::json;
use uuid::Uuid;

use super::limits;
use super::protocol::Protocol;
use super::xml;
use crate::auth::Denied;
use crate::auth::sigv4::AuthError;
use crate::domain::{QueueError, StoreError};
use crate::wire::Refusal;

/// Why an operation did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The queue's answer.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// Refused as a request is before it reaches an operation.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The request can not be read; the text says where.
    #[error("{0}")]
    Malformed(String),
    /// The queue URL is none.
    #[error("The address {0} is not valid for this endpoint.")]
    InvalidAddress(String),
    /// The operation is not for a queue's URL.
    #[error("The action {0} is not valid for this endpoint.")]
    InvalidAction(&'static str),
    /// A batch without entries; the name of an entry.
    #[error("There should be at least one {0} in the request.")]
    EmptyBatch(&'static str),
    /// A batch with this many entries.
    #[error("Maximum number of entries per request are {max}. You have sent {0}.", max = limits::BATCH_ENTRIES)]
    TooManyEntries(usize),
    /// The id of a batch entry is not of its form.
    #[error(
        "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 letters long."
    )]
    InvalidEntryId,
    /// Two batch entries have this id.
    #[error("Id {0} repeated.")]
    IdsNotDistinct(String),
    /// The messages of a batch have this many bytes.
    #[error("Batch requests cannot be longer than {max} bytes. You have sent {0} bytes.", max = limits::MESSAGE_BYTES)]
    BatchTooLong(usize),
    /// An attribute can not be set; the text is the whole answer.
    #[error("{0}")]
    InvalidAttributeName(String),
    /// An attribute's value is not allowed.
    #[error("Invalid value for the parameter {name}. Reason: {reason}")]
    InvalidAttributeValue {
        /// Which attribute.
        name: &'static str,
        /// What is allowed.
        reason: String,
    },
}

impl From<Denied> for Fault {
    fn from(_: Denied) -> Self {
        Self::Refused(Refusal::AccessDenied)
    }
}

/// How the protocols name a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names {
    /// JSON's `__type`.
    pub kind: &'static str,
    /// Query's code, also in `x-amzn-query-error` and in a batch's failed entries.
    pub code: &'static str,
    /// The HTTP status.
    pub status: u16,
}

/// Namespace, type, code and status of a fault as one line of the table.
macro_rules! names {
    (sqs $kind:literal, $code:literal, $status:literal) => {
        Names { kind: concat!("com.amazonaws.sqs#", $kind), code: $code, status: $status }
    };
    (sqs $kind:literal, prefixed, $status:literal) => {
        names!(sqs $kind, concat $kind, $status)
    };
    (sqs $kind:literal, concat $code:literal, $status:literal) => {
        Names {
            kind: concat!("com.amazonaws.sqs#", $kind),
            code: concat!("AWS.SimpleQueueService.", $code),
            status: $status,
        }
    };
    (coral $kind:literal, $code:literal, $status:literal) => {
        Names { kind: concat!("com.amazon.coral.service#", $kind), code: $code, status: $status }
    };
}

impl Fault {
    /// `InvalidParameterValue` with this text.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::Queue(QueueError::InvalidParameter(text.into()))
    }

    /// `MissingParameter` for this parameter.
    pub fn missing(parameter: &str) -> Self {
        let text = format!("The request must contain the parameter {parameter}.");
        Self::Queue(QueueError::MissingParameter(text))
    }

    /// Its names in either protocol.
    pub fn names(&self) -> Names {
        match self {
            Self::Queue(error) => queue_error_names(error),
            Self::Refused(refusal) => refusal_names(refusal),
            Self::Malformed(_) => names!(coral "SerializationException", "MalformedInput", 400),
            Self::InvalidAddress(_) => names!(sqs "InvalidAddress", "InvalidAddress", 404),
            Self::InvalidAction(_) => names!(coral "InvalidAction", "InvalidAction", 400),
            Self::EmptyBatch(_) => names!(sqs "EmptyBatchRequest", prefixed, 400),
            Self::TooManyEntries(_) => names!(sqs "TooManyEntriesInBatchRequest", prefixed, 400),
            Self::InvalidEntryId => names!(sqs "InvalidBatchEntryId", prefixed, 400),
            Self::IdsNotDistinct(_) => names!(sqs "BatchEntryIdsNotDistinct", prefixed, 400),
            Self::BatchTooLong(_) => names!(sqs "BatchRequestTooLong", prefixed, 400),
            Self::InvalidAttributeName(_) => {
                names!(sqs "InvalidAttributeName", "InvalidAttributeName", 400)
            }
            Self::InvalidAttributeValue { .. } => {
                names!(sqs "InvalidAttributeValue", "InvalidAttributeValue", 400)
            }
        }
    }

    /// What the client is told. A failed store's own words are for the log only.
    pub fn message(&self, protocol: Protocol) -> String {
        match self {
            Self::Queue(QueueError::DoesNotExist) if protocol != Protocol::Json => {
                "The specified queue does not exist for this wsdl version.".into()
            }
            Self::Queue(QueueError::Store(StoreError::Full(_))) => {
                "The service has no room for more at present. Please try again.".into()
            }
            Self::Queue(QueueError::Store(
                StoreError::Failed(_) | StoreError::Corrupt(_) | StoreError::Unavailable(_),
            )) => "We encountered an internal error. Please try again.".into(),
            Self::Refused(Refusal::UnknownOperation(name)) => {
                format!("The action {name} is not valid for this endpoint.")
            }
            other => other.to_string(),
        }
    }
}

fn queue_error_names(error: &QueueError) -> Names {
    match error {
        QueueError::DoesNotExist => names!(sqs "QueueDoesNotExist", concat "NonExistentQueue", 400),
        QueueError::NameExists(_) => names!(sqs "QueueNameExists", "QueueAlreadyExists", 400),
        QueueError::DeletedRecently => names!(sqs "QueueDeletedRecently", prefixed, 400),
        QueueError::ReceiptHandleIsInvalid(_) => {
            names!(sqs "ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid", 404)
        }
        QueueError::MessageNotInflight => names!(sqs "MessageNotInflight", prefixed, 400),
        QueueError::OverLimit | QueueError::QueueFull => names!(sqs "OverLimit", "OverLimit", 403),
        QueueError::PurgeInProgress(_) => names!(sqs "PurgeQueueInProgress", prefixed, 403),
        QueueError::InvalidParameter(_) | QueueError::ReceiptHandleExpired(_) => {
            names!(coral "InvalidParameterValueException", "InvalidParameterValue", 400)
        }
        QueueError::MissingParameter(_) => {
            names!(coral "MissingRequiredParameterException", "MissingParameter", 400)
        }
        QueueError::InvalidAttributeName(_) => {
            names!(sqs "InvalidAttributeName", "InvalidAttributeName", 400)
        }
        QueueError::InvalidMessageContents => {
            names!(sqs "InvalidMessageContents", "InvalidMessageContents", 400)
        }
        QueueError::UnsupportedOperation(_) => names!(sqs "UnsupportedOperation", prefixed, 400),
        QueueError::ResourceNotFound(_) => {
            names!(sqs "ResourceNotFoundException", "ResourceNotFoundException", 404)
        }
        QueueError::Throttled => names!(sqs "RequestThrottled", "RequestThrottled", 403),
        QueueError::Store(StoreError::Overloaded | StoreError::Unavailable(_)) => {
            names!(coral "ServiceUnavailable", "ServiceUnavailable", 503)
        }
        QueueError::Store(StoreError::Full(_)) => {
            names!(coral "InternalError", "InternalError", 503)
        }
        QueueError::Store(StoreError::Failed(_) | StoreError::Corrupt(_)) => {
            names!(coral "InternalError", "InternalError", 500)
        }
    }
}

fn refusal_names(refusal: &Refusal) -> Names {
    match refusal {
        Refusal::Auth(error) => auth_error_names(error),
        Refusal::AccessDenied => names!(coral "AccessDeniedException", "AccessDenied", 403),
        Refusal::UnknownOperation(name) if name.is_empty() => {
            names!(coral "UnknownOperationException", "UnknownOperationException", 404)
        }
        Refusal::UnknownOperation(_) => {
            names!(coral "UnknownOperationException", "InvalidAction", 400)
        }
        Refusal::NotFound => names!(sqs "InvalidAddress", "InvalidAddress", 404),
        Refusal::MethodNotAllowed { .. } => {
            names!(coral "UnsupportedHttpVerb", "UnsupportedHttpVerb", 405)
        }
        // No request for this wire is at such a path.
        Refusal::UpgradeRequired => names!(coral "UpgradeRequired", "UpgradeRequired", 426),
        Refusal::Malformed(_) => names!(coral "SerializationException", "MalformedInput", 400),
        Refusal::BodyTooLarge { .. } => {
            names!(coral "RequestEntityTooLarge", "RequestEntityTooLarge", 413)
        }
        Refusal::QueryTooLong { .. } => {
            names!(coral "RequestUriTooLong", "RequestUriTooLong", 414)
        }
        Refusal::HeadersTooLarge => {
            names!(coral "RequestHeaderFieldsTooLarge", "RequestHeaderFieldsTooLarge", 431)
        }
        Refusal::Timeout => names!(coral "RequestTimeout", "RequestTimeout", 408),
        Refusal::Unavailable => names!(coral "ServiceUnavailable", "ServiceUnavailable", 503),
        Refusal::Internal => names!(coral "InternalError", "InternalError", 500),
    }
}

fn auth_error_names(error: &AuthError) -> Names {
    match error {
        AuthError::MissingAuthentication => {
            names!(coral "MissingAuthenticationToken", "MissingAuthenticationToken", 403)
        }
        AuthError::IncompleteSignature(_) => {
            names!(coral "IncompleteSignature", "IncompleteSignature", 400)
        }
        AuthError::InvalidClientToken => {
            names!(coral "UnrecognizedClientException", "InvalidClientTokenId", 403)
        }
        AuthError::SignatureDoesNotMatch(_)
        | AuthError::SignatureExpired { .. }
        | AuthError::SignatureNotYetCurrent { .. } => {
            names!(coral "InvalidSignatureException", "SignatureDoesNotMatch", 403)
        }
        AuthError::ExpiredToken => names!(coral "ExpiredTokenException", "ExpiredToken", 403),
        AuthError::AccessDenied(_) => names!(coral "AccessDeniedException", "AccessDenied", 403),
    }
}

/// The answer that tells of a fault.
pub(super) fn fault_answer(protocol: Protocol, fault: &Fault, request_id: Uuid) -> HttpResponse {
    let names = fault.names();
    if names.status >= 500 {
        tracing::error!(%request_id, code = names.code, error = %fault, "an SQS request failed");
    }
    // AWS answers a request without an action in this shape, whatever it accepts.
    if let Fault::Refused(Refusal::UnknownOperation(name)) = fault
        && name.is_empty()
        && protocol != Protocol::Json
    {
        return respond(Protocol::Query, names.status).body("<UnknownOperationException/>\n");
    }
    let message = fault.message(protocol);
    let party = if names.status < 500 {
        "Sender"
    } else {
        "Receiver"
    };
    let mut response = respond(protocol, names.status);
    match protocol {
        Protocol::Json => {
            let short = names.kind.rsplit('#').next().unwrap_or(names.kind);
            response
                .insert_header(("x-amzn-ErrorType", short))
                .insert_header(("x-amzn-query-error", format!("{};{party}", names.code)))
                .body(json!({ "__type": names.kind, "message": message }).to_string())
        }
        Protocol::Query => response.body(xml::error(party, names.code, &message, request_id)),
        Protocol::QueryJson => response.body(
            json!({
                "Error": { "Type": party, "Code": names.code, "Message": message, "Detail": null },
                "RequestId": request_id.to_string(),
            })
            .to_string(),
        ),
    }
}

/// A response of this protocol. The front door adds the request's id to the headers.
pub(super) fn respond(protocol: Protocol, status: u16) -> HttpResponseBuilder {
    let status = StatusCode::from_u16(status).expect("the table has real statuses only");
    let mut response = HttpResponse::build(status);
    response.insert_header((CONTENT_TYPE, protocol.content_type()));
    response
}

#[cfg(test)]
mod tests {
    use actix_web::body::MessageBody as _;

    use super::*;

    fn rendered(protocol: Protocol, fault: &Fault) -> (u16, HttpResponse, String) {
        let response = fault_answer(protocol, fault, Uuid::nil());
        let status = response.status().as_u16();
        let (head, body) = response.into_parts();
        let body = body.try_into_bytes().unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        (
            status,
            head.set_body(actix_web::body::BoxBody::new(())),
            text,
        )
    }

    fn header<'a>(response: &'a HttpResponse, name: &str) -> Option<&'a str> {
        Some(response.headers().get(name)?.to_str().unwrap())
    }

    #[test]
    fn json_says_it_three_times() {
        let (status, head, body) = rendered(Protocol::Json, &QueueError::DoesNotExist.into());
        assert_eq!(status, 400);
        assert_eq!(
            body,
            r#"{"__type":"com.amazonaws.sqs#QueueDoesNotExist","message":"The specified queue does not exist."}"#
        );
        assert_eq!(header(&head, "x-amzn-errortype"), Some("QueueDoesNotExist"));
        assert_eq!(
            header(&head, "x-amzn-query-error"),
            Some("AWS.SimpleQueueService.NonExistentQueue;Sender")
        );
        assert_eq!(
            header(&head, "content-type"),
            Some("application/x-amz-json-1.0")
        );
    }

    #[test]
    fn query_says_it_in_xml_or_json() {
        let fault = Fault::from(QueueError::DoesNotExist);
        let (status, head, body) = rendered(Protocol::Query, &fault);
        assert_eq!(
            (status, header(&head, "content-type")),
            (400, Some("text/xml"))
        );
        assert!(body.contains(
            "<Error><Type>Sender</Type><Code>AWS.SimpleQueueService.NonExistentQueue</Code>\
             <Message>The specified queue does not exist for this wsdl version.</Message><Detail/></Error>"
        ), "{body}");
        let (_, head, body) = rendered(Protocol::QueryJson, &fault);
        assert_eq!(header(&head, "content-type"), Some("application/json"));
        assert!(
            body.contains(r#""Code":"AWS.SimpleQueueService.NonExistentQueue""#),
            "{body}"
        );
    }

    #[test]
    fn a_request_without_action_is_told_in_awss_shape() {
        let fault = Fault::Refused(Refusal::UnknownOperation(String::new()));
        for protocol in [Protocol::Query, Protocol::QueryJson] {
            let (status, head, body) = rendered(protocol, &fault);
            assert_eq!((status, body.trim()), (404, "<UnknownOperationException/>"));
            assert_eq!(header(&head, "content-type"), Some("text/xml"));
        }
    }

    #[test]
    fn codes_and_statuses_are_those_of_sqs() {
        let check = |fault: Fault, kind: &str, code: &str, status: u16| {
            let names = fault.names();
            let short = names.kind.rsplit('#').next().unwrap();
            assert_eq!(
                (short, names.code, names.status),
                (kind, code, status),
                "{fault:?}"
            );
        };
        let prefixed = |name: &str| format!("AWS.SimpleQueueService.{name}");
        for (fault, name, status) in [
            (Fault::EmptyBatch(""), "EmptyBatchRequest", 400),
            (
                Fault::TooManyEntries(11),
                "TooManyEntriesInBatchRequest",
                400,
            ),
            (Fault::InvalidEntryId, "InvalidBatchEntryId", 400),
            (
                Fault::IdsNotDistinct("a".into()),
                "BatchEntryIdsNotDistinct",
                400,
            ),
            (Fault::BatchTooLong(1), "BatchRequestTooLong", 400),
            (
                QueueError::DeletedRecently.into(),
                "QueueDeletedRecently",
                400,
            ),
            (
                QueueError::MessageNotInflight.into(),
                "MessageNotInflight",
                400,
            ),
            (
                QueueError::UnsupportedOperation("x".into()).into(),
                "UnsupportedOperation",
                400,
            ),
            (
                QueueError::PurgeInProgress("q".into()).into(),
                "PurgeQueueInProgress",
                403,
            ),
        ] {
            check(fault, name, &prefixed(name), status);
        }
        check(
            QueueError::NameExists("x".into()).into(),
            "QueueNameExists",
            "QueueAlreadyExists",
            400,
        );
        check(
            QueueError::ReceiptHandleIsInvalid("x".into()).into(),
            "ReceiptHandleIsInvalid",
            "ReceiptHandleIsInvalid",
            404,
        );
        check(
            Fault::invalid("x"),
            "InvalidParameterValueException",
            "InvalidParameterValue",
            400,
        );
        check(
            Fault::missing("x"),
            "MissingRequiredParameterException",
            "MissingParameter",
            400,
        );
        check(Denied.into(), "AccessDeniedException", "AccessDenied", 403);
        check(
            Refusal::from(AuthError::InvalidClientToken).into(),
            "UnrecognizedClientException",
            "InvalidClientTokenId",
            403,
        );
    }

    #[test]
    fn a_failed_store_keeps_its_words_to_itself() {
        for error in [
            StoreError::Failed("/secret/path".into()),
            StoreError::Full("/secret/path".into()),
            StoreError::Corrupt("/secret/path".into()),
        ] {
            let (status, head, body) = rendered(Protocol::Json, &QueueError::from(error).into());
            assert!(status >= 500 && !body.contains("secret"), "{body}");
            assert_eq!(
                header(&head, "x-amzn-query-error"),
                Some("InternalError;Receiver")
            );
        }
    }

    #[test]
    fn texts_are_those_of_sqs() {
        assert_eq!(
            Fault::TooManyEntries(11).to_string(),
            "Maximum number of entries per request are 10. You have sent 11."
        );
        assert_eq!(
            Fault::BatchTooLong(1_048_577).to_string(),
            "Batch requests cannot be longer than 1048576 bytes. You have sent 1048577 bytes."
        );
        assert_eq!(
            Fault::missing("MessageBody").to_string(),
            "The request must contain the parameter MessageBody."
        );
    }
}
