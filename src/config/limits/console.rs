//! What the console costs. How many messages are followed is a setting.

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
