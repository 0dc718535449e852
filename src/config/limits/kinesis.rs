//! Kinesis's limits (WIRE 5); past one, the error that Kinesis names.

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
