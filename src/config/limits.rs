//! Every bound in one file: its unit, where it comes from, and what happens at it. Nothing grows without one.

/// Jobs waiting for the committing thread. Beyond it a write is refused as overloaded (503, `RequestThrottled`).
pub const COMMIT_QUEUE_JOBS: usize = 65_536;

/// Bytes of the jobs waiting for the committing thread. Beyond it a write is refused as overloaded.
pub const COMMIT_QUEUE_BYTES: usize = 256 << 20;

/// Bytes written by one group commit; what comes later goes into the next.
pub const COMMIT_BATCH_BYTES: usize = 8 << 20;

const _: () = assert!(COMMIT_BATCH_BYTES < COMMIT_QUEUE_BYTES);

/// Bytes of bodies read together with a queue's messages; the rest are read when they are handed out.
pub const LOADED_BODY_BYTES: usize = 1 << 20;

/// How long messages wait in a session's queue unless `create` says otherwise.
pub const SESSION_RETENTION_DEFAULT: std::time::Duration = std::time::Duration::from_secs(3600);

/// Length of a message as ASCII JSON, in bytes: sealed and in base64 it must fit into SQS's 1 MiB. Beyond it 413.
pub const MESSAGE_BYTES: usize = (SQS_MESSAGE_BYTES - 64) / 4 * 3;

/// Largest SQS message, in bytes (SQS's own limit since August 2025).
pub const SQS_MESSAGE_BYTES: usize = 1 << 20;

/// Keys of one object in a message. Beyond it 400.
pub const MESSAGE_KEYS: usize = 10_000;

/// Queue URLs in the answer to a post.
pub const ANSWERED_QUEUE_URLS: usize = 1000;

/// Messages waiting in a dispatcher's mailbox; senders wait beyond it.
pub const DISPATCHER_MAILBOX: usize = 4096;

/// Entries waiting in a history actor's mailbox; senders wait beyond it. Twice what its dispatcher can hand over before
/// it has its turn, so that no entry waits outside, with a sender who may go away.
pub const HISTORIAN_MAILBOX: usize = 2 * DISPATCHER_MAILBOX;

/// Requests waiting in a user actor's mailbox; senders wait beyond it.
pub const USER_MAILBOX: usize = 256;

/// Messages of other workers waiting in a topic actor's mailbox. Beyond it publications of quality of service 0 are dropped and
/// counted, and others wait.
pub const TOPIC_MAILBOX: usize = 4096;

/// Bytes of publications that wait for room in another worker's mailbox. Beyond it they are dropped and counted, but for
/// those that durable sessions have on disk.
pub const FORWARD_BACKLOG_BYTES: usize = 64 << 20;

/// Publications that one message carries to another worker.
pub const FAN_OUT_BATCH: usize = 256;

/// Publications of one connection that may wait for an earlier one's way to the disk; beyond it the connection is not read.
pub const PUBLICATIONS_BEHIND: usize = 1024;

/// Topics whose subscribers a worker remembers; beyond it all are forgotten and found anew.
pub const CACHED_TOPICS: usize = 65_536;

/// Messages of a session's queue that are with its MQTT client at a time; more are read when some are acknowledged.
pub const INBOX_MESSAGES: usize = 100;

/// Entries receipted by one commit and named by one receipt message.
pub const RECEIPT_BATCH: usize = 300;

/// Ids that one receipt request may name. Beyond it 400.
pub const RECEIPT_IDS: usize = 10_000;

/// Entries on a page of history, and the default.
pub const HISTORY_PAGE: usize = 1000;

/// Expired sessions removed together.
pub const SWEEP_BATCH: usize = 500;

/// Sessions read at a time while all are listed.
pub const STATUS_PAGE: usize = 1000;

/// Topic filters that `create` may grant. Beyond it 400.
pub const SESSION_TOPICS: usize = 50;

/// Length of a granted topic filter, in bytes (AWS IoT's). Beyond it 400.
pub const TOPIC_FILTER_BYTES: usize = 256;
/// Receive attempts (`ReceiveRequestAttemptId`) that one FIFO queue remembers; of more the oldest is forgotten, and
/// repeating it counts as a new receive.
pub const REMEMBERED_ATTEMPTS: usize = 10_000;

/// Changes of one queue on their way to disk; beyond it the queue answers `RequestThrottled`.
pub const QUEUE_COMMITS: usize = 1_024;

/// Changes in one commit of a purge, so that a long queue's does not hold up everyone else's.
pub const PURGE_CHANGES: usize = 10_000;

