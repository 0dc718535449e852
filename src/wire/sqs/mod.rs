//! The SQS wire (WIRE 1): JSON 1.0 and Query, one file per operation.
