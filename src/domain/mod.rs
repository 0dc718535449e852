//! The pure core: ids, targets, messages, queue attributes, history rules. No I/O, no actors, no serde.