/// Message move tasks that a source's list keeps, `ListMessageMoveTasks`' own maximum (WIRE 1.5); older ended ones
/// are forgotten.
pub const KEPT_MOVE_TASKS: usize = 10;

/// Messages a second that a move task moves at most (WIRE 1.5).
pub const MOVE_TASK_RATE: u32 = 500;

/// Panics of one queue's or user's actor within [`PANIC_WINDOW`] from which on it is refused instead of restarted.
pub const PANICS: usize = 5;

/// Panics of one worker's dispatcher or history actor within [`PANIC_WINDOW`] from which on it is overloaded instead of
/// restarted. More than [`PANICS`], because everyone asks it: what makes it panic is most likely one message.
pub const WORKER_PANICS: usize = 100;

/// See [`PANICS`]: it is tried again when the oldest of them is this long ago.
pub const PANIC_WINDOW: std::time::Duration = std::time::Duration::from_secs(60);

/// Queues loaded from disk at the same time; more wait for their turn.
pub const PARALLEL_LOADS: usize = 8;

/// The configuration's numbers: key, least, most, and what they count. A value outside stops the start. A test holds
/// this list to every number of [`Config`](super::Config).
///
/// Sources: session lifetimes as STS has them (900 s to 36 h; shorter ones for tests), retention and messages in
/// flight as SQS has them (WIRE 1.4), the rest from what one machine can hold.
pub const SETTINGS: &[(&str, u64, u64, &str)] = &[
    ("http.workers", 0, 1024, "threads (0: one for each core)"),
    ("http.max_connections", 1, 10_000_000, "connections"),
    ("http.body_limit_bytes", 65_536, 64 << 20, "bytes"),
    ("http.keep_alive", 1, 3600, "seconds"),
    ("http.head_timeout", 1, 300, "seconds"),
    ("http.body_timeout", 1, 3600, "seconds"),
    ("http.drain_timeout", 1, 20, "seconds"),
    ("store.min_free_bytes", 1 << 20, 1 << 50, "bytes"),
    ("store.cache_bytes", 1 << 20, 1 << 40, "bytes"),
    ("store.write_buffer_bytes", 1 << 20, 1 << 30, "bytes"),
    ("store.journal_bytes", 64 << 20, 1 << 40, "bytes"),
    ("store.sweep_interval", 1, 86_400, "seconds"),
    ("store.compact_after_bytes", 4096, 1 << 40, "bytes"),
    ("sessions.key_lifetime", 1, 129_600, "seconds"),
    ("sessions.ttl", 0, 31_536_000, "seconds"),
    ("sessions.retention", 60, 1_209_600, "seconds"),
    ("sessions.max_sessions", 1, 1_000_000_000, "sessions"),
    ("sessions.sweep_interval", 1, 86_400, "seconds"),
    ("sessions.queue_limit", 1, 10_000_000, "messages"),
    ("queues.idle_after", 1, 86_400, "seconds"),
    ("queues.max_messages", 1, 100_000_000, "messages"),
    ("queues.max_in_flight", 1, 120_000, "messages"),
    ("queues.max_waiting", 1, 1_000_000, "long polls"),
    ("queues.mailbox", 16, 65_536, "requests"),
    ("queues.cached_body_bytes", 0, 1 << 40, "bytes"),
    ("history.user_message_ttl", 1, 31_536_000, "seconds"),
    ("history.idle_after", 1, 86_400, "seconds"),
    ("kinesis.shards", 1, 1000, "shards"),
    ("aws.patience", 1, 300, "seconds"),
    ("aws.hold_bytes", 2 << 20, 1 << 40, "bytes"),
    ("aws.sweep_interval", 10, 86_400, "seconds"),
    (
        "aws.broker_max_subscriptions",
        1,
        1_000_000,
        "topic filters",
    ),
    // The least is what one read may bring, and half as much again.
    ("aws.consume_bytes", 16 << 20, 1 << 40, "bytes"),
    ("mqtt.max_connections", 1, 10_000_000, "connections"),
    ("mqtt.max_packet_bytes", 4096, 16 << 20, "bytes"),
    ("mqtt.connect_timeout", 1, 300, "seconds"),
    ("mqtt.max_in_flight", 1, 32_767, "publications"),
    ("mqtt.max_waiting", 1, 1_000_000, "publications"),
    ("mqtt.max_waiting_bytes", 4096, 1 << 30, "bytes"),
    ("mqtt.max_outbound_bytes", 4096, 1 << 30, "bytes"),
    ("mqtt.slow_consumer_timeout", 1, 3600, "seconds"),
    ("mqtt.max_keep_alive", 1, 65_535, "seconds"),
    ("mqtt.ping_interval", 1, 3600, "seconds"),
    ("mqtt.max_topic_aliases", 0, 65_535, "aliases"),
    ("mqtt.max_client_id_bytes", 23, 65_535, "bytes"),
    ("mqtt.max_subscriptions", 1, 100_000, "subscriptions"),
    ("mqtt.max_session_expiry", 0, 4_294_967_294, "seconds"),
    ("mqtt.max_durable_sessions", 0, 100_000_000, "sessions"),
    ("mqtt.queue_limit", 1, 100_000_000, "messages"),
    ("mqtt.max_retained_messages", 0, 100_000_000, "messages"),
    ("mqtt.max_retained_bytes", 0, 1 << 40, "bytes"),
    ("console.traces", 1, 100_000, "messages"),
    ("guests.keys_per_minute", 1, 1_000_000, "keys"),
    ("guests.keys_burst", 1, 1_000_000, "keys"),
];

