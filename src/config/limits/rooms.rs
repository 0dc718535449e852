//! Rooms. All of it ours.

use std::time::Duration;

/// Rules; more stop the start.
pub const RULES: usize = 32;
/// Members of one room; joining beyond it is refused (0x97).
pub const MEMBERS: usize = 100_000;
/// Rooms that one connection may be a member of; joining beyond it is refused (0x97).
pub const JOINED: usize = 64;
/// Bytes of a member's data; beyond it joining is refused (0x99).
pub const DATA_BYTES: usize = 1024;
/// Bytes of one value; beyond it it is refused (0x97).
pub const VALUE_BYTES: usize = 4096;
/// Values of one member; more are refused (0x97).
pub const VALUES: usize = 16;
/// Bytes of all values of one room; beyond it they are refused (0x97).
pub const ALL_VALUES_BYTES: usize = 4 << 20;
/// How long after a message about members the next one may come.
pub const CHANGES_PAUSE: Duration = Duration::from_millis(100);
/// The same for a message that only has their number.
pub const COUNTS_PAUSE: Duration = Duration::from_secs(1);
/// Publications that one recovery sends; of more it is refused as too many.
pub const REPLAYED: u64 = 1000;
/// Rooms on disk; more get no history, and publications there are refused (0x97).
pub const HISTORIES: usize = 100_000;
/// Rooms in memory; more are refused (0x97).
pub const OPEN: usize = 100_000;
/// How long a room in which nothing happens stays in memory.
pub const IDLE: Duration = Duration::from_secs(60);
/// Messages on a page of history.
pub const PAGE: usize = 100;
/// Messages on a page of history unless it is said.
pub const PAGE_DEFAULT: usize = 50;
/// Bytes of a page of history, and of one part of a list of members or values; the next page or part goes on. One entry may be
/// longer.
pub const PART_BYTES: usize = 64 << 10;
