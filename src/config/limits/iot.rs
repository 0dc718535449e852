//! Bounds on AWS IoT's data plane over HTTP.

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