/// How often the certificate's files are looked at.
pub const CERTIFICATE_LOOK: std::time::Duration = std::time::Duration::from_secs(5);

/// Characters of a queue's name that come after `sessions.queue_prefix`; together at most 80 (SQS's own limit).
pub const QUEUE_PREFIX_CHARACTERS: usize = 80 - 1 - 43;

/// Signing keys that are kept, about 0.5 KiB each: a day's keys of as many callers as are busy at a time. Of more, one is
/// derived anew at its next request.
pub const SIGNING_KEYS: usize = 16 * 1024;

/// Bytes of a stored record: a message of 1 MiB with its attributes and some room. A forged length beyond it is
/// `Corrupt` before anything is allocated.
pub const RECORD_BYTES: usize = 4 << 20;

const _: () = assert!(RECORD_BYTES > 2 * SQS_MESSAGE_BYTES);

/// Bytes of a publication that is stored, with its topic, its properties and one recipient's Subscription Identifiers.
/// Beyond it the store refuses; `mqtt` must not let a larger one in.
pub const STORED_PUBLICATION_BYTES: usize = RECORD_BYTES / 2;

/// Bytes of a stored MQTT session: its subscriptions and its will. Beyond it the store refuses.
pub const STORED_CLIENT_BYTES: usize = RECORD_BYTES - 4096;

const _: () = assert!(STORED_PUBLICATION_BYTES + 4096 < RECORD_BYTES);
const _: () = assert!(STORED_PUBLICATION_BYTES < STORED_CLIENT_BYTES);

/// What an HTTP request may be, whatever it asks for. All of it ours; beyond it the request is refused before anything is
/// looked up.
pub mod http {
    use std::time::Duration;
    /// Bytes of names and values of all headers together; beyond: 431.
    pub const HEADER_BYTES: usize = 16 * 1024;
    /// Number of headers; beyond: 431.
    pub const HEADERS: usize = 100;
    /// Bytes of a REST route's query; beyond: 414. RPC wires may carry a whole call in the query.
    pub const REST_QUERY_BYTES: usize = 8 * 1024;
    /// Bytes of a REST route's body, or of a request's that no wire claims; beyond: 413. This is the default of
    /// `http.body_limit_bytes`.
    pub const REST_BODY_BYTES: usize = 2 * 1024 * 1024;
    /// How long a body may take to arrive; beyond: 408. This is the default of `http.body_timeout`.
    pub const BODY_PATIENCE: Duration = Duration::from_secs(30);

    const _: () = assert!(REST_BODY_BYTES > super::MESSAGE_BYTES);
}

