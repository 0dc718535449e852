//! SQS over Query: whatever a query string and a form hold, each operation reads it or refuses it, twice the same.

#![no_main]

use fanfare::wire::sqs::request::Fields;
use libfuzzer_sys::fuzz_target;

#[path = "sqs/operations.rs"]
mod operations;

fuzz_target!(|input: &[u8]| {
    // The first line is the query string, the rest the form.
    let mut lines = input.splitn(2, |byte| *byte == b'\n');
    let query = lines.next().unwrap_or_default();
    let form = lines.next().unwrap_or_default();
    operations::check(|| Fields::of_query(query, form));
});
