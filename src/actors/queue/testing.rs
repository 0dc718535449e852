//! Queues for the tests of other actors.

use std::sync::Arc;

use super::Queues;
use super::tests::Bench;
use crate::backends::QueueCatalog;

/// Queues on a store in memory, on the present arbiter, and their names.
pub(in crate::actors) fn queues() -> (Queues, Arc<dyn QueueCatalog>) {
    let bench = Bench::new();
    (bench.queues, bench.store)
}