/// MQTT connections, below MQTT. All of it ours, and per connection unless it says otherwise.
pub mod links {
    use std::time::Duration;
    /// How exact times are: alarms, silence and closing are looked at this often.
    pub const TICK: Duration = Duration::from_millis(500);
    /// How long a connection that is being closed may take to take the last bytes and to close its side; then it is cut.
    pub const CLOSE_PATIENCE: Duration = Duration::from_secs(3);
    /// A worker's read buffer, in bytes.
    pub const READ_BYTES: usize = 64 * 1024;
    /// Bytes read in one turn; then the other connections of the worker have theirs. What one turn brings goes out in one
    /// write to each subscriber, so more would only be held back there.
    pub const TURN_BYTES: usize = 64 * 1024;
    /// Read at a time from a WebSocket, in bytes, since the decoder's buffer keeps its size.
    pub const CHUNK_BYTES: usize = 16 * 1024;
    /// What a worker keeps of one turn for several connections at once, in bytes; beyond it, each has its own copy.
    pub const TURN_LOG_BYTES: usize = 1 << 20;
    /// A client that does not read is read until its answers are this many bytes, and then not any more.
    pub const READ_ON_BYTES: usize = 64 * 1024;
    /// From this length on, packets for several clients are shared instead of copied.
    pub const SHARED_BYTES: usize = 2 * 1024;
    /// A buffer for outgoing packets begins with this many bytes.
    pub const BUFFER_BYTES: usize = 512;
    /// Spare buffers that a worker keeps, in bytes.
    pub const SPARE_BYTES: usize = 1 << 20;
    /// How often it is looked at how much of its time a thread works.
    pub const LOAD_WINDOW: Duration = Duration::from_millis(50);
    /// The share of its time from which on a thread counts as saturated.
    pub const CROWDED_FROM: f64 = 0.9;
    /// The share below which it does no more: what it saves as a saturated one must not end that.
    pub const CROWDED_UNTIL: f64 = 0.8;
    /// A saturated thread writes to its connections this often at most.
    pub const CROWDED_PACE: Duration = Duration::from_millis(2);
    /// Entries that the list of connections to be written keeps room for, per worker.
    pub const DIRTY_KEPT: usize = 16 * 1024;
    /// Pieces in one write.
    pub const WRITE_PARTS: usize = 64;
    /// Frames of one WebSocket message; beyond it the connection is closed with 1009.
    pub const FRAGMENTS: u32 = 1024;
    /// WebSocket frames without data, pings among them, in [`CHEAP_PERIOD`]; then the connection is closed with 1008.
    pub const CHEAP_FRAMES: u32 = 200;
    /// See [`CHEAP_FRAMES`].
    pub const CHEAP_PERIOD: Duration = Duration::from_secs(10);
}

/// Kinesis's limits (WIRE 5); past one, the error that Kinesis names.
pub mod kinesis {
    /// Bytes of one record's data and key.
    pub const RECORD_BYTES: usize = 1024 * 1024;
    /// Bytes of the data and keys of one call.
    pub const CALL_BYTES: usize = 10 * 1024 * 1024;
    /// Records of one call.
    pub const CALL_RECORDS: usize = 500;
    /// Characters of a partition key.
    pub const PARTITION_KEY_CHARS: usize = 256;
    /// Ours: bytes of a body. 10 MiB of records in base 64, and room for the JSON around them; beyond: 413.
    pub const BODY_BYTES: usize = 16 * 1024 * 1024;

    const _: () = assert!(BODY_BYTES > CALL_BYTES / 3 * 4);
}

/// Cognito's limits (WIRE 3); past one, `InvalidParameterException`.
pub mod cognito {
    /// Logins of one `GetCredentialsForIdentity`.
    pub const LOGINS: usize = 10;
    /// Identities that one `DeleteIdentities` names.
    pub const IDENTITIES: usize = 60;
    /// Ours: bytes of a body. Ten login tokens of 50,000 characters, the most that AWS takes, fit; beyond: 413.
    pub const BODY_BYTES: usize = 1024 * 1024;
}

/// What the console costs. How many messages are followed is a setting.
pub mod console {
    /// Steps of one message that is followed; more are counted only. A broadcast has some for each session.
    pub const STEPS: usize = 500;
    /// Targets that are watched at a time; more are refused (429).
    pub const WATCHES: usize = 16;
    /// Messages that begin to be followed in one second; others pass by, and are counted.
    pub const PER_SECOND: usize = 100;
    /// The first bytes of a queue's message that are shown.
    pub const SHOWN_BYTES: usize = 2048;
    /// Subscriptions that each worker looks at for one answer; if there are more, the answer says that it is not complete.
    pub const SURVEYED: usize = 200_000;
}

/// Bounds on AWS IoT's data plane over HTTP.
pub mod iot {
    /// Retained messages that one answer lists, and what it lists unless `maxResults` says less; more is refused (400).
    pub const RETAINED_RESULTS: usize = 200;
    /// Subscriptions of a client that one answer lists at most; more is refused (400).
    pub const SUBSCRIPTION_RESULTS: usize = 200;
    /// What it lists unless `maxResults` says otherwise, as AWS IoT does.
    pub const SUBSCRIPTION_RESULTS_DEFAULT: usize = 20;
    /// Seconds that a client may take to confirm a direct message, at most; more is refused (400).
    pub const CONFIRMATION_S: usize = 15;
    /// The same unless `timeout` says otherwise. After it: 504.
    pub const CONFIRMATION_DEFAULT_S: usize = 5;

