//! SQS over JSON: whatever a body holds, each operation reads it or refuses it, twice the same.

#![no_main]

use fanfare::wire::sqs::request::Fields;
use libfuzzer_sys::fuzz_target;

#[path = "sqs/operations.rs"]
mod operations;

fuzz_target!(|body: &[u8]| operations::check(|| Fields::of_json(body)));
