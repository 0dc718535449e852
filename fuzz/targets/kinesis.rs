//! Kinesis: whatever a body holds, it is read as records within the limits or refused, twice the same.

#![no_main]

use std::fmt::Debug;
use std::sync::LazyLock;

use fanfare::domain::Timestamp;
use fanfare::wire::json11::Fault;
use fanfare::wire::kinesis::{IngestRecord, Limits, Stream, put_record, put_records};
use libfuzzer_sys::fuzz_target;

static STREAM: LazyLock<Stream> = LazyLock::new(|| Stream {
    name: "dev-sqs-browser-event-dispatcher".into(),
    region: "us-east-1".into(),
    account: "123456789012".into(),
    shards: 3,
    created: Timestamp::from_secs(1),
    // Within a fuzzer's reach.
    limits: Limits {
        record_bytes: 64,
        call_bytes: 100,
        call_records: 3,
    },
});

fn bytes(record: &IngestRecord) -> usize {
    record.data.len() + record.partition_key.len()
}

fn check_record(record: &IngestRecord) {
    assert!(record.shard.0 < STREAM.shards, "{record:?}");
    assert!(!record.partition_key.is_empty(), "{record:?}");
    assert!(bytes(record) <= STREAM.limits.record_bytes, "{record:?}");
}

/// Reads twice; a refusal must be the caller's.
fn read<T: Debug + PartialEq>(parse: impl Fn() -> Result<T, Fault>) -> Option<T> {
    let first = parse();
    assert_eq!(first, parse(), "two meanings of one body");
    if let Err(fault) = &first {
        assert_eq!(fault.status, 400, "{fault:?}");
        assert!(!fault.message.is_empty(), "{fault:?}");
    }
    first.ok()
}

fuzz_target!(|body: &[u8]| {
    if let Some(record) = read(|| put_record::parse(&STREAM, body)) {
        check_record(&record);
    }
    if let Some(records) = read(|| put_records::parse(&STREAM, body)) {
        records.iter().for_each(check_record);
        assert!((1..=STREAM.limits.call_records).contains(&records.len()));
        let bytes: usize = records.iter().map(bytes).sum();
        assert!(bytes <= STREAM.limits.call_bytes, "{bytes}");
    }
});