    const _: () = assert!(SUBSCRIPTION_RESULTS_DEFAULT <= SUBSCRIPTION_RESULTS);
    const _: () = assert!(CONFIRMATION_DEFAULT_S <= CONFIRMATION_S);
}

/// Bounds on MQTT packets. What a packet may have in bytes is a setting.
pub mod mqtt {
    /// Bytes of a text, or of binary data, in a packet: what MQTT's two-byte length can carry. Beyond it 400 over HTTP.
    pub const TEXT_BYTES: usize = 65_535;
    /// Bytes of a packet whose sender is not authenticated (RELIABILITY 5); beyond: 0x95 and the connection ends.
    pub const PRE_AUTH_BYTES: usize = 4096;
    /// User properties of one packet, or of its will; beyond: 0x95 and the connection ends.
    pub const USER_PROPERTIES: usize = 100;
    /// Topic filters of one SUBSCRIBE or UNSUBSCRIBE; beyond: 0x97 and the connection ends.
    pub const PACKET_FILTERS: usize = 512;
}

/// SQS's limits (WIRE 1.4) and our own bounds on what is parsed. Past a limit of SQS's the caller gets SQS's error for it;
/// past one of ours, a 400.
pub mod sqs {
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
}

/// Policies, and the keys and tokens that carry them. All of it ours but for what is said.
pub mod policy {
    use std::time::Duration;
    /// Bytes of a policy in the configuration. Beyond it the configuration is refused.
    pub const CONFIGURED_BYTES: usize = 8 * 1024;
    /// Bytes of a session policy (STS's own limit). Beyond it `PackedPolicyTooLarge`.
    pub const SESSION_BYTES: usize = 2048;
    /// Statements of one policy. Beyond it it is malformed.
    pub const STATEMENTS: usize = 100;
    /// Values of an `Action`, `Resource` or condition. Beyond it the policy is malformed.
    pub const VALUES: usize = 100;
    /// Bytes of a session token that carries its own claims. Beyond it `PackedPolicyTooLarge`.
    pub const TOKEN_BYTES: usize = 4096;
    /// Topic patterns that `?topic=` of `/iot/keys` names, and the bytes of each. Beyond it 400.
    pub const NARROWED_TOPICS: usize = 10;
    /// Bytes of one of [`NARROWED_TOPICS`] (AWS IoT's topic length).
    pub const TOPIC_BYTES: usize = 256;
    /// How long a guest's keys live (Cognito's own).
    pub const GUEST_LIFE: Duration = Duration::from_secs(3600);
    /// How long a connect token lives.
    pub const CONNECT_TOKEN_LIFE: Duration = Duration::from_secs(60);
    /// Roles, and MQTT accounts, in the configuration. Beyond it the configuration is refused.
    pub const ENTRIES: usize = 10_000;
    /// Addresses and names whose rate is watched at a time, about 100 bytes each. Of more, the one that was heard of
    /// longest ago is forgotten.
    pub const WATCHED: usize = 16 * 1024;
    /// Password hashes computed at a time; each takes a thread and 19 MiB. More wait.
    pub const PARALLEL_HASHES: usize = 2;
    /// Passwords waiting to be checked. Beyond it a login is refused as busy.
    pub const WAITING_HASHES: usize = 256;
    /// Failed logins of one address with one name: so many at once, then one every [`LOGIN_PAUSE`].
    pub const LOGIN_FAILURES: u32 = 10;
    /// See [`LOGIN_FAILURES`].
    pub const LOGIN_PAUSE: Duration = Duration::from_secs(6);
}

