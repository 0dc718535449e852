//! What can go wrong, without a word about status codes: each wire maps these to its own form.

/// The store refused or failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Too little free disk space: nothing that grows is accepted until there is more.
    #[error("the store is full: {0}")]
    Full(String),
    /// The store has failed for good (an fsync error); the process is about to end.
    #[error("the store has failed: {0}")]
    Failed(String),
    /// A service elsewhere does not answer, or refuses for the moment: try again later.
    #[error("{0}")]
    Unavailable(String),
    /// A stored record can not be read.
    #[error("corrupt record: {0}")]
    Corrupt(String),
    /// The commit queue is full: try again later.
    #[error("the store is overloaded")]
    Overloaded,
}

/// Why a queue operation was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// No such queue.
    #[error("The specified queue does not exist.")]
    DoesNotExist,
    /// A queue of this name exists with another value of the named attribute.
    #[error("A queue already exists with the same name and a different value for attribute {0}")]
    NameExists(String),
    /// The name was deleted less than 60 seconds ago.
    #[error(
        "You must wait 60 seconds after deleting a queue before you can create another with the same name."
    )]
    DeletedRecently,
    /// The handle was not issued by this queue.
    #[error("The input receipt handle \"{0}\" is not a valid receipt handle.")]
    ReceiptHandleIsInvalid(String),
    /// FIFO only: the handle's visibility timeout has passed.
    #[error(
        "Value {0} for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired."
    )]
    ReceiptHandleExpired(String),
    /// The message is not in flight.
    #[error("The specified message is not in flight.")]
    MessageNotInflight,
    /// Too many messages in flight.
    #[error("Too many messages are in flight in this queue.")]
    OverLimit,
    /// The queue holds as many messages, or bytes, as it may.
    #[error("The queue holds the most messages it may.")]
    QueueFull,
    /// A purge was asked for less than 60 seconds after another.
    #[error("Only one PurgeQueue operation on {0} is allowed every 60 seconds.")]
    PurgeInProgress(String),
    /// A parameter's value is not allowed; the text is the whole answer.
    #[error("{0}")]
    InvalidParameter(String),
    /// A required parameter is missing; the text is the whole answer.
    #[error("{0}")]
    MissingParameter(String),
    /// An attribute that this queue does not have.
    #[error("Unknown Attribute {0}.")]
    InvalidAttributeName(String),
    /// The text has characters that SQS does not carry.
    #[error(
        "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF."
    )]
    InvalidMessageContents,
    /// The operation does not fit this queue.
    #[error("{0}")]
    UnsupportedOperation(String),
    /// What the call names (a move task) does not exist.
    #[error("{0}")]
    ResourceNotFound(String),
    /// More work is waiting than is allowed: try again later.
    #[error("Request is throttled.")]
    Throttled,
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
