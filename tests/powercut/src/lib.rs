//! A power cut without pulling a plug.
//!
//! SIGKILL leaves the page cache alone, so a kill loop cannot notice a missing `fdatasync`. This
//! crate can. A process runs with the library of `powercut-preload` in `LD_PRELOAD`; the library
//! records each write, size change, sync and directory change under one folder. Afterwards
//! [`Replay`] builds the disk as it would be had the power failed at any record of the log, so one
//! run of some seconds gives thousands of cuts, each of which can be repeated exactly.
//!
//! # The model
//!
//! - Bytes and sizes are safe once `fsync` or `fdatasync` on their file has returned success, and
//!   then only those written before the call began. `sync`, `syncfs` and `sync_file_range` promise
//!   nothing here.
//! - Names (create, rename, unlink, mkdir) are safe once `fsync` on their directory has returned.
//! - What is not safe may have reached the disk or not: [`Survival`] says which of it did. POSIX
//!   allows every choice it offers; ext4 with its defaults is kinder than most of them.
//! - After a failed sync the bytes it should have saved are gone for good, as on Linux, where a
//!   second `fsync` reports success without having written them.
//! - A sector of 512 bytes is written whole or not at all.
//!
//! # What it cannot see
//!
//! Calls that bypass libc (raw system calls, shared mappings, `copy_file_range`). Renames among
//! them are noticed at the next sync, because directories are read again then; lost writes would
//! falsify a test, so [`Recording::check_complete`] compares the whole replay with the real folder
//! after a clean end, and a test is expected to call it.

mod control;
mod image;
mod record;
mod replay;
mod seed;
mod sparse;

pub use control::{Control, Injected};
pub use image::Image;
pub use record::{Entry, FileId, Record, encode_write_head};
pub use replay::{Recording, Replay, Survival};
pub use seed::Seed;
pub use sparse::Sparse;

/// The folder that is watched; it must exist when the process starts.
pub const ENV_FOLDER: &str = "POWERCUT_DIR";
/// The file the log is written to.
pub const ENV_LOG: &str = "POWERCUT_LOG";
/// The control file of the faults; optional.
pub const ENV_CONTROL: &str = "POWERCUT_CONTROL";
/// The file name of the library to preload, next to the test binaries.
pub const LIBRARY: &str = "libpowercut_preload.so";