/// What the `aws` backend asks of its services.
pub mod aws {
    /// Messages of one `SendMessageBatch` (SQS's own); more wait for the next, as do those beyond its 1 MiB.
    pub const SEND_BATCH: usize = 10;
    /// Rows of one `BatchWriteItem` (DynamoDB's own); more wait for the next.
    pub const WRITE_BATCH: usize = 25;
    /// Bytes of one `BatchWriteItem` as we count them: DynamoDB's limit is 16 MiB of what is sent.
    pub const WRITE_BATCH_BYTES: usize = 4 << 20;
    /// Bytes of a message that history keeps (DynamoDB's 400 KB a row, less what we add). Beyond it 413.
    pub const HISTORY_TEXT_BYTES: usize = 390_000;
    /// Sessions whose envelope counters this node has on lease, about 500 bytes each. Beyond it those of sessions that
    /// nothing is sent to at the moment are given up, which costs them a write when something is.
    pub const LEASED_SESSIONS: usize = 100_000;
    /// Sessions among which owners of queues are looked for, about 16 bytes each. With more, queues that lost their session stay, and
    /// a warning says so.
    pub const QUEUE_OWNERS: usize = 10_000_000;
    /// How often a change is tried anew when another node changed the same session first. Beyond it 429.
    pub const CHANGE_TRIES: usize = 10;
    /// Messages of a group whose sessions are looked up together; of more, a part at a time.
    pub const RELAY_GROUP: usize = 500;
    /// Records of one read of a shard; more wait for the next.
    pub const READ_RECORDS: i32 = 1000;
    /// Bytes of one read of a shard (Kinesis's own).
    pub const READ_BYTES: u64 = 10 << 20;
    /// How often a record is tried that is refused for good, in which nothing may be wrong with the record. Then it is
    /// given up, so that its shard goes on.
    pub const RECORD_TRIES: usize = 8;
}

/// What a node asks of the broker that its topics go through.
pub mod broker {
    use std::time::Duration;
    /// Ours: packet ids that are in use at a time, so publications of quality of service 1 that were sent and are not
    /// acknowledged, if the broker does not want fewer. More wait, in bytes bounded by `aws.hold_bytes`.
    pub const PACKET_IDS: u16 = 1000;
    /// Filters of one SUBSCRIBE (AWS IoT Core's own). More wait for the next.
    pub const FILTERS: usize = 8;
    /// Ours: retained messages that one SUBSCRIBE of a client brings. More are counted as dropped.
    pub const RETAINED: usize = 10_000;
    /// Ours: how long the broker keeps what is published while a node has lost its connection. What comes after that is not
    /// for whoever is connected to the node.
    pub const RESUME: Duration = Duration::from_secs(300);
}

/// STS's requests; past a limit, `ValidationError`.
pub mod sts {
    /// Ours: bytes of a body. A session policy with every character percent-encoded fits; beyond: 413.
    pub const BODY_BYTES: usize = 64 * 1024;
    /// Ours: parameters of a request. `AssumeRole` with everything has about 200.
    pub const PARAMETERS: usize = 256;
}

/// Rooms. All of it ours.
pub mod rooms {
    use std::time::Duration;
    /// Rules; more stop the start.
    pub const RULES: usize = 32;
    /// Members of one room; joining beyond it is refused (0x97).
    pub const MEMBERS: usize = 100_000;
    /// Rooms that one connection may be a member of; joining beyond it is refused (0x97).
    pub const JOINED: usize = 64;
    /// Bytes of a member's data; beyond it joining is refused (0x99).
    pub const DATA_BYTES: usize = 1024;
    /// Bytes of one value; beyond it it is refused (0x97).
    pub const VALUE_BYTES: usize = 4096;
    /// Values of one member; more are refused (0x97).
    pub const VALUES: usize = 16;
    /// Bytes of all values of one room; beyond it they are refused (0x97).
    pub const ALL_VALUES_BYTES: usize = 4 << 20;
    /// How long after a message about members the next one may come.
    pub const CHANGES_PAUSE: Duration = Duration::from_millis(100);
    /// The same for a message that only has their number.
    pub const COUNTS_PAUSE: Duration = Duration::from_secs(1);
    /// Publications that one recovery sends; of more it is refused as too many.
    pub const REPLAYED: u64 = 1000;
    /// Rooms on disk; more get no history, and publications there are refused (0x97).
    pub const HISTORIES: usize = 100_000;
    /// Rooms in memory; more are refused (0x97).
    pub const OPEN: usize = 100_000;
    /// How long a room in which nothing happens stays in memory.
    pub const IDLE: Duration = Duration::from_secs(60);
    /// Messages on a page of history.
    pub const PAGE: usize = 100;
    /// Messages on a page of history unless it is said.
    pub const PAGE_DEFAULT: usize = 50;
    /// Bytes of a page of history, and of one part of a list of members or values; the next page or part goes on. One entry may be
    /// longer.
    pub const PART_BYTES: usize = 64 << 10;
}
