//! MQTT connections, below MQTT. All of it ours, and per connection unless it says otherwise.

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
