//! SQS's limits (WIRE 1.4) and our own bounds on what is parsed. Past a limit of SQS's the caller gets SQS's error for it;
//! past one of ours, a 400.

/// Entries in a batch.
pub const BATCH_ENTRIES: usize = 10;
/// Characters in the id of a batch entry.
pub const BATCH_ID_CHARS: usize = 80;
/// Bytes in a message with its attributes, unless the queue's `MaximumMessageSize` is less, and in all
/// messages of a batch together.
pub const MESSAGE_BYTES: usize = super::SQS_MESSAGE_BYTES;
/// Attributes of a message.
pub const MESSAGE_ATTRIBUTES: usize = 10;
/// Characters in a message attribute's name, and in its type.
pub const ATTRIBUTE_NAME_CHARS: usize = 256;
/// Characters in `MessageGroupId`, `MessageDeduplicationId` and `ReceiveRequestAttemptId`.
pub const TOKEN_CHARS: usize = 128;
/// Messages in one receive.
pub const RECEIVE_MESSAGES: i64 = 10;
/// Longest long poll, in seconds.
pub const WAIT_SECONDS: i64 = 20;
/// Longest visibility time-out, in seconds.
pub const VISIBILITY_SECONDS: i64 = 43_200;
/// Longest delay, in seconds.
pub const DELAY_SECONDS: i64 = 900;
/// Queues in one page of a list, and when no page size is asked for.
pub const LIST_RESULTS: usize = 1_000;
/// Move tasks in one list.
pub const MOVE_TASKS: i64 = 10;
/// Messages per second of a move task.
pub const MOVE_RATE: i64 = 500;
/// Tags of a queue.
pub const TAGS: usize = 50;
/// Characters in a tag's key.
pub const TAG_KEY_CHARS: usize = 128;
/// Characters in a tag's value.
pub const TAG_VALUE_CHARS: usize = 256;
/// Statements that `AddPermission` puts in a policy, and actions in one of them.
pub const POLICY_ACTIONS: usize = 7;
/// Statements in a policy that `AddPermission` may extend.
pub const POLICY_STATEMENTS: usize = 20;
/// Characters in a permission's label.
pub const LABEL_CHARS: usize = 80;
/// Bytes in a `Policy`.
pub const POLICY_BYTES: usize = 8_192;
/// Queues that `RedriveAllowPolicy` may name.
pub const REDRIVE_SOURCES: usize = 10;
/// Ours: a request's body. Escaped in JSON or percent-encoded, text of the largest message grows threefold.
pub const BODY_BYTES: usize = 4 * MESSAGE_BYTES;
/// Ours: parameters in a Query request. The largest batch with all attributes has about 550.
pub const QUERY_PARAMETERS: usize = 2_048;
/// Ours: segments in the name of a Query parameter. The longest known name has six.
pub const QUERY_NAME_SEGMENTS: usize = 8;

const _: () = assert!(QUERY_PARAMETERS > BATCH_ENTRIES * (MESSAGE_ATTRIBUTES * 4 + 10));
